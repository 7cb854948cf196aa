//! Owns the server side of HTTP/1.1: reading requests from a connection, response heads, and the
//! framing of bodies.
//!
//! It must not know what the bodies mean. Heads are parsed by `httparse`; bodies are framed here.

use std::collections::BTreeMap;
use std::io::{self, Write};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::clock::monotonic_ns;

/// Maximum size of a request head, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// Maximum size of a request body, in bytes.
pub(crate) const LONGEST_BODY: usize = 64 << 20;

/// Maximum number of header fields of a request.
const MOST_FIELDS: usize = 100;

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) keep_alive: bool,
    /// HTTP/1.0 clients do not support chunked bodies.
    pub(crate) knows_chunks: bool,
    /// The token of `Authorization: Bearer <token>`.
    pub(crate) bearer: Option<String>,
    /// The value of `x-api-key`.
    pub(crate) api_key: Option<String>,
    /// Whether a header asks for an event stream: `X-DashScope-SSE: enable` or
    /// `Accept: text/event-stream`.
    pub(crate) wants_events: bool,
    /// When its first bytes were read.
    pub(crate) began_ns: u64,
    /// The fields that [`Inbox`] keeps, by their name in lower case.
    pub(crate) kept: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Why no request could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The client is gone, or never was one.
    Gone,
    /// The request is invalid; the connection is unusable after the response.
    Refused { status: u16, message: String },
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        ReadError::Gone
    }
}

fn refused(status: u16, message: impl Into<String>) -> ReadError {
    ReadError::Refused {
        status,
        message: message.into(),
    }
}

struct Head {
    request: Request,
    length: usize,
    body: BodyLength,
    expects_continue: bool,
}

enum BodyLength {
    Known(usize),
    Chunked,
}

/// Bytes received on a connection and not yet consumed.
#[derive(Debug)]
pub(crate) struct Inbox<'a> {
    bytes: Vec<u8>,
    /// Names of the header fields to keep, in lower case.
    keep: &'a [String],
}

impl<'a> Inbox<'a> {
    pub(crate) fn new(keep: &'a [String]) -> Self {
        Inbox {
            bytes: Vec::new(),
            keep,
        }
    }

    /// Read the next request; [`ReadError::Gone`] if the client closed instead.
    pub(crate) async fn next(&mut self, stream: &mut TcpStream) -> Result<Request, ReadError> {
        // What was read with the request before is read again here.
        let mut began_ns = (!self.bytes.is_empty()).then(monotonic_ns);
        let head = loop {
            if let Some(head) = parse_head(&self.bytes, self.keep)? {
                break head;
            }
            if self.bytes.len() > LONGEST_HEAD {
                return Err(refused(
                    431,
                    format!("request head exceeds {LONGEST_HEAD} bytes"),
                ));
            }
            self.fill(stream, 4 << 10).await?;
            began_ns.get_or_insert_with(monotonic_ns);
        };
        let mut request = head.request;
        request.began_ns = began_ns.unwrap_or_default();
        self.take(head.length);
        if head.expects_continue && self.bytes.is_empty() {
            write_all(stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = match head.body {
            BodyLength::Known(length) => {
                while self.bytes.len() < length {
                    let missing = length - self.bytes.len();
                    self.fill(stream, missing.min(1 << 20)).await?;
                }
                self.take(length)
            }
            BodyLength::Chunked => self.chunked_body(stream).await?,
        };
        Ok(request)
    }

    /// Take the first `length` bytes.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(length);
        std::mem::replace(&mut self.bytes, rest)
    }

    async fn fill(&mut self, stream: &mut TcpStream, room: usize) -> Result<(), ReadError> {
        self.bytes.reserve(room);
        match stream.read_buf(&mut self.bytes).await? {
            0 => Err(ReadError::Gone),
            _ => Ok(()),
        }
    }

    async fn chunked_body(&mut self, stream: &mut TcpStream) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let (line, size) = loop {
                match httparse::parse_chunk_size(&self.bytes) {
                    Ok(httparse::Status::Complete((line, size))) => break (line, size),
                    Ok(httparse::Status::Partial) if self.bytes.len() <= LONGEST_HEAD => {
                        self.fill(stream, 4 << 10).await?;
                    }
                    _ => return Err(refused(400, "request body has a broken chunk size")),
                }
            };
            self.take(line);
            let size = usize::try_from(size)
                .ok()
                .filter(|size| *size <= LONGEST_BODY - body.len())
                .ok_or_else(too_large)?;
            if size == 0 {
                return self.skip_trailers(stream).await.map(|()| body);
            }
            while self.bytes.len() < size + 2 {
                let missing = size + 2 - self.bytes.len();
                self.fill(stream, missing.min(1 << 20)).await?;
            }
            if &self.bytes[size..size + 2] != b"\r\n" {
                return Err(refused(
                    400,
                    "request body has a chunk that is longer than its size",
                ));
            }
            body.extend_from_slice(&self.bytes[..size]);
            self.take(size + 2);
        }
    }

    async fn skip_trailers(&mut self, stream: &mut TcpStream) -> Result<(), ReadError> {
        let mut skipped = 0;
        loop {
            match self.bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = self.take(end + 1);
                    skipped += line.len();
                    if line == b"\r\n" || line == b"\n" {
                        return Ok(());
                    }
                }
                None => self.fill(stream, 4 << 10).await?,
            }
            if skipped + self.bytes.len() > LONGEST_HEAD + LONGEST_BODY {
                return Err(refused(431, "request trailers are too long"));
            }
        }
    }
}

