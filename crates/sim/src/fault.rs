//! Owns the list of available faults and oddities, and the rules that determine which request gets
//! which.
//!
//! It must not know how a fault looks on the wire: that is the job of the `answer` and `wire`
//! modules.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;

use crate::error::SimError;
use crate::seed::seeded;

macro_rules! faults {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $name:literal, )+) => {
        /// A way in which a response differs from a plain one. The first group are errors, which a
        /// client must report; the second are oddities, which a client must treat as if the
        /// response were plain.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum Fault {
            $( $(#[doc = $doc])+ #[serde(rename = $name)] $variant, )+
        }

        impl Fault {
            /// Every fault, errors first.
            pub const ALL: &'static [Fault] = &[$( Fault::$variant, )+];

            /// The name used in a rule.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Fault::$variant => $name, )+
                }
            }

            /// What the fault does, in one line.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $( Fault::$variant => concat!($( $doc, )+).trim_ascii(), )+
                }
            }
        }
    };
}

faults! {
    /// Status 400 with the error body of the protocol.
    Http400 = "http-400",
    /// Status 401 with the error body of the protocol.
    Http401 = "http-401",
    /// Status 404 with the error body of the protocol.
    Http404 = "http-404",
    /// Status 422 with the error body of the protocol.
    Http422 = "http-422",
    /// Status 429 with the error body of the protocol and `Retry-After: 1`.
    Http429 = "http-429",
    /// Status 500 with the error body of the protocol.
    Http500 = "http-500",
    /// Status 503 with the error body of the protocol.
    Http503 = "http-503",
    /// Status 307 to a host whose name never resolves.
    Redirect307 = "redirect-307",
    /// Three tokens, then an event with an `error` object, then `[DONE]`; DashScope's event is
    /// named `error` and is the last.
    ErrorEvent = "error-event",
    /// Three tokens, then an event named `error`.
    ErrorEventNamed = "error-event-named",
    /// Three tokens, then an event whose `error` is a string.
    ErrorString = "error-string",
    /// Status 200 with a JSON error body.
    ErrorBody = "error-body",
    /// Half of the tokens, then `finish_reason` is `error`; Zhipu's is `network_error`.
    FinishError = "finish-error",
    /// Half of the tokens, then a clean end without `finish_reason` and `[DONE]`.
    Cut = "cut",
    /// Half of the tokens, then the connection ends in the middle of the chunked body.
    CutChunked = "cut-chunked",
    /// Half of the tokens, then the connection is reset.
    Reset = "reset",
    /// The connection is reset before any byte of the response.
    ResetBefore = "reset-before",
    /// The connection is closed before any byte of the response.
    CloseBefore = "close-before",
    /// Bytes that are not HTTP.
    Garbage = "garbage",
    /// Half of the tokens, then an invalid chunk-size line.
    GarbageChunk = "garbage-chunk",
    /// A well-formed response without any token.
    Empty = "empty",
    /// Half of the tokens, then nothing while the connection stays open.
    Stall = "stall",
    /// The request is read but never gets a response.
    StallBefore = "stall-before",
    /// Half of the tokens, then one event of 64 MiB that never ends.
    OversizedEvent = "oversized-event",

    /// The response head arrives one byte every 10 ms.
    SlowHeaders = "slow-headers",
    /// Lines end with carriage return and line feed.
    Crlf = "crlf",
    /// Lines end with a lone carriage return.
    Cr = "cr",
    /// No space after `data:`.
    NoSpace = "no-space",
    /// A comment line before each event.
    Comments = "comments",
    /// `event: message` and `id:` lines before each `data` line.
    EventIdLines = "event-id-lines",
    /// A `retry:` line at the start.
    RetryLine = "retry-line",
    /// Each write is split inside a multi-byte character and between CR and LF, 1 ms apart.
    SplitUtf8 = "split-utf8",
    /// The first events arrive one byte at a time.
    SplitBytes = "split-bytes",
    /// Four events per write.
    Batched = "batched",
    /// No `[DONE]`, but a `finish_reason`.
    NoDone = "no-done",
    /// The last event lacks its blank line.
    NoBlankEnd = "no-blank-end",
    /// No usage, even if requested.
    NoUsage = "no-usage",
    /// A usage with only `prompt_tokens`.
    PartialUsage = "partial-usage",
    /// The usage so far in every event.
    UsageEverywhere = "usage-everywhere",
    /// The usage is part of the event with the `finish_reason`.
    UsageWithChoices = "usage-with-choices",
    /// An additional event with invalid JSON in the middle of the stream; a non-streaming response
    /// is cut.
    BrokenJson = "broken-json",
    /// `"error":null` in every event.
    ErrorNull = "error-null",
    /// The first third of the tokens is `delta.reasoning`.
    Reasoning = "reasoning",
    /// The first third of the tokens is `delta.reasoning_content`.
    ReasoningContent = "reasoning-content",
    /// The first third of the tokens is `delta.reasoning_details`.
    ReasoningDetails = "reasoning-details",
    /// The tokens are pieces of the arguments of a tool call.
    ToolCalls = "tool-calls",
    /// The tokens are `delta.refusal`.
    Refusal = "refusal",
    /// The last chunk has `delta` null.
    DeltaNull = "delta-null",
    /// The first and the last chunk have `content` null.
    ContentNull = "content-null",
    /// No `object` field.
    NoObject = "no-object",
    /// A llama.cpp `timings` object in the last chunk.
    Timings = "timings",
    /// `Connection: close` and a body that ends with the connection.
    NoKeepAlive = "no-keep-alive",
    /// A stream with a `Content-Length`.
    ContentLengthStream = "content-length-stream",
    /// Three tokens per event.
    MultiToken = "multi-token",
    /// A trailer after the last chunk.
    Trailers = "trailers",
    /// Each chunk-size line has extensions.
    ChunkExtensions = "chunk-extensions",
    /// The last content chunk carries the `finish_reason`.
    FinishWithContent = "finish-with-content",
    /// A valid non-streaming response although a stream was requested.
    JsonInsteadOfStream = "json-instead-of-stream",
    /// A `103 Early Hints` head before the real one.
    EarlyHints = "1xx",
    /// The stream is compressed with gzip, flushed with each write.
    Gzip = "gzip",
    /// In Responses and Messages, an event with an unknown name before each event.
    UnknownEvents = "unknown-events",
    /// In Responses and Messages, an event with empty text before each token.
    EmptyDeltas = "empty-deltas",
}

