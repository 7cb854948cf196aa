//! Owns how far a figure can be trusted: intervals of shares, percentiles and throughput within one
//! run.
//!
//! Pure. It must not know records or metrics. Requests of one run depend on each other, so every
//! interval here is made for fewer requests than there were: the number is divided by V, by how
//! much the means of batches vary more than independent requests would make them. An interval
//! speaks of this run only; a second run may differ by more.

use serde::{Deserialize, Serialize};

use super::distribution::{Distribution, of_sorted, quantile};
use super::quantiles::{normal_quantile, student_quantile};
use crate::time::Timestamp;

/// The probability that all intervals are made for.
const CONFIDENCE: f64 = 0.95;

/// The numbers of batches that V is the largest over. In simulations of queues at half load, the
/// largest of these four covers 91 to 97 % where a single number covers less.
const BATCHES: [usize; 4] = [6, 10, 16, 24];

/// A percentile has an interval if at least so many effective requests lie beyond it: below, no
/// value need be that large.
const LEAST_BEYOND: f64 = 3.7;

/// The degrees of freedom of a percentile's interval: V rests on about ten batches.
pub const PERCENTILE_DEGREES: u32 = 9;

/// Neighbouring bins of throughput are joined above this correlation, while at least
/// [`LEAST_BINS`] remain.
const JOIN_ABOVE: f64 = 0.3;
const LEAST_BINS: usize = 10;

/// The quantile that leaves half of the rest on either side.
fn both_sides() -> f64 {
    f64::midpoint(1.0, CONFIDENCE)
}

/// From a lower to an upper bound; `[low, high]` in files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval(f64, f64);

impl Interval {
    /// From `low` to `high`.
    #[must_use]
    pub const fn new(low: f64, high: f64) -> Self {
        Self(low, high)
    }

    /// The lower bound.
    #[must_use]
    pub const fn low(self) -> f64 {
        self.0
    }

    /// The upper bound.
    #[must_use]
    pub const fn high(self) -> f64 {
        self.1
    }

    /// Both bounds in another unit.
    #[must_use]
    pub fn scaled(self, by: f64) -> Self {
        Self(self.0 * by, self.1 * by)
    }
}

/// Wilson's interval of a share: `share` of `n` trials, which may be an effective number. `z` is
/// the quantile of the confidence: 1.96 for 95 %.
#[must_use]
pub fn wilson(share: f64, n: f64, z: f64) -> Interval {
    let (centre, half) = wilson_parts(share, n, z);
    // exact at the ends, where rounding would leave a little
    let low = if share <= 0.0 {
        0.0
    } else {
        (centre - half).max(0.0)
    };
    let high = if share >= 1.0 {
        1.0
    } else {
        (centre + half).min(1.0)
    };
    Interval(low, high)
}

/// Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the
/// American Statistical Association 22 (1927): centre and half width.
fn wilson_parts(share: f64, n: f64, z: f64) -> (f64, f64) {
    let squared = z * z;
    let by = 1.0 + squared / n;
    let half = z * (share * (1.0 - share) / n + squared / (4.0 * n * n)).sqrt();
    ((share + squared / (2.0 * n)) / by, half / by)
}

/// V: by how much the means of batches vary more than those of independent values would; at least
/// 1. The largest over 6, 10, 16 and 24 batches. The values are in order of dispatch.
#[must_use]
pub fn variance_inflation(values: &(impl Iterator<Item = f64> + Clone)) -> f64 {
    let (mut n, mut sum) = (0usize, 0.0);
    for value in values.clone() {
        n += 1;
        sum += value;
    }
    let mean = sum / n as f64;
    let squares: f64 = values.clone().map(|v| (v - mean) * (v - mean)).sum();
    if squares <= 0.0 {
        return 1.0;
    }
    let variance = squares / n as f64;
    BATCHES
        .into_iter()
        .filter(|batches| n / batches >= 2)
        .map(|batches| batch_variance(values.clone(), batches, n / batches) / variance)
        .fold(1.0, f64::max)
}

