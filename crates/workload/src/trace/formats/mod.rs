//! Owns the formats of traces, one file for each: how a line says what it says.
//!
//! It must not know files, windows, or what requests are made of it.

mod reader;

mod csv_line;
mod json_line;
mod times;

mod block_line;

mod azure;
mod bailian;
mod burstgpt;
mod mooncake;
mod timed;
mod workload;

mod kind;

pub use kind::TraceKind;
pub(super) use reader::TraceReader;
