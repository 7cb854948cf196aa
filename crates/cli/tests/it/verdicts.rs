//! What a run says of its load: whether the server kept up, what was shed and given up, how many
//! requests were good, and the plateau. All of it against the rows of the database.

use std::num::NonZeroUsize;

use evalscope_sim::{Profile, SimConfig, Simulator, TrueRequest};
use serde_json::{Value, json};

use crate::context::{Context, Outcome};

/// One request at a time, 20 ms each: no more than 50 a second.
fn one_at_a_time() -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 20.0,
            prefill_tokens_per_s: 0.0,
            itl_ms: 0.0,
            slots: NonZeroUsize::new(1),
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

/// Measure a server and return how it went, and what was written of the only run.
fn measured(server: &Simulator, flags: &[&str]) -> (Context, Outcome, Value) {
    let context = Context::new();
    let url = server.url();
    let always = [
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--max-tokens",
        "2",
    ];
    let outcome = context.perf(&[&always, flags].concat());
    let run = context.result()["runs"][0].clone();
    (context, outcome, run)
}

fn ids(run: &Value) -> Vec<&str> {
    let warnings = run["warnings"].as_array().unwrap();
    warnings
        .iter()
        .map(|warning| warning["id"].as_str().unwrap())
        .collect()
}

/// Four times what the server can take: most requests are still waiting when the time for them is
/// over.
#[test]
fn an_open_loop_above_capacity_is_not_called_kept_up() {
    let server = one_at_a_time();
    let (context, outcome, run) = measured(
        &server,
        &[
            "--open-loop",
            "--rate",
            "200",
            "--arrivals",
            "constant",
            "--number",
            "300",
            "--drain-timeout",
            "0.2",
            "--max-error-rate",
            "10%",
        ],
    );
    let load = &run["load"];
    let count = |what: &str| run["counts"][what].as_u64().unwrap();
    assert_eq!(count("total") + count("unfinished"), 300, "{run:#}");
    assert!(count("unfinished") > 100, "{run:#}");
    assert_eq!(load["unfinished"], count("unfinished"));
    assert_eq!(load["asked_rate_per_s"], 200.0);
    assert_ne!(load["verdict"], "kept_up");
    assert!(
        load["completed_per_s"].as_f64().unwrap() < 100.0,
        "{load:#}"
    );
    assert!(load["in_flight"]["max"].as_u64().unwrap() > 100, "{load:#}");
    assert_eq!(load["cap_reached_s"], Value::Null);
    // what the server did not answer counts against it
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("failed, were shed or did not finish"),
        "{}",
        outcome.stderr
    );
    assert!(ids(&run).contains(&"requests_unfinished"));
    assert_eq!(run["metrics"]["latency_s"]["p99_ci"], Value::Null);
    assert_eq!(run["metrics"]["latency_s"]["p99_with_failures"], "failed");
    // the schedule: 300 moments, 5 ms apart
    let drawn = load["drawn_rate_per_s"].as_f64().unwrap();
    assert!((drawn - 200.0).abs() < 0.01, "{drawn}");
    let first_rows = ["Asked rate (req/s)", "Sent rate (req/s)", "Completed rate"];
    let rows = outcome.stdout.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<&str> = rows.skip(2).take(3).collect();
    for (row, label) in rows.iter().zip(first_rows) {
        assert!(row.contains(label), "{row} is not {label}");
    }
    // a view that says how long each has waited at least
    let bound = "SELECT count(*) FROM requests WHERE error_kind = 'unfinished' \
                 AND latency_ms IS NULL AND latency_from_schedule_ms > 0";
    let bounds = u64::try_from(context.column::<i64>(bound)[0]).unwrap();
    assert_eq!(bounds, count("unfinished"));
}

