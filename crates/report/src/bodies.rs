//! Owns reading the bodies that a database holds, and putting the prompt of a turn together again:
//! of a turn after the first, only what it added is stored.
//!
//! It must not know which requests keep their bodies.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::pickle;
use crate::sqlite::{Reader, StoreError, Stored};

/// Why the body of a request cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The database could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such request.
    #[error(
        "`{}` has no request {index}\nhint: column `idx` of the table `requests` lists those that it has",
        path.display()
    )]
    NoSuchRequest {
        /// The database.
        path: PathBuf,
        /// The index.
        index: u64,
    },
    /// Bodies were not recorded.
    #[error(
        "the body of request {index} in `{}` was not recorded, or that of a turn before it\nhint: \
         `--record-bodies all` records the bodies of all requests",
        path.display()
    )]
    NotRecorded {
        /// The database.
        path: PathBuf,
        /// The index.
        index: u64,
    },
}

/// What stands in a column; `None` where nothing was kept.
pub(crate) fn read(column: &str) -> Option<Value> {
    if column.is_empty() {
        return None;
    }
    if let Ok(json) = serde_json::from_str(column) {
        return Some(json);
    }
    let pickled = STANDARD.decode(column).ok();
    let pickled = pickled.and_then(|bytes| pickle::read(&bytes));
    Some(pickled.unwrap_or_else(|| column.into()))
}

/// The texts that a response was recorded as: its events, or its body.
pub(crate) fn texts(column: &str) -> Vec<String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        value => value.to_string(),
    };
    match read(column) {
        None => Vec::new(),
        Some(Value::Array(events)) => events.into_iter().map(text).collect(),
        Some(body) => vec![text(body)],
    }
}

/// The list of messages of a body, wherever the API has it.
fn messages(body: &mut Value) -> Option<&mut Vec<Value>> {
    match body {
        Value::Object(fields) => {
            if fields.get("messages").is_some_and(Value::is_array) {
                return fields.get_mut("messages")?.as_array_mut();
            }
            // a body of several turns begins with what holds its messages
            messages(fields.values_mut().next()?)
        }
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// The body of a request as it was sent: of a later turn, with the messages of the turns before it.
/// `None` where one of these was not kept.
pub(crate) fn request(stored: &Stored, turn: u32) -> Option<Value> {
    let mut body = read(&stored.request)?;
    // the server has kept what was said before
    let is_whole = body.get("previous_response_id").is_some();
    if turn == 0 || is_whole {
        return Some(body);
    }
    if stored.turns_before.len() != turn as usize {
        return None;
    }
    let mut all = Vec::new();
    for before in &stored.turns_before {
        all.append(messages(&mut read(before)?)?);
    }
    let own = messages(&mut body)?;
    all.append(own);
    *own = all;
    Some(body)
}

/// The body of a measured request of a run as it was sent, as JSON.
///
/// # Errors
/// When there is no such request, or it cannot be put together.
pub fn sent_body(database: &Path, index: u64) -> Result<String, BodyError> {
    let reader = Reader::open(database)?;
    let path = || database.to_owned();
    let Some((record, stored)) = reader.stored(index)? else {
        return Err(BodyError::NoSuchRequest {
            path: path(),
            index,
        });
    };
    let turn = record.turn.map_or(0, |place| place.turn);
    match request(&stored, turn) {
        None => Err(BodyError::NotRecorded {
            path: path(),
            index,
        }),
        Some(Value::String(text)) => Ok(text),
        Some(body) => Ok(body.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(turns_before: &[&str], request: &str) -> Stored {
        Stored {
            gpu_memory_gb: None,
            request: request.to_owned(),
            turns_before: turns_before.iter().copied().map(str::to_owned).collect(),
            response_messages: String::new(),
            final_event: None,
        }
    }

    #[test]
    fn a_later_turn_has_the_messages_of_those_before() {
        let body = stored(
            &[
                r#"{"messages":[{"role":"user","content":"a"}],"max_tokens":1}"#,
                r#"{"messages":[{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"max_tokens":2}"#,
            ],
            r#"{"messages":[{"role":"assistant","content":"d"}],"max_tokens":3}"#,
        );
        assert_eq!(
            request(&body, 2).unwrap().to_string(),
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}],"max_tokens":3}"#
        );
        let inside = stored(
            &[r#"{"input":{"messages":[1],"x":[]},"model":"m"}"#],
            r#"{"input":{"messages":[2],"x":[]},"model":"m"}"#,
        );
        assert_eq!(
            request(&inside, 1).unwrap().to_string(),
            r#"{"input":{"messages":[1,2],"x":[]},"model":"m"}"#
        );
    }

    #[test]
    fn a_turn_that_names_the_response_before_it_is_whole() {
        let first = r#"{"input":[1],"store":true}"#;
        let second = r#"{"input":[2],"store":true,"previous_response_id":"r1"}"#;
        let shown = request(&stored(&[first], second), 1).unwrap();
        assert_eq!(shown.to_string(), second);
    }

    #[test]
    fn a_body_with_a_gap_is_not_shown() {
        let first = r#"{"messages":[1]}"#;
        for before in [&[][..], &[""], &[first, first]] {
            assert_eq!(request(&stored(before, r#"{"messages":[2]}"#), 1), None);
        }
        assert_eq!(request(&stored(&[], ""), 0), None);
        assert_eq!(
            request(&stored(&[], r#"{"n":1}"#), 0).unwrap().to_string(),
            r#"{"n":1}"#
        );
    }
}
