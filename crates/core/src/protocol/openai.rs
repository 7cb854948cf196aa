//! Owns the parsing of OpenAI chat completions and completions, streaming or not, in the dialects
//! that servers speak.
//!
//! It parses each event once, keeps no text, and allocates nothing for an ordinary event: all it
//! needs to know is whether a field has text.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::errors::{Remark, clipped, given_up, is_given_up, name_in, remark, says_nothing_raw};
pub use super::errors::{clip, error_text};
use super::json::{is_done, mended, unmarked};
use super::places::{Fields, Place, Seen, Sink, Walk};
use super::unread::Unread;
use super::usage::{Reported, first, merge, of_choices};
use super::{AnswerReader, AnswerState, AnswerText, Api, Choices, EventMeaning};
use evalscope_model::record::{Failure, FailureKind, MAX_CHOICE, Usage};

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

/// Reads one response.
#[derive(Debug, Default)]
pub struct OpenAiReader {
    state: AnswerState,
    /// Choices whose `delta` has held output, and whose `delta` or `text` has: any other place
    /// repeats it.
    borne: [Choices; 2],
    /// A choice has arrived.
    answered: bool,
    /// Token counts inside choices, by choice, while there are none at the top level.
    of_choices: Vec<Usage>,
    /// There was a count of generated tokens at the top level.
    usage_at_top: bool,
    unread: Unread,
    /// The responses may have another format: only what is surely OpenAI's is read.
    guessing: bool,
}

impl AnswerReader for OpenAiReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        // anything after the end is not part of the response
        if self.state.done || is_done(data) {
            self.state.done = true;
            return None;
        }
        if name == b"error" {
            self.fail(FailureKind::ServerError, error_text(data));
            return Some(EventMeaning::default());
        }
        match self.parse(data) {
            Ok(meaning) => Some(meaning),
            Err(error) => {
                self.unread.event(&mut self.state, name, data, &error);
                None
            }
        }
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let meaning = self.parse(unmarked(body)).unwrap_or_else(|error| {
            let message = format!("the response is not a JSON object: {error}: {}", clip(body));
            self.fail(FailureKind::Malformed, message);
            EventMeaning::default()
        });
        self.state.done = true;
        meaning
    }

    fn state(&self) -> &AnswerState {
        &self.state
    }

    fn answered(&self) -> bool {
        self.answered || self.guessing
    }

    fn aside(&self) -> Option<&Failure> {
        self.unread.aside()
    }

    fn take(&mut self) -> AnswerState {
        let guessing = self.guessing;
        let read = std::mem::take(self);
        self.guessing = guessing;
        read.state
    }
}

impl OpenAiReader {
    /// A reader for responses that may or may not be OpenAI's.
    pub(super) fn guessing() -> Self {
        Self {
            guessing: true,
            ..Self::default()
        }
    }

    /// The response is complete.
    pub(super) fn end(&mut self) {
        self.state.done = true;
    }

    fn parse(&mut self, data: &[u8]) -> Result<EventMeaning, String> {
        // serde would accept a list for a struct, field by field
        if data.trim_ascii_start().first() != Some(&b'{') {
            return Err("it does not start with `{`".to_owned());
        }
        let mut choices = ChoiceList::default();
        let error = match Chunk::parse(data, &mut choices) {
            Ok(chunk) => return Ok(self.read(&chunk, choices, data)),
            Err(error) => error,
        };
        // a truncated character, or the log of a probability of 0, does not invalidate the response
        let Some(mended) = mended(data) else {
            return Err(error.to_string());
        };
        let mut choices = ChoiceList::default();
        let chunk = Chunk::parse(mended.as_bytes(), &mut choices).map_err(|e| e.to_string())?;
        Ok(self.read(&chunk, choices, mended.as_bytes()))
    }

