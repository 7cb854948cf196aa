//! Owns the figures of runs that a search for capacity is about, and where its record is kept.
//!
//! It must not know how a search goes on.

use std::collections::BTreeMap;
use std::path::Path;

use evalscope_model::metrics::{Distribution, Metric};
use evalscope_model::search::SearchRecord;
use evalscope_model::sla::{Rank, SlaFigure};
use evalscope_model::slo::SloFigure;
use serde_json::{Number, Value};

use crate::report::RunReport;

/// The record of a command's search: its probes and its answers.
pub const SELECTION: &str = "sla_selection.json";
/// The figures of its probes in EvalScope's form.
pub const SUMMARY: &str = "sla_summary.json";

/// The record in a command's folder; `None` if it has searched for nothing, or the file cannot be read.
#[must_use]
pub fn record(top: &Path) -> Option<SearchRecord> {
    let text = std::fs::read_to_string(top.join(SELECTION)).ok()?;
    serde_json::from_str(&text).ok()
}

/// The record with numbers of nine significant digits: as many survive being written and read, so files
/// that are made again are the same files.
///
/// # Errors
/// When it has no JSON form.
pub fn settled(record: &SearchRecord) -> serde_json::Result<SearchRecord> {
    let mut value = serde_json::to_value(record)?;
    round(&mut value);
    serde_json::from_value(value)
}

fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let rounded = number.as_f64().map(|one| format!("{one:.8e}"));
            let rounded = rounded.and_then(|text| text.parse().ok());
            if let Some(rounded) = rounded.and_then(Number::from_f64) {
                *number = rounded;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(round),
        Value::Object(all) => all.values_mut().for_each(round),
        _ => {}
    }
}

/// All figures of a run that can have limits, in the units of `--sla-params`: those that there are.
#[must_use]
pub fn figures(report: &RunReport) -> BTreeMap<SlaFigure, f64> {
    SlaFigure::all()
        .filter_map(|figure| {
            Some((
                figure,
                value(report, figure).filter(|value| value.is_finite())?,
            ))
        })
        .collect()
}

/// How many requests of a run failed, by kind.
#[must_use]
pub fn failures(report: &RunReport) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for group in &report.errors {
        *failures.entry(group.kind.to_string()).or_default() += group.count;
    }
    failures
}

fn value(report: &RunReport, figure: SlaFigure) -> Option<f64> {
    let distribution = |of: SloFigure| -> Option<&Distribution> {
        let metric = match of {
            SloFigure::Latency => Metric::Latency,
            SloFigure::Ttft => Metric::Ttft,
            SloFigure::Ttfat => Metric::Ttfat,
            SloFigure::Tpot => Metric::Tpot,
            SloFigure::ItlMax | SloFigure::Decode => return None,
        };
        Some(report.metric(metric))
    };
    match figure {
        SlaFigure::Percentile(rank, of) => {
            let distribution = distribution(of)?;
            match rank {
                Rank::P50 => distribution.p50,
                Rank::P90 => distribution.p90,
                Rank::P95 => distribution.p95,
                Rank::P99 => distribution.p99,
                // no table has it
                Rank::P999 => None,
            }
        }
        SlaFigure::Mean(of) => distribution(of)?.mean,
        SlaFigure::RequestsPerS => report.requests_per_s(),
        SlaFigure::OutputTokensPerS => report.output_tokens_per_s(),
        SlaFigure::SuccessRate => Some(100.0 * report.success_share()?),
        SlaFigure::Goodput => report.goodput.as_ref()?.requests_per_s,
    }
}
