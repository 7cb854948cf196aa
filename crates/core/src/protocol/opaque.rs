//! Owns the reading of responses whose API only a plugin knows: by the plugin's rules if it gives
//! any, else as OpenAI's where they look like it, else any event counts as output.
//!
//! It must not know the plugin, or how bodies are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::api::{AnswerReader, Api, Doubt};
use super::declared::{
    AnswerShape, AnswerShapes, DeclarationError, DeclaredReader, StreamShape, read_text,
};
use super::json::is_done;
use super::meaning::{AnswerState, EventMeaning};
use super::openai::OpenAiReader;
use super::text::AnswerText;
use evalscope_model::record::Failure;

/// An API known only by its name, and perhaps by rules for its responses.
#[derive(Clone, Debug)]
pub struct Opaque {
    name: String,
    rules: Option<Rules>,
    /// Some event was counted as token-bearing without a rule that says so.
    guessed: Arc<AtomicBool>,
}

/// The rules given for responses.
#[derive(Clone, Debug)]
struct Rules {
    shapes: Arc<AnswerShapes>,
    stream: bool,
    whole: bool,
}

/// How to read the responses of an API, according to its plugin: `[stream]` and `[whole]` of a
/// declared API. What it leaves out is guessed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseRules {
    /// Streaming responses. If no other end is given, `[DONE]` ends the stream.
    pub stream: Option<StreamShape>,
    /// Non-streaming responses.
    pub whole: Option<AnswerShape>,
}

impl Opaque {
    /// An API with this name and no rules.
    #[must_use]
    pub fn untold(name: String) -> Self {
        Self {
            name,
            rules: None,
            guessed: Arc::default(),
        }
    }

    /// An API with this name.
    ///
    /// # Errors
    /// If the rules do not say where generated text is.
    pub fn new(name: String, answers: Option<ResponseRules>) -> Result<Self, DeclarationError> {
        let rules = answers.map(Rules::new).transpose()?;
        Ok(Self {
            rules,
            ..Self::untold(name)
        })
    }
}

impl Rules {
    fn new(answers: ResponseRules) -> Result<Self, DeclarationError> {
        let ResponseRules { stream, whole } = answers;
        for (name, shape) in [
            ("stream", stream.as_ref().map(|stream| &stream.answer)),
            ("whole", whole.as_ref()),
        ] {
            if shape.is_some_and(|shape| !shape.tells_text()) {
                return Err(DeclarationError::NoText(name));
            }
        }
        let (told_stream, told_whole) = (stream.is_some(), whole.is_some());
        let mut stream = stream.unwrap_or_default();
        if !stream.tells_end() {
            stream.ends_with_body = true;
        }
        stream.end.get_or_insert_with(|| "[DONE]".to_owned());
        let whole = whole.unwrap_or_default();
        Ok(Self {
            shapes: Arc::new(AnswerShapes::new(stream, whole)),
            stream: told_stream,
            whole: told_whole,
        })
    }
}

impl Api for Opaque {
    fn name(&self) -> &str {
        &self.name
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        let rules = self.rules.as_ref();
        let reader = |rules: &Rules| DeclaredReader::new(Arc::clone(&rules.shapes));
        Box::new(OpaqueReader {
            inner: OpenAiReader::guessing(),
            stream: rules.filter(|told| told.stream).map(reader),
            whole: rules.filter(|told| told.whole).map(reader),
            by: By::Guess,
            guessed: Arc::clone(&self.guessed),
        })
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        match &self.rules {
            Some(rules) => read_text(&rules.shapes, answer, text),
            None => super::openai::read_choices(answer, text),
        }
    }

    fn doubt(&self) -> Option<Doubt> {
        if self.guessed.load(Ordering::Relaxed) {
            let api = self.name.clone();
            return Some(Doubt::Guessed { api });
        }
        self.rules.as_ref()?.shapes.doubt()
    }
}

/// What distinguishes OpenAI's events from others.
#[derive(Deserialize)]
struct Look {
    #[serde(default)]
    choices: Option<IgnoredAny>,
}

/// Reads one response.
#[derive(Debug)]
struct OpaqueReader {
    inner: OpenAiReader,
    stream: Option<DeclaredReader>,
    whole: Option<DeclaredReader>,
    by: By,
    guessed: Arc<AtomicBool>,
}

/// How a response is read.
#[derive(Clone, Copy, Debug)]
enum By {
    Guess,
    Stream,
    Whole,
}

/// It has no format known here.
struct UnknownForm;

