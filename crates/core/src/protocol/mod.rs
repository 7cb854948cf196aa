//! Owns what goes over the wire for each API: request bodies, and what the
//! events of an answer mean.
//!
//! Pure. It must not know sockets, schedules or sums; it is handed events and
//! says what they carried, and the caller says when they arrived.

mod body;
pub mod openai;

pub use body::{BodyBuilder, BodyError, BodyRules, Endpoint, MaxTokens, PreparedRequest};

use crate::record::{Failure, Usage};

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
pub trait AnswerReader: std::fmt::Debug + Send {
    /// Read one event of a stream. Returns `None` for the end marker, which is
    /// no data event.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning>;

    /// Read the body of an answer that is no stream. Says whether it carried
    /// generated payload.
    fn whole(&mut self, body: &[u8]) -> EventMeaning;

    /// What the answer has said so far.
    fn state(&self) -> &AnswerState;

    /// Take out what the answer has said, leaving the reader as new.
    fn take(&mut self) -> AnswerState;
}
