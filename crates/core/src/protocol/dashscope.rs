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
use super::{AnswerReader, AnswerState, AnswerText, Api, ChoiceText, EventMeaning};
use crate::record::{Failure, FailureKind, MOST_TOKENS, Usage};

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
            merge_usage(usage.get(), &mut self.state.usage);
        }
        self.note_id(event.request_id);
        if event.output.finish_reason.is_some() {
            self.state.finish_reason = event.output.finish_reason;
        }
        let mut meaning = EventMeaning::default();
        for (now, before) in event.output.said.into_iter().zip(&mut self.before) {
            if self.incremental {
                *before = Lengths::default();
            }
            meaning.answer |= now.answer > before.answer;
            meaning.token |= now.answer > before.answer || now.reasoning > before.reasoning;
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
}

impl Output {
    fn add(&mut self, choice: Choice, position: usize) {
        let index = choice.index.unwrap_or(position).min(MOST_CHOICES - 1);
        self.said[index].answer += choice.said.answer;
        self.said[index].reasoning += choice.said.reasoning;
        if choice.finish_reason.is_some() {
            self.finish_reason = choice.finish_reason;
        }
    }
}

/// A list of choices, folded.
#[derive(Default)]
struct Choices(Output);

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

#[derive(Deserialize)]
struct UsageFields<'a> {
    #[serde(borrow, default)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UsageDetails<'a> {
    #[serde(borrow, default)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_tokens: Option<&'a RawValue>,
}

/// Take token counts in: the last value that says something wins, field by
/// field; what is no count is taken for missing. In every event, hence without
/// an allocation.
fn merge_usage(raw: &str, usage: &mut Usage) {
    let merge = |to: &mut Option<u64>, count: Option<&RawValue>| {
        *to = count.and_then(count_of).or(*to);
    };
    let Some(fields) = object::<UsageFields<'_>>(raw) else {
        return;
    };
    merge(&mut usage.prompt_tokens, fields.input_tokens);
    merge(&mut usage.completion_tokens, fields.output_tokens);
    for details in [
        fields.input_tokens_details,
        fields.prompt_tokens_details,
        fields.output_tokens_details,
    ] {
        let details = details.and_then(|raw| object::<UsageDetails<'_>>(raw.get()));
        if let Some(details) = details {
            merge(&mut usage.cached_tokens, details.cached_tokens);
            merge(&mut usage.reasoning_tokens, details.reasoning_tokens);
        }
    }
}

fn object<'a, T: Deserialize<'a>>(raw: &'a str) -> Option<T> {
    // serde would take a list for a struct, field by field
    raw.starts_with('{')
        .then(|| serde_json::from_str(raw))?
        .ok()
}

/// A count as servers write it: a whole number, also as `2.0`.
fn count_of(raw: &RawValue) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number that fits"
    )]
    let count = raw.get().parse().ok().or_else(|| {
        let n: f64 = raw.get().parse().ok()?;
        (n >= 0.0 && n.fract() == 0.0 && n < 1e15).then_some(n as u64)
    });
    count.filter(|count| *count <= MOST_TOKENS)
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
                    let Choices(choices) = map.next_value()?;
                    output.said = choices.said;
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

