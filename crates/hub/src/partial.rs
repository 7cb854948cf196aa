//! Owns a partial download: the lock, the bytes so far and the file they belong to, the
//! verification of the complete file, and moving it into place.
//!
//! It must not know where the bytes come from.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError, create_dir_all, remove_file};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{HubError, Wanted, on_disk};
use crate::places::Places;
use crate::tries::{Progress, short_pause};
use crate::watch::Watch;

/// Size of a read when hashing a file.
const HASH_BLOCK_BYTES: usize = 1 << 18;

/// What a hub states about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stated {
    /// The entity tag, bare.
    pub(crate) etag: Option<String>,
    pub(crate) size_bytes: Option<u64>,
    /// In lower-case hex.
    pub(crate) sha256: Option<String>,
}

impl Stated {
    /// Whether two statements are certain to describe the same bytes.
    fn is_same_file(&self, other: &Stated) -> bool {
        let sizes_agree = match (self.size_bytes, other.size_bytes) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let same = match (&self.sha256, &other.sha256) {
            (Some(a), Some(b)) => a == b,
            _ => self.etag.is_some() && self.etag == other.etag,
        };
        same && sizes_agree
    }
}

/// Hex text that can be a SHA-256, in lower case.
pub(crate) fn as_sha256(text: &str) -> Option<String> {
    let is_one = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| text.to_ascii_lowercase())
}

/// Held while a file is fetched, to exclude other processes and threads.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Dropping it releases the lock.
    _file: File,
}

impl Lock {
    /// Wait until nobody else is fetching the file.
    pub(crate) fn acquire(
        path: &Path,
        watch: &dyn Watch,
        wanted: &Wanted,
    ) -> Result<Lock, HubError> {
        create_parent(path)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(on_disk("create the lock", path))?;
        loop {
            // Not the blocking call: cancellation must be noticed.
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => short_pause(watch, wanted)?,
                // Some network file systems have no locks. Two concurrent downloads then fail
                // verification, but do not produce a wrong file.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Lock { _file: file });
                }
                Err(TryLockError::Error(error)) => return Err(on_disk("lock", path)(error)),
            }
        }
    }
}

/// A partial download, possibly empty.
#[derive(Debug)]
pub(crate) struct Partial<'a> {
    places: &'a Places,
    file: File,
    length_bytes: u64,
    stated: Stated,
}

impl<'a> Partial<'a> {
    /// Open what is left from before. Bytes of an unknown file are dropped.
    pub(crate) fn open(places: &'a Places) -> Result<Partial<'a>, HubError> {
        let path = &places.partial;
        create_parent(path)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(on_disk("write", path))?;
        let length_bytes = file.seek(SeekFrom::End(0)).map_err(on_disk("read", path))?;
        let stated: Option<Stated> = std::fs::read(&places.partial_of)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok());
        let mut partial = Partial {
            places,
            file,
            length_bytes,
            stated: stated.unwrap_or_default(),
        };
        let can_be_told = partial.stated.etag.is_some() || partial.stated.sha256.is_some();
        if length_bytes > 0 && !(can_be_told && partial.fits()) {
            partial.start_over()?;
        }
        Ok(partial)
    }

    fn fits(&self) -> bool {
        self.stated
            .size_bytes
            .is_none_or(|size| self.length_bytes <= size)
    }

