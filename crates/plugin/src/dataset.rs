//! Owns prompts that a plugin gives: batches of them, asked for before they are
//! needed.
//!
//! It must not know how they are sent.

use std::collections::VecDeque;
use std::sync::Arc;

use evalscope_model::prompt::{Item, Prompt};
use evalscope_workload::dataset::{DatasetError, PromptSource};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::PluginError;
use crate::plugin::{Pending, Plugin};

/// Most items of a batch. At some 2 KB each a line is well below 1 MB, and the
/// price of a call is spread over enough.
const BATCH: usize = 64;

/// An item as it goes over the wire.
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
    /// What is wrong with it, to be said of the plugin: a server would refuse each
    /// such request in words of its own.
    fn into_item(self) -> Result<Item, &'static str> {
        let prompt = match (self.text, self.messages, self.body, self.token_ids) {
            (Some(text), None, None, None) => Prompt::Text(text),
            (None, Some(messages), None, None) => {
                if messages.is_empty() {
                    return Err("an item has `messages` without a message");
                }
                if !messages.iter().all(Value::is_object) {
                    return Err("an item has a message that is not an object");
                }
                Prompt::Messages(messages)
            }
            (None, None, Some(body), None) => Prompt::Body(body),
            (None, None, None, Some(ids)) => {
                if ids.is_empty() {
                    return Err("an item has `token_ids` without an id");
                }
                Prompt::TokenIds(ids)
            }
            _ => {
                return Err(
                    "an item has not exactly one of `text`, `messages`, `body`, `token_ids`",
                );
            }
        };
        Ok(Item {
            prompt,
            asked_tokens: self.asked_tokens,
        })
    }
}

#[derive(Deserialize)]
struct Batch {
    items: Vec<WireItem>,
    #[serde(default)]
    end: bool,
}

/// The data set of a plugin.
#[derive(Debug)]
pub struct PluginDataset {
    plugin: Arc<Plugin>,
    items: VecDeque<Item>,
    /// The next batch, on its way.
    ahead: Option<(usize, Pending)>,
    /// Items of the next batch to ask for.
    batch: usize,
    ended: bool,
    /// Items were asked for by somebody before: it has to begin again.
    used: bool,
}

impl PluginDataset {
    /// The prompts of a plugin from the first one on. `used`: somebody has taken
    /// prompts from it before.
    #[must_use]
    pub fn new(plugin: Arc<Plugin>, used: bool) -> Self {
        Self {
            plugin,
            items: VecDeque::new(),
            ahead: None,
            // the first prompt is wanted at once, however dear a batch is
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
            let text = format!(
                "it gave {} items where at least 1 and at most {max} were asked for",
                items.len()
            );
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
        // what is still on its way comes before the answer to this, and is left
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
