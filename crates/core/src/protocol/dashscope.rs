//! Owns DashScope's own text generation API: the format of its requests and responses, streaming or
//! not.
//!
//! It must not know which models need which URL. As for OpenAI, each event is parsed once, no text
//! is kept, and an ordinary event allocates nothing; for a stream that repeats itself, lengths are
//! enough.

mod event;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::api::{AnswerReader, Api};
use super::errors::{
    Remark, clip, error_text, given_up, is_given_up, name_in, remark, says_nothing_raw,
};
use super::json::{is_done, mended, unmarked};
use super::meaning::{AnswerState, Choices, EventMeaning};
use super::places::{Lengths, Words};
use super::text::AnswerText;
use super::unread::Unread;
use super::usage::{Reported, first, merge};
use evalscope_model::record::{Failure, FailureKind, Usage};
use event::{Event, MOST_CHOICES, parse};

/// The URL of text generation, in Beijing.
pub const DEFAULT_URL: &str =
    "https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation";

/// The path of text generation.
pub const TEXT_PATH: &str = "/api/v1/services/aigc/text-generation/generation";

/// The path of generation from text, images, video and audio.
pub const MULTIMODAL_PATH: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// Names whose meaning below `parameters` differs from that at the top level.
const NEVER_LIFTED: [&str; 5] = ["model", "input", "messages", "prompt", "parameters"];

/// How the content of messages is written; each URL accepts only one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A string.
    #[default]
    Text,
    /// A list of parts: `{"text": …}`, `{"image": …}`.
    Multimodal,
}

impl Form {
    /// The form required by a URL's path.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        if path.contains("/multimodal-generation/") {
            Self::Multimodal
        } else {
            Self::Text
        }
    }
}

/// DashScope's own API, as opposed to its OpenAI-compatible one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dashscope {
    /// Each event of a stream carries only new text; otherwise each repeats the text so far.
    /// Requested unless the body says otherwise.
    pub incremental: bool,
    /// How the content of messages is written.
    pub form: Form,
}

impl Default for Dashscope {
    fn default() -> Self {
        Self {
            incremental: true,
            form: Form::Text,
        }
    }
}

