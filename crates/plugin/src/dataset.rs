//! Owns prompts from a plugin: batches of them, requested before they are needed.
//!
//! It must not know how they are sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evalscope_model::prompt::{Item, Prompt};
use evalscope_workload::dataset::{DatasetError, Exchange, PromptSource, Replies, session};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::PluginError;
use crate::plugin::{Pending, Plugin};

/// Maximum number of items per batch. With about 2 KB each, a line is well below 1 MB, and the cost
/// of a call is spread over enough items.
const BATCH: usize = 64;

/// An item in its wire format.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct WireItem {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_ids: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked_tokens: Option<u64>,
    /// The most tokens to generate, if it has a limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    /// A conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) turns: Option<Vec<WireTurn>>,
    /// The name of a conversation, for routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    /// The `rid` of a conversation's bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rid: Option<String>,
}

/// A turn in its wire format.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct WireTurn {
    messages: Vec<Value>,
    #[serde(default)]
    asked_tokens: Option<u64>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    delay_s: Option<f64>,
    /// The response to this turn: a text or a message.
    #[serde(default)]
    recorded: Option<Value>,
}

/// The longest delay before a turn: a day.
const LONGEST_DELAY_S: f64 = 86_400.0;

impl WireTurn {
    fn into_exchange(self) -> Result<Exchange, String> {
        checked_messages(&self.messages)?;
        let reply = match self.recorded {
            Some(Value::String(text)) => Some(json!({"role": "assistant", "content": text})),
            Some(reply) if reply.is_object() => Some(reply),
            Some(_) => {
                return Err("`recorded` of a turn is neither a text nor an object".to_owned());
            }
            None => None,
        };
        let is_delay = |seconds: &f64| (0.0..=LONGEST_DELAY_S).contains(seconds);
        if self.delay_s.is_some_and(|seconds| !is_delay(&seconds)) {
            return Err("`delay_s` of a turn is not between 0 and 86400".to_owned());
        }
        Ok(Exchange {
            messages: self.messages,
            reply,
            asked_tokens: self.asked_tokens,
            max_tokens: self.max_tokens,
            delay: self.delay_s.map(Duration::from_secs_f64),
        })
    }
}

fn checked_messages(messages: &[Value]) -> Result<(), String> {
    if messages.is_empty() {
        return Err("`messages` of an item is empty".to_owned());
    }
    if !messages.iter().all(Value::is_object) {
        return Err("a message of an item is not an object".to_owned());
    }
    Ok(())
}

impl WireItem {
    /// # Errors
    /// What is wrong with the item, reported as the plugin's fault: a server would reject each such
    /// request with its own message.
    fn into_item(self, replies: Replies) -> Result<Item, String> {
        let prompt = match (
            self.text,
            self.messages,
            self.body,
            self.token_ids,
            self.turns,
        ) {
            (Some(text), None, None, None, None) => Prompt::Text(text),
            (None, Some(messages), None, None, None) => {
                checked_messages(&messages)?;
                Prompt::Messages(messages)
            }
            (None, None, Some(body), None, None) => Prompt::Body(body),
            (None, None, None, Some(ids), None) => {
                if ids.is_empty() {
                    return Err("`token_ids` of an item is empty".to_owned());
                }
                Prompt::TokenIds(ids)
            }
            (None, None, None, None, Some(turns)) => {
                if turns.is_empty() {
                    return Err("`turns` of an item is empty".to_owned());
                }
                let turns = turns.into_iter().map(WireTurn::into_exchange);
                let mut item = session(turns.collect::<Result<_, _>>()?, replies)?;
                item.with.session = self.session;
                item.with.rid = self.rid;
                return Ok(item);
            }
            _ => {
                return Err(
                    "an item must have exactly one of `text`, `messages`, `body`, `token_ids`, `turns`"
                        .to_owned(),
                );
            }
        };
        let mut item = Item::from(prompt);
        item.asked_tokens = self.asked_tokens;
        item.with.max_tokens = self.max_tokens;
        Ok(item)
    }
}

#[derive(Deserialize)]
struct Batch {
    items: Vec<WireItem>,
    #[serde(default)]
    end: bool,
}

/// The dataset of a plugin.
#[derive(Debug)]
pub struct PluginDataset {
    plugin: Arc<Plugin>,
    items: VecDeque<Item>,
    /// The next batch, already requested.
    ahead: Option<(usize, Pending)>,
    /// Number of items to request in the next batch.
    batch: usize,
    ended: bool,
    /// Items were requested before, so it has to start over.
    used: bool,
    replies: Replies,
}

impl PluginDataset {
    /// The prompts of a plugin from the start. `used`: prompts were taken from it before.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, used: bool) -> Self {
        Self {
            plugin,
            items: VecDeque::new(),
            ahead: None,
            // the first prompt is needed at once, however expensive a batch is
            batch: 1,
            ended: false,
            used,
            replies: Replies::Unused,
        }
    }

    /// The same for a run that may need recorded responses.
    #[must_use]
    pub fn replies(mut self, replies: Replies) -> Self {
        self.replies = replies;
        self
    }

    fn ask(&mut self) -> Result<(usize, Pending), PluginError> {
        let max = self.batch;
        self.batch = (2 * max).min(BATCH);
        Ok((max, self.plugin.ask("next", json!({"max": max}))?))
    }

    fn fill(&mut self) -> Result<(), PluginError> {
        if self.used {
            self.begin_again()?;
        }
        let (max, pending) = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.ask()?,
        };
        let Batch { items, end } = self.plugin.wait(&pending)?;
        if items.len() > max || items.is_empty() && !end {
            let text = format!("it gave {} items instead of 1 to {max}", items.len());
            return Err(self.plugin.rubbish("next", text));
        }
        self.ended = end;
        if !end {
            self.ahead = Some(self.ask()?);
        }
        for item in items {
            let item = item.into_item(self.replies);
            let item = item.map_err(|fault| self.plugin.rubbish("next", fault))?;
            self.items.push_back(item);
        }
        Ok(())
    }

    fn begin_again(&mut self) -> Result<(), PluginError> {
        // a batch still on its way arrives before the response to this, and is dropped
        self.ahead = None;
        self.items.clear();
        let pending = self.plugin.ask("rewind", json!({}))?;
        let _: Map<String, Value> = self.plugin.wait(&pending)?;
        self.ended = false;
        self.used = false;
        Ok(())
    }
}

fn failed(error: PluginError) -> DatasetError {
    DatasetError::Source(Box::new(error))
}

impl PromptSource for PluginDataset {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        while self.items.is_empty() && (self.used || !self.ended) {
            self.fill().map_err(failed)?;
        }
        Ok(self.items.pop_front())
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.begin_again().map_err(failed)
    }
}