    fn read(&mut self, chunk: &Chunk<'_>, choices: ChoiceList<'_>, raw: &[u8]) -> EventMeaning {
        self.answered |= choices.any;
        // some servers send an empty error field in each event
        let error = chunk.error.filter(|error| !says_nothing_raw(error.get()));
        if let Some(error) = error {
            let whole = chunk.odd || chunk.is_error;
            let text = if whole { raw } else { error.get().as_bytes() };
            self.fail(FailureKind::ServerError, error_text(text));
        } else if chunk.is_error || chunk.refused {
            self.fail(FailureKind::ServerError, error_text(raw));
        } else if chunk.odd && !choices.any && !self.guessing {
            match remark(raw) {
                Remark::None => {}
                Remark::Notice(words) => self.unread.notice(words),
                Remark::Error(words) => self.fail(FailureKind::ServerError, words),
            }
        }
        self.take_usage(chunk, &choices);
        if self.state.response_id.is_none()
            && let Some(id) = chunk.id
        {
            // Azure's first event and all of TGI's have an empty id
            self.state.response_id = name_in(id);
        }
        if self.state.model.is_none()
            && let Some(model) = chunk.model
        {
            self.state.model = name_in(model);
        }
        let meaning = self.meaning(&choices);
        if let Some(reason) = choices.finish_reason {
            if is_given_up(&reason) {
                self.fail(FailureKind::ServerError, given_up(&reason));
            }
            self.state.finish_reason = Some(reason);
        }
        meaning
    }

    /// The meaning of an event: for each choice, only the first of its places that has ever held
    /// output counts, because the others repeat it.
    fn meaning(&mut self, choices: &ChoiceList<'_>) -> EventMeaning {
        let [delta, text, message] = choices.seen;
        self.borne[0] |= delta.tokens;
        self.borne[1] |= delta.tokens | text.tokens;
        let text_counts = text.tokens.without(self.borne[0]);
        let message_counts = message.tokens.without(self.borne[1]);
        EventMeaning {
            tokens: delta.tokens | text_counts | message_counts,
            answers: delta.answers
                | text.answers.without(self.borne[0])
                | message.answers.without(self.borne[1]),
            finished: choices.finished,
        }
    }

    fn take_usage(&mut self, chunk: &Chunk<'_>, choices: &ChoiceList<'_>) {
        for (index, usage) in &choices.usages {
            let index = (*index).min(usize::from(MAX_CHOICE));
            if self.of_choices.len() <= index {
                self.of_choices.resize(index + 1, Usage::default());
            }
            merge(usage, &mut self.of_choices[index], usage_of);
        }
        if !choices.usages.is_empty() && !self.usage_at_top {
            self.state.usage = of_choices(&self.of_choices);
        }
        for usage in chunk.usages.into_iter().flatten() {
            merge(usage, &mut self.state.usage, usage_of);
            self.usage_at_top |= self
                .state
                .usage
                .completion_tokens
                .is_some_and(|count| count > 0);
        }
    }

    fn fail(&mut self, kind: FailureKind, message: String) {
        // the first error is the cause of those that follow
        self.state
            .failure
            .get_or_insert_with(|| Failure::new(kind, message));
    }
}

/// Receives the choices of an event.
pub(super) trait ChoiceSink<'a> {
    /// Receives the output of one choice.
    type Sink: Sink + Default;

    /// Add a choice, with its `index` or its position.
    fn choice(&mut self, index: usize, choice: Choice<'a, Self::Sink>);
}

/// The relevant fields of an event or a non-streaming response, except its choices. Unknown fields
/// are skipped, and a duplicate field is not an error.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    id: Option<&'a RawValue>,
    model: Option<&'a RawValue>,
    /// `"object": "error"`: vLLM's older form.
    is_error: bool,
    /// `base_resp` of `MiniMax` with a status other than success.
    refused: bool,
    /// Token counts, those at the top level last.
    usages: [Option<&'a RawValue>; 2],
    error: Option<&'a RawValue>,
    /// It has fields that only objects without output have.
    odd: bool,
}

impl<'a> Chunk<'a> {
    /// Parse an event; its choices are passed to the sink.
    pub(super) fn parse<L: ChoiceSink<'a>>(
        data: &'a [u8],
        choices: &mut L,
    ) -> Result<Self, serde_json::Error> {
        // checking all of it once is cheaper than each name and each string
        let text = std::str::from_utf8(data).map_err(serde::de::Error::custom)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let chunk = ChunkSeed(choices).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(chunk)
    }
}