impl Fault {
    /// Whether a client must treat the response as a plain one.
    #[must_use]
    pub fn is_oddity(self) -> bool {
        self as usize >= Fault::SlowHeaders as usize
    }

    /// Whether nothing is generated: the request gets an error, or no response at all.
    pub(crate) fn replaces_response(self, stream: bool) -> bool {
        self.status().is_some()
            || match self {
                Fault::Redirect307
                | Fault::ErrorBody
                | Fault::ResetBefore
                | Fault::CloseBefore
                | Fault::Garbage
                | Fault::StallBefore => true,
                // Without a stream they are an error body.
                Fault::ErrorEvent | Fault::ErrorEventNamed | Fault::ErrorString => !stream,
                _ => false,
            }
    }

    /// The status of the `http-…` faults.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Fault::Http400 => Some(400),
            Fault::Http401 => Some(401),
            Fault::Http404 => Some(404),
            Fault::Http422 => Some(422),
            Fault::Http429 => Some(429),
            Fault::Http500 => Some(500),
            Fault::Http503 => Some(503),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        Fault::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| SimError::FaultName {
                got: text.to_owned(),
                allowed: Fault::ALL
                    .iter()
                    .map(|fault| fault.name())
                    .chain([Pause::NAME])
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}

/// Which requests a rule affects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// Every n-th request: 4 affects requests 4, 8, 12 and so on. At least 1.
    Every(u64),
    /// Each request with this probability, 0 to 1, drawn from the seed and the sequence number.
    Probability(f64),
}

/// A fault and the requests it affects; written `http-429:every=4`, `cut:p=0.1`, or `crlf` for
/// every request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRule {
    /// The fault.
    pub fault: Fault,
    /// The requests.
    pub when: When,
}

impl FaultRule {
    /// A rule for every request.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        FaultRule {
            fault,
            when: When::Every(1),
        }
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Every(n) => write!(f, "{}:every={n}", self.fault),
            When::Probability(p) => write!(f, "{}:p={p}", self.fault),
        }
    }
}

impl FromStr for FaultRule {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let Some((name, when)) = text.split_once(':') else {
            return Ok(FaultRule::always(text.parse()?));
        };
        let bad = || SimError::FaultWhen {
            got: when.to_owned(),
        };
        let fault = name.parse()?;
        let when = match when.split_once('=').ok_or_else(bad)? {
            ("every", n) => When::Every(n.parse().ok().filter(|n| *n >= 1).ok_or_else(bad)?),
            ("p", p) => When::Probability(
                p.parse()
                    .ok()
                    .filter(|p| (0.0..=1.0).contains(p))
                    .ok_or_else(bad)?,
            ),
            _ => return Err(bad()),
        };
        Ok(FaultRule { fault, when })
    }
}

/// The whole server stops for a while: it reads nothing, writes nothing and does no work. Written
/// `pause:2s@30s`: for 2 s, 30 s after its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// From the first request to the start of the pause.
    pub after: Duration,
    /// How long it lasts.
    pub length: Duration,
}

impl Pause {
    /// The name used in a rule.
    pub const NAME: &'static str = "pause";
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}ms@{}ms",
            Pause::NAME,
            self.length.as_secs_f64() * 1e3,
            self.after.as_secs_f64() * 1e3
        )
    }
}

/// What `--fault` may hold: a fault of single requests, or a pause of the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Injection {
    /// A fault of single requests.
    Rule(FaultRule),
    /// A pause of the whole server.
    Pause(Pause),
}