fn too_large() -> ReadError {
    refused(413, format!("request body exceeds {LONGEST_BODY} bytes"))
}

fn parse_head(bytes: &[u8], keep: &[String]) -> Result<Option<Head>, ReadError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => {
            return Err(refused(
                400,
                format!("request head is not HTTP/1.1: {error}"),
            ));
        }
    };
    let is_1_1 = parsed.version == Some(1);
    let target = parsed.path.unwrap_or("/");
    let mut head = Head {
        request: Request {
            method: parsed.method.unwrap_or("").to_owned(),
            path: target.split('?').next().unwrap_or(target).to_owned(),
            keep_alive: is_1_1,
            knows_chunks: is_1_1,
            bearer: None,
            api_key: None,
            wants_events: false,
            began_ns: 0,
            kept: BTreeMap::new(),
            body: Vec::new(),
        },
        length,
        body: BodyLength::Known(0),
        expects_continue: false,
    };
    for field in parsed.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or("").trim();
        let has_token = |token: &str| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(token))
        };
        let name = field.name.to_ascii_lowercase();
        if keep.contains(&name) {
            let kept = head.request.kept.entry(name.clone());
            kept.and_modify(|earlier| {
                earlier.push_str(", ");
                earlier.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
        }
        match name.as_str() {
            "content-length" if !matches!(head.body, BodyLength::Chunked) => {
                let length = value.parse::<u64>().map_err(|_| {
                    refused(400, format!("content-length is not a number: {value:?}"))
                })?;
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= LONGEST_BODY)
                    .ok_or_else(too_large)?;
                head.body = BodyLength::Known(length);
            }
            "transfer-encoding" if has_token("chunked") => head.body = BodyLength::Chunked,
            "transfer-encoding" => {
                return Err(refused(
                    501,
                    format!("transfer-encoding {value:?} is unknown"),
                ));
            }
            "connection" if has_token("close") => head.request.keep_alive = false,
            "connection" if has_token("keep-alive") => head.request.keep_alive = true,
            "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "x-dashscope-sse" if value.eq_ignore_ascii_case("enable") => {
                head.request.wants_events = true;
            }
            "accept" if has_token("text/event-stream") => head.request.wants_events = true,
            "x-api-key" => head.request.api_key = Some(value.to_owned()),
            "authorization" => {
                head.request.bearer = value
                    .split_once(' ')
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                    .map(|(_, token)| token.trim().to_owned());
            }
            _ => {}
        }
    }
    Ok(Some(head))
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Chunked transfer encoding.
    Chunked {
        /// With an extension on each size line.
        extensions: bool,
        /// With a trailer after the last chunk.
        trailers: bool,
    },
    /// `Content-Length`, in bytes.
    Length(usize),
    /// The body ends with the connection.
    UntilClose,
}

pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

/// Append a response head. `extra` is complete header lines with their line ends.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    status: u16,
    content_type: &str,
    framing: Framing,
    keep_alive: bool,
    extra: &str,
) {
    write!(
        out,
        "HTTP/1.1 {status} {}\r\nserver: evalscope-sim\r\n",
        reason(status)
    )
    .and_then(|()| match content_type {
        "" => Ok(()),
        _ => write!(out, "content-type: {content_type}\r\n"),
    })
    .and_then(|()| match framing {
        Framing::Chunked { trailers: true, .. } => {
            write!(
                out,
                "transfer-encoding: chunked\r\ntrailer: x-sim-trailer\r\n"
            )
        }
        Framing::Chunked { .. } => write!(out, "transfer-encoding: chunked\r\n"),
        Framing::Length(length) => write!(out, "content-length: {length}\r\n"),
        Framing::UntilClose => Ok(()),
    })
    .and_then(|()| {
        let close = if keep_alive {
            ""
        } else {
            "connection: close\r\n"
        };
        write!(out, "{close}{extra}\r\n")
    })
    .expect("writing to a Vec cannot fail");
}

/// Turn everything in `out` from `start` on into one chunk.
pub(crate) fn seal_chunk(out: &mut Vec<u8>, start: usize, extensions: bool) {
    let size = out.len() - start;
    if size == 0 {
        return;
    }
    let extension = if extensions {
        ";sim=1;note=\"a;b\""
    } else {
        ""
    };
    // Moving the payload is far cheaper than a separate write for the size line.
    out.splice(
        start..start,
        format!("{size:x}{extension}\r\n").into_bytes(),
    );
    out.extend_from_slice(b"\r\n");
}

/// Append the end of a chunked body.
pub(crate) fn write_last_chunk(out: &mut Vec<u8>, trailers: bool) {
    let trailer = if trailers {
        "x-sim-trailer: done\r\n"
    } else {
        ""
    };
    write!(out, "0\r\n{trailer}\r\n").expect("writing to a Vec cannot fail");
}

/// Write all of `bytes`, waiting for room without blocking other connections.
pub(crate) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_understood() {
        let head = parse_head(
            b"POST /v1/x?y=1 HTTP/1.1\r\nContent-Length: 5\r\nConnection: Close\r\n\
              authorization: bearer k e y \r\nX-A:  1\r\nExpect: 100-Continue\r\nx-b: 2\r\n\
              x-A: 3\r\n\r\n12345",
            &["x-a".to_owned(), "x-c".to_owned()],
        )
        .expect("valid")
        .expect("complete");
        assert_eq!(head.request.path, "/v1/x");
        assert!(!head.request.keep_alive && head.expects_continue);
        assert_eq!(head.request.bearer.as_deref(), Some("k e y"));
        assert!(matches!(head.body, BodyLength::Known(5)));
        let kept: Vec<_> = head.request.kept.iter().collect();
        assert_eq!(kept, [(&"x-a".to_owned(), &"1, 3".to_owned())]);
        assert!(
            parse_head(b"GET / HTTP/1.1\r\nHost", &[])
                .expect("valid so far")
                .is_none()
        );
        assert!(parse_head(b"\x16\x03\x01\x00\r\n", &[]).is_err());
    }

    #[test]
    fn chunks_are_sealed_in_place() {
        let mut out = b"head".to_vec();
        out.extend_from_slice(b"0123456789abcdefg");
        seal_chunk(&mut out, 4, false);
        assert_eq!(out, b"head11\r\n0123456789abcdefg\r\n");
        seal_chunk(&mut out, 27, false);
        assert_eq!(out.len(), 27, "an empty chunk would end the body");
    }
}
