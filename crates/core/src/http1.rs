//! Owns the parsing of HTTP/1.1 responses (RFC 9112): bytes in, head and body out, however the
//! reads split them.
//!
//! Pure. It must not know sockets, event streams or the time; this is what lets the caller say
//! which read brought which bytes.

use std::fmt;
use std::mem::MaybeUninit;

/// Maximum size of a response head.
pub const MAX_HEAD_BYTES: usize = 256 << 10;

/// Gateways that add a header per limit and per hop have been seen with well over a hundred.
const MAX_HEADERS: usize = 512;

/// Servers send at most a handful of interim (1xx) heads; without a limit, they could go on
/// forever.
const MAX_INTERIM_HEADS: u32 = 16;

/// The parts of a response head that matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// The connection may carry another request after this response.
    pub keep_alive: bool,
    /// `Location`, for redirects.
    pub location: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `Content-Encoding`, lower case: all its headers as one list, without `identity`. Empty if
    /// there is none.
    pub content_encoding: String,
}

impl Head {
    /// The body is an event stream.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.content_type == "text/event-stream"
    }
}

/// Receives the parts of a response in order: one head, then body bytes.
pub trait Receiver {
    /// The head is complete.
    fn head(&mut self, head: Head);
    /// Some bytes of the body.
    fn body(&mut self, bytes: &[u8]);
}

/// Why the bytes are not a valid response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head cannot be parsed.
    #[error("not an HTTP/1.x response: {reason}, starting with {excerpt:?}")]
    Head {
        /// What is wrong.
        reason: String,
        /// The first bytes.
        excerpt: String,
    },
    /// The head exceeds [`MAX_HEAD_BYTES`].
    #[error("the response head is larger than {} KiB", MAX_HEAD_BYTES >> 10)]
    HeadTooLarge,
    /// The head has too many headers.
    #[error("the response head has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// Too many interim responses without a final one.
    #[error("the server sent more than {MAX_INTERIM_HEADS} interim (1xx) responses")]
    TooManyInterim,
    /// The response is a TLS record: an alert, since we sent no handshake.
    #[error("the server speaks TLS on this port")]
    SpeaksTls,
    /// `Content-Length` is not a single number.
    #[error("`content-length: {0}` is not a length")]
    Length(String),
    /// `Transfer-Encoding` is something other than `chunked`.
    #[error("`transfer-encoding: {0}` is not supported, only `chunked` alone")]
    TransferEncoding(String),
    /// A chunk of the body is framed wrongly.
    #[error("the chunked body is broken: {0}")]
    Chunk(ChunkError),
}

impl HttpError {
    /// The bytes may be a valid response, but exceed a limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::HeadTooLarge | Self::TooManyHeaders | Self::Chunk(ChunkError::TooLong)
        )
    }
}

/// What is wrong with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// The size line holds something other than a hexadecimal number.
    Size(u8),
    /// The size does not fit 64 bits.
    SizeOverflow,
    /// A line feed is missing.
    LineFeed(u8),
    /// The size line, its extensions or the trailers are too long.
    TooLong,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(byte) => write!(f, "byte 0x{byte:02x} in a chunk size"),
            Self::SizeOverflow => f.write_str("a chunk size over 64 bits"),
            Self::LineFeed(byte) => write!(f, "byte 0x{byte:02x} instead of a line end"),
            Self::TooLong => f.write_str("the size line or the trailers are too long"),
        }
    }
}

/// How much of a response has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// The response is complete.
    Complete,
}

/// Reads one response.
#[derive(Debug, Default)]
pub struct ResponseReader {
    state: State,
    head: PartialHead,
    interim_heads: u32,
}

/// A head that is not complete yet.
#[derive(Debug, Default)]
struct PartialHead {
    bytes: Vec<u8>,
    end: HeadEnd,
    /// Number of bytes needed before the parser tries again.
    next_look: usize,
}

/// Searches for the empty line that ends a head, looking at each byte once. The parser itself
/// starts over each time: called on every read, a head that arrives byte by byte would cost the
/// square of its length.
#[derive(Clone, Copy, Debug, Default)]
struct HeadEnd {
    /// The status line has begun; empty lines before it are skipped.
    begun: bool,
    /// The current line has a byte.
    in_line: bool,
}

