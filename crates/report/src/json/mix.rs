//! Owns how the figures of a model, or of a URL, stand in `result.json`.
//!
//! It must not know how they were computed.

use serde::Serialize;

use super::figures::SomeMetrics;
use super::throughput::Throughput;
use crate::figures::MixFigures;
use crate::report::RunReport;

/// The requests that asked for one model, or went to one URL.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct MixResult<'a> {
    /// The name of the model; or the URL, without user, password and secret parameters.
    pub name: &'a str,
    /// Were sent, and succeeded or failed.
    pub total: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed.
    pub failed: u64,
    /// Were due and never sent, since the run ended before; not in `total`. Requests that were not
    /// sent have no URL, and those of which no body was made have no model.
    pub not_sent: u64,
    /// Were due while as many were in flight as may be, and were not sent; not in `total`.
    pub shed: u64,
    /// Were given up, at the end of the drain timeout or when the run was stopped; not in `total`.
    pub unfinished: u64,
    /// What was delivered, over the duration of the run: the sum is the throughput of the run.
    pub throughput: Throughput,
    /// Distributions of the main metrics.
    pub metrics: SomeMetrics<'a>,
}

impl<'a> MixResult<'a> {
    pub(super) fn of(report: &RunReport, own: &'a MixFigures) -> Self {
        let totals = &own.totals;
        let rate = |amount| totals.rate_within(amount, report.totals.duration_s());
        let output = rate(totals.output_tokens).filter(|_| own.knows_output());
        let input = rate(totals.input_tokens).filter(|_| totals.input_known > 0);
        Self {
            name: &own.name,
            total: totals.total,
            succeeded: totals.succeeded,
            failed: totals.failed(),
            not_sent: totals.not_sent,
            shed: totals.shed,
            unfinished: totals.unfinished,
            throughput: Throughput {
                requests_per_s: rate(totals.succeeded),
                output_tokens_per_s: output,
                total_tokens_per_s: output.zip(input).map(|(output, input)| output + input),
                input_tokens_per_s: input,
                inputs_per_s: rate(totals.inputs).filter(|_| !report.generates()),
            },
            metrics: SomeMetrics(&own.metrics),
        }
    }
}
