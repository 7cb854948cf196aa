//! Owns what the numbers mean: from records to metrics, from metrics to the statistics of a run.
//! `docs/metrics.md` gives every formula with its source.
//!
//! Pure. It must not know tokio, files, or any display unit beyond the one in a metric's key.

mod bootstrap;
mod choices;
mod client;
mod comparison;
mod conversations;
mod distribution;
mod goodput;
mod handoff;
mod histogram;
mod holm;
mod intervals;
mod newcombe;
mod plateau;
mod quantiles;
mod ratio;
mod saturation;
mod sharing;
mod timeline;
mod totals;
mod traces;
mod trend;
mod turns;
mod watch;
mod windows;
mod with_failures;

use std::collections::BTreeMap;

pub use bootstrap::{BlockBootstrap, variance_of_parts};
pub use choices::token_neighbours;
pub use client::{
    CLIENT_LAG_LIMIT_MS, ClientReport, ClientSnapshot, HANDLING_BITS, ShardClient, Verdict,
};
pub use comparison::Comparison;
pub use conversations::{
    ConversationAccumulator, ConversationFigures, EndedByCounts, IncrementFigures, PerConversation,
};
pub use distribution::{
    Distribution, EXACT_LIMIT, HISTOGRAM_BITS, PERCENTILE_ROWS, PercentileRow, Samples, quantile,
};
pub use goodput::{
    ConditionCounts, Delivery, Goodput, GoodputAccumulator, Judge, Judgement, Outcome, Standing,
    Yardstick,
};
pub use histogram::{DenseHistogram, LogHistogram, SharedHistogram, bucket_of, bucket_range};
pub use holm::holm;
pub use intervals::{
    Interval, MeanOfBins, Ordered, PERCENTILE_DEGREES, Series, mean_of_bins, share_interval,
    variance_inflation, wilson,
};
pub use newcombe::{Share, newcombe, newcombe_p_value};
pub use plateau::{
    FoundPlateau, NoPlateau, Plateau, PlateauAccumulator, PlateauSearch, PlateauTotals,
    PlateauWindow, output_by_time,
};
pub use quantiles::{normal_cdf, normal_quantile, student_cdf, student_quantile};
pub use ratio::{Change, ENOUGH_RUNS, Grounds, RunFigure};
pub use saturation::{Ended, LoadVerdict, LoadWindow, Saturation, Undecided};
pub use sharing::CachedShare;
pub use totals::{MOST_NAMES, PeerTotals, RunTotals};
pub use traces::{LengthError, NotFaithful, TraceAccumulator, TraceFigures, TraceLag};
pub use trend::Trend;
pub use turns::{TurnGroup, TurnRow};
pub use watch::{Look, SaturationWatch};
pub use windows::{ConstantWindow, LoadWindows, constant_windows};
pub use with_failures::{
    FailedWord, FailureAdjusted, PercentilesWithFailures, WithFailures, quantile_with_failures,
};

