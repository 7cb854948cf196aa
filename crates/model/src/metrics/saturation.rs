//! Owns the verdict on an open loop: did the server keep up with what came?
//!
//! Pure. It must not know clocks, or what is done about a verdict. Whether the client itself was the
//! limit is the caller's to know: then nothing is said about the server
//! ([`Saturation::client_limited`]).
//!
//! N(t), the requests due by t less those ended by t, is averaged over 20 equal bins of time after
//! the start. The slope of a line through them, over the arrival rate, is the *excess* e: the share
//! of arrivals that was not served. Above capacity it tends to 1 − 1/ρ. A queue at exactly full load
//! wanders too, by about √((ca² + cs²)·n) requests (reflected Brownian motion), so a verdict needs
//! more than that.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::intervals::{Interval, lag_1_correlation};
use super::quantiles::normal_quantile;
use super::timeline::{Summed, TimeBins, equal_parts, mean_in_flight};
use super::trend::quarters;
use crate::profile::Gaps;
use crate::record::{FailureKind, RequestRecord};
use crate::time::Timestamp;

/// Bins of time that a verdict rests on.
const BINS: usize = 20;

/// The start takes at least this share of the time, and at most the other.
const LEAST_START: f64 = 0.1;
const MOST_START: f64 = 0.4;

/// Latencies before there is a queue are those of this share of the requests, but at least so many.
const FIRST_SHARE: f64 = 0.05;
const FIRST_REQUESTS: f64 = 20.0;

/// A smaller excess is never called saturated, and an excess that may be this large never kept up.
const LEAST_EXCESS: f64 = 0.02;
const KEPT_UP_BELOW: f64 = 0.05;

/// Standard error of the slope of a line through a random walk, over the size that the walk has at its
/// end: √(6/5) (Durlauf and Phillips, "Trends versus Random Walks in Time Series Analysis",
/// Econometrica 56, 1988).
const SLOPE_OF_A_WALK: f64 = 1.095_445_115_010_332_2;

/// The largest lag-1 correlation of what a line leaves over that its error is widened by.
const MOST_MEMORY: f64 = 0.9;

/// Bins of time that requests are counted in: a hundred for each bin of a verdict.
pub(super) const MOST_TIME_BINS: usize = 1 << 12;

/// Latencies that are kept: 5 % of them give the 90th percentile to a few percent.
const MOST_LATENCIES: usize = 1 << 14;

/// Did the server keep up?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadVerdict {
    /// Yes: at most 5 % of the arrivals can have been left over.
    KeptUp,
    /// No: the backlog grew by more than chance, all the time.
    Saturated,
    /// The requests do not tell.
    Undecided,
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Undecided {
    /// Latencies are so long that the start took most of the time.
    TooShort {
        /// Arrivals have to last this long.
        needs_s: f64,
    },
    /// There are too few requests to tell a small excess from chance.
    TooFew {
        /// This many requests after the start would tell.
        needs_requests: u64,
    },
    /// The load is so close to the capacity that more requests need not help.
    NearCapacity,
    /// No request has a latency.
    NoLatency,
    /// The client was the limit, so nothing is known about the server.
    ClientLimited,
}

/// The verdict on a time of constant rate, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Saturation {
    /// The verdict.
    pub verdict: LoadVerdict,
    /// Why it is undecided; missing otherwise.
    pub undecided: Option<Undecided>,
    /// Share of the arrivals that was not served. Chance may make it negative.
    pub excess: Option<f64>,
    /// 95 % interval of the excess. Unless the server kept up, it allows for a backlog that is never
    /// empty, a random walk.
    pub excess_ci: Option<Interval>,
    /// Since when the backlog has only been above where it began, seconds after the start of this
    /// rate; only when saturated.
    pub since_s: Option<f64>,
    /// What the server can serve, requests per second; only when saturated.
    pub capacity_per_s: Option<f64>,
    /// Where the start was taken to be over, seconds after the start of this rate: t0.
    pub steady_from_s: Option<f64>,
    /// Requests that were due after that.
    pub requests: u64,
}

impl Saturation {
    /// The verdict where the client was the limit.
    #[must_use]
    pub fn client_limited(self) -> Self {
        Self {
            verdict: LoadVerdict::Undecided,
            undecided: Some(Undecided::ClientLimited),
            excess: None,
            excess_ci: None,
            since_s: None,
            capacity_per_s: None,
            ..self
        }
    }
}

