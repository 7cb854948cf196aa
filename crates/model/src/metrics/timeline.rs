//! Owns counts by time in bounded memory: bins whose width doubles as the time goes on.
//!
//! It must not know what is counted.

use crate::time::Timestamp;

/// Bins of a whole run. At least half of them are in use once the time is longer than a second, so
/// a bin is at most 1/8192 of the time.
pub(super) const BINS_OF_A_RUN: usize = 1 << 14;

/// The width at first: 2¹⁶ ns, 66 µs.
const FIRST_WIDTH_BITS: u32 = 16;

/// Weights by the moment at which they came. Moments may be added in any order.
#[derive(Clone, Debug)]
pub(super) struct TimeBins {
    origin: Timestamp,
    most: usize,
    width_bits: u32,
    /// Weight before the origin.
    before: f64,
    bins: Vec<Bin>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    weight: f64,
    /// Sum of weight times nanoseconds since the start of the bin.
    moment: f64,
}

impl TimeBins {
    /// No weight, in `most` bins at most. What is added before `origin` is only summed up.
    pub(super) fn new(origin: Timestamp, most: usize) -> Self {
        Self {
            origin,
            most,
            width_bits: FIRST_WIDTH_BITS,
            before: 0.0,
            bins: Vec::new(),
        }
    }

    /// Add a weight.
    pub(super) fn add(&mut self, at: Timestamp, weight: f64) {
        if at < self.origin {
            self.before += weight;
            return;
        }
        let nanos = at.nanos_since(self.origin);
        while nanos >> self.width_bits >= self.most as u64 {
            self.widen();
        }
        #[expect(clippy::cast_possible_truncation, reason = "below the most bins")]
        let nth = (nanos >> self.width_bits) as usize;
        if nth >= self.bins.len() {
            self.bins.resize(nth + 1, Bin::default());
        }
        let bin = &mut self.bins[nth];
        bin.weight += weight;
        bin.moment += weight * (nanos & ((1 << self.width_bits) - 1)) as f64;
    }

    /// Add a weight that came before the origin.
    pub(super) fn add_before(&mut self, weight: f64) {
        self.before += weight;
    }

    fn widen(&mut self) {
        let width = (1u64 << self.width_bits) as f64;
        let joined = self.bins.chunks(2).map(|pair| {
            let second = pair.get(1).copied().unwrap_or_default();
            Bin {
                weight: pair[0].weight + second.weight,
                moment: pair[0].moment + second.moment + second.weight * width,
            }
        });
        self.bins = joined.collect();
        self.width_bits += 1;
    }

    /// Prepare for questions.
    pub(super) fn summed(&self) -> Summed {
        let width = (1u64 << self.width_bits) as f64;
        let mut upto = Vec::with_capacity(self.bins.len() + 1);
        let (mut weight, mut integral) = (self.before, 0.0);
        upto.push((weight, integral));
        for bin in &self.bins {
            // what came inside counts from its moment until the end of the bin
            integral += weight * width + bin.weight * width - bin.moment;
            weight += bin.weight;
            upto.push((weight, integral));
        }
        Summed {
            origin: self.origin,
            width,
            upto,
        }
    }
}

/// The weight up to any moment, linear inside a bin.
#[derive(Clone, Debug)]
pub(super) struct Summed {
    origin: Timestamp,
    width: f64,
    /// At the start of each bin, and at the end of the last one: the weight up to there, and its
    /// integral over time from the origin, in nanoseconds.
    upto: Vec<(f64, f64)>,
}

impl Summed {
    /// The weight that came until `at`.
    pub(super) fn until(&self, at: Timestamp) -> f64 {
        self.at(at).0
    }

    /// The integral of [`Self::until`] over time from the origin to `at`, in nanoseconds.
    pub(super) fn integral_until(&self, at: Timestamp) -> f64 {
        self.at(at).1
    }

