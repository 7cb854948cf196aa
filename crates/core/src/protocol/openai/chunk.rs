//! Owns parsing one event, or one non-streaming response, in OpenAI's format and its dialects. Each
//! is parsed once, and what is not needed is skipped.
//!
//! It must not know what is done with the output of a choice.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::errors::{clipped, name_in, says_nothing_raw};
use super::super::places::{Fields, Place, Sink, Walk};

/// Receives the choices of an event.
pub(super) trait ChoiceSink<'a> {
    /// Receives the output of one choice.
    type Sink: Sink + Default;

    /// Add a choice, with its `index` or its position.
    fn choice(&mut self, index: usize, choice: Choice<'a, Self::Sink>);
}

/// The relevant fields of an event or a non-streaming response, except its choices. Unknown fields
/// are skipped, and a duplicate field is not an error.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Option<&'a RawValue>,
    pub(super) model: Option<&'a RawValue>,
    /// `"object": "error"`: vLLM's older form.
    pub(super) is_error: bool,
    /// `base_resp` of `MiniMax` with a status other than success.
    pub(super) refused: bool,
    /// Token counts, those at the top level last.
    pub(super) usages: [Option<&'a RawValue>; 2],
    pub(super) error: Option<&'a RawValue>,
    /// It has fields that only objects without output have.
    pub(super) odd: bool,
}

impl<'a> Chunk<'a> {
    /// Parse an event; its choices are passed to the sink.
    pub(super) fn parse<L: ChoiceSink<'a>>(
        data: &'a [u8],
        choices: &mut L,
    ) -> Result<Self, serde_json::Error> {
        // checking all of it once is cheaper than each name and each string
        let text = std::str::from_utf8(data).map_err(serde::de::Error::custom)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let chunk = ChunkSeed(choices).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(chunk)
    }
}

/// Visitor methods that return a fixed value for each scalar.
macro_rules! scalars {
    ($value:expr; $($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($value) }
    };
}

/// A visitor method that skips a list.
macro_rules! skip_list {
    ($value:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

/// A visitor method that skips an object.
macro_rules! skip_object {
    ($value:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChunkKey {
    Id,
    Model,
    Object,
    Choices,
    Usage,
    #[serde(rename = "usageMetadata")]
    UsageMetadata,
    XGroq,
    Message,
    Error,
    BaseResp,
    #[serde(
        alias = "msg",
        alias = "detail",
        alias = "errors",
        alias = "error_code",
        alias = "errorCode",
        alias = "errcode",
        alias = "error_msg",
        alias = "error_message",
        alias = "errorMessage",
        alias = "success",
        alias = "ok",
        alias = "status",
        alias = "status_code",
        alias = "type",
        alias = "fault"
    )]
    Code,
    #[serde(other)]
    Other,
}

struct ChunkSeed<'s, L>(&'s mut L);

impl<'de, L: ChoiceSink<'de>> DeserializeSeed<'de> for ChunkSeed<'_, L> {
    type Value = Chunk<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Chunk<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, L: ChoiceSink<'de>> Visitor<'de> for ChunkSeed<'_, L> {
    type Value = Chunk<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chunk<'de>, A::Error> {
        let mut chunk = Chunk::default();
        while let Some(key) = map.next_key()? {
            match key {
                ChunkKey::Id => chunk.id = map.next_value()?,
                ChunkKey::Model => chunk.model = map.next_value()?,
                ChunkKey::Choices => map.next_value_seed(ListSeed(&mut *self.0))?,
                ChunkKey::Usage | ChunkKey::UsageMetadata => {
                    let usage: Option<_> = map.next_value()?;
                    chunk.usages[1] = usage.or(chunk.usages[1]);
                }
                ChunkKey::Object => {
                    let object: Option<&RawValue> = map.next_value()?;
                    chunk.is_error |= object.is_some_and(|object| object.get() == "\"error\"");
                }
                ChunkKey::Error => {
                    let error: Option<_> = map.next_value()?;
                    chunk.error = error.or(chunk.error);
                }
                ChunkKey::XGroq => {
                    let inner: Option<&RawValue> = map.next_value()?;
                    chunk.usages[0] = inner.and_then(usage_within).or(chunk.usages[0]);
                }
                // Anthropic's first event has the prompt's counts there; otherwise it is a text
                ChunkKey::Message => {
                    let message: Option<&RawValue> = map.next_value()?;
                    chunk.odd |= message.is_some();
                    chunk.usages[0] = message.and_then(usage_within).or(chunk.usages[0]);
                }
                ChunkKey::BaseResp => {
                    let inner: Option<&RawValue> = map.next_value()?;
                    let status = inner.and_then(|inner| within(inner, "status_code"));
                    chunk.refused |= status.is_some_and(|code| !says_nothing_raw(code.get()));
                }
                ChunkKey::Code => {
                    chunk.odd = true;
                    map.next_value::<IgnoredAny>()?;
                }
                ChunkKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(chunk)
    }
}

fn usage_within(object: &RawValue) -> Option<&RawValue> {
    within(object, "usage")
}

/// The value of a field of an object.
fn within<'a>(object: &'a RawValue, field: &str) -> Option<&'a RawValue> {
    struct Within<'f>(&'f str);
    impl<'de> Visitor<'de> for Within<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                if key == self.0 {
                    found = map.next_value()?;
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    deserializer.deserialize_map(Within(field)).ok()?
}