impl Api for Dashscope {
    fn name(&self) -> &'static str {
        "dashscope"
    }

    fn fields(&self, body: Map<String, Value>) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut nested = Vec::new();
        for (key, value) in body {
            match (key.as_str(), value) {
                ("input", Value::Object(input)) => nested.push((key, input)),
                ("parameters", Value::Object(parameters)) => nested.push((key, parameters)),
                (_, value) => {
                    fields.insert(key, value);
                }
            }
        }
        for (place, inner) in nested {
            let of_input = place == "input";
            let mut rest = Map::new();
            for (key, value) in inner {
                let lifted = if of_input {
                    matches!(key.as_str(), "messages" | "prompt")
                } else {
                    !NEVER_LIFTED.contains(&key.as_str())
                };
                if !lifted {
                    rest.insert(key, value);
                } else if !fields.contains_key(&key) {
                    // the top level wins
                    fields.insert(key, value);
                }
            }
            if !rest.is_empty() {
                fields.insert(place, Value::Object(rest));
            }
        }
        fields
    }

    fn body(&self, mut fields: Map<String, Value>) -> Map<String, Value> {
        let stream = fields.shift_remove("stream") == Some(Value::Bool(true));
        fields.shift_remove("stream_options");
        let mut body = Map::new();
        if let Some(model) = fields.shift_remove("model") {
            body.insert("model".to_owned(), model);
        }
        let rest = fields.shift_remove("input");
        let mut input = Map::new();
        if let Some(messages) = fields.shift_remove("messages") {
            let messages = match self.form {
                Form::Text => messages,
                Form::Multimodal => in_parts(messages),
            };
            input.insert("messages".to_owned(), messages);
        }
        if let Some(prompt) = fields.shift_remove("prompt") {
            input.insert("prompt".to_owned(), prompt);
        }
        let input = match rest {
            Some(Value::Object(rest)) => {
                input.extend(rest);
                Value::Object(input)
            }
            // unknown to us; the server may know it
            Some(rest) if input.is_empty() => rest,
            _ => Value::Object(input),
        };
        body.insert("input".to_owned(), input);
        let mut parameters = match fields.shift_remove("parameters") {
            Some(Value::Object(rest)) => rest,
            _ => Map::new(),
        };
        parameters.extend(fields);
        // its `stop` also accepts ids, but not both kinds at once
        if !parameters.contains_key("stop")
            && let Some(ids) = parameters.shift_remove("stop_token_ids")
        {
            parameters.insert("stop".to_owned(), ids);
        }
        let mut fill = |key: &str, value: Value| {
            if !parameters.contains_key(key) {
                parameters.insert(key.to_owned(), value);
            }
        };
        fill("result_format", "message".into());
        if stream {
            fill("incremental_output", self.incremental.into());
        }
        body.insert("parameters".to_owned(), Value::Object(parameters));
        body
    }

    fn takes_stream_options(&self) -> bool {
        false
    }

    fn headers(&self, stream: bool) -> &'static [(&'static str, &'static str)] {
        if stream {
            &[
                ("X-DashScope-SSE", "enable"),
                ("Accept", "text/event-stream"),
            ]
        } else {
            &[
                ("X-DashScope-SSE", "disable"),
                ("Accept", "application/json"),
            ]
        }
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::new(DashscopeReader::new(self.incremental))
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        let answer = unmarked(answer);
        let said = |data: &[u8]| {
            let event = serde_json::from_slice::<Event<'_, Words>>(data);
            event.map(|event| event.output.said).ok()
        };
        let texts = said(answer).or_else(|| said(mended(answer)?.as_bytes()));
        for (index, words) in texts.into_iter().flatten().enumerate() {
            if !words.any() {
                continue;
            }
            let (reasoning, content) = words.said();
            if self.incremental {
                text.add(index, &reasoning, &content);
                continue;
            }
            let to = text.choice(index);
            for (said, to) in [(reasoning, &mut to.reasoning), (content, &mut to.content)] {
                if !said.is_empty() {
                    *to = said;
                }
            }
        }
    }
}

/// Convert message content to lists of DashScope's parts.
fn in_parts(mut messages: Value) -> Value {
    for message in messages.as_array_mut().into_iter().flatten() {
        match message.get_mut("content") {
            Some(content @ Value::String(_)) => {
                *content = json!([{"text": content.take()}]);
            }
            Some(Value::Array(parts)) => parts.iter_mut().for_each(as_part),
            _ => {}
        }
    }
    messages
}

/// Convert a part in OpenAI's format to DashScope's; others stay as they are.
fn as_part(part: &mut Value) {
    let Some(fields) = part.as_object_mut() else {
        return;
    };
    let (from, inner, to) = match fields.get("type").and_then(Value::as_str) {
        Some("text") => ("text", "", "text"),
        Some("image_url") => ("image_url", "url", "image"),
        Some("video_url") => ("video_url", "url", "video"),
        Some("video") => ("video", "", "video"),
        Some("input_audio") => ("input_audio", "data", "audio"),
        _ => return,
    };
    let Some(mut content) = fields.shift_remove(from) else {
        return;
    };
    if let Some(inner) = content.get_mut(inner) {
        content = inner.take();
    }
    fields.shift_remove("type");
    fields.insert(to.to_owned(), content);
}

/// Reads one response.
#[derive(Debug)]
pub struct DashscopeReader {
    incremental: bool,
    /// The lengths of each choice's text so far.
    before: [Lengths; MOST_CHOICES],
    /// An `output` has arrived.
    answered: bool,
    unread: Unread,
    state: AnswerState,
}

impl DashscopeReader {
    /// A reader for a stream whose events carry only new text, or repeat the text so far.
    #[must_use]
    pub fn new(incremental: bool) -> Self {
        Self {
            incremental,
            before: Default::default(),
            answered: false,
            unread: Unread::default(),
            state: AnswerState::default(),
        }
    }
}

