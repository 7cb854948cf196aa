//! What becomes of a load test's records: a SQLite database while the run is
//! under way, and files and tables made from it afterwards.
//!
//! Modules in reading order; each may use those above it and none below. The
//! database is the only source: [`RunReport`] is always built from one, at the
//! end of a run and long after it alike, so a rebuilt file is the same file.
//!
//! This crate must not know the command line, the screen, or sockets.

pub mod model;

mod pickle;

mod evalscope;

pub mod figures;

pub mod findings;

pub mod sqlite;

pub mod bodies;

pub mod source;

pub mod speeds;

mod workload;

pub mod report;

pub mod repeats;

pub mod capacity;

pub mod together;

pub mod series;

pub mod names;

pub mod live;

pub mod exposition;

pub mod console;

pub mod rules;

pub mod json;

pub mod html;

pub mod files;

pub mod merge;

pub mod export;

pub mod compare;

#[cfg(test)]
mod samples;

pub use findings::{Finding, FindingId};
pub use model::{Host, Lang, Objective, RecordBodies, RunMeta, RunState, Tool};
pub use report::{ErrorGroup, RunReport};
pub use sqlite::{Database, StoreError};
