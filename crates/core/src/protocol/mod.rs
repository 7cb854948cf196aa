//! Owns the wire format of each API: request bodies, and the meaning of response events.
//!
//! Pure. It must not know sockets, schedules or totals: it receives events and says what they
//! carried; the caller knows when they arrived.

mod body;
pub mod dashscope;
pub mod declared;
mod errors;
pub(crate) mod json;
mod opaque;
pub mod openai;
mod places;
mod text;
mod unread;
mod usage;
pub mod zhipu;

pub use dashscope::Dashscope;
pub use declared::Declared;
pub(crate) use errors::error_in;
pub use opaque::{Opaque, ResponseRules};
pub use openai::OpenAi;
pub use text::{AnswerText, ChoiceText};
pub use zhipu::{Zhipu, ZhipuKey};

pub use body::{BodyBuilder, BodyError, BodyRules, Endpoint, MaxTokens, PreparedRequest};

use std::fmt;

use serde_json::{Map, Value};

use evalscope_model::prompt::Item;
use evalscope_model::record::{Failure, MAX_CHOICE, Usage};

/// One API: the format of its requests and responses.
///
/// Bodies are assembled with OpenAI's names, whatever the API, so that one set of rules combines
/// flags, templates and prompts; [`Api::fields`] and [`Api::body`] translate.
pub trait Api: fmt::Debug + Send + Sync {
    /// Its name on the command line and in files.
    fn name(&self) -> &str;

    /// Translate a body in the API's own format (a template, a line of a dataset) to fields with
    /// OpenAI's names. OpenAI's own format stays as it is.
    fn fields(&self, body: Map<String, Value>) -> Map<String, Value> {
        body
    }

    /// The body to send, from fields with OpenAI's names.
    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        fields
    }

    /// Whether a stream must be asked for its token counts with `stream_options`.
    fn takes_stream_options(&self) -> bool {
        true
    }

    /// Headers of a request; the user's take precedence.
    fn headers(&self, _stream: bool) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// A reader for one response.
    fn reader(&self) -> Box<dyn AnswerReader>;

    /// Any doubt about the responses read so far.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// Add the generated text of a stream event or of a non-streaming response. Only used after a
    /// response has ended, to count its tokens.
    fn read_text(&self, answer: &[u8], text: &mut AnswerText);
}

/// Builds the bodies of a run, in order.
pub trait BuildBodies: fmt::Debug + Send {
    /// Build the requests for these items, in order; `first` is the position of the first in its
    /// phase.
    ///
    /// # Errors
    /// If one of them has no valid body. Those already built are lost.
    fn build(&mut self, first: u64, items: Vec<Item>) -> Result<Vec<PreparedRequest>, BodyError>;

    /// The largest number of items worth passing at once: more than one if each call has a cost of
    /// its own.
    fn batch(&self) -> usize {
        1
    }
}

/// A doubt about the responses of a user-defined API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Events of an unknown format were counted as token-bearing.
    #[error(
        "`{api}` does not say which events of a stream carry tokens: every event was counted as one that does, \
         so TTFT, ITL and TPOT may include events without tokens (the plugin can say so in `answers`)"
    )]
    Guessed {
        /// The API.
        api: String,
    },
    /// Each event of a stream repeated all text before it.
    #[error(
        "the events of streams repeat the text so far: their text was counted once, and an event \
         that is counted as one token may be more than one"
    )]
    Repeats,
    /// So far, no response had anything in the places of generated text.
    #[error(
        "no response has text at {}, where the declaration says it is",
        quoted(places)
    )]
    TextNowhere {
        /// `stream` or `whole`.
        section: &'static str,
        /// JSON pointers.
        places: Vec<String>,
        /// The start of the first such response.
        instead: Vec<String>,
    },
}

fn quoted(places: &[String]) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    places.join(" or ")
}

/// A set of choices of a response, by index; indices above [`MAX_CHOICE`] count as that one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices(u64);

impl Choices {
    /// No choice.
    pub const NONE: Self = Self(0);
    /// Only the first choice: for responses without choices.
    pub const FIRST: Self = Self(1);

    /// A single choice.
    #[must_use]
    pub fn one(index: usize) -> Self {
        Self(1 << index.min(usize::from(MAX_CHOICE)))
    }

    /// This set if `holds` is true, else the empty set.
    #[must_use]
    pub const fn when(self, holds: bool) -> Self {
        if holds { self } else { Self::NONE }
    }

    /// It is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// This set without `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// It contains all of `others`.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The choices, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            let lowest = (rest != 0).then(|| rest.trailing_zeros() as u8)?;
            rest &= rest - 1;
            Some(lowest)
        })
    }
}

impl fmt::Debug for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl std::ops::BitOr for Choices {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Choices {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What one data event of a stream carried, for each choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventMeaning {
    /// Generated output of any channel: content, reasoning, tool calls, refusal.
    pub tokens: Choices,
    /// Generated output that belongs to the answer rather than to reasoning.
    pub answers: Choices,
    /// A `finish_reason`: generation had ended by then.
    pub finished: Choices,
}

impl EventMeaning {
    /// The meaning of an event without choices.
    #[must_use]
    pub const fn single(token: bool, answer: bool) -> Self {
        Self {
            tokens: Choices::FIRST.when(token),
            answers: Choices::FIRST.when(answer),
            finished: Choices::NONE,
        }
    }

    /// It carried generated output.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// It carried part of the answer.
    #[must_use]
    pub const fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The choices that the event mentions.
    #[must_use]
    pub fn choices(&self) -> Choices {
        self.tokens | self.answers | self.finished
    }
}

impl std::ops::BitOrAssign for EventMeaning {
    fn bitor_assign(&mut self, other: Self) {
        self.tokens |= other.tokens;
        self.answers |= other.answers;
        self.finished |= other.finished;
    }
}

/// The state of a response so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerState {
    /// Token counts; for each field, the last reported value.
    pub usage: Usage,
    /// Why generation ended, once the server has said so.
    pub finish_reason: Option<String>,
    /// The response `id`.
    pub response_id: Option<String>,
    /// The model named in the response.
    pub model: Option<String>,
    /// Events that were not data of the API and were skipped.
    pub skipped_events: u64,
    /// The end marker has arrived: nothing is missing.
    pub done: bool,
    /// The first reason why the response is a failure.
    pub failure: Option<Failure>,
}

/// Reads a response of one API. Each value reads one response.
pub trait AnswerReader: fmt::Debug + Send {
    /// Read one event of a stream. Returns `None` if it is not a data event: the end marker, or a
    /// skipped event.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning>;

    /// Read the body of a non-streaming response. Says whether it carried generated output.
    fn whole(&mut self, body: &[u8]) -> EventMeaning;

    /// The body of a stream has ended properly: without an end marker, this is the end of the
    /// response.
    fn body_ended(&mut self) {}

    /// Whether to keep the text of every data event, and not only of token-bearing ones.
    fn keeps_all(&self) -> bool {
        false
    }

    /// Something in the format of a response has arrived, even without output.
    fn answered(&self) -> bool {
        true
    }

    /// What arrived besides the output, and explains the failure of a response that is empty or has
    /// no end: an event that could not be parsed, or a message of the server.
    fn aside(&self) -> Option<&Failure> {
        None
    }

    /// The state of the response so far.
    fn state(&self) -> &AnswerState;

    /// Take the state, leaving the reader as new.
    fn take(&mut self) -> AnswerState;
}