impl AnswerReader for DashscopeReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // no server is known to send `[DONE]`, but a proxy may; DashScope's own client looks for
        // `done`
        if self.state.done || name == b"done" || is_done(data) {
            self.state.done = true;
            return None;
        }
        if name == b"error" {
            if let Ok(event) = parse(data) {
                self.note_id(event.request_id);
            }
            self.fail(FailureKind::ServerError, error_text(data));
            return Some(EventMeaning::default());
        }
        match self.read(data) {
            Ok(meaning) => Some(meaning),
            Err(error) => {
                self.unread.event(&mut self.state, name, data, &error);
                None
            }
        }
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let meaning = self.read(unmarked(body)).unwrap_or_else(|error| {
            let message = format!("the response is not a JSON object: {error}: {}", clip(body));
            self.fail(FailureKind::Malformed, message);
            EventMeaning::default()
        });
        self.state.done = true;
        meaning
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
        std::mem::replace(self, Self::new(self.incremental)).state
    }
}

impl DashscopeReader {
    fn read(&mut self, data: &[u8]) -> Result<EventMeaning, String> {
        let error = match parse(data) {
            Ok(event) => return Ok(self.take_in(event, data)),
            Err(error) => error,
        };
        // a truncated character does not invalidate the response
        let Some(mended) = mended(data) else {
            return Err(error);
        };
        let mended = mended.as_bytes();
        parse(mended).map(|event| self.take_in(event, mended))
    }

    fn take_in(&mut self, event: Event<'_, Lengths>, raw: &[u8]) -> EventMeaning {
        self.answered |= event.output.present;
        // gateways report errors in OpenAI's format
        let error = event.error.filter(|error| !says_nothing_raw(error.get()));
        // a response may have an empty code, or one that means success
        let code = event.code.filter(|code| !says_nothing_raw(code.get()));
        if error.is_some() || code.is_some() && !event.output.present {
            self.fail(FailureKind::ServerError, error_text(raw));
        } else if !event.output.present && event.usage.is_none() {
            match remark(raw) {
                Remark::None => {}
                Remark::Notice(words) => self.unread.notice(words),
                Remark::Error(words) => self.fail(FailureKind::ServerError, words),
            }
        }
        if let Some(usage) = event.usage {
            merge(usage, &mut self.state.usage, usage_of);
        }
        self.note_id(event.request_id);
        if self.state.model.is_none()
            && let Some(model) = event.model
        {
            self.state.model = name_in(model);
        }
        let mut meaning = EventMeaning {
            finished: event.output.finished,
            ..EventMeaning::default()
        };
        if let Some(reason) = event.output.finish_reason {
            if is_given_up(&reason) {
                self.fail(FailureKind::ServerError, given_up(&reason));
            }
            self.state.finish_reason = Some(reason);
        }
        let said = event.output.said.into_iter().zip(&mut self.before);
        for (index, (now, before)) in said.enumerate() {
            if self.incremental {
                *before = Lengths::default();
            }
            let own = Choices::one(index);
            let answer = now.answer > before.answer;
            meaning.answers |= own.when(answer);
            meaning.tokens |= own.when(answer || now.reasoning > before.reasoning);
            // the last event of some models has no text
            before.answer = before.answer.max(now.answer);
            before.reasoning = before.reasoning.max(now.reasoning);
        }
        meaning
    }

    fn note_id(&mut self, id: Option<&RawValue>) {
        if self.state.response_id.is_none()
            && let Some(id) = id
        {
            self.state.response_id = name_in(id);
        }
    }

    fn fail(&mut self, kind: FailureKind, message: String) {
        // the first error is the cause of those that follow
        self.state
            .failure
            .get_or_insert_with(|| Failure::new(kind, message));
    }
}

/// DashScope's names for token counts. Both kinds of details may occur in any of the three places.
fn usage_of(reported: &Reported) -> Usage {
    let details = [
        reported.output_details,
        reported.prompt_details,
        reported.input_details,
    ];
    Usage {
        prompt_tokens: first([reported.input_tokens, reported.prompt_tokens]),
        completion_tokens: first([reported.output_tokens, reported.completion_tokens]),
        cached_tokens: first(details.map(|details| details.cached_tokens)),
        reasoning_tokens: first(details.map(|details| details.reasoning_tokens)),
        reasoning_from_total: false,
    }
}

#[cfg(test)]
mod tests;
