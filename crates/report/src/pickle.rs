//! Owns pickles, the form in which Python's programs keep values: JSON values and lists of texts,
//! written in protocol 2, which every Python 3 reads.
//!
//! It must not know where pickles are kept. Nothing reads one: unpickling runs code.

use serde_json::{Number, Value};

/// Append the pickle of a JSON value.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value) {
    framed(out, |out| put(out, value));
}

/// Append the pickle of a text.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    framed(out, |out| put_text(out, text));
}

/// Append the pickle of a list of texts: `each` hands them over one by one.
pub(crate) fn write_texts(out: &mut Vec<u8>, each: impl FnOnce(&mut dyn FnMut(&str))) {
    framed(out, |out| {
        out.extend(b"](");
        each(&mut |text| put_text(out, text));
        out.push(b'e');
    });
}

/// Protocol 2 at the start, STOP at the end.
fn framed(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    out.extend(b"\x80\x02");
    put(out);
    out.push(b'.');
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'N'),
        Value::Bool(true) => out.push(b'\x88'),
        Value::Bool(false) => out.push(b'\x89'),
        Value::Number(number) => put_number(out, number),
        Value::String(text) => put_text(out, text),
        // an empty container, a mark, what is in it, and all since the mark goes into it
        Value::Array(items) => {
            out.extend(b"](");
            for item in items {
                put(out, item);
            }
            out.push(b'e');
        }
        Value::Object(fields) => {
            out.extend(b"}(");
            for (key, value) in fields {
                put_text(out, key);
                put(out, value);
            }
            out.push(b'u');
        }
    }
}

fn put_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(whole) = number.as_i128() {
        if let Ok(small) = i32::try_from(whole) {
            out.push(b'J');
            out.extend(small.to_le_bytes());
        } else {
            // nine bytes hold the sign of any number of 64 bits
            out.extend(b"\x8a\x09");
            out.extend(&whole.to_le_bytes()[..9]);
        }
    } else {
        let float = number.as_f64().expect("a number is whole or a float");
        out.push(b'G');
        out.extend(float.to_be_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("a body is shorter than 4 GiB");
    out.push(b'X');
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pickle(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(&mut out, value);
        out
    }

    /// `pickle.loads` of Python 3.11 gives
    /// `{"a": [None, True, False, -1, 4294967296, 18446744073709551615, 2.5, "é"], "b": {}}`.
    #[test]
    fn these_bytes_are_read_by_python() {
        let value = json!({
            "a": [null, true, false, -1, 1_u64 << 32, u64::MAX, 2.5, "é"],
            "b": {},
        });
        let want = b"\x80\x02}(X\x01\0\0\0a](N\x88\x89J\xff\xff\xff\xff\
            \x8a\x09\0\0\0\0\x01\0\0\0\0\
            \x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0\
            G\x40\x04\0\0\0\0\0\0X\x02\0\0\0\xc3\xa9eX\x01\0\0\0b}(uu.";
        assert_eq!(pickle(&value), want, "{}", pickle(&value).escape_ascii());
    }

    fn values() -> impl Strategy<Value = Value> {
        let one = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        one.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_come_back(value in values()) {
            let options = serde_pickle::DeOptions::new();
            let back: Value = serde_pickle::from_slice(&pickle(&value), options).unwrap();
            prop_assert_eq!(back, value);
        }
    }
}
