//! Owns what the numbers mean: from records to metrics, from metrics to the statistics of a run.
//! `docs/metrics.md` gives every formula with its source.
//!
//! Pure. It must not know tokio, files, or any display unit beyond the one in a metric's key.

mod choices;
mod client;
mod comparison;
mod conversations;
mod distribution;
mod goodput;
mod histogram;
mod intervals;
mod plateau;
mod quantiles;
mod saturation;
mod sharing;
mod timeline;
mod traces;
mod trend;
mod turns;
mod watch;
mod windows;
mod with_failures;

use core::net::SocketAddr;
use std::collections::BTreeMap;

pub use choices::token_neighbours;
pub use client::{CLIENT_LAG_LIMIT_MS, ClientReport, ClientSnapshot, HANDLING_BITS, Verdict};
pub use comparison::Comparison;
pub use conversations::{
    ConversationAccumulator, ConversationFigures, EndedByCounts, IncrementFigures, PerConversation,
};
pub use distribution::{
    Distribution, EXACT_LIMIT, HISTOGRAM_BITS, PERCENTILE_ROWS, PercentileRow, Samples, quantile,
};
pub use goodput::{
    ConditionCounts, Delivery, Goodput, GoodputAccumulator, Judge, Judgement, Outcome, Standing,
};
pub use histogram::{DenseHistogram, LogHistogram, SharedHistogram, bucket_of, bucket_range};
pub use intervals::{
    Interval, MeanOfBins, Ordered, Series, mean_of_bins, share_interval, variance_inflation, wilson,
};
pub use plateau::{
    FoundPlateau, NoPlateau, Plateau, PlateauAccumulator, PlateauSearch, PlateauTotals,
    PlateauWindow, output_by_time,
};
pub use quantiles::{normal_quantile, student_cdf, student_quantile};
pub use saturation::{Ended, LoadVerdict, LoadWindow, Saturation, Undecided};
pub use sharing::CachedShare;
pub use traces::{LengthError, NotFaithful, TraceAccumulator, TraceFigures, TraceLag};
pub use trend::Trend;
pub use turns::{TurnGroup, TurnRow};
pub use watch::{Look, SaturationWatch};
pub use windows::{ConstantWindow, LoadWindows, constant_windows};
pub use with_failures::{
    FailedWord, FailureAdjusted, PercentilesWithFailures, WithFailures, quantile_with_failures,
};

use crate::record::{ArrivalClock, Ending, FailureKind, RequestRecord, TokenSource};
use crate::time::Timestamp;

/// A metric of requests: one sample per request, or per gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Time from the send to the first token of any channel.
    Ttft,
    /// Time from the send to the first token of the answer.
    Ttfat,
    /// Time per output token after the first.
    Tpot,
    /// Gap between token-bearing events.
    Itl,
    /// Time from the send to the last data event.
    Latency,
    /// Time from the scheduled moment to the last data event. A request that was due but never sent
    /// counts with the time it had waited; its latency would have been longer.
    LatencyFromSchedule,
    /// Time from the scheduled moment to the first token of any channel; unsent requests as above.
    TtftFromSchedule,
    /// Prompt tokens.
    InputTokens,
    /// Generated tokens.
    OutputTokens,
    /// Data events ("packages" in the Python tool).
    EventsPerRequest,
    /// Gap between data events of any kind.
    EventGap,
    /// Output tokens per token-bearing event.
    TokensPerEvent,
    /// Output tokens after the first over events after the first, up to the `finish_reason`, if
    /// above 1: for servers that decode several tokens at a time, or bundle them.
    DecodedTokensPerEvent,
    /// Output tokens over latency.
    OutputTokPerS,
    /// Prompt and output tokens over latency.
    TotalTokPerS,
    /// Output tokens after the first over the time since the first.
    DecodeTokPerS,
    /// How late a request was dispatched, for any reason.
    DispatchLag,
    /// How late it was dispatched although a slot was free: the client's own part.
    ClientLag,
    /// Time to make a new connection.
    Connect,
    /// Time from dispatch until a connection was ready.
    ConnectionWait,
    /// Time the send itself took.
    Send,
    /// Time from the send to the first byte of the response.
    FirstByte,
}

/// Which requests have samples of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Population {
    /// Requests that succeeded.
    Succeeded,
    /// Requests that were dispatched, however they ended.
    Dispatched,
    /// Requests that succeeded, and those that were due but never sent.
    Due,
}

