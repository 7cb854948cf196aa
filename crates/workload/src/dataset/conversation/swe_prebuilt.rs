//! Owns the prebuilt form of `swe_smith`, which SGLang's agentic traces have too: one JSON object whose list
//! `conversations` holds lists of turns, each with the messages that it adds.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::exchange::{Exchange, Replies, session};
use super::messages::check_turns;
use crate::dataset::item::{Wrong, typed, value_without_nul};
use crate::dataset::json_list::JsonList;
use crate::dataset::{DatasetError, PromptSource};
use evalscope_model::prompt::Item;

const FIELD: &str = "conversations";

/// See the module documentation.
#[derive(Debug)]
pub struct SwePrebuilt {
    conversations: JsonList,
}

impl SwePrebuilt {
    /// Open the file.
    ///
    /// # Errors
    /// If it cannot be opened, or has no list `conversations`.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Ok(Self {
            conversations: JsonList::open_field(path, FIELD)?,
        })
    }
}

impl PromptSource for SwePrebuilt {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let item = self.conversations.next()?;
        let read = item.map(conversation).transpose();
        read.map_err(|wrong| self.conversations.error(wrong))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.conversations.rewind()
    }
}

#[derive(Deserialize)]
struct Written {
    messages: Vec<Value>,
    #[serde(default)]
    rid: Option<String>,
}

fn conversation(source: &[u8]) -> Result<Item, Wrong> {
    let written: Vec<Written> = typed(source)?;
    let rid = written.first().and_then(|turn| turn.rid.clone());
    let mut turns = Vec::with_capacity(written.len());
    for turn in written {
        let messages = Value::Array(turn.messages);
        value_without_nul(source, &messages)?;
        let Value::Array(messages) = messages else {
            unreachable!("it is the list of above")
        };
        turns.push(Exchange {
            messages,
            ..Exchange::default()
        });
    }
    check_turns(turns.iter())?;
    let mut item = session(turns, Replies::Unused)?;
    item.with.session.clone_from(&rid);
    item.with.rid = rid;
    Ok(item)
}
