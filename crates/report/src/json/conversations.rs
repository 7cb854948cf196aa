//! Owns the conversations of a run in the form of EvalScope 1.14: `trace_summary.json`, and what
//! `benchmark_summary.json` has of them.
//!
//! It must not know how a figure is found.

use evalscope_model::metrics::{ConversationFigures, Distribution, PerConversation};
use serde_json::{Map, Value, json};

use crate::evalscope::summary_figure;

/// `trace_summary.json`: EvalScope calls a conversation a trace. What no server reported is `null`.
#[must_use]
pub fn trace_summary(each: &PerConversation) -> Value {
    let row = |metric: &str, of: &Distribution, scale: f64| {
        let mut row = Map::new();
        row.insert("metric".to_owned(), metric.into());
        for (key, value) in [
            ("mean", of.mean),
            ("min", of.min),
            ("p50", of.p50),
            ("p90", of.p90),
            ("p95", of.p95),
            ("p99", of.p99),
            ("max", of.max),
        ] {
            row.insert(key.to_owned(), value.map(|value| value * scale).into());
        }
        Value::Object(row)
    };
    json!({
        "n_traces": each.latency_s.count,
        "rows": [
            row("Latency (s)", &each.latency_s, 1.0),
            row("First-Turn TTFT (s)", &each.first_turn_ttft_ms, 1e-3),
            row("TTFAT (s)", &each.time_to_final_answer_s, 1.0),
            row("Decode TPS", &each.decode_tok_per_s, 1.0),
            row("Cache Hit Rate (%)", &each.cached_share, 100.0),
            row("Eligible Cache Hit Rate (%)", &each.eligible_share, 100.0),
        ],
    })
}

/// The keys that stand before the share of cached tokens in `benchmark_summary.json`, and those behind
/// it.
pub(super) fn summary_keys(figures: &ConversationFigures) -> [Vec<(&'static str, Value)>; 2] {
    let figure = |key: &'static str, value: Option<f64>| {
        value.map(|value| (key, Value::from(summary_figure(key, value))))
    };
    let turns = figure("Avg Turns/Request", figures.turn_number_mean);
    let ttft = [
        figure("Avg First-Turn TTFT (ms)", figures.first_turn.ttft_ms.mean),
        figure(
            "Avg Subsequent-Turn TTFT (ms)",
            figures.later_turns.ttft_ms.mean,
        ),
    ];
    [
        turns.into_iter().collect(),
        ttft.into_iter().flatten().collect(),
    ]
}
