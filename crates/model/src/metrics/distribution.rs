//! Owns the summary of many samples: mean, standard deviation and percentiles.
//!
//! One percentile rule everywhere: linear interpolation between closest ranks
//! (type 7 of Hyndman & Fan, "Sample Quantiles in Statistical Packages", 1996;
//! numpy's default), on unrounded values.

use serde::{Deserialize, Serialize};

use super::histogram::DenseHistogram;

/// Resolution of the histogram used for long runs: the relative error of a value is at most 2⁻¹¹ ≈
/// 0.05 %.
pub const HISTOGRAM_BITS: u32 = 10;

/// Number of values kept exactly before a collection switches to a histogram.
pub const EXACT_LIMIT: usize = 1 << 20;

/// Distribution of a metric over a population. Missing values are `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Distribution {
    /// Number of samples.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Sample standard deviation (n − 1); missing below two samples.
    pub std: Option<f64>,
    /// Smallest sample.
    pub min: Option<f64>,
    /// 1st percentile.
    pub p1: Option<f64>,
    /// 5th percentile.
    pub p5: Option<f64>,
    /// 10th percentile.
    pub p10: Option<f64>,
    /// 25th percentile.
    pub p25: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 66th percentile.
    pub p66: Option<f64>,
    /// 75th percentile.
    pub p75: Option<f64>,
    /// 80th percentile.
    pub p80: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 98th percentile.
    pub p98: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Largest sample.
    pub max: Option<f64>,
}

/// A row of a percentile table: its label and its value in a distribution.
pub type PercentileRow = (&'static str, fn(&Distribution) -> Option<f64>);

/// The rows of percentile tables, smallest first.
pub const PERCENTILE_ROWS: [PercentileRow; 14] = [
    ("min", |d| d.min),
    ("1%", |d| d.p1),
    ("5%", |d| d.p5),
    ("10%", |d| d.p10),
    ("25%", |d| d.p25),
    ("50%", |d| d.p50),
    ("66%", |d| d.p66),
    ("75%", |d| d.p75),
    ("80%", |d| d.p80),
    ("90%", |d| d.p90),
    ("95%", |d| d.p95),
    ("98%", |d| d.p98),
    ("99%", |d| d.p99),
    ("max", |d| d.max),
];

/// Samples of one metric.
#[derive(Clone, Debug)]
pub struct Samples {
    values: Vec<f64>,
    overflow: Option<Overflow>,
    may_overflow: bool,
}

#[derive(Clone, Debug)]
struct Overflow {
    histogram: DenseHistogram,
    count: u64,
    mean: f64,
    /// Sum of squared distances to the mean (Welford 1962).
    squares: f64,
    min: f64,
    max: f64,
}

impl Samples {
    /// A collection that keeps every value.
    #[must_use]
    pub fn exact() -> Self {
        Self {
            values: Vec::new(),
            overflow: None,
            may_overflow: false,
        }
    }

    /// A collection that becomes a histogram above [`EXACT_LIMIT`] values. Values must be whole
    /// numbers and not negative.
    #[must_use]
    pub fn bounded() -> Self {
        Self {
            may_overflow: true,
            ..Self::exact()
        }
    }

    /// Add a value.
    pub fn push(&mut self, value: f64) {
        if let Some(overflow) = &mut self.overflow {
            overflow.push(value);
            return;
        }
        self.values.push(value);
        if self.may_overflow && self.values.len() > EXACT_LIMIT {
            let mut overflow = Overflow::new();
            for value in std::mem::take(&mut self.values) {
                overflow.push(value);
            }
            self.overflow = Some(overflow);
        }
    }

    /// Summarise, with every value multiplied by `scale` (a unit conversion).
    #[must_use]
    pub fn distribution(mut self, scale: f64) -> Distribution {
        if let Some(overflow) = self.overflow {
            return overflow.distribution(scale);
        }
        // sorted first, so that the sums do not depend on arrival order
        self.values.sort_unstable_by(f64::total_cmp);
        let values = &self.values;
        let n = values.len();
        if n == 0 {
            return Distribution::default();
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        build(
            n as u64,
            mean,
            squares,
            (values[0], values[n - 1]),
            |p| Some(quantile(values, p)),
            scale,
        )
    }

    /// The quantiles `at` (0..=1), with every value multiplied by `scale`; `None` without a sample. They are those
    /// of [`Samples::distribution`], at any place.
    #[must_use]
    pub fn quantiles(mut self, at: &[f64], scale: f64) -> Vec<Option<f64>> {
        if let Some(overflow) = self.overflow {
            let histogram = overflow.histogram.snapshot();
            let of =
                |p: &f64| Some(histogram.quantile(*p)?.clamp(overflow.min, overflow.max) * scale);
            return at.iter().map(of).collect();
        }
        self.values.sort_unstable_by(f64::total_cmp);
        let values = &self.values;
        let of = |p: &f64| (!values.is_empty()).then(|| quantile(values, *p) * scale);
        at.iter().map(of).collect()
    }
}

/// The quantile `p` (0..=1) of sorted values, by linear interpolation.
///
/// ```
/// use evalscope_model::metrics::quantile;
/// assert_eq!(quantile(&[10.0, 20.0, 30.0, 40.0], 0.5), 25.0);
/// assert_eq!(quantile(&[7.0], 0.99), 7.0);
/// ```
///
/// # Panics
/// If there is no value.
#[must_use]
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let rank = p * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 <= rank <= len - 1"
    )]
    let (low, high) = (rank.floor() as usize, rank.ceil() as usize);
    let (a, b) = (sorted[low], sorted[high]);
    // both ends stay exact, and a <= result <= b holds in floating point
    (a + (b - a) * rank.fract()).clamp(a, b)
}

