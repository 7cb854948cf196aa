//! The search for the largest load within limits: `--sla-auto-tune`.

use std::num::NonZeroUsize;

use evalscope_sim::{Profile, Service, ServiceSpread, SimConfig, Simulator, Timing};
use serde_json::Value;

use crate::context::{Context, Outcome, json};
use crate::server::{Recorder, refusal};

/// Four slots, each 50 ms for a request: 80 a second at most.
fn four_slots() -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            slots: NonZeroUsize::new(4),
            timing: Timing::Service(Service {
                mean_ms: 50.0,
                spread: ServiceSpread::Constant,
            }),
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

/// Search with these flags.
fn search(context: &Context, url: &str, flags: &[&str]) -> Outcome {
    let args = [
        url,
        "--model=m",
        "--prompt=p",
        "--max-tokens=4",
        "--sleep-interval=0",
        "--sla-auto-tune",
    ];
    context.perf(&[&args, flags].concat())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The answer lies between what four slots serve with hardly a queue and what they cannot serve.
#[test]
fn the_largest_rate_of_a_known_server_is_found() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--sla-variable=rate",
        "--rate=50",
        r#"--sla-params={"p50_latency": "<=120ms", "success_rate": ">=90%"}"#,
        "--sla-probe-time=1..2",
        "--sla-precision=45%",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let answer = "Largest rate that meets p50 latency ≤ 0.12 s and success ≥ 90 %: ";
    assert!(outcome.stdout.starts_with(answer), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("the search takes about "),
        "{}",
        outcome.stderr
    );
    let result = context.result();
    let found = &result["search"]["selections"][0];
    let best = number(&found["selected_value"]);
    // a rate so close to what the server can serve need not fail for certain
    let fails_at = found["fails_at"].as_f64();
    assert!((50.0..=85.0).contains(&best), "{outcome:#?}");
    let is_above = |at: f64| best < at && (60.0..=160.0).contains(&at);
    assert!(fails_at.is_none_or(is_above), "{outcome:#?}");
    // each probe is a run of its own, and its load ended when enough was known
    let probes = result["search"]["probes"].as_array().unwrap();
    let runs = result["runs"].as_array().unwrap();
    assert_eq!(probes.len(), runs.len());
    for (probe, run) in probes.iter().zip(runs) {
        let name = probe["runs"][0].as_str().unwrap();
        assert_eq!(run["name"], name);
        let own = context.top().join("sla_tuning").join(name);
        assert!(own.join("benchmark_data.db").is_file(), "{name}");
        assert_eq!(run["load"]["stopped_by"], "decided");
        assert!(number(&probe["judgement"]["judged_s"]) < 6.0, "{probe}");
    }
    let selection = json(&context.top().join("sla_selection.json"));
    assert_eq!(selection, result["search"]);
    let summary = json(&context.top().join("sla_summary.json"));
    let keys: Vec<&String> = summary.as_object().unwrap().keys().collect();
    assert_eq!(keys[0], "rate_50");
    assert!(number(&summary["rate_50"]["metrics"]["Avg Latency (s)"]) >= 0.05);
    let page = std::fs::read_to_string(context.top().join("perf_report.html")).unwrap();
    assert!(page.contains("Probes of the search") && page.contains("sweep-q1"));
    // files that are made again are the same files
    let before = context.files();
    let again = context.run(&["report", "outputs/run/sla_tuning/sla_rate_50_run_0"]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    for (earlier, later) in before.iter().zip(context.files()) {
        assert!(*earlier == later, "{}", earlier.0);
    }
}

/// EvalScope's values, folders, numbers and words.
#[test]
fn evalscopes_way_is_evalscopes() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--sla-num-runs=2",
        "--parallel=1",
        "--sla-upper-bound=4",
        r#"--sla-params=[{"avg_latency": "<=10s", "p99_latency": "<20s"}]"#,
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let summary = json(&context.top().join("sla_summary.json"));
    let keys: Vec<&String> = summary.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["parallel_1", "parallel_2", "parallel_4"]);
    let two = &summary["parallel_2"];
    assert_eq!(two["metrics"]["Total Requests"], 8);
    assert_eq!(two["metrics"]["Success Requests"], 8);
    let percentiles = &two["percentiles"];
    assert_eq!(percentiles["Percentiles"][0], "min");
    assert_eq!(percentiles["Latency (s)"].as_array().unwrap().len(), 14);
    for name in ["sla_parallel_1_run_0", "sla_parallel_4_run_1"] {
        let own = context.top().join("sla_tuning").join(name);
        assert!(own.join("benchmark_summary.json").is_file(), "{name}");
    }
    assert!(
        outcome
            .stderr
            .contains("[parallel=4] SLA Rule 1 Check: avg_latency = 0.0")
            && outcome.stderr.contains(" s | Expect <= 10 s | PASSED"),
        "{}",
        outcome.stderr
    );
    let selection = &context.result()["search"]["selections"][0];
    assert_eq!(selection["selected_value"], 4);
    assert_eq!(selection["status"], "best_observed");
    assert!(outcome.stdout.contains("1:PASS"), "{}", outcome.stdout);
}

