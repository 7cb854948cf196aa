//! Owns the difference of two shares: its interval, and how likely it is to be chance.
//!
//! Pure. It must not know what the shares are of.

use super::intervals::{Interval, wilson};
use super::quantiles::normal_quantile;

/// A share of a number of trials.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// 0 to 1.
    pub share: f64,
    /// Trials, which may be an effective number: fewer than there were if they depend on each other.
    pub trials: f64,
}

/// The interval of the difference `new` − `base`, at the quantile `z` of the confidence.
///
/// Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in
/// Medicine 17 (1998), method 10: from the Wilson intervals of both.
#[must_use]
pub fn newcombe(base: Share, new: Share, z: f64) -> Interval {
    let (a, b) = (
        wilson(base.share, base.trials, z),
        wilson(new.share, new.trials, z),
    );
    let difference = new.share - base.share;
    let below = (new.share - b.low()).hypot(a.high() - base.share);
    let above = (b.high() - new.share).hypot(base.share - a.low());
    Interval::new(difference - below, difference + above)
}

/// The probability of an interval that just reaches no difference: below 5 %, the 95 % interval of
/// [`newcombe`] leaves it out.
#[must_use]
pub fn newcombe_p_value(base: Share, new: Share) -> f64 {
    let leaves_out_zero = |p: f64| {
        let interval = newcombe(base, new, normal_quantile(1.0 - p / 2.0));
        interval.low() > 0.0 || interval.high() < 0.0
    };
    // below this, `normal_quantile` has no room
    let (mut low, mut high) = (1e-15, 1.0);
    if leaves_out_zero(low) {
        return low;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if leaves_out_zero(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `statsmodels.stats.proportion.confint_proportions_2indep(k_new, n_new, k_base, n_base,
    /// method="newcomb")`, by ci/statistics-tables
    #[test]
    fn the_interval_agrees_with_statsmodels() {
        for ([base, of_base, new, of_new], want) in NEWCOMBE {
            let interval = newcombe(
                Share {
                    share: base / of_base,
                    trials: of_base,
                },
                Share {
                    share: new / of_new,
                    trials: of_new,
                },
                normal_quantile(0.975),
            );
            assert!(
                (interval.low() - want[0]).abs() < 1e-9,
                "{interval:?} {want:?}"
            );
            assert!(
                (interval.high() - want[1]).abs() < 1e-9,
                "{interval:?} {want:?}"
            );
        }
    }

    /// Failures and requests of the base, of the new run, and the bounds.
    const NEWCOMBE: [([f64; 4], [f64; 2]); 6] = [
        (
            [0.0, 100.0, 5.0, 100.0],
            [0.003_327_940_846_157_152_7, 0.111_750_469_231_919_14],
        ),
        (
            [5.0, 100.0, 0.0, 100.0],
            [-0.111_750_469_231_919_14, -0.003_327_940_846_157_152_7],
        ),
        (
            [20.0, 1000.0, 31.0, 1000.0],
            [-0.003_023_192_405_389_840_7, 0.025_479_070_918_218_234],
        ),
        (
            [500.0, 1000.0, 480.0, 900.0],
            [-0.011_652_882_504_698_515, 0.078_114_227_754_820_92],
        ),
        (
            [0.0, 50.0, 0.0, 80.0],
            [-0.071_347_599_133_358_74, 0.045_818_129_535_527_12],
        ),
        (
            [100.0, 100.0, 90.0, 95.0],
            [-0.117_348_861_170_379_02, -0.005_038_196_428_492_493],
        ),
    ];

    proptest! {
        #[test]
        fn the_probability_says_what_the_interval_says(
            base in 0u32..=60, new in 0u32..=60, trials in 60u32..400
        ) {
            let of = |k: u32| Share {
                share: f64::from(k) / f64::from(trials),
                trials: f64::from(trials),
            };
            let interval = newcombe(of(base), of(new), normal_quantile(0.975));
            let leaves_out = interval.low() > 0.0 || interval.high() < 0.0;
            prop_assert_eq!(leaves_out, newcombe_p_value(of(base), of(new)) < 0.05);
            let mirrored = newcombe(of(new), of(base), normal_quantile(0.975));
            prop_assert!((interval.low() + mirrored.high()).abs() < 1e-12);
        }
    }
}
