//! Owns the items of a text dataset's file, which is JSON Lines or one JSON list.
//!
//! It must not know which dataset it reads, nor what an item means.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::DatasetError;
use super::file_list::read_error;
use super::item::Wrong;
use super::json_list::JsonList;
use super::lines::Lines;

/// Number of bytes at the start of a file used to detect its format.
const HEAD_BYTES: u64 = 64 << 10;

/// Items of a file, each of them supposed to be JSON.
#[derive(Debug)]
pub(super) enum Records {
    List(JsonList),
    Lines(Lines),
}

impl Records {
    /// Open a file, whose first characters determine which of the two it is.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        if beginning(path)?.first() == Some(&b'[') {
            return Ok(Self::List(JsonList::open(path)?));
        }
        Ok(Self::Lines(Lines::open(path)?))
    }

    /// The bytes of the next item.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, DatasetError> {
        match self {
            Self::List(list) => list.next(),
            Self::Lines(lines) => Ok(lines.next()?.map(str::as_bytes)),
        }
    }

    /// An error in the current item.
    pub(super) fn error(&self, wrong: Wrong) -> DatasetError {
        match self {
            Self::List(list) => list.error(wrong),
            Self::Lines(lines) => lines.error(wrong),
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        match self {
            Self::List(list) => list.rewind(),
            Self::Lines(lines) => lines.rewind(),
        }
    }
}

/// The first bytes of a file after a byte order mark and blanks.
pub(super) fn beginning(path: &Path) -> Result<Vec<u8>, DatasetError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(read_error(path))?;
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(read_error(path))?;
    let behind = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
    Ok(behind.trim_ascii_start().to_vec())
}