impl Metric {
    /// All metrics, in file order.
    pub const ALL: [Self; 22] = [
        Self::Ttft,
        Self::Ttfat,
        Self::Tpot,
        Self::Itl,
        Self::Latency,
        Self::LatencyFromSchedule,
        Self::TtftFromSchedule,
        Self::InputTokens,
        Self::OutputTokens,
        Self::EventsPerRequest,
        Self::EventGap,
        Self::TokensPerEvent,
        Self::DecodedTokensPerEvent,
        Self::OutputTokPerS,
        Self::TotalTokPerS,
        Self::DecodeTokPerS,
        Self::DispatchLag,
        Self::ClientLag,
        Self::Connect,
        Self::ConnectionWait,
        Self::Send,
        Self::FirstByte,
    ];

    /// The key in files; its suffix is the unit.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Ttft => "ttft_ms",
            Self::Ttfat => "ttfat_ms",
            Self::Tpot => "tpot_ms",
            Self::Itl => "itl_ms",
            Self::Latency => "latency_s",
            Self::LatencyFromSchedule => "latency_from_schedule_s",
            Self::TtftFromSchedule => "ttft_from_schedule_ms",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::EventsPerRequest => "events_per_request",
            Self::EventGap => "event_gap_ms",
            Self::TokensPerEvent => "tokens_per_event",
            Self::DecodedTokensPerEvent => "decoded_tokens_per_event",
            Self::OutputTokPerS => "output_tok_per_s",
            Self::TotalTokPerS => "total_tok_per_s",
            Self::DecodeTokPerS => "decode_tok_per_s",
            Self::DispatchLag => "dispatch_lag_ms",
            Self::ClientLag => "client_lag_ms",
            Self::Connect => "connect_ms",
            Self::ConnectionWait => "connection_wait_ms",
            Self::Send => "send_ms",
            Self::FirstByte => "first_byte_ms",
        }
    }

    /// Factor from the unit of the samples to the unit of the key.
    #[must_use]
    pub const fn scale(self) -> f64 {
        match self {
            Self::Latency | Self::LatencyFromSchedule => 1e-9,
            Self::InputTokens
            | Self::OutputTokens
            | Self::EventsPerRequest
            | Self::TokensPerEvent
            | Self::DecodedTokensPerEvent
            | Self::OutputTokPerS
            | Self::TotalTokPerS
            | Self::DecodeTokPerS => 1.0,
            _ => 1e-6,
        }
    }

    const fn population(self) -> Population {
        match self {
            Self::DispatchLag
            | Self::ClientLag
            | Self::Connect
            | Self::ConnectionWait
            | Self::Send => Population::Dispatched,
            Self::LatencyFromSchedule | Self::TtftFromSchedule => Population::Due,
            _ => Population::Succeeded,
        }
    }

    /// One sample per gap rather than per request: there may be 10⁹.
    const fn per_gap(self) -> bool {
        matches!(self, Self::Itl | Self::EventGap)
    }

    /// Pass every sample of a record to `sink`; times in nanoseconds.
    pub fn samples(self, record: &RequestRecord, mut sink: impl FnMut(f64)) {
        let counts = match self.population() {
            Population::Succeeded => record.succeeded(),
            Population::Dispatched => record.dispatched(),
            Population::Due => record.succeeded() || never_had_room(record),
        };
        if !counts {
            return;
        }
        match self {
            Self::Itl => choices::token_gaps(&record.events, sink),
            Self::EventGap => gaps(record.events.arrivals(), sink),
            _ => {
                if let Some(value) = self.of_request(record) {
                    sink(value);
                }
            }
        }
    }

    /// The metric's single value for a request; times in nanoseconds. `None` if the request has
    /// none, and for per-gap metrics.
    #[must_use]
    pub fn of_request(self, record: &RequestRecord) -> Option<f64> {
        let times = &record.times;
        let span =
            |to: Option<Timestamp>, from: Option<Timestamp>| Some(to?.nanos_since(from?) as f64);
        let latency = || span(times.last_data, times.write_begun);
        let output = || record.output_tokens().0.map(|n| n as f64);
        let streamed = |value: Option<f64>| value.filter(|_| record.streamed);
        match self {
            Self::Ttft => streamed(span(
                record.events.tokens().next().map(|e| e.at),
                times.write_begun,
            )),
            Self::Ttfat => streamed(span(
                record.events.tokens().find(|e| e.answer).map(|e| e.at),
                times.write_begun,
            )),
            Self::Tpot => choices::time_per_token(&record.events, output()?),
            Self::DecodeTokPerS => Some(1e9 / Self::Tpot.of_request(record)?),
            Self::Latency => latency(),
            Self::LatencyFromSchedule | Self::TtftFromSchedule if never_had_room(record) => {
                span(Some(times.ended), Some(times.scheduled))
            }
            Self::LatencyFromSchedule => span(times.last_data, Some(times.scheduled)),
            Self::TtftFromSchedule => streamed(span(
                record.events.tokens().next().map(|e| e.at),
                Some(times.scheduled),
            )),
            Self::InputTokens => record.prompt_tokens().0.map(|n| n as f64),
            Self::OutputTokens => output(),
            Self::EventsPerRequest => streamed(Some(record.events.len() as f64)),
            Self::TokensPerEvent => {
                let events = record.events.tokens().count();
                (events > 0).then_some(output()? / events as f64)
            }
            Self::DecodedTokensPerEvent => {
                streamed(choices::decoded_per_event(&record.events, output()?))
            }
            Self::OutputTokPerS => per_second(output()?, latency()?),
            Self::TotalTokPerS => {
                per_second(output()? + record.prompt_tokens().0? as f64, latency()?)
            }
            Self::DispatchLag => Some(times.dispatched.nanos_since(times.scheduled) as f64),
            Self::ClientLag => {
                let possible = times.scheduled.max(times.slot_free);
                Some(times.dispatched.nanos_since(possible) as f64)
            }
            Self::Connect => (!record.connect.reused)
                .then(|| span(times.connected, Some(times.dispatched)))
                .flatten(),
            Self::ConnectionWait => span(times.connected, Some(times.dispatched)),
            Self::Send => span(times.write_done, times.write_begun),
            Self::FirstByte => span(times.first_byte, times.write_begun),
            Self::Itl | Self::EventGap => None,
        }
    }
}

