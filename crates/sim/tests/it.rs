//! Talks to the simulated server over plain sockets and looks at the raw bytes: no HTTP client
//! that could forgive a mistake.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator};
use serde_json::{Value, json};

fn start(config: SimConfig) -> Simulator {
    Simulator::start(config).expect("a free port")
}

fn with_fault(fault: Fault) -> Simulator {
    start(SimConfig {
        faults: vec![FaultRule::always(fault)],
        stall: Duration::from_millis(1),
        ..SimConfig::default()
    })
}

fn chat(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "12345"}]});
    let object = body.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    body
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn post_chat(fields: &Value) -> String {
    post(
        "/v1/chat/completions",
        "connection: close\r\n",
        &chat(fields).to_string(),
    )
}

/// All bytes up to the end of the connection, and how it ended.
fn exchange(address: SocketAddr, request: &str) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    read_all(&mut stream)
}

fn read_all(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let outcome = stream.read_to_end(&mut bytes);
    (bytes, outcome.err().map(|error| error.kind()))
}

struct Response {
    status: u16,
    /// In lower case.
    head: String,
    body: Vec<u8>,
    /// Whether the body ended as its framing demands.
    complete: bool,
}

impl Response {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a whole head")
            + 4;
        let head = String::from_utf8(bytes[..end].to_vec())
            .expect("ASCII")
            .to_lowercase();
        let status = head[9..12].parse().expect("a status");
        let raw = &bytes[end..];
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map(|length| length.parse::<usize>().expect("a number"));
        let (body, complete) = match length {
            Some(length) => (raw.to_vec(), raw.len() == length),
            None if head.contains("transfer-encoding: chunked") => dechunk(raw),
            None => (raw.to_vec(), true),
        };
        Response {
            status,
            head,
            body,
            complete,
        }
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The payloads of the events, without `[DONE]`.
    fn events(&self) -> Vec<Value> {
        self.text()
            .split(['\r', '\n'])
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .filter(|payload| *payload != "[DONE]")
            .filter_map(|payload| serde_json::from_str(payload).ok())
            .collect()
    }

    fn is_done(&self) -> bool {
        self.text().contains("[DONE]")
    }

