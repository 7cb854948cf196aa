//! Owns picking a few fields out of a JSON object: the values of the others are skipped, and those of
//! the picked ones stay unparsed.
//!
//! It must not know what the fields mean. Nothing is allocated, so an event costs one pass over its
//! bytes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::mended;

/// The values of some fields; `None`: missing, or null. A field that occurs twice has its last value.
pub(super) type Picked<'a, const N: usize> = [Option<&'a RawValue>; N];

/// The values of these fields of an object.
pub(super) fn pick<'a, const N: usize>(
    object: &'a str,
    names: &[&str; N],
) -> Result<Picked<'a, N>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    let picked = deserializer.deserialize_map(Fields(names))?;
    deserializer.end()?;
    Ok(picked)
}

/// The same of an event or a body as servers write it, passed to `read` with the text that they are part
/// of. The error says why it is not a JSON object.
pub(super) fn pick_from<R, const N: usize>(
    data: &[u8],
    names: &[&str; N],
    read: impl FnOnce(Picked<'_, N>, &str) -> R,
) -> Result<R, String> {
    // serde would accept a list for a struct, field by field
    if data.trim_ascii_start().first() != Some(&b'{') {
        return Err("it does not start with `{`".to_owned());
    }
    let text = std::str::from_utf8(data).map_err(serde_json::Error::custom);
    let error = match text.and_then(|text| Ok((pick(text, names)?, text))) {
        Ok((picked, text)) => return Ok(read(picked, text)),
        Err(error) => error,
    };
    // a truncated character, or the log of a probability of 0, does not invalidate the response
    let Some(mended) = mended(data) else {
        return Err(error.to_string());
    };
    match pick(&mended, names) {
        Ok(picked) => Ok(read(picked, &mended)),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a value is a string with something in it.
pub(super) fn has_text(value: Option<&RawValue>) -> bool {
    value.is_some_and(|value| value.get().starts_with('"') && value.get() != "\"\"")
}

/// A string without escapes, as names of types and events are; `None` for anything else.
pub(super) fn word(value: Option<&RawValue>) -> Option<&str> {
    let quoted = value?.get();
    quoted.strip_prefix('"')?.strip_suffix('"')
}

/// Finds the position of a key in a list of names.
struct Position<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Position<'_, N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Position<'_, N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

struct Fields<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = Picked<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = [None; N];
        while let Some(position) = map.next_key_seed(Position(self.0))? {
            match position {
                Some(at) => picked[at] = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_picked() {
        let text = r#"{"a":1,"b":{"a":[2,"}"]},"c":null,"a":"x","d":"\u0061"}"#;
        let [a, b, c, e] = pick(text, &["a", "b", "c", "e"]).unwrap();
        assert_eq!(a.unwrap().get(), r#""x""#);
        assert_eq!(b.unwrap().get(), r#"{"a":[2,"}"]}"#);
        assert!(c.is_none() && e.is_none());
        assert!(has_text(a) && !has_text(b));
        assert_eq!(word(a), Some("x"));
    }

    #[test]
    fn what_servers_write_is_mended() {
        let picked =
            |data: &[u8]| pick_from(data, &["a"], |[a], _| a.map(|value| value.get().to_owned()));
        assert_eq!(picked(b" {\"a\":1}").unwrap().unwrap(), "1");
        assert_eq!(picked(b"{\"b\":NaN,\"a\":1}").unwrap().unwrap(), "1");
        assert_eq!(
            picked(b"{\"a\":\"\xff\"}").unwrap().unwrap(),
            "\"\u{fffd}\""
        );
        assert_eq!(picked(b"[1]").unwrap_err(), "it does not start with `{`");
        assert!(picked(b"{\"a\":").is_err());
    }
}
