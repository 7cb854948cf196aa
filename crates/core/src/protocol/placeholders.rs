//! Owns the places for the model and the prompt in a template: `%m` and `%p`.
//!
//! It must not know what a body is.

use serde_json::Value;

/// Whether a value has a place for the prompt.
pub(super) fn mentions_prompt(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("%p"),
        Value::Array(items) => items.iter().any(mentions_prompt),
        Value::Object(map) => map.values().any(mentions_prompt),
        _ => false,
    }
}

/// Put the model and the prompt into all texts of a value.
pub(super) fn substitute(value: &mut Value, model: &str, prompt: &str) {
    match value {
        Value::String(text) if text.contains("%m") || text.contains("%p") => {
            *text = substituted(text, model, prompt);
        }
        Value::Array(items) => {
            for item in items {
                substitute(item, model, prompt);
            }
        }
        Value::Object(map) => {
            for item in map.values_mut() {
                substitute(item, model, prompt);
            }
        }
        _ => {}
    }
}

/// Substitute in one pass, so that a prompt containing `%m` is not changed.
pub(super) fn substituted(text: &str, model: &str, prompt: &str) -> String {
    let mut out = String::with_capacity(text.len() + prompt.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        let (with, skip) = match tail.as_bytes().get(1) {
            Some(b'm') => (model, 2),
            Some(b'p') => (prompt, 2),
            _ => ("%", 1),
        };
        out.push_str(with);
        rest = &tail[skip..];
    }
    out.push_str(rest);
    out
}
