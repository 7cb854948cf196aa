//! Owns an API spoken by a plugin: bodies before they are sent, token counts after the responses
//! have ended.
//!
//! It must not know sockets, or how responses are read while they arrive.

use std::sync::Arc;

use evalscope_core::protocol::openai::clip;
use evalscope_core::protocol::{BodyError, BuildBodies, PreparedRequest};
use evalscope_model::prompt::{Item, Overrides, Prompt};
use evalscope_model::record::{
    EXCERPT_BYTES, Exchange, Failure, FailureKind, MOST_TOKENS, PluginTokens, masked,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::dataset::WireItem;
use crate::error::PluginError;
use crate::plugin::Plugin;

/// Maximum number of prompts per call of `build`.
const BATCH: usize = 32;
/// Call `parse` as soon as the responses have this many bytes.
const PARSE_BYTES: usize = 4 << 20;
/// Maximum size of an exchange to parse: as JSON inside JSON it can take twice as much, and must
/// fit into a line.
const LONGEST_BYTES: usize = 16 << 20;

/// Bodies built by a plugin.
#[derive(Debug)]
pub struct PluginBodies {
    plugin: Arc<Plugin>,
    chat: bool,
}

#[derive(Serialize)]
struct Prompts {
    prompts: Vec<WireItem>,
}

#[derive(Deserialize)]
struct Built {
    bodies: Vec<Box<RawValue>>,
}

/// The relevant fields of a body.
#[derive(Deserialize)]
struct Look {
    #[serde(default)]
    stream: Option<Value>,
    #[serde(default)]
    max_tokens: Option<Value>,
    #[serde(default)]
    max_completion_tokens: Option<Value>,
}

impl PluginBodies {
    /// Bodies built by a plugin; with `chat`, it receives messages instead of plain prompts.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, chat: bool) -> Self {
        Self { plugin, chat }
    }

    fn wire_item(&self, item: Item) -> WireItem {
        let mut wire = WireItem {
            asked_tokens: item.asked_tokens,
            max_tokens: item.with.max_tokens,
            ..WireItem::default()
        };
        match item.prompt {
            Prompt::Text(text) if self.chat => {
                wire.messages = Some(vec![json!({"role": "user", "content": text})]);
            }
            Prompt::Text(text) => wire.text = Some(text),
            Prompt::Messages(messages) => wire.messages = Some(messages),
            Prompt::Body(body) => wire.body = Some(body),
            Prompt::TokenIds(ids) => wire.token_ids = Some(ids),
        }
        wire
    }

    fn built(&self, items: Vec<(u64, Item)>) -> Result<Vec<PreparedRequest>, PluginError> {
        let asked: Vec<(u64, Option<u64>, Overrides)> = items
            .iter()
            .map(|(index, item)| (*index, item.asked_tokens, item.with.clone()))
            .collect();
        let prompts = items.into_iter();
        let prompts = prompts.map(|(_, item)| self.wire_item(item)).collect();
        let pending = self.plugin.ask("build", Prompts { prompts })?;
        let Built { bodies } = self.plugin.wait(&pending)?;
        if bodies.len() != asked.len() {
            let (got, want) = (bodies.len(), asked.len());
            let text = format!("it gave {got} bodies for {want} prompts");
            return Err(self.plugin.rubbish("build", text));
        }
        bodies
            .iter()
            .zip(asked)
            .map(|(body, (index, asked_tokens, with))| {
                let text = body.get();
                let look = serde_json::from_str::<Look>(text).ok();
                let look = look.filter(|_| text.starts_with('{')).ok_or_else(|| {
                    let text = format!("the body of prompt {index} is not a JSON object");
                    self.plugin.rubbish("build", text)
                })?;
                let limit = look.max_tokens.or(look.max_completion_tokens);
                Ok(PreparedRequest {
                    index,
                    stream: look.stream == Some(Value::Bool(true)),
                    output_asked: limit.and_then(|limit| limit.as_u64()) != Some(0),
                    asked_tokens,
                    asked_output_tokens: with.max_tokens,
                    target: with.target,
                    headers: with.headers,
                    body: text.as_bytes().to_owned(),
                    ..PreparedRequest::default()
                })
            })
            .collect()
    }
}

impl BuildBodies for PluginBodies {
    fn build(&mut self, items: Vec<(u64, Item)>) -> Result<Vec<PreparedRequest>, BodyError> {
        self.built(items)
            .map_err(|error| BodyError::Builder(Box::new(error)))
    }

    fn batch(&self) -> usize {
        BATCH
    }
}

/// Token counts from a plugin.
#[derive(Debug)]
pub struct PluginCounts {
    plugin: Arc<Plugin>,
    secrets: Vec<String>,
}

#[derive(Serialize)]
struct Answers<'a> {
    answers: Vec<Answer<'a>>,
}

#[derive(Serialize)]
struct Answer<'a> {
    request: &'a RawValue,
    responses: Vec<String>,
}

#[derive(Deserialize)]
struct Counts {
    // one invalid count must not affect those of other responses
    counts: Vec<Value>,
}

/// A plugin's result for one response.
enum Count {
    Tokens(PluginTokens),
    /// The response is a failure, for this reason.
    Failed(String),
    /// There are no counts, for this reason.
    Unknown(String),
}

