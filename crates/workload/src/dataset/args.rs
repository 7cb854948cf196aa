//! Owns reading the options of a dataset (`--dataset-args`): each by its name, and none that it does
//! not know.
//!
//! It must not know which options there are.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Options as they were given, to be taken one by one.
#[derive(Debug)]
pub struct ArgsReader {
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

/// Options that a dataset cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A value that is not what its key stands for.
    #[error("`{key}` must be {wanted}, but is {value}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it stands for: "a whole number greater than 0".
        wanted: &'static str,
        /// The value, as JSON.
        value: String,
    },
    /// A key that the dataset does not know.
    #[error("unknown key `{key}`")]
    Unknown {
        /// The key.
        key: String,
        /// The keys that it knows.
        known: Vec<&'static str>,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Conflict(String),
}

impl ArgsReader {
    /// The options of a command.
    #[must_use]
    pub fn new(args: Map<String, Value>) -> Self {
        Self {
            left: args,
            known: Vec::new(),
        }
    }

    /// Take the value of a key; `wanted` says what it stands for. `null` is no value.
    ///
    /// # Errors
    /// If it is something else, or `is_allowed` rejects it.
    pub fn take<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        wanted: &'static str,
        is_allowed: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>, ArgsError> {
        self.known.push(key);
        let Some(value) = self.left.remove(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let shown = value.to_string();
        match serde_json::from_value(value).ok().filter(is_allowed) {
            Some(value) => Ok(Some(value)),
            None => Err(ArgsError::Value {
                key,
                wanted,
                value: shown,
            }),
        }
    }

    /// All keys have been asked for.
    ///
    /// # Errors
    /// If there is another one.
    pub fn finish(self) -> Result<(), ArgsError> {
        match self.left.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(ArgsError::Unknown {
                key,
                known: self.known,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader(args: Value) -> ArgsReader {
        let Value::Object(args) = args else {
            panic!("expected an object")
        };
        ArgsReader::new(args)
    }

    #[test]
    fn keys_are_taken_by_name_and_type() {
        let mut args = reader(json!({"a": 3, "b": "x", "c": null}));
        assert_eq!(args.take::<u64>("a", "a number", |_| true), Ok(Some(3)));
        assert_eq!(args.take::<u64>("c", "a number", |_| true), Ok(None));
        assert_eq!(args.take::<u64>("d", "a number", |_| true), Ok(None));
        let error = args.take::<u64>("b", "a number", |_| true).unwrap_err();
        insta::assert_snapshot!(error, @r#"`b` must be a number, but is "x""#);
        assert_eq!(args.finish(), Ok(()));
        let refused = reader(json!({"a": 0})).take::<u64>("a", "more than 0", |n| *n > 0);
        insta::assert_snapshot!(refused.unwrap_err(), @"`a` must be more than 0, but is 0");
    }

    #[test]
    fn a_key_that_nobody_asked_for_is_unknown() {
        let mut args = reader(json!({"aa": 1, "b": 1}));
        assert_eq!(args.take::<u64>("b", "a number", |_| true), Ok(Some(1)));
        assert_eq!(
            args.finish(),
            Err(ArgsError::Unknown {
                key: "aa".to_owned(),
                known: vec!["b"]
            })
        );
    }
}
