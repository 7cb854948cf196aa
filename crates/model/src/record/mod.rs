//! Owns the measurements of one request: [`RequestRecord`] (times, outcome, usage) and the
//! [`Bodies`] that went over the wire.
//!
//! It must not know how records are aggregated, stored or shown. Derived numbers live in
//! [`crate::metrics`] and never replace what is recorded here.

mod conversation;
mod event_log;
mod failure;
mod masking;
mod texts;
mod varint;

pub use conversation::ConversationRecord;
pub use event_log::{EventLog, EventLogFormat, EventStamp, MAX_CHOICE};
pub use failure::{Failure, FailureKind};
pub use masking::{Masker, masked};
pub use texts::Texts;
pub use varint::push_varint;

use core::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::conversation::TurnPlace;
use crate::mix::{ModelId, UrlId};
use crate::prompt::TraceEntry;
use crate::time::Timestamp;

/// Whether a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sent before the measurement; excluded from every figure.
    Warmup,
    /// Part of the measurement.
    Measured,
}

impl Phase {
    /// Its name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Measured => "measured",
        }
    }
}

/// Which clock stamped the arrivals of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalClock {
    /// The kernel's receive time, for every read.
    Kernel,
    /// The monotonic clock right after the read, for at least one read.
    #[default]
    User,
}

impl ArrivalClock {
    /// Its name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// When things happened to one request. `None`: it never got that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTimes {
    /// When the schedule wanted it sent. Without pacing: when its slot became free.
    pub scheduled: Timestamp,
    /// When the slot that sent it became free.
    pub slot_free: Timestamp,
    /// When the slot took it; connecting comes after.
    pub dispatched: Timestamp,
    /// When a connection was ready for it.
    pub connected: Option<Timestamp>,
    /// Just before the first byte was passed to the kernel. Latencies start here.
    pub write_begun: Option<Timestamp>,
    /// Just after the last byte was. The difference is the uncertainty of the send time.
    pub write_done: Option<Timestamp>,
    /// Arrival of the first byte of the response.
    pub first_byte: Option<Timestamp>,
    /// Arrival of the end of the response head.
    pub headers: Option<Timestamp>,
    /// Arrival of the last data event (streaming) or of the end of the body.
    pub last_data: Option<Timestamp>,
    /// When the slot had finished with it.
    pub ended: Timestamp,
}

/// What a connection cost; all 0 if it was reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectCost {
    /// An earlier request of the slot left it open.
    pub reused: bool,
    /// Name lookup, nanoseconds.
    pub dns_ns: u64,
    /// TCP handshake and proxy tunnel, nanoseconds.
    pub tcp_ns: u64,
    /// TLS handshake, nanoseconds.
    pub tls_ns: u64,
}

/// No prompt and no output has more tokens: larger counts are ignored.
pub const MOST_TOKENS: u64 = 1_000_000_000_000;

/// Token counts reported by the server; `None`: not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens generated.
    pub completion_tokens: Option<u64>,
    /// Prompt tokens that came from the server's cache.
    pub cached_tokens: Option<u64>,
    /// Generated tokens that were reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The reasoning tokens were only included in the total, and were added to the generated tokens.
    pub reasoning_from_total: bool,
}

/// How the end of a response was detected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// By its end marker, the end of its body, or a failure.
    #[default]
    Marked,
    /// By silence: no data event came after its `finish_reason`, though the connection stayed open.
    Grace,
}

impl Ending {
    /// Its name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Marked => "marked",
            Self::Grace => "grace",
        }
    }
}

/// Token counts made locally with a tokenizer after the request had ended; `None`: not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountedTokens {
    /// Prompt tokens, including the chat template and an estimate for its images.
    pub prompt_tokens: Option<u64>,
    /// Tokens of all generated text, without special tokens.
    pub completion_tokens: Option<u64>,
}

/// Token counts that an API plugin extracted from a response after it had ended; `None`: it gave
/// none.
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
    /// The API's plugin, which read the whole response.
    Plugin,
    /// A local tokenizer: what the server should have counted.
    LocalTokenizer,
    /// One token per token-bearing event: an estimate.
    EventCount,
    /// Unknown.
    Unknown,
}