/// It waited for room until the run ended. One that was shed did not wait: nothing is known of it.
fn never_had_room(record: &RequestRecord) -> bool {
    matches!(&record.failure, Some(failure) if failure.kind == FailureKind::NotSent)
}

fn per_second(amount: f64, nanos: f64) -> Option<f64> {
    (nanos > 0.0).then(|| amount * 1e9 / nanos)
}

fn gaps(times: impl Iterator<Item = Timestamp>, mut sink: impl FnMut(f64)) {
    let mut last = None;
    for at in times {
        if let Some(last) = last {
            sink(at.nanos_since(last) as f64);
        }
        last = Some(at);
    }
}

/// An incremental summary of some metrics over measured records.
#[derive(Debug)]
pub struct Accumulator {
    metrics: Vec<(Metric, Samples)>,
}

impl Accumulator {
    /// An empty summary of these metrics.
    #[must_use]
    pub fn new(metrics: &[Metric]) -> Self {
        let metrics = metrics
            .iter()
            .map(|metric| {
                let samples = if metric.per_gap() {
                    Samples::bounded()
                } else {
                    Samples::exact()
                };
                (*metric, samples)
            })
            .collect();
        Self { metrics }
    }

    /// Add a record.
    pub fn push(&mut self, record: &RequestRecord) {
        for (metric, samples) in &mut self.metrics {
            metric.samples(record, |value| samples.push(value));
        }
    }

    /// The distributions, each in the unit of its metric's key.
    #[must_use]
    pub fn finish(self) -> BTreeMap<Metric, Distribution> {
        self.metrics
            .into_iter()
            .map(|(metric, samples)| (metric, samples.distribution(metric.scale())))
            .collect()
    }
}

