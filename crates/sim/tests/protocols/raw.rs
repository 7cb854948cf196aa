//! Owns one HTTP exchange over a plain socket, and parsing its response.
//!
//! It must not know any protocol.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use evalscope_sim::{Fault, FaultRule, SimConfig, Simulator};
use flate2::read::GzDecoder;
use serde_json::Value;

pub(crate) fn with_fault(fault: Fault) -> Simulator {
    Simulator::start(SimConfig {
        faults: vec![FaultRule::always(fault)],
        stall: Duration::from_millis(1),
        ..SimConfig::default()
    })
    .unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    /// Without chunk framing.
    pub(crate) body: String,
    /// Whether the body is complete according to its framing.
    pub(crate) complete: bool,
    /// How the connection ended, unless cleanly.
    pub(crate) error: Option<ErrorKind>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The payloads of the events, without `[DONE]` and broken ones.
    pub(crate) fn payloads(&self) -> Vec<Value> {
        self.body
            .split(['\r', '\n'])
            .filter_map(|line| line.strip_prefix("data:"))
            .filter_map(|payload| serde_json::from_str(payload).ok())
            .collect()
    }
}

/// Post a body; `headers` are complete lines. `None` if the response was not HTTP.
pub(crate) fn post(
    simulator: &Simulator,
    path: &str,
    headers: &str,
    body: &Value,
) -> Option<Answer> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(simulator.addr()).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\n{headers}content-length: {}\
         \r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).err();
    let mut start = head_end(&bytes)?;
    // An interim head comes before the real one.
    if bytes.starts_with(b"HTTP/1.1 103") {
        bytes.drain(..start);
        start = head_end(&bytes)?;
    }
    let head = String::from_utf8(bytes[..start].to_vec())
        .ok()?
        .to_lowercase();
    let status = head.strip_prefix("http/1.1 ")?.get(..3)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let rest = &bytes[start..];
    let (body, complete) = match length {
        Some(length) => (rest.to_vec(), rest.len().to_string() == length),
        None if head.contains("transfer-encoding: chunked") => dechunk(rest),
        None => (rest.to_vec(), true),
    };
    let body = if head.contains("content-encoding: gzip") {
        let mut plain = Vec::new();
        let mut decoder = GzDecoder::new(body.as_slice());
        decoder.read_to_end(&mut plain).unwrap();
        plain
    } else {
        body
    };
    Some(Answer {
        status,
        head,
        body: String::from_utf8(body).unwrap(),
        complete,
        error: error.map(|error| error.kind()),
    })
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

fn dechunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let line = raw.windows(2).position(|two| two == b"\r\n");
        let size = line.and_then(|end| {
            let line = std::str::from_utf8(&raw[..end]).ok()?;
            let size = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
            Some((end + 2, size))
        });
        let Some((begin, size)) = size else {
            return (body, false);
        };
        raw = &raw[begin..];
        if size == 0 {
            return (body, raw.ends_with(b"\r\n"));
        }
        if raw.len() < size + 2 {
            return (body, false);
        }
        body.extend_from_slice(&raw[..size]);
        raw = &raw[size + 2..];
    }
}
