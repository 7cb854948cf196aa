//! Owns the raw truth of one request: [`RequestRecord`] (times, outcome,
//! usage) and the [`Bodies`] that went over the wire.
//!
//! It must not know how records are summed, stored or shown. Derived numbers
//! live in [`crate::metrics`] and never replace what stands here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Whether a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sent before the measurement; left out of every figure.
    Warmup,
    /// Part of the measurement.
    Measured,
}

impl Phase {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Measured => "measured",
        }
    }
}

/// Whose clock stamped the arrivals of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalClock {
    /// The kernel's receive time of the bytes, for every read.
    Kernel,
    /// The monotonic clock right after the read, for at least one read.
    #[default]
    User,
}

impl ArrivalClock {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// The class of a failure, from the socket to the column in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The run was stopped while the request was under way.
    Cancelled,
    /// No connection could be made.
    Connect,
    /// No connection within `--connect-timeout`.
    ConnectTimeout,
    /// The host's name has no address.
    Dns,
    /// The answer ended without any generated token though some were asked for.
    EmptyOutput,
    /// A fault of this program.
    Internal,
    /// Bytes that are not HTTP, not an event stream, or not the API's JSON.
    Malformed,
    /// The proxy refused the tunnel.
    Proxy,
    /// Nothing arrived for `--read-timeout`.
    ReadTimeout,
    /// The connection was reset or broke.
    Reset,
    /// The server reported an error in an answer of status 200.
    ServerError,
    /// An HTTP status other than 200.
    Status(u16),
    /// No TLS session, or a broken one.
    Tls,
    /// The request was not finished within `--total-timeout`.
    TotalTimeout,
    /// The answer ended before its end.
    Truncated,
}

impl FailureKind {
    const NAMED: [(Self, &'static str); 14] = [
        (Self::Cancelled, "cancelled"),
        (Self::Connect, "connect"),
        (Self::ConnectTimeout, "connect_timeout"),
        (Self::Dns, "dns"),
        (Self::EmptyOutput, "empty_output"),
        (Self::Internal, "internal"),
        (Self::Malformed, "malformed"),
        (Self::Proxy, "proxy"),
        (Self::ReadTimeout, "read_timeout"),
        (Self::Reset, "reset"),
        (Self::ServerError, "server_error"),
        (Self::Tls, "tls"),
        (Self::TotalTimeout, "total_timeout"),
        (Self::Truncated, "truncated"),
    ];

    /// Read a name as written by [`fmt::Display`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if let Some(status) = name.strip_prefix("http_") {
            return status.parse().ok().map(Self::Status);
        }
        Self::NAMED
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(kind, _)| *kind)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "http_{status}"),
            kind => f.write_str(
                Self::NAMED
                    .iter()
                    .find(|(k, _)| k == kind)
                    .map_or("internal", |(_, name)| name),
            ),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub kind: FailureKind,
    /// What happened, for a person: one line.
    pub message: String,
}

impl Failure {
    /// A failure of a class.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// When things happened to one request. `None`: it never came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTimes {
    /// When the schedule wanted it sent. Without pacing: when its slot was free.
    pub scheduled: Timestamp,
    /// When the slot that sent it had become free.
    pub slot_free: Timestamp,
    /// When the slot took it up; connecting comes after.
    pub dispatched: Timestamp,
    /// When a connection was ready for it.
    pub connected: Option<Timestamp>,
    /// Just before the first byte was handed to the kernel. Latencies start here.
    pub write_begun: Option<Timestamp>,
    /// Just after the last byte was. The gap is the uncertainty of the send.
    pub write_done: Option<Timestamp>,
    /// Arrival of the answer's first byte.
    pub first_byte: Option<Timestamp>,
    /// Arrival of the end of the answer's head.
    pub headers: Option<Timestamp>,
    /// Arrival of the last data event (streamed) or of the body's end.
    pub last_data: Option<Timestamp>,
    /// When the slot was done with it.
    pub ended: Timestamp,
}

