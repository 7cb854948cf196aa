//! Owns DashScope's own text generation API: the format of its requests and responses, streaming or
//! not.
//!
//! It must not know which models need which URL. As for OpenAI, each event is parsed once, no text
//! is kept, and an ordinary event allocates nothing; for a stream that repeats itself, lengths are
//! enough.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::errors::{
    Remark, clip, clipped, error_text, given_up, is_given_up, name_in, remark, says_nothing_raw,
};
use super::json::{is_done, mended, unmarked};
use super::places::{Fields, Joined, Lengths, Place, Sink, Words};
use super::unread::Unread;
use super::usage::{Reported, first, merge};
use super::{AnswerReader, AnswerState, AnswerText, Api, Choices, EventMeaning};
use evalscope_model::record::{Failure, FailureKind, Usage};

/// The URL of text generation, in Beijing.
pub const DEFAULT_URL: &str =
    "https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation";

/// The path of text generation.
pub const TEXT_PATH: &str = "/api/v1/services/aigc/text-generation/generation";

/// The path of generation from text, images, video and audio.
pub const MULTIMODAL_PATH: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// Maximum number of choices (`n`); further ones count with the last.
const MOST_CHOICES: usize = 4;

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

fn parse(data: &[u8]) -> Result<Event<'_, Lengths>, String> {
    // serde would accept a list for a struct, field by field
    if data.trim_ascii_start().first() == Some(&b'{') {
        serde_json::from_slice(data).map_err(|error| error.to_string())
    } else {
        Err("it does not start with `{`".to_owned())
    }
}

/// The relevant fields of an event or a non-streaming response. Unknown fields are skipped, and a
/// duplicate field is not an error.
#[derive(Default)]
struct Event<'a, S> {
    output: Output<S>,
    usage: Option<&'a RawValue>,
    request_id: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

#[derive(Default)]
struct Output<S> {
    /// It is present and not empty.
    present: bool,
    said: [S; MOST_CHOICES],
    finish_reason: Option<String>,
    finished: Choices,
}

/// How a choice, or an `output` without choices, ended.
#[derive(Default)]
struct Ended {
    index: Option<usize>,
    reason: Option<String>,
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

/// Why generation ended; until it has, servers send `"null"`, null or nothing.
fn reason_of(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "\"null\"" | "\"\"" | "null" => None,
        raw => serde_json::from_str(raw).ok().map(clipped),
    }
}

/// A key of an `output`, a choice or a message; output has the same names in all of them.
enum Key {
    Choices,
    Message,
    FinishReason,
    Index,
    Output(Place),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "choices" => Key::Choices,
            "message" => Key::Message,
            "finish_reason" => Key::FinishReason,
            "index" => Key::Index,
            other => Key::Output(Place::deserialize(other.into_deserializer())?),
        })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum EventKey {
    Output,
    Usage,
    RequestId,
    Model,
    Code,
    Error,
    #[serde(other)]
    Other,
}

impl<'de, S: Joined> Deserialize<'de> for Event<'de, S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor(PhantomData))
    }
}

struct EventVisitor<S>(PhantomData<S>);

impl<'de, S: Joined> Visitor<'de> for EventVisitor<S> {
    type Value = Event<'de, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event<'de, S>, A::Error> {
        let mut event = Event::default();
        let said_before = |now: Option<_>, before: Option<_>| now.or(before);
        while let Some(key) = map.next_key()? {
            match key {
                EventKey::Output => map.next_value_seed(OutputSeed(&mut event.output))?,
                EventKey::Usage => event.usage = said_before(map.next_value()?, event.usage),
                EventKey::RequestId => event.request_id = map.next_value()?,
                EventKey::Model => event.model = map.next_value()?,
                EventKey::Code => event.code = said_before(map.next_value()?, event.code),
                EventKey::Error => event.error = said_before(map.next_value()?, event.error),
                EventKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(event)
    }
}

/// Makes a seed accept any value; a value of the wrong type holds nothing.
macro_rules! reads_any_value {
    ($seed:ident<$param:ident: $bound:ident>, { $($methods:item)* }) => {
        impl<'de, $param: $bound> DeserializeSeed<'de> for $seed<'_, $param> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de, $param: $bound> Visitor<'de> for $seed<'_, $param> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<(), E> {
                Ok(())
            }

            fn visit_bool<E>(self, _: bool) -> Result<(), E> {
                Ok(())
            }

            fn visit_i64<E>(self, _: i64) -> Result<(), E> {
                Ok(())
            }

            fn visit_u64<E>(self, _: u64) -> Result<(), E> {
                Ok(())
            }

            fn visit_f64<E>(self, _: f64) -> Result<(), E> {
                Ok(())
            }

            fn visit_str<E>(self, _: &str) -> Result<(), E> {
                Ok(())
            }

            $($methods)*
        }
    };
}

struct OutputSeed<'s, S>(&'s mut Output<S>);

reads_any_value!(OutputSeed<S: Joined>, {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let output = self.0;
        let (mut own, mut ended) = (S::default(), Ended::default());
        while let Some(key) = map.next_key()? {
            output.present = true;
            match key {
                Key::Choices => map.next_value_seed(ListSeed(&mut *output))?,
                Key::FinishReason => {
                    let reason = reason_of(map.next_value()?);
                    ended.reason = reason.or(ended.reason);
                }
                Key::Output(place) => Fields(&mut own).take(place, &mut map)?,
                Key::Message | Key::Index => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // text in choices is not repeated
        if output.said.iter().any(|said| !said.is_nothing()) {
            own = S::default();
        }
        output.add(own, ended, 0);
        Ok(())
    }
});

impl<S: Joined> Output<S> {
    fn add(&mut self, said: S, ended: Ended, position: usize) {
        let index = ended.index.unwrap_or(position).min(MOST_CHOICES - 1);
        self.said[index].join(said);
        if ended.reason.is_some() {
            self.finished |= Choices::one(index);
            self.finish_reason = ended.reason;
        }
    }
}

struct ListSeed<'s, S>(&'s mut Output<S>);

reads_any_value!(ListSeed<S: Joined>, {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut position = 0;
        loop {
            let (mut said, mut ended) = (S::default(), Ended::default());
            if seq.next_element_seed(ChoiceSeed(&mut said, &mut ended))?.is_none() {
                return Ok(());
            }
            self.0.add(said, ended, position);
            position += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
});

struct ChoiceSeed<'s, S>(&'s mut S, &'s mut Ended);

reads_any_value!(ChoiceSeed<S: Sink>, {
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let ended = self.1;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Message => map.next_value_seed(Fields(&mut *self.0))?,
                Key::FinishReason => ended.reason = reason_of(map.next_value()?),
                Key::Index => {
                    let index: &RawValue = map.next_value()?;
                    ended.index = index.get().parse().ok();
                }
                Key::Output(place) => Fields(&mut *self.0).take(place, &mut map)?,
                Key::Choices => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
});

#[cfg(test)]
mod tests;
