//! Owns what goes over the wire for each API: request bodies, and what the
//! events of an answer mean.
//!
//! Pure. It must not know sockets, schedules or sums; it is handed events and
//! says what they carried, and the caller says when they arrived.

mod body;
pub mod dashscope;
pub mod declared;
mod opaque;
pub mod openai;
mod text;
mod usage;
pub mod zhipu;

pub use dashscope::Dashscope;
pub use declared::Declared;
pub use opaque::{Opaque, ToldAnswers};
pub use openai::OpenAi;
pub use zhipu::{Zhipu, ZhipuKey};

pub use body::{BodyBuilder, BodyError, BodyRules, Endpoint, MaxTokens, PreparedRequest};

use std::fmt;

use serde_json::{Map, Value};

use crate::dataset::Item;
use crate::record::{Failure, Usage};

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

/// All text of one answer, reasoning apart from content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerText {
    /// One for each choice: reasoning, and content with refusals and the like.
    pub choices: Vec<ChoiceText>,
}

/// The text of one choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceText {
    /// Its reasoning.
    pub reasoning: String,
    /// Its content, and tool calls as their names and arguments.
    pub content: String,
}

impl AnswerText {
    /// Longest list of choices that is believed.
    const MOST_CHOICES: usize = 1024;

    /// A choice by its `index`, made when it is new.
    pub fn choice(&mut self, index: usize) -> &mut ChoiceText {
        let index = index.min(Self::MOST_CHOICES);
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, ChoiceText::default);
        }
        &mut self.choices[index]
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

/// What one data event of a stream carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventMeaning {
    /// Generated payload of any channel: content, reasoning, tool calls, refusal.
    pub token: bool,
    /// Generated payload that belongs to the answer rather than to reasoning.
    pub answer: bool,
}

/// What an answer has said of itself so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerState {
    /// Token counts; the last value that was not null, field by field.
    pub usage: Usage,
    /// Why generation ended, once the server said so.
    pub finish_reason: Option<String>,
    /// The answer's `id`.
    pub response_id: Option<String>,
    /// The end marker has come: nothing is missing.
    pub done: bool,
    /// The first thing that makes the answer a failure.
    pub failure: Option<Failure>,
}

/// Reads an answer of one API. One value reads one answer.
pub trait AnswerReader: fmt::Debug + Send {
    /// Read one event of a stream. Returns `None` for the end marker, which is
    /// no data event.
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

    /// What the answer has said so far.
    fn state(&self) -> &AnswerState;

    /// Take out what the answer has said, leaving the reader as new.
    fn take(&mut self) -> AnswerState;
}
