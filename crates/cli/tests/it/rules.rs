//! `perf --fail-if` and `perf --abort-if`: what a gate in CI goes by.

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};

use crate::context::{Context, Outcome};

/// A server that refuses every n-th request.
fn simulator(every: Option<u64>) -> Simulator {
    let rule = every.map(|n| FaultRule {
        fault: Fault::Http500,
        when: When::Every(n),
    });
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 20.0,
            itl_ms: 2.0,
            ..Profile::default()
        },
        faults: rule.into_iter().collect(),
        ..SimConfig::default()
    })
    .unwrap()
}

fn perf(context: &Context, simulator: &Simulator, more: &[&str]) -> Outcome {
    let url = simulator.url();
    let args = [
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--max-tokens",
        "4",
        "--no-test-connection",
    ];
    context.perf(&[&args, more].concat())
}

#[test]
fn a_rule_that_a_run_breaks_is_3() {
    let simulator = simulator(Some(4));
    for (rules, code) in [
        (vec!["ttft_p99>1min"], 2),
        (vec!["ttft_p99>60s"], 0),
        (vec!["ttft_p50>1ms"], 3),
        (vec!["ttft_p99.9>1ms"], 3),
        (vec!["latency_p42.5>60s"], 0),
        (vec!["ttft_p100>60s"], 2),
        (vec!["ttft_p99>60s", "error_rate>20%"], 3),
        (vec!["error_rate>20%", "--fail-if", "ttft_p99>60s"], 3),
        (vec!["ttft_p50>1ms and error_rate>30%"], 0),
        (vec!["ttft_p50@parallel=2>1ms"], 3),
        (vec!["ttft_p50@parallel=2>1ms and error_rate>30%"], 0),
        (vec!["error_rate>20%", "--max-error-rate", "20%"], 1),
    ] {
        let context = Context::new();
        let flags = [
            &["--number", "8", "--parallel", "2", "--fail-if"],
            rules.as_slice(),
        ]
        .concat();
        let outcome = perf(&context, &simulator, &flags);
        assert_eq!(outcome.code, Some(code), "{rules:?}: {outcome:#?}");
        if code == 3 {
            assert!(
                outcome
                    .stderr
                    .contains("parallel_2_number_8 breaks `--fail-if "),
                "{outcome:#?}"
            );
        }
    }
}

#[test]
fn a_rule_that_cannot_be_judged_is_2_before_any_load() {
    let simulator = simulator(None);
    for (flags, why) in [
        (vec!["--fail-if", "ttft_p99>+5%"], "is about a change"),
        (vec!["--fail-if", "goodput<95%"], "needs `--slo`"),
        (
            vec!["--fail-if", "ttft_p99>1s", "--no-stream"],
            "cannot be measured with `--no-stream`",
        ),
        (
            vec!["--fail-if", "ttft_p99@parallel=9>1s"],
            "is about none of the runs",
        ),
        (
            vec!["--fail-if", "tfft_p99>1s"],
            "character 1: no figure is called `tfft_p99`; did you mean ttft_p99?",
        ),
        (vec!["--abort-if", "error_rate>+1%"], "is about a change"),
        (
            vec!["--abort-if", "cached_share<1%"],
            "not known while a run goes on",
        ),
        (
            vec!["--abort-if", "error_rate@parallel=1>1%"],
            "every run is looked at",
        ),
        (
            vec!["--abort-if", "error_rate>"],
            "character 12: expected a number",
        ),
    ] {
        let context = Context::new();
        let outcome = perf(&context, &simulator, &flags);
        assert_eq!(outcome.code, Some(2), "{flags:?}: {outcome:#?}");
        assert!(
            outcome.stderr.contains(why),
            "{flags:?}: {}",
            outcome.stderr
        );
        assert!(!context.top().exists(), "{flags:?}");
    }
}

#[test]
fn a_run_that_breaks_a_rule_for_too_long_is_aborted() {
    let simulator = simulator(Some(2));
    let context = Context::new();
    let flags = [
        "--parallel",
        "2,4",
        "--duration",
        "10m",
        "--abort-if",
        "error_rate>20%",
        "--abort-after",
        "0",
        "--sleep-interval",
        "0",
    ];
    let outcome = perf(&context, &simulator, &flags);
    assert_eq!(outcome.code, Some(3), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("over the last 30 s (`--abort-if \"error_rate>20%\"`)"),
        "{}",
        outcome.stderr
    );
    let result = context.result();
    // as after Ctrl-C, there is no further run
    assert_eq!(result["runs"].as_array().unwrap().len(), 1);
    let run = &result["runs"][0];
    assert_eq!(run["state"], "aborted");
    let warnings = run["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning["id"] == "run_aborted"),
        "{warnings:?}"
    );
    // what was in flight has ended
    assert_eq!(run["counts"]["unfinished"], 0);
}

#[test]
fn a_run_that_breaks_none_is_not_aborted() {
    let simulator = simulator(None);
    let context = Context::new();
    let flags = [
        "--number",
        "8",
        "--abort-if",
        "error_rate>20%",
        "ttft_p99>60s",
        "--abort-after",
        "0",
    ];
    let outcome = perf(&context, &simulator, &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(context.result()["runs"][0]["state"], "finished");
}