/// What a connection cost. All 0 on a reused one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectCost {
    /// An earlier request of the slot left it open.
    pub reused: bool,
    /// Looking up the name, nanoseconds.
    pub dns_ns: u64,
    /// TCP handshake and proxy tunnel, nanoseconds.
    pub tcp_ns: u64,
    /// TLS handshake, nanoseconds.
    pub tls_ns: u64,
}

/// No prompt and no answer has more tokens: a count above this is none.
pub const MOST_TOKENS: u64 = 1_000_000_000_000;

/// Token counts as the server told them; `None`: it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated.
    pub completion_tokens: Option<u64>,
    /// Tokens of the prompt that came from the server's cache.
    pub cached_tokens: Option<u64>,
    /// Tokens generated that were reasoning.
    pub reasoning_tokens: Option<u64>,
}

/// Token counts of our own, made with a tokenizer after the request had ended;
/// `None`: not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedTokens {
    /// Tokens of the prompt, with the chat template and an estimate of its
    /// images.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the whole generated text, without special tokens.
    pub completion_tokens: Option<u64>,
}

/// Token counts that an API's plugin read out of an answer, after it had ended;
/// `None`: it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginTokens {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated.
    pub completion_tokens: Option<u64>,
}

/// Where a token count comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// The server's `usage`.
    ServerUsage,
    /// The plugin of the API, which read the whole answer.
    Plugin,
    /// A tokenizer on our side: what the server should have counted.
    LocalTokenizer,
    /// One token for each token-bearing event: an estimate.
    EventCount,
    /// Nothing is known.
    Unknown,
}

impl TokenSource {
    /// The name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerUsage => "server_usage",
            Self::Plugin => "plugin",
            Self::LocalTokenizer => "local_tokenizer",
            Self::EventCount => "event_count",
            Self::Unknown => "unknown",
        }
    }
}

/// One data event of a stream: when it arrived, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventStamp {
    /// Arrival of the read that completed it.
    pub at: Timestamp,
    /// It carried generated payload.
    pub token: bool,
    /// The payload belonged to the answer, not to reasoning.
    pub answer: bool,
    /// The same read completed a token-bearing event before it: the gap
    /// between the two is not known.
    pub coalesced: bool,
}

/// The data events of a stream, in order, eight bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog(Vec<u64>);

const TOKEN: u64 = 1;
const ANSWER: u64 = 2;
const COALESCED: u64 = 4;
const FLAG_BITS: u32 = 3;

impl EventLog {
    /// An empty log with room for `n` events.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Add an event.
    pub fn push(&mut self, event: EventStamp) {
        let mut packed = event.at.as_nanos() << FLAG_BITS;
        packed |= u64::from(event.token) * TOKEN;
        packed |= u64::from(event.answer) * ANSWER;
        packed |= u64::from(event.coalesced) * COALESCED;
        self.0.push(packed);
    }

