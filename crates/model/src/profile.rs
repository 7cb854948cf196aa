//! Owns rates over time: a [`Profile`] and its text, and how the gaps between arrivals are spread.
//!
//! Pure. It must not know random numbers, clocks or requests: what is drawn is in the engine's
//! schedule.
//!
//! A profile is a rate r(t) made of segments. Its amount Λ(t) = ∫r is the mean number of arrivals
//! up to t. With gaps of mean 1 whose sums are S₁, S₂, …, arrival k is at Λ⁻¹(Sₖ): for exponential
//! gaps that is the inhomogeneous Poisson process of this rate (Çinlar, "Introduction to Stochastic
//! Processes", 1975, section 4.7).

mod gaps;
mod segment;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use gaps::Gaps;
pub use segment::{Curve, Segment};

/// The highest rate that may be asked for, per second: above what one process can send.
pub const HIGHEST_RATE_PER_S: f64 = 200_000.0;

/// The longest time in a profile, seconds: 31 years.
const LONGEST_S: f64 = 1e9;

/// The most segments of a profile.
pub const MOST_SEGMENTS: usize = 10_000;

/// A rate of arrivals over time.
#[derive(Clone, Debug, PartialEq)]
pub enum Profile {
    /// The same rate without an end; positive and finite.
    Constant {
        /// Mean arrivals per second.
        rate_per_s: f64,
    },
    /// One segment after the other; some of them has arrivals.
    Segments(Vec<Segment>),
}

impl Profile {
    /// The rate, where it never changes and never ends.
    #[must_use]
    pub fn constant_per_s(&self) -> Option<f64> {
        match self {
            Self::Constant { rate_per_s } => Some(*rate_per_s),
            Self::Segments(_) => None,
        }
    }

    /// Mean arrivals per second, bursts included. A profile of nothing but bursts takes a moment:
    /// infinite.
    #[must_use]
    pub fn mean_per_s(&self) -> f64 {
        match (self, self.span_s()) {
            (Self::Constant { rate_per_s }, _) => *rate_per_s,
            (Self::Segments(_), span_s) => {
                let span_s = span_s.unwrap_or(0.0);
                self.expected_within(span_s) / span_s
            }
        }
    }

    /// When it ends, seconds; `None`: never.
    #[must_use]
    pub fn span_s(&self) -> Option<f64> {
        match self {
            Self::Constant { .. } => None,
            Self::Segments(segments) => Some(segments.iter().map(Segment::span_s).sum()),
        }
    }

    /// The arrivals that are to be expected within this time, bursts included.
    #[must_use]
    pub fn expected_within(&self, seconds: f64) -> f64 {
        match self {
            Self::Constant { rate_per_s } => rate_per_s * seconds,
            Self::Segments(segments) => {
                let mut left_s = seconds;
                let mut expected = 0.0;
                for segment in segments {
                    if left_s < 0.0 {
                        break;
                    }
                    expected += match segment {
                        Segment::Burst { requests } => *requests as f64,
                        rate @ Segment::Rate { span_s, .. } => {
                            rate.amount_after(left_s.min(*span_s))
                        }
                    };
                    left_s -= segment.span_s();
                }
                expected
            }
        }
    }

    /// More arrivals than this are not to be expected within so many seconds of it, wherever they
    /// begin.
    #[must_use]
    pub fn most_within(&self, seconds: f64) -> f64 {
        match self {
            Self::Constant { rate_per_s } => rate_per_s * seconds,
            Self::Segments(segments) => {
                let (mut highest_per_s, mut bursts) = (0.0_f64, 0.0);
                for segment in segments {
                    match *segment {
                        Segment::Burst { requests } => bursts += requests as f64,
                        Segment::Rate {
                            from_per_s,
                            to_per_s,
                            ..
                        } => highest_per_s = highest_per_s.max(from_per_s).max(to_per_s),
                    }
                }
                highest_per_s * seconds + bursts
            }
        }
    }

