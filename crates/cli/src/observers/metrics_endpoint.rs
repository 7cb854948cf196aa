//! Owns the endpoint of `--metrics-listen`: a thread that answers one connection at a time, on the
//! standard library's sockets.
//!
//! Each connection has a time and a size that it cannot exceed, and nothing waits for the thread, so no
//! client can hold up a run or its end. It must not know what the metrics are.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_report::exposition::Format;

use super::MetricsBoard;
use crate::failure::hinted;

/// How long a request may take to arrive, and then its response to leave.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what a client still sends after its response is read: unread bytes would make the system
/// drop the response.
const LINGER: Duration = Duration::from_millis(200);
/// A longer head is refused.
const LONGEST_HEAD: usize = 8 << 10;
/// After a connection could not be taken, as when no more files can be opened.
const PAUSE: Duration = Duration::from_millis(100);

/// Begin to answer at an address. Returns the address, with its port.
pub(crate) fn serve(asked: SocketAddr, board: MetricsBoard) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(asked).map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => {
                "another program uses this port: give another one, or 0 for a free one"
            }
            ErrorKind::AddrNotAvailable => {
                "give an address of this machine, such as 127.0.0.1:9464"
            }
            ErrorKind::PermissionDenied => "give a port above 1023",
            _ => "give another address, such as 127.0.0.1:9464",
        };
        hinted(
            format!("`--metrics-listen {asked}`: cannot listen: {error}"),
            hint,
        )
    })?;
    let address = listener
        .local_addr()
        .context("cannot read the address of `--metrics-listen`")?;
    std::thread::Builder::new()
        .name("evalscope-metrics".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    // a client that goes away gets nothing
                    Ok(stream) => drop(answer(stream, &board)),
                    Err(_) => std::thread::park_timeout(PAUSE),
                }
            }
        })
        .context("cannot start the thread of `--metrics-listen`")?;
    Ok(address)
}

/// Read a request and write its response.
fn answer(mut stream: TcpStream, board: &MetricsBoard) -> std::io::Result<()> {
    let clock = RunClock::start();
    let mut head = Vec::new();
    let end = clock.now().after(PATIENCE);
    let response = match read_head(&mut stream, &mut head, (&clock, end)) {
        Ok(true) => respond(&head, board),
        Ok(false) if head.is_empty() => return Ok(()),
        Ok(false) => Response::error(400, "Bad Request", "the request has no end"),
        Err(error) if error.kind() == ErrorKind::InvalidData => Response::error(
            431,
            "Request Header Fields Too Large",
            "the head is too long",
        ),
        Err(error) if is_timeout(&error) => {
            Response::error(408, "Request Timeout", "the request took too long")
        }
        Err(error) => return Err(error),
    };
    let end = clock.now().after(PATIENCE);
    let mut rest = &response.bytes(head.starts_with(b"HEAD "))[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(&clock, end)?))?;
        let written = stream.write(rest)?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        rest = &rest[written..];
    }
    stream.shutdown(Shutdown::Write)?;
    let end = clock.now().after(LINGER);
    let mut unread = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(&clock, end)?))?;
        if stream.read(&mut unread)? == 0 {
            return Ok(());
        }
    }
}

/// Read up to the empty line. `false`: the client closed before it.
fn read_head(
    stream: &mut TcpStream,
    head: &mut Vec<u8>,
    (clock, end): (&RunClock, Timestamp),
) -> std::io::Result<bool> {
    let mut part = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > LONGEST_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        stream.set_read_timeout(Some(left(clock, end)?))?;
        match stream.read(&mut part)? {
            0 => return Ok(false),
            read => head.extend_from_slice(&part[..read]),
        }
    }
    Ok(true)
}

