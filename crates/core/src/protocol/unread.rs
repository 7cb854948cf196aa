//! Owns the events of a stream that are no data of the API: which are passed over, and what they tell
//! when no answer comes of the stream.
//!
//! It must not know the API, nor whether an answer came.

use super::AnswerState;
use super::errors::clip;
use super::json::lacks_blank_lines;
use evalscope_model::record::{Failure, FailureKind};

/// What has come beside the answer.
#[derive(Debug, Default)]
pub(super) struct Unread {
    aside: Option<Failure>,
}

impl Unread {
    /// An event was not read, for a reason. It is passed over: whether it was a part of the answer shows
    /// at the end.
    pub(super) fn event(&mut self, state: &mut AnswerState, name: &[u8], data: &[u8], error: &str) {
        let failed = |message| Failure::new(FailureKind::Malformed, message);
        if lacks_blank_lines(data) {
            // more than one event is lost, and when each came is not known
            state.failure.get_or_insert_with(|| {
                failed(format!(
                    "several events came as one: blank lines are missing between events: {}",
                    clip(data)
                ))
            });
            return;
        }
        state.skipped_events += 1;
        // a heartbeat of another name is nothing that is missing
        let is_other = !matches!(name, b"" | b"message" | b"error" | b"result");
        let is_reason = self
            .aside
            .as_ref()
            .is_some_and(|aside| aside.kind == FailureKind::Malformed);
        if !is_other && !is_reason {
            self.aside = Some(failed(format!(
                "an event is not a JSON object: {error}: {}",
                clip(data)
            )));
        }
    }

    /// The server said something in an event without an answer.
    pub(super) fn notice(&mut self, words: String) {
        self.aside
            .get_or_insert_with(|| Failure::new(FailureKind::ServerError, words));
    }

    pub(super) fn aside(&self) -> Option<&Failure> {
        self.aside.as_ref()
    }
}
