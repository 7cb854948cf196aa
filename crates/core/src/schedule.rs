//! Owns when requests should be sent: arrival offsets from the start of a run, drawn from a
//! [`Schedule`].
//!
//! Pure: it knows no clock, no request and no server. Arrival *k* is fixed by
//! the seed before the run begins, so a slow server cannot bend the schedule
//! (Schroeder, Wierman & Harchol-Balter, "Open Versus Closed", NSDI 2006).

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use evalscope_model::plan::sub_seed;
use evalscope_model::profile::{Gaps, Profile, Schedule, Segment};
use evalscope_model::shard::Deal;

/// Offsets of successive requests from the start of a run, never decreasing.
///
/// Arrival k depends on the schedule, the seed and k only: it is never rescaled, moved or left out.
#[derive(Clone, Debug)]
pub struct Arrivals {
    profile: Profile,
    gaps: Gaps,
    rng: Box<ChaCha8Rng>,
    /// Sum of the gaps up to the next arrival, in units of the mean; `None`: not drawn yet.
    sum: Option<f64>,
    cursor: Cursor,
}

/// Offsets of successive sessions from the start of a run, never decreasing: drawn from a schedule, or
/// as a trace has recorded them. Those of a shard are the whole run's without those of the others.
#[derive(Clone, Debug)]
pub struct Offsets {
    source: Source,
    deal: Deal,
    /// How many are behind, those of all shards together.
    behind: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Drawn(Arrivals),
    /// Nanoseconds.
    Recorded(Arc<[u64]>),
}

impl Offsets {
    /// The moments of a trace.
    #[must_use]
    pub fn recorded(offsets_ns: &Arc<[u64]>) -> Self {
        Self::of(Source::Recorded(Arc::clone(offsets_ns)))
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            deal: Deal::default(),
            behind: 0,
        }
    }

    /// Those of a shard's own sessions.
    #[must_use]
    pub fn dealt(self, deal: Deal) -> Self {
        Self { deal, ..self }
    }

    /// The next offset; `None` when there are no more.
    pub fn next_offset(&mut self) -> Option<Duration> {
        loop {
            let offset = match &mut self.source {
                Source::Drawn(arrivals) => arrivals.next_offset()?,
                Source::Recorded(offsets_ns) => {
                    let place = usize::try_from(self.behind).ok()?;
                    Duration::from_nanos(*offsets_ns.get(place)?)
                }
            };
            let is_own = self.deal.owns(self.behind);
            self.behind += 1;
            if is_own {
                return Some(offset);
            }
        }
    }
}

impl From<Arrivals> for Offsets {
    fn from(arrivals: Arrivals) -> Self {
        Self::of(Source::Drawn(arrivals))
    }
}

/// How far a profile has been used up. All that lies before it is over.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    segment: usize,
    /// When the segment begins, seconds.
    start_s: f64,
    /// Λ before the segment.
    start_amount: f64,
    /// Arrivals of a burst that are behind.
    of_burst: u64,
}

impl Arrivals {
    /// The arrivals of a run. The same seed gives the same offsets.
    ///
    /// With gaps that are drawn, the first request comes after the first of them, as in a true
    /// Poisson process.
    ///
    /// ```
    /// use evalscope_core::schedule::Arrivals;
    /// use evalscope_model::profile::Schedule;
    /// let mut arrivals = Arrivals::new(Schedule::poisson(10.0), 42);
    /// let first = arrivals.next_offset().unwrap();
    /// assert!(arrivals.next_offset().unwrap() >= first);
    /// ```
    #[must_use]
    pub fn new(schedule: Schedule, seed: u64) -> Self {
        Self {
            profile: schedule.profile,
            gaps: schedule.gaps,
            rng: Box::new(ChaCha8Rng::seed_from_u64(sub_seed(seed, "arrivals"))),
            sum: None,
            cursor: Cursor::default(),
        }
    }

    /// The next offset from the start; `None` when the profile is over.
    pub fn next_offset(&mut self) -> Option<Duration> {
        let sum = match self.sum {
            Some(sum) => sum,
            None => self.draw(0.0),
        };
        self.sum = Some(sum);
        let reached = match &self.profile {
            Profile::Constant { rate_per_s } => Reached::ByRate(sum / rate_per_s),
            Profile::Segments(segments) => self.cursor.next(segments, sum)?,
        };
        let offset_s = match reached {
            Reached::ByRate(offset_s) => {
                self.sum = Some(self.draw(sum));
                offset_s
            }
            Reached::InBurst(offset_s) => offset_s,
        };
        // a rate of once in an age of the universe: never
        Some(Duration::try_from_secs_f64(offset_s).unwrap_or(Duration::MAX))
    }

