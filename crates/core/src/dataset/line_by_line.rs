//! Owns `line_by_line`: a text file in which every line that is not blank is a
//! prompt: a JSON list of messages, a JSON object that is a request body, or
//! else a text, also where it merely begins like JSON.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{DatasetError, Item, Prompt, PromptSource};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

    /// The next line that is not blank, without its line end, and without the
    /// mark that some editors put at the beginning of a file.
    pub(super) fn next(&mut self) -> Result<Option<&str>, DatasetError> {
        let (from, to) = loop {
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
            let marked = self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK);
            let from = if marked { BYTE_ORDER_MARK.len() } else { 0 };
            let line = self.buffer[from..].trim_ascii_end();
            if !line.is_empty() {
                break (from, from + line.len());
            }
        };
        match std::str::from_utf8(&self.buffer[from..to]) {
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
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(line) = self.lines.next()? else {
            return Ok(None);
        };
        // text that merely begins like JSON is a prompt; a number is one too
        let prompt = match line.trim_ascii_start().as_bytes().first() {
            Some(b'[' | b'{') => match serde_json::from_str(line) {
                Ok(Value::Object(body)) => Prompt::Body(body),
                Ok(Value::Array(messages))
                    if !messages.is_empty() && messages.iter().all(is_message) =>
                {
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
        Ok(Some(prompt.into()))
    }

    fn rewind(&mut self) -> Result<(), DatasetError> {
        self.lines.rewind()
    }
}

fn is_message(value: &Value) -> bool {
    value.get("role").is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(bytes: &[u8]) -> Vec<Prompt> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut source = LineByLine::open(file.path()).unwrap();
        let mut rounds = [Vec::new(), Vec::new()];
        for round in &mut rounds {
            while let Some(item) = source.next().unwrap() {
                round.push(item.prompt);
            }
            source.rewind().unwrap();
        }
        assert_eq!(rounds[0], rounds[1]);
        rounds[0].clone()
    }

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.to_owned())
    }

    #[test]
    fn line_ends_marks_and_blanks_belong_to_no_prompt() {
        for file in [
            "a\nb\n",
            "a\r\nb",
            "\u{feff}a\n\n \t\r\nb\r\n\r\n",
            "\u{feff}\r\na\nb",
        ] {
            assert_eq!(prompts(file.as_bytes()), [text("a"), text("b")], "{file:?}");
        }
        // only at the beginning is it a mark
        assert_eq!(
            prompts("  a \n\u{feff}b".as_bytes()),
            [text("  a"), text("\u{feff}b")]
        );
        assert!(prompts("\u{feff}".as_bytes()).is_empty());
        assert!(prompts(b"").is_empty());
    }

    #[test]
    fn json_behind_a_mark_or_blanks_is_json() {
        let file = "\u{feff}{\"prompt\":\"a\"}\r\n  [{\"role\":\"user\",\"content\":\"b\"}] \n";
        let prompts = prompts(file.as_bytes());
        assert!(matches!(&prompts[0], Prompt::Body(body) if body["prompt"] == "a"));
        assert!(matches!(&prompts[1], Prompt::Messages(all) if all[0]["content"] == "b"));
        assert_eq!(prompts.len(), 2);
    }

    #[test]
    fn a_line_may_be_long() {
        let long = "长".repeat(10 << 20);
        let file = format!("{long}\n{{\"prompt\":\"{long}\"}}");
        let prompts = prompts(file.as_bytes());
        assert_eq!(prompts[0], text(&long));
        assert!(matches!(&prompts[1], Prompt::Body(body) if body["prompt"] == long.as_str()));
    }

    #[test]
    fn errors_name_file_and_line() {
        let error = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let mut source = LineByLine::open(file.path()).unwrap();
            let error = source.next().unwrap_err().to_string();
            error.replace(&file.path().display().to_string(), "FILE")
        };
        insta::assert_snapshot!(error(b"\n[]"), @"FILE, line 2: a list on a line must hold messages, objects with `role` and `content`");
        insta::assert_snapshot!(error(b"[\"a\"]"), @"FILE, line 1: a list on a line must hold messages, objects with `role` and `content`");
        insta::assert_snapshot!(error(b"\r\n\xff"), @"FILE, line 2: not UTF-8: invalid utf-8 sequence of 1 bytes from index 0");
        let folder = LineByLine::open(&std::env::temp_dir()).unwrap_err();
        assert!(folder.to_string().starts_with("cannot read the data set"));
    }
}
