//! Owns scales: where on an axis a value stands, and at which round values the axis has ticks. The
//! script makes ticks by the same rules; `scale-cases.json` holds both to them.
//!
//! It must not know pixels, nor what is measured.

/// Where values stand on an axis, from 0 at its lower end to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Linear,
    Log,
    /// −log₁₀(1−p) of a share p: 0.9, 0.99 and 0.999 are equally far apart.
    Nines,
}

/// Shares at which an axis of nines has ticks.
const NINES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999];

impl Scale {
    /// Equal steps, from `low` to `high` exactly; about `want` ticks inside.
    #[must_use]
    pub fn exact(low: f64, high: f64, want: usize) -> Self {
        let (low, high) = apart(low, high);
        Self {
            kind: Kind::Linear,
            low,
            high,
            ticks: round_values(low, high, want, Ends::Inside),
        }
    }

    /// Equal steps; both ends are moved out to a tick.
    #[must_use]
    pub fn linear(low: f64, high: f64, want: usize) -> Self {
        let (low, high) = apart(low, high);
        Self::between_ticks(
            Kind::Linear,
            round_values(low, high, want, Ends::Outside),
            (low, high),
        )
    }

    /// Equal ratios; both ends are moved out to a tick. Both must be above 0.
    #[must_use]
    pub fn log(low: f64, high: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE.sqrt());
        let high = high.max(low);
        let (low, high) = if high / low < 1.01 {
            (low / 1.1, high * 1.1)
        } else {
            (low, high)
        };
        let decades = (high / low).log10();
        let ticks = if decades > 4.0 {
            powers(low, high, &[1.0])
        } else if decades > 0.8 {
            powers(low, high, &[1.0, 2.0, 5.0])
        } else {
            round_values(low, high, 4, Ends::Outside)
                .into_iter()
                .filter(|tick| *tick > 0.0)
                .collect()
        };
        Self::between_ticks(Kind::Log, ticks, (low, high))
    }

    /// Equal ratios, with a tick at each of the loads that were measured unless they are many; then at
    /// powers of two. Both ends are the outermost loads.
    #[must_use]
    pub fn doublings(loads: &[f64]) -> Self {
        let mut ticks: Vec<f64> = loads.iter().copied().filter(|load| *load > 0.0).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        let low = ticks.first().copied().unwrap_or(1.0);
        let high = ticks.last().copied().unwrap_or(1.0);
        if ticks.len() > 9 {
            let exponents = whole(low.log2().ceil())..=whole(high.log2().floor());
            ticks = exponents.map(|exponent| 2_f64.powi(exponent)).collect();
        }
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low / 2.0, high * 2.0)
        };
        Self {
            kind: Kind::Log,
            low,
            high,
            ticks,
        }
    }

    /// Shares from 0 to `cut`, which is below 1; 0.9, 0.99 and 0.999 are equally far apart.
    #[must_use]
    pub fn nines(cut: f64) -> Self {
        let cut = cut.clamp(0.5, 0.999_999);
        Self {
            kind: Kind::Nines,
            low: 0.0,
            high: cut,
            ticks: NINES.into_iter().filter(|share| *share <= cut).collect(),
        }
    }

    fn between_ticks(kind: Kind, ticks: Vec<f64>, (low, high): (f64, f64)) -> Self {
        Self {
            kind,
            low: ticks.first().copied().map_or(low, |tick| tick.min(low)),
            high: ticks.last().copied().map_or(high, |tick| tick.max(high)),
            ticks,
        }
    }

    /// The lower end.
    #[must_use]
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The upper end.
    #[must_use]
    pub fn high(&self) -> f64 {
        self.high
    }

    /// The round values that are marked, in order.
    #[must_use]
    pub fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// Where a value stands: 0 to 1. Values beyond an end stand at the end.
    #[must_use]
    pub fn at(&self, value: f64) -> f64 {
        let (low, high, value) = (
            self.stretched(self.low),
            self.stretched(self.high),
            self.stretched(value.clamp(self.low, self.high)),
        );
        ((value - low) / (high - low)).clamp(0.0, 1.0)
    }

    fn stretched(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(f64::MIN_POSITIVE).log10(),
            Kind::Nines => -(1.0 - value.min(0.999_999_9)).log10(),
        }
    }
}

/// Whether round values reach the ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Inside,
    Outside,
}

/// Two ends that are not equal.
fn apart(low: f64, high: f64) -> (f64, f64) {
    let low = if low.is_finite() { low } else { 0.0 };
    let high = if high.is_finite() { high } else { low };
    if high - low > low.abs().max(high.abs()) * 1e-9 {
        (low, high)
    } else if low == 0.0 {
        (0.0, 1.0)
    } else {
        (low.min(0.0), (low + low.abs()).max(0.0))
    }
}