/// Sums over the measured records of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTotals {
    /// Requests dispatched that have ended by themselves: in success or in failure.
    pub total: u64,
    /// Requests that were due but never dispatched, because the run ended; not part of the total.
    pub not_sent: u64,
    /// Requests that were due while as many were in flight as may be, and were not sent; not part
    /// of the total.
    pub shed: u64,
    /// Requests that were given up: the run was stopped, or their time after the last dispatch was
    /// over. How they would have ended is not known; not part of the total.
    pub unfinished: u64,
    /// Those of them that were in flight when the run was stopped.
    pub cancelled: u64,
    /// Turns whose prompt was longer than the server's context: the ends of their conversations, no
    /// failures; not part of the total.
    pub context_limit: u64,
    /// Requests that succeeded.
    pub succeeded: u64,
    /// Failed requests by kind.
    pub failed_by_kind: BTreeMap<FailureKind, u64>,
    /// Successful responses that were event streams.
    pub streamed: u64,
    /// First dispatch.
    pub first_dispatch: Option<Timestamp>,
    /// Last end.
    pub last_end: Option<Timestamp>,
    /// Prompt tokens of successes.
    pub input_tokens: u64,
    /// Output tokens of successes.
    pub output_tokens: u64,
    /// Successes whose prompt tokens are known.
    pub input_known: u64,
    /// Successes by source of their output tokens.
    pub token_sources: BTreeMap<&'static str, u64>,
    /// Prompt lengths: requested, compared with what the server saw.
    pub prompt_lengths: Comparison,
    /// Output tokens: counted locally, compared with what the server reported.
    pub counted_output: Comparison,
    /// Cached prompt tokens, over successes that reported them.
    pub cached_tokens: Option<u64>,
    /// Prompt tokens of those successes.
    pub cached_of_tokens: u64,
    /// Reasoning tokens, over successes that reported them.
    pub reasoning_tokens: Option<u64>,
    /// Token-bearing events of failed requests: output that was generated and lost.
    pub failed_token_events: u64,
    /// Largest number of choices in a success.
    pub most_choices: u64,
    /// Successes by finish reason.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Token-bearing events of all requests.
    pub token_events: u64,
    /// Those that arrived in the same read as an earlier token-bearing event.
    pub coalesced_events: u64,
    /// Streamed requests with at least one arrival stamped by the user clock.
    pub user_clock: u64,
    /// Requests whose arrivals were all stamped by the kernel.
    pub kernel_clock: u64,
    /// Requests that opened a connection.
    pub new_connections: u64,
    /// Connections to each address, and requests sent there; the first [`MOST_NAMES`] addresses.
    pub peers: BTreeMap<SocketAddr, PeerTotals>,
    /// Successes by the model named in the response; the first [`MOST_NAMES`] models.
    pub models: BTreeMap<String, u64>,
    /// Compressed responses.
    pub compressed: u64,
    /// Successes whose end was only detected by silence.
    pub ended_by_grace: u64,
    /// Successes with skipped events, and the number of these events.
    pub skipping: u64,
    /// See `skipping`.
    pub skipped_events: u64,
    /// Successes whose reasoning tokens were only included in the total.
    pub reasoning_from_total: u64,
    /// Successful streams of two token-bearing events or more.
    pub first_reads: u64,
    /// Those whose second token came in the same read as the first.
    pub bundled_first_reads: u64,
    /// Requests that were due while every slot was busy.
    pub waited_for_slot: u64,
}

/// Number of distinct models, reasons and addresses that are kept apart: a server that invents a
/// new one for each response must not exhaust memory.
pub const MOST_NAMES: usize = 64;

/// Traffic to one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerTotals {
    /// Requests sent.
    pub requests: u64,
    /// Connections made.
    pub connections: u64,
}

/// Count one more under a name; names beyond the limit count as `other`.
fn count_name(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
        return;
    }
    let name = if counts.len() < MOST_NAMES {
        name
    } else {
        "other"
    };
    *counts.entry(name.to_owned()).or_insert(0) += 1;
}

