//! Owns the columns of percentile tables: which a run has, and what they are called.
//!
//! It must not know how a percentile was computed.

use evalscope_model::metrics::Metric;

use crate::report::RunReport;

/// First column of a percentile table, in files and on screen.
pub const PERCENTILES: &str = "Percentiles";

/// A column of a percentile table: key in the reference tool's `benchmark_percentile.json`,
/// column of our table (a line break where it may be broken), metric.
pub type PercentileColumn = (&'static str, &'static str, Metric);

/// Columns that only a run with a schedule has, before the others: where requests wait for a
/// slot, the plain ones hide it.
const SCHEDULE_COLUMNS: [PercentileColumn; 2] = [
    (
        "Latency From Schedule (s)",
        "Latency\nfrom\nsched. (s)",
        Metric::LatencyFromSchedule,
    ),
    (
        "TTFT From Schedule (ms)",
        "TTFT\nfrom\nsched. (ms)",
        Metric::TtftFromSchedule,
    ),
];

/// The columns of a report's percentile table, but the first.
#[must_use]
pub fn percentile_columns(report: &RunReport) -> Vec<PercentileColumn> {
    let generates = report.generates();
    let columns: &[_] = if generates {
        &PERCENTILE_COLUMNS
    } else {
        &COLUMNS_OF_INPUTS
    };
    let schedule = SCHEDULE_COLUMNS.iter().filter(|(_, _, metric)| {
        report.is_paced() && (generates || *metric != Metric::TtftFromSchedule)
    });
    let handoff = HANDOFF_COLUMNS
        .iter()
        .filter(|(_, _, metric)| generates && report.metric(*metric).count > 0);
    schedule.chain(columns).chain(handoff).copied().collect()
}

/// The columns of a run without output.
const COLUMNS_OF_INPUTS: [PercentileColumn; 4] = [
    ("Latency (s)", "Latency\n(s)", Metric::Latency),
    (
        "Latency Per Input (ms)",
        "Latency per\ninput (ms)",
        Metric::LatencyPerInput,
    ),
    ("Input tokens", "Input\ntokens", Metric::InputTokens),
    ("Input (tok/s)", "Input\n(tok/s)", Metric::InputTokPerS),
];

/// Columns that only a run with `--enable-pd-metrics` has, after the others.
const HANDOFF_COLUMNS: [PercentileColumn; 3] = [
    ("Steady ITL (ms)", "Steady ITL\n(ms)", Metric::SteadyItl),
    (
        "PD Handoff Latency (ms)",
        "PD hand-off\nlatency (ms)",
        Metric::PdHandoffLatency,
    ),
    (
        "PD Handoff Overhead (ms)",
        "PD hand-off\noverhead (ms)",
        Metric::PdHandoffOverhead,
    ),
];

/// The columns of any run that generates.
pub const PERCENTILE_COLUMNS: [PercentileColumn; 9] = [
    ("Latency (s)", "Latency\n(s)", Metric::Latency),
    ("TTFT (ms)", "TTFT\n(ms)", Metric::Ttft),
    ("ITL (ms)", "ITL\n(ms)", Metric::Itl),
    ("TPOT (ms)", "TPOT\n(ms)", Metric::Tpot),
    ("Input tokens", "Input\ntokens", Metric::InputTokens),
    ("Output tokens", "Output\ntokens", Metric::OutputTokens),
    ("Output (tok/s)", "Output\n(tok/s)", Metric::OutputTokPerS),
    ("Total (tok/s)", "Total\n(tok/s)", Metric::TotalTokPerS),
    ("Decode (tok/s)", "Decode\n(tok/s)", Metric::DecodeTokPerS),
];
