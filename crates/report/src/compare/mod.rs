//! Owns the comparison of servers: reading runs, matching their loads, testing each figure, judging
//! rules, and a file for each format.
//!
//! It must not know the command line, nor where formats are written to.

mod measured;

mod blocks;

mod run;
mod settings;
mod within;

mod baseline;
mod detailed;
mod vllm;

mod read;

mod cell;
mod points;
mod reasons;

mod gates;

mod outcome;
mod words;

mod comparison;

mod github;
mod github_benchmark;
mod html;
mod json;
mod junit;
mod markdown;
mod openmetrics;
mod overlay;
mod table;

#[cfg(test)]
mod tests;

pub use baseline::{Baseline, BaselineError};
pub use blocks::{AllBlocks, Blocks, Timed};
pub use cell::{Cell, Limits, Method, Verdict};
pub use comparison::{CompareError, Options, compare};
pub use gates::{ConditionResult, RuleOutcome, RuleResult};
pub use github::annotations;
pub use github_benchmark::github_benchmark;
pub use html::html;
pub use json::{ComparisonFile, ending};
pub use junit::junit;
pub use markdown::markdown;
pub use measured::Measured;
pub use openmetrics::openmetrics;
pub use outcome::{Comparison, Ending, PointResult};
pub use read::{ReadError, read_side};
pub use run::{Run, Trials};
pub use settings::{Difference, names as settings_that_must_be_equal};
pub use table::{Order, table};
