//! Exit codes 0 and 1: what a script that calls the tool goes by.

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};
use serde_json::json;

use crate::context::{Context, Outcome, perf_snapshot};

/// Eight requests, of which each n-th fails.
fn failing(context: &Context, every: u64, more: &[&str]) -> Outcome {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            // below that, a busy machine finds two tokens in a read
            itl_ms: 20.0,
            ..Profile::default()
        },
        faults: vec![FaultRule {
            fault: Fault::Http500,
            when: When::Every(every),
        }],
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let args = [
        &[
            "--url", &url, "--model", "sim", "--prompt", "p", "--number", "8",
        ],
        ["--max-tokens", "4", "--no-test-connection"].as_slice(),
        more,
    ];
    context.perf(&args.concat())
}

#[test]
fn no_success_is_1_and_everything_is_written() {
    let context = Context::new();
    let outcome = failing(&context, 1, &[]);
    perf_snapshot!("all_failed", outcome);
    assert_eq!(outcome.code, Some(1));

    let names: Vec<String> = context.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 9, "{names:?}");
    let run = &context.result()["runs"][0];
    assert_eq!(
        run["counts"],
        json!({"total": 8, "succeeded": 0, "failed": 8, "not_sent": 0, "shed": 0, "unfinished": 0, "context_limit": 0,
               "by_kind": {"http_500": 8}})
    );
    assert_eq!(
        run["metrics"]["ttft_ms"]["mean"],
        json!(null),
        "missing, never 0"
    );
    assert_eq!(run["metrics"]["ttft_ms"]["count"], 0);
    assert_eq!(run["throughput"]["output_tokens_per_s"], json!(null));
}

#[test]
fn some_failures_are_0() {
    let context = Context::new();
    let outcome = failing(&context, 4, &[]);
    perf_snapshot!("some_failed", outcome);
}

#[test]
fn the_error_rate_decides() {
    for (limit, code) in [
        ("0.2", 1),
        ("20%", 1),
        ("0", 1),
        ("0.25", 0),
        ("25%", 0),
        ("1", 0),
    ] {
        let context = Context::new();
        let outcome = failing(&context, 4, &["--max-error-rate", limit]);
        assert_eq!(
            outcome.code,
            Some(code),
            "--max-error-rate {limit}: {outcome:#?}"
        );
        let said = outcome
            .stderr
            .contains("2 of 8 requests failed: 25.00 % is above");
        assert_eq!(said, code == 1, "{}", outcome.stderr);
        assert_eq!(context.result()["runs"][0]["counts"]["failed"], 2);
    }
}

#[test]
fn a_sweep_with_a_point_without_a_success_is_1() {
    let simulator = Simulator::start(SimConfig {
        faults: vec![FaultRule::always(Fault::Http503)],
        fault_after: 2,
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let url = simulator.url();
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--parallel",
        "1",
        "2",
        "--number",
        "4",
        "4",
        "--sleep-interval",
        "0",
    ]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("no request succeeded in parallel_2_number_4"),
        "{}",
        outcome.stderr
    );
    // a point without figures is no ground for advice
    assert!(
        !outcome.stdout.contains("lower the load"),
        "{}",
        outcome.stdout
    );
    let result = context.result();
    let succeeded: Vec<_> = (0..2)
        .map(|i| result["runs"][i]["counts"]["succeeded"].as_i64().unwrap())
        .collect();
    // one of the two without a fault was the test request
    assert_eq!(succeeded, [1, 0]);
}

#[test]
fn files_that_cannot_be_written_cost_nothing_that_was_measured() {
    let context = Context::new();
    // a folder stands where a file is to be
    let in_the_way = "outputs/run/parallel_1_number_8/benchmark_summary.json";
    std::fs::create_dir_all(context.path().join(in_the_way).join("x")).unwrap();
    let outcome = failing(&context, 100, &[]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for text in [
        "error: not all files were written",
        "benchmark_summary.json",
        "hint: ",
    ] {
        assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
    }
    assert!(outcome.stdout.contains("Succeeded requests"));
    std::fs::remove_dir_all(context.path().join(in_the_way)).unwrap();
    let rebuilt = context.run(&["report", "outputs/run"]);
    assert_eq!(rebuilt.code, Some(0), "{}", rebuilt.stderr);
    assert_eq!(context.result()["runs"][0]["counts"]["succeeded"], json!(8));
}