impl RunTotals {
    /// Add a record.
    pub fn push(&mut self, record: &RequestRecord) {
        let times = &record.times;
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        match kind {
            Some(FailureKind::NotSent) => {
                self.not_sent += 1;
                return;
            }
            Some(FailureKind::Shed) => {
                self.shed += 1;
                return;
            }
            Some(FailureKind::ContextLimit) => self.context_limit += 1,
            Some(kind) if kind.is_given_up() => {
                self.unfinished += 1;
                self.cancelled += u64::from(kind == FailureKind::Cancelled);
            }
            _ => self.total += 1,
        }
        self.first_dispatch = Some(
            self.first_dispatch
                .map_or(times.dispatched, |t| t.min(times.dispatched)),
        );
        self.last_end = Some(self.last_end.map_or(times.ended, |t| t.max(times.ended)));
        let connected = times.connected.is_some() && !record.connect.reused;
        self.new_connections += u64::from(connected);
        self.compressed += u64::from(record.compressed);
        if let Some(peer) = record.peer
            && (self.peers.len() < MOST_NAMES || self.peers.contains_key(&peer))
        {
            let peer = self.peers.entry(peer).or_default();
            peer.requests += 1;
            peer.connections += u64::from(connected);
        }
        self.waited_for_slot += u64::from(times.slot_free > times.scheduled);
        self.token_events += record.events.tokens().count() as u64;
        self.coalesced_events += record.events.tokens().filter(|e| e.coalesced).count() as u64;
        if times.first_byte.is_some() {
            match record.clock {
                ArrivalClock::Kernel => self.kernel_clock += 1,
                ArrivalClock::User => self.user_clock += 1,
            }
        }
        if let Some(kind) = kind {
            if kind.counts_as_failed() {
                *self.failed_by_kind.entry(kind).or_insert(0) += 1;
            }
            self.failed_token_events += record.events.tokens().count() as u64;
            return;
        }
        self.succeeded += 1;
        self.streamed += u64::from(record.streamed);
        self.most_choices = self.most_choices.max(choices::count(&record.events));
        let (output, source) = record.output_tokens();
        self.output_tokens = self.output_tokens.saturating_add(output.unwrap_or(0));
        *self.token_sources.entry(source.as_str()).or_insert(0) += 1;
        if let Some(prompt) = record.prompt_tokens().0 {
            self.input_tokens = self.input_tokens.saturating_add(prompt);
            self.input_known += 1;
        }
        self.prompt_lengths
            .push(record.asked_prompt_tokens, record.reported_prompt_tokens());
        self.counted_output.push(
            record.counted.completion_tokens,
            record.reported_output_tokens(),
        );
        if let Some(cached) = record.usage.cached_tokens {
            let sum = self.cached_tokens.get_or_insert(0);
            *sum = sum.saturating_add(cached);
            let of = record.prompt_tokens().0.unwrap_or(0);
            self.cached_of_tokens = self.cached_of_tokens.saturating_add(of);
        }
        if let Some(reasoning) = record.usage.reasoning_tokens {
            let sum = self.reasoning_tokens.get_or_insert(0);
            *sum = sum.saturating_add(reasoning);
        }
        let reason = record.finish_reason.as_deref().unwrap_or("none");
        count_name(&mut self.finish_reasons, reason);
        if let Some(model) = &record.model {
            count_name(&mut self.models, model);
        }
        self.ended_by_grace += u64::from(record.ending == Ending::Grace);
        self.skipping += u64::from(record.skipped_events > 0);
        self.skipped_events = self.skipped_events.saturating_add(record.skipped_events);
        self.reasoning_from_total += u64::from(record.usage.reasoning_from_total);
        let first = record.events.tokens().next();
        if let Some(second) = first.and_then(|first| {
            record
                .events
                .tokens()
                .find(|stamp| stamp.choice == first.choice && *stamp != first)
        }) {
            self.first_reads += 1;
            self.bundled_first_reads += u64::from(second.coalesced);
        }
    }

    /// Requests that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.total - self.succeeded
    }

    /// First dispatch to last end, seconds; 0 for a run without requests.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        match (self.first_dispatch, self.last_end) {
            (Some(first), Some(last)) => last.nanos_since(first) as f64 / 1e9,
            _ => 0.0,
        }
    }

    /// `amount` divided by the run's duration; `None` if the duration or the number of successes is
    /// 0.
    #[must_use]
    pub fn rate_per_s(&self, amount: u64) -> Option<f64> {
        let duration = self.duration_s();
        (duration > 0.0 && self.succeeded > 0).then(|| amount as f64 / duration)
    }

    /// Share of token-bearing events that arrived in the same read as an earlier one.
    #[must_use]
    pub fn coalesced_share(&self) -> Option<f64> {
        (self.token_events > 0).then(|| self.coalesced_events as f64 / self.token_events as f64)
    }

    /// Share of successes whose output tokens are counted or estimated locally.
    #[must_use]
    pub fn estimated_share(&self) -> Option<f64> {
        let estimated = self
            .token_sources
            .iter()
            .filter(|(source, _)| {
                ![TokenSource::ServerUsage, TokenSource::Plugin]
                    .map(TokenSource::as_str)
                    .contains(source)
            })
            .map(|(_, n)| n)
            .sum::<u64>();
        (self.succeeded > 0).then(|| estimated as f64 / self.succeeded as f64)
    }
}

#[cfg(test)]
pub(crate) mod tests;
