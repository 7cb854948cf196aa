//! Owns the load of a run in EvalScope's numbers.

use crate::report::RunReport;

/// Requests, or conversations.
pub(super) fn number(run: &RunReport) -> u64 {
    let conversations = run.conversations.as_ref().map(|figures| figures.started);
    let sent = conversations.unwrap_or(run.totals.total);
    run.meta.load.requests.unwrap_or(sent)
}

/// Requests per second; −1 without pacing.
pub(super) fn rate(run: &RunReport) -> f64 {
    run.rate_per_s().unwrap_or(-1.0)
}
