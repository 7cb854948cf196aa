//! Owns the JSON pointers (RFC 6901) of a declaration: parsed once, followed often.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

/// Places of a value; the first that holds something counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointers(Vec<Vec<Step>>);

/// One part of a pointer: a key, or an index if it is applied to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    key: String,
    index: Option<usize>,
}

impl Pointers {
    /// There is no pointer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values at these places, in order.
    pub(super) fn all<'a>(&'a self, value: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter_map(move |steps| follow(value, steps))
    }

    /// The pointers as written.
    pub(super) fn shown(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|steps| {
            let mut text = String::new();
            for step in steps {
                text.push('/');
                text.push_str(&step.key.replace('~', "~0").replace('/', "~1"));
            }
            text
        })
    }

    fn parse(texts: &[String]) -> Result<Self, String> {
        texts.iter().map(|text| parse(text)).collect()
    }
}

impl FromIterator<Vec<Step>> for Pointers {
    fn from_iter<T: IntoIterator<Item = Vec<Step>>>(pointers: T) -> Self {
        Self(pointers.into_iter().collect())
    }
}

fn follow<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(map) => map.get(&step.key),
        Value::Array(items) => items.get(step.index?),
        _ => None,
    })
}

fn parse(text: &str) -> Result<Vec<Step>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(path) = text.strip_prefix('/') else {
        return Err(format!(
            "`{text}` is not a JSON pointer: it must start with `/`, such as `/choices/0/text`"
        ));
    };
    path.split('/').map(|part| step(text, part)).collect()
}

fn step(pointer: &str, part: &str) -> Result<Step, String> {
    let spoilt = part
        .split('~')
        .skip(1)
        .any(|after| !after.starts_with(['0', '1']));
    if spoilt {
        return Err(format!(
            "`{pointer}` is not a JSON pointer: write `~` in a key as `~0`, and `/` as `~1`"
        ));
    }
    let plain = part == "0" || !part.starts_with(['0', '+']);
    Ok(Step {
        key: part.replace("~1", "/").replace("~0", "~"),
        index: part.parse().ok().filter(|_| plain),
    })
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a JSON pointer or a list of them")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl<'de> Deserialize<'de> for Pointers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        Self::parse(&texts).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_lead_where_the_standard_says() {
        let value =
            json!({"a": [{"b": 1}, {"b": 2}], "m~n": 3, "x/y": 4, "": 5, "07": 6, "l": [7]});
        for (text, want) in [
            ("/a/1/b", Some(json!(2))),
            ("/m~0n", Some(json!(3))),
            ("/x~1y", Some(json!(4))),
            ("/", Some(json!(5))),
            ("/07", Some(json!(6))),
            ("/l/00", None),
            ("/a/2/b", None),
            ("/a/b", None),
            ("", Some(value.clone())),
        ] {
            let pointers: Pointers = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(pointers.all(&value).next().cloned(), want, "{text}");
            assert_eq!(value.pointer(text).cloned(), want, "{text}");
            assert_eq!(pointers.shown().collect::<Vec<_>>(), [text]);
        }
    }

    #[test]
    fn what_is_no_pointer_is_told() {
        let error = |value| {
            serde_json::from_value::<Pointers>(value)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(error(json!("choices")), @"`choices` is not a JSON pointer: it must start with `/`, such as `/choices/0/text`");
        insta::assert_snapshot!(error(json!(["/a", "/b~c"])), @"`/b~c` is not a JSON pointer: write `~` in a key as `~0`, and `/` as `~1`");
        insta::assert_snapshot!(error(json!(3)), @"expected a JSON pointer or a list of them");
    }
}
