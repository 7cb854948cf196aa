//! Owns what a comparison has found: its points, their figures, its rules, and how it ends.
//!
//! It must not know how it was found, nor formats.

use serde::Serialize;

use super::cell::Cell;
use super::gates::RuleResult;
use super::settings::Difference;

/// Two sides compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Comparison {
    /// The verdict in words.
    pub summary: String,
    /// How it ends.
    pub ending: Ending,
    /// Where the runs of the base were read from.
    pub base: Vec<String>,
    /// Where the new runs were read from.
    pub new: Vec<String>,
    /// The loads that both sides have.
    pub points: Vec<PointResult>,
    /// Loads that only the base has.
    pub only_in_base: Vec<String>,
    /// Loads that only the new runs have.
    pub only_in_new: Vec<String>,
    /// Each rule at each of its points.
    pub rules: Vec<RuleResult>,
}

/// How a comparison ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// No rule failed.
    Passed,
    /// No rule failed, but it is unclear whether one should have.
    Unclear,
    /// Some runs cannot be compared.
    NotComparable,
    /// A rule failed.
    RuleFailed,
}

/// A load that both sides have measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct PointResult {
    /// The load, as `--at` reads it.
    pub point: String,
    /// Runs of the base.
    pub base_runs: u64,
    /// New runs.
    pub new_runs: u64,
    /// Whether there are too few runs for a verdict to be more than an indication.
    pub is_indicative: bool,
    /// Why the runs cannot be compared; empty if they can.
    pub not_comparable: Vec<String>,
    /// Settings that differ and were allowed to.
    pub allowed_differences: Vec<Difference>,
    /// The shares of finish reasons in words, where they differ by more than chance; `null` where they do
    /// not.
    pub finish_reasons: Option<String>,
    /// The figures.
    pub cells: Vec<Cell>,
    /// Which figures have no interval, and why.
    pub without_intervals: Vec<String>,
    /// What a reader of the base's figures must know.
    pub base_warnings: Vec<String>,
    /// What a reader of the new figures must know.
    pub new_warnings: Vec<String>,
}