/// Output that nothing marks as reasoning.
const GENERATED: EventMeaning = EventMeaning::single(true, true);

impl OpaqueReader {
    fn current(&self) -> &dyn AnswerReader {
        match (self.by, &self.stream, &self.whole) {
            (By::Stream, Some(reader), _) | (By::Whole, _, Some(reader)) => reader,
            _ => &self.inner,
        }
    }

    fn current_mut(&mut self) -> &mut dyn AnswerReader {
        match (self.by, &mut self.stream, &mut self.whole) {
            (By::Stream, Some(reader), _) | (By::Whole, _, Some(reader)) => reader,
            _ => &mut self.inner,
        }
    }

    /// The meaning of an event or of a non-streaming response, if its format is known here. `read`
    /// reads it in OpenAI's format.
    fn meaning(
        &mut self,
        data: &[u8],
        read: impl FnOnce(&mut OpenAiReader) -> Option<EventMeaning>,
    ) -> Result<Option<EventMeaning>, UnknownForm> {
        let data = data.trim_ascii();
        if data.is_empty() {
            return Ok(Some(EventMeaning::default()));
        }
        let look = if data.first() == Some(&b'{') {
            serde_json::from_slice::<Look>(data).ok()
        } else {
            None
        };
        let Some(look) = look else {
            return Err(UnknownForm);
        };
        // errors, usage and ids are read from any object
        let failed_before = self.inner.state().failure.is_some();
        let meaning = read(&mut self.inner);
        let failed = !failed_before && self.inner.state().failure.is_some();
        if look.choices.is_some() || failed {
            return Ok(meaning);
        }
        Err(UnknownForm)
    }
}

