//! Owns counts of values by size, in a few kilobytes: a log-linear histogram that holds only the buckets
//! between the smallest and the largest value.
//!
//! It must not know what the values are.

use evalscope_model::metrics::{bucket_of, bucket_range};

/// 128 buckets per power of two: a value is at most 0.4 % off.
const BITS: u32 = 7;

/// Percentiles of fewer samples say nothing.
pub(super) const LEAST_SAMPLES: u64 = 5;

/// Counts of whole numbers, such as nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    /// Bucket of the first count.
    first: usize,
    counts: Vec<u32>,
    samples: u64,
    /// Largest value.
    max: u64,
}

impl Spread {
    /// Count a value. Fractions are rounded, values below 0 count as 0.
    pub(super) fn push(&mut self, value: f64) {
        let value = whole(value);
        self.add(bucket_of(value, BITS), 1);
        self.samples += 1;
        self.max = self.max.max(value);
    }

    fn add(&mut self, bucket: usize, count: u32) {
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let missing = self.first - bucket;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = bucket;
        }
        let nth = bucket - self.first;
        if nth >= self.counts.len() {
            self.counts.resize(nth + 1, 0);
        }
        self.counts[nth] = self.counts[nth].saturating_add(count);
    }

    /// The values of several together.
    pub(super) fn sum<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for part in parts {
            for (nth, count) in part.counts.iter().enumerate() {
                if *count > 0 {
                    sum.add(part.first + nth, *count);
                }
            }
            sum.samples += part.samples;
            sum.max = sum.max.max(part.max);
        }
        sum
    }

    /// Number of values.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// The largest value, exactly; `None` without values.
    pub(super) fn max(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.max as f64)
    }

    /// The middle of each bucket that is not empty, and its count, by rising value.
    pub(super) fn values(&self) -> impl Iterator<Item = (f64, u64)> + Clone + '_ {
        let counted = self.counts.iter().enumerate();
        counted
            .filter(|(_, count)| **count > 0)
            .map(|(nth, count)| (self.middle(self.first + nth), u64::from(*count)))
    }

    /// Buckets are whole numbers or wider, so the middle of the last one may lie above the largest value.
    fn middle(&self, bucket: usize) -> f64 {
        let (low, width) = bucket_range(bucket, BITS);
        (low as f64 + (width - 1) as f64 / 2.0).min(self.max as f64)
    }

    /// The percentiles `wanted` (0 to 1), interpolated between the ranks around them; empty without
    /// values.
    pub(super) fn percentiles(&self, wanted: &[f64]) -> Vec<f64> {
        let Some(last) = self.samples.checked_sub(1) else {
            return Vec::new();
        };
        // each value with the first rank after its own
        let mut upto = 0;
        let values: Vec<(f64, f64)> = self
            .values()
            .map(|(value, count)| {
                upto += count;
                (value, upto as f64)
            })
            .collect();
        let at_rank = |rank: f64| {
            let nth = values.partition_point(|(_, upto)| *upto <= rank);
            values[nth.min(values.len() - 1)].0
        };
        let of = |p: &f64| {
            let rank = p * last as f64;
            let (low, high) = (at_rank(rank.floor()), at_rank(rank.ceil()));
            low + (high - low) * rank.fract()
        };
        wanted.iter().map(of).collect()
    }

    /// A percentile; `None` below [`LEAST_SAMPLES`].
    pub(super) fn percentile(&self, p: f64) -> Option<f64> {
        (self.samples >= LEAST_SAMPLES)
            .then(|| self.percentiles(&[p]).first().copied())
            .flatten()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates at both ends"
)]
fn whole(value: f64) -> u64 {
    (value + 0.5) as u64
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::quantile;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_values(
            mut values in prop::collection::vec(0u64..1 << 40, 1..200),
            wanted in prop::collection::vec(0.0f64..=1.0, 1..9),
        ) {
            let (mut all, mut parts) = (Spread::default(), [Spread::default(), Spread::default()]);
            for (nth, value) in values.iter().enumerate() {
                all.push(*value as f64);
                parts[nth % 2].push(*value as f64);
            }
            values.sort_unstable();
            let values: Vec<f64> = values.iter().map(|value| *value as f64).collect();
            let found = all.percentiles(&wanted);
            prop_assert_eq!(&Spread::sum(&parts).percentiles(&wanted), &found);
            for (p, found) in wanted.iter().zip(found) {
                let want = quantile(&values, *p);
                prop_assert!((found - want).abs() <= want * 0.004 + 1.0, "{} {}", found, want);
            }
            prop_assert_eq!(all.max(), values.last().copied());
            prop_assert_eq!(all.values().map(|(_, count)| count).sum::<u64>(), values.len() as u64);
        }
    }
}