    fn finish_reasons(&self) -> Vec<String> {
        self.events()
            .iter()
            .filter_map(|event| {
                event["choices"][0]["finish_reason"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect()
    }
}

fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = raw.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let line = std::str::from_utf8(&raw[..end]).expect("ASCII");
        let Ok(size) = usize::from_str_radix(line.split(';').next().expect("one part"), 16) else {
            return (body, false);
        };
        raw = &raw[end + 2..];
        if size == 0 {
            return (body, raw.ends_with(b"\r\n"));
        }
        if raw.len() < size + 2 {
            body.extend_from_slice(raw);
            return (body, false);
        }
        body.extend_from_slice(&raw[..size]);
        assert_eq!(&raw[size..size + 2], b"\r\n");
        raw = &raw[size + 2..];
    }
}

fn ask(simulator: &Simulator, fields: &Value) -> Response {
    let (bytes, error) = exchange(simulator.addr(), &post_chat(fields));
    assert_eq!(error, None);
    Response::parse(&bytes)
}

fn text_of(events: &[Value]) -> String {
    events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect()
}

#[test]
fn plain_stream() {
    let simulator = start(SimConfig::default());
    let response = ask(&simulator, &json!({"stream": true, "max_tokens": 4}));
    assert_eq!(response.status, 200);
    assert!(
        response.head.contains("content-type: text/event-stream"),
        "{}",
        response.head
    );
    assert!(response.complete && response.is_done());
    let events = response.events();
    assert_eq!(events.len(), 6, "role, four tokens, finish");
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(events[0]["id"], "chatcmpl-sim-1");
    assert_eq!(events[0]["model"], "m");
    assert_eq!(events[5]["choices"][0]["delta"], json!({}));
    assert_eq!(response.finish_reasons(), ["length"]);
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    assert_eq!(simulator.requests(), 1);
    simulator.stop().expect("no truth log to fail");
}

#[test]
fn usage_comes_last_and_only_if_asked_for() {
    let simulator = start(SimConfig::default());
    let options = json!({
        "stream": true, "max_tokens": 4, "n": 2, "stream_options": {"include_usage": true},
    });
    let events = ask(&simulator, &options).events();
    let last = events.last().expect("events");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"],
        json!({
            "prompt_tokens": 2,
            "total_tokens": 10,
            "completion_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    );
}

#[test]
fn whole_document_has_the_same_words_as_the_stream() {
    let document = ask(&start(SimConfig::default()), &json!({"max_tokens": 9})).json();
    let events = ask(
        &start(SimConfig::default()),
        &json!({"max_tokens": 9, "stream": true}),
    );
    assert_eq!(document["object"], "chat.completion");
    assert_eq!(
        document["choices"][0]["message"]["content"],
        text_of(&events.events())
    );
    assert_eq!(document["choices"][0]["finish_reason"], "length");
    assert_eq!(document["usage"]["completion_tokens"], 9);
}

#[test]
fn completions_and_default_length() {
    let simulator = start(SimConfig {
        profile: Profile {
            default_output_tokens: 3,
            ..Profile::default()
        },
        ..SimConfig::default()
    });
    let body = r#"{"prompt":[1,2,3,4,5],"stream":true,"stream_options":{"include_usage":true}}"#;
    let request = post("/v1/completions", "connection: close\r\n", body);
    let response = Response::parse(&exchange(simulator.addr(), &request).0);
    let events = response.events();
    assert_eq!(events[0]["id"], "cmpl-sim-1");
    assert_eq!(events[0]["object"], "text_completion");
    assert!(
        !events[0]["choices"][0]["text"]
            .as_str()
            .expect("text")
            .is_empty()
    );
    assert_eq!(response.finish_reasons(), ["stop"]);
    assert_eq!(events.last().expect("usage")["usage"]["prompt_tokens"], 5);
    assert_eq!(
        events.last().expect("usage")["usage"]["completion_tokens"],
        3
    );
}

#[test]
fn a_long_stream_without_latency_is_whole() {
    let simulator = start(SimConfig::default());
    let events = ask(&simulator, &json!({"stream": true, "max_tokens": 5000})).events();
    assert_eq!(events.len(), 5002);
}

#[test]
fn connections_are_kept_and_bodies_may_be_chunked() {
    let simulator = start(SimConfig::default());
    let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
    let body = chat(&json!({"max_tokens": 1})).to_string();
    let (start, end) = body.split_at(10);
    let chunked = format!(
        "POST /chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{start}\r\n{:x};x=y\r\n{end}\r\n0\r\nx-trailer: 1\r\n\r\n",
        start.len(),
        end.len()
    );
    stream
        .write_all(chunked.as_bytes())
        .expect("the server reads");
    stream
        .write_all(b"GET /v1/models HTTP/1.1\r\n\r\n")
        .expect("the server reads");
    stream
        .write_all(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
        .expect("still reads");
    let (bytes, error) = read_all(&mut stream);
    assert_eq!(error, None);
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert!(
        text.contains("chatcmpl-sim-1") && text.contains("\"object\":\"list\""),
        "{text}"
    );
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let simulator = start(SimConfig::default());
    let mut stream = TcpStream::connect(simulator.addr()).expect("the server listens");
    let body = chat(&json!({"max_tokens": 1})).to_string();
    let request = post(
        "/v1/chat/completions",
        "expect: 100-continue\r\nconnection: close\r\n",
        &body,
    );
    let (head, body) = request.split_at(request.len() - body.len());
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("an interim head");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).expect("the server reads");
    assert!(read_all(&mut stream).0.starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn http_1_0_gets_no_chunks() {
    let simulator = start(SimConfig::default());
    let request =
        post_chat(&json!({"stream": true, "max_tokens": 2})).replace("HTTP/1.1", "HTTP/1.0");
    let response = Response::parse(&exchange(simulator.addr(), &request).0);
    assert!(!response.head.contains("chunked"), "{}", response.head);
    assert!(response.is_done());
}

#[test]
fn wrong_requests_are_refused_with_a_reason() {
    let simulator = start(SimConfig::default());
    let status = |request: &str| {
        let response = Response::parse(&exchange(simulator.addr(), request).0);
        assert!(response.json()["error"]["message"].is_string());
        response.status
    };
    let close = "connection: close\r\n";
    assert_eq!(
        status(&post("/v1/chat/completions", close, "{\"messages\":")),
        400
    );
    assert_eq!(status(&post("/v1/embeddings", close, "{}")), 404);
    assert_eq!(status(&post("/v1/models", close, "{}")), 405);
    assert_eq!(
        status("GET /v1/completions HTTP/1.1\r\nconnection: close\r\n\r\n"),
        405
    );
    assert_eq!(
        status("POST /v1/completions HTTP/1.1\r\ncontent-length: 67108865\r\n\r\n"),
        413
    );
    assert_eq!(status("nonsense\r\n\r\n"), 400);
    assert_eq!(simulator.requests(), 0);
}

#[test]
fn the_key_is_asked_for() {
    let simulator = start(SimConfig {
        api_key: Some("k".to_owned()),
        ..SimConfig::default()
    });
    let body = chat(&json!({"max_tokens": 1})).to_string();
    for (header, status) in [
        ("", 401),
        ("authorization: Bearer x\r\n", 401),
        ("Authorization: Bearer k\r\n", 200),
    ] {
        let headers = format!("connection: close\r\n{header}");
        let request = post("/v1/chat/completions", &headers, &body);
        assert_eq!(
            Response::parse(&exchange(simulator.addr(), &request).0).status,
            status
        );
    }
}

#[test]
fn stream_options_can_be_rejected() {
    let simulator = start(SimConfig {
        reject_stream_options: true,
        ..SimConfig::default()
    });
    let refused = ask(
        &simulator,
        &json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["param"], "stream_options");
    assert_eq!(
        ask(&simulator, &json!({"stream": true, "max_tokens": 1})).status,
        200
    );
}

/// The latest stamps of a truth log, by line.
fn truth(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log exists");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn log_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"))
}

fn stamps(line: &Value) -> Vec<(u64, u64)> {
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
    assert_eq!(lines.len(), 1, "answers without a stream have no line");
    let line = &lines[0];
    assert_eq!(line["id"], "chatcmpl-sim-1");
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
        assert!(stamps[0].0 > free_ns, "two answers at once");
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
        // The head comes even to those that wait; a token only to those with a slot.
        let mut some = [0; 500];
        stream.read_exact(&mut some).expect("some tokens");
        assert!(String::from_utf8_lossy(&some).contains("\"role\""));
        open.push(stream);
    }
}

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
    assert_eq!(response.events().len(), 10, "all but the broken one");
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

/// What a client must make of every oddity: the same text as of a plain answer.
#[test]
fn oddities_have_the_text_of_a_plain_answer() {
    let options = json!({"stream": true, "max_tokens": 8});
    let plain = text_of(&ask(&start(SimConfig::default()), &options).events());
    let not_content = [
        Fault::Reasoning,
        Fault::ReasoningContent,
        Fault::ReasoningDetails,
        Fault::ToolCalls,
        Fault::Refusal,
        // All of its words are Chinese.
        Fault::SplitUtf8,
        // The real head is the second.
        Fault::EarlyHints,
        Fault::JsonInsteadOfStream,
    ];
    for fault in Fault::ALL.iter().filter(|fault| fault.is_oddity()) {
        if not_content.contains(fault) {
            continue;
        }
        let response = ask(&with_fault(*fault), &options);
        assert!(response.complete, "{fault}");
        assert_eq!(text_of(&response.events()), plain, "{fault}");
        assert_eq!(response.finish_reasons(), ["length"], "{fault}");
        assert_eq!(response.is_done(), *fault != Fault::NoDone, "{fault}");
    }
}

#[test]
fn oddities_of_the_event_stream() {
    let options = json!({
        "stream": true, "max_tokens": 8, "stream_options": {"include_usage": true},
    });
    let text = |fault| ask(&with_fault(fault), &options).text().to_owned();
    assert!(text(Fault::Crlf).ends_with("data: [DONE]\r\n\r\n"));
    let cr = text(Fault::Cr);
    assert!(cr.ends_with("data: [DONE]\r\r") && !cr.contains('\n'));
    assert!(text(Fault::NoSpace).starts_with("data:{"));
    assert!(text(Fault::Comments).starts_with(": ping\n\ndata: {"));
    assert!(text(Fault::EventIdLines).contains("\n\nevent: message\nid: 3\ndata: {"));
    assert!(text(Fault::RetryLine).starts_with("retry: 3000\n\ndata: {"));
    assert!(text(Fault::NoBlankEnd).ends_with("\n\ndata: [DONE]\n"));
    assert_eq!(text(Fault::NoUsage).matches("usage").count(), 0);
    assert_eq!(
        text(Fault::PartialUsage)
            .matches("\"usage\":{\"prompt_tokens\":2}")
            .count(),
        1
    );
    assert_eq!(
        text(Fault::UsageEverywhere).matches("\"usage\":{").count(),
        11
    );
    assert_eq!(text(Fault::ErrorNull).matches("\"error\":null").count(), 11);
    assert_eq!(text(Fault::NoObject).matches("\"object\"").count(), 0);
    assert_eq!(text(Fault::Timings).matches("\"predicted_n\":8").count(), 1);
    assert_eq!(
        text(Fault::Reasoning).matches("{\"reasoning\":\"").count(),
        3
    );
    assert_eq!(
        text(Fault::ReasoningContent)
            .matches("{\"reasoning_content\":\"")
            .count(),
        3
    );
    assert_eq!(
        text(Fault::ReasoningDetails)
            .matches("reasoning.text")
            .count(),
        3
    );
    assert_eq!(text(Fault::Refusal).matches("{\"refusal\":\"").count(), 8);
    assert_eq!(text(Fault::DeltaNull).matches("\"delta\":null").count(), 1);
    assert_eq!(
        text(Fault::ContentNull).matches("\"content\":null").count(),
        2
    );
    let in_finish = ask(&with_fault(Fault::UsageWithChoices), &options).events();
    assert_eq!(
        in_finish.last().expect("events")["choices"][0]["finish_reason"],
        "length"
    );
    assert_eq!(
        in_finish.last().expect("events")["usage"]["completion_tokens"],
        8
    );
    assert_eq!(
        ask(&with_fault(Fault::MultiToken), &options).events().len(),
        6
    );
    let tool = ask(&with_fault(Fault::ToolCalls), &options);
    assert_eq!(tool.finish_reasons(), ["tool_calls"]);
}

#[test]
fn oddities_of_http() {
    let options = json!({"stream": true, "max_tokens": 4});
    let keep_alive = post("/v1/chat/completions", "", &chat(&options).to_string());
    let (bytes, _) = exchange(with_fault(Fault::NoKeepAlive).addr(), &keep_alive);
    let response = Response::parse(&bytes);
    assert!(response.head.contains("connection: close") && !response.head.contains("chunked"));
    assert!(response.is_done());

    let raw = |fault| exchange(with_fault(fault).addr(), &post_chat(&options)).0;
    let response = Response::parse(&raw(Fault::ContentLengthStream));
    assert!(response.head.contains("content-length: ") && response.complete);
    assert!(raw(Fault::Trailers).ends_with(b"\r\n0\r\nx-sim-trailer: done\r\n\r\n"));
    let extended = String::from_utf8(raw(Fault::ChunkExtensions)).expect("UTF-8");
    assert!(extended.contains(";sim=1;note=\"a;b\"\r\n"), "{extended}");
    let hinted = String::from_utf8(raw(Fault::EarlyHints)).expect("UTF-8");
    assert!(hinted.starts_with("HTTP/1.1 103 Early Hints\r\n") && hinted.contains("HTTP/1.1 200"));
    let document = Response::parse(&raw(Fault::JsonInsteadOfStream));
    assert_eq!(document.json()["object"], "chat.completion");
    let split = Response::parse(&raw(Fault::SplitUtf8));
    assert!(split.is_done() && split.text().contains("\r\n\r\n"));
    assert!(!text_of(&split.events()).is_ascii());
    assert_eq!(Response::parse(&raw(Fault::SlowHeaders)).status, 200);
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

#[test]
fn unusable_settings_are_refused() {
    let profile = Profile {
        itl_ms: f64::NAN,
        ..Profile::default()
    };
    let error = Simulator::start(SimConfig {
        profile,
        ..SimConfig::default()
    })
    .expect_err("not a number");
    assert!(error.to_string().contains("itl-ms"), "{error}");
    let truth_log = Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("missing/truth.jsonl"));
    let error = Simulator::start(SimConfig {
        truth_log,
        ..SimConfig::default()
    })
    .expect_err("no such directory");
    assert!(error.to_string().contains("truth.jsonl"), "{error}");
}
