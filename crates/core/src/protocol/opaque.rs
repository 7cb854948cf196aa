//! Owns the reading of answers whose API only a plugin knows: what looks like
//! OpenAI's is read as such, and of all else only that something was generated.
//!
//! It must not know the plugin, nor how bodies are made.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::openai::OpenAiReader;
use super::{AnswerReader, AnswerState, AnswerText, Api, EventMeaning};

/// An API of which only the name is known here.
#[derive(Clone, Debug)]
pub struct Opaque {
    /// What people call it.
    pub name: String,
}

impl Api for Opaque {
    fn name(&self) -> &str {
        &self.name
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::<OpaqueReader>::default()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        super::text::read_choices(answer, text);
    }
}

/// What tells OpenAI's events from others.
#[derive(Deserialize)]
struct Look {
    #[serde(default)]
    choices: Option<IgnoredAny>,
}

/// Reads one answer.
#[derive(Debug, Default)]
struct OpaqueReader {
    inner: OpenAiReader,
}

/// Something was generated, and nobody says that it is reasoning.
const GENERATED: EventMeaning = EventMeaning {
    token: true,
    answer: true,
};

impl OpaqueReader {
    /// What an event, or a whole answer, of any form carried. `read` reads one
    /// in OpenAI's form.
    fn meaning(
        &mut self,
        data: &[u8],
        read: impl FnOnce(&mut OpenAiReader) -> Option<EventMeaning>,
    ) -> Option<EventMeaning> {
        let data = data.trim_ascii();
        if data.is_empty() {
            return Some(EventMeaning::default());
        }
        let look = if data.first() == Some(&b'{') {
            serde_json::from_slice::<Look>(data).ok()
        } else {
            None
        };
        let Some(look) = look else {
            return Some(GENERATED);
        };
        // errors, usage and ids are looked for in any object
        let failed_before = self.inner.state().failure.is_some();
        let meaning = read(&mut self.inner);
        let failed = !failed_before && self.inner.state().failure.is_some();
        if look.choices.is_some() || failed {
            return meaning;
        }
        Some(GENERATED)
    }
}

impl AnswerReader for OpaqueReader {
    fn event(&mut self, name: &[u8], data: &[u8]) -> Option<EventMeaning> {
        let ends = self.inner.state().done || data.trim_ascii_start().starts_with(b"[DONE]");
        if ends || name == b"error" {
            return self.inner.event(name, data);
        }
        self.meaning(data, |inner| inner.event(name, data))
    }

    fn whole(&mut self, body: &[u8]) -> EventMeaning {
        let meaning = self.meaning(body, |inner| Some(inner.whole(body)));
        self.inner.end();
        meaning.unwrap_or_default()
    }

    fn body_ended(&mut self) {
        self.inner.end();
    }

    fn state(&self) -> &AnswerState {
        self.inner.state()
    }

    fn take(&mut self) -> AnswerState {
        self.inner.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(events: &[&str]) -> (Vec<bool>, AnswerState) {
        let mut reader = OpaqueReader::default();
        let seen = events
            .iter()
            .filter_map(|data| reader.event(b"", data.as_bytes()))
            .map(|meaning| meaning.token)
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
        let mut reader = OpaqueReader::default();
        reader.event(b"error", b"gone");
        assert_eq!(reader.take().failure.unwrap().message, "gone");
    }

    #[test]
    fn whole_answers_likewise() {
        let whole = |body: &[u8]| {
            let mut reader = OpaqueReader::default();
            let token = reader.whole(body).token;
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