/// Choices with output, and with output other than reasoning.
#[derive(Clone, Copy, Debug, Default)]
struct Output {
    tokens: Choices,
    answers: Choices,
}

/// All choices of an event.
#[derive(Debug, Default)]
struct ChoiceList<'a> {
    any: bool,
    /// In `delta`, `text` and `message`.
    seen: [Output; 3],
    finished: Choices,
    finish_reason: Option<String>,
    usages: Vec<(usize, &'a RawValue)>,
}

/// Which name of a token count takes precedence.
fn usage_of(reported: &Reported) -> Usage {
    // Anthropic does not include cached tokens in `input_tokens`
    let input = reported.input_tokens.map(|count| {
        [reported.cache_read, reported.cache_creation]
            .into_iter()
            .flatten()
            .fold(count, u64::saturating_add)
    });
    Usage {
        prompt_tokens: first([reported.prompt_tokens, input]),
        completion_tokens: first([reported.completion_tokens, reported.output_tokens]),
        cached_tokens: first([
            reported.prompt_details.cached_tokens,
            reported.input_details.cached_tokens,
            reported.prompt_cache_hit_tokens,
            reported.cached_tokens,
            reported.cache_read,
        ]),
        reasoning_tokens: first([
            reported.completion_details.reasoning_tokens,
            reported.output_details.reasoning_tokens,
            reported.reasoning_tokens,
        ]),
        reasoning_from_total: false,
    }
}

/// Visitor methods that return a fixed value for each scalar.
macro_rules! scalars {
    ($value:expr; $($method:ident: $type:ty),*) => {
        $(fn $method<E>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })*
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($value) }
    };
}

/// A visitor method that skips a list.
macro_rules! skip_list {
    ($value:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

/// A visitor method that skips an object.
macro_rules! skip_object {
    ($value:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChunkKey {
    Id,
    Model,
    Object,
    Choices,
    Usage,
    #[serde(rename = "usageMetadata")]
    UsageMetadata,
    XGroq,
    Message,
    Error,
    BaseResp,
    #[serde(
        alias = "msg",
        alias = "detail",
        alias = "errors",
        alias = "error_code",
        alias = "errorCode",
        alias = "errcode",
        alias = "error_msg",
        alias = "error_message",
        alias = "errorMessage",
        alias = "success",
        alias = "ok",
        alias = "status",
        alias = "status_code",
        alias = "type",
        alias = "fault"
    )]
    Code,
    #[serde(other)]
    Other,
}

struct ChunkSeed<'s, L>(&'s mut L);

impl<'de, L: ChoiceSink<'de>> DeserializeSeed<'de> for ChunkSeed<'_, L> {
    type Value = Chunk<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Chunk<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, L: ChoiceSink<'de>> Visitor<'de> for ChunkSeed<'_, L> {
    type Value = Chunk<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Chunk<'de>, A::Error> {
        let mut chunk = Chunk::default();
        while let Some(key) = map.next_key()? {
            match key {
                ChunkKey::Id => chunk.id = map.next_value()?,
                ChunkKey::Model => chunk.model = map.next_value()?,
                ChunkKey::Choices => map.next_value_seed(ListSeed(&mut *self.0))?,
                ChunkKey::Usage | ChunkKey::UsageMetadata => {
                    let usage: Option<_> = map.next_value()?;
                    chunk.usages[1] = usage.or(chunk.usages[1]);
                }
                ChunkKey::Object => {
                    let object: Option<&RawValue> = map.next_value()?;
                    chunk.is_error |= object.is_some_and(|object| object.get() == "\"error\"");
                }
                ChunkKey::Error => {
                    let error: Option<_> = map.next_value()?;
                    chunk.error = error.or(chunk.error);
                }
                ChunkKey::XGroq => {
                    let inner: Option<&RawValue> = map.next_value()?;
                    chunk.usages[0] = inner.and_then(usage_within).or(chunk.usages[0]);
                }
                // Anthropic's first event has the prompt's counts there; otherwise it is a text
                ChunkKey::Message => {
                    let message: Option<&RawValue> = map.next_value()?;
                    chunk.odd |= message.is_some();
                    chunk.usages[0] = message.and_then(usage_within).or(chunk.usages[0]);
                }
                ChunkKey::BaseResp => {
                    let inner: Option<&RawValue> = map.next_value()?;
                    let status = inner.and_then(|inner| within(inner, "status_code"));
                    chunk.refused |= status.is_some_and(|code| !says_nothing_raw(code.get()));
                }
                ChunkKey::Code => {
                    chunk.odd = true;
                    map.next_value::<IgnoredAny>()?;
                }
                ChunkKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(chunk)
    }
}

fn usage_within(object: &RawValue) -> Option<&RawValue> {
    within(object, "usage")
}

/// The value of a field of an object.
fn within<'a>(object: &'a RawValue, field: &str) -> Option<&'a RawValue> {
    struct Within<'f>(&'f str);
    impl<'de> Visitor<'de> for Within<'_> {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                if key == self.0 {
                    found = map.next_value()?;
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object.get());
    deserializer.deserialize_map(Within(field)).ok()?
}