impl PluginCounts {
    /// Token counts from a plugin; `secrets` are masked in its messages.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, secrets: Vec<String>) -> Self {
        Self { plugin, secrets }
    }

    /// Count the tokens of successful responses, whose bodies must have been kept. Returns the
    /// first complaint about a single response, whose counts stay unknown. A response that the
    /// plugin calls failed becomes a failure.
    ///
    /// # Errors
    /// If the plugin can no longer count.
    pub fn count(&self, exchanges: &mut [&mut Exchange]) -> Result<Option<String>, PluginError> {
        let mut complaint = None;
        let mut batch: Vec<&mut Exchange> = Vec::new();
        let mut bytes = 0;
        for exchange in exchanges {
            if !exchange.record.succeeded() || exchange.bodies.request.is_empty() {
                continue;
            }
            let length = length(exchange);
            if length > LONGEST_BYTES {
                complaint.get_or_insert_with(|| {
                    format!("an exchange of {length} bytes is too large to be passed to the plugin")
                });
                continue;
            }
            bytes += length;
            batch.push(exchange);
            if bytes >= PARSE_BYTES {
                self.parse(&mut batch, &mut complaint)?;
                bytes = 0;
            }
        }
        self.parse(&mut batch, &mut complaint)?;
        Ok(complaint)
    }

    fn parse(
        &self,
        batch: &mut Vec<&mut Exchange>,
        complaint: &mut Option<String>,
    ) -> Result<(), PluginError> {
        // every body is JSON, unless it was cut when it was stored
        batch.retain(|exchange| request(exchange).is_some());
        let answers: Vec<Answer<'_>> = batch
            .iter()
            .filter_map(|exchange| {
                let request = request(exchange)?;
                let responses = responses(exchange);
                Some(Answer { request, responses })
            })
            .collect();
        if answers.is_empty() {
            return Ok(());
        }
        let pending = self.plugin.ask("parse", Answers { answers })?;
        let Counts { counts } = self.plugin.wait_after(&pending)?;
        if counts.len() != batch.len() {
            let (got, want) = (counts.len(), batch.len());
            let text = format!("it gave {got} counts for {want} responses");
            return Err(self.plugin.rubbish("parse", text));
        }
        for (exchange, count) in batch.drain(..).zip(counts) {
            match Count::of(&count) {
                Count::Tokens(tokens) => {
                    let record = &mut exchange.record;
                    record.plugin = tokens;
                    if !record.starts_session() {
                        // it has seen only what the turn added to the prompt
                        record.plugin.prompt_tokens = None;
                    }
                }
                Count::Failed(reason) => {
                    let reason = masked(&clip(reason.as_bytes()), &self.secrets);
                    let failure = Failure::new(FailureKind::ServerError, reason);
                    exchange.record.failure = Some(failure);
                    // with the server's message, as for any other failure
                    let said = masked(&responses(exchange).join("\n"), &self.secrets);
                    let excerpt = &said.as_bytes()[..said.len().min(EXCERPT_BYTES)];
                    exchange.bodies.error_excerpt = excerpt.into();
                }
                Count::Unknown(reason) => {
                    complaint.get_or_insert(masked(&reason, &self.secrets));
                }
            }
        }
        Ok(())
    }
}

impl Count {
    fn of(value: &Value) -> Self {
        let Some(count) = value.as_object() else {
            return Self::Unknown(format!(
                "its result for a response is {}, but must be an object",
                clip(value.to_string().as_bytes())
            ));
        };
        let said = |key| match count.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        if let Some(reason) = said("failed") {
            return Self::Failed(reason);
        }
        if let Some(mut error) = said("error") {
            for line in said("traceback").unwrap_or_default().trim_end().lines() {
                error.push_str("\n  | ");
                error.push_str(line);
            }
            return Self::Unknown(error);
        }
        let tokens = |name| match count.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if n <= MOST_TOKENS => Ok(Some(n)),
                _ => Err(format!(
                    "`{name}` is {}, but must be a whole number up to {MOST_TOKENS}, or null",
                    clip(value.to_string().as_bytes())
                )),
            },
        };
        match (tokens("prompt_tokens"), tokens("completion_tokens")) {
            (Ok(prompt_tokens), Ok(completion_tokens)) => Self::Tokens(PluginTokens {
                prompt_tokens,
                completion_tokens,
            }),
            (Err(reason), _) | (_, Err(reason)) => Self::Unknown(reason),
        }
    }
}

fn request(exchange: &Exchange) -> Option<&RawValue> {
    serde_json::from_slice(&exchange.bodies.request).ok()
}

/// The server's output: the data of events, or the whole body.
fn responses(exchange: &Exchange) -> Vec<String> {
    let mut texts = Vec::new();
    let bodies = &exchange.bodies;
    let mut take = |text: &[u8]| texts.push(String::from_utf8_lossy(text).into_owned());
    bodies.responses.for_each(&mut take);
    if !bodies.final_event.is_empty() {
        take(&bodies.final_event);
    }
    texts
}

fn length(exchange: &Exchange) -> usize {
    let mut bytes = exchange.bodies.request.len() + exchange.bodies.final_event.len();
    exchange
        .bodies
        .responses
        .for_each(|text| bytes += text.len());
    bytes
}
