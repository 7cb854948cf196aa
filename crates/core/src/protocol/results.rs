//! Owns the reading of responses that have a result for each input: a list, in a field or by itself.
//!
//! It must not know what a result is.

use serde_json::value::RawValue;

use super::api::AnswerReader;
use super::errors::{clip, error_in, error_text, name_in, says_nothing_raw};
use super::json::unmarked;
use super::meaning::{AnswerState, EventMeaning};
use super::scan::{Document, elements};
use super::usage::{first, reported};
use evalscope_model::record::FailureKind;

/// Reads a response that is a list of results, in one of these fields or by itself.
#[derive(Debug)]
pub(super) struct ResultsReader {
    state: AnswerState,
    /// The fields that a list of results may be in.
    names: [&'static str; 3],
    results: Option<u64>,
}

impl ResultsReader {
    pub(super) fn new(names: [&'static str; 3]) -> Self {
        Self {
            state: AnswerState::default(),
            names,
            results: None,
        }
    }

    fn read(&mut self, body: &[u8]) -> Option<()> {
        let fields = match Document::of(body)? {
            Document::List(list) => {
                self.results = Some(elements(list)?);
                return Some(());
            }
            Document::Object(fields) => fields,
        };
        let [a, b, c] = self.names;
        let [a, b, c, usage, error, id, model] =
            fields.find([a, b, c, "usage", "error", "id", "model"])?;
        let results = a.or(b).or(c);
        if let Some(error) = error.filter(|error| !is_no_error(error)) {
            self.fail(FailureKind::ServerError, error_text(error));
        }
        match results {
            Some(list) => self.results = Some(elements(list)?),
            // an error without the field
            None if self.state.failure.is_none() => {
                if let Some(said) = error_in(body) {
                    self.fail(FailureKind::ServerError, said);
                }
            }
            None => {}
        }
        let raw = |value: &'_ [u8]| serde_json::from_slice::<Box<RawValue>>(value).ok();
        if let Some(usage) = usage.and_then(raw) {
            let counts = reported(&usage);
            self.state.usage.prompt_tokens = first([
                counts.prompt_tokens,
                counts.input_tokens,
                counts.total_tokens,
            ]);
        }
        let name = |value: Option<&[u8]>| name_in(&raw(value?)?);
        self.state.response_id = name(id);
        self.state.model = name(model);
        Some(())
    }

    fn fail(&mut self, kind: FailureKind, message: String) {
        self.state.fail(kind, message);
    }
}

fn is_no_error(error: &[u8]) -> bool {
    std::str::from_utf8(error).is_ok_and(says_nothing_raw)
}

impl AnswerReader for ResultsReader {
    /// There are no streams; one that comes says nothing.
    fn event(&mut self, _name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        let message = "the server sent a stream, but no stream was asked for".to_owned();
        let said = error_in(data);
        match said {
            Some(said) => self.fail(FailureKind::ServerError, said),
            None => self.fail(FailureKind::Malformed, message),
        }
        None
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let body = unmarked(body);
        if self.read(body).is_none() {
            let message = format!("the response is not JSON, or has no end: {}", clip(body));
            self.fail(FailureKind::Malformed, message);
        }
        self.state.done = true;
        EventMeaning::default()
    }

    fn results(&self) -> Option<u64> {
        self.results
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn take(&mut self) -> AnswerState {
        self.results = None;
        std::mem::take(&mut self.state)
    }
}
