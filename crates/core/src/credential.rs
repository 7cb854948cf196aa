//! Owns headers whose value expires (signed tokens). What is signed, and how, is an API's business.

use std::fmt;

/// A header whose value expires, such as a signed token.
pub trait Credential: fmt::Debug + Send + Sync {
    /// The header.
    fn header(&self) -> &'static str;

    /// The value to send at this wall-clock time (Unix milliseconds), and the time until which to
    /// send it.
    fn value(&self, unix_ms: u64) -> (String, u64);
}