#[test]
fn a_condition_that_nothing_meets_says_by_how_much() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--parallel=2",
        r#"--sla-params={"p50_latency": "<=10ms"}"#,
        "--sla-probe-time=0.5..1",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let text = outcome.stdout.replace('\n', " ");
    let none = "No concurrency was found that meets p50 latency ≤ 0.01 s: not even the lower bound, 1, does \
                (`--sla-lower-bound`). At a concurrency of 1, 100 % of requests broke p50 latency ≤ 0.01 s [";
    assert!(text.starts_with(none), "{text}");
    assert_eq!(
        context.result()["search"]["selections"][0]["end"],
        "none_meets"
    );
}

#[test]
fn a_condition_that_all_meet_ends_at_the_bound() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--parallel=2",
        "--sla-upper-bound=4",
        r#"--sla-params={"p50_latency": "<=30s"}"#,
        "--sla-probe-time=0.5..1",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let found = &context.result()["search"]["selections"][0];
    assert_eq!(found["selected_value"], 4);
    assert_eq!(found["confirmed"], true);
    assert!(found["fails_at"].is_null());
    assert_eq!(found["end"], "at_bound");
    assert!(
        outcome
            .stdout
            .replace('\n', " ")
            .contains("No value up to the upper bound failed"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_server_without_a_success_ends_the_search() {
    let server = Recorder::start(|_, _| refusal("500 Internal Server Error", "no"));
    let context = Context::new();
    let flags = [
        "--no-test-connection",
        "--parallel=64",
        r#"--sla-params={"p50_latency": "<=30s"}"#,
        "--sla-probe-time=0.5..1",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let probes = context.result()["search"]["probes"].clone();
    let values: Vec<f64> = probes
        .as_array()
        .unwrap()
        .iter()
        .map(|one| number(&one["value"]))
        .collect();
    assert_eq!(values, [64.0, 32.0, 16.0]);
    let text = outcome.stdout.replace('\n', " ");
    assert!(
        text.contains("no request of three probes in a row"),
        "{text}"
    );
}

/// What is known when a search is stopped is said.
#[cfg(unix)]
#[test]
fn a_search_that_is_stopped_says_what_it_knows() {
    let server = four_slots();
    let context = Context::new();
    let url = server.url();
    let mut running = context.start(&[
        &url,
        "--model=m",
        "--prompt=p",
        "--max-tokens=4",
        "--sleep-interval=600",
        "--sla-auto-tune",
        "--parallel=2",
        r#"--sla-params={"p50_latency": "<=30s"}"#,
        "--sla-probe-time=0.5..1",
    ]);
    running.wait_for_stderr("[parallel=2] passed");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    let so_far = "Largest concurrency that meets p50 latency ≤ 30 s: 2 (not confirmed).";
    assert!(outcome.stdout.starts_with(so_far), "{}", outcome.stdout);
    assert_eq!(
        context.result()["search"]["selections"][0]["end"],
        "interrupted"
    );
}

#[test]
fn what_cannot_be_searched_for_is_refused() {
    let context = Context::new();
    let ttft = r#"--sla-params={"p99_ttft": "<=1s"}"#;
    for (flags, said) in [
        (&[][..], "`--sla-auto-tune` needs `--sla-params`"),
        (
            &[r#"--sla-params={"p99_tfft": "<=1s"}"#],
            "did you mean `p99_ttft`?",
        ),
        (
            &[r#"--sla-params={"rps": "<=5 s"}"#],
            "the unit of rps is req/s, not s",
        ),
        (&["--sla-params=[]"], "expected an object of criteria"),
        (&["--sla-params={"], "it is not JSON"),
        (
            &[r#"--sla-params={"tps": "max", "rps": ">=1"}"#],
            "`max` and `min` have to be the only criterion",
        ),
        (
            &[ttft, "--sla-lower-bound=9", "--sla-upper-bound=8"],
            "`--sla-lower-bound 9` is above `--sla-upper-bound 8`",
        ),
        (
            &[ttft, "--sla-lower-bound=0.5"],
            "`--sla-lower-bound 0.5` is not a whole number",
        ),
        (
            &[ttft, "--sla-lower-bound=0"],
            "expected a number greater than 0",
        ),
        (
            &[ttft, "--parallel=1,2"],
            "begins at one value of `--parallel`",
        ),
        (
            &[ttft, "--sla-variable=rate", "--rate=1,2"],
            "begins at one value of `--rate`",
        ),
        (
            &[ttft, "--sla-variable=rate", "--rate=1..5@10"],
            "not at a profile",
        ),
        (
            &[ttft, "--no-stream"],
            "`p99_ttft` cannot be measured with `--no-stream`",
        ),
        (
            &[r#"--sla-params={"p99_tpot": "<=1s"}"#, "--no-stream"],
            "`p99_tpot` cannot be measured with `--no-stream`",
        ),
        (
            &[ttft, "--repeats=2"],
            "`--repeats` and `--sla-auto-tune` cannot be combined",
        ),
        (
            &[ttft, "--open-loop"],
            "`--sla-variable parallel` could vary",
        ),
        (&[ttft, "--sla-probe-time=9..3"], "expected two times"),
        (
            &[ttft, "--sla-precision=2"],
            "expected a share from 0.1% to 50%",
        ),
        (
            &[ttft, "--sla-num-runs=0"],
            "expected a whole number from 1",
        ),
        (
            &[r#"--sla-params={"p99_ttft": ">=1s"}"#],
            "a time needs an upper limit",
        ),
        (
            &[r#"--sla-params={"goodput": "max"}"#],
            "`goodput` needs `--slo`",
        ),
        (
            &[r#"--sla-params={"p99.9_ttft": "<=1s"}"#, "--sla-num-runs=1"],
            "EvalScope's way of searching has no `p99.9_ttft`",
        ),
        (
            &[r#"--sla-params={"success_rate": "<=99%"}"#],
            "says nothing",
        ),
    ] {
        let outcome = search(&context, "http://127.0.0.1:9", flags);
        assert_eq!(outcome.code, Some(2), "{flags:?} {outcome:#?}");
        assert!(
            outcome.stderr.contains(said),
            "{flags:?} {}",
            outcome.stderr
        );
    }
}

/// With four slots of 50 ms, 4 to 9 requests in flight have the greatest goodput within 120 ms: below, slots
/// are idle; above, requests wait too long.
#[test]
fn the_load_with_the_greatest_goodput_is_found() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--parallel=2",
        "--sla-upper-bound=64",
        "--slo=latency<=120ms",
        r#"--sla-params={"goodput": "max"}"#,
        "--sla-probe-time=1..2",
        "--sla-precision=30%",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let text = outcome.stdout.replace('\n', " ");
    assert!(text.starts_with("Greatest goodput: "), "{text}");
    assert!(text.contains(" req/s [") && text.contains("] at a concurrency of "));
    let search = context.result()["search"].clone();
    let found = &search["selections"][0];
    // on a busy machine this program may be the limit, and then the answer is below it
    let is_busy = found["end"] == "client_limited";
    let best = number(&found["selected_value"]);
    assert!(
        (3.0..=9.0).contains(&best) || is_busy && best < 9.0,
        "{found}"
    );
    let goodput = number(&found["observed_metric"]);
    assert!(
        (50.0..=85.0).contains(&goodput) || is_busy && goodput < 85.0,
        "{found}"
    );
    assert_eq!(
        (&found["mode"], &found["criteria"]["goodput"]),
        (&"max".into(), &"max".into())
    );
    let probes = search["probes"].as_array().unwrap();
    let values: Vec<f64> = probes.iter().map(|one| number(&one["value"])).collect();
    // goodput is gone at 16 and 32, so nothing above is tried
    assert_eq!(values[..2], [2.0, 4.0]);
    assert!(values.iter().all(|value| *value <= 32.0), "{values:?}");
    let beyond = probes.iter().filter(|one| number(&one["value"]) >= 16.0);
    for probe in beyond {
        assert_eq!(probe["judgement"]["limits"][0]["value"], 0.0, "{probe}");
    }
    assert!(outcome.stdout.contains("confirmed"), "{}", outcome.stdout);
    let page = std::fs::read_to_string(context.top().join("perf_report.html")).unwrap();
    assert!(page.contains("sweep-q1"));
}

/// What one search has measured is judged for the next one, too.
#[test]
fn searches_share_their_probes() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--parallel=2",
        "--sla-upper-bound=8",
        r#"--sla-params=[{"p50_latency": "<=20s"}, {"p50_latency": "<=30s"}]"#,
        "--sla-probe-time=0.5..1",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let result = context.result();
    let search = &result["search"];
    for selection in search["selections"].as_array().unwrap() {
        assert_eq!(selection["selected_value"], 8);
        assert_eq!(selection["confirmed"], true);
    }
    let probes = search["probes"].as_array().unwrap();
    let own = |group: u64| probes.iter().filter(move |one| one["group"] == group);
    let reused: Vec<bool> = own(2).map(|one| one["purpose"] == "other_search").collect();
    assert_eq!(reused, [true, true, true, false]);
    assert!(own(1).all(|one| one["purpose"] != "other_search"));
    // two confirmations, and three values once
    assert_eq!(result["runs"].as_array().unwrap().len(), 5);
    assert!(outcome.stdout.contains("reused"), "{}", outcome.stdout);
}

/// What is asked of runs is asked of the one that gave the answer, not of loads that were too much.
#[test]
fn limits_of_runs_hold_for_the_answer() {
    let server = four_slots();
    for (limit, code, said) in [
        (
            &["--min-goodput=50%", "--slo=latency<=1ms"][..],
            1,
            "is below `--min-goodput` 50.00 %",
        ),
        (&["--fail-if=latency_p50>1ms"], 3, "breaks `--fail-if"),
        (&["--max-error-rate=1%"], 0, "results are in "),
    ] {
        let context = Context::new();
        let flags = [
            "--parallel=1",
            "--sla-upper-bound=2",
            r#"--sla-params={"p50_latency": "<=30s"}"#,
            "--sla-probe-time=0.5..1",
        ];
        let outcome = search(&context, &server.url(), &[&flags, limit].concat());
        assert_eq!(outcome.code, Some(code), "{limit:?} {outcome:#?}");
        assert_eq!(
            outcome.stderr.matches(said).count(),
            1,
            "{}",
            outcome.stderr
        );
        assert!(
            code == 0 || outcome.stderr.contains("sla_parallel_2_run_1"),
            "{}",
            outcome.stderr
        );
    }
}

/// Progress is that of the whole search, of which the number of probes is an estimate.
#[test]
fn progress_is_that_of_the_whole_search() {
    let server = four_slots();
    let context = Context::new();
    let flags = [
        "--parallel=2",
        "--sla-upper-bound=8",
        r#"--sla-params={"p50_latency": "<=30s"}"#,
        "--sla-probe-time=0.5..1",
        "--enable-progress-tracker",
        "--progress=json",
    ];
    let outcome = search(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let events = outcome.stderr.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = events
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ended = events.iter().filter(|event| event["event"] == "ended");
    let ratios: Vec<f64> = ended
        .map(|event| number(&event["search_done_ratio"]))
        .collect();
    assert_eq!(ratios.len(), 4, "{ratios:?}");
    assert!(
        ratios.is_sorted() && ratios[0] > 0.0 && ratios[3] < 1.0,
        "{ratios:?}"
    );
    let file = json(&context.top().join("progress.json"));
    assert_eq!(file["status"], "completed");
    assert!(file["total_count"].is_null());
    assert_eq!(file["percent"], 100.0);
    let runs = context.result()["runs"].clone();
    let requests = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| number(&run["counts"]["total"]));
    assert!(number(&file["processed_count"]) >= requests.sum::<f64>());
}

/// Vectors have no tokens that could be timed or counted.
#[test]
fn what_an_api_does_not_have_cannot_be_searched_for() {
    let context = Context::new();
    for (params, said) in [
        (
            r#"{"p99_ttft": "<=1s"}"#,
            "`p99_ttft` cannot be measured with `--api embedding`",
        ),
        (
            r#"{"tps": ">=1"}"#,
            "`tps` needs an API that generates tokens",
        ),
    ] {
        let outcome = context.perf(&[
            "http://127.0.0.1:9",
            "--model=m",
            "--prompt=p",
            "--api=embedding",
            "--sla-auto-tune",
            "--sla-params",
            params,
        ]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
}
