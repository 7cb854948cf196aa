//! Owns one item of a text dataset: its largest size, its fields, what can be wrong with it, and what
//! a text must not contain.
//!
//! It must not know which dataset it is from, nor how a file holds items.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use evalscope_model::prompt::Prompt;

/// Maximum size of a line, a list item or a row: anything larger is a file without line ends, or
/// with an unclosed quote. A conversation with images has about 10 MB.
pub(super) const MOST_ITEM_BYTES: usize = 256 << 20;

/// What is wrong with an item; its place is added by the caller.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is not JSON.
    Json(serde_json::Error),
    /// It is JSON, but not what is expected.
    Said(String),
}

impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Self::Said(reason)
    }
}

impl From<serde_json::Error> for Wrong {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// The message for a text that is not JSON. Its line number is left out: the caller knows the line
/// in the file.
pub(super) fn not_json(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = without_place(&said);
    match error.column() {
        0 => format!("not JSON: {what}"),
        column => format!("not JSON: {what} at column {column}"),
    }
}

/// An item that has a certain form.
pub(super) fn typed<T: DeserializeOwned>(item: &[u8]) -> Result<T, Wrong> {
    serde_json::from_slice(item).map_err(|error| {
        if !error.is_data() {
            return Wrong::Json(error);
        }
        Wrong::Said(without_place(&error.to_string()).to_owned())
    })
}

/// What a JSON error says, without its line and column.
fn without_place(said: &str) -> &str {
    said.rfind(" at line ").map_or(said, |at| &said[..at])
}

/// A text as a prompt, trimmed.
pub(super) fn text_prompt(text: &str) -> Result<Prompt, String> {
    without_nul(text)?;
    Ok(Prompt::Text(text.trim().to_owned()))
}

/// Reject a text with a NUL. Nobody intends one; it is from a UTF-16 file or a damaged one.
pub(super) fn without_nul(text: &str) -> Result<(), String> {
    match memchr::memchr(0, text.as_bytes()) {
        None => Ok(()),
        Some(_) => Err(NUL.to_owned()),
    }
}

/// The same for all strings in a value; `source` is what it was parsed from.
pub(super) fn value_without_nul(source: &[u8], value: &Value) -> Result<(), String> {
    // JSON can only contain a NUL in this form
    if memchr::memmem::find(source, b"u0000").is_none() {
        return Ok(());
    }
    all_without_nul(value)
}

fn all_without_nul(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => without_nul(text),
        Value::Array(items) => items.iter().try_for_each(all_without_nul),
        Value::Object(map) => map.values().try_for_each(all_without_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

pub(super) const NUL: &str = "NUL in a prompt: the file is damaged or not in UTF-8";

/// A message of a conversation.
pub(super) fn is_message(value: &Value) -> bool {
    value.get("role").is_some_and(Value::is_string)
}

/// The field `name` of an item that is an object. Its other fields are skipped, which costs the
/// least.
pub(super) fn field(item: &[u8], name: &str) -> Result<Option<Value>, Wrong> {
    let mut reader = serde_json::Deserializer::from_slice(item);
    let found = Field(name).deserialize(&mut reader);
    match found.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        // another kind of JSON, without fields
        Err(error) if error.is_data() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The text in the field `name` of an item, as a prompt.
pub(super) fn text_field(item: &[u8], name: &str) -> Result<Prompt, Wrong> {
    match field(item, name)? {
        Some(Value::String(text)) => Ok(text_prompt(&text)?),
        _ => Err(no_text_field(name).into()),
    }
}

pub(super) fn no_text_field(name: &str) -> String {
    format!("no string field `{name}`")
}

struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Name(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key has this name.
struct Name<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_among_others() {
        let item = br#" {"a": [1, {"q": 2}], "\u0071": " x ", "b": "y"} "#;
        assert_eq!(field(item, "q").unwrap(), Some(json!(" x ")));
        assert_eq!(text_field(item, "q").unwrap(), Prompt::Text("x".to_owned()));
        assert_eq!(field(item, "c").unwrap(), None);
        for other in ["[]", "1", "\"a\"", "null"] {
            assert_eq!(field(other.as_bytes(), "q").unwrap(), None, "{other}");
        }
        for broken in ["{", "{\"q\": 1} x", "{\"a\": 1,}", ""] {
            assert!(
                matches!(field(broken.as_bytes(), "q"), Err(Wrong::Json(_))),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_nul_is_refused_however_it_is_written() {
        let nul = br#"{"q": ["\u0000"]}"#;
        let value: Value = serde_json::from_slice(nul).unwrap();
        assert_eq!(value_without_nul(nul, &value), Err(NUL.to_owned()));
        // a backslash followed by letters is not an escape
        let none = br#"{"q": ["\\u0000"]}"#;
        let value: Value = serde_json::from_slice(none).unwrap();
        assert_eq!(value_without_nul(none, &value), Ok(()));
        assert!(text_prompt("a\0b").is_err());
    }

    proptest! {
        #[test]
        fn a_field_is_the_one_that_a_whole_parse_gives(
            text in "[\\[\\]{}\",:q1\\\\ ]{0,16}",
            around: bool,
        ) {
            let text = if around { format!("{{\"q\":{text}}}") } else { text };
            let whole: Result<Value, _> = serde_json::from_str(&text);
            match (field(text.as_bytes(), "q"), whole) {
                (Ok(found), Ok(whole)) => prop_assert_eq!(found.as_ref(), whole.get("q")),
                // values of other fields are not fully checked
                (Ok(None), Err(_)) => {
                    let object = text.trim_start().starts_with('{');
                    prop_assert!(!object);
                }
                (Err(_), Err(_)) => {}
                (found, whole) => prop_assert!(false, "{:?} {:?}", found, whole),
            }
        }
    }
}
