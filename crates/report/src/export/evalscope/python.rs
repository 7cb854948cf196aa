//! Owns values as Python has them, and the texts that its `json` module makes of them.
//!
//! It must not know what a value means.

use std::fmt::Write as _;

/// A value that both JSON and a pickle can hold. Unlike JSON, Python's floats may be NaN, and an
/// integer has any size.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    /// In the order in which its keys were put in.
    Dict(Vec<(String, Self)>),
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value.into()),
                (None, Some(value)) => Self::Int(value.into()),
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Json::Object(fields) => Self::Dict(
                fields
                    .into_iter()
                    .map(|(key, value)| (key, value.into()))
                    .collect(),
            ),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// A dict of these fields.
pub(super) fn dict<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Dict(fields.map(|(key, value)| (key.to_owned(), value)).into())
}

/// A float as `repr` writes it: the fewest digits that read back as the same number.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{value:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let (sign, power) = match exponent.strip_prefix('-') {
                Some(power) => ('-', power),
                None => ('+', exponent),
            };
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            format!("{digits}e{sign}{power:0>2}")
        }
    }
}

/// What `json.dumps(value, ensure_ascii=False)` writes.
pub(super) fn line(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, None);
    text
}

/// What `json.dump(value, file, indent=4, ensure_ascii=False)` writes; no line break at the end.
pub(super) fn indented(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, Some(0));
    text
}

/// `depth` counts the brackets around an indented value.
fn write(text: &mut String, value: &Value, depth: Option<usize>) {
    match value {
        Value::None => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => {
            let _infallible = write!(text, "{value}");
        }
        Value::Float(value) => text.push_str(&float(*value)),
        Value::Text(value) => quoted(text, value),
        Value::List(items) => write_all(text, ['[', ']'], items, depth, |text, item, inside| {
            write(text, item, inside);
        }),
        Value::Dict(fields) => write_all(
            text,
            ['{', '}'],
            fields,
            depth,
            |text, (key, value), inside| {
                quoted(text, key);
                text.push_str(": ");
                write(text, value, inside);
            },
        ),
    }
}

fn write_all<T>(
    text: &mut String,
    [open, close]: [char; 2],
    items: &[T],
    depth: Option<usize>,
    mut write_one: impl FnMut(&mut String, &T, Option<usize>),
) {
    text.push(open);
    let inside = depth.map(|depth| depth + 1);
    for (i, item) in items.iter().enumerate() {
        match (inside, i) {
            (None, 0) => {}
            (None, _) => text.push_str(", "),
            (Some(inside), 0) => break_line(text, inside),
            (Some(inside), _) => {
                text.push(',');
                break_line(text, inside);
            }
        }
        write_one(text, item, inside);
    }
    if let Some(depth) = depth.filter(|_| !items.is_empty()) {
        break_line(text, depth);
    }
    text.push(close);
}

fn break_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("    ", depth));
}

fn quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            c if c < ' ' => {
                let _infallible = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Left: what `repr` of Python 3.11 prints.
    #[test]
    fn floats_read_as_python_prints_them() {
        for (want, value) in [
            ("0.0", 0.0),
            ("-1.0", -1.0),
            ("0.0001", 0.0001),
            ("1e-05", 0.00001),
            ("1.5e-07", 1.5e-7),
            ("9999999999999998.0", 9_999_999_999_999_998.0),
            ("1e+16", 1e16),
            ("1.2e+300", 1.2e300),
            ("NaN", f64::NAN),
        ] {
            assert_eq!(float(value), want);
        }
    }

    #[test]
    fn texts_are_those_of_pythons_json() {
        let value = dict([
            ("a", Value::List(vec![1_u64.into(), Value::None])),
            ("é", Value::Dict(Vec::new())),
            ("quote", "\"\\\n\u{1}\u{7f}片".into()),
        ]);
        assert_eq!(
            line(&value),
            "{\"a\": [1, null], \"é\": {}, \"quote\": \"\\\"\\\\\\n\\u0001\u{7f}片\"}"
        );
        assert_eq!(
            indented(&value),
            "{\n    \"a\": [\n        1,\n        null\n    ],\n    \"é\": {},\n    \
             \"quote\": \"\\\"\\\\\\n\\u0001\u{7f}片\"\n}"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value: f64, text: String) {
            prop_assume!(value.is_finite());
            let written = line(&dict([("f", value.into()), ("t", text.as_str().into())]));
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(read["f"].as_f64().map(f64::to_bits), Some(value.to_bits()));
            prop_assert_eq!(read["t"].as_str(), Some(text.as_str()));
            prop_assert_eq!(&indented(&read.clone().into()).parse::<serde_json::Value>().unwrap(), &read);
        }
    }
}
