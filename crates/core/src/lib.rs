//! The engine of `evalscope perf`: what to send, when to send it, when the bytes came back, and
//! what the numbers mean.
//!
//! Modules in reading order: each may use those above it and none below (enforced by
//! `tests/arrows.rs`). The pure cores ([`sse`], [`http1`], [`protocol`], [`schedule`], [`metrics`],
//! [`plan`]) have no clock, no I/O and no tokio.
//!
//! This crate must not know the command line, the screen, SQLite or result files: it hands out
//! [`record::Exchange`]s and leaves the rest to its callers.

#[doc(hidden)] // for tests that bound the cost of reading
pub mod steps;

pub mod time;

pub mod credential;

pub mod plan;

pub mod tokens;

pub mod dataset;

pub mod record;

pub mod sse;

pub mod http1;

pub mod protocol;

pub mod schedule;

pub mod metrics;

pub mod transport;

pub mod engine;

pub mod counting;
