//! Owns the reading of responses by the pointers of a declaration.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::super::api::{AnswerReader, Framing};
use super::super::errors::{clip, clipped, error_text, given_up};
use super::super::json::{self, is_done};
use super::super::meaning::{AnswerState, Choices, EventMeaning};
use super::super::text::{AnswerText, push};
use super::super::unread::Unread;
use super::super::usage::{count_of, later};
use super::pointer::Pointers;
use super::shape::{AnswerShape, AnswerShapes, Seen};
use evalscope_model::record::{Failure, FailureKind};

/// Reads one response.
#[derive(Debug)]
pub(in super::super) struct DeclaredReader {
    shapes: Arc<AnswerShapes>,
    state: AnswerState,
    /// There was something where text was declared, even if empty.
    found: bool,
    /// How the response started, as long as no response had text.
    began: Vec<String>,
    is_whole: bool,
    unread: Unread,
}

/// Number of events kept of a response without text: the first may be a preamble.
const SHOWN_EVENTS: usize = 2;

impl DeclaredReader {
    pub(in super::super) fn new(shapes: Arc<AnswerShapes>) -> Self {
        Self {
            shapes,
            state: AnswerState::default(),
            found: false,
            began: Vec::new(),
            is_whole: false,
            unread: Unread::default(),
        }
    }

    fn read(&mut self, shape: &AnswerShape, data: &[u8]) -> Result<EventMeaning, String> {
        let before = self.began.len();
        if !self.found && before < SHOWN_EVENTS && !self.seen().found.load(Ordering::Relaxed) {
            self.began.push(clip(data));
        }
        read(&mut self.state, &mut self.found, shape, data)
    }

    fn seen(&self) -> &Seen {
        if self.is_whole {
            &self.shapes.seen_in_wholes
        } else {
            &self.shapes.seen_in_streams
        }
    }
}

impl AnswerReader for DeclaredReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        let shapes = Arc::clone(&self.shapes);
        let stream = &shapes.stream;
        let begins = |end: &String| {
            data.trim_ascii_start().starts_with(end.as_bytes()) || end == "[DONE]" && is_done(data)
        };
        let named = |event: &String| name == event.as_bytes();
        // anything after the end is not part of the response
        if self.state.done
            || stream.end.as_ref().is_some_and(begins)
            || stream.end_event.as_ref().is_some_and(named)
        {
            self.state.done = true;
            return None;
        }
        if named(&stream.error_event) {
            fail(&mut self.state, FailureKind::ServerError, error_text(data));
            return Some(EventMeaning::default());
        }
        match self.read(&stream.answer, data) {
            Ok(meaning) => Some(meaning),
            Err(error) => {
                self.unread.event(&mut self.state, name, data, &error);
                None
            }
        }
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let shapes = Arc::clone(&self.shapes);
        self.is_whole = true;
        let meaning = self.read(&shapes.whole, body).unwrap_or_else(|error| {
            let message = format!("the response is not JSON: {error}: {}", clip(body));
            fail(&mut self.state, FailureKind::Malformed, message);
            EventMeaning::default()
        });
        self.state.done = true;
        meaning
    }

    fn body_ended(&mut self) {
        self.state.done |= self.shapes.stream.ends_with_body;
    }

    fn framing(&self) -> Framing {
        self.shapes.stream.framing
    }

    fn missing_end(&self) -> &'static str {
        match self.framing() {
            Framing::Sse => "`[DONE]` and without a finish_reason",
            Framing::Ndjson => "a line with a finish_reason",
        }
    }

    fn aside(&self) -> Option<&Failure> {
        self.unread.aside()
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn take(&mut self) -> AnswerState {
        let began = std::mem::take(&mut self.began);
        if std::mem::take(&mut self.found) {
            self.seen().found.store(true, Ordering::Relaxed);
        } else if self.state.failure.is_none() && !began.is_empty() {
            // only the first counts
            let _ = self.seen().instead.set(began);
        }
        self.is_whole = false;
        self.unread = Unread::default();
        std::mem::take(&mut self.state)
    }
}

fn fail(state: &mut AnswerState, kind: FailureKind, message: String) {
    // the first error is the cause of those that follow
    state
        .failure
        .get_or_insert_with(|| Failure::new(kind, message));
}

fn read(
    state: &mut AnswerState,
    found: &mut bool,
    shape: &AnswerShape,
    data: &[u8],
) -> Result<EventMeaning, String> {
    let value = json::value(data).map_err(|error| error.to_string())?;
    if let Some(error) = shape.error.all(&value).find(|error| says_something(error)) {
        let text = error_text(error.to_string().as_bytes());
        fail(state, FailureKind::ServerError, text);
    }
    let usage = &mut state.usage;
    for (to, from) in [
        (&mut usage.prompt_tokens, &shape.prompt_tokens),
        (&mut usage.completion_tokens, &shape.completion_tokens),
        (&mut usage.cached_tokens, &shape.cached_tokens),
        (&mut usage.reasoning_tokens, &shape.reasoning_tokens),
    ] {
        *to = later(from.all(&value).find_map(count_of), *to);
    }
    if state.response_id.is_none() {
        state.response_id = text_at(&shape.response_id, &value);
    }
    if state.model.is_none() {
        state.model = text_at(&shape.model, &value);
    }
    let reason = text_at(&shape.finish_reason, &value);
    let finished = reason.is_some();
    if let Some(reason) = reason {
        if shape.failed_finish_reasons.contains(&reason) {
            fail(state, FailureKind::ServerError, given_up(&reason));
        }
        state.finish_reason = Some(reason);
    }
    let mut holds = |value: &Value| {
        // an object or a number there means a wrong pointer
        *found |= matches!(value, Value::String(_) | Value::Array(_) | Value::Null);
        holds_text(value)
    };
    let answer = shape.text.all(&value).any(&mut holds);
    let mut meaning =
        EventMeaning::single(answer || shape.reasoning.all(&value).any(holds), answer);
    meaning.finished = Choices::FIRST.when(finished);
    Ok(meaning)
}

/// Some servers send an empty error field in each event.
fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        other => other.as_i64() != Some(0),
    }
}

/// A string, or a list of parts with a `text` in one of them.
fn holds_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .any(|text| !text.is_empty()),
        _ => false,
    }
}

/// The first non-empty text.
fn text_at(pointers: &Pointers, value: &Value) -> Option<String> {
    let mut texts = pointers.all(value).filter_map(Value::as_str);
    texts
        .find(|text| !text.is_empty())
        .map(|text| clipped(text.to_owned()))
}

/// Add the text of an event or of a non-streaming response, whichever it is.
pub(in super::super) fn read_text(shapes: &AnswerShapes, answer: &[u8], text: &mut AnswerText) {
    let Ok(value) = json::value(answer) else {
        return;
    };
    for shape in [&shapes.stream.answer, &shapes.whole] {
        let first = |from: &'_ Pointers| from.all(&value).find(|value| holds_text(value)).cloned();
        let (reasoning, content) = (first(&shape.reasoning), first(&shape.text));
        if reasoning.is_some() || content.is_some() {
            let (mut said, mut thought) = (String::new(), String::new());
            push(reasoning.as_ref(), &mut thought);
            push(content.as_ref(), &mut said);
            text.add(0, &thought, &said);
            return;
        }
    }
}
