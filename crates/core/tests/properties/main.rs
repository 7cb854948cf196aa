//! Rules that hold for whatever a server says, found by inputs that are nearly right: noise alone
//! ends in the first branch of a reader.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cost;
mod grammar;
mod masking;
mod noise;