#[test]
fn requests_that_are_shed_at_the_cap_are_counted() {
    let server = one_at_a_time();
    let (context, outcome, run) = measured(
        &server,
        &[
            "--open-loop",
            "--rate",
            "200",
            "--number",
            "100",
            "--max-in-flight",
            "2",
            "--when-full",
            "drop",
            "--max-error-rate",
            "1%",
            "--slo",
            "latency<=60s",
        ],
    );
    let shed = run["counts"]["shed"].as_u64().unwrap();
    assert!(shed > 20, "{run:#}");
    assert_eq!(run["counts"]["total"].as_u64().unwrap() + shed, 100);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    for id in ["in_flight_cap_reached", "requests_shed"] {
        assert!(ids(&run).contains(&id), "{id}: {run:#}");
    }
    // a request that was shed did not wait: it has no latency, and the share of good ones knows it
    let from_schedule = &run["metrics"]["latency_from_schedule_s"];
    assert_eq!(from_schedule["count"], 100 - shed);
    assert_eq!(run["goodput"]["due"], 100);
    assert_eq!(run["goodput"]["good"], 100 - shed);
    let first = "SELECT min(scheduled_ns) / 1e9 FROM result WHERE error_kind = 'shed'";
    let first: f64 = context.column(first)[0];
    let reached = run["load"]["cap_reached_s"].as_f64().unwrap();
    // the start of the schedule is some milliseconds after that of the run's clock
    assert!(
        reached <= first && first - reached < 5.0,
        "{reached} {first}"
    );
}

#[test]
fn a_run_that_ends_at_the_cap_says_so() {
    let server = one_at_a_time();
    let (_, outcome, run) = measured(
        &server,
        &[
            "--open-loop",
            "--rate",
            "200",
            "--number",
            "300",
            "--max-in-flight",
            "5",
            "--when-full",
            "stop",
        ],
    );
    // it did what it was asked to
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(run["load"]["stopped_by"], "in_flight_cap");
    assert!(run["counts"]["total"].as_u64().unwrap() < 300, "{run:#}");
    assert!(run["load"]["cap_reached_s"].as_f64().unwrap() > 0.0);
    for id in ["in_flight_cap_reached", "stopped_by_load"] {
        assert!(ids(&run).contains(&id), "{id}: {run:#}");
    }
}

