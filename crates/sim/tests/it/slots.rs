//! Requests that wait for each other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;

use evalscope_sim::{Profile, SimConfig};
use serde_json::{Value, json};

use crate::client::{Response, post_chat, read_all, start};
use crate::truth::{log_path, stamps, truth};

#[test]
fn slots_are_taken_in_turn() {
    let path = log_path("slots_are_taken_in_turn");
    let simulator = start(SimConfig {
        profile: Profile {
            ttft_ms: 10.0,
            itl_ms: 2.0,
            slots: NonZeroUsize::new(1),
            ..Profile::default()
        },
        truth_log: Some(path.clone()),
        threads: NonZeroUsize::new(2).expect("not zero"),
        ..SimConfig::default()
    });
    let request = post_chat(&json!({"stream": true, "max_tokens": 4}));
    let mut streams: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
            stream
                .write_all(request.as_bytes())
                .expect("the server reads");
            stream
        })
        .collect();
    for stream in &mut streams {
        assert!(Response::parse(&read_all(stream).0).is_done());
    }
    simulator.stop().expect("the log is written");
    let mut lines = truth(&path);
    lines.sort_by_key(|line| stamps(line)[0]);
    let mut free_ns = 0;
    for line in &lines {
        let stamps = stamps(line);
        assert!(stamps[0].0 > free_ns, "two responses at once");
        free_ns = stamps[3].1;
    }
    let queued = |line: &Value| line["queued_ns"].as_u64().expect("ns");
    assert_eq!(queued(&lines[0]), 0);
    assert!(queued(&lines[1]) > 0 && queued(&lines[2]) > 10_000_000);
}

#[test]
fn a_stalled_answer_gives_up_its_slot() {
    let simulator = start(SimConfig {
        profile: Profile {
            slots: NonZeroUsize::new(1),
            ..Profile::default()
        },
        faults: vec!["stall:every=1".parse().expect("a rule")],
        ..SimConfig::default()
    });
    let request = post_chat(&json!({"stream": true, "max_tokens": 4}));
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
        stream
            .write_all(request.as_bytes())
            .expect("the server reads");
        // Waiting requests also get the head, but tokens only come with a slot.
        let mut some = [0; 500];
        stream.read_exact(&mut some).expect("some tokens");
        assert!(String::from_utf8_lossy(&some).contains("\"role\""));
        open.push(stream);
    }
}
