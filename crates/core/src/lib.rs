//! The engine of `evalscope perf`: what to send, when to send it, and when the bytes came back.
//!
//! Modules in reading order: each may use those above it and none below (enforced by
//! `ci/arrows`). The pure cores ([`sse`], [`http1`], [`protocol`], [`schedule`],
//! [`load`], [`search`]) have no clock, no I/O and no tokio.
//!
//! This crate must not know the command line, the screen, SQLite or result files: it hands out
//! [`Exchange`](evalscope_model::record::Exchange)s and leaves the rest to its callers.

pub mod credential;

pub mod sse;

pub mod ndjson;

pub mod http1;

pub mod protocol;

pub mod schedule;

pub mod load;

pub mod search;

pub mod transport;

pub mod engine;
