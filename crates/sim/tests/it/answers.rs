//! Valid responses, and invalid requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use evalscope_sim::{Profile, Service, SimConfig, Simulator, Timing};
use serde_json::json;

use crate::client::{Response, ask, chat, exchange, post, post_chat, read_all, start, text_of};

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
    simulator
        .stop()
        .expect("without a truth log, this cannot fail");
}

/// However the time of its tokens comes about, and whatever else runs.
#[test]
fn a_response_has_exactly_as_many_tokens_as_asked_for() {
    let timings = [
        Timing::Latencies,
        Timing::Service(Service {
            mean_ms: 5.0,
            spread: "gamma:0.7".parse().expect("a distribution"),
        }),
        Timing::Batch("0.1,0.01".parse().expect("two times")),
    ];
    for timing in timings {
        let simulator = start(SimConfig {
            profile: Profile {
                timing,
                slots: NonZeroUsize::new(3),
                ..Profile::default()
            },
            ..SimConfig::default()
        });
        std::thread::scope(|scope| {
            for tokens in [1, 2, 3, 17, 100] {
                let simulator = &simulator;
                scope.spawn(move || {
                    let fields = json!({
                        "stream": true, "max_tokens": tokens, "ignore_eos": true,
                        "stream_options": {"include_usage": true},
                    });
                    let response = ask(simulator, &fields);
                    assert!(response.complete && response.is_done(), "{timing:?}");
                    let events = response.events();
                    assert_eq!(events.len(), tokens + 3, "role, tokens, finish, usage");
                    let usage = &events[tokens + 2]["usage"];
                    assert_eq!(usage["completion_tokens"], tokens, "{timing:?}");
                    assert_eq!(response.finish_reasons(), ["length"]);
                    let whole = ask(simulator, &json!({"max_tokens": tokens})).json();
                    assert_eq!(whole["usage"]["completion_tokens"], tokens, "{timing:?}");
                });
            }
        });
    }
}

#[test]
fn without_an_end_only_the_length_ends_a_response() {
    let simulator = start(SimConfig::default());
    for (ignore_eos, reason) in [(json!(false), "stop"), (json!(true), "length")] {
        let fields = json!({"stream": true, "ignore_eos": ignore_eos});
        assert_eq!(ask(&simulator, &fields).finish_reasons(), [reason]);
    }
    let refused = ask(&simulator, &json!({"ignore_eos": 1}));
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("ignore_eos"))
    );
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
    assert_eq!(status(&post("/v1/pictures", close, "{}")), 404);
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
