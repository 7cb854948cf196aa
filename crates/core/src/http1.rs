//! Owns the reading of HTTP/1.1 responses: bytes in, head and body out
//! (RFC 9112), whatever the sizes of the reads.
//!
//! Pure. It must not know sockets, event streams or the time; that is what lets
//! the caller say which read brought which bytes.

use std::fmt;

/// A response's head may not be larger than this.
pub const MAX_HEAD_BYTES: usize = 256 << 10;

const MAX_HEADERS: usize = 128;

/// What of a response's head matters to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// `Content-Type`, lower case, without parameters.
    pub content_type: String,
    /// The connection may carry another request after this answer.
    pub keep_alive: bool,
    /// `Location`, for redirects.
    pub location: Option<String>,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `Content-Encoding`, lower case; empty for none.
    pub content_encoding: String,
}

impl Head {
    /// The body is an event stream.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.content_type == "text/event-stream"
    }
}

/// Who takes a response's parts, in order: one head, then body bytes.
pub trait Receiver {
    /// The head is complete.
    fn head(&mut self, head: Head);
    /// Some bytes of the body.
    fn body(&mut self, bytes: &[u8]);
}

/// Why bytes are not a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head cannot be read.
    #[error("not an HTTP/1.x response: {reason}, starting with {excerpt:?}")]
    Head {
        /// What is wrong.
        reason: String,
        /// The first bytes.
        excerpt: String,
    },
    /// The head never ends.
    #[error("the response head is larger than {} KiB", MAX_HEAD_BYTES >> 10)]
    HeadTooLarge,
    /// `Content-Length` is not one number.
    #[error("`content-length: {0}` is not a length")]
    Length(String),
    /// A chunk of the body is not framed as it must be.
    #[error("the chunked body is broken: {0}")]
    Chunk(ChunkError),
}

/// What is wrong with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// The size line holds something other than a hexadecimal number.
    Size(u8),
    /// The size does not fit 64 bits.
    SizeOverflow,
    /// A line feed is missing where one must stand.
    LineFeed(u8),
    /// The extensions or trailers never end.
    TooLong,
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(byte) => write!(f, "byte 0x{byte:02x} in a chunk size"),
            Self::SizeOverflow => f.write_str("a chunk size above 64 bits"),
            Self::LineFeed(byte) => write!(f, "byte 0x{byte:02x} where a line ends"),
            Self::TooLong => f.write_str("extensions or trailers without end"),
        }
    }
}

/// How far a response has come.
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
    head: Vec<u8>,
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
    /// Take the bytes of one read. Bytes after the response's end are left
    /// alone; the returned count says how many belonged to it.
    ///
    /// # Errors
    /// When the bytes are not a response; nothing more can be read.
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

    /// The connection was closed in order: is the response complete with that?
    #[must_use]
    pub fn complete_at_close(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Complete)
    }

    /// No byte of the head has been read.
    #[must_use]
    pub fn untouched(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// Returns how many of `bytes` belonged to the head.
    fn push_head(
        &mut self,
        bytes: &[u8],
        receiver: &mut impl Receiver,
    ) -> Result<usize, HttpError> {
        let before = self.head.len();
        let from_start = before == 0;
        let text: &[u8] = if from_start {
            bytes
        } else {
            self.head.extend_from_slice(bytes);
            &self.head
        };
        crate::steps::add(text.len());
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(text).map_err(|error| HttpError::Head {
            reason: error.to_string(),
            excerpt: excerpt(text),
        })?;
        let httparse::Status::Complete(end) = parsed else {
            if text.len() > MAX_HEAD_BYTES {
                return Err(HttpError::HeadTooLarge);
            }
            if from_start {
                self.head.extend_from_slice(bytes);
            }
            return Ok(bytes.len());
        };
        let status = response.code.unwrap_or(0);
        // 1xx heads announce another; 101 would change the protocol
        if (100..200).contains(&status) && status != 101 {
            self.head.clear();
            return Ok(end - before);
        }
        let (head, state) = interpret(&response)?;
        self.state = state;
        self.head.clear();
        receiver.head(head);
        Ok(end - before)
    }
}

fn interpret(response: &httparse::Response<'_, '_>) -> Result<(Head, State), HttpError> {
    let status = response.code.unwrap_or(0);
    let mut head = Head {
        status,
        keep_alive: response.version == Some(1),
        ..Head::default()
    };
    let mut chunked = false;
    let mut length: Option<u64> = None;
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        match header.name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => {
                chunked = value
                    .rsplit(',')
                    .next()
                    .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
            }
            "content-length" => {
                let n = value
                    .parse()
                    .map_err(|_| HttpError::Length(value.to_owned()))?;
                if length.is_some_and(|other| other != n) {
                    return Err(HttpError::Length(format!("{n}, and another one")));
                }
                length = Some(n);
            }
            "content-type" => {
                head.content_type = value
                    .split(';')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_ascii_lowercase();
            }
            "content-encoding" if !value.eq_ignore_ascii_case("identity") => {
                head.content_encoding = value.to_ascii_lowercase();
            }
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
    // RFC 9112, section 6.3: chunked wins over a length
    let state = if matches!(status, 204 | 304) {
        State::Complete
    } else if chunked {
        State::Chunked(ChunkReader::default())
    } else if let Some(length) = length {
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

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}

/// Reads a chunked body (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub struct ChunkReader {
    state: ChunkState,
    /// Size so far, or bytes left of the chunk.
    size: u64,
    /// Bytes of extensions or trailers seen.
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
    /// Take the bytes of one read and hand the body's bytes in them to `sink`.
    /// Returns how many bytes belonged to the body.
    ///
    /// # Errors
    /// When the framing is broken.
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

    proptest! {
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
