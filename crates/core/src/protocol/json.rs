//! Owns the reading of JSON as servers write it: with a byte order mark, with truncated characters,
//! with `NaN` as a number.
//!
//! It must not know what the JSON means. Valid JSON is parsed in place, at no extra cost.

use std::borrow::Cow;

use serde_json::Value;

/// Bytes that some programs put before UTF-8 text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What Python's `json` writes for numbers that JSON does not have.
const NO_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The text without its byte order mark.
pub(crate) fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// The data that ends a stream; some gateways quote it as if it were JSON.
pub(super) fn is_done(data: &[u8]) -> bool {
    let data = data.trim_ascii_start();
    // an ordinary event is recognised by its first byte
    matches!(data.first(), Some(b'[' | b'"'))
        && data
            .strip_prefix(b"\"")
            .unwrap_or(data)
            .trim_ascii_start()
            .starts_with(b"[DONE]")
}

/// Several objects in one event, one per line: the blank lines between events are missing, and it
/// is unknown which line arrived when.
pub(super) fn lacks_blank_lines(data: &[u8]) -> bool {
    let mut lines = data.split(|byte| *byte == b'\n');
    let begins = |line: &[u8]| line.trim_ascii_start().starts_with(b"{") || is_done(line);
    let object = |line: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    lines
        .next()
        .is_some_and(|first| begins(first) && object(first))
        && lines.any(begins)
}

/// The text with invalid UTF-8 replaced, and with `null` for numbers such as `NaN`. `None`: it had
/// neither.
pub(super) fn mended(data: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(data);
    let numbers = with_numbers(&text);
    match (&text, &numbers) {
        (Cow::Borrowed(_), None) => None,
        _ => Some(numbers.unwrap_or_else(|| text.into_owned())),
    }
}

/// The text with `null` for each invalid number; `None` if there is none.
fn with_numbers(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let bytes = text.as_bytes();
    let mut in_string = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                let found = NO_NUMBERS
                    .iter()
                    .find(|name| text[at..].starts_with(**name));
                if let Some(name) = found {
                    out.push_str(&text[copied..at]);
                    out.push_str("null");
                    at += name.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// Parse any JSON, repaired if necessary.
pub(super) fn value(data: &[u8]) -> Result<Value, serde_json::Error> {
    let data = unmarked(data);
    serde_json::from_slice(data).or_else(|error| match mended(data) {
        Some(mended) => serde_json::from_str(&mended),
        None => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_that_are_none_are_nulls_outside_of_strings() {
        for (text, want) in [
            (r#"{"a":NaN}"#, Some(r#"{"a":null}"#)),
            (
                r#"{"a":-Infinity,"b":[Infinity, NaN]}"#,
                Some(r#"{"a":null,"b":[null, null]}"#),
            ),
            (
                r#"{"a":"NaN \" Infinity","b":NaN}"#,
                Some(r#"{"a":"NaN \" Infinity","b":null}"#),
            ),
            (
                r#"{"a":"\\","b":-Infinity}"#,
                Some(r#"{"a":"\\","b":null}"#),
            ),
            (r#"{"a":"NaN"}"#, None),
            (r#"{"a":-1,"b":Nope}"#, None),
            ("", None),
        ] {
            assert_eq!(mended(text.as_bytes()).as_deref(), want, "{text}");
        }
        assert_eq!(
            mended(b"{\"a\":\"\xff\"}").as_deref(),
            Some("{\"a\":\"\u{fffd}\"}")
        );
        assert_eq!(
            mended(b"{\"\xff\":NaN}").as_deref(),
            Some("{\"\u{fffd}\":null}")
        );
    }

    #[test]
    fn the_end_of_a_stream_may_be_quoted() {
        for end in ["[DONE]", " [DONE] ", "\"[DONE]\"", " \" [DONE]\""] {
            assert!(is_done(end.as_bytes()), "{end}");
        }
        for other in ["", "\"", "DONE", "[]", "\"x[DONE]\"", "{\"[DONE]\":1}"] {
            assert!(!is_done(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn objects_on_lines_of_one_event() {
        for (text, want) in [
            ("{}\n{}", true),
            ("{\"a\":1}\n[DONE]", true),
            ("{\"a\":\n1}", false),
            ("{\n}", false),
            ("{}", false),
            ("a\n{}", false),
        ] {
            assert_eq!(lacks_blank_lines(text.as_bytes()), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_json_is_left_alone(text in "[ -~]{0,20}", number in any::<i32>()) {
            let json = serde_json::json!({"NaN": text, "Infinity": [number, -1.5]}).to_string();
            prop_assert_eq!(mended(json.as_bytes()), None);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = (mended(&bytes), lacks_blank_lines(&bytes), is_done(&bytes), value(&bytes).is_ok());
        }
    }
}
