//! Owns how EvalScope keeps bodies: JSON as Python writes it, and pickles of lists.
//!
//! It must not know which requests keep theirs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use serde_json::Value;

use super::python;
use crate::bodies::{self, read};
use crate::pickle;
use crate::sqlite::Stored;

/// The body of a request as it was sent, as text: JSON as Python writes it. `None` where it was not
/// kept.
pub(super) fn request(stored: &Stored, turn: u32) -> Option<String> {
    Some(match bodies::request(stored, turn)? {
        Value::String(text) => text,
        body => python::line(&body.into()),
    })
}

/// What the server said, event by event: those with choices, as EvalScope keeps them. `None`
/// where it was not kept.
pub(super) fn messages(stored: &Stored) -> Option<Vec<Value>> {
    let mut messages: Vec<Value> = match read(&stored.response_messages)? {
        Value::Array(events) => events.into_iter().map(parsed).collect(),
        body => vec![parsed(body)],
    };
    let last = stored.final_event.as_deref().and_then(read);
    messages.extend(last.filter(has_choices));
    Some(messages)
}

/// A text that is JSON as what it says.
fn parsed(value: Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        value => value,
    }
}

fn has_choices(event: &Value) -> bool {
    let choices = event["choices"].as_array();
    choices.is_some_and(|choices| !choices.is_empty())
}

/// base64 of a pickled list.
pub(super) fn column(messages: Vec<Value>) -> String {
    pickled(&Value::Array(messages))
}

fn pickled(value: &Value) -> String {
    let mut bytes = Vec::new();
    pickle::write_value(&mut bytes, value);
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(request: &str, response_messages: &str, final_event: Option<&str>) -> Stored {
        Stored {
            gpu_memory_gb: None,
            request: request.to_owned(),
            turns_before: Vec::new(),
            response_messages: response_messages.to_owned(),
            final_event: final_event.map(str::to_owned),
        }
    }

    #[test]
    fn pickles_and_json_say_the_same() {
        let body = pickled(&json!({"n": 1, "stop": null}));
        let events = pickled(&json!([r#"{"choices": [1]}"#, "no JSON"]));
        for (request_text, events_text) in [
            (body.as_str(), events.as_str()),
            (
                r#"{"n":1,"stop":null}"#,
                r#"["{\"choices\":[1]}","no JSON"]"#,
            ),
            (r#"{"n":1,"stop":null}"#, r#"[{"choices":[1]},"no JSON"]"#),
        ] {
            let stored = stored(request_text, events_text, None);
            assert_eq!(
                request(&stored, 0).as_deref(),
                Some(r#"{"n": 1, "stop": null}"#)
            );
            let event = json!({"choices": [1]});
            assert_eq!(messages(&stored), Some(vec![event, "no JSON".into()]));
        }
    }

    #[test]
    fn the_last_event_counts_where_it_has_choices() {
        for (event, is_kept) in [
            (r#"{"choices":[{"finish_reason":"stop"}]}"#, true),
            (r#"{"choices":[],"usage":{}}"#, false),
            (r#"{"usage":{}}"#, false),
        ] {
            let stored = stored("", r#"["{}"]"#, Some(event));
            assert_eq!(messages(&stored).unwrap().len(), 1 + usize::from(is_kept));
        }
    }

    #[test]
    fn what_was_not_kept_is_not_there() {
        let stored = stored("", "", None);
        assert_eq!((request(&stored, 0), messages(&stored)), (None, None));
    }
}
