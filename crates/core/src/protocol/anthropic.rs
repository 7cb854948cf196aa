//! Owns Anthropic's Messages API: the format of its requests and responses, streaming or not.
//!
//! It must not know other APIs, except that requests are assembled with the names of OpenAI's chat
//! completions. Each event is parsed once, no text is kept, and an ordinary event allocates nothing.

mod body;
mod text;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{AnswerReader, Api, Items};
use super::errors::{clip, error_text, name_in, says_nothing_raw};
use super::json::{is_done, unmarked};
use super::meaning::{AnswerState, Choices, EventMeaning};
use super::pick::{Picked, has_text, pick, pick_from, word};
use super::reply::Reply;
use super::text::AnswerText;
use super::unread::Unread;
use super::usage::{later, reported};
use evalscope_model::record::{Failure, FailureKind};

/// The status of an overloaded server of Anthropic's.
const OVERLOADED: u16 = 529;

/// The Messages API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anthropic;

impl Api for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn fields(&self, body: Map<String, Value>) -> Map<String, Value> {
        body::fields(body)
    }

    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        body::body(fields)
    }

    fn takes(&self, field: &str) -> bool {
        !body::UNKNOWN.contains(&field)
    }

    fn set_defaults(&self, defaults: &mut Map<String, Value>) {
        // models that think accept no temperature but 1
        defaults.shift_remove("temperature");
    }

    fn lift(&self, messages: &mut Vec<Value>, fields: &mut Map<String, Value>) {
        body::lift(messages, fields);
    }

    fn items(&self) -> Option<Items> {
        Some(body::items)
    }

    fn takes_stream_options(&self) -> bool {
        false
    }

    fn headers(&self, _stream: bool) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::<AnthropicReader>::default()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        text::read_text(answer, text);
    }

    fn read_reply(&self, answer: &[u8], reply: &mut Reply) {
        text::read_reply(answer, reply);
    }
}

/// The fields of an event that are looked at.
const FIELDS: [&str; 6] = ["type", "delta", "message", "usage", "error", "choices"];

/// The fields of a `delta` that are looked at.
const DELTA: [&str; 4] = ["text", "thinking", "partial_json", "stop_reason"];

/// The fields of a message that are looked at.
const MESSAGE: [&str; 7] = [
    "type",
    "id",
    "model",
    "usage",
    "stop_reason",
    "error",
    "content",
];

/// Reads one response.
#[derive(Debug, Default)]
pub struct AnthropicReader {
    state: AnswerState,
    /// Tokens of the prompt that the cache neither had nor took.
    input_tokens: Option<u64>,
    /// Tokens of the prompt that the cache took.
    created_tokens: Option<u64>,
    /// Why generation ended, while the end of the message has not come.
    stop_reason: Option<String>,
    /// Something in the format of the API has arrived.
    answered: bool,
    unread: Unread,
}

impl AnswerReader for AnthropicReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // the end has come already, so that of other APIs says nothing
        if self.state.done || is_done(data) {
            return None;
        }
        match pick_from(data, &FIELDS, |fields, text| self.read(fields, text)) {
            Ok(meaning) => meaning,
            Err(_) if name == b"error" => {
                self.state.fail(FailureKind::ServerError, error_text(data));
                Some(EventMeaning::default())
            }
            Err(error) => {
                self.unread.event(&mut self.state, name, data, &error);
                None
            }
        }
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let body = unmarked(body);
        let read = pick_from(body, &MESSAGE, |message, text| {
            let [kind, .., stop_reason, error, content] = message;
            self.answered = content.is_some();
            if kind.is_some_and(|kind| kind.get() == "\"error\"")
                || error.is_some_and(|error| !says_nothing_raw(error.get()))
            {
                self.fail(error, text);
            } else if !self.answered {
                let said = clip(body);
                let message = format!("this is not a message of the Messages API: {said}");
                self.state.fail(FailureKind::Malformed, message);
            }
            self.note(message);
            if let [.., Some(usage), _, _, _] = message {
                self.note_output(usage);
            }
            self.state.finish_reason = stop_reason.and_then(name_in);
            let (reasoning, content) = text::content_in(text);
            EventMeaning::single(reasoning || content, content)
        });
        self.state.done = true;
        read.unwrap_or_else(|error| {
            let message = format!("the response is not a JSON object: {error}: {}", clip(body));
            self.state.fail(FailureKind::Malformed, message);
            EventMeaning::default()
        })
    }

    fn missing_end(&self) -> &'static str {
        "`message_stop`"
    }

    fn answered(&self) -> bool {
        self.answered
    }

    fn aside(&self) -> Option<&Failure> {
        self.unread.aside()
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn take(&mut self) -> AnswerState {
        std::mem::take(self).state
    }
}

