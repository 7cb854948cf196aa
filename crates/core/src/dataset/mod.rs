//! Owns where prompts come from. One file for each kind of data set, all
//! streaming: memory does not grow with the number of requests.
//!
//! It must not know APIs, HTTP or timing.

mod line_by_line;
mod longalpaca;
mod openqa;
mod sample;
mod single;
mod stream;

use std::fmt;
use std::path::PathBuf;

use serde_json::{Map, Value};

pub use line_by_line::LineByLine;
pub use longalpaca::LongAlpaca;
pub use openqa::OpenQa;
pub use sample::{SAMPLE_PROMPTS, Sample};
pub use single::Single;
pub use stream::{LengthFilter, PromptStream};

/// What a request is about, before an API gives it its form.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text: the user's message, or the prompt.
    Text(String),
    /// A conversation, in OpenAI's form.
    Messages(Vec<Value>),
    /// A request body of which only missing fields are filled in.
    Body(Map<String, Value>),
}

impl Prompt {
    /// The text of a prompt; of a conversation, the last user message's.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Messages(messages) => last_user_text(messages),
            Self::Body(body) => match body.get("messages").and_then(Value::as_array) {
                Some(messages) => last_user_text(messages),
                None => body
                    .get("prompt")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
            },
        }
    }

    /// Length for the length filters: characters of all its texts.
    #[must_use]
    pub fn chars(&self) -> usize {
        match self {
            Self::Text(text) => text.chars().count(),
            Self::Messages(messages) => messages.iter().map(content_chars).sum(),
            Self::Body(body) => match body.get("messages").and_then(Value::as_array) {
                Some(messages) => messages.iter().map(content_chars).sum(),
                None => self.text().chars().count(),
            },
        }
    }
}

fn content_chars(message: &Value) -> usize {
    content_text(message).chars().count()
}

fn last_user_text(messages: &[Value]) -> String {
    messages
        .iter()
        .rev()
        .find(|m| m.get("role").and_then(Value::as_str) == Some("user"))
        .or(messages.last())
        .map(content_text)
        .unwrap_or_default()
}

fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => String::new(),
    }
}

/// A data set: its prompts in order, again and again.
pub trait PromptSource: fmt::Debug + Send {
    /// The next prompt; `None` at the end.
    ///
    /// # Errors
    /// When the next item cannot be read or lacks what it must have.
    fn next(&mut self) -> Result<Option<Prompt>, DatasetError>;

    /// Go back to the beginning.
    ///
    /// # Errors
    /// When the data set cannot be opened again.
    fn rewind(&mut self) -> Result<(), DatasetError>;
}

/// Why a data set gives no prompt.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A file cannot be read.
    #[error("cannot read the data set {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An item is not what it must be.
    #[error("{path}, {place}: {reason}", path = path.display())]
    Item {
        /// The file.
        path: PathBuf,
        /// Line or item.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The data set holds nothing at all.
    #[error("the data set {name} is empty")]
    Empty {
        /// Its name or file.
        name: String,
    },
    /// The length filters leave nothing.
    #[error(
        "no prompt of the data set {name} is between {min} and {max} characters long: {short} are shorter, {long} are longer"
    )]
    NothingFits {
        /// Its name or file.
        name: String,
        /// `--min-prompt-length`.
        min: usize,
        /// `--max-prompt-length`.
        max: usize,
        /// Prompts dropped as too short.
        short: u64,
        /// Prompts dropped as too long.
        long: u64,
    },
}
