//! Owns reading images with texts from tar shards in webdataset format: consecutive members with
//! the same name up to the first dot are one sample (`00012.jpg`, `00012.txt`). One sample is in
//! memory.
//!
//! It must not know what images and texts are used for.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tar::Archive;

use super::DatasetError;
use super::file_list::read_error;
use super::image_sample::{ImageSample, is_image_ending};

const BLOCK_BYTES: u64 = 512;

/// Samples of several shards, one shard after another.
#[derive(Debug)]
pub(super) struct TarShards {
    paths: Vec<PathBuf>,
    /// Index of the shard being read.
    at: usize,
    shard: Option<Shard>,
}

impl TarShards {
    pub(super) fn open(paths: Vec<PathBuf>) -> Result<Self, DatasetError> {
        let mut shards = Self {
            paths,
            at: 0,
            shard: None,
        };
        shards.rewind()?;
        Ok(shards)
    }

    pub(super) fn next(&mut self) -> Result<Option<ImageSample>, DatasetError> {
        loop {
            let Some(shard) = &mut self.shard else {
                return Ok(None);
            };
            if let Some(sample) = shard.next()? {
                return Ok(Some(sample));
            }
            self.at += 1;
            self.open_shard()?;
        }
    }

    pub(super) fn rewind(&mut self) -> Result<(), DatasetError> {
        self.at = 0;
        self.open_shard()
    }

    fn open_shard(&mut self) -> Result<(), DatasetError> {
        let path = self.paths.get(self.at);
        self.shard = path.map(|path| Shard::open(path)).transpose()?;
        Ok(())
    }
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: BufReader<File>,
    bytes: u64,
    /// Position of the next member's header.
    next_header: u64,
    /// The last member returned, for messages.
    last: String,
    /// The first member of the next sample.
    ahead: Option<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    content: Vec<u8>,
}

impl Member {
    /// The last path component up to its first dot, and the rest.
    fn key_and_ending(&self) -> (&str, &str) {
        let file = self.name.rfind('/').map_or(0, |slash| slash + 1);
        match self.name[file..].find('.') {
            Some(dot) => (&self.name[..file + dot], &self.name[file + dot + 1..]),
            None => (&self.name, ""),
        }
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(read_error(path))?;
        let bytes = file.metadata().map_err(read_error(path))?.len();
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            bytes,
            next_header: 0,
            last: String::new(),
            ahead: None,
        })
    }

    fn next(&mut self) -> Result<Option<ImageSample>, DatasetError> {
        let first = match self.ahead.take() {
            Some(member) => Some(member),
            None => self.member()?,
        };
        let Some(first) = first else {
            return Ok(None);
        };
        let key = first.key_and_ending().0.to_owned();
        let (mut image, mut text) = (None, None);
        let mut next = Some(first);
        while let Some(member) = next {
            let (own_key, ending) = member.key_and_ending();
            if own_key != key {
                self.ahead = Some(member);
                break;
            }
            let place = if is_image_ending(ending) {
                &mut image
            } else {
                &mut text
            };
            if place.is_some() {
                let reason = "the sample has two files of this kind".to_owned();
                return Err(self.error(&member.name, reason));
            }
            *place = Some(member);
            next = self.member()?;
        }
        let Some(image) = image else {
            return Err(self.error(&key, "the sample has a text but no image".to_owned()));
        };
        let text = match text {
            Some(text) => Some(String::from_utf8(text.content).map_err(|error| {
                self.error(&text.name, format!("not UTF-8: {}", error.utf8_error()))
            })?),
            None => None,
        };
        Ok(Some(ImageSample {
            path: self.path.clone(),
            place: format!("member {}", image.name),
            image: image.content,
            text,
        }))
    }

    /// The next member that is an image or a text.
    fn member(&mut self) -> Result<Option<Member>, DatasetError> {
        loop {
            let start = SeekFrom::Start(self.next_header);
            self.file.seek(start).map_err(read_error(&self.path))?;
            let left = self.bytes.saturating_sub(self.next_header);
            let found = match first_of(&mut self.file, left) {
                Ok(Some(found)) => found,
                Ok(None) => return self.end(),
                Err(error) => {
                    // what follows is a path, which may be anything
                    let said = error.to_string();
                    let said = said.split(" when getting").next().unwrap_or_default();
                    let reason = format!("the archive is damaged or truncated: {said}");
                    return Err(self.error_at(self.behind_last(), reason));
                }
            };
            if found.sparse {
                return Err(self.error(&found.name, "sparse members are not supported".to_owned()));
            }
            let end = found.start.saturating_add(found.bytes);
            if end > left {
                let reason = format!(
                    "the archive is truncated: it has {} of the member's {} bytes",
                    left.saturating_sub(found.start),
                    found.bytes
                );
                return Err(self.error(&found.name, reason));
            }
            self.next_header += end.next_multiple_of(BLOCK_BYTES);
            self.last.clone_from(&found.name);
            if let Some(content) = found.content {
                let name = found.name;
                return Ok(Some(Member { name, content }));
            }
        }
    }

    /// A tar file ends with blocks of zeros: without one, members may be missing.
    fn end(&self) -> Result<Option<Member>, DatasetError> {
        if self.next_header < self.bytes {
            return Ok(None);
        }
        let reason = "the archive is truncated: its end mark is missing".to_owned();
        Err(self.error_at(self.behind_last(), reason))
    }

    fn behind_last(&self) -> String {
        if self.last.is_empty() {
            "first member".to_owned()
        } else {
            format!("after member {}", self.last)
        }
    }

    fn error(&self, member: &str, reason: String) -> DatasetError {
        self.error_at(format!("member {member}"), reason)
    }

    fn error_at(&self, place: String, reason: String) -> DatasetError {
        DatasetError::Broken {
            path: self.path.clone(),
            place,
            reason,
        }
    }
}

/// A member and its position, starting at its header.
struct Found {
    name: String,
    start: u64,
    bytes: u64,
    sparse: bool,
    /// Only for an image or a text that is complete.
    content: Option<Vec<u8>>,
}

/// The member that starts here, where `left` bytes remain. `tar::Entries` borrows its archive, so
/// it cannot be kept from one sample to the next: each member is read as the first of an archive.
fn first_of(file: &mut BufReader<File>, left: u64) -> std::io::Result<Option<Found>> {
    let mut archive = Archive::new(file);
    let Some(mut entry) = archive.entries()?.next().transpose()? else {
        return Ok(None);
    };
    let kind = entry.header().entry_type();
    let mut found = Found {
        name: String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
        start: entry.raw_file_position(),
        bytes: entry.size(),
        sparse: kind.is_gnu_sparse(),
        content: None,
    };
    let whole = found.start.saturating_add(found.bytes) <= left;
    if whole && kind.is_file() && is_wanted(&found.name) {
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        found.content = Some(content);
    }
    Ok(Some(found))
}

fn is_wanted(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    // macOS puts a member `._NAME` with attributes before each member
    if file.starts_with('.') {
        return false;
    }
    let ending = file.split_once('.').map_or("", |(_, ending)| ending);
    ending == "txt" || is_image_ending(ending)
}
