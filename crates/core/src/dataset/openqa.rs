//! Owns `openqa`: JSON Lines whose `question` is the prompt (HC3-Chinese,
//! `open_qa.jsonl`).

use std::path::Path;

use serde_json::Value;

use super::file_list::file_or_named;
use super::line_by_line::Lines;
use super::{DatasetError, Item, Prompt, PromptSource};

/// See the module.
#[derive(Debug)]
pub struct OpenQa {
    lines: Lines,
}

impl OpenQa {
    /// Open a file, or `open_qa.jsonl` in a directory.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let path = file_or_named(path, "open_qa.jsonl")?;
        Ok(Self {
            lines: Lines::open(&path)?,
        })
    }
}

impl PromptSource for OpenQa {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(line) = self.lines.next()? else {
            return Ok(None);
        };
        let reason = match serde_json::from_str::<Value>(line) {
            Ok(item) => match item.get("question").and_then(Value::as_str) {
                Some(question) => return Ok(Some(Prompt::Text(question.trim().to_owned()).into())),
                None => "no text field `question`".to_owned(),
            },
            Err(error) => format!("not JSON: {error}"),
        };
        Err(self.lines.error(reason))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.lines.rewind()
    }
}
