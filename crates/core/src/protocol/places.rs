//! Owns the list of places where generated text can be in a `delta` or a `message`, and the
//! traversal of them.
//!
//! It must not know what the text is for: the event reader only asks whether there is any, the
//! tokenizer wants all of it. Both use this traversal, so that neither sees what the other misses.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A field of a `delta` or a `message` that can hold generated output. Among the spellings of one
/// channel, the first that is not empty counts: servers that send several repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(super) enum Place {
    ReasoningContent,
    Reasoning,
    /// GitHub.
    ReasoningText,
    /// Also a part of `content`: Mistral, Anthropic.
    Thinking,
    /// `OpenRouter`.
    ReasoningDetails,
    Content,
    Text,
    Refusal,
    ToolCalls,
    FunctionCall,
    /// Audio, with a transcript.
    Audio,
    /// Images: output without text.
    Images,
    /// Holds no generated output.
    #[serde(other)]
    Other,
}

impl Place {
    /// Number of places with text.
    const TEXTS: usize = Self::Audio as usize + 1;

    /// Its text is reasoning, not the answer.
    pub(super) const fn is_reasoning(self) -> bool {
        (self as usize) <= Self::ReasoningDetails as usize
    }
}

/// Keys that hold output inside parts, tool calls and reasoning details. Not `signature`, and not
/// `data` except in audio: those are encrypted reasoning.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Inner {
    Arguments,
    Content,
    Custom,
    Function,
    Input,
    Name,
    Summary,
    Text,
    Transcript,
    Thinking,
    Reasoning,
    ReasoningText,
    Audio,
    InputAudio,
    Data,
    B64Json,
    Image,
    Images,
    ImageUrl,
    InlineData,
    Video,
    VideoUrl,
    #[serde(other)]
    Other,
}

impl Inner {
    /// The place that the value of this key belongs to, inside another place.
    fn within(self, place: Place) -> Place {
        match self {
            Self::Arguments
            | Self::Content
            | Self::Custom
            | Self::Function
            | Self::Input
            | Self::Name
            | Self::Summary
            | Self::Text
            | Self::Transcript => place,
            Self::Thinking | Self::Reasoning | Self::ReasoningText if place.is_reasoning() => place,
            Self::Thinking | Self::Reasoning | Self::ReasoningText => Place::Thinking,
            Self::Audio | Self::InputAudio => Place::Audio,
            Self::Data if place == Place::Audio => Place::Images,
            Self::B64Json
            | Self::Image
            | Self::Images
            | Self::ImageUrl
            | Self::InlineData
            | Self::Video
            | Self::VideoUrl => Place::Images,
            Self::Data | Self::Other => Place::Other,
        }
    }
}

/// Receives what is found.
pub(super) trait Sink {
    /// A text, possibly empty.
    fn text(&mut self, place: Place, text: &str);
    /// Output other than text.
    fn payload(&mut self, place: Place);
}

/// Whether there is any output, and whether any of it is not reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) token: bool,
    pub(super) answer: bool,
}

impl Sink for Seen {
    fn text(&mut self, place: Place, text: &str) {
        if !text.is_empty() {
            self.payload(place);
        }
    }

    fn payload(&mut self, place: Place) {
        self.token = true;
        self.answer |= !place.is_reasoning();
    }
}

/// Amount of output, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) reasoning: usize,
    pub(super) answer: usize,
}

impl Sink for Lengths {
    fn text(&mut self, place: Place, text: &str) {
        if place.is_reasoning() {
            self.reasoning += text.len();
        } else {
            self.answer += text.len();
        }
    }

    fn payload(&mut self, _: Place) {
        self.answer += 1;
    }
}

/// The full text, by place.
#[derive(Debug, Default)]
pub(super) struct Words {
    texts: [String; Place::TEXTS],
    payload: bool,
}

impl Sink for Words {
    fn text(&mut self, place: Place, text: &str) {
        self.texts[place as usize].push_str(text);
    }

    fn payload(&mut self, _: Place) {
        self.payload = true;
    }
}

