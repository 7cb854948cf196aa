//! Owns Anthropic's Messages API: the format of its requests and responses, streaming or not.
//!
//! It must not know other APIs, except that requests are assembled with the names of OpenAI's chat
//! completions. Each event is parsed once, no text is kept, and an ordinary event allocates nothing.

mod body;
mod text;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{AnswerReader, Api, Items};
use super::errors::name_in;
use super::meaning::{Choices, EventMeaning};
use super::pick::{Picked, has_text, pick, word};
use super::reply::Reply;
use super::text::AnswerText;
use super::typed::{Heard, Typed, TypedReader, error_of};
use super::usage::{later, reported};
use evalscope_model::record::FailureKind;

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

/// What is kept of one response.
#[derive(Debug, Default)]
struct Reading {
    /// Tokens of the prompt that the cache neither had nor took.
    input_tokens: Option<u64>,
    /// Tokens of the prompt that the cache took.
    created_tokens: Option<u64>,
    /// Why generation ended, while the end of the message has not come.
    stop_reason: Option<String>,
}

type AnthropicReader = TypedReader<Reading, 6, 7>;

impl Typed<6, 7> for Reading {
    const EVENT: [&'static str; 6] = FIELDS;
    const WHOLE: [&'static str; 7] = MESSAGE;
    const RESPONSE: &'static str = "a message of the Messages API";
    const END: &'static str = "`message_stop`";

    fn read_event(
        &mut self,
        heard: &mut Heard,
        fields: Picked<'_, 6>,
        raw: &str,
    ) -> Option<EventMeaning> {
        let [kind, delta, message, usage, error, choices] = fields;
        let inside = || pick(delta?.get(), &DELTA).ok();
        match word(kind) {
            Some("content_block_delta") => {
                let [text, thinking, json, _] = inside().unwrap_or_default();
                let is_answer = has_text(text) || has_text(json);
                heard.answered = true;
                return Some(EventMeaning::single(
                    is_answer || has_text(thinking),
                    is_answer,
                ));
            }
            Some("content_block_start" | "content_block_stop") => {}
            Some("ping") => return None,
            Some("message_start") => {
                let message = message.and_then(|message| pick(message.get(), &MESSAGE).ok());
                self.note(heard, message.unwrap_or_default());
            }
            Some("message_delta") => {
                let [.., stop_reason] = inside().unwrap_or_default();
                self.stop_reason = stop_reason.and_then(name_in).or(self.stop_reason.take());
                if let Some(usage) = usage {
                    self.note_input(heard, usage);
                    note_output(heard, usage);
                }
            }
            Some("message_stop") => {
                heard.state.done = true;
                heard.state.finish_reason = self.stop_reason.take();
                return Some(EventMeaning {
                    finished: Choices::FIRST,
                    ..EventMeaning::default()
                });
            }
            kind => {
                if kind == Some("error") || error_of(error).is_some() {
                    fail(heard, error, raw);
                    return Some(EventMeaning::default());
                }
                heard.skip(choices, Self::RESPONSE);
                return None;
            }
        }
        heard.answered = true;
        Some(EventMeaning::default())
    }

    fn read_whole(&mut self, heard: &mut Heard, message: Picked<'_, 7>, raw: &str) -> EventMeaning {
        let [kind, _, _, usage, stop_reason, error, content] = message;
        heard.answered = content.is_some();
        if word(kind) == Some("error") || error_of(error).is_some() {
            fail(heard, error, raw);
        }
        self.note(heard, message);
        if let Some(usage) = usage {
            note_output(heard, usage);
        }
        heard.state.finish_reason = stop_reason.and_then(name_in);
        let (reasoning, content) = text::content_in(raw);
        EventMeaning::single(reasoning || content, content)
    }
}

impl Reading {
    /// Note what a message says about itself.
    fn note(&mut self, heard: &mut Heard, [_, id, model, usage, ..]: Picked<'_, 7>) {
        heard.state.response_id = id.and_then(name_in);
        heard.state.model = model.and_then(name_in);
        if let Some(usage) = usage {
            self.note_input(heard, usage);
        }
    }

    /// Note the tokens of the prompt: those of the cache are counted apart from the others.
    fn note_input(&mut self, heard: &mut Heard, usage: &RawValue) {
        let counts = reported(usage);
        let of_state = &mut heard.state.usage;
        self.input_tokens = later(counts.input_tokens, self.input_tokens);
        self.created_tokens = later(counts.cache_creation, self.created_tokens);
        of_state.cached_tokens = later(counts.cache_read, of_state.cached_tokens);
        of_state.prompt_tokens = self.input_tokens.map(|input| {
            let cache = [of_state.cached_tokens, self.created_tokens];
            let cache = cache.into_iter().flatten();
            cache.fold(input, u64::saturating_add)
        });
    }
}

/// Note the tokens of the output: the last count includes those before. That of the first event is of the
/// first token only.
fn note_output(heard: &mut Heard, usage: &RawValue) {
    let of_state = &mut heard.state.usage;
    let counts = reported(usage);
    of_state.completion_tokens = later(counts.output_tokens, of_state.completion_tokens);
}

fn fail(heard: &mut Heard, error: Option<&RawValue>, raw: &str) {
    let kind = error.and_then(|error| pick(error.get(), &["type"]).ok());
    let kind = match kind.and_then(|[kind]| word(kind)) {
        Some("overloaded_error") => FailureKind::Status(OVERLOADED),
        _ => FailureKind::ServerError,
    };
    heard.refuse(kind, raw);
}

#[cfg(test)]
mod tests;
