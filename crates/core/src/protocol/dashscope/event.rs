//! Owns parsing one event, or one non-streaming response, in DashScope's format. What is not needed
//! is skipped.
//!
//! It must not know what is done with the output.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::super::errors::clipped;
use super::super::meaning::Choices;
use super::super::places::{Fields, Joined, Lengths, Place, Sink};

/// Maximum number of choices (`n`); further ones count with the last.
pub(super) const MOST_CHOICES: usize = 4;

pub(super) fn parse(data: &[u8]) -> Result<Event<'_, Lengths>, String> {
    // serde would accept a list for a struct, field by field
    if data.trim_ascii_start().first() == Some(&b'{') {
        serde_json::from_slice(data).map_err(|error| error.to_string())
    } else {
        Err("it does not start with `{`".to_owned())
    }
}

/// The relevant fields of an event or a non-streaming response. Unknown fields are skipped, and a
/// duplicate field is not an error.
#[derive(Default)]
pub(super) struct Event<'a, S> {
    pub(super) output: Output<S>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) request_id: Option<&'a RawValue>,
    pub(super) model: Option<&'a RawValue>,
    pub(super) code: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Default)]
pub(super) struct Output<S> {
    /// It is present and not empty.
    pub(super) present: bool,
    pub(super) said: [S; MOST_CHOICES],
    pub(super) finish_reason: Option<String>,
    pub(super) finished: Choices,
}

/// How a choice, or an `output` without choices, ended.
#[derive(Default)]
struct Ended {
    index: Option<usize>,
    reason: Option<String>,
}

/// Why generation ended; until it has, servers send `"null"`, null or nothing.
fn reason_of(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "\"null\"" | "\"\"" | "null" => None,
        raw => serde_json::from_str(raw).ok().map(clipped),
    }
}

/// A key of an `output`, a choice or a message; output has the same names in all of them.
enum Key {
    Choices,
    Message,
    FinishReason,
    Index,
    Output(Place),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "choices" => Key::Choices,
            "message" => Key::Message,
            "finish_reason" => Key::FinishReason,
            "index" => Key::Index,
            other => Key::Output(Place::deserialize(other.into_deserializer())?),
        })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EventKey {
    Output,
    Usage,
    RequestId,
    Model,
    Code,
    Error,
    #[serde(other)]
    Other,
}

impl<'de, S: Joined> Deserialize<'de> for Event<'de, S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor(PhantomData))
    }
}

struct EventVisitor<S>(PhantomData<S>);

impl<'de, S: Joined> Visitor<'de> for EventVisitor<S> {
    type Value = Event<'de, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event<'de, S>, A::Error> {
        let mut event = Event::default();
        let said_before = |now: Option<_>, before: Option<_>| now.or(before);
        while let Some(key) = map.next_key()? {
            match key {
                EventKey::Output => map.next_value_seed(OutputSeed(&mut event.output))?,
                EventKey::Usage => event.usage = said_before(map.next_value()?, event.usage),
                EventKey::RequestId => event.request_id = map.next_value()?,
                EventKey::Model => event.model = map.next_value()?,
                EventKey::Code => event.code = said_before(map.next_value()?, event.code),
                EventKey::Error => event.error = said_before(map.next_value()?, event.error),
                EventKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(event)
    }
}

/// Makes a seed accept any value; a value of the wrong type holds nothing.
macro_rules! reads_any_value {
    ($seed:ident<$param:ident: $bound:ident>, { $($methods:item)* }) => {
        impl<'de, $param: $bound> DeserializeSeed<'de> for $seed<'_, $param> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de, $param: $bound> Visitor<'de> for $seed<'_, $param> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<(), E> {
                Ok(())
            }

            fn visit_bool<E>(self, _: bool) -> Result<(), E> {
                Ok(())
            }

            fn visit_i64<E>(self, _: i64) -> Result<(), E> {
                Ok(())
            }

            fn visit_u64<E>(self, _: u64) -> Result<(), E> {
                Ok(())
            }

            fn visit_f64<E>(self, _: f64) -> Result<(), E> {
                Ok(())
            }

            fn visit_str<E>(self, _: &str) -> Result<(), E> {
                Ok(())
            }

            $($methods)*
        }
    };
}

struct OutputSeed<'s, S>(&'s mut Output<S>);

reads_any_value!(OutputSeed<S: Joined>, {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let output = self.0;
        let (mut own, mut ended) = (S::default(), Ended::default());
        while let Some(key) = map.next_key()? {
            output.present = true;
            match key {
                Key::Choices => map.next_value_seed(ListSeed(&mut *output))?,
                Key::FinishReason => {
                    let reason = reason_of(map.next_value()?);
                    ended.reason = reason.or(ended.reason);
                }
                Key::Output(place) => Fields(&mut own).take(place, &mut map)?,
                Key::Message | Key::Index => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // text in choices is not repeated
        if output.said.iter().any(|said| !said.is_nothing()) {
            own = S::default();
        }
        output.add(own, ended, 0);
        Ok(())
    }
});

impl<S: Joined> Output<S> {
    fn add(&mut self, said: S, ended: Ended, position: usize) {
        let index = ended.index.unwrap_or(position).min(MOST_CHOICES - 1);
        self.said[index].join(said);
        if ended.reason.is_some() {
            self.finished |= Choices::one(index);
            self.finish_reason = ended.reason;
        }
    }
}

struct ListSeed<'s, S>(&'s mut Output<S>);

reads_any_value!(ListSeed<S: Joined>, {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut position = 0;
        loop {
            let (mut said, mut ended) = (S::default(), Ended::default());
            if seq.next_element_seed(ChoiceSeed(&mut said, &mut ended))?.is_none() {
                return Ok(());
            }
            self.0.add(said, ended, position);
            position += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
});

struct ChoiceSeed<'s, S>(&'s mut S, &'s mut Ended);

reads_any_value!(ChoiceSeed<S: Sink>, {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let ended = self.1;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Message => map.next_value_seed(Fields(&mut *self.0))?,
                Key::FinishReason => ended.reason = reason_of(map.next_value()?),
                Key::Index => {
                    let index: &RawValue = map.next_value()?;
                    ended.index = index.get().parse().ok();
                }
                Key::Output(place) => Fields(&mut *self.0).take(place, &mut map)?,
                Key::Choices => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
});
