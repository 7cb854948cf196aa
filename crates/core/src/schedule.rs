//! Owns when requests should be sent: arrival offsets from the start of a run.
//!
//! Pure: it knows no clock, no request and no server. Arrival *k* is fixed by
//! the seed before the run begins, so a slow server cannot bend the schedule
//! (Schroeder, Wierman & Harchol-Balter, "Open Versus Closed", NSDI 2006).

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp};

use evalscope_model::plan::{Pacing, sub_seed};

/// Offsets of successive requests from the start of a run, never decreasing.
#[derive(Clone, Debug)]
pub enum Arrivals {
    /// No pacing: every request may go as soon as a slot is free.
    Unpaced,
    /// A Poisson process: exponential gaps, summed, not rescaled.
    Poisson(Box<PoissonArrivals>),
}

/// See [`Arrivals::Poisson`].
#[derive(Clone, Debug)]
pub struct PoissonArrivals {
    gaps: Exp<f64>,
    rng: ChaCha8Rng,
    /// Sum of the gaps so far, seconds. A double keeps a year to 4 ns.
    offset_s: f64,
}

impl Arrivals {
    /// The arrivals of a run.
    ///
    /// The first request comes after the first gap, as in a true Poisson
    /// process. The same seed gives the same offsets.
    ///
    /// ```
    /// use evalscope_core::schedule::Arrivals;
    /// use evalscope_model::plan::Pacing;
    /// let mut arrivals = Arrivals::new(Pacing::Poisson { rate_per_s: 10.0 }, 42);
    /// let first = arrivals.next_offset().unwrap();
    /// assert!(arrivals.next_offset().unwrap() >= first);
    /// assert_eq!(Arrivals::new(Pacing::Unpaced, 42).next_offset(), None);
    /// ```
    #[must_use]
    pub fn new(pacing: Pacing, seed: u64) -> Self {
        match pacing {
            Pacing::Unpaced => Self::Unpaced,
            Pacing::Poisson { rate_per_s } => Self::Poisson(Box::new(PoissonArrivals {
                gaps: Exp::new(rate_per_s).expect("a plan's rate is positive and finite"),
                rng: ChaCha8Rng::seed_from_u64(sub_seed(seed, "arrivals")),
                offset_s: 0.0,
            })),
        }
    }

    /// The next offset from the start; `None` when there is no pacing.
    pub fn next_offset(&mut self) -> Option<Duration> {
        match self {
            Self::Unpaced => None,
            Self::Poisson(poisson) => {
                poisson.offset_s += poisson.gaps.sample(&mut poisson.rng);
                // a rate of once in an age of the universe: never
                Some(Duration::try_from_secs_f64(poisson.offset_s).unwrap_or(Duration::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offsets(rate_per_s: f64, seed: u64, n: usize) -> Vec<f64> {
        let mut arrivals = Arrivals::new(Pacing::Poisson { rate_per_s }, seed);
        (0..n)
            .map(|_| arrivals.next_offset().unwrap().as_secs_f64())
            .collect()
    }

    proptest! {
        #[test]
        fn offsets_never_decrease_and_repeat(rate in 0.01f64..10_000.0, seed: u64) {
            let first = offsets(rate, seed, 200);
            prop_assert!(first.windows(2).all(|w| w[0] <= w[1]));
            prop_assert_eq!(first, offsets(rate, seed, 200));
        }
    }

    /// The gaps are exponential: Kolmogorov–Smirnov distance below the 1 %
    /// critical value 1.63/√n for several seeds.
    #[test]
    fn gaps_are_exponential() {
        let n = 20_000_usize;
        for seed in 0..5 {
            let offsets = offsets(200.0, seed, n);
            let mut gaps: Vec<f64> = std::iter::once(offsets[0])
                .chain(offsets.windows(2).map(|w| w[1] - w[0]))
                .collect();
            gaps.sort_by(f64::total_cmp);
            let distance = gaps
                .iter()
                .enumerate()
                .map(|(i, gap)| {
                    let cdf = 1.0 - (-200.0 * gap).exp();
                    let below = i as f64 / n as f64;
                    let above = (i + 1) as f64 / n as f64;
                    (cdf - below).abs().max((cdf - above).abs())
                })
                .fold(0.0, f64::max);
            assert!(
                distance < 1.63 / (n as f64).sqrt(),
                "{distance} at seed {seed}"
            );
        }
    }

    #[test]
    fn an_absurdly_low_rate_never_comes() {
        assert!(
            Arrivals::new(Pacing::Poisson { rate_per_s: 1e-300 }, 0).next_offset()
                > Some(Duration::from_hours(1 << 20))
        );
    }

    /// A fingerprint: the stream of a seed is part of every recorded run.
    #[test]
    fn the_stream_of_a_seed_is_fixed() {
        insta::assert_debug_snapshot!(
            offsets(1.0, 0, 3).iter().map(|s| format!("{s:.9}")).collect::<Vec<_>>(),
            @r#"
        [
            "0.336397150",
            "2.606018075",
            "3.926180119",
        ]
        "#
        );
    }
}