/// How a request ended, for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It got its response this long after its scheduled moment, or we gave up on it then: its
    /// latency would have been longer.
    After {
        /// Nanoseconds.
        latency_ns: u64,
    },
    /// It failed: it is no longer in flight, and has no latency.
    Failed,
    /// It was due and never sent. The server has not served it, so it never leaves the backlog.
    NeverSent,
}

impl Ended {
    /// How the request of this record ended.
    #[must_use]
    pub fn of(record: &RequestRecord) -> Self {
        let times = &record.times;
        let after = |at: Timestamp| Self::After {
            latency_ns: at.nanos_since(times.scheduled),
        };
        match record.failure.as_ref().map(|failure| failure.kind) {
            None => after(times.last_data.unwrap_or(times.ended)),
            Some(FailureKind::Unfinished | FailureKind::Cancelled) => after(times.ended),
            Some(kind) if kind.is_unsent() => Self::NeverSent,
            Some(_) => Self::Failed,
        }
    }
}

/// Collects requests for the verdict on one time of constant rate. Memory is bounded (about 600 kB):
/// counts in bins of time whose width grows, and latencies of at most 16,384 requests, drawn
/// evenly.
#[derive(Clone, Debug)]
pub struct LoadWindow {
    start: Timestamp,
    end: Option<Timestamp>,
    gaps: Gaps,
    /// Requests by the moment they were due.
    due: TimeBins,
    /// Requests by the moment they ended.
    ended: TimeBins,
    /// Requests that have ended, by the moment they were due.
    known: TimeBins,
    latencies: LatencySample,
    last_due: Option<Timestamp>,
}

impl LoadWindow {
    /// From `start` until before `end`, or for as long as requests are due. The rate has to be
    /// constant in between.
    #[must_use]
    pub fn new(start: Timestamp, end: Option<Timestamp>, gaps: Gaps) -> Self {
        Self::in_bins(start, end, gaps, MOST_TIME_BINS)
    }

    pub(super) fn in_bins(
        start: Timestamp,
        end: Option<Timestamp>,
        gaps: Gaps,
        most: usize,
    ) -> Self {
        let empty = || TimeBins::new(start, most);
        Self {
            start,
            end,
            gaps,
            due: empty(),
            ended: empty(),
            known: empty(),
            latencies: LatencySample::default(),
            last_due: None,
        }
    }

    /// So many requests are in flight at the start.
    pub(super) fn with_in_flight(mut self, requests: u64) -> Self {
        self.due.add_before(requests as f64);
        self
    }

    /// Add the record of a request, in any order: all of the run, warm-up included, since what is
    /// still in flight from before is load, too. Requests that were never sent count as never
    /// served.
    pub fn push(&mut self, record: &RequestRecord) {
        let due = record.times.scheduled;
        self.due(due);
        self.ended(due, record.times.ended, Ended::of(record));
    }

    pub(super) fn has_begun(&self, at: Timestamp) -> bool {
        self.start <= at
    }

    fn holds(&self, due: Timestamp) -> bool {
        self.start <= due && self.end.is_none_or(|end| due < end)
    }

    pub(super) fn is_past(&self, at: Timestamp) -> bool {
        self.end.is_some_and(|end| end <= at)
    }

    /// A request is due at this moment, sent or not.
    pub fn due(&mut self, at: Timestamp) {
        if self.is_past(at) {
            return;
        }
        self.due.add(at, 1.0);
        if self.holds(at) {
            self.last_due = self.last_due.max(Some(at));
        }
    }