/// Passes the list of choices to the sink.
struct ListSeed<'s, L>(&'s mut L);

impl<'de, L: ChoiceSink<'de>> DeserializeSeed<'de> for ListSeed<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: ChoiceSink<'de>> Visitor<'de> for ListSeed<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    scalars!((); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    skip_object!(());

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut position = 0;
        while let Some(choice) = seq.next_element::<Choice<'_, L::Sink>>()? {
            self.0.choice(choice.index.unwrap_or(position), choice);
            position += 1;
        }
        Ok(())
    }
}

impl<'de> ChoiceSink<'de> for ChoiceList<'de> {
    type Sink = Seen;

    fn choice(&mut self, index: usize, choice: Choice<'de, Seen>) {
        let own = Choices::one(index);
        self.any = true;
        for (all, seen) in self
            .seen
            .iter_mut()
            .zip([choice.delta, choice.text, choice.message])
        {
            all.tokens |= own.when(seen.token);
            all.answers |= own.when(seen.answer);
        }
        if choice.finish_reason.is_some() {
            self.finished |= own;
            self.finish_reason = choice.finish_reason;
        }
        self.usages.extend(choice.usage.map(|usage| (index, usage)));
    }
}

/// A choice; its output goes to three sinks, as the places repeat one another.
#[derive(Debug, Default)]
pub(super) struct Choice<'a, S> {
    index: Option<usize>,
    pub(super) delta: S,
    pub(super) text: S,
    pub(super) message: S,
    finish_reason: Option<String>,
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceKey {
    Delta,
    Message,
    Text,
    FinishReason,
    Index,
    Usage,
    #[serde(other)]
    Other,
}

impl<'de, S: Sink + Default> Deserialize<'de> for Choice<'de, S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor(PhantomData))
    }
}

struct ChoiceVisitor<S>(PhantomData<S>);

impl<'de, S: Sink + Default> Visitor<'de> for ChoiceVisitor<S> {
    type Value = Choice<'de, S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a choice")
    }

    scalars!(Choice::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
    skip_list!(Choice::default());

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice<'de, S>, A::Error> {
        let mut choice = Choice::default();
        while let Some(key) = map.next_key()? {
            match key {
                ChoiceKey::Delta => map.next_value_seed(Fields(&mut choice.delta))?,
                ChoiceKey::Message => map.next_value_seed(Fields(&mut choice.message))?,
                ChoiceKey::Text => map.next_value_seed(Walk {
                    sink: &mut choice.text,
                    place: Place::Content,
                })?,
                ChoiceKey::FinishReason => {
                    let Reason(reason) = map.next_value()?;
                    choice.finish_reason = reason.or(choice.finish_reason);
                }
                ChoiceKey::Index => {
                    let index: &RawValue = map.next_value()?;
                    choice.index = index.get().parse().ok();
                }
                ChoiceKey::Usage => choice.usage = map.next_value()?,
                ChoiceKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(choice)
    }
}

/// Why generation ended, if it has.
#[derive(Debug, Default)]
struct Reason(Option<String>);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReasonVisitor)
    }
}

struct ReasonVisitor;