impl TokenSource {
    /// Its name in files.
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

/// Everything measured about one request, except its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Position in the run, from 0, in dataset order. Warm-up requests are numbered separately.
    pub index: u64,
    /// Whether it counts.
    pub phase: Phase,
    /// `None`: it succeeded.
    pub failure: Option<Failure>,
    /// The response was an event stream (if there was none: one was requested).
    pub streamed: bool,
    /// When things happened.
    pub times: RequestTimes,
    /// What its connection cost.
    pub connect: ConnectCost,
    /// Which clock stamped the arrivals.
    pub clock: ArrivalClock,
    /// The data events.
    pub events: EventLog,
    /// HTTP status of the response.
    pub http_status: Option<u16>,
    /// Token counts of the server.
    pub usage: Usage,
    /// Token counts of the API's plugin.
    pub plugin: PluginTokens,
    /// Requested prompt length in tokens, if one was requested.
    pub asked_prompt_tokens: Option<u64>,
    /// Most output tokens that were asked for, if the dataset asked for a number of its own.
    pub asked_output_tokens: Option<u64>,
    /// Texts or documents that it gives to an API that generates nothing; `None` for others.
    pub inputs: Option<u64>,
    /// Local token counts.
    pub counted: CountedTokens,
    /// Why generation ended, in the server's words.
    pub finish_reason: Option<String>,
    /// The response `id`, to find it in the server's log.
    pub response_id: Option<String>,
    /// The model named in the response.
    pub model: Option<String>,
    /// The model that the request asks for; `None` if its body names none, or none was made.
    pub asked_model: Option<ModelId>,
    /// The URL that it was sent to; `None` if it was not sent.
    pub url: Option<UrlId>,
    /// How its end was detected.
    pub ending: Ending,
    /// Events of the stream that were not data of the API and were skipped.
    pub skipped_events: u64,
    /// The response was compressed though not requested: bytes may have waited for later ones on
    /// their way.
    pub compressed: bool,
    /// The address of the peer: the server, or the proxy.
    pub peer: Option<SocketAddr>,
    /// Which turn of which conversation it is; `None` for a single request.
    pub turn: Option<TurnPlace>,
    /// Where it stands in a trace, if it comes from one.
    pub trace: Option<TraceEntry>,
}

impl RequestTimes {
    /// Move every moment to a clock that began `by` earlier.
    fn rebase(&mut self, by: Duration) {
        for at in [
            &mut self.scheduled,
            &mut self.slot_free,
            &mut self.dispatched,
            &mut self.ended,
        ] {
            *at = at.after(by);
        }
        for at in [
            &mut self.connected,
            &mut self.write_begun,
            &mut self.write_done,
            &mut self.first_byte,
            &mut self.headers,
            &mut self.last_data,
        ] {
            *at = at.map(|at| at.after(by));
        }
    }
}

impl RequestRecord {
    /// Move every moment to a clock that began `by` earlier: records of several processes then
    /// share one time line.
    pub fn rebase(&mut self, by: Duration) {
        self.times.rebase(by);
        self.events.rebase(by);
    }