    /// The request that was due then has ended, at `at`.
    pub fn ended(&mut self, due: Timestamp, at: Timestamp, how: Ended) {
        if self.is_past(due) {
            return;
        }
        // what ends after the window does not matter, and must not widen its bins
        if how != Ended::NeverSent && !self.is_past(at) {
            self.ended.add(at, 1.0);
        }
        if self.holds(due) {
            self.known.add(due, 1.0);
            if let Ended::After { latency_ns } = how {
                self.latencies.push(due, latency_ns);
            }
        }
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Saturation {
        match self.last_due {
            Some(last) => self.verdict_at(last).0,
            None => nothing_known(Undecided::NoLatency),
        }
    }

    /// From where the start is over until the last moment at which a request was due: what the
    /// plateau of an open loop is. `None` if the start took most of the time.
    #[must_use]
    pub fn steady(&self) -> Option<(Timestamp, Timestamp)> {
        let last = self.last_due?;
        Some((self.verdict_at(last).1?, last))
    }

    /// The verdict on the time until `end`, when arrivals ended or are looked at, and where the
    /// start was over.
    #[must_use]
    pub fn verdict_at(&self, end: Timestamp) -> (Saturation, Option<Timestamp>) {
        let due = self.due.summed();
        let Some(first) = self.first_latencies(&due, end) else {
            return (nothing_known(Undecided::NoLatency), None);
        };
        let span_ns = end.nanos_since(self.start) as f64;
        let settling_ns = (2.0 * first.p90_ns).max(LEAST_START * span_ns);
        if settling_ns > MOST_START * span_ns {
            let needs_s = 5.0 * first.p90_ns / 1e9;
            return (nothing_known(Undecided::TooShort { needs_s }), None);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a span"
        )]
        let from = Timestamp::from_nanos(self.start.as_nanos() + settling_ns as u64);
        let edges = equal_parts(from, end, BINS);
        let backlog = mean_in_flight(&due, &self.ended.summed(), &edges);
        let judged = Backlog {
            bins: &backlog,
            bin_s: end.nanos_since(from) as f64 / 1e9 / BINS as f64,
            requests: (due.until(end) - due.until(from)).round(),
            // squared CV of the gaps and of the demand
            variation: self.gaps.squared_cv() + first.squared_cv,
        }
        .judge();
        let from_s = settling_ns / 1e9;
        let saturation = Saturation {
            since_s: judged.since_s.map(|since_s| from_s + since_s),
            steady_from_s: Some(from_s),
            ..judged
        };
        (saturation, Some(from))
    }

    /// Latencies of the first requests that were due: what the server does before it has a queue.
    fn first_latencies(&self, due: &Summed, now: Timestamp) -> Option<FirstLatencies> {
        let mut waiting = Vec::new();
        let known = self.known.summed();
        let mut before = (due.until(self.start), known.until(self.start));
        for edge in due.edges().skip(1) {
            let upto = (due.until(edge), known.until(edge));
            let open = (upto.0 - before.0) - (upto.1 - before.1);
            if open > 0.5 {
                // in flight still: at least as long as until now
                let latency_ns = now.nanos_since(edge);
                waiting.push((edge, latency_ns, open));
            }
            before = upto;
        }
        self.latencies.first(waiting)
    }
}

/// What the first latencies say.
struct FirstLatencies {
    p90_ns: f64,
    squared_cv: f64,
}

/// An even sample of latencies: those whose moments have the lowest hashes.
#[derive(Clone, Debug, Default)]
struct LatencySample {
    /// (hash, due, latency in nanoseconds), the highest hash on top.
    kept: BinaryHeap<(u64, Timestamp, u64)>,
    seen: u64,
}

impl LatencySample {
    fn push(&mut self, due: Timestamp, latency_ns: u64) {
        self.seen += 1;
        let entry = (mixed(due.as_nanos()), due, latency_ns);
        if self.kept.len() < MOST_LATENCIES {
            self.kept.push(entry);
        } else if let Some(mut highest) = self.kept.peek_mut()
            && entry < *highest
        {
            *highest = entry;
        }
    }

    /// The first 5 % of the requests that were due, but at least 20. `waiting` are those without an
    /// end yet: (due, latency so far, how many).
    fn first(&self, waiting: Vec<(Timestamp, u64, f64)>) -> Option<FirstLatencies> {
        let stands_for = self.seen as f64 / self.kept.len() as f64;
        let mut all = waiting;
        all.extend(
            self.kept
                .iter()
                .map(|(_, due, latency_ns)| (*due, *latency_ns, stands_for)),
        );
        all.sort_unstable_by_key(|(due, latency_ns, _)| (*due, *latency_ns));
        let total: f64 = all.iter().map(|(.., weight)| weight).sum();
        let enough = (FIRST_SHARE * total).max(FIRST_REQUESTS);
        let mut so_far = 0.0;
        let mut first: Vec<(u64, f64)> = all
            .into_iter()
            .take_while(|(.., weight)| {
                let wanted = so_far < enough;
                so_far += weight;
                wanted
            })
            .map(|(_, latency_ns, weight)| (latency_ns, weight))
            .collect();
        first.sort_unstable_by_key(|(latency_ns, _)| *latency_ns);
        let weight: f64 = first.iter().map(|(_, weight)| weight).sum();
        let mean = first.iter().map(|(ns, w)| *ns as f64 * w).sum::<f64>() / weight;
        let squares: f64 = first
            .iter()
            .map(|(ns, w)| (*ns as f64 - mean) * (*ns as f64 - mean) * w)
            .sum();
        let mut below = 0.0;
        let p90 = first.iter().find(|(_, w)| {
            below += w;
            below >= 0.9 * weight
        });
        Some(FirstLatencies {
            p90_ns: p90?.0 as f64,
            squared_cv: if mean > 0.0 {
                squares / weight / (mean * mean)
            } else {
                0.0
            },
        })
    }
}

