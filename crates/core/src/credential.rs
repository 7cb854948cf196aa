//! Owns what the transport must know of headers that grow old, as signed
//! tokens do. What is signed, and how, is an API's business.

use std::fmt;

/// A header whose value grows old, as a signed token does.
pub trait Credential: fmt::Debug + Send + Sync {
    /// The header.
    fn header(&self) -> &'static str;

    /// Its value at a time of the wall clock in Unix milliseconds, and until
    /// when that value is to be used.
    fn value(&self, unix_ms: u64) -> (String, u64);
}
