//! Owns `share_gpt_zh_multi_turn` and `share_gpt_en_multi_turn`: the conversations of `share_gpt_zh` and
//! `share_gpt_en`, one turn for each question.

use std::path::Path;

use serde_json::Value;

use super::exchange::{Exchange, Replies, message, session};
use crate::dataset::file_list::file_or_named;
use crate::dataset::records::Records;
use crate::dataset::share_gpt::messages;
use crate::dataset::{DatasetError, PromptSource, ShareGptLanguage};
use evalscope_model::prompt::Item;

/// See the module documentation.
#[derive(Debug)]
pub struct ShareGptMultiTurn {
    records: Records,
    replies: Replies,
}

impl ShareGptMultiTurn {
    /// Open a file, or in a directory the hub's file for the language.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(
        path: &Path,
        language: ShareGptLanguage,
        replies: Replies,
    ) -> Result<Self, DatasetError> {
        let path = file_or_named(path, language.file_name())?;
        Ok(Self {
            records: Records::open(&path)?,
            replies,
        })
    }
}

impl PromptSource for ShareGptMultiTurn {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let replies = self.replies;
        let item = self.records.next()?;
        let read = item.map(|item| Ok(session(turns_of(messages(item)?), replies)?));
        read.transpose().map_err(|wrong| self.records.error(wrong))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}

/// One turn for each question. A question without a response has an empty one.
fn turns_of(messages: Vec<Value>) -> Vec<Exchange> {
    let mut turns: Vec<Exchange> = Vec::new();
    let mut current = Exchange::default();
    for said in messages {
        match (said["role"].as_str(), turns.last_mut()) {
            (Some("user"), _) => {
                current.messages.push(said);
                current.reply = Some(message("assistant", ""));
                turns.push(std::mem::take(&mut current));
            }
            (Some("assistant"), Some(last)) => last.reply = Some(said),
            _ => current.messages.push(said),
        }
    }
    turns
}
