//! Owns stream events that are not data of the API: which are skipped, and what they reveal if the
//! stream yields no output.
//!
//! It must not know the API, or whether there was output.

use super::errors::clip;
use super::json::lacks_blank_lines;
use super::meaning::AnswerState;
use evalscope_model::record::{Failure, FailureKind};

/// What arrived besides the output.
#[derive(Debug, Default)]
pub(super) struct Unread {
    aside: Option<Failure>,
}

impl Unread {
    /// An event could not be parsed. It is skipped: whether it was part of the output only shows at
    /// the end.
    pub(super) fn event(&mut self, state: &mut AnswerState, name: &[u8], data: &[u8], error: &str) {
        let failed = |message| Failure::new(FailureKind::Malformed, message);
        if lacks_blank_lines(data) {
            // more than one event is lost, and their arrival times are unknown
            state.failure.get_or_insert_with(|| {
                failed(format!(
                    "several events arrived as one, without blank lines between them: {}",
                    clip(data)
                ))
            });
            return;
        }
        state.skipped_events += 1;
        // a heartbeat with another event name is not missing data
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

    /// The server sent a message in an event without output.
    pub(super) fn notice(&mut self, words: String) {
        self.aside
            .get_or_insert_with(|| Failure::new(FailureKind::ServerError, words));
    }

    pub(super) fn aside(&self) -> Option<&Failure> {
        self.aside.as_ref()
    }
}