    /// It succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.failure.is_none()
    }

    /// It was dispatched: the run did not end before, and there was room for it.
    #[must_use]
    pub fn dispatched(&self) -> bool {
        self.failure
            .as_ref()
            .is_none_or(|failure| !failure.kind.is_unsent())
    }

    /// It is a single request, or the first turn of a conversation: the load wanted it at its moment.
    #[must_use]
    pub fn starts_session(&self) -> bool {
        self.turn.is_none_or(|place| place.turn == 0)
    }

    /// Prompt tokens, and their source. No prompt is empty, so a count of 0 means not reported.
    #[must_use]
    pub fn prompt_tokens(&self) -> (Option<u64>, TokenSource) {
        let sources = [
            (self.plugin.prompt_tokens, TokenSource::Plugin),
            (self.usage.prompt_tokens, TokenSource::ServerUsage),
            (self.counted.prompt_tokens, TokenSource::LocalTokenizer),
        ];
        first_known(sources, false).unwrap_or((None, TokenSource::Unknown))
    }

    /// Prompt tokens reported by the server, from its usage or the API's plugin.
    #[must_use]
    pub fn reported_prompt_tokens(&self) -> Option<u64> {
        let counts = [self.plugin.prompt_tokens, self.usage.prompt_tokens];
        counts.into_iter().flatten().find(|count| *count > 0)
    }

    /// Output tokens reported by the server, from its usage or the API's plugin.
    #[must_use]
    pub fn reported_output_tokens(&self) -> Option<u64> {
        let none_possible = !self.has_tokens();
        let counts = [self.plugin.completion_tokens, self.usage.completion_tokens];
        let mut counts = counts.into_iter().flatten();
        counts.find(|count| *count > 0 || none_possible)
    }

    /// Output tokens, and their source. A count of 0 means not reported if token-bearing events
    /// came.
    #[must_use]
    pub fn output_tokens(&self) -> (Option<u64>, TokenSource) {
        let sources = [
            (self.plugin.completion_tokens, TokenSource::Plugin),
            (self.usage.completion_tokens, TokenSource::ServerUsage),
            (self.counted.completion_tokens, TokenSource::LocalTokenizer),
        ];
        if let Some(known) = first_known(sources, !self.has_tokens()) {
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

    fn has_tokens(&self) -> bool {
        self.events.tokens().next().is_some()
    }
}

fn first_known<const N: usize>(
    sources: [(Option<u64>, TokenSource); N],
    none_possible: bool,
) -> Option<(Option<u64>, TokenSource)> {
    sources
        .into_iter()
        .find(|(count, _)| count.is_some_and(|count| count > 0 || none_possible))
}

/// What went over the wire for one request, as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bodies {
    /// The request's body.
    pub request: Vec<u8>,
    /// JSON text of each token-bearing event; for a non-streaming response, its body.
    pub responses: Texts,
    /// JSON text of the stream's last data event other than `[DONE]`.
    pub final_event: Vec<u8>,
    /// The first [`EXCERPT_BYTES`] of the response to a failed request.
    pub error_excerpt: Vec<u8>,
    /// Target of a redirect.
    pub location: Option<String>,
}

impl Bodies {
    /// Total bytes of the request and of the response received.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.request.len() + self.responses.bytes() + self.final_event.len()
    }
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

/// How much of the response to a failed request is kept.
pub const EXCERPT_BYTES: usize = 4096;

/// A finished request: the record, and the bodies that were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The measurements.
    pub record: RequestRecord,
    /// What went over the wire.
    pub bodies: Bodies,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::tests::streamed;

    fn count() -> impl Strategy<Value = Option<u64>> {
        prop_oneof![Just(None), Just(Some(0)), (1u64..9).prop_map(Some)]
    }

    proptest! {
        #[test]
        fn tokens_that_came_are_never_counted_as_none(
            events in prop::collection::vec(any::<bool>(), 0..4),
            counts in prop::array::uniform3(count()),
        ) {
            let stamps: Vec<(u64, bool, bool)> =
                events.iter().zip(0..).map(|(token, at)| (at, *token, *token)).collect();
            let mut record = streamed(&stamps, None);
            let [plugin, usage, counted] = counts;
            record.plugin.completion_tokens = plugin;
            record.usage.completion_tokens = usage;
            record.counted.completion_tokens = counted;
            record.usage.prompt_tokens = usage;
            let tokens = events.iter().filter(|token| **token).count() as u64;
            let (output, source) = record.output_tokens();
            prop_assert!(output.is_some());
            if tokens > 0 {
                prop_assert!(output > Some(0));
                prop_assert_ne!(record.reported_output_tokens(), Some(0));
            } else {
                // without a token-bearing event, a count of 0 counts
                let first = [plugin, usage, counted].into_iter().flatten().next();
                prop_assert_eq!(output, first.or(Some(0)));
            }
            if source == TokenSource::EventCount {
                prop_assert_eq!(output, Some(tokens));
            }
            prop_assert_ne!(record.prompt_tokens().0, Some(0));
            prop_assert_eq!(record.prompt_tokens().0, usage.filter(|count| *count > 0));
        }
    }
}