/// The variance of the means of batches of `size`, times `size`: the variance of the values if they
/// are independent.
fn batch_variance(values: impl Iterator<Item = f64>, batches: usize, size: usize) -> f64 {
    let mut means = vec![0.0; batches];
    // what is left over belongs to no batch
    for (nth, value) in values.take(batches * size).enumerate() {
        means[nth / size] += value / size as f64;
    }
    let mean = means.iter().sum::<f64>() / batches as f64;
    let squares: f64 = means.iter().map(|m| (m - mean) * (m - mean)).sum();
    squares / (batches - 1) as f64 * size as f64
}

/// Wilson's 95 % interval of the share of `true`, in order of dispatch, with V; `None` without a
/// value.
#[must_use]
pub fn share_interval(outcomes: impl Iterator<Item = bool> + Clone) -> Option<Interval> {
    let values = outcomes.map(|outcome| f64::from(u8::from(outcome)));
    let n = values.clone().count();
    if n == 0 {
        return None;
    }
    let share = values.clone().sum::<f64>() / n as f64;
    let effective = n as f64 / variance_inflation(&values);
    Some(wilson(share, effective, normal_quantile(both_sides())))
}

/// A metric's values with the moments at which their requests were dispatched. Takes 16 bytes a
/// value, and 24 while it is being sorted.
#[derive(Clone, Debug, Default)]
pub struct Series {
    points: Vec<(Timestamp, f64)>,
}

impl Series {
    /// Add a value, in any order.
    pub fn push(&mut self, dispatched: Timestamp, value: f64) {
        self.points.push((dispatched, value));
    }

    /// Put the values into order.
    #[must_use]
    pub fn finish(mut self) -> Ordered {
        self.points
            .sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let by_dispatch: Vec<f64> = self.points.into_iter().map(|(_, value)| value).collect();
        let mut by_size = by_dispatch.clone();
        by_size.sort_unstable_by(f64::total_cmp);
        Ordered {
            by_dispatch,
            by_size,
        }
    }
}

/// Values in order of dispatch and in order of size.
#[derive(Clone, Debug)]
pub struct Ordered {
    by_dispatch: Vec<f64>,
    by_size: Vec<f64>,
}

impl Ordered {
    /// Summarise the values, each multiplied by `scale` (a unit conversion).
    #[must_use]
    pub fn distribution(&self, scale: f64) -> Distribution {
        of_sorted(&self.by_size, scale)
    }

    /// The 95 % interval of the percentile `p` (0..1) within this run, in the unit of the values.
    /// `None` if there are too few values: after division by V, fewer than 3.7 / (1 − p).
    #[must_use]
    pub fn percentile(&self, p: f64) -> Option<Interval> {
        let n = self.by_size.len();
        if n == 0 {
            return None;
        }
        let at = quantile(&self.by_size, p);
        let beyond = self
            .by_dispatch
            .iter()
            .map(|value| f64::from(u8::from(*value > at)));
        let effective = n as f64 / variance_inflation(&beyond);
        if effective < LEAST_BEYOND / (1.0 - p) {
            return None;
        }
        let t = student_quantile(both_sides(), PERCENTILE_DEGREES);
        let (low, high) = ranks(n, p, effective, t);
        Some(Interval(self.by_size[low - 1], self.by_size[high - 1]))
    }
}

/// The ranks, from 1 to n, of the order statistics around the percentile `p` of n values.
fn ranks(n: usize, p: f64, effective: f64, z: f64) -> (usize, usize) {
    let (centre, half) = wilson_parts(p, effective, z);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limited to 1..=n"
    )]
    let rank = |at: f64| at.clamp(1.0, n as f64) as usize;
    let n = n as f64;
    (
        rank((n * (centre - half)).floor()),
        rank((n * (centre + half)).ceil()),
    )
}

/// A mean of bins and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanOfBins {
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval within this run.
    pub interval: Interval,
    /// Bins that were left after joining.
    pub bins: usize,
}

