//! Owns what protocols have in common in reading requests: fields, conversations and prompts, and
//! the tokens they count for.
//!
//! It must not know the names and places of a protocol's fields.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::image::{self, ImageError};
use crate::template::{Conversation, Message};
use crate::tokens::{CountError, Counter, Prompt};

/// The simulated context window, in tokens; also the maximum output of one choice.
pub(crate) const CONTEXT_TOKENS: u64 = 1 << 20;

/// Maximum number of choices per response.
pub(super) const MOST_CHOICES: u64 = 128;

/// The `stream_options` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
    /// vLLM's `continuous_usage_stats`.
    pub(crate) usage_in_each: bool,
}

/// What an end-of-text token of the model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfText {
    EndsResponse,
    /// vLLM's `ignore_eos`: only the length ends the response.
    Ignored,
}

/// What a response consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Generated tokens.
    Text,
    /// A vector for each prompt.
    Vectors(Vectors),
    /// A score for each prompt.
    Scores(Scores),
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vectors {
    /// Numbers per vector.
    pub(super) dimensions: u32,
    /// Written as base64 of 32-bit floats, rather than as a list.
    pub(super) base64: bool,
}

/// How scores are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scores {
    /// Maximum number of results.
    pub(super) top: usize,
    /// Written as a list without an object around it.
    pub(super) bare: bool,
    /// The documents, if they are to be in the results.
    pub(super) documents: Option<Vec<String>>,
}

/// What a request asks for; everything else is ignored, as a real server ignores most of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) model: Option<String>,
    pub(crate) stream: bool,
    pub(crate) stream_options: Option<StreamOptions>,
    /// Minimum number of tokens, at most `max_tokens`.
    pub(crate) min_tokens: u32,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) end_of_text: EndOfText,
    /// Number of choices of all prompts together; each prompt has as many.
    pub(crate) choices: u32,
    pub(crate) prompts: Vec<Prompt>,
    /// The names of the functions that the response may call.
    pub(crate) tools: Vec<String>,
    /// Number of messages in the request; `None` for plain prompts.
    pub(crate) message_count: Option<u64>,
    /// Whether choices are messages rather than plain texts.
    pub(crate) messages: bool,
    /// Whether each event repeats all text before it.
    pub(crate) repeats: bool,
    pub(crate) output: Output,
}

impl Asked {
    /// Something for each prompt that is not generated, in one document.
    pub(super) fn without_text(
        model: Option<String>,
        prompts: Vec<Prompt>,
        output: Output,
    ) -> Self {
        Asked {
            model,
            stream: false,
            stream_options: None,
            min_tokens: 0,
            max_tokens: None,
            end_of_text: EndOfText::EndsResponse,
            choices: u32::try_from(prompts.len()).unwrap_or(u32::MAX),
            prompts,
            tools: Vec::new(),
            message_count: None,
            messages: false,
            repeats: false,
            output,
        }
    }

    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.prompts.iter().map(|prompt| prompt.tokens).sum()
    }
}

impl From<CountError> for Refusal {
    fn from(error: CountError) -> Self {
        Refusal::new(400, error.to_string())
    }
}

/// The fields of a JSON object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

/// Parse a request body.
pub(super) fn parse(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Refusal::new(400, "request body is not a JSON object")),
        Err(error) => Err(Refusal::new(
            400,
            format!("request body is not JSON: {error}"),
        )),
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(fields: &'a Map<String, Value>) -> Self {
        Fields(fields)
    }

    /// An explicit null counts as a missing field.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn flag(self, name: &'static str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(got) => Err(Refusal::of(
                name,
                format!("{name} must be a boolean, got {got}"),
            )),
        }
    }

    pub(super) fn count(self, name: &'static str, highest: u64) -> Result<Option<u32>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(got) => got
                .as_u64()
                .filter(|number| (1..=highest).contains(number))
                .and_then(|number| u32::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| {
                    Refusal::of(
                        name,
                        format!("{name} must be from 1 to {highest}, got {got}"),
                    )
                }),
        }
    }

    pub(super) fn text(self, name: &'static str) -> Result<Option<&'a str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(got) => Err(Refusal::of(
                name,
                format!("{name} must be a string, got {got}"),
            )),
        }
    }

    pub(super) fn object(self, name: &'static str) -> Result<Option<Fields<'a>>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Fields(fields))),
            Some(got) => Err(Refusal::of(
                name,
                format!("{name} must be an object, got {got}"),
            )),
        }
    }

    pub(super) fn model(self) -> Result<Option<String>, Refusal> {
        Ok(self.text("model")?.map(str::to_owned))
    }

    pub(super) fn max_tokens(self, name: &'static str) -> Result<Option<u32>, Refusal> {
        self.count(name, CONTEXT_TOKENS)
    }

    /// vLLM's `min_tokens`, which `max_tokens` limits.
    pub(super) fn min_tokens(self, max_tokens: Option<u32>) -> Result<u32, Refusal> {
        let min_tokens = match self.get("min_tokens") {
            Some(got) if got == 0 => 0,
            _ => self.count("min_tokens", CONTEXT_TOKENS)?.unwrap_or(0),
        };
        match max_tokens {
            Some(max_tokens) if min_tokens > max_tokens => Err(Refusal::of(
                "min_tokens",
                format!(
                    "min_tokens must be less than or equal to max_tokens={max_tokens}, got \
                     {min_tokens}."
                ),
            )),
            _ => Ok(min_tokens),
        }
    }

    /// vLLM's `ignore_eos`.
    pub(super) fn end_of_text(self) -> Result<EndOfText, Refusal> {
        Ok(match self.flag("ignore_eos")? {
            Some(true) => EndOfText::Ignored,
            Some(false) | None => EndOfText::EndsResponse,
        })
    }

    /// OpenAI's `stream` and `stream_options`.
    pub(super) fn stream(self) -> Result<(bool, Option<StreamOptions>), Refusal> {
        let stream = self.flag("stream")?.unwrap_or(false);
        let Some(options) = self.object("stream_options")? else {
            return Ok((stream, None));
        };
        let options = StreamOptions {
            include_usage: options.flag("include_usage")?.unwrap_or(false),
            usage_in_each: options.flag("continuous_usage_stats")?.unwrap_or(false),
        };
        if !stream {
            return Err(Refusal::of(
                "stream_options",
                "stream_options is only allowed when stream is true",
            ));
        }
        Ok((stream, Some(options)))
    }

    /// The conversation in `messages`.
    pub(super) fn conversation(self, content: Content) -> Result<Conversation<'a>, Refusal> {
        let refused = |got: &str| {
            Refusal::of(
                "messages",
                format!("messages must be a non-empty list of messages, got {got}"),
            )
        };
        let Some(Value::Array(messages)) = self.get("messages") else {
            return Err(refused("none"));
        };
        if messages.is_empty() {
            return Err(refused("an empty list"));
        }
        let mut conversation = Conversation {
            messages: Vec::with_capacity(messages.len()),
            images: 0,
            tools: self.get("tools"),
            variables: self.get("chat_template_kwargs").and_then(Value::as_object),
        };
        for message in messages {
            let Value::Object(fields) = message else {
                return Err(refused(&message.to_string()));
            };
            let Some(role) = fields.get("role").and_then(Value::as_str) else {
                return Err(refused("a message without a role"));
            };
            let texts = match fields.get("content") {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::String(text)) => vec![text.as_str()],
                Some(Value::Array(parts)) if content != Content::TextOnly => {
                    let mut texts = Vec::new();
                    for part in parts {
                        match content.part(part)? {
                            Part::Text(text) => texts.push(text),
                            Part::Image => conversation.images += 1,
                            Part::Other => {}
                        }
                    }
                    texts
                }
                Some(Value::Array(_)) => {
                    return Err(refused(
                        "content that is a list; only the multimodal-generation path takes lists",
                    ));
                }
                Some(_) => {
                    return Err(refused(
                        "content that is neither a string nor a list of parts",
                    ));
                }
            };
            conversation.messages.push(Message {
                role,
                texts,
                fields: Some(fields),
            });
        }
        Ok(conversation)
    }
}

