//! Owns the reading of OpenAI chat completions and completions, streamed or
//! whole, in the dialects that servers speak.
//!
//! It looks at each event once, keeps no text, and allocates nothing for an
//! ordinary event: whether a field holds text is all that is asked of it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::usage::{Told, merge};
use super::{AnswerReader, AnswerState, AnswerText, Api, Choices, EventMeaning};
use crate::record::{Failure, FailureKind, Usage};

/// Longest message of a failure, in characters.
const MESSAGE_CHARS: usize = 300;

/// Chat completions and completions.
#[derive(Clone, Copy, Debug)]
pub struct OpenAi;

impl Api for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::<OpenAiReader>::default()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        super::text::read_choices(answer, text);
    }
}

/// Reads one answer.
#[derive(Debug, Default)]
pub struct OpenAiReader {
    state: AnswerState,
}

impl AnswerReader for OpenAiReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // what follows the end is not part of the answer
        if self.state.done || data.trim_ascii_start().starts_with(b"[DONE]") {
            self.state.done = true;
            return None;
        }
        if name == b"error" {
            self.fail(FailureKind::ServerError, error_text(data));
            return Some(EventMeaning::default());
        }
        Some(self.parse(data, "an event"))
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let meaning = self.parse(body, "the answer");
        self.state.done = true;
        meaning
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn take(&mut self) -> AnswerState {
        std::mem::take(&mut self.state)
    }
}

impl OpenAiReader {
    /// Nothing more of the answer is to come.
    pub(super) fn end(&mut self) {
        self.state.done = true;
    }

    fn parse(&mut self, data: &[u8], what: &str) -> EventMeaning {
        // serde would take a list for a struct, field by field
        let parsed = if data.trim_ascii_start().first() == Some(&b'{') {
            serde_json::from_slice::<Chunk<'_>>(data).map_err(|error| error.to_string())
        } else {
            Err("it does not begin with `{`".to_owned())
        };
        match parsed {
            Ok(chunk) => self.read(&chunk, data),
            // a server that cuts a character in two spoils the character, not the answer
            Err(_) if std::str::from_utf8(data).is_err() => {
                let repaired = String::from_utf8_lossy(data).into_owned();
                self.parse(repaired.as_bytes(), what)
            }
            Err(error) => {
                let message = format!("{what} is not a JSON object: {error}: {}", clip(data));
                self.fail(FailureKind::Malformed, message);
                EventMeaning::default()
            }
        }
    }

    fn read(&mut self, chunk: &Chunk<'_>, raw: &[u8]) -> EventMeaning {
        // some servers say in each event that there is no error
        let error = chunk
            .error
            .filter(|error| !matches!(error.get(), "false" | "\"\"" | "{}" | "0"));
        if error.is_some() || chunk.object.0 {
            let text = error.map_or_else(
                || error_text(raw),
                |error| error_text(error.get().as_bytes()),
            );
            self.fail(FailureKind::ServerError, text);
        }
        if let Some(usage) = chunk.usage {
            merge(usage, &mut self.state.usage, usage_of);
        }
        if self.state.response_id.is_none()
            && let Some(id) = chunk.id
        {
            // Azure's first event and all of TGI's have an empty one
            self.state.response_id = serde_json::from_str(id.get())
                .ok()
                .filter(|id: &String| !id.is_empty());
        }
        if let Some(reason) = &chunk.choices.finish_reason {
            if reason == "error" {
                self.fail(
                    FailureKind::ServerError,
                    "the server ended generation with finish_reason `error`".to_owned(),
                );
            }
            self.state.finish_reason = Some(reason.clone());
        }
        chunk.choices.meaning
    }

    fn fail(&mut self, kind: FailureKind, message: String) {
        // the first thing that went wrong is the reason of the rest
        self.state
            .failure
            .get_or_insert_with(|| Failure::new(kind, message));
    }
}