use crate::record::{FailureKind, RequestRecord};
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
    /// The same without the first gap of each response.
    SteadyItl,
    /// The first of these gaps.
    PdHandoffLatency,
    /// By how much it is longer than the median of the others.
    PdHandoffOverhead,
    /// Time from the send to the last data event.
    Latency,
    /// Time from the scheduled moment to the last data event. A request that was due but never sent
    /// counts with the time it had waited; its latency would have been longer.
    LatencyFromSchedule,
    /// Time from the scheduled moment to the first token of any channel; unsent requests as above.
    TtftFromSchedule,
    /// Prompt tokens.
    InputTokens,
    /// Prompt tokens from the server's cache over prompt tokens.
    CachedShare,
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
    /// Latency over the texts or documents of a request that generates nothing.
    LatencyPerInput,
    /// Prompt tokens over latency, of a request that generates nothing.
    InputTokPerS,
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
    pub const ALL: [Self; 28] = [
        Self::Ttft,
        Self::Ttfat,
        Self::Tpot,
        Self::Itl,
        Self::SteadyItl,
        Self::PdHandoffLatency,
        Self::PdHandoffOverhead,
        Self::Latency,
        Self::LatencyFromSchedule,
        Self::TtftFromSchedule,
        Self::InputTokens,
        Self::CachedShare,
        Self::OutputTokens,
        Self::EventsPerRequest,
        Self::EventGap,
        Self::TokensPerEvent,
        Self::DecodedTokensPerEvent,
        Self::OutputTokPerS,
        Self::TotalTokPerS,
        Self::DecodeTokPerS,
        Self::LatencyPerInput,
        Self::InputTokPerS,
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
            Self::SteadyItl => "steady_itl_ms",
            Self::PdHandoffLatency => "pd_handoff_latency_ms",
            Self::PdHandoffOverhead => "pd_handoff_overhead_ms",
            Self::Latency => "latency_s",
            Self::LatencyFromSchedule => "latency_from_schedule_s",
            Self::TtftFromSchedule => "ttft_from_schedule_ms",
            Self::InputTokens => "input_tokens",
            Self::CachedShare => "cached_share",
            Self::OutputTokens => "output_tokens",
            Self::EventsPerRequest => "events_per_request",
            Self::EventGap => "event_gap_ms",
            Self::TokensPerEvent => "tokens_per_event",
            Self::DecodedTokensPerEvent => "decoded_tokens_per_event",
            Self::OutputTokPerS => "output_tok_per_s",
            Self::TotalTokPerS => "total_tok_per_s",
            Self::DecodeTokPerS => "decode_tok_per_s",
            Self::LatencyPerInput => "latency_per_input_ms",
            Self::InputTokPerS => "input_tok_per_s",
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
            | Self::CachedShare
            | Self::OutputTokens
            | Self::EventsPerRequest
            | Self::TokensPerEvent
            | Self::DecodedTokensPerEvent
            | Self::OutputTokPerS
            | Self::TotalTokPerS
            | Self::DecodeTokPerS
            | Self::InputTokPerS => 1.0,
            _ => 1e-6,
        }
    }

    /// Only requests that generate tokens have it.
    #[must_use]
    pub const fn is_of_output(self) -> bool {
        matches!(
            self,
            Self::Ttft
                | Self::TtftFromSchedule
                | Self::Ttfat
                | Self::Tpot
                | Self::Itl
                | Self::SteadyItl
                | Self::PdHandoffLatency
                | Self::PdHandoffOverhead
                | Self::EventsPerRequest
                | Self::EventGap
                | Self::OutputTokens
                | Self::TokensPerEvent
                | Self::DecodedTokensPerEvent
        )
    }

    /// It is about the hand-off from prefill to decode (`--enable-pd-metrics`).
    #[must_use]
    pub const fn is_of_handoff(self) -> bool {
        matches!(
            self,
            Self::SteadyItl | Self::PdHandoffLatency | Self::PdHandoffOverhead
        )
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
    #[must_use]
    pub const fn per_gap(self) -> bool {
        matches!(self, Self::Itl | Self::SteadyItl | Self::EventGap)
    }

    /// An empty collection for its samples: those of gaps are bounded.
    #[must_use]
    pub fn collection(self) -> Samples {
        if self.per_gap() {
            Samples::bounded()
        } else {
            Samples::exact()
        }
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
            Self::SteadyItl => handoff::steady_gaps(&record.events, sink),
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
            Self::CachedShare => {
                let of = record.prompt_tokens().0.filter(|tokens| *tokens > 0)?;
                Some(record.usage.cached_tokens? as f64 / of as f64)
            }
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
            Self::LatencyPerInput => {
                let inputs = record.inputs.filter(|inputs| *inputs > 0)?;
                Some(latency()? / inputs as f64)
            }
            Self::InputTokPerS => {
                record.inputs?;
                per_second(record.prompt_tokens().0? as f64, latency()?)
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
            Self::PdHandoffLatency => handoff::latency(&record.events),
            Self::PdHandoffOverhead => handoff::overhead(&record.events),
            Self::Itl | Self::SteadyItl | Self::EventGap => None,
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
            .map(|metric| (*metric, metric.collection()))
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

#[cfg(test)]
pub(crate) mod tests;
