//! Owns DashScope's own text generation: what its requests look like, and how
//! its answers read, streamed or whole.
//!
//! It must not know which models want which URL. As in OpenAI's form, an event
//! is looked at once, no text is kept, and nothing is allocated for an ordinary
//! event; lengths are all that a stream which repeats itself needs.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::openai::{clip, error_text};
use super::text::push;
use super::usage::{Told, merge};
use super::{AnswerReader, AnswerState, AnswerText, Api, ChoiceText, Choices, EventMeaning};
use crate::record::{Failure, FailureKind, Usage};

/// Where text generation is, in Beijing.
pub const DEFAULT_URL: &str =
    "https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation";

/// The path of text generation.
pub const TEXT_PATH: &str = "/api/v1/services/aigc/text-generation/generation";

/// The path of generation from texts, images, videos and sound.
pub const MULTIMODAL_PATH: &str = "/api/v1/services/aigc/multimodal-generation/generation";

/// Most answers to one request (`n`); further ones count with the last.
const MOST_CHOICES: usize = 4;

/// Names that mean something else below `parameters` than at the top.
const NEVER_LIFTED: [&str; 5] = ["model", "input", "messages", "prompt", "parameters"];

/// How the content of messages is written; each URL takes one form only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A text.
    #[default]
    Text,
    /// A list of parts: `{"text": …}`, `{"image": …}`.
    Multimodal,
}

impl Form {
    /// The form that a URL's path takes.
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
    /// Each event of a stream carries only what is new. Otherwise each repeats
    /// the text so far. Asked for where the body does not say.
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
                    // what is said at the top wins
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
            // nothing that we know; the server may
            Some(rest) if input.is_empty() => rest,
            _ => Value::Object(input),
        };
        body.insert("input".to_owned(), input);
        let mut parameters = match fields.shift_remove("parameters") {
            Some(Value::Object(rest)) => rest,
            _ => Map::new(),
        };
        parameters.extend(fields);
        // its `stop` takes ids as well, but not both kinds at once
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
        let Ok(value) = serde_json::from_str::<Value>(&String::from_utf8_lossy(answer)) else {
            return;
        };
        let output = value.get("output");
        let choices = output.and_then(|output| output.get("choices"));
        if let Some(choices) = choices.and_then(Value::as_array) {
            for (at, choice) in choices.iter().enumerate() {
                let index = choice.get("index").and_then(Value::as_u64);
                let index = index.and_then(|index| usize::try_from(index).ok());
                let said = said_by(choice.get("message").unwrap_or(choice));
                self.add(said, text.choice(index.unwrap_or(at)));
            }
        } else if let Some(output) = output {
            let said = said_by(output);
            if said != ChoiceText::default() {
                self.add(said, text.choice(0));
            }
        }
    }
}

impl Dashscope {
    fn add(self, said: ChoiceText, to: &mut ChoiceText) {
        for (said, to) in [
            (said.reasoning, &mut to.reasoning),
            (said.content, &mut to.content),
        ] {
            if self.incremental {
                to.push_str(&said);
            } else if !said.is_empty() {
                *to = said;
            }
        }
    }
}

/// The text of a message, or of an `output` in text form.
fn said_by(message: &Value) -> ChoiceText {
    let mut said = ChoiceText::default();
    push(message.get("reasoning_content"), &mut said.reasoning);
    for key in ["content", "text"] {
        push(message.get(key), &mut said.content);
    }
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        for pointer in ["/function/name", "/function/arguments"] {
            push(call.pointer(pointer), &mut said.content);
        }
    }
    said
}

/// Messages whose content is a list of DashScope's parts.
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

/// A part in OpenAI's form as one of DashScope's; others stay as they are.
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

/// Reads one answer.
#[derive(Debug)]
pub struct DashscopeReader {
    incremental: bool,
    /// How much each choice had said before.
    before: [Lengths; MOST_CHOICES],
    state: AnswerState,
}

impl DashscopeReader {
    /// A reader of a stream whose events carry only what is new, or repeat the
    /// text so far.
    #[must_use]
    pub fn new(incremental: bool) -> Self {
        Self {
            incremental,
            before: Default::default(),
            state: AnswerState::default(),
        }
    }
}

impl AnswerReader for DashscopeReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // no server is known to send `[DONE]`, but one in front may; the `done`
        // is what DashScope's own client looks for
        if self.state.done || name == b"done" || data.trim_ascii_start().starts_with(b"[DONE]") {
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
        Some(self.read(data, "an event"))
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let meaning = self.read(body, "the answer");
        self.state.done = true;
        meaning
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn take(&mut self) -> AnswerState {
        std::mem::replace(self, Self::new(self.incremental)).state
    }
}