#[test]
fn segments_share_the_requests_of_a_profile() {
    let server = one_at_a_time();
    let (_, _, run) = measured(
        &server,
        &[
            "--open-loop",
            "--rate",
            "20@1,+5,10..30@1",
            "--arrivals",
            "constant",
        ],
    );
    let segments = run["segments"].as_array().unwrap();
    let texts: Vec<&str> = segments
        .iter()
        .map(|segment| segment["segment"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["20@1", "+5,10..30@1"]);
    let due = |at: usize| segments[at]["due"].as_u64().unwrap();
    assert_eq!(due(0), 20);
    assert_eq!(due(0) + due(1), run["counts"]["total"].as_u64().unwrap());
    assert_eq!(run["load"]["profile"], "20@1,+5,10..30@1");
    assert_eq!(run["load"]["asked_rate_per_s"], 22.5);
}

#[test]
fn the_share_of_good_requests_is_that_of_the_rows() {
    let server = one_at_a_time();
    // three wait for one another, so latencies are about 60 ms, but for the first
    let (context, outcome, run) = measured(
        &server,
        &[
            "--parallel",
            "3",
            "--number",
            "60",
            "--slo",
            "latency<=61ms ttft<=60s",
            "--min-goodput",
            "99.9%",
        ],
    );
    let goodput = &run["goodput"];
    let query = "SELECT count(*) FROM requests WHERE succeeded AND latency_ms <= 61";
    let good = context.column::<i64>(query)[0];
    assert_eq!(goodput["good"], good);
    assert_eq!(goodput["due"], 60);
    assert_eq!(goodput["from"], "send");
    let conditions = goodput["conditions"].as_array().unwrap();
    assert_eq!(conditions[0]["met"], good);
    assert_eq!(conditions[0]["only_failed_by"], 60 - good);
    assert_eq!(conditions[1]["met"], 60);
    assert_eq!(outcome.code, Some(i32::from(good < 60)), "{outcome:#?}");
    assert!(outcome.stdout.contains("| Good requests "), "{outcome:#?}");
}

#[test]
fn too_few_good_requests_end_in_an_error() {
    let server = one_at_a_time();
    let flags = |least| {
        [
            "--parallel",
            "1",
            "--number",
            "5",
            "--slo",
            "latency<=1ms",
            "--min-goodput",
            least,
        ]
    };
    let (_, outcome, run) = measured(&server, &flags("10%"));
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert_eq!(run["goodput"]["share"], 0.0);
    assert!(
        outcome.stderr.contains("0 of 5 requests met `--slo`"),
        "{}",
        outcome.stderr
    );
    let (_, outcome, _) = measured(&server, &flags("0"));
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

#[test]
fn the_plateau_has_the_requests_that_were_sent_in_it() {
    let server = one_at_a_time();
    let (context, outcome, run) = measured(
        &server,
        &[
            "--parallel",
            "3",
            "--number",
            "150",
            "--warmup-num",
            "2",
            "--confidence",
        ],
    );
    let plateau = &run["plateau"];
    assert_eq!(run["no_plateau"], Value::Null);
    let (start, end) = (&plateau["start_s"], &plateau["end_s"]);
    let inside = format!(
        "SELECT count(*) FROM result WHERE dispatched_ns / 1e9 BETWEEN {start} - 1e-9 AND {end} + 1e-9"
    );
    assert_eq!(plateau["requests"], context.column::<i64>(&inside)[0]);
    assert!(plateau["requests"].as_u64().unwrap() >= 100, "{plateau:#}");
    assert_eq!(plateau["metrics"]["ttft_ms"]["count"], plateau["succeeded"]);
    assert!(ids(&run).contains(&"warmup_below_concurrency"));
    assert!(outcome.stdout.contains("Intervals within this run:"));
    assert!(outcome.stdout.contains("Plateau"));
    // a closed loop has no schedule to keep
    assert_eq!(run["load"]["verdict"], Value::Null);
    assert_eq!(run["segments"], json!([]));
}

/// When a response ended, by the simulator: between these moments, before and after its last write.
fn truly_ended(request: &TrueRequest) -> (u64, u64) {
    (request.tokens.last().unwrap().0, request.ended_ns)
}

/// The simulator knows which requests found a free slot, and when responses ended and requests came.
#[test]
fn the_plateau_is_where_the_simulator_says() {
    const PLACES: usize = 3;
    // the third first response is the longest by far: until then the two other slots serve many
    let server = Simulator::start(SimConfig {
        keeps_truth: true,
        profile: Profile {
            ttft_ms: 20.0,
            prefill_tokens_per_s: 2000.0,
            itl_ms: 2.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let long = "word ".repeat(600);
    let short = "a\n".repeat(150);
    context.write("lines.txt", &format!("a\nb\n{long}\n{short}"));
    let url = server.url();
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
        "3",
        "--number",
        "150",
        "--warmup-num",
        "2",
        "--max-tokens",
        "2",
        "--no-test-connection",
    ]);
    let truth = server.stop().unwrap().requests;
    assert_eq!(truth.len(), 152, "{outcome:#?}");
    let busy: Vec<u64> = truth.iter().filter_map(|r| r.busy_slots).collect();
    assert_eq!(busy[..PLACES], [1, 2, 3]);
    let opening = || truth[..PLACES].iter().map(truly_ended);
    let full = (
        opening().map(|ended| ended.0).max().unwrap(),
        opening().map(|ended| ended.1).max().unwrap(),
    );
    // the last request was sent when all but the two others in flight had ended
    let mut ends: Vec<u64> = truth.iter().map(|r| truly_ended(r).0).collect();
    ends.sort_unstable();
    let last = (
        ends[truth.len() - PLACES - 1],
        truth.last().unwrap().request_read_ns,
    );
    let meta = context.column::<String>("SELECT value FROM run WHERE key = 'meta'");
    let meta: Value = serde_json::from_str(&meta[0]).unwrap();
    let began_ns = meta["clock"]["monotonic_start_ns"].as_u64().unwrap();
    let since_began_s = |ns: u64| (ns - began_ns) as f64 / 1e9;
    let plateau = &context.result()["runs"][0]["plateau"];
    let figure = |key: &str| plateau[key].as_f64().unwrap();
    let start_s = figure("start_s") - figure("start_moved_s");
    for (what, found_s, (from, to)) in [("start", start_s, full), ("end", figure("end_s"), last)] {
        let (from_s, to_s) = (since_began_s(from), since_began_s(to));
        assert!(
            from_s <= found_s && found_s <= to_s + 0.001,
            "the {what} is at {found_s}, not in {from_s} to {to_s}"
        );
    }
}
