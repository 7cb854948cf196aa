//! Owns APIs that a user declares: where fields go in a request, and where text, token counts and
//! the end are found in a response.
//!
//! It must not know the file format of a declaration.

mod pointer;
mod reader;
mod shape;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use super::api::{AnswerReader, Api, Doubt};
use super::text::AnswerText;
pub use pointer::Pointers;
pub(super) use reader::{DeclaredReader, read_text};
pub(super) use shape::AnswerShapes;
pub use shape::{AnswerShape, StreamShape};
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
