//! Properties that hold for whatever a server sends, tested with inputs that are nearly valid: pure
//! noise ends in the first branch of a parser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cost;
mod grammar;
mod masking;
mod noise;
