//! Owns a little HTTP server that keeps what it is sent and answers as it is told. It is no
//! simulator: it knows nothing of models, only of bytes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The first line.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header, if it was sent exactly once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} was sent twice: {self:?}");
        Some(value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a connection is, once TLS or nothing has been put around it.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

type Wrap = dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync;
type Answer = dyn Fn(&Request, usize) -> Vec<u8> + Send + Sync;

/// A server on a free port of the loopback interface. An empty answer closes the connection.
pub(crate) struct Recorder {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Answers each request with what `answer` makes of it and of its number, from 0.
    pub(crate) fn start(
        answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, |stream| Box::new(stream), answer)
    }

    /// The same on a listener of the caller's, with something around each connection.
    pub(crate) fn on(
        listener: TcpListener,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
        answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (wrap, answer): (Arc<Wrap>, Arc<Answer>) = (Arc::new(wrap), Arc::new(answer));
        let (seen, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let (wrap, answer, seen) =
                    (Arc::clone(&wrap), Arc::clone(&answer), Arc::clone(&seen));
                // it ends when the client closes the connection
                std::thread::spawn(move || converse(wrap(stream), &*answer, &seen));
            }
        });
        Self {
            address,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1/chat/completions", self.address)
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // wakes the thread that accepts
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn converse(stream: Box<dyn Stream>, answer: &Answer, seen: &Mutex<Vec<Request>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream) {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let bytes = answer(&request, number);
        let sent = stream.get_mut().write_all(&bytes);
        if bytes.is_empty() || sent.and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

/// `None` when the client has closed the connection, or what came is no request.
fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        let read = stream.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Request {
        line: first,
        headers,
        body,
    })
}

/// An answer of any kind, as bytes.
pub(crate) fn reply(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// An error as OpenAI's servers write it.
pub(crate) fn refusal(status: &str, message: &str) -> Vec<u8> {
    let body = json!({"error": {"message": message, "type": "test"}}).to_string();
    reply(status, "application/json", &body)
}

/// A good answer to any request: two tokens, as a stream if one was asked for.
pub(crate) fn good(request: &Request) -> Vec<u8> {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    let body = request.json();
    let chat = body.get("messages").is_some();
    if body["stream"] != true {
        let choice = if chat {
            json!({"index": 0, "message": {"role": "assistant", "content": "ab"}, "finish_reason": "stop"})
        } else {
            json!({"index": 0, "text": "ab", "finish_reason": "stop"})
        };
        let whole = json!({"id": "whole", "choices": [choice], "usage": usage}).to_string();
        return reply("200 OK", "application/json", &whole);
    }
    let choice = |text: &str, reason: Value| {
        if chat {
            json!({"index": 0, "delta": {"content": text}, "finish_reason": reason})
        } else {
            json!({"index": 0, "text": text, "finish_reason": reason})
        }
    };
    let events = [
        json!({"id": "stream", "choices": [choice("a", Value::Null)]}),
        json!({"id": "stream", "choices": [choice("b", "stop".into())]}),
        json!({"id": "stream", "choices": [], "usage": usage}),
    ];
    let mut stream = String::new();
    for event in events {
        write!(stream, "data: {event}\n\n").unwrap();
    }
    stream.push_str("data: [DONE]\n\n");
    reply("200 OK", "text/event-stream", &stream)
}