impl HeadEnd {
    /// How many of `bytes` belong to the head, if it ends among them.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            evalscope_model::steps::add(1);
            match byte {
                b'\n' if self.begun && !self.in_line => return Some(at + 1),
                b'\n' => self.in_line = false,
                b'\r' => {}
                _ => (self.begun, self.in_line) = (true, true),
            }
        }
        None
    }
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Length(u64),
    Chunked(ChunkReader),
    UntilClose,
    Complete,
}

impl ResponseReader {
    /// Take the bytes of one read; returns how many of them belong to the response. Bytes past its
    /// end are left alone.
    ///
    /// # Errors
    /// If the bytes are not a response; nothing more can be read.
    pub fn push(
        &mut self,
        bytes: &[u8],
        receiver: &mut impl Receiver,
    ) -> Result<(usize, Progress), HttpError> {
        let mut used = 0;
        while matches!(self.state, State::Head) {
            if used == bytes.len() {
                return Ok((used, Progress::Incomplete));
            }
            used += self.push_head(&bytes[used..], receiver)?;
        }
        let rest = &bytes[used..];
        match &mut self.state {
            State::Head | State::Complete => {}
            State::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                if n > 0 {
                    receiver.body(&rest[..n]);
                }
                *left -= n as u64;
                used += n;
                if *left == 0 {
                    self.state = State::Complete;
                }
            }
            State::Chunked(chunks) => {
                let (n, progress) = chunks
                    .push(rest, |body| receiver.body(body))
                    .map_err(HttpError::Chunk)?;
                used += n;
                if progress == Progress::Complete {
                    self.state = State::Complete;
                }
            }
            State::UntilClose => {
                if !rest.is_empty() {
                    receiver.body(rest);
                }
                used = bytes.len();
            }
        }
        let progress = if matches!(self.state, State::Complete) {
            Progress::Complete
        } else {
            Progress::Incomplete
        };
        Ok((used, progress))
    }

    /// The connection was closed cleanly: is the response complete?
    #[must_use]
    pub fn complete_at_close(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Complete)
    }

    /// No byte of the head has been read.
    #[must_use]
    pub fn untouched(&self) -> bool {
        matches!(self.state, State::Head) && self.head.bytes.is_empty()
    }

    /// Returns how many of `bytes` belonged to the head.
    fn push_head(
        &mut self,
        bytes: &[u8],
        receiver: &mut impl Receiver,
    ) -> Result<usize, HttpError> {
        let partial = &mut self.head;
        let end = partial.end.find(bytes);
        let used = end.unwrap_or(bytes.len());
        if partial.bytes.len() + used > MAX_HEAD_BYTES {
            return Err(HttpError::HeadTooLarge);
        }
        let whole_at_once = end.is_some() && partial.bytes.is_empty();
        let text: &[u8] = if whole_at_once {
            &bytes[..used]
        } else {
            partial.bytes.extend_from_slice(&bytes[..used]);
            &partial.bytes
        };
        if speaks_tls(text) {
            return Err(HttpError::SpeaksTls);
        }
        if end.is_none() {
            // reject non-HTTP before a head ends; retrying only at twice the length keeps the total
            // work linear
            if text.len() >= partial.next_look && text != [TLS_ALERT] {
                with_parsed(text, |_| Ok(()))?;
                partial.next_look = text.len() * 2;
            }
            return Ok(used);
        }
        let (head, state) = with_parsed(text, interpret)?.ok_or_else(|| HttpError::Head {
            reason: "the head does not end".to_owned(),
            excerpt: excerpt(text),
        })?;
        self.head = PartialHead::default();
        // 1xx heads precede the final one; 101 would switch protocols
        if (100..200).contains(&head.status) && head.status != 101 {
            self.interim_heads += 1;
            if self.interim_heads > MAX_INTERIM_HEADS {
                return Err(HttpError::TooManyInterim);
            }
            return Ok(used);
        }
        self.state = state;
        receiver.head(head);
        Ok(used)
    }
}

/// The first byte of a TLS alert; the protocol version follows and starts with 3.
const TLS_ALERT: u8 = 0x15;

fn speaks_tls(text: &[u8]) -> bool {
    text.starts_with(&[TLS_ALERT, 0x03])
}

/// Parse a head; `None` if it is incomplete.
fn with_parsed<T>(
    text: &[u8],
    read: impl FnOnce(&httparse::Response<'_, '_>) -> Result<T, HttpError>,
) -> Result<Option<T>, HttpError> {
    evalscope_model::steps::add(text.len());
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        text,
        &mut headers,
    );
    match parsed {
        Ok(httparse::Status::Complete(_)) => read(&response).map(Some),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(HttpError::TooManyHeaders),
        Err(error) => Err(HttpError::Head {
            reason: error.to_string(),
            excerpt: excerpt(text),
        }),
    }
}

