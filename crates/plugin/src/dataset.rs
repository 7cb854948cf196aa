//! Owns prompts from a plugin: batches of them, requested before they are needed.
//!
//! It must not know how they are sent.

use std::collections::VecDeque;
use std::sync::Arc;

use evalscope_model::prompt::{Item, Overrides, Prompt};
use evalscope_workload::dataset::{DatasetError, PromptSource};
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
}

impl WireItem {
    /// # Errors
    /// What is wrong with the item, reported as the plugin's fault: a server would reject each such
    /// request with its own message.
    fn into_item(self) -> Result<Item, &'static str> {
        let prompt = match (self.text, self.messages, self.body, self.token_ids) {
            (Some(text), None, None, None) => Prompt::Text(text),
            (None, Some(messages), None, None) => {
                if messages.is_empty() {
                    return Err("`messages` of an item is empty");
                }
                if !messages.iter().all(Value::is_object) {
                    return Err("a message of an item is not an object");
                }
                Prompt::Messages(messages)
            }
            (None, None, Some(body), None) => Prompt::Body(body),
            (None, None, None, Some(ids)) => {
                if ids.is_empty() {
                    return Err("`token_ids` of an item is empty");
                }
                Prompt::TokenIds(ids)
            }
            _ => {
                return Err(
                    "an item must have exactly one of `text`, `messages`, `body`, `token_ids`",
                );
            }
        };
        Ok(Item {
            prompt,
            asked_tokens: self.asked_tokens,
            with: Overrides::default(),
            later: Vec::new(),
        })
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
        }
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
            let item = item.into_item();
            let item = item.map_err(|fault| self.plugin.rubbish("next", fault.to_owned()))?;
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
