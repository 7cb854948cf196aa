//! Owns `benchmark_summary.json`: the run's figures under EvalScope's keys, rounded as there.
//!
//! It must not know how a figure is computed. Where nothing is known, EvalScope has −1, −1000 or
//! 0.0 and never `null`; its loader refuses a file with one.

use evalscope_model::metrics::Metric;

use super::database::Streams;
use super::load::rate;
use super::python::Value;
use crate::evalscope::{NOT_LIMITED, summary_figure};
use crate::names::{self, Figure, SUMMARY_KEYS};
use crate::report::RunReport;

pub(super) fn of(run: &RunReport, streams: &Streams) -> Value {
    let mut fields = Vec::new();
    for figure in SUMMARY_KEYS {
        let key = figure.key().expect("a test holds that these have keys");
        let number = |value: f64| Some(summary_figure(key, value).into());
        let value = match (figure, figure.value(run)) {
            (Figure::Rate, _) => Some(rate(run).into()),
            (Figure::Concurrency, names::Value::Missing) => Some(Value::Int(NOT_LIMITED.into())),
            (Figure::Streamed, _) => Some(streams.streamed.into()),
            (Figure::Whole, _) => Some(streams.whole.into()),
            (Figure::TotalThroughput, _) => number(
                run.output_tokens_per_s().unwrap_or(0.0) + run.input_tokens_per_s().unwrap_or(0.0),
            ),
            // only EvalScope's loads of embeddings and rerankers have one
            (Figure::InputThroughput, _) => number(0.0),
            // a response that came whole has its first token with its last
            (Figure::Mean(Metric::Ttft), _) if run.totals.streamed == 0 => {
                let latency_s = run.metric(Metric::Latency).mean;
                let ttft_ms = latency_s.map(|seconds| seconds * 1e3);
                ttft_ms.or_else(|| unknown(figure, run)).and_then(number)
            }
            // EvalScope's is a share
            (Figure::Acceptance, names::Value::Number(percent)) => number(percent / 100.0),
            (_, names::Value::Missing) => unknown(figure, run).and_then(number),
            (_, names::Value::Count(count)) => Some(count.into()),
            (_, names::Value::Number(value) | names::Value::Mean(value, _)) => number(value),
        };
        if let Some(value) = value.filter(|_| !is_of_ours(figure)) {
            fields.push((key.to_owned(), value));
        }
    }
    Value::Dict(fields)
}

/// Figures that EvalScope does not have.
fn is_of_ours(figure: Figure) -> bool {
    matches!(
        figure,
        Figure::Mean(Metric::LatencyFromSchedule | Metric::TtftFromSchedule)
    )
}

/// What EvalScope writes for a figure without a value; `None` where it leaves the key out.
fn unknown(figure: Figure, run: &RunReport) -> Option<f64> {
    let has_failed = run.totals.succeeded == 0;
    match figure {
        Figure::CacheHits | Figure::Acceptance | Figure::Mean(Metric::DecodedTokensPerEvent) => {
            None
        }
        Figure::Mean(metric) if metric.is_of_handoff() => None,
        Figure::Mean(Metric::Latency) => Some(-1.0),
        Figure::Mean(Metric::InputTokens | Metric::OutputTokens) if has_failed => Some(-1.0),
        Figure::Mean(Metric::Ttft | Metric::Tpot) if has_failed => Some(-1000.0),
        _ => Some(0.0),
    }
}