fn build(
    count: u64,
    mean: f64,
    squares: f64,
    (min, max): (f64, f64),
    quantile: impl Fn(f64) -> Option<f64>,
    scale: f64,
) -> Distribution {
    let at = |p: f64| quantile(p).map(|v| v.clamp(min, max) * scale);
    Distribution {
        count,
        mean: Some(mean * scale),
        std: (count > 1).then(|| (squares / (count - 1) as f64).sqrt() * scale),
        min: Some(min * scale),
        p1: at(0.01),
        p5: at(0.05),
        p10: at(0.10),
        p25: at(0.25),
        p50: at(0.50),
        p66: at(0.66),
        p75: at(0.75),
        p80: at(0.80),
        p90: at(0.90),
        p95: at(0.95),
        p98: at(0.98),
        p99: at(0.99),
        max: Some(max * scale),
    }
}

impl Overflow {
    fn new() -> Self {
        Self {
            histogram: DenseHistogram::new(HISTOGRAM_BITS),
            count: 0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    fn push(&mut self, value: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded samples are whole and not negative"
        )]
        self.histogram.record(value as u64);
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn distribution(&self, scale: f64) -> Distribution {
        let histogram = self.histogram.snapshot();
        build(
            self.count,
            self.mean,
            self.squares,
            (self.min, self.max),
            |p| histogram.quantile(p),
            scale,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distribution(values: &[f64]) -> Distribution {
        let mut samples = Samples::exact();
        for v in values {
            samples.push(*v);
        }
        samples.distribution(1.0)
    }

    /// Reference values from `numpy.percentile(x, q)` (method "linear").
    #[test]
    fn percentiles_agree_with_numpy() {
        let d = distribution(&[15.0, 20.0, 35.0, 40.0, 50.0]);
        assert_eq!(d.p50, Some(35.0));
        assert!((d.p90.unwrap() - 46.0).abs() < 1e-12);
        assert!((d.p99.unwrap() - 49.6).abs() < 1e-12);
        assert!((d.p10.unwrap() - 17.0).abs() < 1e-12);
        assert!((d.std.unwrap() - 14.404_860_290_887_933).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_missing_not_zero() {
        assert_eq!(distribution(&[]), Distribution::default());
        assert_eq!(distribution(&[3.0]).std, None);
        assert_eq!(Samples::exact().quantiles(&[0.5], 1.0), [None]);
    }

    #[test]
    fn above_the_limit_the_error_stays_below_a_thousandth() {
        let n = EXACT_LIMIT + 1000;
        let (mut exact, mut bounded) = (Samples::exact(), Samples::bounded());
        let mut x = 1u64;
        for _ in 0..n {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (x >> 34) as f64;
            exact.push(value);
            bounded.push(value);
        }
        let at = [0.001, 0.999, 0.9999];
        let of = |samples: &Samples| samples.clone().quantiles(&at, 1e-6);
        for (e, b) in of(&exact).into_iter().zip(of(&bounded)) {
            let (e, b) = (e.unwrap(), b.unwrap());
            assert!((e - b).abs() <= 0.001 * e + 1e-6, "{e} {b}");
        }
        let (exact, bounded) = (exact.distribution(1e-6), bounded.distribution(1e-6));
        assert_eq!(exact.count, bounded.count);
        for (label, at) in PERCENTILE_ROWS {
            let (e, b) = (at(&exact).unwrap(), at(&bounded).unwrap());
            assert!((e - b).abs() <= 0.001 * e + 1e-6, "{label}: {e} {b}");
        }
        assert!((exact.mean.unwrap() / bounded.mean.unwrap() - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn percentiles_rise_and_order_changes_nothing(values in prop::collection::vec(0.0f64..1e12, 1..200)) {
            let d = distribution(&values);
            let rows: Vec<f64> = PERCENTILE_ROWS.iter().map(|(_, at)| at(&d).unwrap()).collect();
            prop_assert!(rows.windows(2).all(|w| w[0] <= w[1]));
            let mut reversed = values.clone();
            reversed.reverse();
            prop_assert_eq!(&d, &distribution(&reversed));
            let mut samples = Samples::exact();
            for value in &values {
                samples.push(*value);
            }
            let [p5, p999] = samples.quantiles(&[0.05, 0.999], 1.0)[..] else { unreachable!() };
            prop_assert_eq!(p5, d.p5);
            prop_assert!(d.p99 <= p999 && p999 <= d.max);
            prop_assert!(d.min <= d.mean.map(|m| m * (1.0 + 1e-9)) && d.mean.map(|m| m * (1.0 - 1e-9)) <= d.max);
        }
    }
}
