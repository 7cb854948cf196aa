//! Owns what the data sets of texts have in common: items that stand as JSON
//! Lines or as one JSON list, a field of an item, and what a text must not
//! hold.
//!
//! It must not know which data set it reads.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::DatasetError;
use super::file_list::read_error;
use super::json_list::JsonList;
use super::line_by_line::Lines;
use evalscope_model::prompt::Prompt;

/// The most that a line, an item of a list or a row may have: a prompt of more
/// is a file that lacks its line ends, or its closing quote. A conversation with
/// images has some 10 MB.
pub(super) const MOST_ITEM_BYTES: usize = 256 << 20;

/// Bytes at the beginning of a file that are looked at for its form.
const HEAD_BYTES: u64 = 64 << 10;

/// What an item is not, for whoever knows where it stands.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is no JSON.
    Json(serde_json::Error),
    /// It is JSON, but not what it must be.
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

/// Items of a file, each of them JSON, or meant to be.
#[derive(Debug)]
pub(super) enum Records {
    List(JsonList),
    Lines(Lines),
}

impl Records {
    /// Open a file, whose first characters tell which of the two it is.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        if beginning(path)?.first() == Some(&b'[') {
            return Ok(Self::List(JsonList::open(path)?));
        }
        Ok(Self::Lines(Lines::open(path)?))
    }

    /// The bytes of the next item.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, DatasetError> {
        match self {
            Self::List(list) => list.next(),
            Self::Lines(lines) => Ok(lines.next()?.map(str::as_bytes)),
        }
    }

    /// An error about the item given last.
    pub(super) fn error(&self, wrong: Wrong) -> DatasetError {
        match self {
            Self::List(list) => list.error(wrong),
            Self::Lines(lines) => lines.error(wrong),
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        match self {
            Self::List(list) => list.rewind(),
            Self::Lines(lines) => lines.rewind(),
        }
    }
}

/// The first bytes of a file behind a byte order mark and blanks.
pub(super) fn beginning(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(read_error(path))?;
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(read_error(path))?;
    let behind = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    Ok(behind.trim_ascii_start().to_vec())
}

/// What is said of a text that is no JSON. Its line is left to whoever knows the
/// line of the file.
pub(super) fn not_json(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = said.rfind(" at line ").map_or(&*said, |at| &said[..at]);
    match error.column() {
        0 => format!("not JSON: {what}"),
        column => format!("not JSON: {what} at column {column}"),
    }
}

/// A text as a prompt, without the blanks around it.
pub(super) fn text_prompt(text: &str) -> Result<Prompt, String> {
    without_nul(text)?;
    Ok(Prompt::Text(text.trim().to_owned()))
}

/// Refuse a text with a NUL. Nobody means one; it comes from a file in UTF-16, or
/// from one that was damaged.
pub(super) fn without_nul(text: &str) -> Result<(), String> {
    match memchr::memchr(0, text.as_bytes()) {
        None => Ok(()),
        Some(_) => Err(NUL.to_owned()),
    }
}

/// The same for all texts in a value; `source` is what it was read from.
pub(super) fn value_without_nul(source: &[u8], value: &Value) -> Result<(), String> {
    // as JSON a NUL can only be written like this
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

pub(super) const NUL: &str =
    "NUL in a prompt: the file is damaged, or in another encoding than UTF-8";

/// A message of a conversation.
pub(super) fn is_message(value: &Value) -> bool {
    value.get("role").is_some_and(Value::is_string)
}

/// The field `name` of an item that is an object. What else stands in it is
/// passed over, as that costs the least.
pub(super) fn field(item: &[u8], name: &str) -> Result<Option<Value>, Wrong> {
    let mut reader = serde_json::Deserializer::from_slice(item);
    let found = Field(name).deserialize(&mut reader);
    match found.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        // JSON of another kind, which has no fields
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
    format!("no text field `{name}`")
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

/// Whether a key is this one.
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
        // a backslash and letters are none
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
                // a value of another kind is not looked at to its end
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