impl AnthropicReader {
    /// Read an event; `None`: it is not one of the API, or a heartbeat.
    fn read(&mut self, fields: Picked<'_, 6>, raw: &str) -> Option<EventMeaning> {
        let [kind, delta, message, usage, error, choices] = fields;
        let inside = || pick(delta?.get(), &DELTA).ok();
        match word(kind) {
            Some("content_block_delta") => {
                let [text, thinking, json, _] = inside().unwrap_or_default();
                let is_answer = has_text(text) || has_text(json);
                self.answered = true;
                return Some(EventMeaning::single(
                    is_answer || has_text(thinking),
                    is_answer,
                ));
            }
            Some("content_block_start" | "content_block_stop") => {}
            Some("ping") => return None,
            Some("message_start") => {
                let message = message.and_then(|message| pick(message.get(), &MESSAGE).ok());
                self.note(message.unwrap_or_default());
            }
            Some("message_delta") => {
                let [.., stop_reason] = inside().unwrap_or_default();
                self.stop_reason = stop_reason.and_then(name_in).or(self.stop_reason.take());
                if let Some(usage) = usage {
                    self.note_input(usage);
                    self.note_output(usage);
                }
            }
            Some("message_stop") => {
                self.state.done = true;
                self.state.finish_reason = self.stop_reason.take();
                return Some(EventMeaning {
                    finished: Choices::FIRST,
                    ..EventMeaning::default()
                });
            }
            kind => return self.read_stranger(kind, error, choices, raw),
        }
        self.answered = true;
        Some(EventMeaning::default())
    }

    /// An error, or an event that is not one of the API.
    fn read_stranger(
        &mut self,
        kind: Option<&str>,
        error: Option<&RawValue>,
        choices: Option<&RawValue>,
        raw: &str,
    ) -> Option<EventMeaning> {
        let is_error = error.is_some_and(|error| !says_nothing_raw(error.get()));
        if kind == Some("error") || is_error {
            self.fail(error, raw);
            return Some(EventMeaning::default());
        }
        if choices.is_some() {
            let message = "the server sent a chat completion, not a message of the Messages API";
            self.state.fail(FailureKind::Malformed, message.to_owned());
        }
        self.state.skipped_events += 1;
        None
    }

    fn fail(&mut self, error: Option<&RawValue>, raw: &str) {
        let kind = error.and_then(|error| pick(error.get(), &["type"]).ok());
        let kind = match kind.and_then(|[kind]| word(kind)) {
            Some("overloaded_error") => FailureKind::Status(OVERLOADED),
            _ => FailureKind::ServerError,
        };
        self.state.fail(kind, error_text(raw.as_bytes()));
    }

    /// Note what a message says about itself.
    fn note(&mut self, [_, id, model, usage, ..]: Picked<'_, 7>) {
        self.state.response_id = id.and_then(name_in);
        self.state.model = model.and_then(name_in);
        if let Some(usage) = usage {
            self.note_input(usage);
        }
    }

    /// Note the tokens of the prompt: those of the cache are counted apart from the others.
    fn note_input(&mut self, usage: &RawValue) {
        let counts = reported(usage);
        let of_state = &mut self.state.usage;
        self.input_tokens = later(counts.input_tokens, self.input_tokens);
        self.created_tokens = later(counts.cache_creation, self.created_tokens);
        of_state.cached_tokens = later(counts.cache_read, of_state.cached_tokens);
        of_state.prompt_tokens = self.input_tokens.map(|input| {
            let cache = [of_state.cached_tokens, self.created_tokens];
            let cache = cache.into_iter().flatten();
            cache.fold(input, u64::saturating_add)
        });
    }

    /// Note the tokens of the output: the last count includes those before. That of the first event is
    /// of the first token only.
    fn note_output(&mut self, usage: &RawValue) {
        let of_state = &mut self.state.usage;
        let counts = reported(usage);
        of_state.completion_tokens = later(counts.output_tokens, of_state.completion_tokens);
    }
}

#[cfg(test)]
mod tests;
