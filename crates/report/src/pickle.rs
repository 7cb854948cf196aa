//! Owns pickles, the form in which Python's programs keep values: JSON values and lists of texts,
//! written in protocol 2, which every Python 3 reads; and read as the databases of this program have
//! them (protocols 2 and 3 of plain values).
//!
//! It must not know where pickles are kept. No pickle is ever run: an opcode that would call
//! something is an error.

use serde_json::{Map, Number, Value};

const PROTO: u8 = 0x80;
const STOP: u8 = b'.';
const MARK: u8 = b'(';
const NONE: u8 = b'N';
const TRUE: u8 = 0x88;
const FALSE: u8 = 0x89;
const BININT: u8 = b'J';
const BININT1: u8 = b'K';
const BININT2: u8 = b'M';
const LONG1: u8 = 0x8a;
const BINFLOAT: u8 = b'G';
const BINUNICODE: u8 = b'X';
const EMPTY_LIST: u8 = b']';
const APPEND: u8 = b'a';
const APPENDS: u8 = b'e';
const EMPTY_DICT: u8 = b'}';
const SETITEM: u8 = b's';
const SETITEMS: u8 = b'u';

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
        out.extend([EMPTY_LIST, MARK]);
        each(&mut |text| put_text(out, text));
        out.push(APPENDS);
    });
}

/// Protocol 2 at the start, STOP at the end.
fn framed(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    out.extend([PROTO, 2]);
    put(out);
    out.push(STOP);
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NONE),
        Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
        Value::Number(number) => put_number(out, number),
        Value::String(text) => put_text(out, text),
        Value::Array(items) if items.is_empty() => out.push(EMPTY_LIST),
        Value::Object(fields) if fields.is_empty() => out.push(EMPTY_DICT),
        // an empty container, a mark, what is in it, and all since the mark goes into it
        Value::Array(items) => {
            out.extend([EMPTY_LIST, MARK]);
            for item in items {
                put(out, item);
            }
            out.push(APPENDS);
        }
        Value::Object(fields) => {
            out.extend([EMPTY_DICT, MARK]);
            for (key, value) in fields {
                put_text(out, key);
                put(out, value);
            }
            out.push(SETITEMS);
        }
    }
}

fn put_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(whole) = number.as_i128() {
        if let Ok(small) = i32::try_from(whole) {
            out.push(BININT);
            out.extend(small.to_le_bytes());
        } else {
            // nine bytes hold the sign of any number of 64 bits
            out.extend([LONG1, 9]);
            out.extend(&whole.to_le_bytes()[..9]);
        }
    } else {
        let float = number.as_f64().expect("a number is whole or a float");
        out.push(BINFLOAT);
        out.extend(float.to_be_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("a body is shorter than 4 GiB");
    out.push(BINUNICODE);
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
}

/// The value of a pickle; `None` where the bytes are not a pickle of a JSON value.
pub(crate) fn read(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let (mut stack, mut marks) = (Vec::new(), Vec::new());
    loop {
        match take::<1>(&mut rest)?[0] {
            PROTO => {
                take::<1>(&mut rest)?;
            }
            STOP => return stack.pop().filter(|_| stack.is_empty()),
            MARK => marks.push(stack.len()),
            NONE => stack.push(Value::Null),
            TRUE => stack.push(true.into()),
            FALSE => stack.push(false.into()),
            BININT => stack.push(i32::from_le_bytes(take(&mut rest)?).into()),
            BININT1 => stack.push(take::<1>(&mut rest)?[0].into()),
            BININT2 => stack.push(u16::from_le_bytes(take(&mut rest)?).into()),
            LONG1 => stack.push(Number::from_i128(long(&mut rest)?)?.into()),
            BINFLOAT => {
                let float = f64::from_be_bytes(take(&mut rest)?);
                stack.push(Number::from_f64(float)?.into());
            }
            BINUNICODE => {
                let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
                let text = rest.split_off(..length)?;
                stack.push(std::str::from_utf8(text).ok()?.into());
            }
            EMPTY_LIST => stack.push(Vec::<Value>::new().into()),
            EMPTY_DICT => stack.push(Map::new().into()),
            opcode @ (APPEND | APPENDS | SETITEM | SETITEMS) => {
                let items = match opcode {
                    APPEND => stack.len().checked_sub(1)?,
                    SETITEM => stack.len().checked_sub(2)?,
                    _ => marks.pop()?,
                };
                let items = (items <= stack.len()).then(|| stack.split_off(items))?;
                match (stack.last_mut()?, opcode) {
                    (Value::Array(list), APPEND | APPENDS) => list.extend(items),
                    (Value::Object(fields), SETITEM | SETITEMS) => fields.extend(pairs(items)?),
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// A number of up to 16 bytes in two's complement, the lowest first.
fn long(rest: &mut &[u8]) -> Option<i128> {
    let length = usize::from(take::<1>(rest)?[0]);
    let bytes = rest.split_off(..length)?;
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 16];
    whole.get_mut(..length)?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(whole))
}

fn pairs(items: Vec<Value>) -> Option<Map<String, Value>> {
    let mut fields = Map::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let Some(key) = items.next() {
        let Value::String(key) = key else {
            return None;
        };
        fields.insert(key, items.next()?);
    }
    Some(fields)
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
    /// `{"a": [None, True, False, -1, 4294967296, 18446744073709551615, 2.5, "é"], "b": {}, "c": []}`; `ci/reference-commands
    /// export` has Python read them.
    #[test]
    fn these_bytes_are_read_by_python() {
        let value = json!({
            "a": [null, true, false, -1, 1_u64 << 32, u64::MAX, 2.5, "é"],
            "b": {},
            "c": [],
        });
        let want = b"\x80\x02}(X\x01\0\0\0a](N\x88\x89J\xff\xff\xff\xff\
            \x8a\x09\0\0\0\0\x01\0\0\0\0\
            \x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0\
            G\x40\x04\0\0\0\0\0\0X\x02\0\0\0\xc3\xa9eX\x01\0\0\0b}X\x01\0\0\0c]u.";
        assert_eq!(pickle(&value), want, "{}", pickle(&value).escape_ascii());
        assert_eq!(read(want), Some(value));
    }

    /// From `serde-pickle` 1.2, which the first databases were written with: protocol 3, numbers from
    /// 2³¹ in nine bytes.
    #[test]
    fn pickles_of_the_first_databases_are_read() {
        let bytes =
            b"\x80\x03}(X\x01\0\0\0n](J\x01\0\0\0\x8a\x09\0\0\0\x80\0\0\0\0\0NeX\x01\0\0\0e]u.";
        assert_eq!(
            read(bytes),
            Some(json!({"n": [1, 1_u64 << 31, null], "e": []}))
        );
        // it would call something
        assert_eq!(read(b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."), None);
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
            prop_assert_eq!(&back, &value);
            prop_assert_eq!(read(&pickle(&value)), Some(value));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _none_or_some = read(&bytes);
        }
    }
}
