//! Owns how far the clocks of machines are apart, as whoever started the processes has measured it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::MergeError;

/// By how much the clock of a shard's machine is ahead of the common one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offset {
    /// Nanoseconds; negative where it is behind.
    pub(super) offset_ns: i64,
    /// How far off that may be.
    pub(super) error_ns: u64,
}

/// The clocks of all shards. Without a file they are taken to be the same.
#[derive(Debug, Default)]
pub struct Offsets {
    file: Option<(PathBuf, Vec<Entry>)>,
}

#[derive(Debug, Deserialize)]
struct File {
    shards: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    index: u32,
    offset_ns: i64,
    #[serde(default)]
    error_ns: u64,
}

impl Offsets {
    /// Read a file.
    ///
    /// # Errors
    /// If it cannot be read, is something else, or names a shard twice.
    pub fn read(path: &Path) -> Result<Self, MergeError> {
        let wrong = |why: String| MergeError::Offsets {
            path: path.to_owned(),
            why,
        };
        let text =
            std::fs::read(path).map_err(|error| wrong(format!("cannot read it: {error}")))?;
        let File { shards } =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        for (nth, entry) in shards.iter().enumerate() {
            if shards[..nth]
                .iter()
                .any(|before| before.index == entry.index)
            {
                return Err(wrong(format!("shard {} is there twice", entry.index)));
            }
        }
        Ok(Self {
            file: Some((path.to_owned(), shards)),
        })
    }

    /// That of a shard.
    pub(super) fn of(&self, index: u32) -> Result<Offset, MergeError> {
        let Some((path, shards)) = &self.file else {
            return Ok(Offset::default());
        };
        let entry = shards.iter().find(|entry| entry.index == index);
        let entry = entry.ok_or_else(|| MergeError::Offsets {
            path: path.clone(),
            why: format!("it has no offset of shard {index}"),
        })?;
        Ok(Offset {
            offset_ns: entry.offset_ns,
            error_ns: entry.error_ns,
        })
    }
}