impl DashscopeReader {
    fn read(&mut self, data: &[u8], what: &str) -> EventMeaning {
        match parse(data) {
            Ok(event) => self.take_in(event, data),
            // a server that cuts a character in two spoils the character, not the answer
            Err(_) if std::str::from_utf8(data).is_err() => {
                let repaired = String::from_utf8_lossy(data).into_owned();
                self.read(repaired.as_bytes(), what)
            }
            Err(error) => {
                let message = format!("{what} is not a JSON object: {error}: {}", clip(data));
                self.fail(FailureKind::Malformed, message);
                EventMeaning::default()
            }
        }
    }

    fn take_in(&mut self, event: Event<'_>, raw: &[u8]) -> EventMeaning {
        // gateways in front report in OpenAI's form
        let error = event.error.filter(|error| says_something(error.get()));
        // an answer may come with an empty code, or one of success
        let code = event.code.filter(|code| says_something(code.get()));
        if error.is_some() || code.is_some() && !event.output.present {
            self.fail(FailureKind::ServerError, error_text(raw));
        }
        if let Some(usage) = event.usage {
            merge(usage, &mut self.state.usage, usage_of);
        }
        self.note_id(event.request_id);
        let mut meaning = EventMeaning {
            finished: event.output.finished,
            ..EventMeaning::default()
        };
        if event.output.finish_reason.is_some() {
            self.state.finish_reason = event.output.finish_reason;
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
            // the last event of some models has no text at all
            before.answer = before.answer.max(now.answer);
            before.reasoning = before.reasoning.max(now.reasoning);
        }
        meaning
    }

    fn note_id(&mut self, id: Option<&RawValue>) {
        if self.state.response_id.is_none()
            && let Some(id) = id
        {
            self.state.response_id = serde_json::from_str(id.get())
                .ok()
                .filter(|id: &String| !id.is_empty());
        }
    }

    fn fail(&mut self, kind: FailureKind, message: String) {
        // the first thing that went wrong is the reason of the rest
        self.state
            .failure
            .get_or_insert_with(|| Failure::new(kind, message));
    }
}

fn parse(data: &[u8]) -> Result<Event<'_>, String> {
    // serde would take a list for a struct, field by field
    if data.trim_ascii_start().first() == Some(&b'{') {
        serde_json::from_slice(data).map_err(|error| error.to_string())
    } else {
        Err("it does not begin with `{`".to_owned())
    }
}

/// Whether an error or a code is one: some servers say each time that there is none.
fn says_something(raw: &str) -> bool {
    !matches!(raw, "false" | "\"\"" | "{}" | "0" | "200" | "\"200\"")
}

/// What we look for in an event or a whole answer. Unknown fields are skipped.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default)]
    output: Output,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Lengths of texts, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lengths {
    reasoning: usize,
    /// Content and tool calls.
    answer: usize,
}

#[derive(Default)]
struct Output {
    /// There is one, and something is in it.
    present: bool,
    said: [Lengths; MOST_CHOICES],
    finish_reason: Option<String>,
    finished: Choices,
}

impl Output {
    fn add(&mut self, choice: Choice, position: usize) {
        let index = choice.index.unwrap_or(position).min(MOST_CHOICES - 1);
        self.said[index].answer += choice.said.answer;
        self.said[index].reasoning += choice.said.reasoning;
        if choice.finish_reason.is_some() {
            self.finished |= Choices::one(index);
            self.finish_reason = choice.finish_reason;
        }
    }
}

/// A list of choices, folded.
#[derive(Default)]
struct ChoiceList(Output);

/// A choice, or its message.
#[derive(Default)]
struct Choice {
    said: Lengths,
    index: Option<usize>,
    finish_reason: Option<String>,
}

/// The length of all text in a value, at any depth that matters.
#[derive(Default)]
struct Length(usize);

/// Under which names DashScope tells token counts. Either kind of details may
/// stand in any of the three places.
fn usage_of(told: &Told) -> Usage {
    let details = [told.output_details, told.prompt_details, told.input_details];
    Usage {
        prompt_tokens: told.input_tokens,
        completion_tokens: told.output_tokens,
        cached_tokens: details.iter().find_map(|details| details.cached_tokens),
        reasoning_tokens: details.iter().find_map(|details| details.reasoning_tokens),
        reasoning_from_total: false,
    }
}

