//! What all parts of `evalscope perf` speak of: time, plans, prompts, records and what the numbers
//! mean.
//!
//! Modules in reading order; each may use those above it and none below. This crate opens no
//! socket and no file, starts no thread, and needs nothing that is large: every other crate waits
//! for it to compile.

#[doc(hidden)] // for tests, which hold what reading costs by it
pub mod steps;

pub mod time;

pub mod profile;

pub mod slo;

pub mod shard;

pub mod sla;

pub mod point;

pub mod conversation;

pub mod plan;

pub mod mix;

pub mod part;

pub mod prompt;

pub mod trace;

pub mod record;

pub mod metrics;

pub mod search;

pub mod experiment;

pub mod events;