    /// A profile of segments.
    ///
    /// # Errors
    /// Without arrivals, or with more than [`MOST_SEGMENTS`].
    pub fn of_segments(segments: Vec<Segment>) -> Result<Self, ProfileError> {
        if segments.len() > MOST_SEGMENTS {
            return Err(ProfileError::TooLong(segments.len()));
        }
        let has_arrivals = |segment: &Segment| match segment {
            Segment::Burst { .. } => true,
            rate @ Segment::Rate { .. } => rate.amount() > 0.0,
        };
        if !segments.iter().any(has_arrivals) {
            return Err(ProfileError::NoArrivals);
        }
        if segments.iter().map(Segment::span_s).sum::<f64>() > LONGEST_S {
            return Err(ProfileError::TooLongTime);
        }
        Ok(Self::Segments(segments))
    }

    /// A profile that goes straight from each point, a moment in seconds and a rate per second, to
    /// the next, and ends at the last one.
    ///
    /// # Errors
    /// When there are fewer than two points, when their times do not rise, when a rate is negative
    /// or too high, or when there are no arrivals.
    pub fn of_points(points: &[(f64, f64)]) -> Result<Self, ProfileError> {
        if points.len() < 2 {
            return Err(ProfileError::FewPoints(points.len()));
        }
        let mut segments = Vec::with_capacity(points.len());
        let (first_s, _) = points[0];
        if !(first_s >= 0.0 && first_s.is_finite()) {
            return Err(ProfileError::Time { nth: 1 });
        }
        if first_s > 0.0 {
            segments.push(Segment::Rate {
                from_per_s: 0.0,
                to_per_s: 0.0,
                span_s: first_s,
                curve: Curve::Linear,
            });
        }
        for (nth, (_, rate_per_s)) in points.iter().enumerate() {
            check_rate(*rate_per_s).map_err(|why| ProfileError::Point { nth: nth + 1, why })?;
        }
        for (nth, pair) in points.windows(2).enumerate() {
            let [(from_s, from_per_s), (to_s, to_per_s)] = [pair[0], pair[1]];
            let span_s = to_s - from_s;
            if !(span_s > 0.0 && span_s.is_finite()) {
                return Err(ProfileError::Time { nth: nth + 2 });
            }
            segments.push(Segment::Rate {
                from_per_s,
                to_per_s,
                span_s,
                curve: Curve::Linear,
            });
        }
        Self::of_segments(segments)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { rate_per_s } => write!(f, "{rate_per_s}"),
            Self::Segments(segments) => {
                for (nth, segment) in segments.iter().enumerate() {
                    let comma = if nth == 0 { "" } else { "," };
                    write!(f, "{comma}{segment}")?;
                }
                Ok(())
            }
        }
    }
}