impl<'de> Visitor<'de> for ReasonVisitor {
    type Value = Reason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finish reason")
    }

    scalars!(Reason(None); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
    skip_list!(Reason(None));

    fn visit_str<E>(self, text: &str) -> Result<Reason, E> {
        // some servers send a word for "not yet"
        let none = text.is_empty() || text == "null";
        Ok(Reason((!none).then(|| clipped(text.to_owned()))))
    }

    /// SGLang's own format: `{"type": "abort", "message": …}`.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reason, A::Error> {
        let mut reason = Reason(None);
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            let value: Option<&RawValue> = map.next_value()?;
            if key == "type" {
                reason = Reason(value.and_then(name_in));
            }
        }
        Ok(reason)
    }
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
        for spoilt in [r#"{"choices":["#, "[]", "123", "\u{fffd}"] {
            let (_, reader) = read(&[spoilt]);
            assert_eq!(
                reader.aside().unwrap().kind,
                FailureKind::Malformed,
                "{spoilt}"
            );
        }
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
                (None, Some(3)),
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

    /// Events, and what became of them.
    fn read(events: &[&str]) -> (Vec<bool>, OpenAiReader) {
        let mut reader = OpenAiReader::default();
        let tokens = events
            .iter()
            .filter_map(|data| reader.event(b"", data.as_bytes()))
            .map(|meaning| meaning.has_token())
            .collect();
        (tokens, reader)
    }

    #[test]
    fn a_message_beside_or_after_deltas_bears_no_token() {
        let perplexity = [
            r#"{"choices":[{"delta":{"content":"The"},"message":{"content":"The"}}]}"#,
            r#"{"choices":[{"delta":{"content":" sky."},"message":{"content":"The sky."}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"message":{"content":"The sky."},"finish_reason":"stop"}]}"#,
        ];
        assert_eq!(read(&perplexity).0, [true, true, false]);
        let minimax = [
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"Hi!"}}]}"#,
            r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi!"},"finish_reason":"stop"}]}"#,
            r#"{"object":"chat.completion","choices":[{"index":2,"message":{"content":"Hi!"}}]}"#,
        ];
        assert_eq!(read(&minimax).0, [true, true, false, true]);
    }

    #[test]
    fn usage_is_found_where_servers_put_it() {
        for (event, want) in [
            // Groq
            (
                r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":23,"completion_tokens":19}}}"#,
                (Some(23), Some(19), None),
            ),
            // Moonshot
            (
                r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":13,"completion_tokens":24,"cached_tokens":8}}]}"#,
                (Some(13), Some(24), Some(8)),
            ),
            (
                r#"{"choices":[{"usage":{"prompt_tokens":13,"completion_tokens":24}},{"usage":{"prompt_tokens":13,"completion_tokens":6}}]}"#,
                (Some(13), Some(30), None),
            ),
            (
                r#"{"choices":[{"usage":{"prompt_tokens":13,"completion_tokens":24}}],"usage":{"prompt_tokens":12,"completion_tokens":23}}"#,
                (Some(12), Some(23), None),
            ),
            // Anthropic, and Claude through a gateway
            (
                r#"{"message":{"usage":{"input_tokens":7,"cache_read_input_tokens":20,"output_tokens":1}}}"#,
                (Some(27), Some(1), Some(20)),
            ),
            (
                r#"{"usage":{"prompt_tokens":2095,"completion_tokens":503,"total_tokens":2598,"cache_read_input_tokens":1920}}"#,
                (Some(2095), Some(503), Some(1920)),
            ),
            // Gemini
            (
                r#"{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":9,"totalTokenCount":17}}"#,
                (Some(5), Some(12), None),
            ),
            (
                r#"{"usage":{"prompt_tokens":"11","completion_tokens":"9"}}"#,
                (Some(11), Some(9), None),
            ),
            (
                r#"{"usage":{"prompt_tokens":0,"completion_tokens":0,"input_tokens":11,"output_tokens":3}}"#,
                (Some(11), Some(3), None),
            ),
        ] {
            let usage = read(&[event]).1.take().usage;
            let got = (
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.cached_tokens,
            );
            assert_eq!(got, want, "{event}");
        }
        let (_, mut reader) = read(&[
            r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
        ]);
        let usage = reader.take().usage;
        assert_eq!(
            (usage.prompt_tokens, usage.completion_tokens),
            (Some(11), Some(3))
        );
    }

    #[test]
    fn an_error_in_other_words_is_one() {
        for (data, want) in [
            (
                r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"login fail: check your API key"}}"#,
                Some("server_error: login fail: check your API key (1004)"),
            ),
            (
                r#"{"choices":[{"delta":{"content":"a"}}],"base_resp":{"status_code":0,"status_msg":""}}"#,
                None,
            ),
            (
                r#"{"code":500,"msg":"boom"}"#,
                Some("server_error: boom (500)"),
            ),
            (
                r#"{"error_code":17,"error_msg":"limit"}"#,
                Some("server_error: limit (17)"),
            ),
            (
                r#"{"success":false,"message":"quota"}"#,
                Some("server_error: quota"),
            ),
            (r#"{"detail":"Not Found"}"#, Some("server_error: Not Found")),
            (
                r#"{"error":{"code":0,"message":""},"choices":[{"delta":{}}]}"#,
                None,
            ),
            (
                r#"{"code":200,"msg":"ok","choices":[{"delta":{"content":"a"}}]}"#,
                None,
            ),
            (r#"{"type":"ping"}"#, None),
            (
                r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#,
                Some("server_error: the server ended generation with finish_reason `abort`"),
            ),
            (
                r#"{"choices":[{"delta":{},"finish_reason":{"type":"abort","message":"x"}}]}"#,
                Some("server_error: the server ended generation with finish_reason `abort`"),
            ),
            (r#"{"choices":[{"delta":{},"finish_reason":"null"}]}"#, None),
        ] {
            assert_eq!(failure("", data).as_deref(), want, "{data}");
        }
        let (_, reader) = read(&[r#"{"status":"queued","message":"position 3"}"#]);
        assert_eq!(reader.state.failure, None);
        assert_eq!(reader.aside().unwrap().message, "position 3 (queued)");
    }

    #[test]
    fn events_that_are_no_json_are_passed_over() {
        let mut reader = OpenAiReader::default();
        assert_eq!(reader.event(b"ping", b"2024-04-27 01:35:43.686476"), None);
        assert!(reader.aside().is_none(), "a heartbeat is not missing data");
        assert_eq!(reader.event(b"", br#"{"choices":["#), None);
        assert!(reader.event(b"", br#"{"id":"a","id":"b","choices":[{"delta":{"content":"x"}}],"usage":null,"usage":{"prompt_tokens":1}}"#).unwrap().has_token());
        assert!(reader.event(b"", br#"{"choices":[{"delta":{"content":"y"},"logprobs":{"content":[{"logprob":-Infinity,"x":NaN}]}}]}"#).unwrap().has_token());
        assert_eq!(reader.event(b"", b"\"[DONE]\""), None);
        let aside = reader.aside().unwrap().to_owned();
        assert_eq!(aside.kind, FailureKind::Malformed);
        assert!(
            aside
                .message
                .starts_with("an event is not a JSON object: EOF"),
            "{aside:?}"
        );
        let state = reader.take();
        assert_eq!(
            (state.failure, state.skipped_events, state.done),
            (None, 2, true)
        );
        assert_eq!(state.usage.prompt_tokens, Some(1));
        assert!(reader.aside().is_none());
    }

    #[test]
    fn events_without_blank_lines_between_are_named() {
        let data = "{\"choices\":[]}\n{\"choices\":[]}\n[DONE]";
        let text = failure("", data).unwrap();
        assert!(
            text.starts_with(
                "malformed: several events arrived as one, without blank lines between them"
            ),
            "{text}"
        );
    }

    #[test]
    fn names_are_clipped_and_the_first_counts() {
        let long = "x".repeat(10_000);
        let (_, mut reader) = read(&[
            r#"{"id":"","model":null,"choices":[]}"#,
            &format!(
                r#"{{"id":"{long}","model":"{long}","choices":[{{"finish_reason":"{long}"}}]}}"#
            ),
            r#"{"id":"b","model":"m","choices":[]}"#,
        ]);
        let state = reader.take();
        for name in [state.response_id, state.model, state.finish_reason] {
            assert_eq!(name.unwrap(), long[..256]);
        }
    }
}