impl Words {
    /// Whether there is output, even without text.
    pub(super) fn any(&self) -> bool {
        self.payload || self.texts.iter().any(|text| !text.is_empty())
    }

    /// The reasoning and the answer: for each channel, the first spelling that is not empty.
    pub(super) fn said(self) -> (String, String) {
        self.channels(true)
    }

    /// The same without tool calls.
    pub(super) fn spoken(self) -> (String, String) {
        self.channels(false)
    }

    fn channels(mut self, with_calls: bool) -> (String, String) {
        let mut first = |places: &[Place]| {
            let mut texts = places.iter().map(|place| *place as usize);
            let found = texts.find(|at| !self.texts[*at].is_empty());
            found.map_or_else(String::new, |at| std::mem::take(&mut self.texts[at]))
        };
        let reasoning = first(&[
            Place::ReasoningContent,
            Place::Reasoning,
            Place::ReasoningText,
            Place::Thinking,
            Place::ReasoningDetails,
        ]);
        let mut answer = first(&[Place::Content, Place::Text]);
        answer += &first(&[Place::Refusal]);
        if with_calls {
            answer += &first(&[Place::ToolCalls, Place::FunctionCall]);
        }
        answer += &first(&[Place::Audio]);
        (reasoning, answer)
    }
}

/// A sink for one place of one choice among several.
pub(super) trait Joined: Sink + Default {
    /// Merge what another sink received.
    fn join(&mut self, other: Self);
    /// It received nothing.
    fn is_nothing(&self) -> bool;
}

impl Joined for Lengths {
    fn join(&mut self, other: Self) {
        self.reasoning += other.reasoning;
        self.answer += other.answer;
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Joined for Words {
    fn join(&mut self, other: Self) {
        for (text, more) in self.texts.iter_mut().zip(other.texts) {
            text.push_str(&more);
        }
        self.payload |= other.payload;
    }

    fn is_nothing(&self) -> bool {
        !self.any()
    }
}

/// Passes the output in a place to the sink.
pub(super) struct Walk<'s, S> {
    pub(super) sink: &'s mut S,
    pub(super) place: Place,
}

impl<S> Walk<'_, S> {
    fn again(&mut self, place: Place) -> Walk<'_, S> {
        Walk {
            sink: self.sink,
            place,
        }
    }
}

/// Visitor methods for values that cannot hold output.
macro_rules! nothing_in {
    ($($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<(), E> { Ok(()) })*
        fn visit_unit<E>(self) -> Result<(), E> { Ok(()) }
    };
}

impl<'de, S: Sink> DeserializeSeed<'de> for Walk<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Walk<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    nothing_in!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.place != Place::Images {
            self.sink.text(self.place, text);
        } else if !text.is_empty() {
            self.sink.payload(self.place);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let place = self.place;
        while seq.next_element_seed(self.again(place))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.place == Place::Images {
            let mut any = false;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                any = true;
            }
            if any {
                self.sink.payload(self.place);
            }
            return Ok(());
        }
        while let Some(key) = map.next_key::<Inner>()? {
            let place = key.within(self.place);
            if place == Place::Other {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(self.again(place))?;
            }
        }
        Ok(())
    }
}

/// Passes the output in the fields of a `delta` or a `message` to the sink.
pub(super) struct Fields<'s, S>(pub(super) &'s mut S);

impl<S: Sink> Fields<'_, S> {
    /// Read the value of one field.
    pub(super) fn take<'de, A: MapAccess<'de>>(
        &mut self,
        place: Place,
        map: &mut A,
    ) -> Result<(), A::Error> {
        if place == Place::Other {
            map.next_value::<IgnoredAny>()?;
            return Ok(());
        }
        map.next_value_seed(Walk {
            sink: self.0,
            place,
        })
    }
}

impl<'de, S: Sink> DeserializeSeed<'de> for Fields<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Fields<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delta or a message")
    }

    nothing_in!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key()? {
            self.take(place, &mut map)?;
        }
        Ok(())
    }
}