/// The time left, which is never zero.
fn left(clock: &RunClock, end: Timestamp) -> std::io::Result<Duration> {
    let left = end.since(clock.now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What a client gets.
#[derive(Debug, PartialEq)]
struct Response {
    status: (u16, &'static str),
    content_type: &'static str,
    body: Cow<'static, str>,
}

impl Response {
    fn ok(content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: (200, "OK"),
            content_type,
            body: body.into(),
        }
    }

    fn error(status: u16, reason: &'static str, text: &'static str) -> Self {
        Self {
            status: (status, reason),
            content_type: "text/plain; charset=utf-8",
            body: text.into(),
        }
    }

    fn bytes(&self, head_only: bool) -> Vec<u8> {
        let (status, reason) = self.status;
        let allow = if status == 405 {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let mut bytes = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: \
             no-store\r\nConnection: close\r\n\r\n",
            self.content_type,
            self.body.len()
        );
        if !head_only {
            bytes.push_str(&self.body);
        }
        bytes.into_bytes()
    }
}

/// The response to a request with this head.
fn respond(head: &[u8], board: &MetricsBoard) -> Response {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else {
        return Response::error(400, "Bad Request", "not a request of HTTP/1.1");
    };
    if !version.starts_with("HTTP/1.") {
        return Response::error(400, "Bad Request", "not a request of HTTP/1.1");
    }
    if !matches!(method, "GET" | "HEAD") {
        return Response::error(405, "Method Not Allowed", "only GET and HEAD");
    }
    match target.split('?').next() {
        Some("/metrics") => {
            let accept = lines.filter_map(|line| line.split_once(':'));
            let accept: Vec<&str> = accept
                .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
                .map(|(_, value)| value.trim())
                .collect();
            let format = Format::accepted(&accept.join(","));
            Response::ok(format.content_type(), board.text(format))
        }
        Some("/progress") => match board.progress() {
            Some(line) => Response::ok("application/json", line + "\n"),
            None => Response::error(503, "Service Unavailable", "no run has begun"),
        },
        Some("/health") => Response::ok("text/plain; charset=utf-8", "ok\n"),
        _ => Response::error(
            404,
            "Not Found",
            "there are /metrics, /progress and /health",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        respond(head.as_bytes(), &MetricsBoard::default()).status.0
    }

    #[test]
    fn requests_are_told_apart() {
        for (head, want) in [
            ("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 200),
            ("GET /metrics?name=x HTTP/1.0\r\n\r\n", 200),
            ("HEAD /health HTTP/1.1\r\n\r\n", 200),
            ("GET /progress HTTP/1.1\r\n\r\n", 503),
            ("GET / HTTP/1.1\r\n\r\n", 404),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", 404),
            ("POST /metrics HTTP/1.1\r\n\r\n", 405),
            ("get /metrics HTTP/1.1\r\n\r\n", 405),
            ("GET /metrics HTTP/2.0\r\n\r\n", 400),
            ("GET /metrics\r\n\r\n", 400),
            ("GET  /metrics HTTP/1.1\r\n\r\n", 400),
            ("\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ] {
            assert_eq!(status(head), want, "{head:?}");
        }
    }

    #[test]
    fn the_format_is_that_of_the_header() {
        let text = |head: &str| {
            respond(head.as_bytes(), &MetricsBoard::default())
                .content_type
                .to_owned()
        };
        let plain = text("GET /metrics HTTP/1.1\r\n\r\n");
        assert!(plain.starts_with("text/plain; version=0.0.4"), "{plain}");
        let open = text("GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text\r\n\r\n");
        assert!(open.starts_with("application/openmetrics-text"), "{open}");
    }

    #[test]
    fn a_response_has_its_length_and_head_has_no_body() {
        let ok = Response::ok("text/plain", "ü\n");
        let bytes = String::from_utf8(ok.bytes(false)).unwrap();
        assert!(bytes.contains("\r\nContent-Length: 3\r\n"), "{bytes}");
        assert!(bytes.ends_with("\r\n\r\nü\n"), "{bytes}");
        let bytes = String::from_utf8(ok.bytes(true)).unwrap();
        assert!(bytes.ends_with("close\r\n\r\n"), "{bytes}");
        let refused = Response::error(405, "Method Not Allowed", "no").bytes(false);
        assert!(
            String::from_utf8(refused)
                .unwrap()
                .contains("\r\nAllow: GET, HEAD\r\n")
        );
    }
}