/// A number that looks random, the same for the same moment (the finaliser of splitmix64, Steele,
/// Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const fn mixed(nanos: u64) -> u64 {
    let z = (nanos ^ (nanos >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The requests in flight after the start, in equal bins of time.
struct Backlog<'a> {
    bins: &'a [f64],
    bin_s: f64,
    /// Requests that were due in this time.
    requests: f64,
    variation: f64,
}

impl Backlog<'_> {
    fn judge(&self) -> Saturation {
        let z = normal_quantile(0.975);
        let needs = (self.variation * (z / KEPT_UP_BELOW).powi(2)).ceil();
        if self.requests < FIRST_REQUESTS {
            return self.undecided(needs);
        }
        let rate_per_s = self.requests / (self.bin_s * self.bins.len() as f64);
        let (slope, slope_error) = self.line();
        let excess = slope / rate_per_s;
        let error = slope_error / rate_per_s;
        let around = |error: f64| Some(Interval::new(excess - z * error, excess + z * error));
        let wander = (self.variation / self.requests).sqrt();
        let found = Saturation {
            excess: Some(excess),
            excess_ci: around(error.max(SLOPE_OF_A_WALK * wander)),
            ..self.undecided(needs)
        };
        let quarters = quarters(self.bins);
        if excess > LEAST_EXCESS.max(z * wander) && quarters.windows(2).all(|q| q[0] < q[1]) {
            return Saturation {
                verdict: LoadVerdict::Saturated,
                undecided: None,
                since_s: self.since_s(quarters[0]),
                capacity_per_s: Some(rate_per_s * (1.0 - excess)),
                ..found
            };
        }
        if excess + z * error < KEPT_UP_BELOW {
            return Saturation {
                verdict: LoadVerdict::KeptUp,
                undecided: None,
                // a queue that empties again and again is no walk
                excess_ci: around(error),
                ..found
            };
        }
        found
    }

    fn undecided(&self, needs: f64) -> Saturation {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and not negative"
        )]
        let why = if self.requests < needs.max(FIRST_REQUESTS) {
            Undecided::TooFew {
                needs_requests: needs.max(FIRST_REQUESTS) as u64,
            }
        } else {
            Undecided::NearCapacity
        };
        Saturation {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            requests: self.requests as u64,
            ..nothing_known(why)
        }
    }

    /// The slope of the line through the bins, per second, and its standard error, widened by how
    /// much neighbours resemble each other.
    fn line(&self) -> (f64, f64) {
        let n = self.bins.len() as f64;
        let middle = (n - 1.0) / 2.0;
        let mean = self.bins.iter().sum::<f64>() / n;
        let times = || (0..self.bins.len()).map(|nth| (nth as f64 - middle) * self.bin_s);
        let squares: f64 = times().map(|t| t * t).sum();
        let slope = times().zip(self.bins).map(|(t, bin)| t * bin).sum::<f64>() / squares;
        let rest: Vec<f64> = times()
            .zip(self.bins)
            .map(|(t, bin)| bin - mean - slope * t)
            .collect();
        let memory = lag_1_correlation(&rest).clamp(0.0, MOST_MEMORY);
        let rest: f64 = rest.iter().map(|r| r * r).sum();
        let error = rest / (n - 2.0) / squares * (1.0 + memory) / (1.0 - memory);
        (slope, error.sqrt())
    }

    /// The start of the first quarter from which on every bin is above the mean of the first
    /// quarter, seconds after the first bin.
    fn since_s(&self, first_quarter: f64) -> Option<f64> {
        let quarter = self.bins.len() / 4;
        let from = (1..4).find(|nth| {
            self.bins[nth * quarter..]
                .iter()
                .all(|b| *b > first_quarter)
        });
        from.map(|nth| (nth * quarter) as f64 * self.bin_s)
    }
}

fn nothing_known(why: Undecided) -> Saturation {
    Saturation {
        verdict: LoadVerdict::Undecided,
        undecided: Some(why),
        excess: None,
        excess_ci: None,
        since_s: None,
        capacity_per_s: None,
        steady_from_s: None,
        requests: 0,
    }
}

#[cfg(test)]
pub(super) mod tests;
