//! Owns the load of a run in EvalScope's numbers.

use evalscope_model::plan::Pacing;

use crate::report::RunReport;

pub(super) fn number(run: &RunReport) -> u64 {
    run.meta.load.requests.unwrap_or(run.totals.total)
}

/// Requests per second; −1 without pacing.
pub(super) fn rate(run: &RunReport) -> f64 {
    match run.meta.load.pacing {
        Pacing::Unpaced => -1.0,
        Pacing::Poisson { rate_per_s } => rate_per_s,
    }
}