impl FromStr for Injection {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let (name, times) = text.split_once(':').unwrap_or((text, ""));
        if name != Pause::NAME {
            return text.parse().map(Injection::Rule);
        }
        let pause = times.split_once('@').and_then(|(length, after)| {
            Some(Pause {
                after: duration(after)?,
                length: duration(length)?,
            })
        });
        pause.map(Injection::Pause).ok_or_else(|| SimError::Pause {
            got: times.to_owned(),
        })
    }
}

/// A time with its unit, at most a day.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let seconds = number.parse::<f64>().ok()?
        * match unit {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
    (0.0..=86_400.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// Different from the seed of the gaps, so that both can use the sequence number as their stream.
const FAULT_SEED: u64 = 0x6661_756c_7473_2121;

/// The fault of request number `sequence` (from 1), from the first rule that matches.
#[must_use]
pub fn pick(rules: &[FaultRule], skip_first: u64, seed: u64, sequence: u64) -> Option<Fault> {
    if sequence <= skip_first || rules.is_empty() {
        return None;
    }
    let mut generator = seeded(seed ^ FAULT_SEED, sequence);
    // Every rule draws, matching or not, so that a rule's requests do not depend on earlier rules.
    let mut hit = None;
    for rule in rules {
        let hits = match rule.when {
            When::Every(n) => sequence.is_multiple_of(n),
            When::Probability(p) => generator.random_bool(p),
        };
        if hits && hit.is_none() {
            hit = Some(rule.fault);
        }
    }
    hit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_printing_and_parsing() {
        for fault in Fault::ALL {
            for when in [When::Every(4), When::Probability(0.1)] {
                let rule = FaultRule {
                    fault: *fault,
                    when,
                };
                assert_eq!(
                    rule.to_string().parse::<FaultRule>().expect("own output"),
                    rule
                );
            }
        }
        assert_eq!(
            "cut".parse::<FaultRule>().expect("name"),
            FaultRule::always(Fault::Cut)
        );
    }

    #[test]
    fn names_are_unique_and_described() {
        let mut names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            Fault::ALL
                .iter()
                .all(|fault| fault.describe().ends_with('.'))
        );
        assert!(!Fault::OversizedEvent.is_oddity() && Fault::SlowHeaders.is_oddity());
    }

    #[test]
    fn bad_rules_say_what_is_allowed() {
        let message = |rule: &str| rule.parse::<FaultRule>().expect_err(rule).to_string();
        let unknown = message("htp-429:every=4");
        assert!(
            unknown.contains("htp-429") && unknown.contains("http-429"),
            "{unknown}"
        );
        assert!(unknown.contains("json-instead-of-stream"), "{unknown}");
        for rule in [
            "cut:",
            "cut:every=0",
            "cut:p=1.5",
            "cut:p=x",
            "cut:often=3",
            "cut:p=NaN",
        ] {
            let text = message(rule);
            assert!(text.contains("every=") && text.contains("p="), "{text}");
        }
    }

    #[test]
    fn a_pause_has_a_length_and_a_start() {
        let pause = Pause {
            after: Duration::from_secs(30),
            length: Duration::from_millis(1500),
        };
        for text in ["pause:1.5s@30s", "pause:1500ms@0.5min", &pause.to_string()] {
            let parsed: Injection = text.parse().expect(text);
            assert_eq!(parsed, Injection::Pause(pause));
        }
        assert_eq!(
            "cut:every=2".parse::<Injection>().expect("a rule"),
            Injection::Rule("cut:every=2".parse().expect("a rule"))
        );
        for text in [
            "pause",
            "pause:2s",
            "pause:2@30",
            "pause:-1s@2s",
            "pause:2s@2d",
            "pause:@",
        ] {
            let message = text.parse::<Injection>().expect_err(text).to_string();
            assert!(message.contains("pause:2s@30s"), "{message}");
        }
        let message = "pse:2s@3s".parse::<Injection>().expect_err("no fault");
        assert!(message.to_string().contains(", pause"), "{message}");
    }

    #[test]
    fn every_counts_from_one_and_the_first_rule_wins() {
        let rules = ["cut:every=4", "crlf:every=2"].map(|r| r.parse().expect("rule"));
        let picked: Vec<_> = (1..=8).map(|n| pick(&rules, 0, 1, n)).collect();
        let (cut, crlf) = (Some(Fault::Cut), Some(Fault::Crlf));
        assert_eq!(picked, [None, crlf, None, cut, None, crlf, None, cut]);
        assert_eq!(pick(&rules, 4, 1, 4), None);
        assert_eq!(pick(&rules, 4, 1, 8), cut);
    }

    #[test]
    fn probability_repeats_and_is_about_right() {
        let rules = ["cut:p=0.1".parse().expect("rule")];
        let hits = |seed| -> Vec<u64> {
            (1..=10_000)
                .filter(|n| pick(&rules, 0, seed, *n).is_some())
                .collect()
        };
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
        assert!((850..1150).contains(&hits(1).len()));
    }
}
