//! Owns `longalpaca`: items whose `instruction` is the prompt (LongAlpaca-12k),
//! as one JSON list or as JSON Lines.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::line_by_line::Lines;
use super::{DatasetError, Prompt, PromptSource};

/// See the module.
#[derive(Debug)]
pub struct LongAlpaca {
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// The list is one value: its prompts have to be read at once.
    List {
        prompts: Vec<String>,
        at: usize,
    },
    Lines(Lines),
}

impl LongAlpaca {
    /// Open a file; its first character tells a list from lines.
    ///
    /// # Errors
    /// When it cannot be read, or an item of the list lacks its field.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        let form = if begins_list(path)? {
            Form::List {
                prompts: read_list(path)?,
                at: 0,
            }
        } else {
            Form::Lines(Lines::open(path)?)
        };
        Ok(Self { form })
    }
}

impl PromptSource for LongAlpaca {
    fn next(&mut self) -> Result<Option<Prompt>, DatasetError> {
        match &mut self.form {
            Form::List { prompts, at } => {
                let prompt = prompts.get(*at).cloned().map(Prompt::Text);
                *at += 1;
                Ok(prompt)
            }
            Form::Lines(lines) => {
                let Some(line) = lines.next()? else {
                    return Ok(None);
                };
                match serde_json::from_str::<Value>(line) {
                    Ok(item) => match instruction(&item) {
                        Some(text) => Ok(Some(Prompt::Text(text))),
                        None => Err(lines.error("no text field `instruction`".to_owned())),
                    },
                    Err(error) => {
                        let error = format!("not JSON: {error}");
                        Err(lines.error(error))
                    }
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        match &mut self.form {
            Form::List { at, .. } => {
                *at = 0;
                Ok(())
            }
            Form::Lines(lines) => lines.rewind(),
        }
    }
}

fn instruction(item: &Value) -> Option<String> {
    Some(item.get("instruction")?.as_str()?.trim().to_owned())
}

fn read_error(path: &Path) -> impl FnOnce(std::io::Error) -> DatasetError + '_ {
    |source| DatasetError::Read {
        path: path.to_owned(),
        source,
    }
}

fn begins_list(path: &Path) -> Result<bool, DatasetError> {
    let file = File::open(path).map_err(read_error(path))?;
    for byte in BufReader::new(file).bytes().take(4096) {
        let byte = byte.map_err(read_error(path))?;
        if !byte.is_ascii_whitespace() && !matches!(byte, 0xef | 0xbb | 0xbf) {
            return Ok(byte == b'[');
        }
    }
    Ok(false)
}

fn read_list(path: &Path) -> Result<Vec<String>, DatasetError> {
    let text = std::fs::read_to_string(path).map_err(read_error(path))?;
    let item_error = |place: String, reason: String| DatasetError::Item {
        path: PathBuf::from(path),
        place,
        reason,
    };
    let items: Vec<Value> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| item_error(format!("line {}", error.line()), error.to_string()))?;
    let read = |(i, item): (usize, &Value)| {
        instruction(item).ok_or_else(|| {
            item_error(
                format!("item {}", i + 1),
                "no text field `instruction`".to_owned(),
            )
        })
    };
    items.iter().enumerate().map(read).collect()
}
