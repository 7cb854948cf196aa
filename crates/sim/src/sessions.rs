//! Owns the session tokens: which one each conversation was given last, and whether its next request
//! sent it back.
//!
//! It must not know headers, or what a response says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::truth::Echo;

/// What a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// The conversation that it names.
    Named(String),
    /// The connection on which it came. There, a request without more messages than the one before
    /// begins another conversation.
    Connection(u64),
}

/// The latest response of a conversation.
#[derive(Debug)]
struct Latest {
    token: Option<String>,
    messages: u64,
}

/// The latest token of each conversation. Grows with the number of conversations.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    latest: Mutex<HashMap<Key, Latest>>,
}

impl Sessions {
    /// Judge the token that a request sent, and remember the one that its response gives. A
    /// response without one leaves the earlier one valid.
    pub(crate) fn exchange(
        &self,
        key: Key,
        messages: u64,
        received: Option<&str>,
        given: Option<&str>,
    ) -> Echo {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let begins =
            |latest: &Latest| matches!(key, Key::Connection(_)) && messages <= latest.messages;
        let expected = match latest.remove(&key) {
            Some(earlier) if !begins(&earlier) => earlier.token,
            _ => None,
        };
        let echo = match (expected.as_deref(), received) {
            (None, None) => Echo::First,
            (Some(_), None) => Echo::Missing,
            (expected, received) if expected == received => Echo::Echoed,
            _ => Echo::Wrong,
        };
        let token = given.map(str::to_owned).or(expected);
        latest.insert(key, Latest { token, messages });
        echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_judged_by_conversation() {
        let sessions = Sessions::default();
        let ask = |name: &str, received, given| {
            sessions.exchange(Key::Named(name.to_owned()), 1, received, given)
        };
        assert_eq!(ask("a", None, Some("1")), Echo::First);
        assert_eq!(ask("b", Some("1"), Some("2")), Echo::Wrong, "of another");
        assert_eq!(ask("a", Some("1"), Some("3")), Echo::Echoed);
        assert_eq!(ask("a", Some("1"), None), Echo::Wrong, "no longer valid");
        assert_eq!(ask("a", None, None), Echo::Missing);
        assert_eq!(ask("a", Some("3"), None), Echo::Echoed, "still valid");
    }

    #[test]
    fn without_a_name_a_conversation_grows_on_its_connection() {
        let sessions = Sessions::default();
        let ask = |connection, messages, received, given| {
            sessions.exchange(Key::Connection(connection), messages, received, given)
        };
        assert_eq!(ask(1, 1, None, Some("1")), Echo::First);
        assert_eq!(ask(2, 1, None, Some("2")), Echo::First);
        assert_eq!(ask(1, 3, Some("1"), Some("3")), Echo::Echoed);
        assert_eq!(ask(1, 5, None, Some("4")), Echo::Missing);
        assert_eq!(ask(1, 2, None, Some("5")), Echo::First, "another one");
        assert_eq!(ask(1, 2, Some("5"), Some("6")), Echo::Wrong, "and another");
    }
}
