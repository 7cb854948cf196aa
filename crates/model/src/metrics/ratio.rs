//! Owns how far a figure of one server is from that of another, and how sure that is: from the
//! figures of their runs.
//!
//! Pure. It must not know what is compared, nor on which scale: ratios are differences of logarithms.

use super::intervals::Interval;
use super::quantiles::{normal_cdf, normal_quantile, student_cdf, student_quantile};

/// So many runs on either side show by themselves how much runs differ.
pub const ENOUGH_RUNS: usize = 3;

/// The probability that all intervals are made for, with what is left on either side.
const TWO_SIDED: f64 = 0.975;

/// A figure of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunFigure {
    /// The figure, or its logarithm.
    pub value: f64,
    /// Its variance within the run; `None` if that is unknown.
    pub within: Option<f64>,
}

/// What a comparison rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// Three or more runs on either side: Student's distribution with so many degrees of freedom.
    Repeats {
        /// Runs of both sides together, less two.
        degrees: u32,
    },
    /// Fewer: how much runs differ is assumed.
    FewRuns,
}

/// The difference of two servers, new − base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The estimate.
    pub estimate: f64,
    /// Its standard error.
    pub error: f64,
    /// The standard deviation of one run.
    pub of_run: f64,
    /// What it rests on.
    pub grounds: Grounds,
}

impl Change {
    /// Compare the runs of two servers. `run_scatter` is the standard deviation that is assumed
    /// between runs where there are too few to see it. `None` without runs, and where there are few
    /// runs and the variance within one of them is unknown.
    ///
    /// With three or more runs on either side, the variance is the pooled variance of the runs, and at
    /// least the mean variance within them: three runs that happen to agree prove nothing.
    #[must_use]
    pub fn between(base: &[RunFigure], new: &[RunFigure], run_scatter: f64) -> Option<Self> {
        if base.is_empty() || new.is_empty() {
            return None;
        }
        let estimate = mean(new) - mean(base);
        if base.len() < ENOUGH_RUNS || new.len() < ENOUGH_RUNS {
            let of_base = run_scatter * run_scatter + mean_within_all(base)?;
            let of_new = run_scatter * run_scatter + mean_within_all(new)?;
            let error = (of_base / base.len() as f64 + of_new / new.len() as f64).sqrt();
            return Some(Self {
                estimate,
                error,
                of_run: f64::midpoint(of_base, of_new).sqrt(),
                grounds: Grounds::FewRuns,
            });
        }
        let degrees = u32::try_from(base.len() + new.len() - 2).ok()?;
        let pooled = (squares(base) + squares(new)) / f64::from(degrees);
        let known: Vec<f64> = base
            .iter()
            .chain(new)
            .filter_map(|run| run.within)
            .collect();
        let within = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let variance = pooled.max(within);
        let error = (variance * (1.0 / base.len() as f64 + 1.0 / new.len() as f64)).sqrt();
        Some(Self {
            estimate,
            error,
            of_run: variance.sqrt(),
            grounds: Grounds::Repeats { degrees },
        })
    }

    /// How many standard errors the 95 % interval extends to either side.
    fn reach(&self) -> f64 {
        match self.grounds {
            Grounds::Repeats { degrees } => student_quantile(TWO_SIDED, degrees),
            Grounds::FewRuns => normal_quantile(TWO_SIDED),
        }
    }

    /// Half of the 95 % interval: the smallest change that could have been seen.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        self.reach() * self.error
    }

    /// The 95 % interval.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let half = self.half_width();
        Interval::new(self.estimate - half, self.estimate + half)
    }

    /// The probability of an estimate this far from 0 if there is no change.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        if self.error <= 0.0 {
            // runs that are all alike
            return if self.estimate.abs() > 0.0 { 0.0 } else { 1.0 };
        }
        let distance = -(self.estimate / self.error).abs();
        let below = match self.grounds {
            Grounds::Repeats { degrees } => student_cdf(distance, degrees),
            Grounds::FewRuns => normal_cdf(distance),
        };
        (2.0 * below).clamp(0.0, 1.0)
    }

    /// Runs a side that would tell a change of `noise` from none: 2 (t s / (δ/2))², at least
    /// [`ENOUGH_RUNS`].
    #[must_use]
    pub fn runs_to_decide(&self, noise: f64) -> u64 {
        let runs = 2.0 * (self.reach() * self.of_run / (noise / 2.0)).powi(2);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; a float that is too large becomes the largest number"
        )]
        let runs = runs.ceil() as u64;
        runs.max(ENOUGH_RUNS as u64)
    }
}

fn mean(runs: &[RunFigure]) -> f64 {
    runs.iter().map(|run| run.value).sum::<f64>() / runs.len() as f64
}

fn squares(runs: &[RunFigure]) -> f64 {
    let mean = mean(runs);
    let squares = runs.iter().map(|run| (run.value - mean).powi(2));
    squares.sum()
}

