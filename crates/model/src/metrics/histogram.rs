//! Owns a log-linear histogram: bounded memory, bounded relative error.
//!
//! Each power of two is divided into `2^bits` buckets of equal width, so a value reported as its
//! bucket's middle has a relative error of at most `2^-(bits + 1)` (the layout of `HdrHistogram`,
//! Gil Tene).

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Bucket of `value`, with `2^bits` buckets per power of two.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "buckets are far fewer than 2^32"
)]
pub const fn bucket_of(value: u64, bits: u32) -> usize {
    let base = 1 << bits;
    if value < base {
        return value as usize;
    }
    let exponent = value.ilog2();
    let shift = exponent - bits;
    // the top `bits + 1` bits, the highest of which is always set
    let mantissa = (value >> shift) - base;
    ((shift as usize + 1) << bits) + mantissa as usize
}

/// Lowest value and width of a bucket.
#[must_use]
pub const fn bucket_range(bucket: usize, bits: u32) -> (u64, u64) {
    let base = 1usize << bits;
    if bucket < base {
        return (bucket as u64, 1);
    }
    let shift = (bucket >> bits) - 1;
    let mantissa = (bucket & (base - 1)) + base;
    ((mantissa as u64) << shift, 1 << shift)
}

/// The finest histograms that are read from outside.
const MOST_BITS: u32 = 12;

const fn bucket_count(bits: u32) -> usize {
    bucket_of(u64::MAX, bits) + 1
}

/// Counts of values by bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHistogram {
    bits: u32,
    /// (bucket, count), sorted by bucket; empty buckets are absent.
    counts: Vec<(usize, u64)>,
}

impl LogHistogram {
    /// A histogram of some values, with `2^bits` buckets per power of two.
    #[must_use]
    pub fn of(bits: u32, values: impl IntoIterator<Item = u64>) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for value in values {
            *counts.entry(bucket_of(value, bits)).or_insert(0) += 1;
        }
        Self {
            bits,
            counts: counts.into_iter().collect(),
        }
    }

    /// A histogram of known counts by bucket; `None` if they are not in order, or no values have such buckets.
    #[must_use]
    pub fn from_counts(bits: u32, counts: Vec<(usize, u64)>) -> Option<Self> {
        let is_in_order = counts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let is_known =
            bits <= MOST_BITS && counts.last().is_none_or(|(at, _)| *at < bucket_count(bits));
        let is_countable = counts
            .iter()
            .try_fold(0_u64, |all, (_, count)| all.checked_add(*count));
        (is_known && is_in_order && is_countable.is_some()).then_some(Self { bits, counts })
    }

    /// Counts by bucket, without the empty ones.
    #[must_use]
    pub fn counts(&self) -> &[(usize, u64)] {
        &self.counts
    }

    /// There are `2^bits` buckets per power of two.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// The same values in buckets that are as wide as those of so many bits; unchanged if its own are as wide.
    #[must_use]
    pub fn with_at_most(&self, bits: u32) -> Self {
        if bits >= self.bits {
            return self.clone();
        }
        let mut counts: Vec<(usize, u64)> = Vec::new();
        for (bucket, count) in &self.counts {
            let wider = bucket_of(bucket_range(*bucket, self.bits).0, bits);
            match counts.last_mut() {
                Some((last, sum)) if *last == wider => *sum += count,
                _ => counts.push((wider, *count)),
            }
        }
        Self { bits, counts }
    }

    /// Sum of several histograms of the same resolution, bucket by bucket.
    ///
    /// # Panics
    /// If their resolutions differ.
    #[must_use]
    pub fn sum<'a>(bits: u32, parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for part in parts {
            assert_eq!(
                part.bits, bits,
                "only histograms of the same resolution are summed"
            );
            for (bucket, count) in &part.counts {
                *counts.entry(*bucket).or_insert(0) += count;
            }
        }
        Self {
            bits,
            counts: counts.into_iter().collect(),
        }
    }

    /// Build from dense counts by bucket.
    #[must_use]
    pub fn from_dense(bits: u32, dense: &[u64]) -> Self {
        Self {
            bits,
            counts: dense
                .iter()
                .copied()
                .enumerate()
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The value of rank `p·(count − 1)`, interpolated between the middles of
    /// the buckets of the two ranks around it; `None` when empty. `p` in 0..=1.
    #[must_use]
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = p * (count - 1) as f64;
        let low = self.value_at(rank.floor());
        let high = self.value_at(rank.ceil());
        Some(low + (high - low) * rank.fract())
    }

    fn value_at(&self, rank: f64) -> f64 {
        let mut seen = 0.0;
        for (bucket, count) in &self.counts {
            seen += *count as f64;
            if rank < seen {
                let (low, width) = bucket_range(*bucket, self.bits);
                return low as f64 + (width - 1) as f64 / 2.0;
            }
        }
        0.0
    }
}