fn interpret(response: &httparse::Response<'_, '_>) -> Result<(Head, State), HttpError> {
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        keep_alive: response.version == Some(1),
        ..Head::default()
    };
    let mut framing = Framing::default();
    let mut codings = Vec::new();
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        match header.name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => framing.codings.extend(members(value)),
            "content-length" => framing.add_length(value)?,
            "content-type" => {
                head.content_type = value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_ascii_lowercase();
            }
            "content-encoding" => codings.extend(members(value)),
            "connection" => {
                for token in value.split(',').map(str::trim) {
                    if token.eq_ignore_ascii_case("close") {
                        head.keep_alive = false;
                    } else if token.eq_ignore_ascii_case("keep-alive") {
                        head.keep_alive = true;
                    }
                }
            }
            "location" => head.location = Some(value.to_owned()),
            "retry-after" => head.retry_after = Some(value.to_owned()),
            _ => {}
        }
    }
    codings.retain(|coding| coding != "identity");
    head.content_encoding = codings.join(", ");
    // a proxy on the way may have used the other framing (RFC 9112, section 6.1), so what follows
    // cannot be trusted; HTTP/1.0 has no chunks
    if !framing.codings.is_empty() && (framing.length.is_some() || response.version != Some(1)) {
        head.keep_alive = false;
    }
    let chunked = framing.is_chunked()?;
    // RFC 9112, section 6.3: chunked wins over a length
    let state = if matches!(status, 204 | 304) {
        State::Complete
    } else if chunked {
        State::Chunked(ChunkReader::default())
    } else if let Some(length) = framing.length {
        if length == 0 {
            State::Complete
        } else {
            State::Length(length)
        }
    } else {
        head.keep_alive = false;
        State::UntilClose
    };
    Ok((head, state))
}

/// Members of a comma-separated header list, lower case.
fn members(value: &str) -> impl Iterator<Item = String> + '_ {
    value
        .split(',')
        .map(|member| member.trim().to_ascii_lowercase())
        .filter(|member| !member.is_empty())
}

/// What the head says about where the body ends.
#[derive(Debug, Default)]
struct Framing {
    /// All `Transfer-Encoding` headers, as one list.
    codings: Vec<String>,
    length: Option<u64>,
}

impl Framing {
    /// A proxy may have joined equal lengths into a list; they count as one (RFC 9110, section
    /// 8.6).
    fn add_length(&mut self, value: &str) -> Result<(), HttpError> {
        for member in value.split(',').map(str::trim) {
            // `parse` accepts a sign too
            let digits = !member.is_empty() && member.bytes().all(|byte| byte.is_ascii_digit());
            let length = member.parse().ok().filter(|_| digits);
            let length = length.ok_or_else(|| HttpError::Length(value.to_owned()))?;
            if self.length.is_some_and(|other| other != length) {
                return Err(HttpError::Length(format!("{length}, and a different one")));
            }
            self.length = Some(length);
        }
        Ok(())
    }

    fn is_chunked(&self) -> Result<bool, HttpError> {
        let named: Vec<&str> = self.codings.iter().map(String::as_str).collect();
        match named[..] {
            // `identity` is from RFC 2616 and means nothing
            [] | ["identity"] => Ok(false),
            ["chunked"] => Ok(true),
            _ => Err(HttpError::TransferEncoding(self.codings.join(", "))),
        }
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}

/// Reads a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub struct ChunkReader {
    state: ChunkState,
    /// Size so far, or bytes left in the chunk.
    size: u64,
    /// Bytes read of the size line or the trailers.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    /// Before the first digit of a size.
    #[default]
    SizeStart,
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataEnd,
    DataLineFeed,
    TrailerStart,
    Trailer,
    LastLineFeed,
    Complete,
}

