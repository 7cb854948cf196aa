//! Owns the failures of a run by kind and message.
//!
//! It must not know how they are shown.

use std::collections::HashMap;

use evalscope_model::record::FailureKind;

use crate::sqlite::StoreError;

/// Groups of failures shown; the rest is only counted.
pub const ERROR_GROUPS: usize = 50;

/// Groups of failures kept apart while reading: messages that never repeat
/// must not fill the memory.
const ERROR_GROUPS_READ: usize = 10_000;

/// Failures of one kind with one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorGroup {
    /// The kind.
    pub kind: FailureKind,
    /// The message of the first of them; numbers and ids may differ in the others.
    pub message: String,
    /// Failures in the group.
    pub count: u64,
    /// What the server said to the first of them.
    pub example: Option<String>,
}

/// Failures by kind and message, whatever numbers and ids stand in the message.
#[derive(Default)]
pub(super) struct Errors {
    groups: HashMap<(FailureKind, String), ErrorGroup>,
    not_told_apart: u64,
}

impl Errors {
    pub(super) fn push(
        &mut self,
        kind: FailureKind,
        message: &str,
        excerpt: impl FnOnce() -> Result<Option<String>, StoreError>,
    ) -> Result<(), StoreError> {
        let key = (kind, without_numbers(message));
        if let Some(group) = self.groups.get_mut(&key) {
            group.count += 1;
        } else if self.groups.len() < ERROR_GROUPS_READ {
            let group = ErrorGroup {
                kind,
                message: message.to_owned(),
                count: 1,
                example: excerpt()?,
            };
            self.groups.insert(key, group);
        } else {
            self.not_told_apart += 1;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> (Vec<ErrorGroup>, u64) {
        let mut groups: Vec<ErrorGroup> = self.groups.into_values().collect();
        groups.sort_by(|a, b| (b.count, a.kind, &a.message).cmp(&(a.count, b.kind, &b.message)));
        let rest = groups.split_off(groups.len().min(ERROR_GROUPS));
        let not_shown = self.not_told_apart + rest.iter().map(|group| group.count).sum::<u64>();
        (groups, not_shown)
    }
}

/// A message with every word that holds a digit written as `#`: request ids,
/// ports and positions would make a group of each failure.
pub(crate) fn without_numbers(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut rest = message;
    while !rest.is_empty() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(word);
        if head.contains(|c: char| c.is_ascii_digit()) {
            text.push('#');
        } else {
            text.push_str(head);
        }
        let other = tail.find(is_word).unwrap_or(tail.len());
        text.push_str(&tail[..other]);
        rest = &tail[other..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_grouped_without_their_numbers() {
        for (message, want) in [
            (
                "status 503: busy (id req-1f3, 20 s)",
                "status #: busy (id #, # s)",
            ),
            ("no digits: 你好", "no digits: 你好"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(message), want);
        }
    }

    #[test]
    fn failures_are_grouped_and_the_rest_is_counted() {
        let mut errors = Errors::default();
        for i in 0..60 {
            for _ in 0..=i {
                errors
                    .push(FailureKind::Reset, &"x".repeat(i + 1), || {
                        Ok(Some(format!("example {i}")))
                    })
                    .unwrap();
            }
        }
        let (groups, not_shown) = errors.finish();
        assert_eq!(groups.len(), ERROR_GROUPS);
        assert_eq!((groups[0].count, groups[0].message.len()), (60, 60));
        assert_eq!(groups[0].example.as_deref(), Some("example 59"));
        assert_eq!(not_shown, (1..=10).sum::<u64>());
    }
}