/// Why a text or a list of points is no profile.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum ProfileError {
    /// A segment cannot be read.
    #[error("segment {nth}, `{text}`: {why}")]
    Segment {
        /// Which, from 1.
        nth: usize,
        /// The segment.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A number is no rate.
    #[error("{0}")]
    Rate(String),
    /// It has too many segments.
    #[error("{0} segments are more than {MOST_SEGMENTS}")]
    TooLong(usize),
    /// It takes too long.
    #[error("it takes more than {LONGEST_S} s, 31 years")]
    TooLongTime,
    /// Nothing would ever be sent.
    #[error("the rate is 0 all the time, so nothing would be sent")]
    NoArrivals,
    /// A rate needs two points at least.
    #[error("a profile needs at least 2 points, not {0}")]
    FewPoints(usize),
    /// A time that is not after the one before.
    #[error("point {nth}: times have to be 0 or more and to rise from point to point")]
    Time {
        /// Which, from 1.
        nth: usize,
    },
    /// A rate of a point.
    #[error("point {nth}: {why}")]
    Point {
        /// Which, from 1.
        nth: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl FromStr for Profile {
    type Err = ProfileError;

    /// `20`, or segments such as `1..20@60,20@5m,+200,0@30`.
    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let of = |nth: usize, part: &str, why: String| ProfileError::Segment {
            nth,
            text: part.to_owned(),
            why,
        };
        let is_one = |part: &str| !part.contains(['@', '+']);
        if is_one(text) && !text.contains(',') {
            let rate_per_s = rate_of(text).map_err(ProfileError::Rate)?;
            if rate_per_s <= 0.0 {
                let why = "the rate has to be greater than 0".to_owned();
                return Err(ProfileError::Rate(why));
            }
            return Ok(Self::Constant { rate_per_s });
        }
        let segments = text
            .split(',')
            .enumerate()
            .map(|(nth, part)| segment_of(part.trim()).map_err(|why| of(nth + 1, part.trim(), why)))
            .collect::<Result<Vec<_>, _>>()?;
        Self::of_segments(segments)
    }
}

fn segment_of(text: &str) -> Result<Segment, String> {
    if let Some(count) = text.strip_prefix('+') {
        return match count.parse() {
            Ok(requests @ 1..) => Ok(Segment::Burst { requests }),
            _ => Err("expected a whole number from 1 after `+`, such as +200".to_owned()),
        };
    }
    let Some((rates, span)) = text.split_once('@') else {
        return Err("expected RATE@TIME, such as 20@60 or 1..20@5m, or +COUNT".to_owned());
    };
    let (span, curve) = match span.strip_suffix(":exp") {
        Some(span) => (span, Curve::Exponential),
        None => (span, Curve::Linear),
    };
    let (from_per_s, to_per_s) = if let Some((from, to)) = rates.split_once("..") {
        (rate_of(from)?, rate_of(to)?)
    } else {
        let rate_per_s = rate_of(rates)?;
        (rate_per_s, rate_per_s)
    };
    if curve == Curve::Exponential && (from_per_s <= 0.0 || to_per_s <= 0.0) {
        return Err("`:exp` cannot begin or end at 0: take a small rate".to_owned());
    }
    Ok(Segment::Rate {
        from_per_s,
        to_per_s,
        span_s: span_of(span)?,
        curve,
    })
}

fn check_rate(rate_per_s: f64) -> Result<(), String> {
    if rate_per_s.is_nan() || rate_per_s < 0.0 {
        return Err(format!("a rate has to be 0 or more, not {rate_per_s}"));
    }
    if rate_per_s > HIGHEST_RATE_PER_S {
        return Err(format!(
            "{rate_per_s} per second is more than one process can send (at most {HIGHEST_RATE_PER_S})"
        ));
    }
    Ok(())
}

/// A rate: a number per second, or with `/s`, `/m` or `/h`.
fn rate_of(text: &str) -> Result<f64, String> {
    let (number, unit_s) = match text.trim().split_once('/') {
        None => (text.trim(), Some(1.0)),
        Some((number, unit)) => (number.trim(), unit_seconds(unit.trim())),
    };
    let rate = number.parse::<f64>().ok().zip(unit_s);
    let Some((number, unit_s)) = rate else {
        return Err(format!(
            "`{}` is not a rate: expected a number such as 20, 0.5 or 90/m",
            text.trim()
        ));
    };
    let rate_per_s = number / unit_s;
    check_rate(rate_per_s)?;
    Ok(rate_per_s)
}

fn span_of(text: &str) -> Result<f64, String> {
    let text = text.trim();
    match text.parse::<f64>().ok().or_else(|| sum_of_times(text)) {
        Some(span_s) if span_s > 0.0 && span_s <= LONGEST_S => Ok(span_s),
        Some(span_s) if span_s > LONGEST_S => {
            Err(format!("`{text}` is longer than {LONGEST_S} s, 31 years"))
        }
        Some(_) => Err(format!("`{text}`: the time has to be greater than 0")),
        None => Err(format!(
            "`{text}` is not a time: expected one such as 60, 500ms, 5m or 1h30m"
        )),
    }
}

/// Times with units, one after the other: `1h30m`.
fn sum_of_times(text: &str) -> Option<f64> {
    let (mut sum_s, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let unit_s = match &tail[..letters] {
            "ms" => 1e-3,
            unit => unit_seconds(unit)?,
        };
        sum_s += number.trim().parse::<f64>().ok()? * unit_s;
        rest = tail[letters..].trim_start();
    }
    (!text.is_empty()).then_some(sum_s)
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        _ => return None,
    })
}

