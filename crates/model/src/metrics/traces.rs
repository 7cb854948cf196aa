//! Owns how true a replay was to its trace: when requests were sent, how long prompts and outputs
//! were, and what prompts shared.
//!
//! Pure. It must not know the formats of traces, nor how figures are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sharing::{CachedShare, cached_of};
use super::{Distribution, Samples};
use crate::record::RequestRecord;
use crate::time::Timestamp;

/// A replay whose 99th percentile of the lag is above this is not faithful.
const MOST_LAG_MS: f64 = 10.0;
/// A replay in which more than this share of the requests is in a wrong second is not faithful.
const MOST_COUNT_ERROR: f64 = 0.01;
/// A replay that is longer or shorter by more than this share is not faithful.
const MOST_SPAN_ERROR: f64 = 0.01;
/// Lengths further off than this share are counted.
const LENGTH_OFF: f64 = 0.01;

/// How true a replay was to its trace. Missing values are `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct TraceFigures {
    /// Requests of the trace that were sent.
    pub requests: u64,
    /// Distinct moments at which they were due; `null` if the moments of the trace were not kept.
    pub stamps: Option<u64>,
    /// How late they were sent, against the moments of the trace; `null` as above.
    pub lag: Option<TraceLag>,
    /// From the first to the last request as sent, over the same as scheduled; `null` as above.
    pub span_ratio: Option<f64>,
    /// Share of the requests that were sent in another second than the trace has, 0 to 1; `null` as
    /// above.
    pub count_error: Option<f64>,
    /// Length of prompts as the server counted them, against the trace; `null` where either is
    /// missing.
    pub input_error: Option<LengthError>,
    /// Output tokens as the server counted them, against the trace; `null` where either is missing.
    pub output_error: Option<LengthError>,
    /// Prompt tokens that an earlier prompt of the run began with too, over all prompt tokens; `null`
    /// if the trace does not say what prompts share.
    pub possible_cached_share: Option<f64>,
    /// Cached tokens over prompt tokens.
    pub seen_cached: CachedShare,
    /// The lag, the span and the number of requests in each second are those of the trace; `null` if
    /// its moments were not kept.
    pub faithful: Option<bool>,
    /// What is not; empty if all is.
    pub not_faithful: Vec<NotFaithful>,
}

/// How late the requests of a trace were sent, through the client's own fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct TraceLag {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Greatest.
    pub max_ms: f64,
}

impl TraceLag {
    fn of(lag: &Distribution) -> Option<Self> {
        Some(Self {
            p50_ms: lag.p50?,
            p99_ms: lag.p99?,
            max_ms: lag.max?,
        })
    }
}

/// Lengths against those of the trace, over the requests that have both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct LengthError {
    /// Requests with both lengths.
    pub requests: u64,
    /// Sum of the lengths over the sum of those of the trace, less 1.
    pub total: f64,
    /// Median of the distance of a length from that of the trace, as a share of the latter.
    pub p50: f64,
    /// Its 99th percentile.
    pub p99: f64,
    /// Share of the requests whose length is more than 1 % off.
    pub off_share: f64,
}

/// What of a replay is not that of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NotFaithful {
    /// The 99th percentile of the lag is above 10 ms.
    Lag,
    /// More than 1 % of the requests were sent in another second.
    CountError,
    /// The span from the first to the last request is more than 1 % off.
    SpanRatio,
}

/// Lengths as they are summed up.
#[derive(Clone, Debug)]
struct Lengths {
    asked: u64,
    seen: u64,
    off: u64,
    errors: Samples,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            asked: 0,
            seen: 0,
            off: 0,
            errors: Samples::exact(),
        }
    }
}

impl Lengths {
    fn push(&mut self, asked: Option<u64>, seen: Option<u64>) {
        let (Some(asked @ 1..), Some(seen)) = (asked, seen) else {
            return;
        };
        self.asked = self.asked.saturating_add(asked);
        self.seen = self.seen.saturating_add(seen);
        let error = seen.abs_diff(asked) as f64 / asked as f64;
        self.off += u64::from(error > LENGTH_OFF);
        self.errors.push(error);
    }

    fn finish(self) -> Option<LengthError> {
        let errors = self.errors.distribution(1.0);
        Some(LengthError {
            requests: errors.count,
            total: self.seen as f64 / self.asked as f64 - 1.0,
            p50: errors.p50?,
            p99: errors.p99?,
            off_share: self.off as f64 / errors.count as f64,
        })
    }
}

/// When requests were due and when they were sent.
#[derive(Clone, Copy, Debug)]
struct Span {
    scheduled: (Timestamp, Timestamp),
    sent: (Timestamp, Timestamp),
}

