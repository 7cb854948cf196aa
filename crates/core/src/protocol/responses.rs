//! Owns OpenAI's Responses API: the format of its requests and responses, streaming or not.
//!
//! It must not know other APIs, except that requests are assembled with the names of OpenAI's chat
//! completions. Each event is parsed once, no text is kept, and an ordinary event allocates nothing.

mod body;
mod event;
mod text;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{AnswerReader, Api, Items};
use super::errors::{clip, error_text, given_up, is_given_up, name_in, says_nothing_raw};
use super::json::{is_done, unmarked};
use super::meaning::{AnswerState, Choices, EventMeaning};
use super::pick::{Picked, has_text, pick, pick_from, word};
use super::reply::Reply;
use super::text::AnswerText;
use super::unread::Unread;
use super::usage::{Reported, merge};
use evalscope_model::record::{Failure, FailureKind, Usage};
use event::{CHANNELS, Channel, Event, Kind};

/// The Responses API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Responses;

impl Api for Responses {
    fn name(&self) -> &'static str {
        "openai_responses"
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
        // servers keep every response otherwise
        defaults.insert("store".to_owned(), false.into());
    }

    fn items(&self) -> Option<Items> {
        Some(body::items)
    }

    fn keeps_responses(&self) -> bool {
        true
    }

    fn takes_stream_options(&self) -> bool {
        false
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::<ResponsesReader>::default()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        text::read_text(answer, text);
    }

    fn read_reply(&self, answer: &[u8], reply: &mut Reply) {
        text::read_reply(answer, reply);
    }
}

/// The fields of an event that are looked at; those from [`WHOLE`] on repeat a channel.
const FIELDS: [&str; 11] = [
    "type",
    "delta",
    "output_index",
    "response",
    "choices",
    "error",
    "text",
    "arguments",
    "refusal",
    "input",
    "code",
];

const WHOLE: usize = 6;

/// The fields of a response that are looked at.
const RESPONSE: [&str; 7] = [
    "id",
    "model",
    "usage",
    "error",
    "incomplete_details",
    "status",
    "output",
];

type Inside<'a> = Picked<'a, 7>;

/// Reads one response.
#[derive(Debug, Default)]
pub struct ResponsesReader {
    state: AnswerState,
    /// The items of each channel of which a piece has come.
    begun: [Choices; CHANNELS.len()],
    /// There was output.
    has_output: bool,
    /// Something in the format of the API has arrived.
    answered: bool,
    unread: Unread,
}