    pub(crate) fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            got_bytes: self.length_bytes,
            total_bytes: self.stated.size_bytes,
        }
    }

    /// Whether there are as many bytes as stated.
    pub(crate) fn is_full(&self) -> bool {
        self.length_bytes > 0 && self.stated.size_bytes == Some(self.length_bytes)
    }

    /// Whether there are more bytes than stated.
    pub(crate) fn is_overfull(&self) -> bool {
        !self.fits()
    }

    /// Whether the hub's current statement is about the file that the bytes belong to.
    pub(crate) fn is_part_of(&self, stated: &Stated) -> bool {
        self.stated.is_same_file(stated)
    }

    /// Drop all bytes.
    pub(crate) fn start_over(&mut self) -> Result<(), HubError> {
        let path = &self.places.partial;
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(on_disk("empty", path))?;
        self.length_bytes = 0;
        self.stated = Stated::default();
        remove_if_there(&self.places.partial_of)
    }

    /// Record which file the bytes belong to, before the first of them is written.
    pub(crate) fn note(&mut self, stated: Stated) -> Result<(), HubError> {
        if self.stated != stated {
            let path = &self.places.partial_of;
            let json = serde_json::to_vec(&stated).expect("strings and numbers are JSON");
            std::fs::write(path, json).map_err(on_disk("write", path))?;
            self.stated = stated;
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(|error| {
            match on_disk("write", &self.places.partial)(error) {
                HubError::DiskFull { path, source, .. } => HubError::DiskFull {
                    missing_bytes: self
                        .stated
                        .size_bytes
                        .map(|size| size.saturating_sub(self.length_bytes)),
                    path,
                    source,
                },
                other => other,
            }
        })?;
        self.length_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Compare with what was stated. A wrong file is dropped.
    pub(crate) fn check(&mut self, wanted: &Wanted) -> Result<(), HubError> {
        let wanted = || Box::new(wanted.clone());
        if let Some(stated_bytes) = self.stated.size_bytes
            && stated_bytes != self.length_bytes
        {
            let got_bytes = self.length_bytes;
            self.start_over()?;
            return Err(HubError::WrongSize {
                wanted: wanted(),
                stated_bytes,
                got_bytes,
            });
        }
        if let Some(stated) = self.stated.sha256.clone() {
            // hashed from disk, not during the download: this covers earlier bytes and what was
            // actually written
            let got = self
                .sha256()
                .map_err(on_disk("read", &self.places.partial))?;
            if got != stated {
                self.start_over()?;
                return Err(HubError::WrongHash {
                    wanted: wanted(),
                    stated,
                    got,
                });
            }
        }
        Ok(())
    }

    fn sha256(&mut self) -> io::Result<String> {
        let mut hash = Sha256::new();
        let mut block = vec![0; HASH_BLOCK_BYTES];
        self.file.seek(SeekFrom::Start(0))?;
        loop {
            match self.file.read(&mut block)? {
                0 => break,
                n => hash.update(&block[..n]),
            }
        }
        let mut hex = String::with_capacity(64);
        for byte in hash.finalize() {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Ok(hex)
    }

    /// Keep what has arrived for the next time; remove an empty file.
    pub(crate) fn close(self) -> Result<(), HubError> {
        drop(self.file);
        if self.length_bytes == 0 {
            remove_if_there(&self.places.partial)?;
            remove_if_there(&self.places.partial_of)?;
        }
        Ok(())
    }

    /// Move the complete file into place. It is there completely or not at all, even after a power
    /// failure.
    pub(crate) fn publish(self) -> Result<(), HubError> {
        let Places {
            file,
            partial,
            partial_of,
            absent,
            ..
        } = self.places;
        self.file.sync_all().map_err(on_disk("write", partial))?;
        drop(self.file);
        std::fs::rename(partial, file).map_err(on_disk("create", file))?;
        if let Some(dir) = file.parent() {
            sync_dir(dir);
        }
        remove_if_there(partial_of)?;
        remove_if_there(absent)
    }
}

/// Replace a small file of the cache, atomically.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    create_parent(path)?;
    // a unique name per process and call, so that no two write to the same file
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{count}.new", std::process::id()));
    let new = Path::new(&name);
    std::fs::write(new, bytes).map_err(on_disk("write", new))?;
    std::fs::rename(new, path).map_err(on_disk("create", path))
}

/// Make an empty file.
pub(crate) fn mark(path: &Path) -> Result<(), HubError> {
    create_parent(path)?;
    File::create(path)
        .map(drop)
        .map_err(on_disk("create", path))
}

fn create_parent(path: &Path) -> Result<(), HubError> {
    match path.parent() {
        Some(dir) => create_dir_all(dir).map_err(on_disk("create the directory", dir)),
        None => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<(), HubError> {
    match remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(on_disk("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Make a rename durable. Not every system supports this; the file itself is safe in any case.
fn sync_dir(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}
