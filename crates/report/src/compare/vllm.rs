//! Owns what a result of vLLM's `bench serve --save-result` says in our terms.
//!
//! It must not know how runs are compared, nor the lists of `--save-detailed`. vLLM defines some figures in another way: a run says so in
//! its warnings.

use std::collections::BTreeMap;

use evalscope_model::metrics::Metric;
use serde_json::{Map, Value};

use super::detailed::Detailed;
use super::measured::Measured;
use super::run::{Run, Trials};
use crate::names::{FigureKey, Rate, Stat, percentiles};
use crate::rules::PointPlace;

/// Keys of the metrics, and what makes milliseconds the unit of ours.
const METRICS: [(&str, Metric, f64); 4] = [
    ("ttft", Metric::Ttft, 1.0),
    ("tpot", Metric::Tpot, 1.0),
    ("itl", Metric::Itl, 1.0),
    ("e2el", Metric::Latency, 1e-3),
];

/// Why it has no interval.
const WITHOUT_LISTS: &str =
    "a result of vLLM has intervals only with the lists of `--save-detailed`";

/// Whether this is such a result.
pub(super) fn is_result(value: &Value) -> bool {
    value.get("request_throughput").is_some() && value.get("mean_ttft_ms").is_some()
}

/// The run.
pub(super) fn run(result: &Value, origin: String, further: &[FigureKey]) -> Run {
    let number = |key: &str| result[key].as_f64();
    let count = |key: &str| result[key].as_u64();
    let asked = count("num_prompts");
    let completed = count("completed");
    let failed = count("failed").or_else(|| asked?.checked_sub(completed?));
    let lost = failed.zip(completed).map(|(failed, completed)| Trials {
        count: failed,
        of: failed + completed,
        inflation: 1.0,
    });
    let mut figures: BTreeMap<FigureKey, Measured> = BTreeMap::new();
    let mut put = |key: FigureKey, value: Option<f64>| {
        figures.extend(value.map(|value| (key, Measured::of(value))));
    };
    put(
        FigureKey::Rate(Rate::Requests),
        number("request_throughput"),
    );
    put(
        FigureKey::Rate(Rate::OutputTokens),
        number("output_throughput"),
    );
    put(
        FigureKey::Rate(Rate::TotalTokens),
        number("total_token_throughput"),
    );
    let errors = lost
        .filter(|own| own.of > 0)
        .map(|own| own.count as f64 / own.of as f64);
    put(FigureKey::Rate(Rate::Errors), errors);
    let mean = |total: Option<f64>| {
        total
            .zip(completed.filter(|n| *n > 0))
            .map(|(sum, n)| sum / n as f64)
    };
    put(
        FigureKey::Metric(Metric::InputTokens, Stat::Mean),
        mean(number("total_input_tokens")),
    );
    put(
        FigureKey::Metric(Metric::OutputTokens, Stat::Mean),
        mean(number("total_output_tokens")),
    );
    for (name, metric, scale) in METRICS {
        let mut of = |stat: Stat, theirs: &str| {
            let value = number(&format!("{theirs}_{name}_ms"));
            put(FigureKey::Metric(metric, stat), value.map(|ms| ms * scale));
        };
        of(Stat::Mean, "mean");
        of(Stat::Std, "std");
        for p in percentiles() {
            of(Stat::Percentile(p), &format!("p{p}"));
        }
        of(Stat::percentile(50), "median");
    }
    let lists = with_lists(&mut figures, Detailed::of(result, further));
    // an export of a run of ours in vLLM's form keeps our definitions
    let is_ours = result.get("evalscope").is_some();
    let (tool, warning) = if is_ours {
        ("evalscope", None)
    } else {
        let differs = "measured by vLLM's own bench, which defines some figures in another way (see docs/comparing.md)";
        ("vllm bench serve", Some(differs.to_owned()))
    };
    let mut settings = Map::new();
    if let Some(model) = result["model_id"].as_str() {
        settings.insert("model".to_owned(), model.into());
    }
    Run {
        place: PointPlace {
            name: "vllm".to_owned(),
            parallel: count("max_concurrency"),
            // without a rate it is "inf"
            rate: number("request_rate").map(|rate| rate.to_string()),
            number: asked,
            duration_s: None,
        },
        origin,
        tool: tool.to_owned(),
        settings,
        figures,
        lost: lost.filter(|own| own.of > 0),
        good: None,
        finish_reasons: BTreeMap::new(),
        blocks: lists.blocks,
        without_intervals: lists.without_intervals,
        is_short: lists.is_short,
        unusable: None,
        client_limited: false,
        warnings: warning.into_iter().collect(),
    }
}

/// Add what the lists say to figures; what the result says itself stays. Returns the rest of it.
fn with_lists(figures: &mut BTreeMap<FigureKey, Measured>, detailed: Option<Detailed>) -> Detailed {
    let Some(mut own) = detailed else {
        return Detailed {
            without_intervals: Some(WITHOUT_LISTS.to_owned()),
            ..Detailed::default()
        };
    };
    for (key, value) in std::mem::take(&mut own.values) {
        figures.entry(key).or_insert(Measured::of(value));
    }
    for (key, variance) in std::mem::take(&mut own.ln_variances) {
        if let Some(measured) = figures.get_mut(&key) {
            measured.ln_variance = Some(variance);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_of_vllm_is_read() {
        let result = serde_json::json!({
            "date": "20260131-120000", "endpoint_type": "openai", "model_id": "m", "num_prompts": 100,
            "request_rate": "inf", "max_concurrency": 8, "duration": 10.0, "completed": 98,
            "total_input_tokens": 980, "total_output_tokens": 1960, "request_throughput": 9.8,
            "output_throughput": 196.0, "total_token_throughput": 294.0,
            "mean_ttft_ms": 30.0, "median_ttft_ms": 25.0, "std_ttft_ms": 4.0, "p99_ttft_ms": 60.0,
            "mean_e2el_ms": 500.0, "median_e2el_ms": 480.0, "p99_e2el_ms": 900.0,
        });
        assert!(is_result(&result));
        let run = run(&result, "vllm.json".to_owned(), &[]);
        assert_eq!(run.place.to_string(), "parallel=8 number=100");
        for (name, want) in [
            ("ttft_p50", 25.0),
            ("ttft_p99", 60.0),
            ("latency_p99", 0.9),
            ("error_rate", 0.02),
            ("input_tokens_mean", 10.0),
        ] {
            let got = run.value(name.parse().unwrap()).unwrap();
            assert!((got - want).abs() < 1e-12, "{name}: {got}");
        }
        assert_eq!(run.value("tpot_p50".parse().unwrap()), None);
        assert_eq!(
            (run.tool.as_str(), run.warnings.len()),
            ("vllm bench serve", 1)
        );
    }

    #[test]
    fn an_export_of_our_own_keeps_its_definitions() {
        let result = serde_json::json!({
            "request_throughput": 9.8, "mean_ttft_ms": 30.0, "evalscope": {"run": "parallel_1_number_4"},
        });
        let run = run(&result, "run.json".to_owned(), &[]);
        assert_eq!((run.tool.as_str(), run.warnings.len()), ("evalscope", 0));
    }
}
