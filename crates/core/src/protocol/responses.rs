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
use super::errors::{given_up, is_given_up, name_in};
use super::meaning::{Choices, EventMeaning};
use super::pick::{Picked, has_text, pick, word};
use super::reply::Reply;
use super::text::AnswerText;
use super::typed::{Heard, Typed, TypedReader, error_of};
use super::usage::{Reported, merge};
use evalscope_model::record::{FailureKind, Usage};
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

/// What is kept of one response.
#[derive(Debug, Default)]
struct Reading {
    /// The items of each channel of which a piece has come.
    begun: [Choices; CHANNELS.len()],
    /// There was output.
    has_output: bool,
}

type ResponsesReader = TypedReader<Reading, 11, 7>;

impl Typed<11, 7> for Reading {
    const EVENT: [&'static str; 11] = FIELDS;
    const WHOLE: [&'static str; 7] = RESPONSE;
    const RESPONSE: &'static str = "a response of the Responses API";
    const END: &'static str = "`response.completed`";

    fn read_event(
        &mut self,
        heard: &mut Heard,
        fields: Picked<'_, 11>,
        raw: &str,
    ) -> Option<EventMeaning> {
        let [kind, delta, item, response, choices, error, ..] = fields;
        let Some(kind) = word(kind) else {
            return read_stranger(heard, choices, error, raw);
        };
        let event = Event::of(kind);
        heard.answered |= event != Event::Unknown;
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
                heard.skip(None, Self::RESPONSE);
                return None;
            }
            Event::News | Event::Completed | Event::Incomplete | Event::Failed => {}
        }
        let inside = response.and_then(|response| pick(response.get(), &RESPONSE).ok());
        let inside = inside.unwrap_or_default();
        note(heard, inside);
        match event {
            Event::Completed | Event::Incomplete => Some(self.close(heard, inside, response)),
            Event::Failed => {
                heard.refuse(FailureKind::ServerError, raw);
                Some(EventMeaning::default())
            }
            _ => Some(EventMeaning::default()),
        }
    }

    fn read_whole(&mut self, heard: &mut Heard, inside: Inside<'_>, raw: &str) -> EventMeaning {
        note(heard, inside);
        let [.., output] = inside;
        heard.answered = output.is_some();
        if heard.answered {
            note_reason(heard, inside);
        }
        let (reasoning, content) = text::output_in(raw);
        EventMeaning::single(reasoning || content, content)
    }
}

impl Reading {
    /// The response has ended. What it repeats counts if nothing of it has come before.
    fn close(
        &mut self,
        heard: &mut Heard,
        inside: Inside<'_>,
        response: Option<&RawValue>,
    ) -> EventMeaning {
        heard.state.done = true;
        note_reason(heard, inside);
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
}

/// Read an event without a type: an error of a gateway, or something of another API.
fn read_stranger(
    heard: &mut Heard,
    choices: Option<&RawValue>,
    error: Option<&RawValue>,
    raw: &str,
) -> Option<EventMeaning> {
    if error_of(error).is_some() {
        heard.refuse(FailureKind::ServerError, raw);
        return Some(EventMeaning::default());
    }
    heard.skip(choices, Reading::RESPONSE);
    None
}

/// Note what a response says about itself.
fn note(heard: &mut Heard, [id, model, usage, error, ..]: Inside<'_>) {
    let state = &mut heard.state;
    if state.response_id.is_none() {
        state.response_id = id.and_then(name_in);
    }
    if state.model.is_none() {
        state.model = model.and_then(name_in);
    }
    if let Some(usage) = usage {
        merge(usage, &mut state.usage, usage_of);
    }
    if let Some(error) = error_of(error) {
        heard.refuse(FailureKind::ServerError, error.get());
    }
}

/// Note why generation has ended.
fn note_reason(heard: &mut Heard, [.., details, status, _]: Inside<'_>) {
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
        let message = given_up(&reason);
        heard.state.fail(FailureKind::ServerError, message);
    }
    heard.state.finish_reason = Some(reason);
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
