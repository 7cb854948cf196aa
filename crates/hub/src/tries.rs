//! Owns retries: what is retried, how often, and the delays.
//!
//! It must not know what is fetched or where it goes.

use std::io;
use std::time::Duration;

use crate::client::{Answer, Client, Failure, retry_after, text};
use crate::config::Patience;
use crate::error::{HubError, Missing, Wanted};
use crate::watch::Watch;

/// This many bytes are progress: if the connection breaks after that, it does not count as another
/// attempt.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Delays are split into slices of this length, so that cancellation is noticed.
const SLICE: Duration = Duration::from_millis(50);

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Setback {
    /// It will never succeed.
    Final(HubError),
    /// It may succeed the next time, from where it stopped.
    Again(Trouble),
    /// What has arrived is useless.
    StartOver,
}

impl From<HubError> for Setback {
    fn from(error: HubError) -> Self {
        Setback::Final(error)
    }
}

/// A problem that may be transient.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection broke.
    Broken { host: String, source: io::Error },
    /// A server is busy or failed.
    Status {
        host: String,
        status: u16,
        said: Option<String>,
        /// How long it asks us to wait.
        wait: Option<Duration>,
    },
}

/// Progress of a fetch, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) got_bytes: u64,
    pub(crate) total_bytes: Option<u64>,
}

/// Counts attempts.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    patience: &'a Patience,
    wanted: &'a Wanted,
    /// In a row, without progress.
    failed: u32,
    /// Position where the last one stopped, in bytes.
    stopped_at: u64,
    /// Whether there was any response at all.
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

    /// There was a response, so the network works.
    pub(crate) fn reached(&mut self) {
        self.reached = true;
    }

    /// What a failure means for this fetch.
    pub(crate) fn failed(&self, failure: Failure) -> Setback {
        let wanted = || Box::new(self.wanted.clone());
        match failure {
            // if nothing has been reached yet, retrying would only delay the hint
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

    /// What a response other than success means for this fetch.
    pub(crate) fn refused(&self, client: &Client, mut answer: Answer) -> Setback {
        let said = client.said(&mut answer);
        let (status, host) = (answer.status, answer.host);
        let wanted = Box::new(self.wanted.clone());
        let code = text(&answer.headers, "x-error-code");
        // From hosts other than the hub, 403 and 404 mean that a signed URL has expired; the next
        // attempt gets a new one. Only a hub sends codes: then a mirror has redirected us to it.
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
            // Hugging Face responds like this so that nobody learns the names of private
            // repositories
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

    /// Wait before the next attempt.
    ///
    /// # Errors
    /// The error to report after too many attempts, or if the watcher cancels.
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

/// What a 404 is about. `ModelScope` does not say.
fn missing(code: Option<&str>) -> Missing {
    match code {
        Some("EntryNotFound") => Missing::File,
        Some("RevisionNotFound") => Missing::Revision,
        Some("RepoNotFound") => Missing::Repository,
        _ => Missing::Something,
    }
}

/// Wait, unless the watcher cancels.
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

/// Wait briefly for another process.
pub(crate) fn short_pause(watch: &dyn Watch, wanted: &Wanted) -> Result<(), HubError> {
    pause(SLICE, watch, wanted)
}
