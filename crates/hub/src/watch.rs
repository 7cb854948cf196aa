//! Owns what a caller can see of a fetch while it is under way, and how it stops one.
//!
//! Must not know how progress is shown.

/// Sees the progress of a fetch and can stop it. A progress bar implements this.
pub trait Watch {
    /// The bytes of `file` are about to arrive: of `total_bytes`, if the hub says how many, there
    /// are `already_bytes` from before.
    ///
    /// Comes again for the same file when the connection was cut and the fetch goes on, or when it
    /// has to start over (then `already_bytes` is 0). It does not come for a file that is in the
    /// cache.
    fn begin(&self, file: &str, total_bytes: Option<u64>, already_bytes: u64);

    /// So many more bytes have been written.
    fn advance(&self, bytes: u64);

    /// The file has arrived, or will not. Comes once for each file for which
    /// [`begin`](Watch::begin) came.
    fn end(&self);

    /// Whether to stop. It is asked between reads and while waiting, so a silent server delays the
    /// stop by up to [`Patience::idle`](crate::Patience::idle).
    fn cancelled(&self) -> bool;
}

/// Shows nothing and never stops a fetch.
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