impl AnswerReader for OpaqueReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        if let Some(rules) = &mut self.stream {
            self.by = By::Stream;
            return rules.event(name, data);
        }
        let ends = self.inner.state().done || is_done(data);
        if ends || name == b"error" {
            return self.inner.event(name, data);
        }
        let meaning = self.meaning(data, |inner| inner.event(name, data));
        meaning.unwrap_or_else(|UnknownForm| {
            self.guessed.store(true, Ordering::Relaxed);
            Some(GENERATED)
        })
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        if let Some(rules) = &mut self.whole {
            self.by = By::Whole;
            return rules.whole(body);
        }
        let meaning = self.meaning(body, |inner| Some(inner.whole(body)));
        self.inner.end();
        match meaning {
            Ok(meaning) => meaning.unwrap_or_default(),
            Err(UnknownForm) => GENERATED,
        }
    }

    fn body_ended(&mut self) {
        match (self.by, &mut self.stream) {
            (By::Stream, Some(rules)) => rules.body_ended(),
            _ => self.inner.end(),
        }
    }

    /// The plugin needs all events to count.
    fn keeps_all(&self) -> bool {
        true
    }

    fn answered(&self) -> bool {
        self.current().answered()
    }

    fn aside(&self) -> Option<&Failure> {
        self.current().aside()
    }

    fn state(&self) -> &AnswerState {
        self.current().state()
    }

    fn take(&mut self) -> AnswerState {
        self.current_mut().take()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn untold() -> Opaque {
        Opaque::untold("x".to_owned())
    }

    fn tokens(events: &[&str]) -> (Vec<bool>, AnswerState) {
        tokens_of(&untold(), events)
    }

    fn tokens_of(api: &Opaque, events: &[&str]) -> (Vec<bool>, AnswerState) {
        let mut reader = api.reader();
        let seen = events
            .iter()
            .filter_map(|data| reader.event(b"", data.as_bytes()))
            .map(|meaning| meaning.has_token())
            .collect();
        reader.body_ended();
        (seen, reader.take())
    }

    #[test]
    fn events_in_openais_form_mean_what_they_do_there() {
        let (seen, state) = tokens(&[
            r#"{"id":"x","choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#,
            "[DONE]",
            "after the end",
        ]);
        assert_eq!(seen, [false, true, false]);
        assert_eq!(state.finish_reason.as_deref(), Some("stop"));
        assert_eq!(state.usage.completion_tokens, Some(1));
        assert!(state.done && state.failure.is_none());
    }

    #[test]
    fn any_other_event_is_one_that_bears_a_token() {
        let (seen, state) = tokens(&[r#"{"token":{"text":"a"}}"#, "plain", "[1]", " ", "{broken"]);
        assert_eq!(seen, [true, true, true, false, true]);
        assert!(state.done && state.failure.is_none(), "{state:?}");
    }

    #[test]
    fn errors_fail_the_answer() {
        let (seen, state) = tokens(&["a", r#"{"error":{"message":"out of memory"}}"#]);
        assert_eq!(seen, [true, false]);
        assert_eq!(state.failure.unwrap().message, "out of memory");
        let mut reader = untold().reader();
        reader.event(b"error", b"gone");
        assert_eq!(reader.take().failure.unwrap().message, "gone");
    }

    fn told(answers: serde_json::Value) -> Opaque {
        let answers = serde_json::from_value(answers).unwrap();
        Opaque::new("x".to_owned(), Some(answers)).unwrap()
    }

    #[test]
    fn what_the_plugin_tells_is_read_as_it_says() {
        let api = told(json!({"stream": {"text": "/tok", "error": "/oops"}}));
        let (seen, state) = tokens_of(
            &api,
            &[
                r#"{"start":{"tokens":9}}"#,
                r#"{"tok":"a"}"#,
                r#"{"fin":1}"#,
                "[DONE]",
                "x",
            ],
        );
        assert_eq!(seen, [false, true, false]);
        assert!(state.done && state.failure.is_none(), "{state:?}");
        // the end of the body also counts, unless another end is given
        assert!(tokens_of(&api, &[r#"{"tok":"a"}"#]).1.done);
        let (seen, state) = tokens_of(&api, &[r#"{"oops":"I exploded"}"#]);
        assert_eq!(seen, [false]);
        assert_eq!(state.failure.unwrap().message, "I exploded");
        assert_eq!(api.doubt(), None);
        assert!(
            api.reader().keeps_all(),
            "the plugin also counts from events without a token"
        );
        let cut = told(json!({"stream": {"text": "/tok", "finish_reason": "/why"}}));
        assert!(!tokens_of(&cut, &[r#"{"tok":"a"}"#]).1.done);
    }

    #[test]
    fn what_it_does_not_tell_is_guessed_and_doubted() {
        let body = br#"{"tok":"a"}"#;
        let streams = told(json!({"stream": {"text": "/tok"}}));
        assert!(streams.reader().whole(body).has_token());
        assert_eq!(
            streams.doubt(),
            None,
            "a non-streaming response has no TTFT"
        );
        let wholes = told(json!({"whole": {"text": "/tok", "error": "/oops"}}));
        let mut reader = wholes.reader();
        assert!(reader.whole(body).has_token() && reader.take().done);
        let mut reader = wholes.reader();
        assert!(!reader.whole(br#"{"oops":"no"}"#).has_token());
        assert_eq!(reader.take().failure.unwrap().message, "no");
        assert_eq!(wholes.doubt(), None);
        assert_eq!(tokens_of(&wholes, &[r#"{"fin":1}"#]).0, [true]);
        insta::assert_snapshot!(wholes.doubt().unwrap().to_string(), @"`x` does not say which events of a stream carry tokens: every event was counted as one that does, so TTFT, ITL and TPOT may include events without tokens (the plugin can say so in `answers`)");
        // OpenAI's own events are not guessed
        let api = untold();
        tokens_of(
            &api,
            &[r#"{"choices":[{"delta":{"content":"a"}}]}"#, "[DONE]"],
        );
        assert_eq!(api.doubt(), None);
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        let error = |answers| {
            let answers = serde_json::from_value(answers).unwrap();
            Opaque::new("x".to_owned(), Some(answers))
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(error(json!({"stream": {"error": "/oops"}})), @"`[stream]` has no `text`, which says where generated text is, for example text = \"/text\"");
        assert!(error(json!({"whole": {}})).starts_with("`[whole]` has no `text`"));
        let unknown = serde_json::from_value::<ResponseRules>(json!({"streams": {}}));
        assert!(
            unknown
                .unwrap_err()
                .to_string()
                .contains("`stream` or `whole`")
        );
    }

    #[test]
    fn whole_answers_likewise() {
        let whole = |body: &[u8]| {
            let mut reader = untold().reader();
            let token = reader.whole(body).has_token();
            (token, reader.take())
        };
        assert!(whole(br#"{"generated_text":"a"}"#).0);
        assert!(whole(b"plain text").0);
        assert!(!whole(b"").0);
        assert!(!whole(br#"{"choices":[{"message":{"content":""}}]}"#).0);
        let (token, state) = whole(br#"{"error":"no"}"#);
        assert!(!token && state.done);
        assert_eq!(state.failure.unwrap().message, "no");
    }
}