/// Why generation ended; while it has not, servers say `"null"`, null or nothing.
fn reason_of(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "\"null\"" | "\"\"" | "null" => None,
        raw => serde_json::from_str(raw).ok(),
    }
}

/// How a type is read that takes any value; of the wrong kind it is empty.
macro_rules! reads_any_value {
    ($type:ty, $visitor:ident, { $($methods:item)* }) => {
        struct $visitor;

        impl<'de> Visitor<'de> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<$type, E> {
                Ok(<$type>::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<$type, E> {
                Ok(<$type>::default())
            }

            fn visit_i64<E>(self, _: i64) -> Result<$type, E> {
                Ok(<$type>::default())
            }

            fn visit_u64<E>(self, _: u64) -> Result<$type, E> {
                Ok(<$type>::default())
            }

            fn visit_f64<E>(self, _: f64) -> Result<$type, E> {
                Ok(<$type>::default())
            }

            $($methods)*
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum OutputKey {
    Choices,
    Text,
    ReasoningContent,
    FinishReason,
    #[serde(other)]
    Other,
}

reads_any_value!(Output, OutputVisitor, {
    fn visit_str<E>(self, _: &str) -> Result<Output, E> {
        Ok(Output::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Output, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Output::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Output, A::Error> {
        let mut output = Output::default();
        let mut own = Choice::default();
        while let Some(key) = map.next_key()? {
            output.present = true;
            match key {
                OutputKey::Choices => {
                    let ChoiceList(choices) = map.next_value()?;
                    output.said = choices.said;
                    output.finished = choices.finished;
                    own.finish_reason = choices.finish_reason.or(own.finish_reason);
                }
                OutputKey::Text => own.said.answer += map.next_value::<Length>()?.0,
                OutputKey::ReasoningContent => {
                    own.said.reasoning += map.next_value::<Length>()?.0;
                }
                OutputKey::FinishReason => {
                    let reason = reason_of(map.next_value()?);
                    own.finish_reason = reason.or(own.finish_reason);
                }
                OutputKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        output.add(own, 0);
        Ok(output)
    }
});

reads_any_value!(ChoiceList, ChoicesVisitor, {
    fn visit_str<E>(self, _: &str) -> Result<ChoiceList, E> {
        Ok(ChoiceList::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ChoiceList, A::Error> {
        let mut all = Output::default();
        let mut position = 0;
        while let Some(choice) = seq.next_element()? {
            all.add(choice, position);
            position += 1;
        }
        Ok(ChoiceList(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ChoiceList, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(ChoiceList::default())
    }
});

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceKey {
    Message,
    Content,
    ToolCalls,
    ReasoningContent,
    FinishReason,
    Index,
    #[serde(other)]
    Other,
}

reads_any_value!(Choice, ChoiceVisitor, {
    fn visit_str<E>(self, _: &str) -> Result<Choice, E> {
        Ok(Choice::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choice, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Choice::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice, A::Error> {
        let mut choice = Choice::default();
        while let Some(key) = map.next_key()? {
            match key {
                ChoiceKey::Message => {
                    let message: Choice = map.next_value()?;
                    choice.said.answer += message.said.answer;
                    choice.said.reasoning += message.said.reasoning;
                }
                ChoiceKey::Content | ChoiceKey::ToolCalls => {
                    choice.said.answer += map.next_value::<Length>()?.0;
                }
                ChoiceKey::ReasoningContent => {
                    choice.said.reasoning += map.next_value::<Length>()?.0;
                }
                ChoiceKey::FinishReason => {
                    choice.finish_reason = reason_of(map.next_value()?);
                }
                ChoiceKey::Index => {
                    let index: &RawValue = map.next_value()?;
                    choice.index = index.get().parse().ok();
                }
                ChoiceKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(choice)
    }
});

/// Keys under which generated text stands inside parts and tool calls.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum TextKey {
    Arguments,
    Function,
    Name,
    Text,
    #[serde(other)]
    Other,
}

reads_any_value!(Length, LengthVisitor, {
    fn visit_str<E>(self, text: &str) -> Result<Length, E> {
        Ok(Length(text.len()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Length, A::Error> {
        let mut all = 0;
        while let Some(Length(part)) = seq.next_element()? {
            all += part;
        }
        Ok(Length(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Length, A::Error> {
        let mut all = 0;
        while let Some(key) = map.next_key()? {
            if let TextKey::Other = key {
                map.next_value::<IgnoredAny>()?;
            } else {
                all += map.next_value::<Length>()?.0;
            }
        }
        Ok(Length(all))
    }
});

#[cfg(test)]
mod tests;