impl ChunkReader {
    /// Take the bytes of one read and pass the body bytes among them to `sink`. Returns how many
    /// bytes belonged to the body.
    ///
    /// # Errors
    /// If the framing is broken.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(usize, Progress), ChunkError> {
        let mut at = 0;
        while at < bytes.len() && self.state != ChunkState::Complete {
            if self.state == ChunkState::Data {
                let rest = &bytes[at..];
                let n = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(rest.len());
                sink(&rest[..n]);
                at += n;
                self.size -= n as u64;
                if self.size == 0 {
                    self.state = ChunkState::DataEnd;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            evalscope_model::steps::add(1);
            self.state = self.step(byte)?;
        }
        let progress = if self.state == ChunkState::Complete {
            Progress::Complete
        } else {
            Progress::Incomplete
        };
        Ok((at, progress))
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, ChunkError> {
        use ChunkState as S;
        Ok(match self.state {
            S::SizeStart => {
                self.extra = 0;
                self.size = u64::from(digit(byte)?);
                S::Size
            }
            S::Size => match byte {
                b'\r' => S::SizeLineFeed,
                b'\n' => self.after_size(),
                b';' | b' ' | b'\t' => S::Extension,
                _ => {
                    // endless zeros never overflow
                    self.count_extra()?;
                    let digit = u64::from(digit(byte)?);
                    self.size = self
                        .size
                        .checked_mul(16)
                        .ok_or(ChunkError::SizeOverflow)?
                        .checked_add(digit)
                        .ok_or(ChunkError::SizeOverflow)?;
                    S::Size
                }
            },
            S::Extension => match byte {
                b'\r' => S::SizeLineFeed,
                b'\n' => self.after_size(),
                _ => {
                    self.count_extra()?;
                    S::Extension
                }
            },
            S::SizeLineFeed => {
                line_feed(byte)?;
                self.after_size()
            }
            S::DataEnd if byte == b'\r' => S::DataLineFeed,
            S::DataEnd | S::DataLineFeed => {
                line_feed(byte)?;
                S::SizeStart
            }
            S::TrailerStart => match byte {
                b'\r' => S::LastLineFeed,
                b'\n' => S::Complete,
                _ => S::Trailer,
            },
            S::Trailer => {
                self.count_extra()?;
                if byte == b'\n' {
                    S::TrailerStart
                } else {
                    S::Trailer
                }
            }
            S::LastLineFeed => {
                line_feed(byte)?;
                S::Complete
            }
            S::Data | S::Complete => self.state,
        })
    }

    fn after_size(&self) -> ChunkState {
        if self.size == 0 {
            ChunkState::TrailerStart
        } else {
            ChunkState::Data
        }
    }

    fn count_extra(&mut self) -> Result<(), ChunkError> {
        self.extra += 1;
        if self.extra > MAX_HEAD_BYTES {
            return Err(ChunkError::TooLong);
        }
        Ok(())
    }
}

fn digit(byte: u8) -> Result<u8, ChunkError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(ChunkError::Size(byte)),
    }
}

