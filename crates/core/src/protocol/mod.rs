//! Owns what goes over the wire for each API: request bodies, and what the
//! events of an answer mean.
//!
//! Pure. It must not know sockets, schedules or sums; it is handed events and
//! says what they carried, and the caller says when they arrived.

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

/// One API: how a request of it looks, and how its answers read.
///
/// Bodies are put together in OpenAI's names, whatever the API, so that flags,
/// templates and prompts are combined by one set of rules; [`Api::fields`] and
/// [`Api::body`] translate.
pub trait Api: fmt::Debug + Send + Sync {
    /// Its name on the command line and in files.
    fn name(&self) -> &str;

    /// A body in the API's own form (a template, a line of a data set) as
    /// fields in OpenAI's names. What is in OpenAI's form already stays.
    fn fields(&self, body: Map<String, Value>) -> Map<String, Value> {
        body
    }

    /// The body that goes over the wire, from fields in OpenAI's names.
    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        fields
    }

    /// Whether a stream has to be asked for its token counts by
    /// `stream_options`.
    fn takes_stream_options(&self) -> bool {
        true
    }

    /// Headers of a request, below those that the person gives.
    fn headers(&self, _stream: bool) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// A reader for one answer.
    fn reader(&self) -> Box<dyn AnswerReader>;

    /// What is doubtful about the answers that have been read.
    fn doubt(&self) -> Option<Doubt> {
        None
    }

    /// Add what an event of a stream, or a whole answer, holds of generated
    /// text. Only used after an answer has ended, to count its tokens.
    fn read_text(&self, answer: &[u8], text: &mut AnswerText);
}

/// Makes the bodies of a run, in order.
pub trait BuildBodies: fmt::Debug + Send {
    /// The requests of these items, one for each, in their order; `first` is
    /// the position of the first in its phase.
    ///
    /// # Errors
    /// When there can be no body for one of them. What was built before is lost.
    fn build(&mut self, first: u64, items: Vec<Item>) -> Result<Vec<PreparedRequest>, BodyError>;

    /// The most items that are worth handing over at a time: more than one
    /// where a call has a price of its own.
    fn batch(&self) -> usize {
        1
    }
}

/// What is doubtful about the answers of an API that was told by a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Events of a form that nobody has told were taken for token-bearing ones.
    #[error(
        "`{api}` does not say which events of a stream bear tokens: each was taken for one that does, \
         so TTFT, ITL and TPOT may be those of events without any (the plugin can tell by `answers`)"
    )]
    Guessed {
        /// The API.
        api: String,
    },
    /// Each event of a stream held the whole text before it.
    #[error(
        "the events of streams repeat the text so far: their text was counted once, and a token \
         that is counted by its event may be more than one"
    )]
    Repeats,
    /// Nothing stood where generated text is said to stand, in any answer so far.
    #[error(
        "no answer has a text at {}, where it is said to stand",
        quoted(places)
    )]
    TextNowhere {
        /// `stream` or `whole`.
        section: &'static str,
        /// JSON pointers.
        places: Vec<String>,
        /// What the first such answer began with.
        instead: Vec<String>,
    },
}

fn quoted(places: &[String]) -> String {
    let places: Vec<String> = places.iter().map(|place| format!("`{place}`")).collect();
    places.join(" or ")
}

/// A set of choices of an answer, by index; what is beyond [`MAX_CHOICE`] counts as that.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices(u64);

impl Choices {
    /// No choice.
    pub const NONE: Self = Self(0);
    /// The first choice alone: what an answer has that knows no choices.
    pub const FIRST: Self = Self(1);

    /// One choice.
    #[must_use]
    pub fn one(index: usize) -> Self {
        Self(1 << index.min(usize::from(MAX_CHOICE)))
    }

    /// These where `holds` is true, else none.
    #[must_use]
    pub const fn when(self, holds: bool) -> Self {
        if holds { self } else { Self::NONE }
    }

    /// It is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// These but for `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// It holds all of `others`.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The choices, the lowest first.
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
    /// Generated payload of any channel: content, reasoning, tool calls, refusal.
    pub tokens: Choices,
    /// Generated payload that belongs to the answer rather than to reasoning.
    pub answers: Choices,
    /// A `finish_reason`: generation had ended by then.
    pub finished: Choices,
}

impl EventMeaning {
    /// What an event carried that knows no choices.
    #[must_use]
    pub const fn single(token: bool, answer: bool) -> Self {
        Self {
            tokens: Choices::FIRST.when(token),
            answers: Choices::FIRST.when(answer),
            finished: Choices::NONE,
        }
    }

    /// It carried generated payload.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// It carried a part of the answer.
    #[must_use]
    pub const fn has_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The choices that the event speaks of.
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

/// What an answer has said of itself so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerState {
    /// Token counts; the last value that said something, field by field.
    pub usage: Usage,
    /// Why generation ended, once the server said so.
    pub finish_reason: Option<String>,
    /// The answer's `id`.
    pub response_id: Option<String>,
    /// The model that the answer names.
    pub model: Option<String>,
    /// Events that were no data of the API and were passed over.
    pub skipped_events: u64,
    /// The end marker has come: nothing is missing.
    pub done: bool,
    /// The first thing that makes the answer a failure.
    pub failure: Option<Failure>,
}

/// Reads an answer of one API. One value reads one answer.
pub trait AnswerReader: fmt::Debug + Send {
    /// Read one event of a stream. Returns `None` for what is no data event: the
    /// end marker, and what was passed over.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning>;

    /// Read the body of an answer that is no stream. Says whether it carried
    /// generated payload.
    fn whole(&mut self, body: &[u8]) -> EventMeaning;

    /// The body of a stream has ended as it should: for an API without an end
    /// marker that is the end of the answer.
    fn body_ended(&mut self) {}

    /// Whether the text of every data event is to be kept, and not only of those
    /// that bear tokens.
    fn keeps_all(&self) -> bool {
        false
    }

    /// Something in the form of an answer has come, be it without output.
    fn answered(&self) -> bool {
        true
    }

    /// What has come beside the answer, and makes a failure of one that is empty
    /// or has no end: an event that could not be read (then that is its reason),
    /// or words of the server.
    fn aside(&self) -> Option<&Failure> {
        None
    }

    /// What the answer has said so far.
    fn state(&self) -> &AnswerState;

    /// Take out what the answer has said, leaving the reader as new.
    fn take(&mut self) -> AnswerState;
}
