//! Requested faults.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use evalscope_sim::{Fault, SimConfig};
use serde_json::{Value, json};

use crate::client::{Response, ask, dechunk, exchange, post_chat, start, with_fault};

#[test]
fn faults_hit_the_requests_of_their_rule() {
    let simulator = start(SimConfig {
        faults: vec!["http-429:every=2".parse().expect("a rule")],
        fault_after: 2,
        ..SimConfig::default()
    });
    let statuses: Vec<u16> = (0..6)
        .map(|_| ask(&simulator, &json!({"max_tokens": 1})).status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429, 200, 429]);
}

#[test]
fn statuses_have_error_bodies() {
    for (fault, status) in [
        (Fault::Http400, 400),
        (Fault::Http401, 401),
        (Fault::Http404, 404),
        (Fault::Http422, 422),
        (Fault::Http429, 429),
        (Fault::Http500, 500),
        (Fault::Http503, 503),
        (Fault::ErrorBody, 200),
    ] {
        let response = ask(&with_fault(fault), &json!({"stream": true}));
        assert_eq!(response.status, status);
        assert!(
            response.head.contains("application/json"),
            "{}",
            response.head
        );
        assert!(response.json()["error"]["message"].is_string());
        assert_eq!(response.head.contains("retry-after: 1\r\n"), status == 429);
    }
    let response = ask(&with_fault(Fault::Redirect307), &json!({"stream": true}));
    assert_eq!(response.status, 307);
    assert!(
        response
            .head
            .contains("location: http://redirected.invalid/")
    );
}

#[test]
fn connections_break_before_the_answer() {
    let request = post_chat(&json!({"stream": true}));
    for (fault, error) in [
        (Fault::ResetBefore, Some(ErrorKind::ConnectionReset)),
        (Fault::CloseBefore, None),
        (Fault::StallBefore, None),
    ] {
        let simulator = with_fault(fault);
        assert_eq!(
            exchange(simulator.addr(), &request),
            (Vec::new(), error),
            "{fault}"
        );
    }
    let garbage = exchange(with_fault(Fault::Garbage).addr(), &request).0;
    assert!(!garbage.is_empty() && !garbage.starts_with(b"HTTP"));
}

#[test]
fn streams_break_in_the_middle() {
    let request = post_chat(&json!({"stream": true, "max_tokens": 8}));
    for (fault, complete, error) in [
        (Fault::Cut, true, None),
        (Fault::CutChunked, false, None),
        (Fault::Reset, false, Some(ErrorKind::ConnectionReset)),
        (Fault::GarbageChunk, false, None),
        (Fault::Stall, false, None),
    ] {
        let (bytes, ended) = exchange(with_fault(fault).addr(), &request);
        assert_eq!(ended, error, "{fault}");
        let response = Response::parse(&bytes);
        assert_eq!(response.complete, complete, "{fault}");
        assert_eq!(
            response.events().len(),
            5,
            "{fault}: role and half of eight tokens"
        );
        assert!(
            !response.is_done() && response.finish_reasons().is_empty(),
            "{fault}"
        );
    }
}

#[test]
fn errors_come_as_events() {
    let options = json!({"stream": true, "max_tokens": 8});
    let last = |fault| ask(&with_fault(fault), &options);
    let response = last(Fault::ErrorEvent);
    assert_eq!(response.events()[4]["error"]["code"], 500);
    assert!(response.is_done() && response.complete);
    let response = last(Fault::ErrorEventNamed);
    assert!(
        response
            .text()
            .contains("\n\nevent: error\ndata: {\"message\":\"")
    );
    assert!(!response.is_done() && response.complete);
    assert!(last(Fault::ErrorString).events()[4]["error"].is_string());
    assert_eq!(last(Fault::FinishError).finish_reasons(), ["error"]);

    let response = last(Fault::BrokenJson);
    assert_eq!(response.events().len(), 10, "all except the broken one");
    assert_eq!(response.text().matches("data: ").count(), 12);

    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let events = ask(&with_fault(Fault::Empty), &options).events();
    assert_eq!(events.len(), 3, "role, finish, usage");
    assert_eq!(events[2]["usage"]["completion_tokens"], 0);
}

#[test]
fn an_event_can_be_too_long() {
    let simulator = with_fault(Fault::OversizedEvent);
    let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
    let request = post_chat(&json!({"stream": true, "max_tokens": 1}));
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut bytes = vec![0; 3 << 20];
    stream.read_exact(&mut bytes).expect("much more than that");
    let (body, complete) = dechunk(
        &bytes[bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head")
            + 4..],
    );
    assert!(!complete);
    assert!(
        body[1000..]
            .iter()
            .all(|byte| *byte == b'x' || *byte == b'\r' || *byte == b'\n')
    );
}

#[test]
fn documents_break_too() {
    let ended = |fault| {
        let (bytes, error) = exchange(with_fault(fault).addr(), &post_chat(&json!({})));
        (Response::parse(&bytes), error)
    };
    for fault in [Fault::Cut, Fault::Stall, Fault::GarbageChunk] {
        let (response, error) = ended(fault);
        assert!(!response.complete && error.is_none(), "{fault}");
    }
    assert_eq!(ended(Fault::Reset).1, Some(ErrorKind::ConnectionReset));
    let (broken, _) = ended(Fault::BrokenJson);
    assert!(broken.complete && serde_json::from_slice::<Value>(&broken.body).is_err());
    let (tool, _) = ended(Fault::ToolCalls);
    assert_eq!(tool.json()["choices"][0]["finish_reason"], "tool_calls");
}