    /// The sum of the gaps with one more of them. The first of even gaps is at the start.
    fn draw(&mut self, sum: f64) -> f64 {
        match self.gaps {
            Gaps::Poisson => {
                let gap: f64 = Exp1.sample(&mut self.rng);
                sum + gap
            }
            Gaps::Constant if self.sum.is_none() => 0.0,
            Gaps::Constant => sum + 1.0,
            Gaps::Gamma { shape } => sum + gamma(&mut self.rng, shape) / shape,
        }
    }
}

/// How an arrival came about.
enum Reached {
    /// Λ has reached the sum of the gaps.
    ByRate(f64),
    /// It is one of a burst.
    InBurst(f64),
}

impl Cursor {
    /// The next arrival, where the rate's next one is at `sum`.
    fn next(&mut self, segments: &[Segment], sum: f64) -> Option<Reached> {
        loop {
            let segment = segments.get(self.segment)?;
            match segment {
                Segment::Burst { requests } if self.of_burst < *requests => {
                    self.of_burst += 1;
                    return Some(Reached::InBurst(self.start_s));
                }
                Segment::Burst { .. } => {}
                rate @ Segment::Rate { .. } => {
                    let amount = sum - self.start_amount;
                    if amount < rate.amount() {
                        return Some(Reached::ByRate(self.start_s + rate.seconds_at(amount)));
                    }
                    self.start_amount += rate.amount();
                    self.start_s += rate.span_s();
                }
            }
            self.segment += 1;
            self.of_burst = 0;
        }
    }
}

/// A draw from the gamma distribution with scale 1 (Marsaglia & Tsang, "A simple method for
/// generating gamma variables", ACM TOMS 26, 2000). Not a library's: its draws must never change.
fn gamma(rng: &mut ChaCha8Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        return gamma(rng, shape + 1.0) * uniform(rng).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal =
            (-2.0 * uniform(rng).ln()).sqrt() * (std::f64::consts::TAU * uniform(rng)).cos();
        let cube = (1.0 + c * normal).powi(3);
        if cube > 0.0 && uniform(rng).ln() < 0.5 * normal * normal + d - d * cube + d * cube.ln() {
            return d * cube;
        }
    }
}

