//! Owns what can go wrong, in words for the user who requested a file.
//!
//! It must not know how anything is fetched. No text here ever contains a token or the query of a
//! URL: external text was masked before.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::repo::{NameError, Repo, Source};

/// Why a file is not available. [`hint`](HubError::hint) says what to do; causes are in `source()`
/// and not repeated in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The name of a hub, repository, revision or file is invalid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An environment variable has an invalid value. The value is not shown, as it may be a secret.
    #[error("`{variable}` cannot be used: {reason}")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// The reason.
        reason: String,
    },
    /// There is no place for the cache.
    #[error("no cache directory: neither `EVALSCOPE_CACHE` nor `{home}` is set")]
    NoCacheDir {
        /// The variable that names the home directory on this platform.
        home: &'static str,
    },
    /// The file of trusted certificates cannot be read.
    #[error("cannot read certificates from {}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is not in any cache, and the network is forbidden.
    #[error("{wanted} is not cached, and {by} forbids network access")]
    Offline {
        /// What was requested.
        wanted: Box<Wanted>,
        /// What forbids it.
        by: String,
    },
    /// No connection: no network, no such name, nothing is listening, a proxy that does not
    /// respond.
    #[error("cannot connect to {host} for {wanted}")]
    Unreachable {
        /// What was requested.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// The cause.
        source: io::Error,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {host} is not trusted: {reason}")]
    Certificate {
        /// What was requested.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// 401 or 403: gated, private, or an invalid token.
    #[error("{} refuses {wanted} (HTTP {status}){}", wanted.source, Said(said))]
    Denied {
        /// What was requested.
        wanted: Box<Wanted>,
        /// The status code.
        status: u16,
        /// Whether a token was sent.
        token: TokenUse,
        /// What the hub said, if anything.
        said: Option<String>,
    },
    /// 404: not found.
    #[error("{} has no {}", wanted.source, Lacking(wanted, *missing))]
    NotFound {
        /// What was requested.
        wanted: Box<Wanted>,
        /// Which part of it is missing.
        missing: Missing,
    },
    /// Another status than success, after all attempts.
    #[error("{host} returned HTTP {status} for {wanted}{}", Said(said))]
    Status {
        /// What was requested.
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
        /// What was requested.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// Number of times in a row, without progress in between.
        tries: u32,
        /// Bytes received so far.
        got_bytes: u64,
        /// Total size stated by the hub.
        total_bytes: Option<u64>,
        /// How it broke the last time.
        source: io::Error,
    },
    /// All of it arrived, twice, each time with the wrong size.
    #[error("{wanted} arrived with {got_bytes} bytes; {} says it has {stated_bytes}", wanted.source)]
    WrongSize {
        /// What was requested.
        wanted: Box<Wanted>,
        /// The size stated by the hub, in bytes.
        stated_bytes: u64,
        /// The size of what arrived, in bytes.
        got_bytes: u64,
    },
    /// All of it arrived, twice, each time with the wrong SHA-256.
    #[error("{wanted} arrived with SHA-256 {got}; {} says it has {stated}", wanted.source)]
    WrongHash {
        /// What was requested.
        wanted: Box<Wanted>,
        /// The hash stated by the hub, in hex.
        stated: String,
        /// The hash of what arrived, in hex.
        got: String,
    },
    /// A response that does not follow the hub's protocol.
    #[error("the response of {host} to the request for {wanted} is not valid: {reason}")]
    Malformed {
        /// What was requested.
        wanted: Box<Wanted>,
        /// Host and port.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left for {}", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
        /// Number of bytes still to come, if known.
        missing_bytes: Option<u64>,
        /// The system's error.
        source: io::Error,
    },
    /// The cache cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    Disk {
        /// The attempted operation.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// [`Watch::cancelled`](crate::Watch::cancelled) returned true.
    #[error("stopped before {wanted} was complete")]
    Cancelled {
        /// What was requested.
        wanted: Box<Wanted>,
    },
}

/// What was requested: a file, or the list of all files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From which hub.
    pub source: Source,
    /// From which repository.
    pub repo: Repo,
    /// The file; `None` for the list of files.
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
    /// The repository, or the hub hides it without a token that has access.
    Repository,
    /// The revision.
    Revision,
    /// The file.
    File,
    /// The hub does not say which.
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
    /// Whether the hub could not be reached at all, so that a kept copy may be used instead.
    #[must_use]
    pub fn is_without_network(&self) -> bool {
        matches!(
            self,
            HubError::Offline { .. } | HubError::Unreachable { .. }
        )
    }
}

/// The meaning of a file error: a full disk has its own variant.
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

/// What is missing, after "has no".
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

/// A server's message, after the error text.
struct Said<'a>(&'a Option<String>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// Bytes received, and the total.
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
        insta::assert_snapshot!(full, @"no space left for /c/a.partial");
        let HubError::DiskFull { path, source, .. } = full else {
            panic!("{full:?}");
        };
        let full = HubError::DiskFull {
            path,
            missing_bytes: Some(1000),
            source,
        };
        let hint = full.hint().unwrap();
        insta::assert_snapshot!(hint, @"make room for 1000 more bytes, or set `EVALSCOPE_CACHE` to a directory elsewhere; what has arrived is kept");
    }
}