    fn at(&self, at: Timestamp) -> (f64, f64) {
        let bins = at.nanos_since(self.origin) as f64 / self.width;
        let last = self.upto.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a float above usize becomes its largest value"
        )]
        let nth = (bins as usize).min(last);
        let (weight, integral) = self.upto[nth];
        let into = bins - nth as f64;
        if nth == last {
            return (weight, integral + weight * into * self.width);
        }
        let (next_weight, next_integral) = self.upto[nth + 1];
        // between the two, the weight is a line; the integral keeps both of its ends
        let line = (next_weight - weight) * into;
        (weight + line, integral + (next_integral - integral) * into)
    }

    /// The moments at which bins begin, and the end of the last one.
    pub(super) fn edges(&self) -> impl Iterator<Item = Timestamp> + '_ {
        (0..self.upto.len()).map(|nth| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the width is a power of two"
            )]
            let width = self.width as u64;
            Timestamp::from_nanos(self.origin.as_nanos() + nth as u64 * width)
        })
    }
}

/// The edges of so many equal parts of a time, start and end included.
pub(super) fn equal_parts(start: Timestamp, end: Timestamp, parts: usize) -> Vec<Timestamp> {
    let span = u128::from(end.nanos_since(start));
    (0..=parts)
        .map(|nth| {
            let nanos = span * nth as u128 / parts as u128;
            let nanos = u64::try_from(nanos).expect("a part of 64 bits");
            Timestamp::from_nanos(start.as_nanos() + nanos)
        })
        .collect()
}

/// How many were in flight on average between neighbouring edges.
pub(super) fn mean_in_flight(due: &Summed, ended: &Summed, edges: &[Timestamp]) -> Vec<f64> {
    let until = |at: Timestamp| due.integral_until(at) - ended.integral_until(at);
    let part = |pair: &[Timestamp]| {
        let nanos = pair[1].nanos_since(pair[0]) as f64;
        if nanos > 0.0 {
            (until(pair[1]) - until(pair[0])) / nanos
        } else {
            0.0
        }
    };
    edges.windows(2).map(part).collect()
}

/// The weight per second between neighbouring edges.
pub(super) fn rates_per_s(weights: &Summed, edges: &[Timestamp]) -> Vec<f64> {
    let part = |pair: &[Timestamp]| {
        let seconds = pair[1].nanos_since(pair[0]) as f64 / 1e9;
        if seconds > 0.0 {
            (weights.until(pair[1]) - weights.until(pair[0])) / seconds
        } else {
            0.0
        }
    };
    edges.windows(2).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Counts and means in flight are those of the moments themselves, up to the width of a bin.
        #[test]
        fn bins_stay_true_as_they_widen(
            requests in prop::collection::vec((0u64..600_000_000_000, 0u64..20_000_000_000), 1..300)
        ) {
            let at = Timestamp::from_nanos;
            let (mut due, mut ended) = (TimeBins::new(at(1000), 1 << 12), TimeBins::new(at(1000), 1 << 12));
            for (start, latency) in &requests {
                due.add(at(*start), 1.0);
                ended.add(at(start + latency), 1.0);
            }
            let (due, ended) = (due.summed(), ended.summed());
            prop_assert!((due.until(at(700_000_000_000)) - requests.len() as f64).abs() < 1e-9);
            let edges = equal_parts(at(60_000_000_000), at(600_000_000_000), 20);
            let means = mean_in_flight(&due, &ended, &edges);
            for (mean, edge) in means.iter().zip(edges.windows(2)) {
                let (a, b) = (edge[0].as_nanos(), edge[1].as_nanos());
                let overlap = |(start, latency): &(u64, u64)| {
                    (*start + *latency).clamp(a, b) as f64 - (*start).clamp(a, b) as f64
                };
                let want = requests.iter().map(overlap).sum::<f64>() / (b - a) as f64;
                // a request at the edge of a part may be off by a bin
                prop_assert!((mean - want).abs() <= 0.005 * requests.len() as f64, "{} {}", mean, want);
            }
        }
    }
}
