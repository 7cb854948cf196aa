//! Owns how the responses of a declared API are to be read, and whether text was found where the
//! declaration says it is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use super::super::api::{Doubt, Framing};
use super::pointer::Pointers;

/// How to read a stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "StreamKeys")]
pub struct StreamShape {
    /// How its events are told apart.
    pub framing: Framing,
    /// Prefix of the data of the event that ends the stream.
    pub end: Option<String>,
    /// Name of an event that ends the stream.
    pub end_event: Option<String>,
    /// The end of the body ends the response.
    pub ends_with_body: bool,
    /// Name of an event that is an error.
    pub error_event: String,
    /// Where values are in an event.
    pub answer: AnswerShape,
}

impl Default for StreamShape {
    fn default() -> Self {
        Self {
            framing: Framing::default(),
            end: None,
            end_event: None,
            ends_with_body: false,
            error_event: error_event(),
            answer: AnswerShape::default(),
        }
    }
}

impl StreamShape {
    /// Whether a complete stream can be distinguished from a truncated one.
    pub(in super::super) fn tells_end(&self) -> bool {
        self.end.is_some()
            || self.end_event.is_some()
            || self.ends_with_body
            || !self.answer.finish_reason.is_empty()
    }
}

impl AnswerShape {
    /// Whether it says where generated text is.
    pub(in super::super) fn tells_text(&self) -> bool {
        !self.text.is_empty() || !self.reasoning.is_empty()
    }
}

/// Where values are in an event or in a non-streaming response.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerShape {
    /// Generated text.
    pub text: Pointers,
    /// Generated text that is reasoning.
    pub reasoning: Pointers,
    /// Tokens of the prompt.
    pub prompt_tokens: Pointers,
    /// Tokens generated.
    pub completion_tokens: Pointers,
    /// Prompt tokens from the server's cache.
    pub cached_tokens: Pointers,
    /// Generated tokens that are reasoning.
    pub reasoning_tokens: Pointers,
    /// Why generation ended.
    pub finish_reason: Pointers,
    /// Finish reasons that make the response a failure.
    pub failed_finish_reasons: Vec<String>,
    /// The response id.
    pub response_id: Pointers,
    /// The model named in the response.
    pub model: Pointers,
    /// An error instead of a response, or within it.
    pub error: Pointers,
}

/// [`StreamShape`] as written: one flat table. Serde cannot reject unknown keys together with
/// `flatten`, so all keys are listed here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamKeys {
    #[serde(default)]
    framing: Framing,
    #[serde(default)]
    end: Option<String>,
    #[serde(default)]
    end_event: Option<String>,
    #[serde(default)]
    ends_with_body: bool,
    #[serde(default = "error_event")]
    error_event: String,
    #[serde(default)]
    text: Pointers,
    #[serde(default)]
    reasoning: Pointers,
    #[serde(default)]
    prompt_tokens: Pointers,
    #[serde(default)]
    completion_tokens: Pointers,
    #[serde(default)]
    cached_tokens: Pointers,
    #[serde(default)]
    reasoning_tokens: Pointers,
    #[serde(default)]
    finish_reason: Pointers,
    #[serde(default)]
    failed_finish_reasons: Vec<String>,
    #[serde(default)]
    response_id: Pointers,
    #[serde(default)]
    model: Pointers,
    #[serde(default)]
    error: Pointers,
}

fn error_event() -> String {
    "error".to_owned()
}

impl From<StreamKeys> for StreamShape {
    fn from(keys: StreamKeys) -> Self {
        Self {
            framing: keys.framing,
            end: keys.end.filter(|end| !end.is_empty()),
            end_event: keys.end_event,
            ends_with_body: keys.ends_with_body,
            error_event: keys.error_event,
            answer: AnswerShape {
                text: keys.text,
                reasoning: keys.reasoning,
                prompt_tokens: keys.prompt_tokens,
                completion_tokens: keys.completion_tokens,
                cached_tokens: keys.cached_tokens,
                reasoning_tokens: keys.reasoning_tokens,
                finish_reason: keys.finish_reason,
                failed_finish_reasons: keys.failed_finish_reasons,
                response_id: keys.response_id,
                model: keys.model,
                error: keys.error,
            },
        }
    }
}

/// How to read responses, and whether text was found in them.
#[derive(Debug)]
pub(in super::super) struct AnswerShapes {
    pub(super) stream: StreamShape,
    pub(super) whole: AnswerShape,
    pub(super) seen_in_streams: Seen,
    pub(super) seen_in_wholes: Seen,
}

/// Whether text was found where it was declared.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) found: AtomicBool,
    /// The start of the first response without any.
    pub(super) instead: OnceLock<Vec<String>>,
}

impl AnswerShapes {
    pub(in super::super) fn new(stream: StreamShape, whole: AnswerShape) -> Self {
        Self {
            stream,
            whole,
            seen_in_streams: Seen::default(),
            seen_in_wholes: Seen::default(),
        }
    }

    /// Responses were read, and none had anything where text was declared.
    pub(in super::super) fn doubt(&self) -> Option<Doubt> {
        let each = [
            ("stream", &self.stream.answer, &self.seen_in_streams),
            ("whole", &self.whole, &self.seen_in_wholes),
        ];
        each.into_iter().find_map(|(section, shape, seen)| {
            let instead = seen.instead.get()?;
            (!seen.found.load(Ordering::Relaxed)).then(|| Doubt::TextNowhere {
                section,
                places: shape.text.shown().chain(shape.reasoning.shown()).collect(),
                instead: instead.clone(),
            })
        })
    }
}