/// Passes the list of choices to the sink.
struct ListSeed<'s, L>(&'s mut L);

impl<'de, L: ChoiceSink<'de>> DeserializeSeed<'de> for ListSeed<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: ChoiceSink<'de>> Visitor<'de> for ListSeed<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    scalars!((); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    skip_object!(());

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut position = 0;
        while let Some(choice) = seq.next_element::<Choice<'_, L::Sink>>()? {
            self.0.choice(choice.index.unwrap_or(position), choice);
            position += 1;
        }
        Ok(())
    }
}

/// A choice; its output goes to three sinks, as the places repeat one another.
#[derive(Debug, Default)]
pub(super) struct Choice<'a, S> {
    pub(super) index: Option<usize>,
    pub(super) delta: S,
    pub(super) text: S,
    pub(super) message: S,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceKey {
    Delta,
    Message,
    Text,
    FinishReason,
    Index,
    Usage,
    #[serde(other)]
    Other,
}

impl<'de, S: Sink + Default> Deserialize<'de> for Choice<'de, S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor(PhantomData))
    }
}

struct ChoiceVisitor<S>(PhantomData<S>);

impl<'de, S: Sink + Default> Visitor<'de> for ChoiceVisitor<S> {
    type Value = Choice<'de, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a choice")
    }

    scalars!(Choice::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    skip_list!(Choice::default());

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice<'de, S>, A::Error> {
        let mut choice = Choice::default();
        while let Some(key) = map.next_key()? {
            match key {
                ChoiceKey::Delta => map.next_value_seed(Fields(&mut choice.delta))?,
                ChoiceKey::Message => map.next_value_seed(Fields(&mut choice.message))?,
                ChoiceKey::Text => map.next_value_seed(Walk {
                    sink: &mut choice.text,
                    place: Place::Content,
                })?,
                ChoiceKey::FinishReason => {
                    let Reason(reason) = map.next_value()?;
                    choice.finish_reason = reason.or(choice.finish_reason);
                }
                ChoiceKey::Index => {
                    let index: &RawValue = map.next_value()?;
                    choice.index = index.get().parse().ok();
                }
                ChoiceKey::Usage => choice.usage = map.next_value()?,
                ChoiceKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(choice)
    }
}

/// Why generation ended, if it has.
#[derive(Debug, Default)]
struct Reason(Option<String>);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReasonVisitor)
    }
}

struct ReasonVisitor;

impl<'de> Visitor<'de> for ReasonVisitor {
    type Value = Reason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finish reason")
    }

    scalars!(Reason(None); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
    skip_list!(Reason(None));

    fn visit_str<E>(self, text: &str) -> Result<Reason, E> {
        // some servers send a word for "not yet"
        let none = text.is_empty() || text == "null";
        Ok(Reason((!none).then(|| clipped(text.to_owned()))))
    }

    /// SGLang's own format: `{"type": "abort", "message": …}`.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reason, A::Error> {
        let mut reason = Reason(None);
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            let value: Option<&RawValue> = map.next_value()?;
            if key == "type" {
                reason = Reason(value.and_then(name_in));
            }
        }
        Ok(reason)
    }
}
