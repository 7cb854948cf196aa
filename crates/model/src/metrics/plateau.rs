//! Owns the plateau: the part of a run in which the server was as loaded as it was meant to be,
//! without the opening wave and without the end, where the load runs dry.
//!
//! Pure. It must not know how results are shown. It needs two passes over the records:
//! [`PlateauSearch`] finds where the plateau is, [`PlateauTotals`] and [`PlateauAccumulator`] sum up
//! what is in it.

use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::choices::token_neighbours;
use super::intervals::{Interval, mean_of_bins};
use super::timeline::{BINS_OF_A_RUN, TimeBins, equal_parts, mean_in_flight, rates_per_s};
use super::trend::{Trend, settled_from};
use super::{Accumulator, Distribution, Metric, Samples};
use crate::record::{FailureKind, Phase, RequestRecord};
use crate::time::Timestamp;

/// A plateau has at least so many requests, and is at least so many median latencies long.
const LEAST_REQUESTS: u64 = 100;
const LEAST_LATENCIES: f64 = 3.0;

/// Into how many bins output is divided to see whether it is flat: the most that have enough events
/// each.
const FLATNESS_BINS: [usize; 3] = [60, 30, 20];
const LEAST_EVENTS_PER_BIN: usize = 20;

/// Bins of the requests in flight.
const IN_FLIGHT_BINS: usize = 60;

/// Bins for the interval of the throughput.
const THROUGHPUT_BINS: usize = 20;

/// Why there is no plateau.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoPlateau {
    /// The first request of some place had not ended when the last one was dispatched, or in an
    /// open loop: the start took most of the time.
    NeverFull,
    /// Fewer than 100 requests were dispatched in it.
    TooFewRequests,
    /// It is shorter than three median latencies.
    TooShort,
}

/// From the start to the end of a plateau.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlateauWindow {
    /// Its start.
    pub start: Timestamp,
    /// Its end, after the start.
    pub end: Timestamp,
}

impl PlateauWindow {
    /// A request belongs to it: it is measured and was dispatched inside. It is followed to its
    /// end, also past the plateau's.
    #[must_use]
    pub fn holds(&self, record: &RequestRecord) -> bool {
        record.phase == Phase::Measured
            && record.dispatched()
            && self.contains(record.times.dispatched)
    }

    /// A moment is inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    /// Its length, seconds.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.end.nanos_since(self.start) as f64 / 1e9
    }
}

/// A plateau that was found, before anything in it is summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundPlateau {
    /// Where it is.
    pub window: PlateauWindow,
    /// By how much MSER-5 has moved the start to the right, seconds; 0: it has not.
    pub start_moved_s: f64,
    /// Output tokens by time; `None` below 400 token-bearing events.
    pub output: Option<Trend>,
    /// Requests in flight by time; `None` in closed loops.
    pub in_flight: Option<Trend>,
    /// 95 % interval of the output tokens per second within this run.
    pub output_tokens_per_s_ci: Option<Interval>,
}

/// Finds plateaus: the first pass. Memory is bounded by the concurrency of a closed loop, and about
/// 1 MB.
#[derive(Debug)]
pub struct PlateauSearch {
    opening: Option<OpeningWave>,
    /// The last dispatch of a measured request.
    last_dispatch: Option<Timestamp>,
    /// Output tokens, by the arrival of their events.
    tokens: TimeBins,
    /// Token-bearing events.
    events: TimeBins,
    /// Requests by the moment they were due, and by the moment they ended.
    due: TimeBins,
    ended: TimeBins,
}

impl PlateauSearch {
    /// For a closed loop of so many places; `None`: an open loop.
    #[must_use]
    pub fn new(places: Option<NonZeroUsize>) -> Self {
        let empty = || TimeBins::new(Timestamp::ZERO, BINS_OF_A_RUN);
        Self {
            opening: places.map(OpeningWave::new),
            last_dispatch: None,
            tokens: empty(),
            events: empty(),
            due: empty(),
            ended: empty(),
        }
    }

    /// Add a record, in any order: all of the run, warm-up included.
    pub fn push(&mut self, record: &RequestRecord) {
        if !record.dispatched() {
            return;
        }
        let times = &record.times;
        if let Some(opening) = &mut self.opening {
            opening.push(times.dispatched, times.ended);
        } else {
            self.due.add(times.scheduled, 1.0);
            self.ended.add(times.ended, 1.0);
        }
        if record.phase == Phase::Measured {
            self.last_dispatch = self.last_dispatch.max(Some(times.dispatched));
        }
        output_by_time(record, |at, tokens| {
            self.tokens.add(at, tokens);
            self.events.add(at, 1.0);
        });
    }

    /// The plateau of a closed loop: from the moment when the first request of every place, warm-up
    /// counted, has ended, until the last dispatch.
    ///
    /// # Errors
    /// When there is none.
    pub fn closed_loop(&self) -> Result<FoundPlateau, NoPlateau> {
        let start = self.opening.as_ref().and_then(OpeningWave::ended);
        self.between(start.zip(self.last_dispatch))
    }

