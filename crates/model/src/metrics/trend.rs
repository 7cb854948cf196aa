//! Owns whether a series of equal bins of time is flat, and where it becomes so.
//!
//! It must not know what is in the bins.

use serde::{Deserialize, Serialize};

use super::quantiles::normal_quantile;

/// A change that matters, as a share of the mean.
const EFFECT: f64 = 0.05;

/// The probability by which a trend or a correlation has to be more than chance.
const CONFIDENCE: f64 = 0.95;

/// Bins in a batch of MSER-5.
const MSER_BATCH: usize = 5;

/// Whether a series of bins rises or falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// Neither.
    Steady,
    /// It rises, by more than 5 % and by more than chance.
    DriftingUp,
    /// It falls in this way.
    DriftingDown,
}

impl Trend {
    /// The trend of a series: more than chance (Mann–Kendall), the last quarter more than 5 % of the
    /// mean away from the first, and the quarters in order.
    pub(super) fn of(bins: &[f64]) -> Self {
        let significant = normal_quantile(f64::midpoint(1.0, CONFIDENCE));
        let z = mann_kendall(bins);
        if z.abs() <= significant {
            return Self::Steady;
        }
        let mean = bins.iter().sum::<f64>() / bins.len() as f64;
        let quarters = quarters(bins);
        let change = quarters[3] - quarters[0];
        let in_order = |is_before: fn(&f64, &f64) -> bool| {
            quarters
                .windows(2)
                .all(|pair| is_before(&pair[0], &pair[1]))
        };
        if change > EFFECT * mean && in_order(f64::lt) {
            Self::DriftingUp
        } else if -change > EFFECT * mean && in_order(f64::gt) {
            Self::DriftingDown
        } else {
            Self::Steady
        }
    }
}

/// The means of the four quarters of at least four bins.
pub(super) fn quarters(bins: &[f64]) -> [f64; 4] {
    let n = bins.len();
    std::array::from_fn(|nth| {
        let part = &bins[n * nth / 4..n * (nth + 1) / 4];
        part.iter().sum::<f64>() / part.len() as f64
    })
}

/// How many bins to leave out at the start so that the mean of the rest is the most precise: whole
/// batches of five, fewer than half, and only if what is left out differs by more than 5 %, since
/// the noise of a flat series has a best start, too.
///
/// MSER-5: White, "An Effective Truncation Heuristic for Bias Reduction in Simulation Output",
/// Simulation 69 (1997); White, Cobb and Spratt (2000) for the batches.
pub(super) fn settled_from(bins: &[f64]) -> usize {
    let batches: Vec<f64> = bins
        .chunks_exact(MSER_BATCH)
        .map(|batch| batch.iter().sum::<f64>() / batch.len() as f64)
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    // the squared standard error of the mean of what is kept
    let error = |left_out: usize| {
        let kept = &batches[left_out..];
        let middle = mean(kept);
        let squares: f64 = kept.iter().map(|v| (v - middle) * (v - middle)).sum();
        squares / (kept.len() * kept.len()) as f64
    };
    let Some(best) = (0..batches.len() / 2).min_by(|a, b| error(*a).total_cmp(&error(*b))) else {
        return 0;
    };
    let (left_out, kept) = batches.split_at(best);
    if left_out.is_empty() || (mean(left_out) - mean(kept)).abs() <= EFFECT * mean(kept).abs() {
        return 0;
    }
    best * MSER_BATCH
}

/// The standard normal score of the Mann–Kendall test for a trend, with the variance of Hamed and
/// Rao, "A modified Mann–Kendall trend test for autocorrelated data", Journal of Hydrology 204
/// (1998); where chance makes that negative, the variance of independent values. 0 below four values.
fn mann_kendall(values: &[f64]) -> f64 {
    let n = values.len();
    if n < 4 {
        return 0.0;
    }
    let mut score = 0.0;
    for (nth, early) in values.iter().enumerate() {
        for late in &values[nth + 1..] {
            score += sign(late - early);
        }
    }
    let count = n as f64;
    let tied: f64 = group_sizes(values)
        .into_iter()
        .map(|size| size * (size - 1.0) * (2.0 * size + 5.0))
        .sum();
    let independent = (count * (count - 1.0) * (2.0 * count + 5.0) - tied) / 18.0;
    let variance = match independent * correction(values) {
        corrected if corrected > 0.0 => corrected,
        _ => independent,
    };
    // one step towards 0: the score is whole
    if variance > 0.0 {
        (score - sign(score)) / variance.sqrt()
    } else {
        0.0
    }
}

/// −1, 0 or 1.
fn sign(value: f64) -> f64 {
    f64::from(i8::from(value > 0.0) - i8::from(value < 0.0))
}

