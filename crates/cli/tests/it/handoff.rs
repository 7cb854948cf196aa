//! `--enable-pd-metrics`: the hand-off from prefill to decode, as the client sees it.

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::Value;

use crate::context::{Context, NAME, json};

/// What the simulator adds to the gap between the first two tokens.
const HANDOFF_MS: f64 = 300.0;

/// The keys of the three figures in `result.json`.
const KEYS: [&str; 3] = [
    "steady_itl_ms",
    "pd_handoff_latency_ms",
    "pd_handoff_overhead_ms",
];

fn measure(context: &Context, flags: &[&str]) {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 1.0,
            pd_handoff_ms: HANDOFF_MS,
            itl_ms: 2.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let fixed = [
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "sample",
        "--number",
        "6",
        "--parallel",
        "2",
        "--max-tokens",
        "6",
        "--no-test-connection",
    ];
    context.measure(&[&fixed, flags].concat());
}

fn keys(value: &Value) -> Vec<&str> {
    let fields = value.as_object().unwrap();
    fields.keys().map(String::as_str).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The figures, from the gaps in the database: milliseconds.
fn by_hand(context: &Context) -> [Vec<f64>; 3] {
    let (mut steady, mut latencies, mut overheads) = (Vec::new(), Vec::new(), Vec::new());
    let lists: Vec<String> =
        context.column("SELECT inter_token_latencies FROM result WHERE success = 'True'");
    for list in lists {
        let gaps: Vec<f64> = serde_json::from_str(&list).unwrap();
        let gaps: Vec<f64> = gaps.iter().map(|seconds| seconds * 1e3).collect();
        let (first, later) = gaps.split_first().unwrap();
        let mut sorted = later.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        latencies.push(*first);
        overheads.push((first - median).max(0.0));
        steady.extend(later);
    }
    [steady, latencies, overheads]
}

#[test]
fn the_first_gap_of_a_response_is_its_hand_off() {
    let context = Context::new();
    measure(&context, &["--enable-pd-metrics"]);
    let want = by_hand(&context);
    let metrics = &context.result()["runs"][0]["metrics"];
    for (key, want) in KEYS.iter().zip(&want) {
        let got = &metrics[key];
        assert_eq!(got["count"], want.len(), "{key}");
        let apart = (got["mean"].as_f64().unwrap() - mean(want)).abs();
        assert!(apart < 1e-3, "{key}: {got} {want:?}");
    }
    // the server never sends the second token early
    let overhead = metrics["pd_handoff_overhead_ms"]["mean"].as_f64().unwrap();
    let steady = metrics["steady_itl_ms"]["p50"].as_f64().unwrap();
    assert!(overhead > HANDOFF_MS / 2.0 && steady < HANDOFF_MS / 2.0);

    let folder = context.run_folder();
    let summary = json(&folder.join("benchmark_summary.json"));
    let at = keys(&summary)
        .into_iter()
        .position(|key| key == "Avg ITL (ms)");
    let at = at.unwrap();
    let own = [
        "Avg Steady ITL (ms)",
        "Avg PD Handoff Latency (ms)",
        "Avg PD Handoff Overhead (ms)",
    ];
    assert_eq!(keys(&summary)[at + 1..at + 4], own);
    for (key, want) in own.iter().zip(&want) {
        let apart = (summary[key].as_f64().unwrap() - mean(want)).abs();
        assert!(apart < 0.0051, "{key}: {summary}");
    }
    let columns = [
        "Steady ITL (ms)",
        "PD Handoff Latency (ms)",
        "PD Handoff Overhead (ms)",
    ];
    let rows = json(&folder.join("benchmark_percentile.json"));
    assert!(keys(&rows[0]).ends_with(&columns), "{rows}");
    let text = std::fs::read_to_string(context.top().join("performance_summary.txt")).unwrap();
    let page = std::fs::read_to_string(context.top().join("perf_report.html")).unwrap();
    for row in [
        "Average steady ITL (ms)",
        "Average PD hand-off latency (ms)",
        "Average PD hand-off overhead (ms)",
    ] {
        assert!(text.contains(row), "{row}: {text}");
        assert!(page.contains(&format!(">{row}<")), "{row}");
    }

    let exported = context.run(&[
        "export",
        &format!("outputs/{NAME}"),
        "--as",
        "evalscope",
        "-o",
        "out",
    ]);
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    let files = context.files();
    let of_export = |name: &str| -> Value {
        let is_it = |(path, _): &&(String, _)| path.starts_with("out/") && path.ends_with(name);
        let (_, bytes) = files.iter().find(is_it).unwrap();
        serde_json::from_slice(bytes).unwrap()
    };
    assert_eq!(of_export("benchmark_args.json")["enable_pd_metrics"], true);
    assert!(keys(&of_export("benchmark_percentile.json")[0]).ends_with(&columns));
    let summary = of_export("benchmark_summary.json");
    assert_eq!(keys(&summary)[at + 1..at + 4], own);
}

#[test]
fn the_hand_off_is_absent_without_the_flag_and_without_streams() {
    for flags in [&[][..], &["--enable-pd-metrics", "--no-stream"]] {
        let context = Context::new();
        measure(&context, flags);
        let metrics = &context.result()["runs"][0]["metrics"];
        for key in KEYS {
            assert_eq!(metrics.get(key), None, "{flags:?}");
        }
        for (name, bytes) in context.files() {
            let text = String::from_utf8_lossy(&bytes);
            // the page has the texts of all labels in the other language
            for word in ["PD Handoff", ">Average PD hand-off", ">Average steady"] {
                assert!(!text.contains(word), "{name}: {word}");
            }
            let is_page = text.contains("<!DOCTYPE html>");
            assert!(is_page || !text.contains("PD hand-off"), "{name}");
        }
    }
}
