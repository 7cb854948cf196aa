//! The ways a run ends before its time, and what is then on record; arrivals that were due.

use std::net::TcpListener;

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::json;

use crate::context::{Context, Outcome};
use crate::server::{Recorder, good, refusal};

fn perf(context: &Context, url: &str, more: &[&str]) -> Outcome {
    let args = ["--url", url, "--model", "m", "--dataset", "sample"];
    context.perf(&[args.as_slice(), more].concat())
}

#[test]
fn a_server_that_is_not_there_is_given_up() {
    // a port that was free a moment ago and refuses
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let context = Context::new();
    let flags = "--no-test-connection --parallel 4 --number 1000 --give-up-after 1";
    let flags: Vec<&str> = flags.split(' ').collect();
    let outcome = perf(&context, &format!("http://127.0.0.1:{port}"), &flags);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("no request has reached the server for"),
        "{}",
        outcome.stderr
    );
    let run = &context.result()["runs"][0];
    assert_eq!(run["state"], "gave_up");
    // 0, 0.1, 0.3, 0.7 and 1.5 s after the first, of four slots
    let total = run["counts"]["total"].as_u64().unwrap();
    assert!((8..=24).contains(&total), "{total}");
    assert!(
        outcome.stdout.contains("the run gave up"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_server_that_refuses_everything_alike_is_given_up() {
    let server = Recorder::start(|_, _| refusal("401 Unauthorized", "no such key"));
    let context = Context::new();
    let flags = [
        "--no-test-connection",
        "--parallel",
        "2",
        "--number",
        "1000",
    ];
    let outcome = perf(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome
            .stderr
            .contains("the server refused the first 20 requests alike: status 401: no such key"),
        "{}",
        outcome.stderr
    );
    assert_eq!(context.result()["runs"][0]["state"], "gave_up");
    assert!((20..=22).contains(&server.requests().len()));

    // who does not want that says so
    let context = Context::new();
    let flags = "--no-test-connection --parallel 2 --number 50 --give-up-after 0";
    let flags: Vec<&str> = flags.split(' ').collect();
    let outcome = perf(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let run = &context.result()["runs"][0];
    assert_eq!(
        (&run["state"], &run["counts"]["total"]),
        (&json!("finished"), &json!(50))
    );
}

#[test]
fn a_server_that_comes_back_is_gone_on_with() {
    let server = Recorder::start(|request, number| {
        if number < 3 {
            Vec::new()
        } else {
            good(request)
        }
    });
    let context = Context::new();
    let flags = ["--no-test-connection", "--parallel", "1", "--number", "8"];
    let outcome = perf(&context, &server.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = &context.result()["runs"][0];
    assert_eq!(run["state"], "finished");
    assert_eq!(run["counts"]["by_kind"], json!({"truncated": 3}));
    // 0.1, 0.2 and 0.4 s between the first four
    let waits = context.column::<f64>(
        "SELECT (b.dispatched_ns - a.ended_ns) / 1e6 FROM result a JOIN result b ON b.idx = a.idx + 1 \
         ORDER BY a.idx",
    );
    for (wait, at_least) in waits.iter().zip([100.0, 200.0, 400.0]) {
        assert!(*wait >= at_least, "{waits:?}");
    }
    // a slot that waits on purpose is not late: it waited for 100 ms and more, and a busy machine takes a few
    let lag = run["metrics"]["client_lag_ms"]["p99"].as_f64().unwrap();
    assert!(lag < 90.0, "{lag}");
}

#[test]
fn what_was_due_and_never_sent_is_on_record() {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 400.0,
            itl_ms: 10.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let flags = "--rate 50 --parallel 2 --duration 2 --number 1000 --max-tokens 5";
    let flags: Vec<&str> = flags.split(' ').collect();
    let outcome = perf(&context, &simulator.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = &context.result()["runs"][0];
    let count = |key: &str| run["counts"][key].as_u64().unwrap();
    // some 100 are due in two seconds, at most 10 can be sent
    assert!(count("total") <= 12, "{}", run["counts"]);
    assert!(count("not_sent") >= 60, "{}", run["counts"]);
    assert_eq!(
        count("failed"),
        0,
        "what was not sent did not fail at the server"
    );
    let due = context.column::<i64>("SELECT idx FROM result ORDER BY idx");
    let want: Vec<i64> = (0..).take(due.len()).collect();
    assert_eq!(due, want, "every arrival once");
    let from_schedule = &run["metrics"]["latency_from_schedule_s"];
    assert_eq!(
        from_schedule["count"].as_u64().unwrap(),
        count("succeeded") + count("not_sent")
    );
    assert!(
        from_schedule["p99"].as_f64().unwrap() > 1.5,
        "{from_schedule}"
    );
    for words in [
        "Average latency from schedule",
        "requests were due but never sent",
    ] {
        assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
    }
    let folder = context.run_folder();
    let summary = crate::context::json(&folder.join("benchmark_summary.json"));
    assert!(summary["Avg Latency From Schedule (s)"].as_f64().unwrap() > 0.5);
    let rows = crate::context::json(&folder.join("benchmark_percentile.json"));
    assert!(rows[13]["TTFT From Schedule (ms)"].as_f64().unwrap() > 1500.0);
}

/// A machine that opens few files.
#[cfg(target_os = "linux")]
#[test]
fn few_open_files_end_a_command_with_a_reason() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let url = simulator.url();
    let limited = |files: &str, more: &[&str]| {
        let context = Context::new();
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        let args = [
            "--url",
            &url,
            "--model",
            "m",
            "--prompt",
            "p",
            "--number",
            "100",
            "--max-tokens",
            "2",
            "--parallel",
            "64",
        ];
        let running = context.start_by(
            &["/bin/sh", "-c", &script],
            &[args.as_slice(), more].concat(),
        );
        let outcome = running.finish();
        (context, outcome)
    };
    // fewer slots than were asked for, said before the load
    let (_context, outcome) = limited("100", &["--client-threads", "1"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome.stderr.contains(
            "`--parallel 64` is limited to 50 in flight: this process may not open more files"
        ),
        "{}",
        outcome.stderr
    );
    // receiving threads that cannot start: an end, and a reason
    let (_context, outcome) = limited("40", &["--client-threads", "32"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("cannot start an event loop"),
        "{}",
        outcome.stderr
    );
}

/// A machine with few ports: a network of its own, which no special rights are needed for.
#[cfg(target_os = "linux")]
#[test]
fn requests_of_an_open_loop_wait_for_a_free_port() {
    let few_ports = "PATH=/usr/sbin:/usr/bin:/sbin:/bin; ip link set lo up && \
                     echo 40000 40063 >/proc/sys/net/ipv4/ip_local_port_range";
    let alone = ["unshare", "-Urn", "sh", "-c"];
    let may = std::process::Command::new(alone[0])
        .args(&alone[1..])
        .arg(few_ports)
        .output();
    if !may.is_ok_and(|may| may.status.success()) {
        // some systems give no network of its own to everyone
        return;
    }
    let context = Context::new();
    let script = format!("{few_ports} && exec \"$0\" \"$@\"");
    let running = context.start_by(
        &["/usr/bin/env", "unshare", "-Urn", "sh", "-c", &script],
        &[
            "--api",
            "local_sim",
            "--prompt",
            "p",
            "--open-loop",
            "--rate",
            "+150",
            "--max-tokens",
            "16",
        ],
    );
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let waited = context.column::<i64>("SELECT sum(waited_for_slot) FROM requests WHERE succeeded");
    // half of the 64 ports are left for others
    assert_eq!(waited, [150 - 32], "{outcome:#?}");
    assert!(
        outcome.stdout.contains("net.ipv4.ip_local_port_range"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn no_more_slots_than_requests() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let context = Context::new();
    let flags = "--parallel 100000000000 --number 4 --max-tokens 2";
    let flags: Vec<&str> = flags.split(' ').collect();
    let outcome = perf(&context, &simulator.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome.stderr.contains(
            "`--parallel 100000000000` is limited to 4 in flight: the run has only 4 requests"
        ),
        "{}",
        outcome.stderr
    );
}

#[test]
fn choices_are_told_apart() {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 5.0,
            itl_ms: 10.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let flags = "--n-choices 4 --number 4 --parallel 2 --max-tokens 12";
    let flags: Vec<&str> = flags.split(' ').collect();
    let outcome = perf(&context, &simulator.url(), &flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = &context.result()["runs"][0];
    assert_eq!(run["most_choices"], 4);
    for metric in ["tpot_ms", "itl_ms"] {
        let mean = run["metrics"][metric]["mean"].as_f64().unwrap();
        // the interleaved events of four choices are 2.5 ms apart
        assert!(mean > 9.0, "{metric}: {mean}");
    }
    assert_eq!(run["tokens"]["output"], 4 * 4 * 12);
    assert!(
        outcome.stdout.contains("Choices per request"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_data_set_that_was_only_read_ahead_did_not_begin_again() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    for (number, again) in [("60", false), ("160", true)] {
        let context = Context::new();
        context.write("lines", &"a prompt\n".repeat(100));
        let flags = [
            "--dataset",
            "custom",
            "--dataset-path",
            "lines",
            "--rate",
            "400",
            "--parallel",
            "64",
            "--max-tokens",
            "2",
            "--number",
            number,
        ];
        let outcome = perf(&context, &simulator.url(), &flags);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(
            outcome.stderr.contains("it was started over"),
            again,
            "{}",
            outcome.stderr
        );
    }
}