/// When sessions arrive: a rate over time, and how the gaps are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ScheduleText", into = "ScheduleText")]
pub struct Schedule {
    /// The rate.
    pub profile: Profile,
    /// The gaps.
    pub gaps: Gaps,
}

impl Schedule {
    /// Poisson arrivals at a rate, per second, that never changes.
    #[must_use]
    pub fn poisson(rate_per_s: f64) -> Self {
        Self {
            profile: Profile::Constant { rate_per_s },
            gaps: Gaps::Poisson,
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gaps {
            Gaps::Poisson => f.write_str("Poisson arrivals")?,
            Gaps::Constant => f.write_str("evenly spaced arrivals")?,
            Gaps::Gamma { shape } => write!(f, "gamma-distributed gaps (shape {shape})")?,
        }
        match &self.profile {
            Profile::Constant { rate_per_s } => write!(f, " at {rate_per_s}/s"),
            segments @ Profile::Segments(_) => write!(f, " with the rate {segments}"),
        }
    }
}

/// How a schedule is written in files.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ScheduleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_per_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    #[serde(default = "poisson", skip_serializing_if = "is_poisson")]
    gaps: String,
}

fn poisson() -> String {
    Gaps::Poisson.to_string()
}

fn is_poisson(gaps: &str) -> bool {
    gaps == poisson()
}

impl From<Schedule> for ScheduleText {
    fn from(schedule: Schedule) -> Self {
        Self {
            rate_per_s: schedule.profile.constant_per_s(),
            profile: match &schedule.profile {
                Profile::Constant { .. } => None,
                segments @ Profile::Segments(_) => Some(segments.to_string()),
            },
            gaps: schedule.gaps.to_string(),
        }
    }
}

impl TryFrom<ScheduleText> for Schedule {
    type Error = String;

