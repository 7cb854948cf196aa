//! Requests that wait for each other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::time::Duration;

use evalscope_sim::clock::monotonic_ns;
use evalscope_sim::{
    Fault, FaultRule, Pause, Profile, Service, ServiceSpread, SimConfig, Simulator, Timing,
    TrueRequest,
};
use serde_json::{Value, json};

use crate::client::{Response, chat, post, post_chat, read_all, start};
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

fn open(simulator: &Simulator, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    stream
}

/// Two servers, known service times, first come first served: the truth log says the same.
#[test]
fn drawn_service_times_are_those_of_the_log() {
    let service = Service {
        mean_ms: 20.0,
        spread: ServiceSpread::Exponential,
    };
    let simulator = start(SimConfig {
        profile: Profile {
            timing: Timing::Service(service),
            slots: NonZeroUsize::new(2),
            ..Profile::default()
        },
        keeps_truth: true,
        ..SimConfig::default()
    });
    let mut streams: Vec<_> = (0..12)
        .map(|number| {
            let fields = json!({"stream": number % 2 == 0, "max_tokens": 5});
            open(&simulator, &post_chat(&fields))
        })
        .collect();
    for stream in &mut streams {
        assert!(Response::parse(&read_all(stream).0).complete);
    }
    let truth = simulator.stop().expect("nothing to write");
    assert_eq!(truth.requests.len(), 12);
    let mut free_ns = [0, 0];
    for request in &truth.requests {
        let sequence = request.id.rsplit('-').next().expect("a number");
        let sequence = sequence.parse().expect("a number");
        let service_ns = u64::try_from(service.time(0, sequence).as_nanos()).expect("short");
        let began_ns = request.service_began_ns.expect("it was served");
        assert!(began_ns >= request.request_read_ns);
        assert!(
            request.ended_ns - began_ns >= service_ns - 1000,
            "never early"
        );
        free_ns.sort_unstable();
        // Each conversion of a moment to a stamp reads two clocks: they may differ.
        assert!(
            began_ns + 1_000_000 > free_ns[0],
            "no more than two at once"
        );
        free_ns[0] = began_ns + service_ns;
        assert!((1..=2).contains(&request.busy_slots.expect("it was served")));
        assert!(request.stream == (request.tokens.len() == 5));
    }
    let last = truth.requests.last().expect("some");
    assert!(last.queued_ns > 0, "twelve at once on two slots");
}

#[test]
fn one_batch_serves_all_threads() {
    let simulator = start(SimConfig {
        profile: Profile {
            timing: Timing::Batch("1,0.5".parse().expect("two times")),
            prefill_tokens_per_s: 1000.0,
            slots: NonZeroUsize::new(2),
            ..Profile::default()
        },
        keeps_truth: true,
        threads: NonZeroUsize::new(2).expect("not zero"),
        ..SimConfig::default()
    });
    let request = post_chat(&json!({"stream": true, "max_tokens": 6}));
    let mut streams: Vec<_> = (0..5).map(|_| open(&simulator, &request)).collect();
    for stream in &mut streams {
        assert!(Response::parse(&read_all(stream).0).is_done());
    }
    let truth = simulator.stop().expect("nothing to write");
    let began_ns = |request: &TrueRequest| request.service_began_ns.expect("it was served");
    for request in &truth.requests {
        // Two prompt tokens at 1000/s, and six steps of 1.5 ms at least.
        let first_ns = request.tokens[0].0 - began_ns(request);
        assert!(first_ns >= 3_400_000, "{first_ns}");
        assert!(request.tokens[5].0 - began_ns(request) >= 10_900_000);
        assert!(truth.in_system(began_ns(request)) >= 1);
        assert!((1..=2).contains(&request.busy_slots.expect("it was served")));
    }
    let mut starts: Vec<_> = truth.requests.iter().map(began_ns).collect();
    starts.sort_unstable();
    let prefill_ns = 3_400_000;
    assert!(
        starts
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= prefill_ns),
        "one prompt after the other: {starts:?}"
    );
}

#[test]
fn every_fault_ends_in_a_batch_too() {
    // These are slow, and their timing does not depend on that of the tokens.
    let slow = [Fault::OversizedEvent, Fault::SlowHeaders, Fault::SplitBytes];
    for fault in Fault::ALL
        .iter()
        .copied()
        .filter(|fault| !slow.contains(fault))
    {
        let response = |timing| {
            let simulator = start(SimConfig {
                profile: Profile {
                    timing,
                    ..Profile::default()
                },
                faults: vec![FaultRule::always(fault)],
                stall: Duration::from_millis(1),
                ..SimConfig::default()
            });
            let fields = json!({"stream": true, "max_tokens": 7});
            let bytes = read_all(&mut open(&simulator, &post_chat(&fields))).0;
            String::from_utf8_lossy(&bytes)
                .matches("content\":\"")
                .count()
        };
        let batch = Timing::Batch("0.1,0".parse().expect("two times"));
        assert_eq!(response(batch), response(Timing::Latencies), "{fault}");
    }
}

/// The third connection is established, but the server reads it only when another has ended.
#[test]
fn connections_above_the_limit_wait() {
    let simulator = start(SimConfig {
        max_connections: NonZeroUsize::new(2),
        keeps_truth: true,
        threads: NonZeroUsize::new(2).expect("not zero"),
        ..SimConfig::default()
    });
    let keep_alive = post("/v1/chat/completions", "", &chat(&json!({})).to_string());
    let mut served: Vec<_> = (0..2).map(|_| open(&simulator, &keep_alive)).collect();
    for stream in &mut served {
        stream.read_exact(&mut [0; 64]).expect("a response");
    }
    let mut waiting = open(&simulator, &post_chat(&json!({})));
    // Another round trip on a connection that is served.
    served[0]
        .write_all(keep_alive.as_bytes())
        .expect("the server reads");
    while simulator.requests() < 3 {
        std::thread::yield_now();
    }
    let closed_ns = monotonic_ns();
    served.pop();
    assert!(Response::parse(&read_all(&mut waiting).0).complete);
    let truth = simulator.stop().expect("nothing to write");
    assert_eq!(truth.requests.len(), 4);
    assert!(truth.requests[3].request_read_ns > closed_ns);
}

/// The server pauses as soon as it has read its first request: nothing more is read or written.
#[test]
fn a_pause_stops_everything() {
    let length = Duration::from_millis(100);
    let simulator = start(SimConfig {
        pauses: vec![Pause {
            after: Duration::ZERO,
            length,
        }],
        keeps_truth: true,
        ..SimConfig::default()
    });
    let request = post_chat(&json!({"stream": true, "max_tokens": 20}));
    let mut streams: Vec<_> = (0..10).map(|_| open(&simulator, &request)).collect();
    streams.push(open(&simulator, "GET /health HTTP/1.0\r\n\r\n"));
    for stream in &mut streams {
        assert!(Response::parse(&read_all(stream).0).complete);
    }
    let truth = simulator.stop().expect("nothing to write");
    let [first, rest @ ..] = &truth.requests[..] else {
        unreachable!("ten requests")
    };
    let resumed_ns = first.request_read_ns + 100_000_000;
    assert!(first.tokens[0].0 >= resumed_ns);
    assert!(
        rest.iter()
            .all(|request| request.request_read_ns >= resumed_ns)
    );
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
