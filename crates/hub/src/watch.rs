//! Owns how a caller follows the progress of a fetch, and how it cancels one.
//!
//! It must not know how progress is shown.

/// Receives the progress of a fetch and can cancel it. A progress bar implements this.
pub trait Watch {
    /// The bytes of `file` are about to arrive: `total_bytes`, if the hub states them, of which
    /// `already_bytes` are left from before.
    ///
    /// Called again for the same file when the fetch resumes after a broken connection, or when it
    /// has to start over (then `already_bytes` is 0). Not called for a cached file.
    fn begin(&self, file: &str, total_bytes: Option<u64>, already_bytes: u64);

    /// This many more bytes have been written.
    fn advance(&self, bytes: u64);

    /// The file has arrived, or failed. Called once for each file for which [`begin`](Watch::begin)
    /// was called.
    fn end(&self);

    /// Whether to cancel. Called between reads and while waiting, so a silent server delays
    /// cancellation by up to [`Patience::idle`](crate::Patience::idle).
    fn cancelled(&self) -> bool;
}

/// Shows nothing and never cancels a fetch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _file: &str, _total_bytes: Option<u64>, _already_bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
    fn cancelled(&self) -> bool {
        false
    }
}