    /// Number of data events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No event came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All events, in order.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = EventStamp> + '_ {
        self.0.iter().map(|packed| EventStamp {
            at: Timestamp::from_nanos(packed >> FLAG_BITS),
            token: packed & TOKEN != 0,
            answer: packed & ANSWER != 0,
            coalesced: packed & COALESCED != 0,
        })
    }

    /// The token-bearing events, in order.
    #[must_use]
    pub fn tokens(&self) -> impl DoubleEndedIterator<Item = EventStamp> + '_ {
        self.iter().filter(|event| event.token)
    }

    /// The log as bytes: for each event a LEB128 varint of its distance to the
    /// event before (the first: to the start of the run) in nanoseconds,
    /// shifted left by three, with the bits 1 token-bearing, 2 answer,
    /// 4 coalesced.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 5);
        let mut last = 0;
        for packed in &self.0 {
            let at = packed >> FLAG_BITS;
            // the kernel's times of one socket do not go back, but a fallback
            // to the user clock may meet a kernel time a moment later
            let delta = at.saturating_sub(last);
            last += delta;
            push_varint(
                &mut bytes,
                delta << FLAG_BITS | packed & ((1 << FLAG_BITS) - 1),
            );
        }
        bytes
    }

    /// Read what [`EventLog::to_bytes`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut log = Vec::with_capacity(bytes.len() / 4);
        let (mut at, mut value, mut shift) = (0u64, 0u64, 0u32);
        for byte in bytes {
            if shift > 63 {
                return None;
            }
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 != 0 {
                shift += 7;
                continue;
            }
            at = at.checked_add(value >> FLAG_BITS)?;
            log.push(at << FLAG_BITS | value & ((1 << FLAG_BITS) - 1));
            (value, shift) = (0, 0);
        }
        (shift == 0).then_some(Self(log))
    }
}

/// Everything measured of one request, except its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Position in the run, from 0, in the order of the data set. Warm-up
    /// requests count for themselves.
    pub index: u64,
    /// Whether it counts.
    pub phase: Phase,
    /// `None`: it succeeded.
    pub failure: Option<Failure>,
    /// The answer was an event stream (before an answer: one was asked for).
    pub streamed: bool,
    /// When things happened.
    pub times: RequestTimes,
    /// What its connection cost.
    pub connect: ConnectCost,
    /// Whose clock stamped the arrivals.
    pub clock: ArrivalClock,
    /// The data events.
    pub events: EventLog,
    /// Status of the answer's head.
    pub http_status: Option<u16>,
    /// Token counts of the server.
    pub usage: Usage,
    /// Token counts of the API's plugin.
    pub plugin: PluginTokens,
    /// Tokens that the prompt was to have, where a length was asked for.
    pub asked_prompt_tokens: Option<u64>,
    /// Token counts of our own.
    pub counted: CountedTokens,
    /// Why generation ended, in the server's words.
    pub finish_reason: Option<String>,
    /// The answer's `id`, to find it in the server's log.
    pub response_id: Option<String>,
}

impl RequestRecord {
    /// It succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.failure.is_none()
    }

    /// Tokens of the prompt, and who says so.
    #[must_use]
    pub fn prompt_tokens(&self) -> (Option<u64>, TokenSource) {
        let sources = [
            (self.plugin.prompt_tokens, TokenSource::Plugin),
            (self.usage.prompt_tokens, TokenSource::ServerUsage),
            (self.counted.prompt_tokens, TokenSource::LocalTokenizer),
        ];
        first_known(sources).unwrap_or((None, TokenSource::Unknown))
    }

    /// Tokens of the prompt in the server's own words, as its usage or the
    /// API's plugin has them.
    #[must_use]
    pub fn told_prompt_tokens(&self) -> Option<u64> {
        self.plugin.prompt_tokens.or(self.usage.prompt_tokens)
    }

    /// Output tokens, likewise.
    #[must_use]
    pub fn told_output_tokens(&self) -> Option<u64> {
        self.plugin
            .completion_tokens
            .or(self.usage.completion_tokens)
    }

    /// Output tokens, and who says so.
    #[must_use]
    pub fn output_tokens(&self) -> (Option<u64>, TokenSource) {
        let sources = [
            (self.plugin.completion_tokens, TokenSource::Plugin),
            (self.usage.completion_tokens, TokenSource::ServerUsage),
            (self.counted.completion_tokens, TokenSource::LocalTokenizer),
        ];
        if let Some(known) = first_known(sources) {
            return known;
        }
        if self.streamed {
            return (
                Some(self.events.tokens().count() as u64),
                TokenSource::EventCount,
            );
        }
        (None, TokenSource::Unknown)
    }
}