    /// The plateau of an open loop, or of one constant segment of a profile, between the moments of
    /// [`super::LoadWindow::steady`].
    ///
    /// # Errors
    /// When there is none.
    pub fn open_loop(
        &self,
        steady: Option<(Timestamp, Timestamp)>,
    ) -> Result<FoundPlateau, NoPlateau> {
        self.between(steady)
    }

    fn between(&self, moments: Option<(Timestamp, Timestamp)>) -> Result<FoundPlateau, NoPlateau> {
        let (start, end) = moments
            .filter(|(start, end)| start < end)
            .ok_or(NoPlateau::NeverFull)?;
        let tokens = self.tokens.summed();
        let events = self.events.summed();
        let rates =
            |start: Timestamp, bins: usize| rates_per_s(&tokens, &equal_parts(start, end, bins));
        let bins = |start: Timestamp| {
            let events = events.until(end) - events.until(start);
            FLATNESS_BINS
                .into_iter()
                .find(|bins| events >= (bins * LEAST_EVENTS_PER_BIN) as f64)
        };
        let settled = bins(start).map_or(start, |bins| {
            let left_out = settled_from(&rates(start, bins));
            equal_parts(start, end, bins)[left_out]
        });
        let in_flight = || {
            let edges = equal_parts(settled, end, IN_FLIGHT_BINS);
            Trend::of(&mean_in_flight(
                &self.due.summed(),
                &self.ended.summed(),
                &edges,
            ))
        };
        let throughput = bins(settled)
            .and_then(|_| mean_of_bins(&rates(settled, THROUGHPUT_BINS)))
            .map(|mean| mean.interval);
        Ok(FoundPlateau {
            window: PlateauWindow {
                start: settled,
                end,
            },
            start_moved_s: settled.nanos_since(start) as f64 / 1e9,
            output: bins(settled).map(|bins| Trend::of(&rates(settled, bins))),
            in_flight: self.opening.is_none().then(in_flight),
            output_tokens_per_s_ci: throughput,
        })
    }
}

/// The first requests of a closed loop, one for each place: those that were dispatched first, since
/// a place takes its second request only when its first has ended.
#[derive(Debug)]
struct OpeningWave {
    places: usize,
    /// (dispatched, ended), the last dispatch on top.
    first: BinaryHeap<(Timestamp, Timestamp)>,
}

impl OpeningWave {
    fn new(places: NonZeroUsize) -> Self {
        Self {
            places: places.get(),
            first: BinaryHeap::new(),
        }
    }

    fn push(&mut self, dispatched: Timestamp, ended: Timestamp) {
        let entry = (dispatched, ended);
        if self.first.len() < self.places {
            self.first.push(entry);
        } else if let Some(mut last) = self.first.peek_mut()
            && entry < *last
        {
            *last = entry;
        }
    }

    /// When all of them had ended; `None` if some place never had a request.
    fn ended(&self) -> Option<Timestamp> {
        let is_full = self.first.len() == self.places;
        let ends = self.first.iter().map(|(_, ended)| *ended);
        ends.max().filter(|_| is_full)
    }
}

/// The output of a request by the arrival of its token-bearing events, each of which is worth the
/// same. A response that was not streamed arrives at its end. Requests that we ended ourselves
/// count up to there: the server did that work. Those that failed do not.
pub fn output_by_time(record: &RequestRecord, mut sink: impl FnMut(Timestamp, f64)) {
    if !did_work(record) {
        return;
    }
    let Some(output) = record.output_tokens().0 else {
        return;
    };
    let events = record.events.tokens().count();
    if events > 0 {
        let worth = output as f64 / events as f64;
        record
            .events
            .tokens()
            .for_each(|stamp| sink(stamp.at, worth));
    } else if let Some(at) = record.times.last_data {
        sink(at, output as f64);
    }
}

fn did_work(record: &RequestRecord) -> bool {
    record.failure.as_ref().is_none_or(|failure| {
        matches!(
            failure.kind,
            FailureKind::Unfinished | FailureKind::Cancelled
        )
    })
}

/// Sums up throughput on a plateau: the second pass. Takes eight bytes a request up to
/// [`super::EXACT_LIMIT`] requests, a histogram above.
#[derive(Clone, Debug)]
pub struct PlateauTotals {
    found: FoundPlateau,
    requests: u64,
    succeeded: u64,
    failed: u64,
    ended: u64,
    output_tokens: Option<f64>,
    input_tokens: Option<u64>,
    latencies: Samples,
}

impl PlateauTotals {
    /// An empty sum.
    #[must_use]
    pub fn new(found: FoundPlateau) -> Self {
        Self {
            found,
            requests: 0,
            succeeded: 0,
            failed: 0,
            ended: 0,
            output_tokens: None,
            input_tokens: None,
            latencies: Samples::bounded(),
        }
    }

