//! Owns plain sockets and the raw bytes of responses: no HTTP client that could forgive a mistake.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use evalscope_sim::{Fault, FaultRule, SimConfig, Simulator};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

pub(crate) fn start(config: SimConfig) -> Simulator {
    Simulator::start(config).expect("a free port")
}

pub(crate) fn with_fault(fault: Fault) -> Simulator {
    start(SimConfig {
        faults: vec![FaultRule::always(fault)],
        stall: Duration::from_millis(1),
        ..SimConfig::default()
    })
}

pub(crate) fn chat(fields: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "12345"}]});
    let object = body.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    body
}

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn post_chat(fields: &Value) -> String {
    post(
        "/v1/chat/completions",
        "connection: close\r\n",
        &chat(fields).to_string(),
    )
}

/// All bytes up to the end of the connection, and how it ended.
pub(crate) fn exchange(address: SocketAddr, request: &str) -> (Vec<u8>, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    read_all(&mut stream)
}

pub(crate) fn read_all(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let outcome = stream.read_to_end(&mut bytes);
    (bytes, outcome.err().map(|error| error.kind()))
}

pub(crate) struct Response {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete according to its framing.
    pub(crate) complete: bool,
}

impl Response {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
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
        let body = if head.contains("content-encoding: gzip") {
            let mut decoded = Vec::new();
            GzDecoder::new(body.as_slice())
                .read_to_end(&mut decoded)
                .expect("a whole gzip member");
            decoded
        } else {
            body
        };
        Response {
            status,
            head,
            body,
            complete,
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The payloads of the events, without `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.text()
            .split(['\r', '\n'])
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .filter(|payload| *payload != "[DONE]")
            .filter_map(|payload| serde_json::from_str(payload).ok())
            .collect()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.text().contains("[DONE]")
    }

    pub(crate) fn finish_reasons(&self) -> Vec<String> {
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

pub(crate) fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
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

pub(crate) fn ask(simulator: &Simulator, fields: &Value) -> Response {
    let (bytes, error) = exchange(simulator.addr(), &post_chat(fields));
    assert_eq!(error, None);
    Response::parse(&bytes)
}

pub(crate) fn text_of(events: &[Value]) -> String {
    events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect()
}
