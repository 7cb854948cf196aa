//! What a request has of its own reaches the server, and no other: from an item over body and head
//! to the wire.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use evalscope_core::engine::{HttpTransport, Server, probe};
use evalscope_core::protocol::{BodyBuilder, BodyRules, Endpoint, MaxTokens, OpenAi};
use evalscope_core::transport::{
    ProxyEnv, ReadStats, RequestHeaders, Reuse, Target, Timeouts, TlsTrust,
};
use evalscope_model::prompt::{Item, OwnTarget, Prompt};
use evalscope_model::record::RecordBodies;
use evalscope_model::time::RunClock;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

/// Head and body of the only request that a server gets, which it refuses.
fn received(listener: &TcpListener) -> (String, Value) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(&stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head.split_once("Content-Length: ").unwrap().1;
    let length = length.split_once('\r').unwrap().0.parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let refusal = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    (&stream).write_all(refusal.as_bytes()).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_request_goes_where_it_is_meant_to() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || received(&listener));
    let url = url::Url::parse(&format!("http://{address}/v1/chat/completions")).unwrap();
    let target = Target::new(
        &url,
        RequestHeaders::default(),
        &ProxyEnv::default(),
        &TlsTrust::default(),
    )
    .unwrap();
    let transport = HttpTransport {
        servers: [Server {
            target: Arc::new(target),
            reuse: Reuse::Never,
        }]
        .into(),
        timeouts: Timeouts::default(),
        record_bodies: RecordBodies::None,
        api: Arc::new(OpenAi),
        clock: RunClock::start(),
        stats: Arc::new(vec![Arc::new(ReadStats::default())]),
        user_clock_only: true,
    };
    let mut bodies = BodyBuilder::new(BodyRules {
        conversations: None,
        api: Arc::new(OpenAi),
        endpoint: Endpoint::Chat,
        template: None,
        model: "shared".to_owned(),
        mix: None,
        typed: Map::new(),
        defaults: Map::new(),
        max_tokens: MaxTokens::Fixed(9),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        seed: 0,
    });
    let mut item = Item::from(Prompt::Text("hi".to_owned()));
    item.with.model = Some("own".to_owned());
    item.with.target = Some(OwnTarget::new("/v2/own?team=7").unwrap());
    item.with.headers.push("x-session", "7").unwrap();
    let request = bodies.prepare(0, item).unwrap();
    probe(request, &transport, &[], &CancellationToken::new()).unwrap();

    let (head, body) = server.join().unwrap();
    let begins = format!("POST /v2/own?team=7 HTTP/1.1\r\nHost: {address}\r\n");
    assert!(head.starts_with(&begins), "{head}");
    assert!(head.contains("\r\nx-session: 7\r\n"), "{head}");
    assert_eq!(body["model"], "own");
}