fn wider(span: (Timestamp, Timestamp), at: Timestamp) -> (Timestamp, Timestamp) {
    (span.0.min(at), span.1.max(at))
}

impl Span {
    fn with(span: Option<Self>, scheduled: Timestamp, sent: Timestamp) -> Self {
        let Some(span) = span else {
            return Self {
                scheduled: (scheduled, scheduled),
                sent: (sent, sent),
            };
        };
        Self {
            scheduled: wider(span.scheduled, scheduled),
            sent: wider(span.sent, sent),
        }
    }

    fn ratio(self) -> Option<f64> {
        let length = |(first, last): (Timestamp, Timestamp)| last.nanos_since(first) as f64;
        let scheduled = length(self.scheduled);
        (scheduled > 0.0).then(|| length(self.sent) / scheduled)
    }
}

/// Sums up the requests of a trace in one pass. Takes eight bytes for each length of a request, and
/// a few for each second of the trace.
#[derive(Clone, Debug, Default)]
pub struct TraceAccumulator {
    requests: u64,
    /// When the first request was due.
    first: Option<Timestamp>,
    span: Option<Span>,
    /// Sent less scheduled, by second since the first request was due.
    seconds: BTreeMap<u64, i64>,
    stamps: u64,
    last_stamp: Option<Timestamp>,
    input: Lengths,
    output: Lengths,
    possible: u64,
    possible_of: u64,
    seen: CachedShare,
}

impl TraceAccumulator {
    /// Add a measured request, in the order of the trace. One that was never sent, and one of no
    /// trace, changes nothing.
    pub fn push(&mut self, record: &RequestRecord) {
        let Some(entry) = record.trace.filter(|_| record.dispatched()) else {
            return;
        };
        self.requests += 1;
        let times = &record.times;
        let sent = times.write_begun.unwrap_or(times.dispatched);
        self.span = Some(Span::with(self.span, times.scheduled, sent));
        if self.last_stamp != Some(times.scheduled) {
            self.stamps += 1;
            self.last_stamp = Some(times.scheduled);
        }
        let first = *self.first.get_or_insert(times.scheduled);
        let second = |at: Timestamp| at.nanos_since(first) / 1_000_000_000;
        let (due, left) = (second(times.scheduled), second(sent));
        if due != left {
            *self.seconds.entry(left).or_insert(0) += 1;
            *self.seconds.entry(due).or_insert(0) -= 1;
        }
        let input = record.reported_prompt_tokens();
        if let Some((possible, of)) = entry
            .possible_cached_tokens
            .zip(record.asked_prompt_tokens.or(input))
        {
            self.possible = self.possible.saturating_add(possible);
            self.possible_of = self.possible_of.saturating_add(of);
        }
        if !record.succeeded() {
            return;
        }
        self.input.push(record.asked_prompt_tokens, input);
        self.output
            .push(record.asked_output_tokens, record.reported_output_tokens());
        if let Some((cached, prompt)) = cached_of(record) {
            self.seen.push(cached, prompt);
        }
    }

    /// The figures; `None` without a request of a trace. `lag`: [`super::Metric::ClientLag`] of the run, if
    /// the moments of the trace were its schedule.
    #[must_use]
    pub fn finish(self, lag: Option<&Distribution>) -> Option<TraceFigures> {
        let n = (self.requests > 0).then_some(self.requests as f64)?;
        let wrong: u64 = self.seconds.values().map(|off| off.unsigned_abs()).sum();
        let mut figures = TraceFigures {
            requests: self.requests,
            stamps: None,
            lag: None,
            span_ratio: None,
            count_error: None,
            input_error: self.input.finish(),
            output_error: self.output.finish(),
            possible_cached_share: (self.possible_of > 0)
                .then(|| self.possible as f64 / self.possible_of as f64),
            seen_cached: self.seen,
            faithful: None,
            not_faithful: Vec::new(),
        };
        if let Some(lag) = lag {
            figures.stamps = Some(self.stamps);
            figures.lag = TraceLag::of(lag);
            figures.span_ratio = self.span.and_then(Span::ratio);
            figures.count_error = Some(wrong as f64 / (2.0 * n));
            figures.not_faithful = not_faithful(&figures);
            figures.faithful = Some(figures.not_faithful.is_empty());
        }
        Some(figures)
    }
}

