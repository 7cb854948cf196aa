//! Owns pickles of JSON values: written in protocol 2, which every Python reads, and read as the
//! databases of this program have them (protocols 2 and 3 of plain values).
//!
//! It must not know what a value means. No pickle is ever run: an opcode that would call
//! something is an error.

use super::python::Value;

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

/// A value as a pickle. A text longer than protocol 2 can hold (4 GiB) is cut.
pub(super) fn dumps(value: &Value) -> Vec<u8> {
    let mut bytes = vec![PROTO, 2];
    put(&mut bytes, value);
    bytes.push(STOP);
    bytes
}

fn put(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::None => bytes.push(NONE),
        Value::Bool(value) => bytes.push(if *value { TRUE } else { FALSE }),
        Value::Int(value) => {
            if let Ok(value) = i32::try_from(*value) {
                bytes.push(BININT);
                bytes.extend(value.to_le_bytes());
            } else {
                bytes.extend([LONG1, 16]);
                bytes.extend(value.to_le_bytes());
            }
        }
        Value::Float(value) => {
            bytes.push(BINFLOAT);
            bytes.extend(value.to_be_bytes());
        }
        Value::Text(value) => put_text(bytes, value),
        Value::List(items) => {
            bytes.push(EMPTY_LIST);
            if !items.is_empty() {
                bytes.push(MARK);
                for item in items {
                    put(bytes, item);
                }
                bytes.push(APPENDS);
            }
        }
        Value::Dict(fields) => {
            bytes.push(EMPTY_DICT);
            if !fields.is_empty() {
                bytes.push(MARK);
                for (key, value) in fields {
                    put_text(bytes, key);
                    put(bytes, value);
                }
                bytes.push(SETITEMS);
            }
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    let text = &text[..text.floor_char_boundary(most)];
    let length = u32::try_from(text.len()).expect("it was cut to fit");
    bytes.push(BINUNICODE);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The value of a pickle; `None` where it is none, or of anything but plain values.
pub(super) fn loads(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let (mut stack, mut marks) = (Vec::new(), Vec::new());
    loop {
        match take::<1>(&mut rest)?[0] {
            PROTO => {
                take::<1>(&mut rest)?;
            }
            STOP => return stack.pop().filter(|_| stack.is_empty()),
            MARK => marks.push(stack.len()),
            NONE => stack.push(Value::None),
            TRUE => stack.push(Value::Bool(true)),
            FALSE => stack.push(Value::Bool(false)),
            BININT => stack.push(Value::Int(i32::from_le_bytes(take(&mut rest)?).into())),
            BININT1 => stack.push(Value::Int(take::<1>(&mut rest)?[0].into())),
            BININT2 => stack.push(Value::Int(u16::from_le_bytes(take(&mut rest)?).into())),
            LONG1 => stack.push(Value::Int(long(&mut rest)?)),
            BINFLOAT => stack.push(Value::Float(f64::from_be_bytes(take(&mut rest)?))),
            BINUNICODE => {
                let length = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
                let text = rest.split_off(..length)?;
                stack.push(Value::Text(std::str::from_utf8(text).ok()?.to_owned()));
            }
            EMPTY_LIST => stack.push(Value::List(Vec::new())),
            EMPTY_DICT => stack.push(Value::Dict(Vec::new())),
            opcode @ (APPEND | APPENDS | SETITEM | SETITEMS) => {
                let items = match opcode {
                    APPEND => stack.len().checked_sub(1)?,
                    SETITEM => stack.len().checked_sub(2)?,
                    _ => marks.pop()?,
                };
                let items = (items <= stack.len()).then(|| stack.split_off(items))?;
                match (stack.last_mut()?, opcode) {
                    (Value::List(list), APPEND | APPENDS) => list.extend(items),
                    (Value::Dict(fields), SETITEM | SETITEMS) => fields.extend(pairs(items)?),
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

fn pairs(items: Vec<Value>) -> Option<Vec<(String, Value)>> {
    let mut fields = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let Some(key) = items.next() {
        let Value::Text(key) = key else {
            return None;
        };
        fields.push((key, items.next()?));
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::python::dict;
    use super::*;

    /// `ci/reference-commands export` has Python read the same bytes as the same values.
    #[test]
    fn pickles_have_these_bytes() {
        for (value, want) in [
            (Value::List(Vec::new()), &b"\x80\x02]."[..]),
            (
                dict([("a", Value::None), ("b", Value::Bool(true))]),
                b"\x80\x02}(X\x01\0\0\0aNX\x01\0\0\0b\x88u.",
            ),
            (
                Value::List(vec![
                    Value::Int(-2),
                    Value::Int(1 << 31),
                    Value::Float(0.5),
                    "片".into(),
                ]),
                b"\x80\x02](J\xfe\xff\xff\xff\
                  \x8a\x10\0\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0\
                  G\x3f\xe0\0\0\0\0\0\0\
                  X\x03\0\0\0\xe7\x89\x87e.",
            ),
        ] {
            assert_eq!(dumps(&value), want);
        }
    }

    /// From `serde-pickle` 1.2, which the databases were written with: protocol 3, numbers from
    /// 2³¹ in nine bytes.
    #[test]
    fn pickles_of_databases_are_read() {
        let bytes =
            b"\x80\x03}(X\x01\0\0\0n](J\x01\0\0\0\x8a\x09\0\0\0\x80\0\0\0\0\0NeX\x01\0\0\0e]u.";
        assert_eq!(
            loads(bytes),
            Some(dict([
                (
                    "n",
                    Value::List(vec![Value::Int(1), Value::Int(1 << 31), Value::None])
                ),
                ("e", Value::List(Vec::new())),
            ]))
        );
        // it would call something
        assert_eq!(loads(b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R."), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::None),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|n| Value::Int(n.into())),
            any::<u64>().prop_map(Value::from),
            (-1e300..1e300).prop_map(Value::Float),
            any::<String>().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(Value::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_survives_its_pickle(value in value()) {
            prop_assert_eq!(loads(&dumps(&value)), Some(value));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _none_or_some = loads(&bytes);
        }
    }
}
