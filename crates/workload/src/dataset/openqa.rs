//! Owns `openqa`: JSON Lines, or a JSON list, whose `question` is the prompt
//! (HC3-Chinese, `open_qa.jsonl`).

use std::path::Path;

use super::file_list::file_or_named;
use super::item::text_field;
use super::records::Records;
use super::{DatasetError, PromptSource};
use evalscope_model::prompt::Item;

/// See the module documentation.
#[derive(Debug)]
pub struct OpenQa {
    records: Records,
}

impl OpenQa {
    /// Open a file, or `open_qa.jsonl` in a directory.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let path = file_or_named(path, "open_qa.jsonl")?;
        Ok(Self {
            records: Records::open(&path)?,
        })
    }
}

impl PromptSource for OpenQa {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let item = self.records.next()?;
        let read = item.map(|item| text_field(item, "question")).transpose();
        let read = read.map_err(|wrong| self.records.error(wrong))?;
        Ok(read.map(Item::from))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.records.rewind()
    }
}