/// A dense histogram for a single thread.
#[derive(Clone, Debug)]
pub struct DenseHistogram {
    bits: u32,
    counts: Vec<u64>,
}

impl DenseHistogram {
    /// An empty histogram.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self {
            bits,
            counts: vec![0; bucket_count(bits)],
        }
    }

    /// Count a value.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket_of(value, self.bits)] += 1;
    }

    /// The counts, without the empty buckets.
    #[must_use]
    pub fn snapshot(&self) -> LogHistogram {
        LogHistogram::from_dense(self.bits, &self.counts)
    }
}

/// A histogram that one thread fills while others read it: a plain load and store per value, no
/// locked instruction.
#[derive(Debug)]
pub struct SharedHistogram {
    bits: u32,
    counts: Vec<AtomicU64>,
}

impl SharedHistogram {
    /// An empty histogram.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self {
            bits,
            counts: (0..bucket_count(bits)).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Count a value. Only one thread may call this.
    pub fn record(&self, value: u64) {
        let bucket = &self.counts[bucket_of(value, self.bits)];
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn snapshot(&self) -> LogHistogram {
        let dense: Vec<u64> = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        LogHistogram::from_dense(self.bits, &dense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_of_no_histogram_are_none() {
        let of = |bits, counts: &[(usize, u64)]| LogHistogram::from_counts(bits, counts.to_vec());
        assert!(of(3, &[(1, 1), (4, 2)]).is_some());
        assert_eq!(of(3, &[(4, 1), (1, 2)]), None);
        assert_eq!(of(3, &[(1 << 20, 1)]), None);
        assert_eq!(of(40, &[(1, 1)]), None);
        assert_eq!(of(3, &[(1, u64::MAX), (2, 1)]), None);
    }

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket(value: u64, bits in 1u32..12) {
            let (low, width) = bucket_range(bucket_of(value, bits), bits);
            prop_assert!(low <= value && value - low < width);
            // the stated error: half a width is at most 2^-(bits + 1) of the value
            prop_assert!(width == 1 || (width as f64) / 2.0 <= low as f64 / f64::from(1u32 << (bits + 1)) );
        }

        #[test]
        fn wider_buckets_are_those_of_the_values(values in prop::collection::vec(0u64..1 << 45, 0..200), bits in 1u32..8) {
            let fine = LogHistogram::of(8, values.iter().copied());
            prop_assert_eq!(fine.with_at_most(bits), LogHistogram::of(bits, values.iter().copied()));
            prop_assert_eq!(&fine.with_at_most(9), &fine);
            let read = LogHistogram::from_counts(8, fine.counts().to_vec());
            prop_assert_eq!(read, Some(fine));
        }

        #[test]
        fn quantiles_are_close(mut values in prop::collection::vec(0u64..1 << 45, 1..300), p in 0.0f64..=1.0) {
            let mut dense = DenseHistogram::new(10);
            for v in &values { dense.record(*v); }
            let got = dense.snapshot().quantile(p).unwrap();
            values.sort_unstable();
            let exact: Vec<f64> = values.iter().map(|v| *v as f64).collect();
            let want = crate::metrics::quantile(&exact, p);
            prop_assert!((got - want).abs() <= want * 0.001 + 1.0, "{got} {want}");
        }
    }
}
