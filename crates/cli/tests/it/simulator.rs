//! `evalscope sim` as a program: what its flags do, by its own truth log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use evalscope_sim::{Echo, Service, ServiceSpread, Truth};

use crate::context::Context;

/// Start the simulator, send it streaming requests one after the other, stop it; its truth.
fn truth_of(flags: &[&str], requests: usize) -> Truth {
    let body = r#"{"messages":[{"role":"user","content":"12345"}],"stream":true,"max_tokens":4}"#;
    outcome_of(flags, &vec![("", body); requests]).truth
}

/// What a simulator has left.
struct Outcome {
    truth: Truth,
    responses: Vec<String>,
    /// What it printed after its address.
    printed: String,
}

/// Start the simulator, send it requests with these headers and bodies one after the other, and
/// stop it.
fn outcome_of(flags: &[&str], requests: &[(&str, &str)]) -> Outcome {
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
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    let mut responses = Vec::new();
    for (headers, body) in requests {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\n{headers}content-length: {}\
             \r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        responses.push(response);
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let mut printed = String::new();
    stdout.read_to_string(&mut printed).unwrap();
    let log = std::fs::read_to_string(context.path().join("truth.jsonl")).unwrap();
    Outcome {
        truth: Truth::parse(&log).unwrap(),
        responses,
        printed,
    }
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

#[test]
fn flags_for_conversations_reach_the_server() {
    let flags = [
        "--ttft-ms",
        "0",
        "--itl-ms",
        "0",
        "--cache-blocks",
        "inf",
        "--max-model-len",
        "300",
        "--tool-calls",
        "1",
        "--reasoning-tokens",
        "3",
        "--truth-bodies",
        "--log-header",
        "X-One",
        "--log-header",
        "x-two",
        "--conversation-header",
        "x-session",
        "--session-token-header",
        "x-token",
    ];
    let body = |chars: usize, more: &str| {
        let text = "x".repeat(chars);
        format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"max_tokens":9{more}}}"#)
    };
    let tools = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
    let (first, second, long) = (body(400, ""), body(400, tools), body(1200, ""));
    let headers = "x-session: s\r\nx-one: 1\r\nX-Two: 2\r\n";
    let outcome = outcome_of(
        &flags,
        &[
            (headers, &first),
            ("x-session: s\r\n", &second),
            ("", &long),
        ],
    );
    let [plain, called, refused] = &outcome.responses[..] else {
        panic!("three responses");
    };
    assert!(
        plain.contains("\r\nx-token: token-chatcmpl-sim-1\r\n"),
        "{plain}"
    );
    assert!(plain.contains("\"reasoning_content\":\""), "{plain}");
    assert!(
        called.contains("\"finish_reason\":\"tool_calls\""),
        "{called}"
    );
    assert!(called.contains("\"cached_tokens\":96"), "{called}");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(
        refused.contains("maximum context length is 300 tokens"),
        "{refused}"
    );

    let [one, two] = &outcome.truth.requests[..] else {
        panic!("{:?}", outcome.truth);
    };
    assert_eq!(
        (one.hit_blocks, two.hit_blocks, two.cached_tokens),
        (0, 6, 96)
    );
    assert_eq!(one.body_sha256.as_ref().unwrap().len(), 64);
    assert_eq!(one.headers.len(), 2);
    assert_eq!(two.conversation.as_deref(), Some("s"));
    assert_eq!(two.session_token_echo, Some(Echo::Missing));
    assert_eq!(
        outcome.printed,
        "prefix cache: 96 of 200 prompt tokens of 2 requests (48.0 %)\n"
    );
}

#[test]
fn flags_of_the_simulator_are_checked() {
    for (flags, says) in [
        (["--cache-blocks", "many"], "allowed are a number of blocks"),
        (["--tool-calls", "1.5"], "allowed are 0 to 1 and always"),
        (["--max-model-len", "0"], "--max-model-len"),
        (["--log-header", "x y"], "--truth-log"),
        (
            ["--session-token-header", "x y"],
            "not the name of a header",
        ),
    ] {
        let context = Context::new();
        let flags = [&["sim", "--port", "0"], &flags[..]].concat();
        let output = context.command(&flags).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{flags:?}");
        assert!(stderr.contains(says), "{flags:?}: {stderr}");
    }
}