/// Multiples of 1, 2 or 5 times a power of ten, about `want` steps apart from low to high.
fn round_values(low: f64, high: f64, want: usize, ends: Ends) -> Vec<f64> {
    let rough = (high - low) / want.max(1) as f64;
    let mut exponent = whole(rough.log10().floor());
    let lead = rough / 10_f64.powi(exponent);
    let lead = match lead {
        lead if lead < 1.5 => 1.0,
        lead if lead < 3.5 => 2.0,
        lead if lead < 7.5 => 5.0,
        _ => {
            exponent += 1;
            1.0
        }
    };
    let step = lead * 10_f64.powi(exponent);
    // a millionth of a step is rounding
    let (first, last) = match ends {
        Ends::Inside => (
            whole((low / step - 1e-6).ceil()),
            whole((high / step + 1e-6).floor()),
        ),
        Ends::Outside => (
            whole((low / step + 1e-6).floor()),
            whole((high / step - 1e-6).ceil()),
        ),
    };
    (first..=last)
        .map(|nth| {
            let units = f64::from(nth) * lead;
            // 3 tenths, not 3 times a tenth
            if exponent < 0 {
                units / 10_f64.powi(-exponent)
            } else {
                units * 10_f64.powi(exponent)
            }
        })
        .collect()
}

/// A number without decimals: the exponent of a value, or how many steps it is from 0.
#[expect(
    clippy::cast_possible_truncation,
    reason = "exponents are small, and ticks are few steps from each other; `as` saturates"
)]
fn whole(value: f64) -> i32 {
    value as i32
}

/// Powers of ten times each lead, from the last at or below low to the first at or above high.
fn powers(low: f64, high: f64, leads: &[f64]) -> Vec<f64> {
    let exponents = whole(low.log10().floor()) - 1..=whole(high.log10().ceil()) + 1;
    let all: Vec<f64> = exponents
        .flat_map(|exponent| leads.iter().map(move |lead| (exponent, *lead)))
        .map(|(exponent, lead)| {
            if exponent < 0 {
                lead / 10_f64.powi(-exponent)
            } else {
                lead * 10_f64.powi(exponent)
            }
        })
        .collect();
    let first = all.iter().rposition(|tick| *tick <= low * (1.0 + 1e-9));
    let last = all.iter().position(|tick| *tick >= high * (1.0 - 1e-9));
    all[first.unwrap_or(0)..=last.unwrap_or(all.len() - 1)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Case {
        scale: String,
        low: f64,
        high: f64,
        #[serde(default)]
        want: usize,
        ticks: Vec<f64>,
    }

    #[test]
    fn ticks_are_those_of_the_shared_cases() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("scale-cases.json")).unwrap();
        for case in &cases {
            let scale = match case.scale.as_str() {
                "exact" => Scale::exact(case.low, case.high, case.want),
                "linear" => Scale::linear(case.low, case.high, case.want),
                "log" => Scale::log(case.low, case.high),
                "nines" => Scale::nines(case.high),
                other => panic!("{other} is not a scale"),
            };
            assert_eq!(
                scale.ticks(),
                case.ticks,
                "{} {} {}",
                case.scale,
                case.low,
                case.high
            );
        }
    }

    #[test]
    fn loads_are_ticks_until_they_are_many() {
        assert_eq!(Scale::doublings(&[8.0, 1.0, 2.0]).ticks(), [1.0, 2.0, 8.0]);
        let many: Vec<f64> = (1..40).map(f64::from).collect();
        assert_eq!(
            Scale::doublings(&many).ticks(),
            [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
        );
    }

    proptest! {
        #[test]
        fn ticks_cover_the_domain(low in -1e9..1e9_f64, wide in 0.0..1e9_f64, want in 1..10_usize) {
            let scale = Scale::linear(low, low + wide, want);
            prop_assert!(scale.ticks().first().unwrap() <= &low.max(scale.low()));
            prop_assert!(scale.ticks().last().unwrap() >= &(low + wide).min(scale.high()));
            prop_assert!(scale.ticks().is_sorted_by(|a, b| a < b));
            prop_assert!(scale.ticks().len() <= 2 * want + 4);
        }

        #[test]
        fn ticks_cover_the_domain_of_ratios(exponent in -6.0..9.0_f64, decades in 0.0..8.0_f64) {
            let (low, high) = (10_f64.powf(exponent), 10_f64.powf(exponent + decades));
            let scale = Scale::log(low, high);
            prop_assert!(scale.low() <= low && scale.high() >= high);
            prop_assert!(scale.ticks().is_sorted_by(|a, b| a < b));
            prop_assert!((2..=16).contains(&scale.ticks().len()), "{:?}", scale.ticks());
        }

        #[test]
        fn values_keep_their_order(low in 1e-3..1e3_f64, wide in 0.0..1e3_f64, a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            for scale in [Scale::linear(low, low + wide, 5), Scale::log(low, low + wide), Scale::exact(low, low + wide, 5)] {
                let (at, other) = (scale.at(a.min(b)), scale.at(a.max(b)));
                prop_assert!(at <= other && at >= 0.0 && other <= 1.0);
            }
        }
    }
}
