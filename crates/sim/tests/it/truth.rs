//! The content of the truth log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig};
use serde_json::{Value, json};

use crate::client::{ask, post_chat, start};

/// The latest lines of a truth log.
pub(crate) fn truth(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log exists");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

pub(crate) fn log_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"))
}

pub(crate) fn stamps(line: &Value) -> Vec<(u64, u64)> {
    line["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|pair| (pair[0].as_u64().expect("ns"), pair[1].as_u64().expect("ns")))
        .collect()
}

#[test]
fn truth_has_a_pair_for_each_token() {
    let path = log_path("truth_has_a_pair_for_each_token");
    let simulator = start(SimConfig {
        profile: Profile {
            ttft_ms: 20.0,
            itl_ms: 4.0,
            ..Profile::default()
        },
        truth_log: Some(path.clone()),
        ..SimConfig::default()
    });
    let started_ns = evalscope_sim::clock::monotonic_ns();
    ask(&simulator, &json!({"stream": true, "max_tokens": 5}));
    let ended_ns = evalscope_sim::clock::monotonic_ns();
    ask(&simulator, &json!({"max_tokens": 1}));
    simulator.stop().expect("the log is written");

    let lines = truth(&path);
    assert_eq!(
        (&lines[1]["stream"], &lines[1]["tokens"]),
        (&json!(false), &json!([])),
        "a response that is not a stream has no tokens"
    );
    let line = &lines[0];
    assert_eq!(line["id"], "chatcmpl-sim-1");
    assert_eq!(line["stream"], true);
    assert_eq!(
        (&line["prompt_tokens"], &line["queued_ns"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(line["fault"], Value::Null);
    let read_ns = line["request_read_ns"].as_u64().expect("ns");
    let stamps = stamps(line);
    assert_eq!(stamps.len(), 5);
    assert!(started_ns < read_ns && stamps[4].0 < ended_ns);
    assert!(stamps.iter().all(|(before, after)| before < after));
    assert!(stamps.is_sorted());
    assert!(
        stamps[0].0 - read_ns >= 20_000_000,
        "the first token is never early"
    );
    assert!(stamps[4].0 - read_ns >= 36_000_000, "nor is the last");
    let began_ns = line["service_began_ns"].as_u64().expect("ns");
    let done_ns = line["ended_ns"].as_u64().expect("ns");
    assert!(read_ns <= began_ns && began_ns < stamps[0].0);
    assert!(stamps[4].1 <= done_ns);
    assert_eq!(line["busy_slots"], 1);
}

#[test]
fn truth_stays_in_memory_if_asked_for() {
    let simulator = start(SimConfig {
        faults: vec!["http-503:every=3".parse().expect("a rule")],
        keeps_truth: true,
        ..SimConfig::default()
    });
    for fields in [
        json!({"stream": true}),
        json!({}),
        json!({"n": "many"}),
        json!({}),
    ] {
        ask(&simulator, &fields);
    }
    let truth = simulator.stop().expect("nothing to write");
    let ids: Vec<_> = truth.requests.iter().map(|request| &request.id).collect();
    assert_eq!(
        ids,
        ["chatcmpl-sim-1", "chatcmpl-sim-2", "chatcmpl-sim-3"],
        "no refused ones"
    );
    assert_eq!(truth.arrival_gaps_ns().len(), 2);
    let [streamed, whole, failed] = &truth.requests[..] else {
        unreachable!("three requests")
    };
    assert_eq!((streamed.stream, streamed.tokens.len()), (true, 128));
    assert_eq!((whole.stream, whole.tokens.len()), (false, 0));
    assert_eq!(
        (failed.fault, failed.service_began_ns),
        (Some(Fault::Http503), None)
    );
    // One after the other.
    assert_eq!(truth.in_system(whole.request_read_ns), 1);
    assert_eq!(truth.in_system(whole.request_read_ns - 1), 0);
    assert_eq!(truth.in_service(failed.request_read_ns), 0);
}

#[test]
fn truth_shares_the_pair_of_a_batched_write() {
    let path = log_path("truth_shares_the_pair_of_a_batched_write");
    let simulator = start(SimConfig {
        truth_log: Some(path.clone()),
        ..SimConfig::default()
    });
    ask(
        &simulator,
        &json!({"stream": true, "max_tokens": 1000, "n": 2}),
    );
    simulator.stop().expect("the log is written");
    let mut stamps = stamps(&truth(&path)[0]);
    assert_eq!(stamps.len(), 2000);
    stamps.dedup();
    assert!(stamps.len() < 20, "{} writes", stamps.len());
}

#[test]
fn truth_is_kept_when_the_client_leaves() {
    let path = log_path("truth_is_kept_when_the_client_leaves");
    let simulator = start(SimConfig {
        faults: vec![FaultRule::always(Fault::Stall)],
        truth_log: Some(path.clone()),
        ..SimConfig::default()
    });
    let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
    let request = post_chat(&json!({"stream": true, "max_tokens": 4}));
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut some = [0; 64];
    stream.read_exact(&mut some).expect("some tokens");
    drop(stream);
    simulator.stop().expect("the log is written");
    let lines = truth(&path);
    assert_eq!(lines[0]["fault"], "stall");
    assert_eq!(stamps(&lines[0]).len(), 2);
}
