//! Owns what a request asks, before an API gives it its form, and where requests come from.
//!
//! It must not know datasets, APIs or tokenizers.

use std::error::Error;
use std::fmt::Debug;

use serde_json::{Map, Value};

use crate::conversation::Turn;

/// Gives a run its prompts, in order and without end.
pub trait Workload: Send + Debug {
    /// The next item.
    ///
    /// # Errors
    /// When it cannot be read or made; there are no more then.
    fn next_item(&mut self) -> Result<Item, Box<dyn Error + Send + Sync>>;

    /// The next item, which is not sent here: what is generated of it may be missing, but not its
    /// number of turns.
    ///
    /// # Errors
    /// As for [`Workload::next_item`].
    fn pass_item(&mut self) -> Result<Item, Box<dyn Error + Send + Sync>> {
        self.next_item()
    }

    /// How often the prompts have begun again from the first one.
    fn rounds(&self) -> u64;
}

/// The content of a request, before an API gives it its format.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text: the user's message, or the prompt.
    Text(String),
    /// A conversation, in OpenAI's format.
    Messages(Vec<Value>),
    /// A request body in which only missing fields are filled in.
    Body(Map<String, Value>),
    /// Token ids, for servers that accept them instead of a prompt.
    TokenIds(Vec<u32>),
}

/// What a dataset provides for one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The content of the request.
    pub prompt: Prompt,
    /// Requested prompt length in tokens, as the server should count them; `None` if no length was
    /// requested.
    pub asked_tokens: Option<u64>,
    /// What this request has of its own.
    pub with: Overrides,
    /// The turns after this one, where it is the first of a conversation.
    pub later: Vec<Turn>,
}

impl Item {
    /// The characters of all its texts, the recorded replies included: about the bytes that the body
    /// of the last turn has.
    #[must_use]
    pub fn chars(&self) -> usize {
        let later = self.later.iter().flat_map(|turn| {
            let messages = turn.recorded_reply.iter().chain(&turn.messages);
            messages.map(content_chars)
        });
        self.prompt.chars() + later.sum::<usize>()
    }
}

/// What one request has of its own, instead of what all requests of a run share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The model.
    pub model: Option<String>,
    /// The most tokens to generate.
    pub max_tokens: Option<u64>,
    /// Where it goes on the server of the run.
    pub target: Option<OwnTarget>,
    /// Headers. One with the name of a shared header replaces it.
    pub headers: OwnHeaders,
    /// The name of its session in the dataset, for servers that route by it.
    pub session: Option<String>,
    /// The body's `rid` (SGLang), with `_t` and the number of the turn behind it.
    pub rid: Option<String>,
    /// The body is sent as it stands: no flag and no default adds a field to it.
    pub verbatim: bool,
    /// Exactly as many tokens are to be generated as `max_tokens` says (`ignore_eos`, `min_tokens`).
    pub exact_output: bool,
    /// Where it stands in a trace.
    pub trace: Option<TraceEntry>,
}

/// What a trace says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Tokens of its prompt that an earlier prompt of the run begins with too, as far as the trace
    /// tells what prompts share.
    pub possible_cached_tokens: Option<u64>,
}

/// Path and query of one request, as they are sent. They never name another server: `//host/path`,
/// `http://host/path` and line ends are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnTarget(String);

/// A text that is not the path of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a path on the server: it must begin with one `/` and have no blanks, no `#` and only ASCII characters"
)]
pub struct OwnTargetError(String);

impl OwnTarget {
    /// Check a path and query.
    ///
    /// ```
    /// use evalscope_model::prompt::OwnTarget;
    /// assert!(OwnTarget::new("/v1/embeddings?a=%20").is_ok());
    /// assert!(OwnTarget::new("//elsewhere/v1").is_err());
    /// ```
    ///
    /// # Errors
    /// If it is not an absolute path with or without a query (RFC 9112, section 3.2.1).
    pub fn new(text: &str) -> Result<Self, OwnTargetError> {
        // RFC 3986, section 3.3
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
        let is_path = text.starts_with('/') && !text.starts_with("//");
        if is_path && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OwnTargetError(text.to_owned()))
        }
    }

    /// The path and query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Header fields of one request, known to be well-formed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnHeaders(Vec<(String, String)>);

/// A header that HTTP does not allow, or that is not a request's to set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a header that a request can set")]
pub struct HeaderError(String);

impl OwnHeaders {
    /// Add a field.
    ///
    /// # Errors
    /// If the name or the value is not allowed (RFC 9110, section 5), or the field belongs to the
    /// connection.
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let of_connection = ["content-length", "transfer-encoding", "host", "connection"];
        let is_bad = name.is_empty()
            || !name.bytes().all(is_token)
            || value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f)
            || of_connection
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own));
        if is_bad {
            return Err(HeaderError(name.to_owned()));
        }
        self.0
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.0.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The fields, in order.
    #[must_use]
    pub fn fields(&self) -> &[(String, String)] {
        &self.0
    }
}

impl From<Prompt> for Item {
    fn from(prompt: Prompt) -> Self {
        Self {
            prompt,
            asked_tokens: None,
            with: Overrides::default(),
            later: Vec::new(),
        }
    }
}

impl Prompt {
    /// The text of a prompt; for a conversation, the last user message.
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
            Self::TokenIds(_) => String::new(),
        }
    }

    /// Length for the length filters: the number of characters in all its texts.
    #[must_use]
    pub fn chars(&self) -> usize {
        match self {
            Self::Text(text) => text.chars().count(),
            Self::Messages(messages) => messages.iter().map(content_chars).sum(),
            Self::Body(body) => match body.get("messages").and_then(Value::as_array) {
                Some(messages) => messages.iter().map(content_chars).sum(),
                None => self.text().chars().count(),
            },
            Self::TokenIds(ids) => ids.len(),
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

/// The text of a message in OpenAI's format; of several parts, all their texts put together.
#[must_use]
pub fn content_text(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_its_own_names_no_other_server() {
        for path in ["/", "/v1/x", "/v1/x?a=b&c=//d", "/a%20b", "/v1//x"] {
            assert_eq!(OwnTarget::new(path).unwrap().as_str(), path);
        }
        for no in [
            "",
            "v1",
            "//elsewhere/v1",
            "http://elsewhere/v1",
            "@elsewhere/v1",
            ":81/v1",
            "/a b",
            "/a\r\nHost: b",
            "/a\\b",
            "/a#b",
            "/\u{e9}",
        ] {
            let error = OwnTarget::new(no).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{no}` is not a path")),
                "{error}"
            );
        }
    }
}
