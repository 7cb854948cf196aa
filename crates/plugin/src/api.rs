//! Owns an API that a plugin speaks: bodies ahead of their dispatch, token
//! counts after the answers have ended.
//!
//! It must not know sockets, nor how answers are read while they come.

use std::sync::Arc;

use evalscope_core::protocol::openai::clip;
use evalscope_core::protocol::{BodyError, BuildBodies, PreparedRequest};
use evalscope_model::prompt::{Item, Prompt};
use evalscope_model::record::{
    EXCERPT_BYTES, Exchange, Failure, FailureKind, MOST_TOKENS, PluginTokens, masked,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::dataset::WireItem;
use crate::error::PluginError;
use crate::plugin::Plugin;

/// Most prompts of a call of `build`.
const BATCH: usize = 32;
/// Bytes of answers from which on a call of `parse` is made with what there is.
const PARSE_BYTES: usize = 4 << 20;
/// Longest exchange that is parsed: as JSON in JSON it can be twice as long, and
/// has to fit into a line.
const LONGEST_BYTES: usize = 16 << 20;

/// Bodies out of a plugin.
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

/// What is looked at in a body.
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
    /// Bodies out of a plugin; `chat`: it is given messages, and not plain
    /// prompts.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, chat: bool) -> Self {
        Self { plugin, chat }
    }

    fn wire_item(&self, item: Item) -> WireItem {
        let mut wire = WireItem {
            asked_tokens: item.asked_tokens,
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

    fn built(&self, first: u64, items: Vec<Item>) -> Result<Vec<PreparedRequest>, PluginError> {
        let asked: Vec<Option<u64>> = items.iter().map(|item| item.asked_tokens).collect();
        let prompts = items.into_iter().map(|item| self.wire_item(item)).collect();
        let pending = self.plugin.ask("build", Prompts { prompts })?;
        let Built { bodies } = self.plugin.wait(&pending)?;
        if bodies.len() != asked.len() {
            let (got, want) = (bodies.len(), asked.len());
            let text = format!("it gave {got} bodies for {want} prompts");
            return Err(self.plugin.rubbish("build", text));
        }
        (first..)
            .zip(bodies.iter().zip(asked))
            .map(|(index, (body, asked_tokens))| {
                let text = body.get();
                let look = serde_json::from_str::<Look>(text).ok();
                let look = look.filter(|_| text.starts_with('{')).ok_or_else(|| {
                    let text = format!("the body of prompt {index} is no JSON object");
                    self.plugin.rubbish("build", text)
                })?;
                let limit = look.max_tokens.or(look.max_completion_tokens);
                Ok(PreparedRequest {
                    index,
                    stream: look.stream == Some(Value::Bool(true)),
                    output_asked: limit.and_then(|limit| limit.as_u64()) != Some(0),
                    asked_tokens,
                    body: text.as_bytes().to_owned(),
                })
            })
            .collect()
    }
}

impl BuildBodies for PluginBodies {
    fn build(&mut self, first: u64, items: Vec<Item>) -> Result<Vec<PreparedRequest>, BodyError> {
        self.built(first, items)
            .map_err(|error| BodyError::Builder(Box::new(error)))
    }

    fn batch(&self) -> usize {
        BATCH
    }
}

/// Token counts out of a plugin.
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
    // one that is odd must not cost those of other answers
    counts: Vec<Value>,
}

/// What a plugin says of one answer.
enum Count {
    Tokens(PluginTokens),
    /// The answer is none, for this reason.
    Failed(String),
    /// There are no counts, for this reason.
    Unknown(String),
}

impl PluginCounts {
    /// Token counts out of a plugin; `secrets` must not be seen in what it says.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, secrets: Vec<String>) -> Self {
        Self { plugin, secrets }
    }

    /// Have the tokens of answers counted, those of successes. Their bodies must
    /// have been kept. Gives the first complaint about a single answer, whose
    /// counts then stay unknown. An answer that the plugin says has failed is a
    /// failure from then on.
    ///
    /// # Errors
    /// When the plugin counts no more.
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
                    format!("an exchange of {length} bytes is too long to be handed over")
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
        // every body is JSON, but one that was cut by whoever kept it
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
            let text = format!("it gave {got} counts for {want} answers");
            return Err(self.plugin.rubbish("parse", text));
        }
        for (exchange, count) in batch.drain(..).zip(counts) {
            match Count::of(&count) {
                Count::Tokens(tokens) => exchange.record.plugin = tokens,
                Count::Failed(reason) => {
                    let reason = masked(&clip(reason.as_bytes()), &self.secrets);
                    let failure = Failure::new(FailureKind::ServerError, reason);
                    exchange.record.failure = Some(failure);
                    // what the server said, as of any other failure
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
                "what it gave for an answer is {}, and must be an object",
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
                    "`{name}` is {}, and must be a whole number up to {MOST_TOKENS}, or null",
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

/// What the server said: the data of events, or the whole answer.
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
