//! Owns APIs that a user declares: where fields go in a request, and where text, token counts and
//! the end are found in a response.
//!
//! It must not know the file format of a declaration.

mod pointer;
mod reader;
mod template;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use super::{AnswerReader, AnswerText, Api, Doubt};
pub use pointer::Pointers;
pub(super) use reader::{DeclaredReader, read_text};
pub use template::Template;

/// An API as declared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Its display name.
    #[serde(default)]
    pub name: String,
    /// Path of the endpoint, for URLs without a path.
    #[serde(default, deserialize_with = "endpoint_path")]
    pub path: Option<String>,
    /// Headers of every request; `%{api_key}` in them becomes the key.
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// The body of a request.
    pub request: RequestShape,
    /// How to read streaming responses.
    #[serde(default)]
    pub stream: StreamShape,
    /// How to read non-streaming responses.
    #[serde(default)]
    pub whole: AnswerShape,
}

/// The body of a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestShape {
    /// A body with placeholders.
    pub template: Template,
    /// Fields without a placeholder are added at the top level, with OpenAI's names.
    #[serde(default)]
    pub other_fields: bool,
}

/// How to read a stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "StreamKeys")]
pub struct StreamShape {
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
    pub(super) fn tells_end(&self) -> bool {
        self.end.is_some()
            || self.end_event.is_some()
            || self.ends_with_body
            || !self.answer.finish_reason.is_empty()
    }
}

impl AnswerShape {
    /// Whether it says where generated text is.
    pub(super) fn tells_text(&self) -> bool {
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

/// A bare path: anything else would lead to a request for something other than was written.
fn endpoint_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let path = String::deserialize(deserializer)?;
    let reason = if path.contains("://") {
        "is a whole URL: host and port belong to `--url`, and `path` is the rest"
    } else if !path.starts_with('/') {
        "does not start with `/`"
    } else if path.contains(['?', '#']) {
        "is more than a path: the rest belongs to `--url`"
    } else if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "contains white space"
    } else {
        return Ok(Some(path));
    };
    Err(D::Error::custom(format!(
        "`{path}` {reason}; write it as \"/v1/generate\""
    )))
}

fn error_event() -> String {
    "error".to_owned()
}

impl From<StreamKeys> for StreamShape {
    fn from(keys: StreamKeys) -> Self {
        Self {
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

/// What is wrong with a declaration as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// Nothing is declared for streaming, or for non-streaming responses.
    #[error(
        "`[{0}]` has no `text`, which says where generated text is, for example text = \"/text\""
    )]
    NoText(&'static str),
    /// A complete stream could not be distinguished from a truncated one.
    #[error(
        "`[stream]` does not say how a stream ends: give `end` (its last data, such as \"[DONE]\"), \
         `end_event`, `finish_reason`, or ends_with_body = true"
    )]
    NoEnd,
    /// A header that is not a string.
    #[error("`[headers]`: the value of `{0}` is not a string")]
    Header(String),
}

impl Declaration {
    /// Check what no single key can get wrong; `stream`: streaming is requested.
    ///
    /// # Errors
    /// If responses could not be read with it.
    pub fn check(&self, stream: bool) -> Result<(), DeclarationError> {
        if let Some((name, _)) = self.headers.iter().find(|(_, value)| !value.is_string()) {
            return Err(DeclarationError::Header(name.clone()));
        }
        if !stream {
            return if self.whole.text.is_empty() {
                Err(DeclarationError::NoText("whole"))
            } else {
                Ok(())
            };
        }
        let shape = &self.stream;
        if !shape.answer.tells_text() {
            return Err(DeclarationError::NoText("stream"));
        }
        if shape.tells_end() {
            Ok(())
        } else {
            Err(DeclarationError::NoEnd)
        }
    }

    /// Whether prompts must be messages rather than plain text.
    #[must_use]
    pub fn is_chat(&self) -> bool {
        !self.request.template.places("prompt")
    }

    /// Whether a request field reaches the server.
    #[must_use]
    pub fn takes(&self, field: &str) -> bool {
        self.request.other_fields || self.request.template.places(field)
    }
}

/// How to read responses, and whether text was found in them.
#[derive(Debug)]
pub(super) struct AnswerShapes {
    stream: StreamShape,
    whole: AnswerShape,
    seen_in_streams: Seen,
    seen_in_wholes: Seen,
}

/// Whether text was found where it was declared.
#[derive(Debug, Default)]
struct Seen {
    found: AtomicBool,
    /// The start of the first response without any.
    instead: OnceLock<Vec<String>>,
}

impl AnswerShapes {
    pub(super) fn new(stream: StreamShape, whole: AnswerShape) -> Self {
        Self {
            stream,
            whole,
            seen_in_streams: Seen::default(),
            seen_in_wholes: Seen::default(),
        }
    }

    /// Responses were read, and none had anything where text was declared.
    pub(super) fn doubt(&self) -> Option<Doubt> {
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

/// An API defined by a declaration.
#[derive(Clone, Debug)]
pub struct Declared {
    declaration: Arc<Declaration>,
    shapes: Arc<AnswerShapes>,
}

impl Declared {
    /// Create the API for a declaration.
    #[must_use]
    pub fn new(declaration: Declaration) -> Self {
        let shapes = AnswerShapes::new(declaration.stream.clone(), declaration.whole.clone());
        Self {
            declaration: Arc::new(declaration),
            shapes: Arc::new(shapes),
        }
    }
}

impl Api for Declared {
    fn name(&self) -> &str {
        &self.declaration.name
    }

    fn body(&self, fields: Map<String, Value>) -> Map<String, Value> {
        let request = &self.declaration.request;
        request.template.fill(fields, request.other_fields)
    }

    fn takes_stream_options(&self) -> bool {
        self.declaration.takes("stream_options")
    }

    fn reader(&self) -> Box<dyn AnswerReader> {
        Box::new(DeclaredReader::new(Arc::clone(&self.shapes)))
    }

    fn doubt(&self) -> Option<Doubt> {
        self.shapes.doubt()
    }

    fn read_text(&self, answer: &[u8], text: &mut AnswerText) {
        read_text(&self.shapes, answer, text);
    }
}
