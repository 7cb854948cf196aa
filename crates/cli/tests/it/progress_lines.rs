//! `--progress json`: everything on stderr is JSON, a line for each event.

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::Value;

use crate::context::Context;

/// The lines of stderr, each of which is an object.
fn lines(stderr: &str) -> Vec<Value> {
    stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn a_sweep_is_told_line_by_line() {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 700.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let url = simulator.url();
    let line = [
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "sample",
        "--parallel",
        "1,2",
        "--number",
        "3",
        "--max-tokens",
        "2",
        "--sleep-interval",
        "0",
        "--progress",
        "json",
    ];
    let outcome = context.measure(&line);
    let lines = lines(&outcome.stderr);
    let runs = ["parallel_1_number_3", "parallel_2_number_3"];
    for event in ["ready", "ended"] {
        let told = of(&lines, event);
        let told: Vec<_> = told.iter().map(|line| line["run"].as_str()).collect();
        assert_eq!(told, runs.map(Some), "{event}");
    }
    // three requests of 0.7 s, one after the other
    let progress = of(&lines, "progress");
    let first = progress[0];
    assert_eq!(first["run"], runs[0]);
    assert_eq!(first["phase"], "measuring");
    assert_eq!(first["total_requests"], 3);
    assert_eq!(first["ended_conversations"], Value::Null);
    let mut ended = progress.iter().map(|line| line["ended_requests"].as_u64());
    assert!(ended.any(|ended| ended == Some(1)), "{progress:?}");
    for last in of(&lines, "ended") {
        assert_eq!(last["state"], "finished");
        assert_eq!(last["ended_requests"], 3);
        assert_eq!(last["failed_requests"], 0);
        assert_eq!(last["in_flight_requests"], 0);
        assert_eq!(last["output_tokens"], 6);
        assert_eq!(last["done_ratio"], 1.0);
        let folder = last["folder"].as_str().unwrap();
        assert!(context.path().join(folder).is_dir(), "{folder}");
    }
    let messages = of(&lines, "message");
    let results = messages.last().unwrap()["text"].as_str().unwrap();
    assert!(results.starts_with("results are in "), "{results}");
    assert!(outcome.stdout.contains("TTFT"), "{outcome:#?}");
    let moments = lines.iter().map(|line| line["unix_s"].as_f64().unwrap());
    assert!(moments.min_by(f64::total_cmp).unwrap() > 1.7e9);
}

#[test]
fn warnings_and_errors_are_lines_too() {
    let context = Context::new();
    let outcome = context.perf(&[
        "--api",
        "local_sim",
        "--dataset",
        "nowhere.txt",
        "--progress",
        "json",
    ]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    // a wrong command line is refused before it is read
    assert!(outcome.stderr.starts_with("error: "), "{outcome:#?}");
    let outcome = context.perf(&[
        "--api",
        "local_sim",
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "nowhere.txt",
        "--progress",
        "json",
    ]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let told = lines(&outcome.stderr);
    let error = of(&told, "error")[0]["text"].as_str().unwrap();
    assert!(error.contains("nowhere.txt"), "{error}");
    assert!(!error.starts_with("error"), "{error}");
    // no warm-up, and all at once
    let outcome = context.measure(&[
        "--api",
        "local_sim",
        "--dataset",
        "sample",
        "--number",
        "2",
        "--parallel",
        "4",
        "--max-tokens",
        "2",
        "--progress",
        "json",
    ]);
    let told = lines(&outcome.stderr);
    let warning = of(&told, "warning")[0]["text"].as_str().unwrap();
    assert!(
        warning.starts_with("`--parallel 4` is limited to 2"),
        "{warning}"
    );
}