/// By how much the autocorrelation of the ranks, without the trend itself, changes the variance.
fn correction(values: &[f64]) -> f64 {
    let n = values.len();
    let count = n as f64;
    let slope = sens_slope(values);
    let flat: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(nth, value)| value - slope * (nth + 1) as f64)
        .collect();
    let ranks = ranks(&flat);
    let mean = ranks.iter().sum::<f64>() / count;
    let squares: f64 = ranks.iter().map(|r| (r - mean) * (r - mean)).sum();
    if squares <= 0.0 {
        return 1.0;
    }
    let by_chance = normal_quantile(f64::midpoint(1.0, CONFIDENCE)) / count.sqrt();
    let sum: f64 = (1..n)
        .map(|lag| {
            let products: f64 = ranks
                .iter()
                .zip(&ranks[lag..])
                .map(|(early, late)| (early - mean) * (late - mean))
                .sum();
            let correlation = products / squares;
            if correlation.abs() <= by_chance {
                return 0.0;
            }
            let left = (n - lag) as f64;
            left * (left - 1.0) * (left - 2.0) * correlation
        })
        .sum();
    1.0 + 2.0 * sum / (count * (count - 1.0) * (count - 2.0))
}

/// The median slope of all pairs, per bin (Sen, "Estimates of the Regression Coefficient Based on
/// Kendall's Tau", Journal of the American Statistical Association 63, 1968).
fn sens_slope(values: &[f64]) -> f64 {
    let n = values.len();
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for early in 0..n {
        for late in early + 1..n {
            slopes.push((values[late] - values[early]) / (late - early) as f64);
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    super::quantile(&slopes, 0.5)
}

/// The ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |of: f64| values.iter().filter(|v| **v < of).count() as f64;
    let equal = |of: f64| values.iter().filter(|v| v.total_cmp(&of).is_eq()).count() as f64;
    values
        .iter()
        .map(|value| below(*value) + f64::midpoint(equal(*value), 1.0))
        .collect()
}

/// How many values each distinct value stands for.
fn group_sizes(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|group| group.len() as f64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::draws;

    /// `pymannkendall.hamed_rao_modification_test(x).z`, pymannkendall 1.4.3
    #[test]
    fn scores_agree_with_pymannkendall() {
        let table: [(Vec<f64>, f64); 4] = [
            (
                (0..30u32)
                    .map(|i| f64::from(i * 37 % 23) + 0.5 * f64::from(i))
                    .collect(),
                4.196_739_205_091_416,
            ),
            (
                (0..48u32)
                    .map(|i| f64::from(i / 6 * 5 % 11 + i % 3))
                    .collect(),
                0.291_040_857_789_330_14,
            ),
            (
                (0..60u32)
                    .map(|i| 100.0 + 0.3 * f64::from(i) + f64::from(i / 4 % 5))
                    .collect(),
                7.370_851_436_573_417,
            ),
            (
                (0..20u32).map(|i| f64::from(50 - i / 7)).collect(),
                -5.149_510_895_639_73,
            ),
        ];
        for (values, want) in table {
            let got = mann_kendall(&values);
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        }
        assert!(mann_kendall(&[1.0; 30]).abs() < 1e-9);
    }

    fn noisy(seed: u64, mean: impl Fn(f64) -> f64) -> Vec<f64> {
        (0..60u32)
            .zip(draws(seed))
            .map(|(nth, noise)| mean(f64::from(nth) / 60.0) + 4.0 * (noise - 0.5))
            .collect()
    }

    #[test]
    fn a_drift_needs_size_and_certainty() {
        for seed in 0..20 {
            assert_eq!(Trend::of(&noisy(seed, |_| 100.0)), Trend::Steady, "{seed}");
            // certain, and too small to matter
            assert_eq!(
                Trend::of(&noisy(seed, |t| 100.0 + 4.0 * t)),
                Trend::Steady,
                "{seed}"
            );
            assert_eq!(
                Trend::of(&noisy(seed, |t| 100.0 + 20.0 * t)),
                Trend::DriftingUp,
                "{seed}"
            );
            assert_eq!(
                Trend::of(&noisy(seed, |t| 100.0 - 20.0 * t)),
                Trend::DriftingDown,
                "{seed}"
            );
            // large, and back again
            let wave = |t: f64| 100.0 + 20.0 * (6.0 * t).sin();
            assert_eq!(Trend::of(&noisy(seed, wave)), Trend::Steady, "{seed}");
        }
        for n in 0..8 {
            assert_eq!(Trend::of(&vec![0.0; n]), Trend::Steady);
        }
    }

    #[test]
    fn the_start_is_left_out_only_if_it_differs() {
        for seed in 0..20 {
            assert_eq!(settled_from(&noisy(seed, |_| 100.0)), 0, "{seed}");
            let rise = |t: f64| if t < 0.15 { 50.0 } else { 100.0 };
            assert!(
                (10..=30).contains(&settled_from(&noisy(seed, rise))),
                "{seed}"
            );
            // never beyond the middle
            assert!(settled_from(&noisy(seed, |t| 100.0 * t)) <= 30, "{seed}");
        }
        assert_eq!(settled_from(&[]), 0);
        assert_eq!(settled_from(&[1.0; 4]), 0);
    }
}
