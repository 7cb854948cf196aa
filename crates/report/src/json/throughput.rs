//! Owns how throughput stands in `result.json`.
//!
//! It must not know what it is that delivered so much.

use serde::Serialize;

use crate::report::RunReport;

/// Successes only, over the run's duration.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Throughput {
    /// Successes per second.
    pub requests_per_s: Option<f64>,
    /// Output tokens per second; `null` if they are unknown for all responses.
    pub output_tokens_per_s: Option<f64>,
    /// Prompt and output tokens per second; `null` unless both are known.
    pub total_tokens_per_s: Option<f64>,
    /// Prompt tokens per second; `null` if the server reported none.
    pub input_tokens_per_s: Option<f64>,
    /// Texts or documents per second; `null` for an API that generates tokens.
    pub inputs_per_s: Option<f64>,
}

impl Throughput {
    pub(super) fn of(report: &RunReport) -> Self {
        Self {
            requests_per_s: report.requests_per_s(),
            output_tokens_per_s: report.output_tokens_per_s(),
            total_tokens_per_s: report.total_tokens_per_s(),
            input_tokens_per_s: report.input_tokens_per_s(),
            inputs_per_s: report.inputs_per_s(),
        }
    }
}
