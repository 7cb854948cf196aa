//! Owns the reading of answers by the pointers of a declaration.

use std::sync::Arc;

use serde_json::Value;

use super::super::openai::{clip, error_text};
use super::super::text::push;
use super::super::usage::count_of;
use super::super::{AnswerReader, AnswerState, AnswerText, EventMeaning};
use super::{AnswerShape, Declaration, Pointers};
use crate::record::{Failure, FailureKind};

/// Reads one answer.
#[derive(Debug)]
pub(super) struct DeclaredReader {
    declaration: Arc<Declaration>,
    state: AnswerState,
}

impl DeclaredReader {
    pub(super) fn new(declaration: Arc<Declaration>) -> Self {
        Self {
            declaration,
            state: AnswerState::default(),
        }
    }
}

impl AnswerReader for DeclaredReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        let declaration = Arc::clone(&self.declaration);
        let stream = &declaration.stream;
        let begins = |end: &String| data.trim_ascii_start().starts_with(end.as_bytes());
        let named = |event: &String| name == event.as_bytes();
        // what follows the end is not part of the answer
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
        Some(read(&mut self.state, &stream.answer, data, "an event"))
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let declaration = Arc::clone(&self.declaration);
        let meaning = read(&mut self.state, &declaration.whole, body, "the answer");
        self.state.done = true;
        meaning
    }

    fn body_ended(&mut self) {
        self.state.done |= self.declaration.stream.ends_with_body;
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn take(&mut self) -> AnswerState {
        std::mem::take(&mut self.state)
    }
}

fn fail(state: &mut AnswerState, kind: FailureKind, message: String) {
    // the first thing that went wrong is the reason of the rest
    state
        .failure
        .get_or_insert_with(|| Failure::new(kind, message));
}

fn read(state: &mut AnswerState, shape: &AnswerShape, data: &[u8], what: &str) -> EventMeaning {
    let value = match parsed(data) {
        Ok(value) => value,
        Err(error) => {
            let message = format!("{what} is not JSON: {error}: {}", clip(data));
            fail(state, FailureKind::Malformed, message);
            return EventMeaning::default();
        }
    };
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
        *to = from.all(&value).find_map(count_of).or(*to);
    }
    if state.response_id.is_none() {
        state.response_id = text_at(&shape.response_id, &value);
    }
    if let Some(reason) = text_at(&shape.finish_reason, &value) {
        if shape.failed_finish_reasons.contains(&reason) {
            let text = format!("the server ended generation with finish_reason `{reason}`");
            fail(state, FailureKind::ServerError, text);
        }
        state.finish_reason = Some(reason);
    }
    let answer = shape.text.all(&value).any(holds_text);
    EventMeaning {
        token: answer || shape.reasoning.all(&value).any(holds_text),
        answer,
    }
}

fn parsed(data: &[u8]) -> Result<Value, serde_json::Error> {
    match serde_json::from_slice(data) {
        // a server that cuts a character in two spoils the character, not the answer
        Err(_) if std::str::from_utf8(data).is_err() => {
            serde_json::from_str(&String::from_utf8_lossy(data))
        }
        result => result,
    }
}

/// Some servers say in each event that there is no error.
fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        other => other.as_i64() != Some(0),
    }
}

/// A text, or a list of parts of which one has a `text`.
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

/// The first text that is not empty.
fn text_at(pointers: &Pointers, value: &Value) -> Option<String> {
    let mut texts = pointers.all(value).filter_map(Value::as_str);
    texts.find(|text| !text.is_empty()).map(str::to_owned)
}

/// Add the text of an event, or of a whole answer, whichever it is.
pub(super) fn read_text(declaration: &Declaration, answer: &[u8], text: &mut AnswerText) {
    let Ok(value) = parsed(answer) else {
        return;
    };
    for shape in [&declaration.stream.answer, &declaration.whole] {
        let first = |from: &'_ Pointers| from.all(&value).find(|value| holds_text(value)).cloned();
        let (reasoning, content) = (first(&shape.reasoning), first(&shape.text));
        if reasoning.is_some() || content.is_some() {
            let to = text.choice(0);
            push(reasoning.as_ref(), &mut to.reasoning);
            push(content.as_ref(), &mut to.content);
            return;
        }
    }
}
