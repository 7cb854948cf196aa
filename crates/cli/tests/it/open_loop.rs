//! Open loops: requests leave at their moments, whatever the server does; what happens at a cap and
//! at the end; and what is refused before anything is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use evalscope_core::schedule::Arrivals;
use evalscope_model::profile::{Gaps, Schedule};
use evalscope_sim::{Pause, Profile, SimConfig, Simulator};

use crate::context::{Context, Outcome};

fn simulator(ttft_ms: f64) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms,
            itl_ms: 0.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

/// Measure a simulator with these flags.
fn perf(context: &Context, simulator: &Simulator, flags: &[&str]) -> Outcome {
    let url = simulator.url();
    let args = ["--url", &url, "--model", "sim", "--prompt", "p"];
    context.perf(&[&args, flags].concat())
}

/// How often requests ended in each way.
fn ends(context: &Context) -> BTreeMap<String, i64> {
    let kinds = "SELECT coalesce(error_kind, 'success') FROM result";
    let mut ends = BTreeMap::new();
    for kind in context.column::<String>(kinds) {
        *ends.entry(kind).or_insert(0) += 1;
    }
    ends
}

#[test]
fn rates_are_points_of_a_sweep() {
    let simulator = simulator(2.0);
    let context = Context::new();
    let flags = [
        "--open-loop",
        "--rate",
        "40",
        "80.5",
        "--number",
        "10",
        "20",
    ];
    let outcome = perf(
        &context,
        &simulator,
        &[
            &flags[..],
            &[
                "--parallel",
                "1",
                "--max-tokens",
                "2",
                "--sleep-interval",
                "0",
            ],
        ]
        .concat(),
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let note = "`--parallel` has no effect with `--open-loop`";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    for (folder, requests) in [("rate_40.0_number_10", 10), ("rate_80.5_number_20", 20)] {
        let database = context.top().join(folder).join("benchmark_data.db");
        let sent: i64 = rusqlite::Connection::open(database)
            .unwrap()
            .query_row("SELECT count(*) FROM result", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sent, requests, "{folder}");
    }
    let runs = &context.result()["runs"];
    assert_eq!(runs[0]["load"]["concurrency"], serde_json::Value::Null);
    assert_eq!(runs[1]["load"]["rate_per_s"], 80.5);
}

/// The moments are those of the profile, to the nanosecond of the run's clock, and the run ends
/// with it.
#[test]
fn a_profile_is_sent_as_it_is_written() {
    let simulator = simulator(2.0);
    let context = Context::new();
    let profile = "20..60@0.5,+15,0@0.2,50@0.3";
    let flags = [
        "--rate",
        profile,
        "--arrivals",
        "constant",
        "--max-tokens",
        "2",
    ];
    let outcome = perf(&context, &simulator, &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(context.top().join("rate_profile1_number_all").is_dir());
    let scheduled = context.column::<i64>("SELECT scheduled_ns FROM result ORDER BY idx");
    // 20 by the ramp, the burst, 15 by the last segment
    assert_eq!(scheduled.len(), 50);
    let mut arrivals = Arrivals::new(
        Schedule {
            profile: profile.parse().unwrap(),
            gaps: Gaps::Constant,
        },
        0,
    );
    let offsets: Vec<i64> = std::iter::from_fn(|| arrivals.next_offset())
        .map(|offset| i64::try_from(offset.as_nanos()).unwrap())
        .collect();
    let start = scheduled[0];
    for (at, offset) in scheduled.iter().zip(&offsets) {
        assert!(
            (at - start - offset).abs() <= 2,
            "{at} is not {start} + {offset}"
        );
    }
}

#[test]
fn a_profile_may_be_in_a_file() {
    let simulator = simulator(2.0);
    let context = Context::new();
    context.write("load.csv", "time_s,rate\n0,40\n0.5,40\n");
    let flags = [
        "--open-loop",
        "--rate",
        "@load.csv",
        "--burstiness",
        "inf",
        "--max-tokens",
        "2",
    ];
    let outcome = perf(&context, &simulator, &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(context.column::<i64>("SELECT count(*) FROM result"), [20]);
}

/// Requests of 300 ms come every 50 ms, and only two may be in flight.
#[test]
fn at_the_cap_requests_wait_are_shed_or_end_the_run() {
    let simulator = simulator(300.0);
    let mut all = Vec::new();
    for when_full in ["wait", "drop", "stop"] {
        let context = Context::new();
        let outcome = perf(
            &context,
            &simulator,
            &[
                "--open-loop",
                "--rate",
                "20@0.6",
                "--arrivals",
                "constant",
                "--max-in-flight",
                "2",
                "--when-full",
                when_full,
                "--max-tokens",
                "1",
            ],
        );
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let ends = ends(&context);
        let waited = context.column::<i64>("SELECT count(*) FROM requests WHERE waited_for_slot");
        all.push((when_full, ends, waited[0]));
    }
    let (wait, drop, stop) = (&all[0], &all[1], &all[2]);
    assert_eq!(wait.1, [("success".to_owned(), 12)].into());
    // the first two start at once
    assert_eq!(wait.2, 10);
    assert_eq!(drop.1.values().sum::<i64>(), 12);
    assert!(drop.1["shed"] >= 6 && drop.1["success"] >= 4, "{drop:?}");
    assert_eq!(stop.1["success"], 2);
    assert_eq!(stop.1["not_sent"], 1);
}

#[test]
fn what_does_not_end_in_time_is_unfinished_and_no_failure() {
    let simulator = simulator(60_000.0);
    let context = Context::new();
    let outcome = perf(
        &context,
        &simulator,
        &[
            "--open-loop",
            "--rate",
            "20@0.3",
            "--arrivals",
            "constant",
            "--drain-timeout",
            "200ms",
            "--max-tokens",
            "1",
            "--no-test-connection",
        ],
    );
    // nothing succeeded
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert_eq!(ends(&context), [("unfinished".to_owned(), 6)].into());
    let run = &context.result()["runs"][0];
    assert_eq!(run["counts"]["failed"], 0);
    assert_eq!(run["state"], "finished");
    // its latency is at least this long
    let waited = context.column::<i64>("SELECT (ended_ns - scheduled_ns) / 1000000 FROM result");
    assert!(waited.iter().all(|ms| *ms >= 190), "{waited:?}");
}

#[test]
fn a_load_that_cannot_be_is_refused_before_anything_is_sent() {
    let context = Context::new();
    let refused: Vec<String> = [
        &["--open-loop"][..],
        &["--open-loop", "--rate", "-1"],
        &["--rate", "0"],
        &["--rate", "20@60,30"],
        &["--rate", "20@60,5..x@30"],
        &["--rate", "0..20@60:exp"],
        &["--rate", "20@0"],
        &["--rate", "0@60"],
        &["--rate", "250000"],
        &["--rate", "5", "--arrivals", "gamma:0"],
        &["--rate", "5", "--arrivals", "even"],
        &["--rate", "5", "--burstiness", "-1"],
        &["--rate", "5", "--burstiness", "2", "--arrivals", "poisson"],
        &["--rate", "5", "--max-in-flight", "0"],
        &["--rate", "5", "--when-full", "queue"],
        &["--rate", "@nowhere.json"],
        &["--ramp-up-strategy", "linear"],
        &["--slo", "ttft<=500"],
        &["--slo", "tft<=500ms"],
        &["--slo", "ttft<=1s ttft<=2s"],
        &["--slo", ""],
        &["--goodput", "ttft:500", "--slo", "tpot<=50ms"],
        &["--goodput", "ttft=500"],
        &["--min-goodput", "95%"],
    ]
    .into_iter()
    .map(|flags| {
        // nobody listens there
        let url = ["--url", "http://127.0.0.1:9", "--model", "m"];
        let outcome = context.perf(&[&url[..], flags].concat());
        assert_eq!(outcome.code, Some(2), "{flags:?} {outcome:#?}");
        format!("{}\n{}", flags.join(" "), outcome.stderr)
    })
    .collect();
    insta::assert_snapshot!(refused.join("\n"));
}

/// What the tool's own error is on a machine is not a test's business, but that it can say so is.
#[test]
fn the_selftest_compares_with_the_truth() {
    let context = Context::new();
    let outcome = context.run(&["selftest", "--parallel", "4", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let level = &said["levels"][0];
    assert_eq!(level["parallel"], 4, "{outcome:#?}");
    assert_eq!(level["errors"]["requests"], 20);
    assert_eq!(level["errors"]["tokens"], 20 * 16);
    let trusted = level["trusted"].as_bool().unwrap();
    assert_eq!(outcome.code, Some(i32::from(!trusted)));
    assert_eq!(said["trusted"]["streams"].as_u64(), trusted.then_some(4));
}

/// A server that stops for a second moves no request, and every request that was due meanwhile takes
/// until the server goes on: the test of coordinated omission.
#[test]
fn a_server_that_stops_moves_no_request() {
    let run = |pauses: Vec<Pause>| {
        let simulator = Simulator::start(SimConfig {
            profile: Profile {
                ttft_ms: 2.0,
                itl_ms: 0.0,
                ..Profile::default()
            },
            pauses,
            ..SimConfig::default()
        })
        .unwrap();
        let context = Context::new();
        let flags = [
            "--open-loop",
            "--rate",
            "20@2",
            "--seed",
            "5",
            "--max-tokens",
            "1",
        ];
        let outcome = perf(
            &context,
            &simulator,
            // the pause counts from the first request
            &[&flags[..], &["--no-test-connection"]].concat(),
        );
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let due = context.column::<i64>("SELECT scheduled_ns FROM result ORDER BY idx");
        let ended = context.column::<i64>("SELECT ended_ns FROM result ORDER BY idx");
        (due, ended)
    };
    let (paused, ended) = run(vec![Pause {
        after: Duration::from_millis(500),
        length: Duration::from_secs(1),
    }]);
    let (smooth, _) = run(Vec::new());
    let offsets = |due: &[i64]| -> Vec<i64> { due.iter().map(|at| at - due[0]).collect() };
    let (paused_offsets, smooth_offsets) = (offsets(&paused), offsets(&smooth));
    assert_eq!(paused_offsets.len(), smooth_offsets.len());
    for (a, b) in paused_offsets.iter().zip(&smooth_offsets) {
        assert!((a - b).abs() <= 2, "{a} {b}");
    }
    let ms = |ms: i64| ms * 1_000_000;
    let mut held = 0;
    for (offset, (due, ended)) in paused_offsets.iter().zip(paused.iter().zip(&ended)) {
        // what is due a little after the start of the pause was surely read after it
        if (ms(600)..ms(1500)).contains(offset) {
            held += 1;
            let latency = ended - due;
            assert!(latency >= ms(1500) - offset, "{latency} ns at {offset} ns");
        }
    }
    assert!(held >= 10, "{held}");
}

/// Prompts are short or long, so the simulator begins to answer after 20 ms or after 520 ms.
#[test]
fn the_share_of_good_requests_is_that_of_the_truth() {
    let simulator = Simulator::start(SimConfig {
        keeps_truth: true,
        profile: Profile {
            ttft_ms: 20.0,
            itl_ms: 0.0,
            prefill_tokens_per_s: 2000.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let long = "word ".repeat(800);
    context.write("lines.txt", &format!("a\nb\n{long}\nc\n"));
    let url = simulator.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "lines.txt",
        "--parallel",
        "4",
        "-n",
        "40",
        "--max-tokens",
        "2",
        "--slo",
        "ttft<=300ms",
        "--no-test-connection",
    ]);
    let truth = simulator.stop().unwrap().requests;
    assert_eq!(truth.len(), 40, "{outcome:#?}");
    let quick = truth
        .iter()
        .filter(|request| request.tokens[0].1 - request.request_read_ns <= 300_000_000)
        .count();
    assert_eq!(quick, 30);
    let goodput = &context.result()["runs"][0]["goodput"];
    assert_eq!(
        (&goodput["good"], &goodput["due"]),
        (&30.into(), &40.into())
    );
    let by_hand = "SELECT count(*) FROM requests WHERE ttft_ms <= 300";
    assert_eq!(context.column::<i64>(by_hand), [30]);
}
