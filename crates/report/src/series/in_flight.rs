//! Owns the requests in flight over time (R5).
//!
//! It must not know why they were sent. It keeps the start and the end of each request, 16 bytes: exact
//! means and maxima need them in order.

use super::axis::Clock;

/// Requests in flight for each bin of the axis, from dispatch to end, warm-up included. Exact: from
/// all starts and ends in order.
#[derive(Clone, Debug, PartialEq)]
pub struct InFlight {
    /// Mean over the time of each bin.
    pub mean: Vec<f64>,
    /// Maximum in each bin.
    pub max: Vec<u64>,
    /// Concurrency that was asked for; `None` in open loops.
    pub asked: Option<u64>,
    /// Arrivals that were due in each bin, per second, sent or not; `None` without a schedule.
    pub due_per_s: Option<Vec<f64>>,
    /// Requests that were dispatched in each bin, per second; `None` without a schedule.
    pub sent_per_s: Option<Vec<f64>>,
}

/// The starts and ends of requests, nanoseconds from time 0.
#[derive(Debug, Default)]
pub(super) struct Spans {
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl Spans {
    /// With room for so many requests.
    pub(super) fn with_capacity(requests: usize) -> Self {
        Self {
            starts: Vec::with_capacity(requests),
            ends: Vec::with_capacity(requests),
        }
    }

    /// Add a request.
    pub(super) fn push(&mut self, start: i64, end: i64) {
        self.starts.push(start);
        self.ends.push(end.max(start));
    }

    /// All requests are known.
    pub(super) fn finish(mut self) -> SortedSpans {
        self.starts.sort_unstable();
        self.ends.sort_unstable();
        SortedSpans {
            starts: self.starts,
            ends: self.ends,
        }
    }
}

/// The starts and ends of all requests, in order.
#[derive(Debug)]
pub(super) struct SortedSpans {
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl SortedSpans {
    /// Requests in flight at a moment: a request is in flight from its start until just before its end.
    pub(super) fn at(&self, nanos: i64) -> u64 {
        let begun = self.starts.partition_point(|start| *start <= nanos);
        let ended = self.ends.partition_point(|end| *end <= nanos);
        (begun - ended) as u64
    }

    /// Starts in each bin.
    pub(super) fn starts_by_bin(&self, clock: &Clock) -> Vec<f64> {
        let before = |edge: usize| {
            let at = clock.edge_ns(edge);
            self.starts.partition_point(|start| *start < at)
        };
        let bins = clock.axis().len();
        let counts = (0..bins).map(|bin| (before(bin + 1) - before(bin)) as f64);
        counts.collect()
    }

    /// Mean and maximum for each bin.
    pub(super) fn by_bin(&self, clock: &Clock) -> (Vec<f64>, Vec<u64>) {
        let bins = clock.axis().len();
        let (mut means, mut maxima) = (Vec::with_capacity(bins), Vec::with_capacity(bins));
        let from = clock.edge_ns(0);
        let mut begun = self.starts.partition_point(|start| *start < from);
        let mut ended = self.ends.partition_point(|end| *end < from);
        let (mut at, mut area, mut most) = (from, 0.0, begun - ended);
        for bin in 0..bins {
            let edge = clock.edge_ns(bin + 1);
            loop {
                let next_end = self.ends.get(ended).filter(|end| **end <= edge);
                let next_start = self.starts.get(begun).filter(|start| **start < edge);
                let next = match (next_end, next_start) {
                    (Some(end), Some(start)) => end.min(start),
                    (Some(next), None) | (None, Some(next)) => next,
                    (None, None) => break,
                };
                area += (begun - ended) as f64 * (next - at) as f64;
                at = *next;
                // of the same moment, an end comes first: the next request took its place. A request that
                // ended when it began has to begin before
                if next_end == Some(next) && begun > ended {
                    ended += 1;
                } else {
                    begun += 1;
                }
                most = most.max(begun - ended);
            }
            area += (begun - ended) as f64 * (edge - at) as f64;
            let length = (edge - clock.edge_ns(bin)).max(1) as f64;
            means.push(area / length);
            maxima.push(most as u64);
            (at, area, most) = (edge, 0.0, begun - ended);
        }
        (means, maxima)
    }
}

#[cfg(test)]
mod tests {
    use evalscope_model::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn means_and_maxima_are_exact(
            requests in prop::collection::vec((0i64..900, 0i64..300), 1..60),
        ) {
            // bins of 0.1 s, moments in tenths of a bin, so that many fall on edges
            const STEP: i64 = 10_000_000;
            let t0 = Timestamp::from_nanos(0);
            let end = Timestamp::from_nanos(1200 * STEP as u64);
            let clock = Clock::new(t0, end, None, 0, 600);
            let mut spans = Spans::default();
            for (start, length) in &requests {
                spans.push(start * STEP, (start + length) * STEP);
            }
            let spans = spans.finish();
            let (means, maxima) = spans.by_bin(&clock);
            let at = |step: i64| {
                requests.iter().filter(|(start, length)| *start <= step && step < start + length).count() as u64
            };
            for ((mean, most), first) in means.iter().zip(maxima).zip((0..).step_by(10)) {
                let steps = first..first + 10;
                let want: u64 = steps.clone().map(at).sum();
                prop_assert!((mean - want as f64 / 10.0).abs() < 1e-9, "{} {}", mean, want);
                let want = steps.clone().map(at).max().unwrap();
                // a request without length may be seen, too
                let momentary = requests.iter().filter(|(start, length)| *length == 0 && start + 1 > steps.start && *start <= steps.end).count() as u64;
                prop_assert!(want <= most && most <= want + momentary, "{} {}", want, most);
            }
            prop_assert_eq!(spans.at(450 * STEP), at(450));
        }
    }
}
