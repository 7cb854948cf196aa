//! Owns `line_by_line`: a text file in which every line is a prompt, a JSON
//! list of messages, or a JSON object that is a request body.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{DatasetError, Prompt, PromptSource};

/// A file of lines, numbered from 1.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let file = File::open(path).and_then(|file| {
            if file.metadata()?.is_dir() {
                return Err(std::io::Error::other("it is a directory"));
            }
            Ok(file)
        });
        let file = file.map_err(|source| DatasetError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(1 << 16, file),
            number: 0,
            buffer: Vec::new(),
        })
    }

    /// The next line that is not blank, without its line end.
    pub(super) fn next(&mut self) -> Result<Option<&str>, DatasetError> {
        loop {
            self.buffer.clear();
            let read = self.reader.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|source| DatasetError::Read {
                path: self.path.clone(),
                source,
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.buffer.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let bytes = self.buffer.trim_ascii_end();
        let bytes = if self.number == 1 {
            bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
        } else {
            bytes
        };
        match std::str::from_utf8(bytes) {
            Ok(line) => Ok(Some(line)),
            Err(error) => Err(item_error(
                &self.path,
                self.number,
                format!("not UTF-8: {error}"),
            )),
        }
    }

    pub(super) fn error(&self, reason: String) -> DatasetError {
        item_error(&self.path, self.number, reason)
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

fn item_error(path: &Path, line: u64, reason: String) -> DatasetError {
    DatasetError::Item {
        path: path.to_owned(),
        place: format!("line {line}"),
        reason,
    }
}

/// See the module.
#[derive(Debug)]
pub struct LineByLine {
    lines: Lines,
}

impl LineByLine {
    /// Open the file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Ok(Self {
            lines: Lines::open(path)?,
        })
    }
}

impl PromptSource for LineByLine {
    fn next(&mut self) -> Result<Option<Prompt>, DatasetError> {
        let Some(line) = self.lines.next()? else {
            return Ok(None);
        };
        // text that merely begins like JSON is a prompt; a number is one too
        let prompt = match line.as_bytes().first() {
            Some(b'[' | b'{') => match serde_json::from_str(line) {
                Ok(Value::Object(body)) => Prompt::Body(body),
                Ok(Value::Array(messages)) if messages.iter().all(is_message) => {
                    Prompt::Messages(messages)
                }
                Ok(Value::Array(_)) => {
                    let reason =
                        "a list on a line must hold messages, objects with `role` and `content`";
                    return Err(self.lines.error(reason.to_owned()));
                }
                _ => Prompt::Text(line.to_owned()),
            },
            _ => Prompt::Text(line.to_owned()),
        };
        Ok(Some(prompt))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.lines.rewind()
    }
}

fn is_message(value: &Value) -> bool {
    value.get("role").is_some_and(Value::is_string)
}