/// The message in an error of any of the usual forms.
#[must_use]
pub fn error_text(error: &[u8]) -> String {
    crate::steps::add(error.len());
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(error) else {
        // some gateways frame an error as an event, whatever they call it
        let mut lines = error.split(|byte| *byte == b'\n');
        return match lines.find_map(|line| line.strip_prefix(b"data:")) {
            Some(inner) => error_text(inner.trim_ascii()),
            None => clip(error),
        };
    };
    let inner = value.get("error").unwrap_or(&value);
    let message = inner
        .as_str()
        .or_else(|| inner.get("message").and_then(|m| m.as_str()))
        .or_else(|| inner.get("detail").and_then(|m| m.as_str()));
    let Some(message) = message else {
        return clip(error);
    };
    let code = ["code", "type"]
        .iter()
        .find_map(|key| match inner.get(key) {
            Some(serde_json::Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(serde_json::Value::Number(n)) => Some(n.to_string()),
            _ => None,
        });
    match code {
        Some(code) => clip(format!("{message} ({code})").as_bytes()),
        None => clip(message.as_bytes()),
    }
}

/// The beginning of a text on one line.
#[must_use]
pub fn clip(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * MESSAGE_CHARS)]);
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MESSAGE_CHARS)
        .collect();
    if text.chars().nth(MESSAGE_CHARS).is_some() {
        line.push('…');
    }
    line
}

/// What we look for in an event or a whole answer. Unknown fields are skipped.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    object: IsError,
    #[serde(default)]
    choices: ChoiceList,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// All choices of an event.
#[derive(Debug, Default)]
struct ChoiceList {
    meaning: EventMeaning,
    finish_reason: Option<String>,
}

/// Whether something holds generated text, and whether that is more than thinking.
#[derive(Clone, Copy, Debug, Default)]
struct Payload {
    token: bool,
    answer: bool,
}

/// `"object": "error"`: vLLM's older form.
#[derive(Debug, Default)]
struct IsError(bool);

/// Whether a value holds text, at any depth that matters, and whether any of it is more than
/// thinking.
#[derive(Clone, Copy, Debug, Default)]
struct HasText(Payload);

#[derive(Debug, Default)]
struct Reason(Option<String>);

/// Which name of a token count goes first. Gateways send several spellings at
/// once, the foreign ones as 0, so OpenAI's own does.
fn usage_of(told: &Told) -> Usage {
    Usage {
        prompt_tokens: told.prompt_tokens.or(told.input_tokens),
        completion_tokens: told.completion_tokens.or(told.output_tokens),
        cached_tokens: told
            .prompt_details
            .cached_tokens
            .or(told.input_details.cached_tokens)
            .or(told.prompt_cache_hit_tokens)
            .or(told.cached_tokens),
        reasoning_tokens: told
            .completion_details
            .reasoning_tokens
            .or(told.output_details.reasoning_tokens)
            .or(told.reasoning_tokens),
        reasoning_from_total: false,
    }
}

/// A visitor method that takes a scalar and gives a fixed value.
macro_rules! scalars {
    ($value:expr; $($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($value) }
    };
}

