//! Owns output lengths by finish reason (R10).
//!
//! It must not know how bars are drawn.

use std::collections::BTreeMap;

/// Output tokens of successes.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputLengths {
    /// Edges of the bins, tokens, one more than there are bins: a bin holds the lengths from its edge
    /// to below the next.
    pub edges: Vec<u64>,
    /// Successes in each bin, by finish reason; `None`: the server gave none.
    pub by_reason: BTreeMap<Option<String>, Vec<u64>>,
    /// How long the output was asked to be; `None` if it was not.
    pub asked: Option<AskedOutput>,
}

/// The requested output length (`--max-tokens`), the same for all requests or drawn from a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedOutput {
    /// Fewest tokens.
    pub least: u64,
    /// Most tokens.
    pub most: u64,
}
