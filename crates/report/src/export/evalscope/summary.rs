//! Owns `benchmark_summary.json`: the run's figures under EvalScope's keys, rounded as there.
//!
//! It must not know how a figure is computed. Where nothing is known, EvalScope has −1, −1000 or
//! 0.0 and never `null`; its loader refuses a file with one.

use evalscope_model::metrics::Metric;

use super::database::Streams;
use super::load::rate;
use super::python::{Value, rounded};
use crate::report::RunReport;

/// Decimals of all figures but those in milliseconds.
const DECIMALS: usize = 4;
/// Decimals of those.
const MS_DECIMALS: usize = 2;

pub(super) fn of(run: &RunReport, streams: &Streams) -> Value {
    let totals = &run.totals;
    let mean = |metric: Metric| run.metric(metric).mean;
    // EvalScope's figure where nothing succeeded, and else
    let or = |failed: f64, else_: f64| if totals.succeeded == 0 { failed } else { else_ };
    let figure = |value: Option<f64>, other: f64| rounded(value.unwrap_or(other), DECIMALS).into();
    let ms = |value: Option<f64>, other: f64| rounded(value.unwrap_or(other), MS_DECIMALS).into();
    let latency_s = mean(Metric::Latency);
    // a response that came whole has its first token with its last
    let ttft_ms = if totals.streamed > 0 {
        mean(Metric::Ttft)
    } else {
        latency_s.map(|seconds| seconds * 1e3)
    };
    let concurrency = run.meta.load.concurrency;
    let output_per_s = run.output_tokens_per_s();
    let all_per_s = output_per_s.unwrap_or(0.0) + run.input_tokens_per_s().unwrap_or(0.0);
    let mut fields: Vec<(&str, Value)> = vec![
        ("Test Duration (s)", figure(Some(totals.duration_s()), 0.0)),
        (
            "Concurrency",
            concurrency.map_or(Value::Int(-1), |slots| (slots.get() as u64).into()),
        ),
        ("Request Rate (req/s)", rate(run).into()),
        ("Total Requests", totals.total.into()),
        ("Success Requests", totals.succeeded.into()),
        ("Failed Requests", totals.failed().into()),
        ("Stream Requests", streams.streamed.into()),
        ("Non-Stream Requests", streams.whole.into()),
        ("Req Throughput (req/s)", figure(run.requests_per_s(), 0.0)),
        ("Avg Latency (s)", figure(latency_s, -1.0)),
        (
            "Avg Input Tokens",
            figure(mean(Metric::InputTokens), or(-1.0, 0.0)),
        ),
        ("Output Throughput (tok/s)", figure(output_per_s, 0.0)),
        ("Total Throughput (tok/s)", figure(Some(all_per_s), 0.0)),
        ("Avg TTFT (ms)", ms(ttft_ms, or(-1000.0, 0.0))),
        ("Avg TPOT (ms)", ms(mean(Metric::Tpot), or(-1000.0, 0.0))),
        ("Avg ITL (ms)", ms(mean(Metric::Itl), 0.0)),
        (
            "Avg Output Tokens",
            figure(mean(Metric::OutputTokens), or(-1.0, 0.0)),
        ),
        // only EvalScope's loads of embeddings and rerankers have one
        ("Input Throughput (tok/s)", 0.0.into()),
    ];
    if let Some(cached) = totals.cached_tokens
        && totals.cached_of_tokens > 0
    {
        let share = 100.0 * cached as f64 / totals.cached_of_tokens as f64;
        fields.push(("KV Cache Hit Rate (%)", figure(Some(share), 0.0)));
    }
    if let Some(tokens) = mean(Metric::DecodedTokensPerEvent) {
        let accepted = (1.0 - 1.0 / tokens).clamp(0.0, 1.0);
        fields.push(("Avg Decoded Tok/Iter", figure(Some(tokens), 0.0)));
        fields.push(("Spec. Accept Rate", figure(Some(accepted), 0.0)));
    }
    let fields = fields.into_iter();
    Value::Dict(fields.map(|(key, value)| (key.to_owned(), value)).collect())
}
