//! Owns finding the parts of a JSON document without parsing them: the fields of an object, and the
//! number of elements of a list.
//!
//! It must not know what the parts mean. A list of numbers is skipped as fast as memory is read, so a
//! vector of thousands costs microseconds; numbers and escapes are not checked.

use evalscope_model::steps;
use memchr::{memchr, memchr2, memchr3};

/// The top level of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document<'a> {
    /// An object.
    Object(Fields<'a>),
    /// A list.
    List(&'a [u8]),
}

/// The fields of an object, not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Document<'a> {
    /// Look at the first character of a document.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        let text = text.trim_ascii();
        steps::add(1);
        match text.first()? {
            b'{' => Some(Self::Object(Fields(text))),
            b'[' => Some(Self::List(text)),
            _ => None,
        }
    }
}

impl<'a> Fields<'a> {
    /// The values of these fields, as they stand there; `None` if the object has no end.
    pub(super) fn find<const N: usize>(self, names: [&str; N]) -> Option<[Option<&'a [u8]>; N]> {
        let text = self.0;
        let mut found = [None; N];
        let mut at = blanks(text, 1);
        if text.get(at) == Some(&b'}') {
            return Some(found);
        }
        loop {
            let key = at..end_of_text(text, at)?;
            let colon = blanks(text, key.end);
            if text.get(colon) != Some(&b':') {
                return None;
            }
            let begin = blanks(text, colon + 1);
            let end = end_of_value(text, begin)?;
            let key = &text[key.start + 1..key.end - 1];
            if let Some(place) = names.iter().position(|name| name.as_bytes() == key) {
                found[place] = Some(&text[begin..end]).filter(|value| *value != b"null");
            }
            at = blanks(text, end);
            match text.get(at)? {
                b',' => at = blanks(text, at + 1),
                b'}' => return Some(found),
                _ => return None,
            }
        }
    }
}

/// The number of elements of a list; `None` if it is not one, or has no end.
pub(super) fn elements(list: &[u8]) -> Option<u64> {
    let list = list.trim_ascii();
    if list.first() != Some(&b'[') {
        return None;
    }
    let mut at = blanks(list, 1);
    if list.get(at) == Some(&b']') {
        return Some(0);
    }
    let mut count = 0;
    loop {
        at = blanks(list, end_of_value(list, at)?);
        count += 1;
        match list.get(at)? {
            b',' => at = blanks(list, at + 1),
            b']' => return Some(count),
            _ => return None,
        }
    }
}

/// The first place from `at` on that is no blank.
fn blanks(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The place behind the value that begins at `at`.
fn end_of_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => end_of_text(text, at),
        b'{' | b'[' => end_of_nested(text, at),
        b',' | b':' | b']' | b'}' => None,
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
            let length = text[at..].iter().position(ends)?;
            steps::add(length);
            Some(at + length)
        }
    }
}

/// The place behind the string that begins at `at`.
fn end_of_text(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        steps::add(found - at + 1);
        if text[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// The place behind the object or the list that begins at `at`.
fn end_of_nested(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        steps::add(1);
        match text.get(at)? {
            b'"' => {
                at = end_of_text(text, at)?;
                continue;
            }
            b'[' if starts_number(text, at + 1) => {
                if let Some(end) = end_of_numbers(text, at) {
                    at = end;
                    if depth == 0 {
                        return Some(at);
                    }
                    continue;
                }
                depth += 1;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The place behind the list of numbers that begins at `at`; `None` if it has anything else. No byte is looked
/// at again for the list that begins next, so nested lists cost what they are long.
fn end_of_numbers(text: &[u8], at: usize) -> Option<usize> {
    let inside = &text[at + 1..];
    let length = memchr3(b']', b'[', b'"', inside)?;
    steps::add(2 * length);
    let is_end = inside[length] == b']' && memchr(b'{', &inside[..length]).is_none();
    is_end.then_some(at + length + 2)
}

fn starts_number(text: &[u8], at: usize) -> bool {
    let first = text.get(blanks(text, at));
    first.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn fields(text: &str) -> Fields<'_> {
        match Document::of(text.as_bytes()) {
            Some(Document::Object(fields)) => fields,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_has_no_end_is_not_found() {
        let text = r#"{"a":[1,2,[3]],"b":{"c":"]}\""},"d":null,"e":-1.5e3}"#;
        let [a, b, d, e] = fields(text).find(["a", "b", "d", "e"]).unwrap();
        assert_eq!(a.and_then(elements), Some(3));
        assert_eq!(b.unwrap(), br#"{"c":"]}\""}"#);
        assert_eq!((d, e), (None, Some(&b"-1.5e3"[..])));
        for end in 1..text.len() {
            assert_eq!(fields(&text[..end]).find(["a"]), None, "{}", &text[..end]);
        }
        for odd in ["", "1", "[", "[1", "[1,", "[1 2]", "[,]", "[\"a]"] {
            assert_eq!(elements(odd.as_bytes()), None, "{odd}");
        }
        for odd in ["{", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1 \"b\":2}"] {
            assert_eq!(fields(odd).find(["a"]), None, "{odd}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<i16>().prop_map(|n| json!(f64::from(n) / 8.0)),
            "[a-c\"\\\\{}\\[\\], ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// It finds what a parser finds, however the document is written.
        #[test]
        fn it_agrees_with_a_parser(value in any_json(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&value).unwrap()
            } else {
                value.to_string()
            };
            if let Value::Array(items) = &value {
                prop_assert_eq!(elements(text.as_bytes()), Some(items.len() as u64));
            }
            if let Value::Object(map) = &value {
                let names = ["a", "b", "c", "d"];
                let found = fields(&text).find(names).unwrap();
                for (name, found) in names.iter().zip(found) {
                    let parsed = found.map(|text| serde_json::from_slice::<Value>(text).unwrap());
                    prop_assert_eq!(parsed.as_ref(), map.get(*name).filter(|v| !v.is_null()));
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in "[\\[\\]{}\",:\\\\0-9 a]{0,40}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let _ = elements(bytes);
                if let Some(Document::Object(fields)) = Document::of(bytes) {
                    let _ = fields.find(["a"]);
                }
            }
        }
    }
}
