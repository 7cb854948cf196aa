//! Ctrl-C and SIGTERM, at every stage of a command.

use std::net::{TcpListener, TcpStream};

use evalscope_sim::{Profile, SimConfig, Simulator};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::context::{Context, open, wait_for};
use crate::server::{Recorder, good};

/// Wait until some requests have ended and are in the database.
fn wait_for_rows(context: &Context, run: &str) {
    let path = context.top().join(run).join("benchmark_data.db");
    wait_for("the first rows", || {
        let rows = |path| {
            let query = "SELECT count(*) FROM result";
            open(path).query_row(query, [], |row| row.get::<_, i64>(0))
        };
        (path.is_file() && rows(&path).is_ok_and(|rows| rows > 0)).then_some(())
    });
}

#[test]
fn the_first_lets_requests_end_and_stops_the_simulator() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let context = Context::new();
        let running = context.start(&[
            "--api",
            "local_sim",
            "--prompt",
            "p",
            "--number",
            "100000",
            "--parallel",
            "4",
            "--max-tokens",
            "16",
        ]);
        wait_for_rows(&context, "parallel_4_number_100000");
        running.signal(signal);
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(130), "{outcome:#?}");
        assert!(
            outcome
                .stderr
                .contains("stopping: no more requests are sent"),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome.stdout.contains("the run was interrupted"),
            "{}",
            outcome.stdout
        );
        let run = &context.result()["runs"][0];
        assert_eq!(run["state"], "interrupted");
        assert_eq!(
            run["counts"]["failed"], 0,
            "requests in flight have ended well"
        );
        let succeeded = run["counts"]["succeeded"].as_i64().unwrap();
        assert_eq!(
            context.column::<i64>("SELECT count(*) FROM result"),
            [succeeded]
        );
        let tokens = context.column::<i64>("SELECT DISTINCT completion_tokens FROM result");
        assert_eq!(tokens, [16], "and were not cut");

        let address = outcome.stderr.split("http://").nth(1).unwrap();
        let address = address.split('/').next().unwrap();
        TcpStream::connect(address).expect_err("the simulated server is gone");
    }
}

/// A terminal that is closed can tell it twice, and `nohup` asks to ignore it.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_counts_once_and_not_at_all_under_nohup() {
    let profile = Profile {
        ttft_ms: 400.0,
        ..Profile::default()
    };
    let simulator = Simulator::start(SimConfig {
        profile,
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let args = [
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "4",
        "--max-tokens",
        "4",
    ];
    let context = Context::new();
    let mut running = context.start(&args);
    wait_for_rows(&context, "parallel_1_number_4");
    running.signal(Signal::SIGHUP);
    running.wait_for_stderr("stopping: no more requests are sent");
    running.signal(Signal::SIGHUP);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(
        !outcome.stderr.contains("stopping now"),
        "{}",
        outcome.stderr
    );
    assert_eq!(context.result()["runs"][0]["counts"]["failed"], 0);

    let context = Context::new().with_env("PATH", "/usr/bin:/bin");
    let running = context.start_by(&["nohup"], &args);
    wait_for_rows(&context, "parallel_1_number_4");
    running.signal(Signal::SIGHUP);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(context.result()["runs"][0]["counts"]["succeeded"], 4);
}

#[test]
fn the_second_gives_requests_up_and_keeps_what_came() {
    // two tokens, and then nothing more; the test request gets a whole answer
    let server = Recorder::start(|request, number| {
        if number == 0 {
            return good(request);
        }
        let event = json!({"id": "x", "choices": [{"index": 0, "delta": {"content": "a"}}]});
        let chunk = format!("data: {event}\n\n");
        let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}"
        )
        .into_bytes()
    });
    let url = server.url();
    let context = Context::new();
    let mut running = context.start(&[
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "100",
        "--parallel",
        "3",
    ]);
    wait_for("three requests in flight", || {
        (server.requests().len() == 4).then_some(())
    });
    running.signal(Signal::SIGINT);
    running.wait_for_stderr("stopping: no more requests are sent");
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("stopping now"),
        "{}",
        outcome.stderr
    );
    assert_eq!(server.requests().len(), 4, "nothing more was sent");
    let run = &context.result()["runs"][0];
    assert_eq!(run["state"], "interrupted");
    assert_eq!(
        run["counts"],
        json!({"total": 0, "succeeded": 0, "failed": 0, "not_sent": 0, "shed": 0, "unfinished": 3, "context_limit": 0,
               "by_kind": {}})
    );
    let kept = context.column::<i64>("SELECT json_array_length(chunk_times) FROM result");
    assert_eq!(kept, [2, 2, 2], "the tokens that came are on record");
}

#[test]
fn the_test_request_can_be_interrupted() {
    // connections are made, and never served
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let context = Context::new();
    let running = context.start(&["--url", &url, "--model", "m", "--prompt", "p"]);
    let connection = listener.accept().unwrap();
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("before any load was sent"),
        "{}",
        outcome.stderr
    );
    drop(connection);
}

#[test]
fn a_sweep_ends_with_the_run_that_was_interrupted() {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let context = Context::new();
    let mut running = context.start(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--prompt",
        "p",
        "--number",
        "3",
        "4",
        "--parallel",
        "1",
        "2",
        "--max-tokens",
        "4",
        "--sleep-interval",
        "600",
    ]);
    running.wait_for_stderr("pause of 600 s");
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    let runs = context.result()["runs"].clone();
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!(runs[0]["state"], "finished");
    assert_eq!(runs[0]["counts"]["succeeded"], 3);
}

#[test]
fn a_file_that_never_comes_does_not_hold_the_command() {
    let context = Context::new();
    let pipe = context.path().join("prompts");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let running = context.start(&[
        "--api",
        "local_sim",
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "prompts",
    ]);
    // opens when the command has opened its end, and then says nothing
    let _silent = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(outcome.stderr.contains("stopped before any load was sent"));
}

#[test]
fn a_selftest_leaves_nothing_behind() {
    let context = Context::new();
    let scratch = context.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let context = context.with_env("TMPDIR", scratch.to_str().unwrap());
    let left = || std::fs::read_dir(&scratch).unwrap().count();
    let running = context.begin(&["selftest", "--parallel", "20000"]);
    wait_for("the measurement", || (left() > 0).then_some(()));
    running.signal(Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert!(outcome.stderr.ends_with("stopping\n"), "{outcome:#?}");
    assert_eq!(left(), 0);
}
