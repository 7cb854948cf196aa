//! What the truth log says of each request as it was received.

use std::io::Write;
use std::net::TcpStream;

use evalscope_sim::{CacheBlocks, Echo, SimConfig, SimError, Simulator, ToolCalls};
use serde_json::json;

use crate::client::{Response, chat, exchange, post, start};

/// Requests on a connection of their own; returns its port.
fn on_one_connection(simulator: &Simulator, requests: &[String]) -> u16 {
    let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
    for request in requests {
        stream
            .write_all(request.as_bytes())
            .expect("the server reads");
    }
    let port = stream.local_addr().expect("it is connected").port();
    let (bytes, _) = crate::client::read_all(&mut stream);
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    port
}

fn request(headers: &str, body: &str) -> String {
    post("/v1/chat/completions", headers, body)
}

#[test]
fn bodies_headers_and_connections_are_logged() {
    let simulator = start(SimConfig {
        keeps_truth: true,
        truth_bodies: true,
        log_headers: vec!["X-Seen".to_owned(), "x-other".to_owned()],
        conversation_header: Some("X-Session-ID".to_owned()),
        ..SimConfig::default()
    });
    let one = chat(&json!({"max_tokens": 2})).to_string();
    let two = json!({"prompt": "é", "max_tokens": 1, "stream": true, "n": 3}).to_string();
    let port = on_one_connection(
        &simulator,
        &[
            request("X-seen: a  b\r\nx-unseen: c\r\nx-session-id: s-1\r\n", &one),
            post("/v1/completions", "connection: close\r\n", &two),
        ],
    );
    on_one_connection(&simulator, &[request("connection: close\r\n", &one)]);
    let truth = simulator.stop().expect("nothing to write");
    let [first, second, third] = &truth.requests[..] else {
        panic!("{truth:?}");
    };
    assert_eq!((first.messages, second.messages), (Some(1), None));
    assert_eq!((first.completion_tokens, second.completion_tokens), (2, 3));
    assert!(first.request_began_ns > 0 && first.request_began_ns <= first.request_read_ns);
    // It came with the one before.
    assert!(second.request_began_ns >= first.ended_ns);
    assert_eq!(first.body_bytes, one.len() as u64);
    assert_eq!(second.body_bytes, two.len() as u64);
    assert_eq!(first.body_sha256, third.body_sha256);
    assert_ne!(first.body_sha256, second.body_sha256);
    assert_eq!((first.peer_port, second.peer_port), (port, port));
    let connections = [first, second, third].map(|request| request.connection);
    assert_eq!(connections, [1, 1, 2]);
    assert_eq!(first.conversation.as_deref(), Some("s-1"));
    assert_eq!(second.conversation, None);
    let headers: Vec<_> = first.headers.iter().collect();
    assert_eq!(headers, [(&"x-seen".to_owned(), &"a  b".to_owned())]);
    assert!(third.headers.is_empty());
}

/// The hash is what `sha256sum` prints for these bytes.
#[test]
fn hashes_are_of_the_bytes_of_the_body() {
    let simulator = start(SimConfig {
        keeps_truth: true,
        truth_bodies: true,
        ..SimConfig::default()
    });
    let body = r#"{"messages":[{"role":"user","content":"hello"}],"max_tokens":1}"#;
    // In two chunks: the framing does not count.
    let (one, two) = body.split_at(7);
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    exchange(simulator.addr(), &chunked);
    exchange(simulator.addr(), &request("connection: close\r\n", body));
    let truth = simulator.stop().expect("nothing to write");
    for request in &truth.requests {
        assert_eq!(request.body_bytes, 63);
        assert_eq!(
            request.body_sha256.as_deref(),
            Some("00479662467e3f69da05c82c50b065170f15fe3ce2d2d57e012fc470864ac706")
        );
    }
    assert_eq!(truth.requests.len(), 2);

    let plain = start(SimConfig {
        keeps_truth: true,
        ..SimConfig::default()
    });
    exchange(plain.addr(), &request("connection: close\r\n", body));
    let truth = plain.stop().expect("nothing to write");
    assert_eq!(truth.requests[0].body_sha256, None, "not asked for");
}

#[test]
fn session_tokens_are_given_and_judged() {
    let simulator = start(SimConfig {
        keeps_truth: true,
        faults: vec!["http-500:every=3".parse().expect("a rule")],
        conversation_header: Some("x-session".to_owned()),
        session_token_header: Some("X-Token".to_owned()),
        ..SimConfig::default()
    });
    let mut tokens: Vec<Option<String>> = Vec::new();
    let mut ask = |stream: bool, headers: &str| {
        let body = chat(&json!({"max_tokens": 1, "stream": stream})).to_string();
        let headers = format!("connection: close\r\nx-session: s\r\n{headers}");
        let (bytes, _) = exchange(simulator.addr(), &request(&headers, &body));
        let response = Response::parse(&bytes);
        let token = response
            .head
            .lines()
            .find_map(|line| line.strip_prefix("x-token: "));
        tokens.push(token.map(str::to_owned));
        tokens.last().cloned().flatten().unwrap_or_default()
    };
    let one = ask(true, "");
    let two = ask(false, &format!("x-token: {one}\r\n"));
    ask(true, &format!("x-token: {two}\r\n"));
    ask(true, &format!("x-token: {two}\r\n"));
    ask(true, &format!("x-token: {two}\r\n"));
    ask(true, "");
    let truth = simulator.stop().expect("nothing to write");
    let logged: Vec<_> = truth
        .requests
        .iter()
        .map(|request| request.session_token.clone())
        .collect();
    assert_eq!(logged, tokens, "as logged and as received");
    assert_eq!(tokens[2], None, "an error gives none");
    assert_ne!(one, two);
    let echoes: Vec<_> = truth
        .requests
        .iter()
        .filter_map(|request| request.session_token_echo)
        .collect();
    assert_eq!(
        echoes,
        [
            Echo::First,
            Echo::Echoed,
            Echo::Echoed,
            Echo::Echoed,
            Echo::Wrong,
            Echo::Missing
        ]
    );
}

#[test]
fn settings_are_checked() {
    for name in ["", "x session", "x:y", "é"] {
        let refused = Simulator::start(SimConfig {
            log_headers: vec![name.to_owned()],
            ..SimConfig::default()
        });
        let error = refused.expect_err(name);
        assert!(matches!(error, SimError::HeaderName { .. }), "{error}");
    }
    let blocks = |text: &str| text.parse::<CacheBlocks>().ok();
    assert_eq!(blocks("0"), Some(CacheBlocks::None));
    assert_eq!(blocks("inf"), Some(CacheBlocks::Unlimited));
    assert!(matches!(blocks("7"), Some(CacheBlocks::Limited(n)) if n.get() == 7));
    assert_eq!(["-1", "", "1.5", "all"].map(blocks), [None; 4]);
    let share = |text: &str| text.parse::<ToolCalls>().ok();
    assert_eq!(share("always"), Some(ToolCalls::Always));
    assert_eq!(share("0.5"), Some(ToolCalls::Share(0.5)));
    assert_eq!(["-1", "1.01", "NaN", ""].map(share), [None; 4]);
}