impl AnswerReader for ResponsesReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // the end has come already, so that of other APIs says nothing
        if self.state.done || is_done(data) {
            return None;
        }
        let read = pick_from(data, &FIELDS, |fields, text| self.read(&fields, text));
        match read {
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
        let read = pick_from(body, &RESPONSE, |inside, text| {
            self.note(inside);
            let [.., output] = inside;
            self.answered = output.is_some();
            if self.answered {
                self.note_reason(inside);
            } else if self.state.failure.is_none() {
                let said = clip(body);
                let message = format!("this is not a response of the Responses API: {said}");
                self.state.fail(FailureKind::Malformed, message);
            }
            let (reasoning, content) = text::output_in(text);
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
        "`response.completed`"
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

impl ResponsesReader {
    /// Read an event; `None`: it is not one of the API.
    fn read(&mut self, fields: &Picked<'_, 11>, raw: &str) -> Option<EventMeaning> {
        let [kind, delta, item, response, choices, error, ..] = *fields;
        let Some(kind) = word(kind) else {
            return self.read_stranger(choices, error, raw);
        };
        let event = Event::of(kind);
        self.answered |= event != Event::Unknown;
        let item = || {
            let index = item.and_then(|item| item.get().parse().ok());
            Choices::one(index.unwrap_or(0))
        };
        match event {
            Event::Delta(at) => {
                let is_token = has_text(delta);
                if is_token {
                    self.begun[at] |= item();
                }
                return Some(self.said(CHANNELS[at], is_token));
            }
            Event::Done(at) => {
                let channel = CHANNELS[at];
                let place = FIELDS[WHOLE..]
                    .iter()
                    .position(|name| *name == channel.whole);
                let whole = place.and_then(|place| fields[WHOLE + place]);
                let item = item();
                let is_token = has_text(whole) && !self.begun[at].contains(item);
                self.begun[at] |= item;
                return Some(self.said(channel, is_token));
            }
            Event::Unknown => {
                self.state.skipped_events += 1;
                return None;
            }
            Event::News | Event::Completed | Event::Incomplete | Event::Failed => {}
        }
        let inside = response.and_then(|response| pick(response.get(), &RESPONSE).ok());
        let inside = inside.unwrap_or_default();
        self.note(inside);
        match event {
            Event::Completed | Event::Incomplete => Some(self.close(inside, response)),
            Event::Failed => {
                let text = error_text(raw.as_bytes());
                self.state.fail(FailureKind::ServerError, text);
                Some(EventMeaning::default())
            }
            _ => Some(EventMeaning::default()),
        }
    }

    /// The response has ended. What it repeats counts if nothing of it has come before.
    fn close(&mut self, inside: Inside<'_>, response: Option<&RawValue>) -> EventMeaning {
        self.state.done = true;
        self.note_reason(inside);
        let mut meaning = EventMeaning::default();
        if let Some(response) = response.filter(|_| !self.has_output) {
            let (reasoning, content) = text::output_in(response.get());
            meaning = EventMeaning::single(reasoning || content, content);
        }
        meaning.finished = Choices::FIRST;
        meaning
    }

    fn said(&mut self, channel: Channel, is_token: bool) -> EventMeaning {
        self.has_output |= is_token;
        EventMeaning::single(is_token, is_token && channel.kind != Kind::Reasoning)
    }

    /// An event without a type: an error of a gateway, or of another API.
    fn read_stranger(
        &mut self,
        choices: Option<&RawValue>,
        error: Option<&RawValue>,
        raw: &str,
    ) -> Option<EventMeaning> {
        if error.is_some_and(|error| !says_nothing_raw(error.get())) {
            let text = error_text(raw.as_bytes());
            self.state.fail(FailureKind::ServerError, text);
            return Some(EventMeaning::default());
        }
        if choices.is_some() {
            let message = "the server sent a chat completion, not a response of the Responses API";
            self.state.fail(FailureKind::Malformed, message.to_owned());
        }
        self.state.skipped_events += 1;
        None
    }

    /// Note what a response says about itself.
    fn note(&mut self, [id, model, usage, error, ..]: Inside<'_>) {
        if self.state.response_id.is_none() {
            self.state.response_id = id.and_then(name_in);
        }
        if self.state.model.is_none() {
            self.state.model = model.and_then(name_in);
        }
        if let Some(usage) = usage {
            merge(usage, &mut self.state.usage, usage_of);
        }
        if let Some(error) = error.filter(|error| !says_nothing_raw(error.get())) {
            let text = error_text(error.get().as_bytes());
            self.state.fail(FailureKind::ServerError, text);
        }
    }

    /// Note why generation has ended.
    fn note_reason(&mut self, [.., details, status, _]: Inside<'_>) {
        let details = details.and_then(|details| pick(details.get(), &["reason"]).ok());
        let reason = match details.and_then(|[reason]| reason).and_then(name_in) {
            // as all other APIs call it
            Some(reason) if reason == "max_output_tokens" => "length".to_owned(),
            Some(reason) => reason,
            None => match status.and_then(name_in) {
                Some(status) if status != "completed" => status,
                _ => "stop".to_owned(),
            },
        };
        if is_given_up(&reason) {
            self.state.fail(FailureKind::ServerError, given_up(&reason));
        }
        self.state.finish_reason = Some(reason);
    }
}

/// The Responses API's names for token counts.
fn usage_of(reported: &Reported) -> Usage {
    Usage {
        prompt_tokens: reported.input_tokens,
        completion_tokens: reported.output_tokens,
        cached_tokens: reported.input_details.cached_tokens,
        reasoning_tokens: reported.output_details.reasoning_tokens,
        reasoning_from_total: false,
    }
}

#[cfg(test)]
mod tests;
