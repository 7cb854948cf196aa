//! Owns the load of a run in EvalScope's numbers.

use crate::report::RunReport;

pub(super) fn number(run: &RunReport) -> u64 {
    run.meta.load.requests.unwrap_or(run.totals.total)
}

/// Requests per second; −1 without pacing.
pub(super) fn rate(run: &RunReport) -> f64 {
    run.rate_per_s().unwrap_or(-1.0)
}