/// `None` if one of them is unknown.
fn mean_within_all(runs: &[RunFigure]) -> Option<f64> {
    let all: Option<Vec<f64>> = runs.iter().map(|run| run.within).collect();
    Some(all?.iter().sum::<f64>() / runs.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::draws;
    use proptest::prelude::*;

    fn runs(values: &[f64], within: Option<f64>) -> Vec<RunFigure> {
        let of = |value: &f64| RunFigure {
            value: *value,
            within,
        };
        values.iter().map(of).collect()
    }

    /// `r = scipy.stats.ttest_ind(new, base)`: `r.pvalue`, `r.confidence_interval(.95)`, by
    /// ci/statistics-tables
    #[test]
    fn repeats_agree_with_scipy() {
        for (base, new, p, low, high) in TTEST {
            let change = Change::between(&runs(base, None), &runs(new, None), 0.03).unwrap();
            assert!((change.p_value() - p).abs() < 1e-9, "{change:?} {p}");
            assert!((change.interval().low() - low).abs() < 1e-9, "{change:?}");
            assert!((change.interval().high() - high).abs() < 1e-9, "{change:?}");
        }
    }

    type TTest = (&'static [f64], &'static [f64], f64, f64, f64);
    const TTEST: [TTest; 3] = [
        (
            &[4.1, 4.2, 4.15],
            &[4.3, 4.1, 4.35],
            0.287_864_134_726_696_2,
            -0.126_695_793_552_753_34,
            0.326_695_793_552_750_86,
        ),
        (
            &[1.0, 1.1, 0.9, 1.05, 0.98],
            &[1.2, 1.25, 1.3],
            0.002_668_809_017_003_517_4,
            0.122_538_489_947_133_98,
            0.365_461_510_052_866_4,
        ),
        (
            &[5.01, 5.02, 5.0, 4.99],
            &[5.0, 5.01, 5.02, 5.03, 4.98],
            0.797_971_695_234_841_3,
            -0.023_677_920_339_372_99,
            0.029_677_920_339_373_217,
        ),
    ];

    #[test]
    fn three_lucky_runs_prove_nothing() {
        let (base, new) = ([4.000, 4.001, 4.000], [4.050, 4.051, 4.050]);
        let lucky = Change::between(&runs(&base, None), &runs(&new, None), 0.0).unwrap();
        assert!(lucky.p_value() < 0.001);
        let within = Some(0.04 * 0.04);
        let floored = Change::between(&runs(&base, within), &runs(&new, within), 0.0).unwrap();
        assert!(floored.p_value() > 0.1 && (floored.of_run - 0.04).abs() < 1e-12);
        assert_eq!(floored.grounds, Grounds::Repeats { degrees: 4 });
    }

    #[test]
    fn few_runs_rest_on_the_assumed_scatter() {
        let within = Some(0.01 * 0.01);
        let change = Change::between(&runs(&[1.0], within), &runs(&[1.1], within), 0.03).unwrap();
        let error = (2.0 * (0.03f64.powi(2) + 0.01f64.powi(2))).sqrt();
        assert!((change.error - error).abs() < 1e-12);
        assert_eq!(change.grounds, Grounds::FewRuns);
        // `2 * scipy.stats.norm.sf(.1 / error)`
        assert!(
            (change.p_value() - 0.025_347_318_677_468_2).abs() < 1e-9,
            "{}",
            change.p_value()
        );
        assert_eq!(
            Change::between(&runs(&[1.0], None), &runs(&[1.1], within), 0.03),
            None
        );
        assert_eq!(Change::between(&[], &runs(&[1.1], within), 0.03), None);
    }

    #[test]
    fn how_many_runs_would_decide() {
        let change = Change::between(
            &runs(&[0.0, 0.1, 0.2], None),
            &runs(&[0.0, 0.1, 0.2], None),
            0.0,
        );
        // `ceil(2 * (scipy.stats.t.ppf(.975, 4) * .1 / .025) ** 2)`
        assert_eq!(change.unwrap().runs_to_decide(0.05), 247);
        let alike = Change::between(&runs(&[1.0; 3], None), &runs(&[1.0; 3], None), 0.0).unwrap();
        assert_eq!((alike.runs_to_decide(0.05), alike.p_value()), (3, 1.0));
    }

    /// A server against itself and against one that is 10 % slower: log-normal runs with a coefficient
    /// of variation of 2 %.
    #[test]
    fn equal_servers_are_equal_and_slower_ones_are_found() {
        let mut draws = draws(11).map(normal_quantile);
        let mut side = |mean: f64, n: usize| -> Vec<RunFigure> {
            let of = |z: f64| RunFigure {
                value: mean + 0.02 * z,
                within: None,
            };
            draws.by_ref().take(n).map(of).collect()
        };
        let (mut alarms, mut found) = (0, 0);
        for _ in 0..400 {
            let (a, b) = (side(0.0, 3), side(0.0, 3));
            alarms += u32::from(Change::between(&a, &b, 0.03).unwrap().p_value() < 0.05);
            let (a, b) = (side(0.0, 5), side(1.1f64.ln(), 5));
            found += u32::from(Change::between(&a, &b, 0.03).unwrap().interval().low() > 0.0);
        }
        // 5 % of 400 are 20; 32 are 8 %
        assert!((8..=32).contains(&alarms), "{alarms}");
        assert!(found >= 396, "{found}");
    }

    proptest! {
        #[test]
        fn the_interval_and_the_probability_say_the_same(
            base in prop::collection::vec(-1.0f64..1.0, 1..6),
            new in prop::collection::vec(-1.0f64..1.0, 1..6),
            within in 0.0001f64..0.2,
        ) {
            let (base, new) = (runs(&base, Some(within)), runs(&new, Some(within)));
            let change = Change::between(&base, &new, 0.03).unwrap();
            let interval = change.interval();
            let leaves_out = interval.low() > 0.0 || interval.high() < 0.0;
            prop_assert_eq!(leaves_out, change.p_value() < 0.05);
            let back = Change::between(&new, &base, 0.03).unwrap();
            prop_assert!((back.estimate + change.estimate).abs() < 1e-12);
            prop_assert!((back.error - change.error).abs() < 1e-12);
        }
    }
}
