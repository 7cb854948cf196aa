//! The files of runs whose figures are known.

use evalscope_model::record::{Exchange, FailureKind};
use serde_json::Value;

use super::*;
use crate::export::{Chosen, GeneratedText};
use crate::model::RunMeta;
use crate::samples;

fn file(meta: &RunMeta, exchanges: Vec<Exchange>, detailed: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    samples::finished(folder.path(), meta, exchanges);
    let chosen = Chosen::find(folder.path(), None).unwrap();
    let text = |_: &RunMeta, events: &[String]| {
        (!events.is_empty()).then(|| GeneratedText {
            answer: format!("{} events", events.len()),
            reasoning: String::new(),
        })
    };
    let text: &TextReader<'_> = &text;
    let mut out = Vec::new();
    write(&chosen.runs[0], detailed.then_some(text), &mut out).unwrap();
    let file = String::from_utf8(out).unwrap();
    let start = format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION"));
    file.replace(&start, "\"version\":\"[VERSION]\"")
}

#[test]
fn a_run_with_failures_in_detail() {
    insta::assert_snapshot!(file(&samples::meta("m"), samples::mixed(16), true));
}

#[test]
fn an_open_loop_with_an_objective() {
    let mut meta = samples::open_loop_meta();
    meta.metadata = [("tensor_parallel_size".to_owned(), "2".to_owned())].into();
    insta::assert_snapshot!(file(&meta, samples::successes(600), false));
}

/// Figures that do not exist are `null`, and nothing is 0 that is not.
#[test]
fn runs_without_a_success() {
    let unsent = samples::failure(0, FailureKind::NotSent, "the run ended first", "");
    for (exchanges, failed) in [
        (samples::all_failed(3), 3),
        (vec![unsent], 0),
        (Vec::new(), 0),
    ] {
        let value: Value =
            serde_json::from_str(&file(&samples::meta("m"), exchanges, true)).unwrap();
        assert_eq!(value["completed"], 0);
        assert_eq!(value["failed"], failed);
        for key in [
            "input_lens",
            "ttfts",
            "itls",
            "generated_texts",
            "errors",
            "start_times",
        ] {
            assert_eq!(value[key].as_array().unwrap().len(), failed, "{key}");
        }
        for key in [
            "mean_ttft_ms",
            "p99_e2el_ms",
            "request_throughput",
            "total_output_tokens",
        ] {
            assert_eq!(value[key], Value::Null, "{key}");
        }
    }
}

#[test]
fn figures_are_those_of_the_report() {
    let meta = samples::meta("m");
    let report = samples::report(&meta, samples::mixed(60));
    let value: Value = serde_json::from_str(&file(&meta, samples::mixed(60), false)).unwrap();
    assert_eq!(
        value["mean_ttft_ms"],
        json!(report.metric(Metric::Ttft).mean)
    );
    assert_eq!(value["p99_itl_ms"], json!(report.metric(Metric::Itl).p99));
    assert_eq!(
        value["median_tpot_ms"],
        json!(report.metric(Metric::Tpot).p50)
    );
    let latency_ms = report
        .metric(Metric::Latency)
        .mean
        .map(|seconds| seconds * 1e3);
    assert_eq!(value["mean_e2el_ms"], json!(latency_ms));
    assert_eq!(
        value["output_throughput"],
        json!(report.output_tokens_per_s())
    );
    assert_eq!(value["max_concurrent_requests"], 2);
}
