//! Owns what can go wrong, in words for the person who asked for a file.
//!
//! Must not know how anything is fetched. No text here ever holds a token or the query of a URL:
//! what comes from elsewhere was masked before.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::repo::{Repo, Source};

/// Why there is no file. [`hint`](HubError::hint) says what to do; causes are in `source()` and not
/// repeated in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A hub that is not known.
    #[error("unknown hub `{got}`; allowed are modelscope, huggingface")]
    Source {
        /// As it was given.
        got: String,
    },
    /// The id of a repository cannot be one.
    #[error("`{id}` is no repository such as owner/name: {reason}")]
    RepoId {
        /// As it was given.
        id: String,
        /// Why not.
        reason: &'static str,
    },
    /// A revision cannot be one.
    #[error("`{revision}` is no revision: {reason}")]
    Revision {
        /// As it was given.
        revision: String,
        /// Why not.
        reason: &'static str,
    },
    /// The path of a file cannot be one.
    #[error("`{path}` is no path inside a repository: {reason}")]
    FilePath {
        /// As it was given.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// A variable of the environment holds what cannot be used. Its value is not told, it may be a
    /// secret.
    #[error("`{variable}` cannot be used: {reason}")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// Why not.
        reason: String,
    },
    /// Nothing says where a cache could be.
    #[error("there is no place for a cache: neither `EVALSCOPE_CACHE` nor `{home}` is set")]
    NoCacheDir {
        /// The variable that names the home directory on this platform.
        home: &'static str,
    },
    /// The file with certificates to trust cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not in any cache, and the network is forbidden.
    #[error("{wanted} is in no cache, and {by} forbids the network")]
    Offline {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// What forbids it.
        by: String,
    },
    /// No connection: no network, no such name, nothing listens, a proxy that does not answer.
    #[error("cannot connect to {host} for {wanted}")]
    Unreachable {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {reason}")]
    Certificate {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// 401 or 403: gated, private, or a bad token.
    #[error("{} refuses {wanted} (HTTP {status}){}", wanted.source, Said(said))]
    Denied {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// The status code.
        status: u16,
        /// Whether a token was sent.
        token: TokenUse,
        /// What the hub said, if anything.
        said: Option<String>,
    },
    /// 404: there is no such thing.
    #[error("{} has no {}", wanted.source, Lacking(wanted, *missing))]
    NotFound {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// What of it there is not.
        missing: Missing,
    },
    /// Another status that is no success, after all tries.
    #[error(
        "{host} answered HTTP {status} to the request for {wanted}{}",
        Said(said)
    )]
    Status {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// The status code.
        status: u16,
        /// What the server said, if anything.
        said: Option<String>,
    },
    /// The connection broke too often.
    #[error(
        "the connection to {host} broke {tries} times; {} of {wanted} arrived",
        Bytes(*got_bytes, *total_bytes)
    )]
    Cut {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// How many times in a row, without progress between.
        tries: u32,
        /// Bytes that are there.
        got_bytes: u64,
        /// Bytes that the hub says it has.
        total_bytes: Option<u64>,
        /// How it broke the last time.
        source: io::Error,
    },
    /// All of it arrived, twice, and each time it had the wrong size.
    #[error("{wanted} arrived with {got_bytes} bytes; {} says it has {stated_bytes}", wanted.source)]
    WrongSize {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// The size that the hub states, in bytes.
        stated_bytes: u64,
        /// The size of what arrived, in bytes.
        got_bytes: u64,
    },
    /// All of it arrived, twice, and each time it had the wrong SHA-256.
    #[error("{wanted} arrived with SHA-256 {got}; {} says it has {stated}", wanted.source)]
    WrongHash {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// The hash that the hub states, in hex.
        stated: String,
        /// The hash of what arrived, in hex.
        got: String,
    },
    /// An answer that is not in the hub's protocol.
    #[error("the answer of {host} to the request for {wanted} is not understood: {reason}")]
    Malformed {
        /// What was asked for.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk is full.
    #[error("no space is left for {}", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
        /// How many more bytes are to come, if known.
        missing_bytes: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// The cache cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// [`Watch::cancelled`](crate::Watch::cancelled) said so.
    #[error("stopped before all of {wanted} had arrived")]
    Cancelled {
        /// What was asked for.
        wanted: Box<Wanted>,
    },
}

/// What was asked for: a file, or the list of all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From which hub.
    pub source: Source,
    /// From which repository.
    pub repo: Repo,
    /// The file; `None` is the list of files.
    pub path: Option<String>,
    /// Where the cache looks for it.
    pub place: PathBuf,
}

/// `` `a.json` of model owner/name``.
impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "`{path}` of {}", self.repo),
            None => write!(f, "the list of files of {}", self.repo),
        }
    }
}

/// What the hub does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The repository, as far as the hub tells without a token that may see it.
    Repository,
    /// The revision.
    Revision,
    /// The file.
    File,
    /// The hub does not say which of them.
    Something,
}

/// Whether a request carried a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// It did.
    Sent,
    /// There was none.
    NoneSet,
}

impl HubError {
    /// Whether the hub could not be asked at all, so that what was kept from before may stand in.
    #[must_use]
    pub fn is_without_network(&self) -> bool {
        matches!(
            self,
            HubError::Offline { .. } | HubError::Unreachable { .. }
        )
    }
}

/// What a file error means: a full disk has a name of its own.
pub(crate) fn on_disk(
    doing: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HubError::DiskFull {
            path,
            missing_bytes: None,
            source,
        },
        _ => HubError::Disk {
            doing,
            path,
            source,
        },
    }
}

/// What is lacking, after "has no".
struct Lacking<'a>(&'a Wanted, Missing);

impl fmt::Display for Lacking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lacking(wanted, missing) = self;
        let repo = &wanted.repo;
        match missing {
            Missing::Repository => write!(f, "{} {}", repo.kind(), repo.id()),
            Missing::Revision => write!(
                f,
                "revision {} of {} {}",
                repo.revision().unwrap_or(wanted.source.default_revision()),
                repo.kind(),
                repo.id()
            ),
            Missing::File | Missing::Something => write!(f, "{wanted}"),
        }
    }
}

/// What a server said, after the text.
struct Said<'a>(&'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// So many bytes, of so many.
struct Bytes(u64, Option<u64>);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(total) => write!(f, "{} of {total} bytes", self.0),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_name_of_its_own() {
        let path = std::path::Path::new("/c/a.partial");
        let full = on_disk("write", path)(io::ErrorKind::StorageFull.into());
        insta::assert_snapshot!(full, @"no space is left for /c/a.partial");
        let HubError::DiskFull { path, source, .. } = full else {
            panic!("{full:?}");
        };
        let full = HubError::DiskFull {
            path,
            missing_bytes: Some(1000),
            source,
        };
        let hint = full.hint().unwrap();
        insta::assert_snapshot!(hint, @"make room for 1000 more bytes, or name a directory elsewhere in `EVALSCOPE_CACHE`; what has arrived is kept");
    }
}