fn first_known<const N: usize>(
    sources: [(Option<u64>, TokenSource); N],
) -> Option<(Option<u64>, TokenSource)> {
    sources.into_iter().find(|(count, _)| count.is_some())
}

/// Texts that resemble their predecessors, as the events of a stream do: of
/// each only what differs from the one before is kept.
///
/// A text is stored as three LEB128 varints (bytes that its beginning and its
/// end share with the text before, bytes in between) and the bytes in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    packed: Vec<u8>,
    last: Vec<u8>,
    len: usize,
}

impl Texts {
    /// Add a text.
    pub fn push(&mut self, text: &[u8]) {
        let most = text.len().min(self.last.len());
        let head = common_prefix(&text[..most], &self.last[..most]);
        let most = most - head;
        let tail = common_suffix(
            &text[text.len() - most..],
            &self.last[self.last.len() - most..],
        );
        let middle = &text[head..text.len() - tail];
        for n in [head, tail, middle.len()] {
            push_varint(&mut self.packed, n as u64);
        }
        self.packed.extend_from_slice(middle);
        self.last.clear();
        self.last.extend_from_slice(text);
        self.len += 1;
    }

    /// Hand every text to `sink`, in order.
    pub fn for_each(&self, mut sink: impl FnMut(&[u8])) {
        let mut text = Vec::with_capacity(self.last.len());
        let mut tail_bytes = Vec::new();
        let mut at = 0;
        for _ in 0..self.len {
            let mut next = || {
                let (value, used) = read_varint(&self.packed[at..]);
                at += used;
                value
            };
            let (head, tail, middle) = (next(), next(), next());
            tail_bytes.clear();
            tail_bytes.extend_from_slice(&text[text.len() - tail..]);
            text.truncate(head);
            text.extend_from_slice(&self.packed[at..at + middle]);
            text.extend_from_slice(&tail_bytes);
            at += middle;
            sink(&text);
        }
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forget all texts.
    pub fn clear(&mut self) {
        self.packed.clear();
        self.last.clear();
        self.len = 0;
    }
}

/// Bytes that two slices of one length share at their beginning.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    // eight at a time: an event is some two hundred bytes
    let (words_a, words_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    let words = words_a
        .iter()
        .zip(words_b)
        .take_while(|(x, y)| x == y)
        .count();
    let rest = words * 8;
    let bytes = a[rest..].iter().zip(&b[rest..]);
    rest + bytes.take_while(|(x, y)| x == y).count()
}

/// Bytes that two slices of one length share at their end.
fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let (words_a, words_b) = (a.as_rchunks::<8>().1, b.as_rchunks::<8>().1);
    let words = words_a
        .iter()
        .rev()
        .zip(words_b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let rest = a.len() - words * 8;
    let bytes = a[..rest].iter().rev().zip(b[..rest].iter().rev());
    words * 8 + bytes.take_while(|(x, y)| x == y).count()
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7f) as u8);
}

/// A varint that [`push_varint`] wrote, and its length.
fn read_varint(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return (value, i + 1);
        }
    }
    (value, bytes.len())
}

/// What went over the wire for one request, as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// The request's body.
    pub request: Vec<u8>,
    /// JSON text of each token-bearing event; the body of a whole answer.
    pub responses: Texts,
    /// JSON text of the stream's last data event other than `[DONE]`.
    pub final_event: Vec<u8>,
    /// The first [`EXCERPT_BYTES`] of what the server said when it failed.
    pub error_excerpt: Vec<u8>,
    /// Where the answer, a redirect, points to.
    pub location: Option<String>,
}

/// The beginning of a secret from this length on is masked where a text was cut.
const TELLING_BYTES: usize = 4;