reads_any_value!(Choices, ChoicesVisitor, {
    fn visit_str<E>(self, _: &str) -> Result<Choices, E> {
        Ok(Choices::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices, A::Error> {
        let mut all = Output::default();
        let mut position = 0;
        while let Some(choice) = seq.next_element()? {
            all.add(choice, position);
            position += 1;
        }
        Ok(Choices(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choices, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Choices::default())
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
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{BodyBuilder, BodyRules, Endpoint, MaxTokens};
    use super::*;
    use crate::dataset::Prompt;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        map
    }

    fn rules() -> BodyRules {
        BodyRules {
            api: Arc::new(Dashscope::default()),
            endpoint: Endpoint::Chat,
            template: None,
            model: "qwen-plus".to_owned(),
            typed: Map::new(),
            defaults: object(json!({"temperature": 0.0, "stream": true})),
            max_tokens: MaxTokens::Fixed(64),
            max_tokens_typed: false,
            include_usage: true,
            extra: Map::new(),
            seed: 0,
        }
    }

    fn body(rules: BodyRules, prompt: Prompt) -> String {
        String::from_utf8(BodyBuilder::new(rules).prepare(0, prompt).body).unwrap()
    }

    fn text() -> Prompt {
        Prompt::Text("hi \"you\"".to_owned())
    }

    #[test]
    fn a_chat_body() {
        insta::assert_snapshot!(body(rules(), text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
        let messages = vec![
            json!({"role": "system", "content": "be brief"}),
            json!({"role": "user", "content": "hi"}),
        ];
        insta::assert_snapshot!(body(rules(), Prompt::Messages(messages)), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
    }

    #[test]
    fn a_completions_body() {
        let mut rules = rules();
        rules.endpoint = Endpoint::Completions;
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"prompt":"hi \"you\""},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
    }

    #[test]
    fn a_body_without_stream_says_nothing_of_increments() {
        let mut rules = rules();
        rules.typed = object(json!({"stream": false}));
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message"}}"#);
    }

    #[test]
    fn a_stream_that_repeats_itself_is_asked_for() {
        let mut rules = rules();
        rules.api = Arc::new(Dashscope {
            incremental: false,
            form: Form::Text,
        });
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":false}}"#);
    }

    #[test]
    fn names_that_both_share_and_names_that_only_one_has() {
        let mut rules = rules();
        rules.typed = object(json!({
            "top_p": 0.9, "top_k": 5, "seed": 1, "stop_token_ids": [108_386, 104_307],
            "repetition_penalty": 1.1, "frequency_penalty": 0.5, "n": 2, "logprobs": true,
        }));
        insta::assert_snapshot!(body(rules.clone(), text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"top_p":0.9,"top_k":5,"seed":1,"repetition_penalty":1.1,"frequency_penalty":0.5,"n":2,"logprobs":true,"temperature":0.0,"max_tokens":64,"stop":[108386,104307],"result_format":"message","incremental_output":true}}"#);
        rules.typed = object(json!({"stop": ["a"], "stop_token_ids": [1]}));
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"stop":["a"],"stop_token_ids":[1],"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
    }

    #[test]
    fn templates_in_either_form() {
        let mut rules = rules();
        rules.typed = object(json!({"temperature": 0.2}));
        let native = r#"{"model":"%m","input":{"messages":[{"role":"user","content":"Q: %p"}]},"parameters":{"temperature":0.7,"result_format":"text","enable_search":true}}"#;
        rules.template = Some(BodyRules::parse_template(native).unwrap());
        insta::assert_snapshot!(body(rules.clone(), text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"Q: hi \"you\""}]},"parameters":{"temperature":0.2,"result_format":"text","enable_search":true,"max_tokens":64,"incremental_output":true}}"#);
        let flat = r#"{"model":"%m","messages":[{"role":"user","content":"Q: %p"}],"top_k":3,"stream_options":{"include_usage":true}}"#;
        rules.template = Some(BodyRules::parse_template(flat).unwrap());
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"Q: hi \"you\""}]},"parameters":{"top_k":3,"temperature":0.2,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
    }

    #[test]
    fn a_template_without_a_prompt_gets_the_messages() {
        let mut rules = rules();
        let template = r#"{"model":"%m","input":{"messages":[]},"parameters":{"max_tokens":7}}"#;
        rules.template = Some(BodyRules::parse_template(template).unwrap());
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"max_tokens":7,"temperature":0.0,"result_format":"message","incremental_output":true}}"#);
    }

    #[test]
    fn a_body_of_its_own_gets_only_what_it_lacks() {
        let mut rules = rules();
        rules.typed = object(json!({"model": "other", "temperature": 0.9}));
        let own = json!({
            "model": "qwen-max",
            "input": {"prompt": "hi", "history": []},
            "parameters": {"incremental_output": false, "temperature": 0.1, "max_tokens": 5},
        });
        insta::assert_snapshot!(body(rules, Prompt::Body(object(own))), @r#"{"model":"qwen-max","input":{"prompt":"hi","history":[]},"parameters":{"incremental_output":false,"temperature":0.1,"max_tokens":5,"result_format":"message"}}"#);
    }

    #[test]
    fn extra_args_win_in_either_form_and_null_deletes() {
        let mut rules = rules();
        rules.extra = object(json!({
            "parameters": {"temperature": null, "result_format": "text", "enable_thinking": true},
            "max_tokens": 3,
        }));
        insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"max_tokens":3,"result_format":"text","enable_thinking":true,"incremental_output":true}}"#);
    }

    #[test]
    fn parts_where_the_endpoint_takes_several_kinds() {
        let mut rules = rules();
        rules.api = Arc::new(Dashscope {
            incremental: true,
            form: Form::of_path(MULTIMODAL_PATH),
        });
        let messages = vec![
            json!({"role": "system", "content": "be brief"}),
            json!({"role": "user", "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA"}},
                {"type": "image_url", "image_url": "https://example.org/a.png", "min_pixels": 4},
                {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
                {"type": "video", "video": ["https://example.org/1.png"]},
                {"type": "input_audio", "input_audio": {"data": "data:;base64,BBB", "format": "wav"}},
                {"image": "https://example.org/own.png"},
                {"type": "unheard_of", "x": 1},
                7,
            ]}),
            json!({"role": "assistant", "content": null}),
        ];
        insta::assert_snapshot!(body(rules, Prompt::Messages(messages)), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"system","content":[{"text":"be brief"}]},{"role":"user","content":[{"text":"what is this?"},{"image":"data:image/png;base64,AAA"},{"min_pixels":4,"image":"https://example.org/a.png"},{"video":"https://example.org/a.mp4"},{"video":["https://example.org/1.png"]},{"audio":"data:;base64,BBB"},{"image":"https://example.org/own.png"},{"type":"unheard_of","x":1},7]},{"role":"assistant","content":null}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
        assert_eq!(Form::of_path(TEXT_PATH), Form::Text);
        assert!(DEFAULT_URL.ends_with(TEXT_PATH));
    }

    #[test]
    fn headers_say_whether_a_stream_is_wanted() {
        let api = Dashscope::default();
        assert_eq!(
            api.headers(true),
            [
                ("X-DashScope-SSE", "enable"),
                ("Accept", "text/event-stream")
            ]
        );
        assert_eq!(
            api.headers(false),
            [
                ("X-DashScope-SSE", "disable"),
                ("Accept", "application/json")
            ]
        );
        assert!(!api.takes_stream_options());
        assert_eq!(api.name(), "dashscope");
    }

    fn any_fields(keys: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
        let value = prop_oneof![
            Just(Value::Null),
            Just(Value::Bool(true)),
            Just(json!(0.5)),
            Just(json!("text")),
            Just(json!([1, 2])),
            Just(json!({})),
            Just(
                json!([{"role": "user", "content": "x"}, {"content": [{"type": "text", "text": "y"}]}])
            ),
        ];
        prop::collection::vec((prop::sample::select(keys), value), 0..6)
            .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    const INNER: &[&str] = &[
        "messages",
        "prompt",
        "history",
        "model",
        "input",
        "parameters",
        "temperature",
        "stop",
        "stop_token_ids",
        "result_format",
        "incremental_output",
        "stream",
        "stream_options",
    ];

    fn any_body() -> impl Strategy<Value = Map<String, Value>> {
        let nested = || prop::option::of(any_fields(INNER));
        (any_fields(INNER), nested(), nested()).prop_map(|(mut body, input, parameters)| {
            for (key, nested) in [("input", input), ("parameters", parameters)] {
                if let Some(nested) = nested {
                    body.insert(key.to_owned(), nested.into());
                }
            }
            body
        })
    }

    proptest! {
        #[test]
        fn what_has_been_translated_stays(body in any_body(), incremental: bool, multimodal: bool) {
            let form = if multimodal { Form::Multimodal } else { Form::Text };
            let api = Dashscope { incremental, form };
            let once = api.body(api.fields(body));
            prop_assert_eq!(api.body(api.fields(once.clone())), once);
        }

        #[test]
        fn a_native_body_comes_back_with_what_was_missing(
            input in any_fields(&["messages", "prompt", "history", "model"]),
            parameters in any_fields(&["temperature", "stop", "input", "n", "result_format"]),
        ) {
            let api = Dashscope::default();
            let mut body = object(json!({"model": "m", "input": input, "parameters": parameters}));
            let back = api.body(api.fields(body.clone()));
            let parameters = body["parameters"].as_object_mut().unwrap();
            if !parameters.contains_key("result_format") {
                parameters.insert("result_format".to_owned(), "message".into());
            }
            prop_assert_eq!(back, body);
        }

        #[test]
        fn no_event_makes_it_panic(name in "(error|done|result)?", event in "\\PC*", body in any_body()) {
            for incremental in [true, false] {
                let mut reader = DashscopeReader::new(incremental);
                reader.event(name.as_bytes(), event.as_bytes());
                for body in [json!({"output": body}), json!({"output": {"choices": [body]}}), json!(body)] {
                    let body = serde_json::to_vec(&body).unwrap();
                    let meaning = reader.whole(&body);
                    prop_assert!(meaning.token || !meaning.answer);
                    let mut text = AnswerText::default();
                    Dashscope { incremental, form: Form::Text }.read_text(&body, &mut text);
                }
            }
        }
    }

    fn meaning(output: &str) -> (bool, bool) {
        let mut reader = DashscopeReader::new(true);
        let event = format!(r#"{{"output":{output},"request_id":"r"}}"#);
        let meaning = reader.event(b"result", event.as_bytes()).unwrap();
        assert_eq!(reader.state.failure, None, "{output}");
        (meaning.token, meaning.answer)
    }

    #[test]
    fn what_is_a_token_and_what_is_not() {
        const NO: (bool, bool) = (false, false);
        const THOUGHT: (bool, bool) = (true, false);
        const ANSWER: (bool, bool) = (true, true);
        for (message, want) in [
            (r#"{"content":"a"}"#, ANSWER),
            (r#"{"content":"","role":"assistant"}"#, NO),
            (r#"{"content":[{"text":"a"}]}"#, ANSWER),
            (r#"{"content":[{"text":""}]}"#, NO),
            (r#"{"content":[]}"#, NO),
            (r#"{"content":null,"name":"x"}"#, NO),
            (r#"{"content":[{"image":"https://example.org"}]}"#, NO),
            (r#"{"content":"","reasoning_content":"a"}"#, THOUGHT),
            (r#"{"content":"b","reasoning_content":""}"#, ANSWER),
            (r#"{"content":[],"reasoning_content":"a"}"#, THOUGHT),
            (
                r#"{"content":"","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
                ANSWER,
            ),
            (
                r#"{"content":"","tool_calls":[{"index":0,"id":"","type":"function","function":{"arguments":""}}]}"#,
                NO,
            ),
            ("null", NO),
            ("7", NO),
            (r#""text""#, NO),
        ] {
            let choices =
                format!(r#"{{"choices":[{{"message":{message},"finish_reason":"null"}}]}}"#);
            assert_eq!(meaning(&choices), want, "{message}");
        }
        assert_eq!(meaning(r#"{"text":"a","finish_reason":"null"}"#), ANSWER);
        assert_eq!(meaning(r#"{"text":"","finish_reason":"stop"}"#), NO);
        assert_eq!(meaning(r#"{"text":null,"choices":[]}"#), NO);
        assert_eq!(meaning(r#"{"choices":{},"text":{}}"#), NO);
        assert_eq!(meaning(r#"{"choices":["a",[1]],"text":1.5}"#), NO);
        assert_eq!(meaning("[]"), NO);
    }

    #[test]
    fn only_what_is_new_is_a_token_where_events_repeat_themselves() {
        let mut reader = DashscopeReader::new(false);
        let mut tokens = |output: &str| {
            let meaning = reader
                .event(b"result", format!(r#"{{"output":{output}}}"#).as_bytes())
                .unwrap();
            (meaning.token, meaning.answer)
        };
        let thinking = |thought: &str, content: &str| {
            format!(
                r#"{{"choices":[{{"message":{{"reasoning_content":"{thought}","content":"{content}"}}}}]}}"#
            )
        };
        assert_eq!(tokens(&thinking("so", "")), (true, false));
        assert_eq!(tokens(&thinking("so", "")), (false, false));
        assert_eq!(tokens(&thinking("so it", "")), (true, false));
        assert_eq!(tokens(&thinking("so it", "a")), (true, true));
        assert_eq!(tokens(&thinking("", "ab")), (true, true));
        assert_eq!(tokens(&thinking("", "")), (false, false));
        assert_eq!(tokens(&thinking("so it", "ab")), (false, false));
    }

    #[test]
    fn choices_that_take_turns_repeat_only_their_own_text() {
        let mut reader = DashscopeReader::new(false);
        let mut token = |index: usize, content: &str| {
            let event = format!(
                r#"{{"output":{{"choices":[{{"index":{index},"message":{{"content":"{content}"}}}}]}}}}"#
            );
            reader.event(b"result", event.as_bytes()).unwrap().token
        };
        assert!(token(0, "long enough"));
        assert!(token(1, "a"));
        assert!(!token(0, "long enough"));
        assert!(token(1, "ab"));
        assert!(token(99, "x"));
    }

    #[test]
    fn reasons_to_end_are_not_null() {
        let mut reader = DashscopeReader::new(true);
        for (reason, want) in [
            (r#""null""#, None),
            (r#""""#, None),
            ("null", None),
            ("{}", None),
            (r#""stop""#, Some("stop")),
            (r#""null""#, Some("stop")),
        ] {
            let event = format!(r#"{{"output":{{"choices":[{{"finish_reason":{reason}}}]}}}}"#);
            reader.event(b"result", event.as_bytes());
            assert_eq!(reader.state.finish_reason.as_deref(), want, "{reason}");
        }
        assert_eq!(reader.state.failure, None);
    }

    fn failure(name: &str, data: &str) -> Option<String> {
        let mut reader = DashscopeReader::new(true);
        reader.event(name.as_bytes(), data.as_bytes());
        let failure = reader.state.failure?;
        Some(format!("{}: {}", failure.kind, failure.message))
    }

    #[test]
    fn errors_in_answers_of_status_200() {
        for (name, data, want) in [
            (
                "error",
                r#"{"code":"InvalidParameter","message":"bad","request_id":"r"}"#,
                Some("server_error: bad (InvalidParameter)"),
            ),
            (
                "",
                r#"{"code":"Throttling","message":"slow down","request_id":"r","output":null}"#,
                Some("server_error: slow down (Throttling)"),
            ),
            (
                "result",
                r#"{"code":"Throttling","message":"slow down","output":{}}"#,
                Some("server_error: slow down (Throttling)"),
            ),
            ("error", "plain text", Some("server_error: plain text")),
            (
                "",
                r#"{"error":{"message":"no key","code":"invalid_api_key"}}"#,
                Some("server_error: no key (invalid_api_key)"),
            ),
            (
                "",
                r#"{"code":"","message":"","output":{"text":"a"}}"#,
                None,
            ),
            ("", r#"{"code":null,"message":null}"#, None),
            ("", r#"{"code":"Success","output":{"text":""}}"#, None),
            ("", r#"{"status_code":200,"code":200,"error":null}"#, None),
        ] {
            assert_eq!(failure(name, data).as_deref(), want, "{data}");
        }
        for broken in ["{", "[]", "123", "", "\u{fffd}"] {
            assert!(failure("", broken).unwrap().starts_with("malformed: "));
        }
        let mut reader = DashscopeReader::new(true);
        reader.event(
            b"error",
            br#"{"code":"A","message":"b","request_id":"r-1"}"#,
        );
        assert_eq!(reader.take().response_id.as_deref(), Some("r-1"));
    }

    #[test]
    fn odd_usage_costs_no_answer() {
        for (usage, want) in [
            (
                r#"{"input_tokens":11,"output_tokens":3,"total_tokens":14}"#,
                (Some(11), Some(3)),
            ),
            (r#"{"input_tokens":2.0}"#, (Some(2), None)),
            (r#"{"input_tokens":-1,"output_tokens":"3"}"#, (None, None)),
            (
                r#"{"input_tokens":1e400,"output_tokens":1}"#,
                (None, Some(1)),
            ),
            (
                r#"{"output_tokens":1,"output_tokens_details":[1,2]}"#,
                (None, Some(1)),
            ),
            ("[1,2,3,4,5]", (None, None)),
            (r#""lots""#, (None, None)),
            ("null", (None, None)),
        ] {
            let mut reader = DashscopeReader::new(true);
            reader.event(
                b"",
                format!(r#"{{"output":{{}},"usage":{usage}}}"#).as_bytes(),
            );
            assert_eq!(reader.state.failure, None, "{usage}");
            let got = &reader.state.usage;
            assert_eq!((got.prompt_tokens, got.completion_tokens), want, "{usage}");
        }
    }

    #[test]
    fn the_last_usage_that_says_something_wins() {
        let mut reader = DashscopeReader::new(true);
        for usage in [
            r#"{"input_tokens":7,"output_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}"#,
            r#"{"input_tokens":7,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":2}}"#,
            r#"{"output_tokens":null}"#,
        ] {
            reader.event(b"", format!(r#"{{"usage":{usage}}}"#).as_bytes());
        }
        assert_eq!(
            reader.state.usage,
            Usage {
                prompt_tokens: Some(7),
                completion_tokens: Some(3),
                cached_tokens: Some(4),
                reasoning_tokens: Some(2),
            }
        );
    }

    #[test]
    fn ends_and_spoilt_characters() {
        let mut reader = DashscopeReader::new(true);
        let spoilt = b"{\"output\":{\"text\":\"\xff\xe4\"}}";
        assert!(reader.event(b"", spoilt).unwrap().token);
        assert_eq!(reader.event(b"", b" [DONE] "), None);
        assert_eq!(reader.event(b"", b"{broken"), None);
        assert_eq!(reader.state.failure, None);
        assert!(reader.take().done);
        assert_eq!(reader.event(b"done", b""), None);
        assert!(reader.state().done);
    }

    #[test]
    fn a_reader_is_new_after_its_state_was_taken() {
        let mut reader = DashscopeReader::new(false);
        let event = br#"{"output":{"text":"abc"}}"#;
        assert!(reader.event(b"", event).unwrap().token);
        assert!(!reader.event(b"", event).unwrap().token);
        reader.take();
        assert!(reader.event(b"", event).unwrap().token);
    }

    #[test]
    fn a_whole_answer() {
        let answer = br#"{"status_code":200,"request_id":"r","code":"","message":"","output":{"text":null,"finish_reason":null,"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"hi","reasoning_content":"so"}}]},"usage":{"input_tokens":3,"output_tokens":16,"total_tokens":19}}"#;
        let mut reader = DashscopeReader::new(true);
        let meaning = reader.whole(answer);
        assert!(meaning.token && meaning.answer);
        let state = reader.take();
        assert_eq!(state.failure, None);
        assert_eq!(state.finish_reason.as_deref(), Some("stop"));
        assert_eq!(state.response_id.as_deref(), Some("r"));
        assert_eq!(state.usage.completion_tokens, Some(16));
        assert!(state.done);
        for incremental in [true, false] {
            let api = Dashscope {
                incremental,
                form: Form::Text,
            };
            let mut text = AnswerText::default();
            api.read_text(answer, &mut text);
            assert_eq!(text.choices[0].content, "hi");
            assert_eq!(text.choices[0].reasoning, "so");
        }
    }

    #[test]
    fn texts_are_joined_or_replaced() {
        let events = [
            r#"{"output":{"choices":[{"message":{"content":[{"text":"a"}],"reasoning_content":"so"}},{"message":{"content":"x"}}]}}"#,
            r#"{"output":{"choices":[{"index":0,"message":{"content":"ab","reasoning_content":""}}]}}"#,
            r#"{"output":{"choices":[{"index":1,"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}}"#,
            r#"{"output":{"text":""},"usage":{}}"#,
            "rubbish",
        ];
        let read = |incremental| {
            let api = Dashscope {
                incremental,
                form: Form::Text,
            };
            let mut text = AnswerText::default();
            for event in events {
                api.read_text(event.as_bytes(), &mut text);
            }
            let of = |choice: &ChoiceText| format!("{}|{}", choice.reasoning, choice.content);
            text.choices.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(read(true), ["so|aab", "|xf{}"]);
        assert_eq!(read(false), ["so|ab", "|f{}"]);
    }
}
