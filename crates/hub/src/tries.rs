//! Owns what is tried again, how often, and the waits between.
//!
//! Must not know what is fetched or where it goes.

use std::io;
use std::time::Duration;

use crate::client::{Answer, Client, Failure, retry_after, text};
use crate::config::Patience;
use crate::error::{HubError, Missing, Wanted};
use crate::watch::Watch;

/// So much is progress: a connection that breaks after it is not counted as one more try.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A wait is made of these, so that a stop is noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(crate) enum Setback {
    /// It never will.
    Final(HubError),
    /// It may the next time, from where it stopped.
    Again(Trouble),
    /// What has arrived is of no use.
    StartOver,
}

impl From<HubError> for Setback {
    fn from(error: HubError) -> Self {
        Setback::Final(error)
    }
}

/// What may pass by itself.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection broke.
    Broken { host: String, source: io::Error },
    /// A server is busy or failed.
    Status {
        host: String,
        status: u16,
        said: Option<String>,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
}

/// How far a fetch has come, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) got_bytes: u64,
    pub(crate) total_bytes: Option<u64>,
}

/// Counts tries.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    patience: &'a Patience,
    wanted: &'a Wanted,
    /// In a row, without progress.
    failed: u32,
    /// Where the last one stopped, in bytes.
    stopped_at: u64,
    /// Whether there was an answer at all.
    reached: bool,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(patience: &'a Patience, wanted: &'a Wanted, begin: Progress) -> Self {
        Tries {
            patience,
            wanted,
            failed: 0,
            stopped_at: begin.got_bytes,
            reached: false,
        }
    }

    /// There was an answer, so there is a network.
    pub(crate) fn reached(&mut self) {
        self.reached = true;
    }

    /// What a failure means for this fetch.
    pub(crate) fn failed(&self, failure: Failure) -> Setback {
        let wanted = || Box::new(self.wanted.clone());
        match failure {
            // when nothing was reached yet, more tries would only delay the advice
            Failure::Unreachable { host, source } if !self.reached => {
                Setback::Final(HubError::Unreachable {
                    wanted: wanted(),
                    host,
                    source,
                })
            }
            Failure::Unreachable { host, source } | Failure::Broken { host, source } => {
                Setback::Again(Trouble::Broken { host, source })
            }
            Failure::Certificate { host, reason } => Setback::Final(HubError::Certificate {
                wanted: wanted(),
                host,
                reason,
            }),
            Failure::Malformed { host, reason } => Setback::Final(HubError::Malformed {
                wanted: wanted(),
                host,
                reason,
            }),
        }
    }

    /// What an answer that is no success means for this fetch.
    pub(crate) fn refused(&self, client: &Client, mut answer: Answer) -> Setback {
        let said = client.said(&mut answer);
        let (status, host) = (answer.status, answer.host);
        let wanted = Box::new(self.wanted.clone());
        let code = text(&answer.headers, "x-error-code");
        // Elsewhere than at the hub, 403 and 404 mean that a signed URL has expired. The next try
        // gets a new one. Only a hub gives codes: then a mirror has sent us on to it.
        let is_transient = matches!(status, 408 | 425 | 429 | 500..=599)
            || (!answer.is_hub && code.is_none() && (400..500).contains(&status));
        if is_transient {
            return Setback::Again(Trouble::Status {
                wait: retry_after(&answer.headers),
                host,
                status,
                said,
            });
        }
        Setback::Final(match (status, code) {
            // Hugging Face answers so, that nobody learns the names of private repositories
            (401, Some("RepoNotFound")) => HubError::NotFound {
                wanted,
                missing: Missing::Repository,
            },
            (401 | 403, _) => HubError::Denied {
                wanted,
                status,
                token: client.token_use(),
                said,
            },
            (404, code) => HubError::NotFound {
                wanted,
                missing: missing(code),
            },
            _ => HubError::Status {
                wanted,
                host,
                status,
                said,
            },
        })
    }

    /// Wait for the next try.
    ///
    /// # Errors
    /// What to tell when there have been enough tries, or the watcher wants to stop.
    pub(crate) fn again(
        &mut self,
        trouble: Trouble,
        progress: Progress,
        watch: &dyn Watch,
    ) -> Result<(), HubError> {
        if progress.got_bytes >= self.stopped_at.saturating_add(PROGRESS_BYTES) {
            self.failed = 0;
        }
        self.stopped_at = progress.got_bytes;
        self.failed += 1;
        if self.failed >= self.patience.tries {
            return Err(self.given_up(trouble, progress));
        }
        let doubled = 1_u32.checked_shl(self.failed - 1).unwrap_or(u32::MAX);
        let wait = self.patience.first_pause.saturating_mul(doubled);
        let asked = match trouble {
            Trouble::Status { wait, .. } => wait.unwrap_or_default(),
            Trouble::Broken { .. } => Duration::ZERO,
        };
        pause(
            wait.max(asked).min(self.patience.longest_pause),
            watch,
            self.wanted,
        )
    }

    fn given_up(&self, trouble: Trouble, progress: Progress) -> HubError {
        let wanted = Box::new(self.wanted.clone());
        match trouble {
            Trouble::Broken { host, source } => HubError::Cut {
                wanted,
                host,
                tries: self.failed,
                got_bytes: progress.got_bytes,
                total_bytes: progress.total_bytes,
                source,
            },
            Trouble::Status {
                host, status, said, ..
            } => HubError::Status {
                wanted,
                host,
                status,
                said,
            },
        }
    }
}

/// What 404 is about. `ModelScope` does not say.
fn missing(code: Option<&str>) -> Missing {
    match code {
        Some("EntryNotFound") => Missing::File,
        Some("RevisionNotFound") => Missing::Revision,
        Some("RepoNotFound") => Missing::Repository,
        _ => Missing::Something,
    }
}

/// Wait, unless the watcher wants to stop.
///
/// # Errors
/// [`HubError::Cancelled`].
pub(crate) fn pause(wait: Duration, watch: &dyn Watch, wanted: &Wanted) -> Result<(), HubError> {
    let mut left = wait;
    loop {
        if watch.cancelled() {
            return Err(HubError::Cancelled {
                wanted: Box::new(wanted.clone()),
            });
        }
        if left.is_zero() {
            return Ok(());
        }
        let slice = left.min(SLICE);
        sleep(slice);
        left = left.saturating_sub(slice);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this crate blocks by design: files are fetched before anything is measured, outside \
              of any runtime"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Wait a moment for another process.
pub(crate) fn short_pause(watch: &dyn Watch, wanted: &Wanted) -> Result<(), HubError> {
    pause(SLICE, watch, wanted)
}
