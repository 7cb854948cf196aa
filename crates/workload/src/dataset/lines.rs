//! Owns the lines of a text file: where each ends, and how long one may be.
//!
//! It must not know what a line means.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::item::{MOST_ITEM_BYTES, NUL, Wrong, not_json};

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

    /// The next line that is not blank, without its line end, and without the byte order mark that
    /// some editors put at the start of a file.
    pub(super) fn next(&mut self) -> Result<Option<&str>, DatasetError> {
        let (from, to) = loop {
            self.buffer.clear();
            let mut bounded = (&mut self.reader).take(MOST_ITEM_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|source| DatasetError::Read {
                path: self.path.clone(),
                source,
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read > MOST_ITEM_BYTES {
                return Err(DatasetError::Broken {
                    path: self.path.clone(),
                    place: format!("line {}", self.number),
                    reason: "the line is larger than 256 MiB".to_owned(),
                });
            }
            let marked = self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK);
            let from = if marked { BYTE_ORDER_MARK.len() } else { 0 };
            let line = self.buffer[from..].trim_ascii_end();
            if !line.is_empty() {
                break (from, from + line.len());
            }
        };
        let line = &self.buffer[from..to];
        match std::str::from_utf8(line) {
            // valid JSON has no NUL either
            Ok(_) if memchr::memchr(0, line).is_some() => Err(self.error(NUL.to_owned().into())),
            Ok(_) => Ok(Some(
                std::str::from_utf8(&self.buffer[from..to]).expect("checked above"),
            )),
            Err(error) => {
                let reason = format!("not UTF-8: {error}");
                Err(self.error(reason.into()))
            }
        }
    }

    /// An error in the current line.
    pub(super) fn error(&self, wrong: Wrong) -> DatasetError {
        let reason = match wrong {
            Wrong::Json(error) => not_json(&error),
            Wrong::Said(reason) => reason,
        };
        DatasetError::Item {
            path: self.path.clone(),
            place: format!("line {}", self.number),
            reason,
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        *self = Self::open(&self.path)?;
        Ok(())
    }
}