    /// Add a record, in any order: all of the run, warm-up included, since their tokens are work
    /// that the server did.
    pub fn push(&mut self, record: &RequestRecord) {
        let window = self.found.window;
        let times = &record.times;
        if window.holds(record) {
            self.requests += 1;
            self.failed += u64::from(
                record
                    .failure
                    .as_ref()
                    .is_some_and(|f| !f.kind.is_given_up() && f.kind != FailureKind::ContextLimit),
            );
            if record.succeeded() {
                self.succeeded += 1;
                if let Some(latency) = Metric::Latency.of_request(record) {
                    self.latencies.push(latency);
                }
            }
        }
        self.ended += u64::from(record.succeeded() && window.contains(times.ended));
        let mut first_output = None;
        output_by_time(record, |at, tokens| {
            first_output = first_output.or(Some(at));
            if window.contains(at) {
                *self.output_tokens.get_or_insert(0.0) += tokens;
            }
        });
        if first_output.is_some_and(|at| window.contains(at))
            && let Some(prompt) = record.prompt_tokens().0
        {
            let sum = self.input_tokens.get_or_insert(0);
            *sum = sum.saturating_add(prompt);
        }
    }

    /// The figures.
    ///
    /// # Errors
    /// When the plateau has fewer than 100 requests, or is shorter than three median latencies.
    pub fn finish(self) -> Result<Plateau, NoPlateau> {
        let window = self.found.window;
        let length_s = window.length_s();
        if self.requests < LEAST_REQUESTS {
            return Err(NoPlateau::TooFewRequests);
        }
        let latencies = self.latencies.distribution(Metric::Latency.scale());
        let median_s = latencies.p50.ok_or(NoPlateau::TooFewRequests)?;
        if length_s < LEAST_LATENCIES * median_s {
            return Err(NoPlateau::TooShort);
        }
        Ok(Plateau {
            start_s: window.start.as_nanos() as f64 / 1e9,
            end_s: window.end.as_nanos() as f64 / 1e9,
            start_moved_s: self.found.start_moved_s,
            requests: self.requests,
            succeeded: self.succeeded,
            failed: self.failed,
            requests_per_s: self.ended as f64 / length_s,
            output_tokens_per_s: self.output_tokens.map(|tokens| tokens / length_s),
            output_tokens_per_s_ci: self.found.output_tokens_per_s_ci,
            input_tokens_per_s: self.input_tokens.map(|tokens| tokens as f64 / length_s),
            output_trend: self.found.output,
            in_flight_trend: self.found.in_flight,
        })
    }
}

/// Distributions of metrics on a plateau, in the second pass.
#[derive(Debug)]
pub struct PlateauAccumulator {
    window: PlateauWindow,
    of_requests: Accumulator,
    gaps: Option<Samples>,
}

impl PlateauAccumulator {
    /// An empty summary of these metrics.
    #[must_use]
    pub fn new(window: PlateauWindow, metrics: &[Metric]) -> Self {
        let of_requests: Vec<Metric> = metrics
            .iter()
            .copied()
            .filter(|metric| *metric != Metric::Itl)
            .collect();
        Self {
            window,
            of_requests: Accumulator::new(&of_requests),
            gaps: (of_requests.len() < metrics.len()).then(Samples::bounded),
        }
    }

    /// Add a measured record: a request counts if it was dispatched inside, a gap between tokens if
    /// both its ends are.
    pub fn push(&mut self, record: &RequestRecord) {
        if self.window.holds(record) {
            self.of_requests.push(record);
        }
        if let Some(gaps) = &mut self.gaps
            && record.succeeded()
            && record.phase == Phase::Measured
        {
            token_neighbours(&record.events, |from, to| {
                if self.window.contains(from) && self.window.contains(to) {
                    gaps.push(to.nanos_since(from) as f64);
                }
            });
        }
    }

    /// The distributions, each in the unit of its metric's key.
    #[must_use]
    pub fn finish(self) -> BTreeMap<Metric, Distribution> {
        let mut all = self.of_requests.finish();
        if let Some(gaps) = self.gaps {
            all.insert(Metric::Itl, gaps.distribution(Metric::Itl.scale()));
        }
        all
    }
}

/// The figures of a plateau, without its distributions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plateau {
    /// Its start, seconds after the clock of the run began.
    pub start_s: f64,
    /// Its end, seconds after the clock of the run began.
    pub end_s: f64,
    /// By how much the start was moved to the right because the throughput had not settled, seconds.
    pub start_moved_s: f64,
    /// Measured requests dispatched in it.
    pub requests: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed; what this program gave up is neither.
    pub failed: u64,
    /// Measured and warm-up requests that succeeded and ended in it, per second.
    pub requests_per_s: f64,
    /// Output tokens that arrived in it, per second; missing if none are known.
    pub output_tokens_per_s: Option<f64>,
    /// 95 % interval of the output tokens per second within this run.
    pub output_tokens_per_s_ci: Option<Interval>,
    /// Prompt tokens of requests whose first token arrived in it, per second; missing if none are
    /// known.
    pub input_tokens_per_s: Option<f64>,
    /// Whether output tokens per second were steady; missing below 400 token-bearing events.
    pub output_trend: Option<Trend>,
    /// Whether the requests in flight were; missing in closed loops.
    pub in_flight_trend: Option<Trend>,
}

#[cfg(test)]
mod tests;
