//! Owns how much of a response has been read, and the most that is read of what is not its body.

/// Maximum size of a response head.
pub const MAX_HEAD_BYTES: usize = 256 << 10;

/// How much of a response has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// The response is complete.
    Complete,
}