    fn try_from(text: ScheduleText) -> Result<Self, String> {
        let profile = match (text.rate_per_s, text.profile) {
            (Some(rate_per_s), None) => Profile::Constant { rate_per_s },
            (None, Some(segments)) => segments
                .parse()
                .map_err(|error: ProfileError| error.to_string())?,
            _ => return Err("expected either a rate or a profile".to_owned()),
        };
        Ok(Self {
            profile,
            gaps: text.gaps.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment() -> impl Strategy<Value = Segment> {
        let rate = prop_oneof![Just(0.0), 0.001f64..5000.0];
        let linear =
            (rate.clone(), rate, 0.1f64..3600.0).prop_map(|(a, b, span_s)| Segment::Rate {
                from_per_s: a,
                to_per_s: b,
                span_s,
                curve: Curve::Linear,
            });
        let exponential = (0.001f64..5000.0, 0.001f64..5000.0, 0.1f64..3600.0).prop_map(
            |(from_per_s, to_per_s, span_s)| Segment::Rate {
                from_per_s,
                to_per_s,
                span_s,
                curve: Curve::Exponential,
            },
        );
        let burst = (1u64..1000).prop_map(|requests| Segment::Burst { requests });
        prop_oneof![4 => linear, 2 => exponential, 1 => burst]
    }

    proptest! {
        /// Λ of the moment at which an amount is reached is that amount.
        #[test]
        fn amounts_and_moments_are_inverse(segment in segment(), share in 0.0f64..1.0) {
            let amount = segment.amount() * share;
            let seconds = segment.seconds_at(amount);
            prop_assert!((0.0..=segment.span_s()).contains(&seconds));
            let error = (segment.amount_after(seconds) - amount).abs();
            prop_assert!(error <= 1e-9 * segment.amount().max(1.0), "{} at {}", error, segment);
        }

        #[test]
        fn no_text_panics(text in "[0-9.+@,:/ehmsxp\\- ]{0,24}|\\PC{0,16}", at in 0.0f64..1e12) {
            if let Ok(profile) = text.parse::<Profile>() {
                prop_assert!(profile.span_s().is_none_or(|span_s| span_s <= LONGEST_S));
                prop_assert!(profile.expected_within(at) >= 0.0, "{}", profile);
                prop_assert!(!profile.mean_per_s().is_nan());
            }
        }

        #[test]
        fn a_profile_survives_its_text(segments in prop::collection::vec(segment(), 1..6)) {
            if let Ok(profile) = Profile::of_segments(segments) {
                prop_assert_eq!(profile.to_string().parse::<Profile>().unwrap(), profile.clone());
                let schedule = Schedule { profile, gaps: Gaps::Gamma { shape: 0.5 } };
                let json = serde_json::to_string(&schedule).unwrap();
                prop_assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
            }
        }
    }

    #[test]
    fn a_rate_keeps_its_form_in_files() {
        let old = r#"{"rate_per_s":2.5}"#;
        let schedule: Schedule = serde_json::from_str(old).unwrap();
        assert_eq!(schedule, Schedule::poisson(2.5));
        assert_eq!(serde_json::to_string(&schedule).unwrap(), old);
    }

    #[test]
    fn texts_are_read() {
        let read = |text: &str| text.parse::<Profile>().unwrap();
        assert_eq!(read("20"), Profile::Constant { rate_per_s: 20.0 });
        assert_eq!(read("90/m"), Profile::Constant { rate_per_s: 1.5 });
        assert_eq!(
            read("1..20@60, 20@5m ,+200,0@30,60/m..3600/h@1m:exp").to_string(),
            "1..20@60,20@300,+200,0@30,1@60:exp"
        );
        let profile = read("1..20@60,20@300,+200,0@30");
        assert_eq!(profile.span_s(), Some(390.0));
        assert!((profile.expected_within(1e9) - (630.0 + 6000.0 + 200.0)).abs() < 1e-6);
        assert!((profile.expected_within(70.0) - (630.0 + 200.0)).abs() < 1e-6);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong: Vec<String> = [
            "0",
            "-3",
            "fast",
            "20@60,5",
            "20@0",
            "20@60,30@x",
            "0..20@60:exp",
            "+0",
            "0@30,0@5",
            "20@60,-5@3",
            "300000",
            "",
            "5,",
            "5/d",
            "nan@5",
            "inf@5",
        ]
        .into_iter()
        .map(|text| format!("{text} => {}", text.parse::<Profile>().unwrap_err()))
        .collect();
        insta::assert_snapshot!(wrong.join("\n"));
    }

    #[test]
    fn points_are_joined_by_lines() {
        let profile = Profile::of_points(&[(0.0, 5.0), (60.0, 50.0), (90.0, 50.0)]).unwrap();
        assert_eq!(profile.to_string(), "5..50@60,50@30");
        let late = Profile::of_points(&[(10.0, 5.0), (60.0, 50.0)]).unwrap();
        assert_eq!(late.to_string(), "0@10,5..50@50");
        for (points, want) in [
            (vec![(0.0, 5.0)], ProfileError::FewPoints(1)),
            (vec![(0.0, 5.0), (0.0, 6.0)], ProfileError::Time { nth: 2 }),
            (vec![(-1.0, 5.0), (0.0, 6.0)], ProfileError::Time { nth: 1 }),
            (vec![(0.0, 0.0), (9.0, 0.0)], ProfileError::NoArrivals),
        ] {
            assert_eq!(Profile::of_points(&points).unwrap_err(), want);
        }
        assert!(Profile::of_points(&[(0.0, 1.0), (1.0, f64::NAN)]).is_err());
    }

    #[test]
    fn gaps_are_read() {
        assert_eq!("gamma:2".parse(), Ok(Gaps::Gamma { shape: 2.0 }));
        assert_eq!("gamma:inf".parse(), Ok(Gaps::Constant));
        for bad in [
            "gamma:0",
            "gamma:-1",
            "gamma:x",
            "gamma",
            "even",
            "gamma:nan",
        ] {
            assert!(bad.parse::<Gaps>().is_err(), "{bad}");
        }
    }
}