fn line_feed(byte: u8) -> Result<(), ChunkError> {
    if byte == b'\n' {
        Ok(())
    } else {
        Err(ChunkError::LineFeed(byte))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        head: Option<Head>,
        body: Vec<u8>,
    }

    impl Receiver for Seen {
        fn head(&mut self, head: Head) {
            assert!(self.head.is_none());
            self.head = Some(head);
        }
        fn body(&mut self, bytes: &[u8]) {
            assert!(self.head.is_some());
            self.body.extend_from_slice(bytes);
        }
    }

    fn read<'a>(
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Seen, usize, Progress), HttpError> {
        let mut reader = ResponseReader::default();
        let mut seen = Seen::default();
        let (mut used, mut progress) = (0, Progress::Incomplete);
        for part in parts {
            let (n, p) = reader.push(part, &mut seen)?;
            used += n;
            progress = p;
        }
        Ok((seen, used, progress))
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
        Transfer-Encoding: chunked\r\n\r\n\
        5;ext=1\r\nhello\r\n0a\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n";

    #[test]
    fn a_chunked_stream_with_all_extras() {
        let (seen, used, progress) = read([CHUNKED]).unwrap();
        assert_eq!(seen.body, b"hello0123456789");
        let head = seen.head.unwrap();
        assert!(head.is_event_stream() && head.keep_alive && head.status == 200);
        assert_eq!((used, progress), (CHUNKED.len(), Progress::Complete));
    }

    #[test]
    fn what_follows_a_response_is_left_alone() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1";
        let (seen, used, progress) = read([text.as_slice()]).unwrap();
        assert_eq!(seen.body, b"ok");
        assert_eq!((text.len() - used, progress), (8, Progress::Complete));
    }

    #[test]
    fn connections_that_may_not_be_reused() {
        for head in [
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (seen, ..) = read([head.as_bytes()]).unwrap();
            assert!(!seen.head.unwrap().keep_alive, "{head}");
        }
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |text: &str| read([text.as_bytes()]).unwrap_err().to_string();
        insta::assert_snapshot!(error("SSH-2.0-OpenSSH_9.2\r\n"), @r#"not an HTTP/1.x response: invalid HTTP version, starting with "SSH-2.0-OpenSSH_9.2\r\n""#);
        insta::assert_snapshot!(error("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), @"`content-length: x` is not a length");
        insta::assert_snapshot!(
            error("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), @"the chunked body is broken: byte 0x7a in a chunk size");
    }

    fn head_of(headers: &str) -> Result<Head, HttpError> {
        let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        let (seen, ..) = read([text.as_bytes()])?;
        Ok(seen.head.unwrap())
    }

    #[test]
    fn a_length_is_digits_and_one_number() {
        for good in [
            "content-length: 5\r\n",
            "content-length: 005\r\n",
            "content-length: 5\r\nContent-Length: 5\r\n",
            "content-length: 5, 5\r\n",
            "content-length: 5,5 , 5\r\ncontent-length:5\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{good}\r\nhelloworld");
            let (seen, ..) = read([text.as_bytes()]).unwrap();
            assert_eq!(seen.body, b"hello", "{good}");
        }
        for bad in [
            "+5",
            "-5",
            "",
            "5,",
            "5, 6",
            "0x5",
            "5 5",
            "5.0",
            "99999999999999999999",
            "\u{665}",
        ] {
            let error = head_of(&format!("content-length: {bad}\r\n")).unwrap_err();
            assert!(matches!(error, HttpError::Length(_)), "{bad}: {error}");
        }
        let error = head_of("content-length: 5\r\ncontent-length: 6\r\n").unwrap_err();
        insta::assert_snapshot!(error, @"`content-length: 6, and a different one` is not a length");
    }

    #[test]
    fn transfer_encodings_are_one_list() {
        for good in [
            "transfer-encoding: chunked\r\n",
            "transfer-encoding: Chunked ,\r\n",
            "transfer-encoding:\r\ntransfer-encoding: chunked\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{good}\r\n2\r\nok\r\n0\r\n\r\n");
            let (seen, _, progress) = read([text.as_bytes()]).unwrap();
            assert_eq!(
                (seen.body.as_slice(), progress),
                (b"ok".as_slice(), Progress::Complete)
            );
            assert!(seen.head.unwrap().keep_alive, "{good}");
        }
        for (headers, told) in [
            ("transfer-encoding: gzip, chunked\r\n", "gzip, chunked"),
            (
                "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
                "gzip, chunked",
            ),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
                "chunked, gzip",
            ),
            (
                "transfer-encoding: chunked, identity\r\n",
                "chunked, identity",
            ),
            (
                "transfer-encoding: chunked, chunked\r\n",
                "chunked, chunked",
            ),
            ("transfer-encoding: gzip\r\n", "gzip"),
            ("transfer-encoding: xchunked\r\n", "xchunked"),
        ] {
            let error = head_of(headers).unwrap_err();
            assert_eq!(
                error,
                HttpError::TransferEncoding(told.to_owned()),
                "{headers}"
            );
        }
        insta::assert_snapshot!(
            head_of("transfer-encoding: gzip, chunked\r\n").unwrap_err(),
            @"`transfer-encoding: gzip, chunked` is not supported, only `chunked` alone");
    }

    #[test]
    fn a_length_beside_chunks_ends_the_connection() {
        for headers in [
            "content-length: 2\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nconnection: keep-alive\r\ncontent-length: 2\r\n",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{headers}\r\n5\r\nhello\r\n0\r\n\r\n");
            let (seen, _, progress) = read([text.as_bytes()]).unwrap();
            assert_eq!(
                (seen.body.as_slice(), progress),
                (b"hello".as_slice(), Progress::Complete)
            );
            assert!(!seen.head.unwrap().keep_alive, "{headers}");
        }
        let old =
            b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
        let (seen, ..) = read([old.as_slice()]).unwrap();
        assert!(!seen.head.unwrap().keep_alive);
    }

    #[test]
    fn codings_are_one_list_without_identity() {
        let coding = |headers: &str| head_of(headers).unwrap().content_encoding;
        assert_eq!(coding("content-encoding: Identity\r\n"), "");
        assert_eq!(coding("content-encoding: GZip\r\n"), "gzip");
        assert_eq!(
            coding("content-encoding: deflate\r\ncontent-encoding: identity, br\r\n"),
            "deflate, br"
        );
    }

    #[test]
    fn heads_are_limited_in_every_way() {
        let many = |n: usize| head_of(&"x: 1\r\n".repeat(n)).map(|head| head.status);
        assert_eq!(many(MAX_HEADERS), Ok(200));
        assert_eq!(many(MAX_HEADERS + 1), Err(HttpError::TooManyHeaders));
        let long = format!("x: {}\r\n", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(head_of(&long), Err(HttpError::HeadTooLarge));
        let endless = b"HTTP/1.1 200 OK\r\nx: "
            .iter()
            .chain(std::iter::repeat(&b'a'));
        let endless: Vec<u8> = endless.take(MAX_HEAD_BYTES + 1).copied().collect();
        assert_eq!(read(endless.chunks(1000)), Err(HttpError::HeadTooLarge));
        let interim = |n: u32| {
            let heads = "HTTP/1.1 102 Processing\r\n\r\n".repeat(n as usize);
            read([format!("{heads}HTTP/1.1 204 No Content\r\n\r\n").as_bytes()])
        };
        assert!(interim(MAX_INTERIM_HEADS).is_ok());
        assert_eq!(
            interim(MAX_INTERIM_HEADS + 1),
            Err(HttpError::TooManyInterim)
        );
        let zeros = "0".repeat(MAX_HEAD_BYTES + 10);
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{zeros}");
        assert!(read([text.as_bytes()]).unwrap_err().is_too_large());
    }

    #[test]
    fn a_port_that_speaks_tls_is_recognized() {
        let alert = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46];
        assert_eq!(read([alert.as_slice()]), Err(HttpError::SpeaksTls));
        assert_eq!(read(alert.chunks(1)), Err(HttpError::SpeaksTls));
        assert_eq!(
            HttpError::SpeaksTls.to_string(),
            "the server speaks TLS on this port"
        );
    }

    #[test]
    fn what_is_no_response_is_told_before_its_end() {
        assert!(read([b"SSH-2.0-OpenSSH_9.2\r\n".as_slice()]).is_err());
        assert!(read(b"SSH-2.0-OpenSSH_9.2\r\n".chunks(1)).is_err());
        assert!(read([b"HTTP/1.1 200 OK\r\n\x00".as_slice()]).is_err());
    }

    /// Steps taken for these pieces, and their total size.
    fn cost<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (usize, usize) {
        let mut bytes = 0;
        let ((), steps) = evalscope_model::steps::counted(|| {
            let mut reader = ResponseReader::default();
            let mut seen = Seen::default();
            for part in parts {
                bytes += part.len();
                if reader.push(part, &mut seen).is_err() {
                    break;
                }
            }
        });
        let steps = steps.expect("test builds count steps");
        (usize::try_from(steps).unwrap(), bytes)
    }

    proptest! {
        #[test]
        fn reading_is_linear_however_it_is_cut(
            headers in 0usize..400, interim in 0usize..10, cut in 1usize..64, end in any::<bool>(),
        ) {
            let mut text = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(interim);
            text.push_str("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
            for n in 0..headers {
                write!(text, "x-{n}: {}\r\n", "v".repeat(n % 90)).unwrap();
            }
            if end {
                text.push_str("\r\n5\r\nhello\r\n0\r\n\r\n");
            }
            let (steps, bytes) = cost(text.as_bytes().chunks(cut));
            // one pass of our own search, at most two by retries on a growing head, one at its end
            prop_assert!(steps <= 5 * bytes + 16, "{steps} steps for {bytes} bytes");
        }

        #[test]
        fn splitting_anywhere_reads_the_same(cuts in prop::collection::vec(0usize..300, 0..10)) {
            let want = read([CHUNKED]).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(CHUNKED.len())).collect();
            cuts.extend([0, CHUNKED.len()]);
            cuts.sort_unstable();
            let got = read(cuts.windows(2).map(|w| &CHUNKED[w[0]..w[1]])).unwrap();
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(&read(CHUNKED.chunks(1)).unwrap(), &want);
        }

        #[test]
        fn no_input_panics(prefix in any::<bool>(), parts in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice();
            let head = if prefix { head } else { b"" };
            let _ = read(std::iter::once(head).chain(parts.iter().map(Vec::as_slice)));
        }
    }
}