fn not_faithful(figures: &TraceFigures) -> Vec<NotFaithful> {
    let off = |is: bool, what: NotFaithful| is.then_some(what);
    let late = figures.lag.is_some_and(|lag| lag.p99_ms > MOST_LAG_MS);
    let count = figures.count_error.is_some_and(|e| e > MOST_COUNT_ERROR);
    let span = figures.span_ratio.map(|ratio| (ratio - 1.0).abs());
    let span = span.is_some_and(|off| off > MOST_SPAN_ERROR);
    [
        off(late, NotFaithful::Lag),
        off(count, NotFaithful::CountError),
        off(span, NotFaithful::SpanRatio),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::streamed;
    use crate::prompt::TraceEntry;
    use crate::record::{Failure, FailureKind};

    /// A request of a trace that was due and sent at these milliseconds.
    fn sent(line: u64, due: u64, at: u64) -> RequestRecord {
        let ms = |n: u64| Timestamp::from_nanos(n * 1_000_000);
        let mut record = streamed(&[(at + 20, true, true)], Some(10));
        record.times.scheduled = ms(due);
        record.times.write_begun = Some(ms(at));
        record.asked_prompt_tokens = Some(100);
        record.asked_output_tokens = Some(10);
        record.usage.prompt_tokens = Some(100);
        record.usage.cached_tokens = Some(32);
        record.trace = Some(TraceEntry {
            line,
            possible_cached_tokens: Some(50),
        });
        record
    }

    fn figures(requests: &[(u64, u64)], p99_ms: f64) -> TraceFigures {
        let mut sums = TraceAccumulator::default();
        for (line, (due, at)) in (1..).zip(requests) {
            sums.push(&sent(line, *due, *at));
        }
        let lag = Distribution {
            count: 1,
            p50: Some(0.1),
            p99: Some(p99_ms),
            max: Some(20.0),
            ..Distribution::default()
        };
        sums.finish(Some(&lag)).unwrap()
    }

    #[test]
    fn a_replay_at_its_own_moments_is_faithful() {
        let exact: Vec<(u64, u64)> = (0..100).map(|i| (500 + i * 250, 501 + i * 250)).collect();
        let found = figures(&exact, 1.0);
        assert_eq!((found.requests, found.stamps), (100, Some(100)));
        assert_eq!(found.faithful, Some(true));
        assert_eq!(found.count_error, Some(0.0));
        assert_eq!(found.span_ratio, Some(1.0));
        assert_eq!(found.possible_cached_share, Some(0.5));
        assert_eq!(found.seen_cached.share, Some(0.32));
        let input = found.input_error.unwrap();
        assert_eq!(
            (input.requests, input.p99, input.off_share),
            (100, 0.0, 0.0)
        );
    }

    #[test]
    fn what_is_not_that_of_the_trace_is_named() {
        let exact: Vec<(u64, u64)> = (0..100).map(|i| (i * 250, i * 250)).collect();
        assert_eq!(figures(&exact, 11.0).not_faithful, [NotFaithful::Lag]);
        // four of a hundred one second late
        let mut late = exact.clone();
        for (_, at) in &mut late[8..12] {
            *at += 1000;
        }
        let found = figures(&late, 1.0);
        assert_eq!(found.count_error, Some(0.04));
        assert_eq!(found.not_faithful, [NotFaithful::CountError]);
        let mut stretched = exact;
        for (_, at) in &mut stretched {
            *at = *at * 102 / 100;
        }
        let found = figures(&stretched, 1.0);
        assert_eq!(found.not_faithful, [NotFaithful::SpanRatio]);
        assert_eq!(found.faithful, Some(false));
    }

    #[test]
    fn lengths_are_compared_where_there_are_two() {
        let mut sums = TraceAccumulator::default();
        let mut longer = sent(1, 0, 0);
        longer.usage.prompt_tokens = Some(150);
        longer.usage.completion_tokens = None;
        longer.streamed = false;
        longer.events = crate::record::EventLog::default();
        let mut failed = sent(2, 1, 1);
        failed.failure = Some(Failure::new(FailureKind::Reset, "no"));
        let mut of_no_trace = sent(3, 2, 2);
        of_no_trace.trace = None;
        for record in [longer, failed, of_no_trace, sent(4, 3, 3)] {
            sums.push(&record);
        }
        let found = sums.finish(None).unwrap();
        assert_eq!(
            (found.requests, found.stamps, found.faithful),
            (3, None, None)
        );
        let input = found.input_error.unwrap();
        assert_eq!((input.requests, input.total, input.p50), (2, 0.25, 0.25));
        assert!((input.off_share - 0.5).abs() < 1e-9);
        assert_eq!(found.output_error.unwrap().requests, 1);
        assert_eq!(TraceAccumulator::default().finish(None), None);
    }
}