/// What the content of a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Text or parts with a `type`.
    Typed {
        /// Whether an image may be base64 without a URL around it, as in Zhipu's protocol.
        bare_base64: bool,
    },
    /// Text or parts whose only key is their type, as in DashScope's protocol.
    Keyed,
    TextOnly,
}

enum Part<'a> {
    Text(&'a str),
    Image,
    /// Audio and the like; servers differ in what it costs.
    Other,
}

impl Content {
    fn part(self, part: &Value) -> Result<Part<'_>, Refusal> {
        let refused = |message: String| Refusal::of("messages", message);
        let image = |url: Option<&Value>, bare_base64: bool| {
            let Some(url) = url.and_then(Value::as_str) else {
                return Err(refused("an image part has no URL".to_owned()));
            };
            let checked = match image::check_url(url) {
                Err(ImageError::Scheme { .. }) if bare_base64 => image::check_base64(url),
                checked => checked,
            };
            checked
                .map(|()| Part::Image)
                .map_err(|error| refused(error.to_string()))
        };
        if let Content::Typed { bare_base64 } = self {
            return match part["type"].as_str() {
                Some("image_url") => image(part["image_url"].get("url"), bare_base64),
                Some("text") => match part["text"].as_str() {
                    Some(text) => Ok(Part::Text(text)),
                    None => Err(refused("a text part has no text".to_owned())),
                },
                Some(_) => Ok(Part::Other),
                None => Err(refused(format!("a content part has no type: {part}"))),
            };
        }
        match (part.get("text"), part.get("image")) {
            (Some(Value::String(text)), None) => Ok(Part::Text(text)),
            (None, Some(url)) => image(Some(url), false),
            (None, None) if part.is_object() => Ok(Part::Other),
            _ => Err(refused(format!(
                "a content part must be {{\"text\": TEXT}} or {{\"image\": URL}}, got {part}"
            ))),
        }
    }
}

/// The tokens of the prompts in the field `name`, at least one prompt.
pub(super) fn prompts(
    name: &'static str,
    prompt: Option<&Value>,
    counter: &Counter,
) -> Result<Vec<Prompt>, Refusal> {
    let refused = || {
        Refusal::of(
            name,
            format!(
                "{name} must be a string, a list of strings, a list of token ids, or a list of such \
                 lists"
            ),
        )
    };
    let ids = |list: &[Value]| -> Option<Result<Prompt, Refusal>> {
        if list.is_empty() || !list.iter().all(Value::is_u64) {
            return None;
        }
        let tokens = counter.ids(list.iter().filter_map(Value::as_u64));
        Some(tokens.map_err(Refusal::from))
    };
    match prompt {
        Some(Value::String(text)) => Ok(vec![counter.text(text)?]),
        Some(Value::Array(list)) if !list.is_empty() => {
            if let Some(prompt) = ids(list) {
                return Ok(vec![prompt?]);
            }
            let prompts = list.iter().map(|prompt| match prompt {
                Value::String(text) => Ok(counter.text(text)?),
                Value::Array(list) => ids(list).ok_or_else(refused)?,
                _ => Err(refused()),
            });
            prompts.collect()
        }
        _ => Err(refused()),
    }
}