/// The mean of equal bins of time, such as tokens per second, with Student's interval. Bins are
/// joined in pairs while neighbours resemble each other (lag-1 correlation above 0.3) and at least
/// ten remain. `None` below two bins.
#[must_use]
pub fn mean_of_bins(bins: &[f64]) -> Option<MeanOfBins> {
    let mut bins = bins.to_vec();
    while bins.len() / 2 >= LEAST_BINS && lag_1_correlation(&bins) > JOIN_ABOVE {
        bins = bins
            .chunks_exact(2)
            .map(|pair| f64::midpoint(pair[0], pair[1]))
            .collect();
    }
    let n = bins.len();
    let degrees = u32::try_from(n).ok()?.checked_sub(1).filter(|d| *d > 0)?;
    let mean = bins.iter().sum::<f64>() / n as f64;
    let squares: f64 = bins.iter().map(|bin| (bin - mean) * (bin - mean)).sum();
    let error = (squares / f64::from(degrees) / n as f64).sqrt();
    let half = student_quantile(both_sides(), degrees) * error;
    Some(MeanOfBins {
        mean,
        interval: Interval(mean - half, mean + half),
        bins: n,
    })
}

/// How much neighbours resemble each other, from −1 to 1; 0 if all are equal.
pub(super) fn lag_1_correlation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    let products: f64 = values
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    if squares > 0.0 {
        products / squares
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::draws;
    use proptest::prelude::*;

    /// `scipy.stats.binomtest(k, n).proportion_ci(0.95, method="wilson")`
    #[test]
    fn wilsons_interval_agrees_with_scipy() {
        let table = [
            (0.0, 50.0, 0.0, 0.071_347_599_133_358_72),
            (
                1.0,
                10.0,
                0.017_876_213_095_072_896,
                0.404_150_026_795_238_5,
            ),
            (7.0, 20.0, 0.181_191_824_101_082_1, 0.567_145_723_314_763_7),
            (
                990.0,
                1000.0,
                0.981_690_531_129_685_2,
                0.994_559_245_554_470_6,
            ),
            (380.0, 381.0, 0.985_284_598_488_61, 0.999_536_530_610_643_8),
            (50.0, 50.0, 0.928_652_400_866_641_2, 1.0),
        ];
        for (k, n, low, high) in table {
            let interval = wilson(k / n, n, normal_quantile(0.975));
            assert!(
                (interval.low() - low).abs() < 1e-9,
                "{k} of {n}: {interval:?}"
            );
            assert!(
                (interval.high() - high).abs() < 1e-9,
                "{k} of {n}: {interval:?}"
            );
        }
    }

    /// ```python
    /// z = scipy.stats.t.ppf(.975, 9); m = n / v
    /// c = (p + z*z/(2*m)) / (1 + z*z/m)
    /// h = z * sqrt(p*(1-p)/m + z*z/(4*m*m)) / (1 + z*z/m)
    /// max(floor(n*(c-h)), 1), min(ceil(n*(c+h)), n)
    /// ```
    #[test]
    fn ranks_agree_with_the_formula() {
        let table = [
            (100, 0.5, 1.0, 38, 62),
            (1_000, 0.99, 1.0, 979, 996),
            (1_000, 0.99, 2.5, 971, 997),
            (10_000, 0.9, 19.0, 8_664, 9_259),
            (8, 0.5, 1.0, 1, 7),
            (20_000, 0.999, 5.0, 19_941, 19_994),
        ];
        for (n, p, v, low, high) in table {
            let z = student_quantile(0.975, 9);
            assert_eq!(ranks(n, p, n as f64 / v, z), (low, high), "{n} {p} {v}");
        }
    }

    /// `x = numpy.arange(240) * 7919 % 101 / 10`:
    /// `max(x[:240//b*b].reshape(b, -1).mean(1).var(ddof=1) * (240//b) / x.var() for b in (6, 10, 16, 24))`,
    /// and the same of `numpy.sort(x)`
    #[test]
    fn inflation_agrees_with_numpy() {
        let x: Vec<f64> = (0..240u32)
            .map(|i| f64::from(i * 7919 % 101) / 10.0)
            .collect();
        let mut sorted = x.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        for (values, want) in [(x, 1.0), (sorted, 46.670_939_332_957_14)] {
            let got = variance_inflation(&values.into_iter());
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
    }

    /// `numpy.mean(x) ± scipy.stats.t.ppf(.975, n - 1) * scipy.stats.sem(x)`
    #[test]
    fn a_mean_of_bins_agrees_with_scipy() {
        let even: Vec<f64> = (0..20u32).map(|i| f64::from(i * 7 % 20)).collect();
        let mean = mean_of_bins(&even).unwrap();
        assert_eq!(mean.bins, 20);
        assert!(
            (mean.interval.low() - 6.731_189_431_979_746).abs() < 1e-9,
            "{mean:?}"
        );
        assert!(
            (mean.interval.high() - 12.268_810_568_020_253).abs() < 1e-9,
            "{mean:?}"
        );
        // a ramp: neighbours resemble each other, so they are joined once, but not twice
        let ramp: Vec<f64> = (0..20u32).map(f64::from).collect();
        let mean = mean_of_bins(&ramp).unwrap();
        assert_eq!(mean.bins, 10);
        assert!(
            (mean.interval.low() - 5.168_298_820_663_662).abs() < 1e-9,
            "{mean:?}"
        );
        assert!((mean.mean - 9.5).abs() < 1e-12);
        assert_eq!(mean_of_bins(&[1.0]), None);
        assert_eq!(mean_of_bins(&[]), None);
    }

    /// A series that remembers: each value is 0.9 of the one before and a new draw. The variance of
    /// its mean is (1 + 0.9) / (1 − 0.9) = 19 times that of independent values.
    #[test]
    fn a_series_that_remembers_is_recognised() {
        let memory = 0.9;
        let mut inflations: Vec<f64> = (0..15)
            .map(|seed| {
                let mut last = 0.0;
                let series: Vec<f64> = draws(seed)
                    .map(|uniform| {
                        last = memory * last + normal_quantile(uniform);
                        last
                    })
                    .take(10_000)
                    .collect();
                variance_inflation(&series.into_iter())
            })
            .collect();
        inflations.sort_unstable_by(f64::total_cmp);
        let truth = (1.0 + memory) / (1.0 - memory);
        let median = inflations[inflations.len() / 2];
        assert!(
            (truth / 1.5..truth * 1.5).contains(&median),
            "{inflations:?}"
        );
        // independent values: the largest of four estimates is somewhat above 1
        let independent =
            variance_inflation(&draws(7).take(10_000).collect::<Vec<_>>().into_iter());
        assert!((1.0..2.5).contains(&independent), "{independent}");
    }

    #[test]
    fn a_percentile_needs_values_beyond_it() {
        let of = |n: u64| {
            let mut series = Series::default();
            for (nth, uniform) in (0..n).zip(draws(1)) {
                series.push(Timestamp::from_nanos(nth), uniform);
            }
            series.finish()
        };
        assert_eq!(of(0).percentile(0.5), None);
        assert_eq!(of(369).percentile(0.99), None);
        assert_eq!(of(3000).percentile(0.999), None);
        assert!(of(3000).percentile(0.99).is_some());
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_percentile(
            values in prop::collection::vec(0.0f64..1e9, 40..400), p in 0.05f64..0.9
        ) {
            let mut series = Series::default();
            let mut reversed = Series::default();
            for (nth, value) in (0..).zip(&values) {
                series.push(Timestamp::from_nanos(nth), *value);
            }
            for (nth, value) in (0..u64::MAX).zip(&values).collect::<Vec<_>>().into_iter().rev() {
                reversed.push(Timestamp::from_nanos(nth), *value);
            }
            let (ordered, reversed) = (series.finish(), reversed.finish());
            let interval = ordered.percentile(p);
            prop_assert_eq!(interval, reversed.percentile(p));
            if let Some(interval) = interval {
                let at = quantile(&ordered.by_size, p);
                prop_assert!(interval.low() <= at && at <= interval.high(), "{:?} {}", interval, at);
            }
        }

        #[test]
        fn shares_stay_within_0_and_1(outcomes in prop::collection::vec(any::<bool>(), 0..200)) {
            let interval = share_interval(outcomes.iter().copied());
            prop_assert_eq!(interval.is_none(), outcomes.is_empty());
            if let Some(interval) = interval {
                let share = outcomes.iter().filter(|o| **o).count() as f64 / outcomes.len() as f64;
                prop_assert!(0.0 <= interval.low() && interval.high() <= 1.0);
                prop_assert!(interval.low() <= share + 1e-12 && share <= interval.high() + 1e-12);
            }
        }
    }
}
