//! Owns the parsing of HTTP/1.1 responses (RFC 9112): bytes in, head and body out, however the
//! reads split them.
//!
//! Pure. It must not know sockets, event streams or the time; this is what lets the caller say
//! which read brought which bytes.

mod chunk;
mod progress;

use std::mem::MaybeUninit;

pub use chunk::{ChunkError, ChunkReader};
pub use progress::{MAX_HEAD_BYTES, Progress};

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
    /// The header that was asked for by [`ResponseReader::keeping`].
    pub kept: Option<String>,
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

/// Reads one response.
#[derive(Debug, Default)]
pub struct ResponseReader {
    state: State,
    head: PartialHead,
    interim_heads: u32,
    /// A header whose value is wanted.
    wanted: Option<Box<str>>,
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
    /// A reader that keeps the value of a header.
    #[must_use]
    pub fn keeping(header: Option<&str>) -> Self {
        Self {
            wanted: header.map(Into::into),
            ..Self::default()
        }
    }

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
        let wanted = self.wanted.as_deref();
        let parsed = with_parsed(text, |response| interpret(response, wanted))?;
        let (head, state) = parsed.ok_or_else(|| HttpError::Head {
            reason: "the head does not end".to_owned(),
            excerpt: excerpt(text),
        })?;
        self.head = PartialHead::default();
        if is_interim(head.status) {
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

/// A head that precedes the final one. 101 would switch protocols.
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

fn interpret(
    response: &httparse::Response<'_, '_>,
    wanted: Option<&str>,
) -> Result<(Head, State), HttpError> {
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        keep_alive: response.version == Some(1),
        ..Head::default()
    };
    if is_interim(status) {
        // it has no body, whatever its headers say (RFC 9110, section 15.2)
        return Ok((head, State::Head));
    }
    let mut framing = Framing::default();
    let mut codings = Vec::new();
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        if wanted.is_some_and(|wanted| header.name.eq_ignore_ascii_case(wanted)) {
            head.kept = Some(value.to_owned());
        }
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

#[cfg(test)]
mod tests;
