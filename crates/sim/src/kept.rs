//! Owns the responses that the server keeps for requests that refer to them, with what was asked for
//! them.
//!
//! It must not know what the items of a conversation mean, nor how they are sent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// Most responses that are kept; the oldest one goes first.
const MOST: usize = 1 << 16;

/// A conversation up to a response: that before it, and what has been added since.
#[derive(Debug)]
pub(crate) struct Past {
    before: Option<Arc<Past>>,
    added: Vec<Value>,
}

impl Past {
    pub(crate) fn new(before: Option<Arc<Past>>, added: Vec<Value>) -> Self {
        Past { before, added }
    }

    /// The same with more at its end.
    pub(crate) fn with(mut self, items: Vec<Value>) -> Self {
        self.added.extend(items);
        self
    }

    /// All items, from the first one.
    pub(crate) fn items(&self) -> Vec<&Value> {
        let mut parts = vec![&self.added];
        let mut past = self;
        while let Some(before) = &past.before {
            parts.push(&before.added);
            past = before;
        }
        parts.into_iter().rev().flatten().collect()
    }
}

/// The responses that were kept last.
#[derive(Debug, Default)]
pub(crate) struct KeptResponses {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<String, Arc<Past>>,
    oldest_first: VecDeque<String>,
}

impl KeptResponses {
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Past>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_id.get(id).map(Arc::clone)
    }

    pub(crate) fn keep(&self, id: String, past: Past) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.oldest_first.len() >= MOST
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.by_id.remove(&oldest);
        }
        kept.oldest_first.push_back(id.clone());
        kept.by_id.insert(id, Arc::new(past));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_leads_to_all_that_was_said_before_it() {
        let kept = KeptResponses::default();
        kept.keep(
            "1".to_owned(),
            Past::new(None, vec!["a".into(), "A".into()]),
        );
        kept.keep("2".to_owned(), Past::new(kept.find("1"), vec!["b".into()]));
        kept.keep("3".to_owned(), Past::new(kept.find("1"), vec!["c".into()]));
        let items = |id| {
            let past = kept.find(id)?;
            Some(past.items().into_iter().cloned().collect::<Vec<_>>())
        };
        assert_eq!(items("2"), Some(vec!["a".into(), "A".into(), "b".into()]));
        assert_eq!(items("3"), Some(vec!["a".into(), "A".into(), "c".into()]));
        assert_eq!(items("4"), None);
    }

    #[test]
    fn the_oldest_response_is_forgotten_first() {
        let kept = KeptResponses::default();
        for id in 0..=MOST {
            kept.keep(id.to_string(), Past::new(None, Vec::new()));
        }
        assert!(kept.find("0").is_none());
        assert!(kept.find("1").is_some() && kept.find(&MOST.to_string()).is_some());
    }
}