/// A number above 0 and up to 1, with 53 bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offsets(rate_per_s: f64, seed: u64, n: usize) -> Vec<f64> {
        let mut arrivals = Arrivals::new(Schedule::poisson(rate_per_s), seed);
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

    fn of(profile: &str, gaps: &str, seed: u64) -> Arrivals {
        let schedule = Schedule {
            profile: profile.parse().unwrap(),
            gaps: gaps.parse().unwrap(),
        };
        Arrivals::new(schedule, seed)
    }

    fn seconds(arrivals: &mut Arrivals, most: usize) -> Vec<f64> {
        std::iter::from_fn(|| arrivals.next_offset())
            .take(most)
            .map(|offset| offset.as_secs_f64())
            .collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number that is not negative"
    )]
    fn bin(at: f64) -> usize {
        at as usize
    }

    /// The mean number of arrivals up to arrival k is the sum of the first k gaps, whatever the
    /// shape: with even gaps that is k itself.
    #[test]
    fn the_amount_at_an_arrival_is_the_sum_of_its_gaps() {
        for text in [
            "20@60",
            "1..20@60",
            "20..0@60",
            "0..20@30,20@30",
            "1..50@60:exp",
            "9@3,0@5,9@3",
        ] {
            let profile: Profile = text.parse().unwrap();
            let offsets = seconds(&mut of(text, "constant", 0), usize::MAX);
            // some profiles have a whole number of arrivals, some do not
            let all = profile.expected_within(1e9);
            assert!(
                (offsets.len() as f64 - all.ceil()).abs() <= 1.0,
                "{text}: {}",
                offsets.len()
            );
            for (k, offset) in offsets.iter().enumerate() {
                // an offset is kept in nanoseconds, which the rate makes an amount
                let amount = profile.expected_within(*offset);
                assert!((amount - k as f64).abs() < 1e-7, "{text}: {amount} at {k}");
            }
        }
    }

    /// Counts in a hundred parts of the same expected number are those of a Poisson process: their
    /// χ² with 99 degrees of freedom is below its 99.9 % quantile, 148.2.
    #[test]
    fn a_profile_with_random_gaps_has_its_rate_everywhere() {
        for text in ["100@1000", "1..199@1000", "20..500@500:exp"] {
            let profile: Profile = text.parse().unwrap();
            let all = profile.expected_within(1e9);
            let mut counts = vec![0_u32; 100];
            for offset in seconds(&mut of(text, "poisson", 3), usize::MAX) {
                let part = profile.expected_within(offset) / all * 100.0;
                counts[bin(part).min(99)] += 1;
            }
            let expected = all / 100.0;
            let chi2: f64 = counts
                .iter()
                .map(|count| (f64::from(*count) - expected).powi(2) / expected)
                .sum();
            assert!((50.0..148.2).contains(&chi2), "{text}: {chi2}");
        }
    }

    /// The dispersion of counts in wide bins is the squared coefficient of variation of the gaps.
    #[test]
    fn gaps_are_as_uneven_as_they_are_asked_to_be() {
        for gaps in ["poisson", "constant", "gamma:0.25", "gamma:4", "gamma:1"] {
            let (bins, width_s) = (4000, 1.0);
            let mut counts = vec![0.0_f64; bins];
            for offset in seconds(&mut of("200", gaps, 5), 200 * bins) {
                if let Some(count) = counts.get_mut(bin(offset / width_s)) {
                    *count += 1.0;
                }
            }
            // the draws end a little before or after the last bin
            counts.truncate(bins - 100);
            let n = counts.len() as f64;
            let mean = counts.iter().sum::<f64>() / n;
            let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / n;
            let want = gaps.parse::<Gaps>().unwrap().squared_cv();
            let dispersion = variance / mean;
            // a bin sees a little less than all of the unevenness where gaps come in clusters
            assert!(
                (dispersion - want).abs() <= 0.05 * want.max(0.2),
                "{gaps}: {dispersion}"
            );
        }
    }

    /// A burst has as many arrivals as it says, at its moment, and changes nothing else.
    #[test]
    fn a_burst_comes_at_once() {
        let with = seconds(&mut of("5@10,+7,5@10", "poisson", 1), usize::MAX);
        let without = seconds(&mut of("5@10,5@10", "poisson", 1), usize::MAX);
        let at_once: Vec<_> = with
            .iter()
            .filter(|at| at.total_cmp(&10.0).is_eq())
            .collect();
        assert_eq!(at_once.len(), 7);
        let rest: Vec<f64> = with
            .iter()
            .copied()
            .filter(|at| at.total_cmp(&10.0).is_ne())
            .collect();
        assert_eq!(rest, without);
    }

    /// Two segments of the same rate are one of both lengths.
    #[test]
    fn a_cut_in_a_rate_changes_nothing() {
        let whole = seconds(&mut of("10@120", "poisson", 9), usize::MAX);
        let cut = seconds(&mut of("10@60,10@60", "poisson", 9), usize::MAX);
        assert_eq!(whole.len(), cut.len());
        for (a, b) in whole.iter().zip(&cut) {
            assert!((a - b).abs() < 1e-8, "{a} {b}");
        }
    }

    /// Fingerprints: the draws of a seed are part of every recorded run.
    #[test]
    fn the_first_arrivals_of_each_kind_are_fixed() {
        let kinds = [
            ("10", "poisson"),
            ("10", "constant"),
            ("10", "gamma:0.5"),
            ("10", "gamma:3"),
            ("1..20@60", "poisson"),
            ("1..20@60:exp", "poisson"),
            ("0@30,20@9", "constant"),
            ("+2,5@9", "poisson"),
        ];
        let first: Vec<String> = kinds
            .into_iter()
            .map(|(profile, gaps)| {
                let offsets = seconds(&mut of(profile, gaps, 0), 5);
                let offsets: Vec<String> = offsets.iter().map(|at| format!("{at:.6}")).collect();
                format!("{profile} {gaps}: {}", offsets.join(" "))
            })
            .collect();
        insta::assert_snapshot!(first.join("\n"));
    }

    #[test]
    fn an_absurdly_low_rate_never_comes() {
        assert!(
            Arrivals::new(Schedule::poisson(1e-300), 0).next_offset()
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
