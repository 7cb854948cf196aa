//! `evalscope sim` as a program: what its flags do, by its own truth log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use evalscope_sim::{Service, ServiceSpread, Truth};

use crate::context::Context;

/// Start the simulator, send it streaming requests one after the other, stop it; its truth.
fn truth_of(flags: &[&str], requests: usize) -> Truth {
    let context = Context::new();
    let common = [
        "sim",
        "--port",
        "0",
        "--exit-with-parent",
        "--truth-log",
        "truth.jsonl",
    ];
    let mut child = context
        .command(&[&common, flags].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    let body = r#"{"messages":[{"role":"user","content":"12345"}],"stream":true,"max_tokens":4}"#;
    for _ in 0..requests {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n\
             {body}",
            body.len()
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.contains("[DONE]"), "{response}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let log = std::fs::read_to_string(context.path().join("truth.jsonl")).unwrap();
    Truth::parse(&log).unwrap()
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

#[test]
fn a_service_time_is_known_from_seed_and_number() {
    let flags = [
        "--slots",
        "1",
        "--service-ms",
        "20",
        "--service-dist",
        "exp",
        "--seed",
        "9",
    ];
    let truth = truth_of(&flags, 5);
    let service = Service {
        mean_ms: 20.0,
        spread: ServiceSpread::Exponential,
    };
    assert_eq!(truth.requests.len(), 5);
    for (sequence, request) in (1..).zip(&truth.requests) {
        assert_eq!(request.busy_slots, Some(1));
        let took_ns = request.tokens[3].0 - request.service_began_ns.unwrap();
        let due_ns = ns(service.time(9, sequence));
        assert!(took_ns + 1_000_000 >= due_ns, "{took_ns} of {due_ns}");
    }
}

/// A fixed time of 10 ms, two prompt tokens at 1000 a second, steps of 4 + 1 ms; the first request
/// also has the pause before it. No token is early.
#[test]
fn a_batch_pauses_and_drifts() {
    let flags = [
        "--batch-itl",
        "4,1",
        "--prefill-tok-s",
        "1000",
        "--ttft-ms",
        "10",
        "--max-connections",
        "1",
        "--fault",
        "pause:50ms@0s",
        "--fault",
        "crlf",
        "--drift",
        "60%/h",
    ];
    let truth = truth_of(&flags, 2);
    let [first, second] = &truth.requests[..] else {
        panic!("{truth:?}");
    };
    let step_ns = |at: usize| second.tokens[at].0 - second.request_read_ns;
    assert!(first.tokens[0].0 - first.request_read_ns >= ns(Duration::from_millis(57)));
    assert!(step_ns(0) >= ns(Duration::from_millis(17)));
    assert!(step_ns(3) >= ns(Duration::from_millis(32)));
    assert_eq!(first.fault.unwrap().name(), "crlf");
}