/// A text in which none of `secrets` stands any more, nor its beginning where
/// the text was cut: at its end, or before an ellipsis.
///
/// ```
/// use evalscope_core::record::masked;
/// let secrets = ["sk-12345".to_owned()];
/// assert_eq!(masked("bad key sk-12345", &secrets), "bad key ***");
/// assert_eq!(masked("bad key sk-12… [503]", &secrets), "bad key ***… [503]");
/// assert_eq!(masked("bad key sk-12", &secrets), "bad key ***");
/// ```
///
/// A secret that ends in a dot is what tokens begin with that are signed anew
/// now and then: all of the token is taken out.
///
/// ```
/// use evalscope_core::record::masked;
/// let secrets = ["eyJhbGci.".to_owned()];
/// assert_eq!(masked("not eyJhbGci.eyJh_x.9-Q: bad", &secrets), "not ***: bad");
/// ```
#[must_use]
pub fn masked(text: &str, secrets: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret.as_str()) {
            text = if secret.ends_with('.') {
                without_tokens(&text, secret)
            } else {
                text.replace(secret.as_str(), "***")
            };
        }
        for n in (TELLING_BYTES..secret.len()).rev() {
            let Some(part) = secret.get(..n) else {
                continue;
            };
            if let Some(rest) = text.strip_suffix(part) {
                text = format!("{rest}***");
            }
            if text.contains('…') {
                text = text.replace(&format!("{part}…"), "***…");
            }
        }
    }
    text
}

/// A text in which every token that begins like this is masked to its end.
fn without_tokens(text: &str, start: &str) -> String {
    let mut parts = text.split(start);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("***");
        // base64 for URLs, and the dots between parts
        let of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        out.push_str(part.trim_start_matches(of_token));
    }
    out
}

/// Which bodies are kept (`--record-bodies`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordBodies {
    /// Those of every request.
    #[default]
    All,
    /// Those of requests that failed.
    Failed,
    /// None.
    None,
}

/// How much of a failing answer is kept.
pub const EXCERPT_BYTES: usize = 4096;

/// A finished request: the record, and the bodies that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The measured truth.
    pub record: RequestRecord,
    /// The wire's contents.
    pub bodies: Bodies,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_event_log_survives_its_bytes(
            gaps in prop::collection::vec((0u64..1 << 40, any::<[bool; 3]>()), 0..200)
        ) {
            let mut log = EventLog::default();
            let mut at = 0;
            for (gap, [token, answer, coalesced]) in gaps {
                at += gap;
                log.push(EventStamp { at: Timestamp::from_nanos(at), token, answer, coalesced });
            }
            prop_assert_eq!(EventLog::from_bytes(&log.to_bytes()), Some(log));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = EventLog::from_bytes(&bytes);
        }
    }

    #[test]
    fn failure_kinds_keep_their_names() {
        for (kind, name) in FailureKind::NAMED {
            assert_eq!(kind.to_string(), name);
            assert_eq!(FailureKind::from_name(name), Some(kind));
        }
        assert_eq!(FailureKind::Status(429).to_string(), "http_429");
        assert_eq!(
            FailureKind::from_name("http_429"),
            Some(FailureKind::Status(429))
        );
        assert_eq!(FailureKind::from_name("nonsense"), None);
    }

    proptest! {
        #[test]
        fn texts_come_back_in_order(given in prop::collection::vec("[ab]{0,40}|.{0,60}", 0..20)) {
            let mut texts = Texts::default();
            for text in &given {
                texts.push(text.as_bytes());
            }
            let mut back = Vec::new();
            texts.for_each(|text| back.push(String::from_utf8(text.to_vec()).unwrap()));
            prop_assert_eq!(texts.len(), given.len());
            prop_assert_eq!(back, given);
        }
    }

    #[test]
    fn events_of_a_stream_are_kept_small() {
        let mut texts = Texts::default();
        for i in 0..64 {
            let text = format!(
                r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":" t{i}"}},"logprobs":null,"finish_reason":null}}]}}"#
            );
            texts.push(text.as_bytes());
        }
        assert!(texts.packed.len() < 800, "{}", texts.packed.len());
    }
}