/// A visitor method pair that skips a list or an object.
macro_rules! skip_nested {
    ($value:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

macro_rules! deserialize_any_with {
    ($type:ty, $visitor:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

struct ChoicesVisitor;
deserialize_any_with!(ChoiceList, ChoicesVisitor);

impl<'de> Visitor<'de> for ChoicesVisitor {
    type Value = ChoiceList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    scalars!(ChoiceList::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ChoiceList, A::Error> {
        let mut all = ChoiceList::default();
        let mut position = 0;
        while let Some(choice) = seq.next_element::<Choice>()? {
            let own = Choices::one(choice.index.unwrap_or(position));
            position += 1;
            all.meaning.tokens |= own.when(choice.payload.token);
            all.meaning.answers |= own.when(choice.payload.answer);
            if choice.finish_reason.is_some() {
                all.meaning.finished |= own;
                all.finish_reason = choice.finish_reason;
            }
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ChoiceList, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(ChoiceList::default())
    }
}

#[derive(Default)]
struct Choice {
    index: Option<usize>,
    payload: Payload,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceKey {
    Delta,
    Message,
    Text,
    FinishReason,
    Index,
    #[serde(other)]
    Other,
}

struct ChoiceVisitor;
deserialize_any_with!(Choice, ChoiceVisitor);

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = Choice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a choice")
    }

    scalars!(Choice::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice, A::Error> {
        let mut choice = Choice::default();
        while let Some(key) = map.next_key()? {
            match key {
                ChoiceKey::Delta | ChoiceKey::Message => {
                    let Delta(payload) = map.next_value()?;
                    choice.payload.token |= payload.token;
                    choice.payload.answer |= payload.answer;
                }
                ChoiceKey::Text => {
                    let HasText(text) = map.next_value()?;
                    choice.payload.token |= text.token;
                    choice.payload.answer |= text.answer;
                }
                ChoiceKey::FinishReason => {
                    let Reason(reason) = map.next_value()?;
                    choice.finish_reason = reason;
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choice, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Choice::default())
    }
}

/// A `delta` or a `message`.
#[derive(Default)]
struct Delta(Payload);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum DeltaKey {
    Content,
    Text,
    Refusal,
    ToolCalls,
    FunctionCall,
    Audio,
    Reasoning,
    ReasoningContent,
    ReasoningDetails,
    #[serde(other)]
    Other,
}

struct DeltaVisitor;
deserialize_any_with!(Delta, DeltaVisitor);

impl<'de> Visitor<'de> for DeltaVisitor {
    type Value = Delta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delta")
    }

    scalars!(Delta::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Delta, A::Error> {
        let mut meaning = Payload::default();
        while let Some(key) = map.next_key()? {
            match key {
                DeltaKey::Content
                | DeltaKey::Text
                | DeltaKey::Refusal
                | DeltaKey::ToolCalls
                | DeltaKey::FunctionCall
                | DeltaKey::Audio => {
                    let HasText(text) = map.next_value()?;
                    meaning.token |= text.token;
                    meaning.answer |= text.answer;
                }
                DeltaKey::Reasoning | DeltaKey::ReasoningContent | DeltaKey::ReasoningDetails => {
                    let HasText(text) = map.next_value()?;
                    meaning.token |= text.token;
                }
                DeltaKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Delta(meaning))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Delta, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Delta::default())
    }
}

/// Keys under which generated text stands inside parts, tool calls and
/// reasoning details. Not `data`: that is encrypted reasoning.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum TextKey {
    Arguments,
    Content,
    Custom,
    Function,
    Input,
    Name,
    Summary,
    Text,
    Thinking,
    Transcript,
    #[serde(other)]
    Other,
}

struct TextVisitor;
deserialize_any_with!(HasText, TextVisitor);

impl<'de> Visitor<'de> for TextVisitor {
    type Value = HasText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    scalars!(HasText::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<HasText, E> {
        let some = !text.is_empty();
        Ok(HasText(Payload {
            token: some,
            answer: some,
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<HasText, A::Error> {
        let mut any = Payload::default();
        while let Some(HasText(text)) = seq.next_element()? {
            any.token |= text.token;
            any.answer |= text.answer;
        }
        Ok(HasText(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HasText, A::Error> {
        let mut any = Payload::default();
        while let Some(key) = map.next_key()? {
            if let TextKey::Other = key {
                map.next_value::<IgnoredAny>()?;
            } else {
                let HasText(text) = map.next_value()?;
                any.token |= text.token;
                // Mistral's thinking stands inside `content`
                any.answer |= text.answer && !matches!(key, TextKey::Thinking);
            }
        }
        Ok(HasText(any))
    }
}

struct ReasonVisitor;
deserialize_any_with!(Reason, ReasonVisitor);

impl<'de> Visitor<'de> for ReasonVisitor {
    type Value = Reason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finish reason")
    }

    scalars!(Reason(None); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<Reason, E> {
        // an empty one means "not yet" at some servers
        Ok(Reason((!text.is_empty()).then(|| text.to_owned())))
    }

    skip_nested!(Reason(None));
}

struct IsErrorVisitor;
deserialize_any_with!(IsError, IsErrorVisitor);

impl<'de> Visitor<'de> for IsErrorVisitor {
    type Value = IsError;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object's name")
    }

    scalars!(IsError(false); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);

    fn visit_str<E>(self, text: &str) -> Result<IsError, E> {
        Ok(IsError(text == "error"))
    }

    skip_nested!(IsError(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(data: &str) -> (bool, bool) {
        let mut reader = OpenAiReader::default();
        let meaning = reader.event(b"", data.as_bytes()).unwrap();
        assert_eq!(reader.state.failure, None, "{data}");
        (meaning.has_token(), meaning.has_answer())
    }

    fn delta(delta: &str) -> (bool, bool) {
        meaning(&format!(
            r#"{{"id":"x","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
        ))
    }

    #[test]
    fn what_is_a_token_and_what_is_not() {
        const NO: (bool, bool) = (false, false);
        const THOUGHT: (bool, bool) = (true, false);
        const ANSWER: (bool, bool) = (true, true);
        for (text, want) in [
            (r#"{"role":"assistant","content":""}"#, NO),
            (r#"{"role":"assistant"}"#, NO),
            (r#"{"content":null,"tool_calls":null}"#, NO),
            ("{}", NO),
            ("null", NO),
            (r#"{"content":"a"}"#, ANSWER),
            (r#"{"content":"\n"}"#, ANSWER),
            (r#"{"content":[{"type":"text","text":"a"}]}"#, ANSWER),
            (r#"{"reasoning_content":"a","content":null}"#, THOUGHT),
            (r#"{"reasoning":"a","content":""}"#, THOUGHT),
            (r#"{"reasoning":"","content":"b"}"#, ANSWER),
            (
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#,
                THOUGHT,
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"a"}]}"#,
                THOUGHT,
            ),
            (
                r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"Zm9v"}]}"#,
                NO,
            ),
            (r#"{"refusal":"no"}"#, ANSWER),
            (
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}"#,
                ANSWER,
            ),
            (
                r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
                ANSWER,
            ),
            (
                r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#,
                NO,
            ),
            (r#"{"tool_calls":[]}"#, NO),
            (r#"{"function_call":{"arguments":"x"}}"#, ANSWER),
        ] {
            assert_eq!(delta(text), want, "{text}");
        }
        assert_eq!(meaning(r#"{"choices":[{"text":"a"}]}"#), ANSWER);
        assert_eq!(meaning(r#"{"choices":[{"text":""}]}"#), NO);
        assert_eq!(meaning(r#"{"choices":[]}"#), NO);
        assert_eq!(meaning(r#"{"choices":null,"error":null}"#), NO);
        assert_eq!(
            meaning(r#"{"choices":[{"delta":{"content":""}},{"delta":{"content":"b"}}]}"#),
            ANSWER
        );
    }

    #[test]
    fn the_last_usage_that_says_something_wins() {
        let mut reader = OpenAiReader::default();
        for data in [
            r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"usage":{"prompt_tokens":null,"completion_tokens":2.0,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens_details":null}}"#,
        ] {
            reader.event(b"", data.as_bytes());
        }
        assert_eq!(
            reader.state.usage,
            Usage {
                prompt_tokens: Some(7),
                completion_tokens: Some(2),
                cached_tokens: Some(4),
                reasoning_tokens: Some(1),
                reasoning_from_total: false,
            }
        );
    }

    fn failure(name: &str, data: &str) -> Option<String> {
        let mut reader = OpenAiReader::default();
        reader.event(name.as_bytes(), data.as_bytes());
        let failure = reader.state.failure?;
        Some(format!("{}: {}", failure.kind, failure.message))
    }

    #[test]
    fn errors_in_a_stream_of_status_200() {
        for (name, data, want) in [
            (
                "",
                r#"{"error":{"message":"out of memory","type":"server_error","code":500}}"#,
                Some("server_error: out of memory (500)"),
            ),
            (
                "",
                r#"{"error":"overloaded"}"#,
                Some("server_error: overloaded"),
            ),
            (
                "",
                r#"{"object":"error","message":"bad","code":400}"#,
                Some("server_error: bad (400)"),
            ),
            ("error", r#"{"message":"bad"}"#, Some("server_error: bad")),
            ("error", "plain text", Some("server_error: plain text")),
            (
                "",
                r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
                Some("server_error: the server ended generation with finish_reason `error`"),
            ),
            ("", r#"{"error":null,"choices":[]}"#, None),
            ("", r#"{"error":"","choices":[]}"#, None),
            ("", r#"{"error":false,"choices":[]}"#, None),
            ("message", r#"{"choices":[]}"#, None),
        ] {
            assert_eq!(failure(name, data).as_deref(), want, "{data}");
        }
        assert!(
            failure("", r#"{"choices":["#)
                .unwrap()
                .starts_with("malformed: ")
        );
        assert!(failure("", "[]").unwrap().starts_with("malformed: "));
        assert!(failure("", "123").unwrap().starts_with("malformed: "));
        assert!(failure("", "\u{fffd}").unwrap().starts_with("malformed: "));
    }

    #[test]
    fn odd_usage_costs_no_answer() {
        for (usage, want) in [
            (
                r#"{"prompt_tokens":11,"completion_tokens":3,"input_tokens":0,"output_tokens":0}"#,
                (Some(11), Some(3)),
            ),
            (
                r#"{"input_tokens":5,"output_tokens":6}"#,
                (Some(5), Some(6)),
            ),
            (
                r#"{"prompt_tokens":-1,"completion_tokens":"3"}"#,
                (None, None),
            ),
            (
                r#"{"prompt_tokens":7,"completion_tokens_details":"x"}"#,
                (Some(7), None),
            ),
            ("[1,2]", (None, None)),
            (r#""lots""#, (None, None)),
            (r#"{"prompt_tokens":1e400}"#, (None, None)),
        ] {
            let mut reader = OpenAiReader::default();
            reader.event(
                b"",
                format!(r#"{{"choices":[],"usage":{usage}}}"#).as_bytes(),
            );
            assert_eq!(reader.state.failure, None, "{usage}");
            let got = &reader.state.usage;
            assert_eq!((got.prompt_tokens, got.completion_tokens), want, "{usage}");
        }
    }

    #[test]
    fn spoilt_characters_and_late_events_cost_no_answer() {
        let mut reader = OpenAiReader::default();
        let spoilt = b"{\"choices\":[{\"delta\":{\"content\":\"\xff\xe4\"}}]}";
        assert!(reader.event(b"", spoilt).unwrap().has_token());
        assert_eq!(reader.event(b"", b" [DONE] "), None);
        assert_eq!(reader.event(b"", b"{broken"), None);
        assert_eq!(reader.state.failure, None);
    }

    #[test]
    fn a_count_beyond_all_reason_is_none() {
        for (count, want) in [
            ("1000000000000", Some(1_000_000_000_000)),
            ("1000000000001", None),
            ("18446744073709551615", None),
        ] {
            let mut reader = OpenAiReader::default();
            reader.whole(
                format!(r#"{{"choices":[],"usage":{{"completion_tokens":{count}}}}}"#).as_bytes(),
            );
            assert_eq!(reader.take().usage.completion_tokens, want, "{count}");
        }
    }

    #[test]
    fn a_whole_answer() {
        let mut reader = OpenAiReader::default();
        let meaning = reader.whole(
            br#"{"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"hi","finish_reason":"length"}],"usage":{"prompt_tokens":1,"total_tokens":17,"completion_tokens":16}}"#,
        );
        assert!(meaning.has_token());
        let state = reader.take();
        assert_eq!(state.finish_reason.as_deref(), Some("length"));
        assert_eq!(state.response_id.as_deref(), Some("cmpl-1"));
        assert_eq!(state.usage.completion_tokens, Some(16));
        assert!(state.done);
    }

    #[test]
    fn an_error_framed_as_an_event_is_read() {
        let body = b"id:1\nevent:error\n:HTTP_STATUS/400\ndata:{\"code\":\"InvalidParameter\",\"message\":\"no\"}\n\n";
        assert_eq!(error_text(body), "no (InvalidParameter)");
        assert_eq!(error_text(b"data:data: x"), "x");
    }

    #[test]
    fn long_messages_are_clipped_on_one_line() {
        let text = clip(&"é\n".repeat(1000).into_bytes());
        assert_eq!(text.chars().count(), MESSAGE_CHARS + 1);
        assert!(!text.contains('\n'));
    }
}
