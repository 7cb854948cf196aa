//! Owns the reading of responses whose events say in a field `type` what they are, as far as it is the
//! same for all APIs that have such events: unreadable events, errors, the end, non-streaming responses.
//!
//! It must not know any of these APIs. An event is parsed once, and an ordinary one allocates nothing.

use std::fmt;

use serde_json::value::RawValue;

use super::api::AnswerReader;
use super::errors::{clip, error_text, says_nothing_raw};
use super::json::{is_done, unmarked};
use super::meaning::{AnswerState, EventMeaning};
use super::pick::{Picked, pick_from};
use super::unread::Unread;
use evalscope_model::record::{Failure, FailureKind};

/// An API whose events have a type, with what it keeps of a response. It looks at `E` fields of an event,
/// and at `W` fields of a non-streaming response.
pub(super) trait Typed<const E: usize, const W: usize>: Default + fmt::Debug + Send {
    /// The fields of an event.
    const EVENT: [&'static str; E];
    /// The fields of a non-streaming response.
    const WHOLE: [&'static str; W];
    /// What a response is called.
    const RESPONSE: &'static str;
    /// The event that ends a stream.
    const END: &'static str;

    /// Read an event, whose text is `raw`. `None`: it is not one of the API, or a heartbeat.
    fn read_event(
        &mut self,
        heard: &mut Heard,
        fields: Picked<'_, E>,
        raw: &str,
    ) -> Option<EventMeaning>;

    /// Read a non-streaming response, whose text is `raw`.
    fn read_whole(&mut self, heard: &mut Heard, fields: Picked<'_, W>, raw: &str) -> EventMeaning;
}

/// What is known of a response, whatever the API.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) state: AnswerState,
    /// Something in the format of the API has arrived.
    pub(super) answered: bool,
    unread: Unread,
}

impl Heard {
    /// The response is a failure, with the server's words in this JSON.
    pub(super) fn refuse(&mut self, kind: FailureKind, raw: &str) {
        self.state.fail(kind, error_text(raw.as_bytes()));
    }

    /// Skip an event that is not one of the API, where `response` is what one of the API is called. If it is
    /// a chat completion, all of the stream is of another API.
    pub(super) fn skip(&mut self, choices: Option<&RawValue>, response: &str) {
        if choices.is_some() {
            let message = format!("the server sent a chat completion, not {response}");
            self.state.fail(FailureKind::Malformed, message);
        }
        self.state.skipped_events += 1;
    }
}

/// The error in a field; `None` if the field says that there is none.
pub(super) fn error_of(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|error| !says_nothing_raw(error.get()))
}

/// Reads one response.
#[derive(Debug, Default)]
pub(super) struct TypedReader<A, const E: usize, const W: usize> {
    api: A,
    heard: Heard,
}

impl<A: Typed<E, W>, const E: usize, const W: usize> AnswerReader for TypedReader<A, E, W> {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        let Self { api, heard } = self;
        // the end has come already, so that of other APIs says nothing
        if heard.state.done || is_done(data) {
            return None;
        }
        match pick_from(data, &A::EVENT, |fields, raw| {
            api.read_event(heard, fields, raw)
        }) {
            Ok(meaning) => meaning,
            Err(_) if name == b"error" => {
                heard.state.fail(FailureKind::ServerError, error_text(data));
                Some(EventMeaning::default())
            }
            Err(error) => {
                heard.unread.event(&mut heard.state, name, data, &error);
                None
            }
        }
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let Self { api, heard } = self;
        let body = unmarked(body);
        let read = pick_from(body, &A::WHOLE, |fields, raw| {
            api.read_whole(heard, fields, raw)
        });
        heard.state.done = true;
        let (meaning, problem) = match read {
            Ok(meaning) if heard.answered => (meaning, None),
            Ok(meaning) => (meaning, Some(format!("this is not {}", A::RESPONSE))),
            Err(error) => {
                let problem = format!("the response is not a JSON object: {error}");
                (EventMeaning::default(), Some(problem))
            }
        };
        if let Some(problem) = problem {
            let message = format!("{problem}: {}", clip(body));
            heard.state.fail(FailureKind::Malformed, message);
        }
        meaning
    }

    fn missing_end(&self) -> &'static str {
        A::END
    }

    fn answered(&self) -> bool {
        self.heard.answered
    }

    fn aside(&self) -> Option<&Failure> {
        self.heard.unread.aside()
    }

    fn state(&self) -> &AnswerState {
        &self.heard.state
    }

    fn take(&mut self) -> AnswerState {
        std::mem::take(self).heard.state
    }
}
