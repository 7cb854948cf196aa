//! Owns the pieces of a profile: how many arrivals one has, and when.
//!
//! It must not know how a profile is written, nor what comes before or after a piece.

use std::fmt;

/// How a rate gets from one value to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// By the same amount each second.
    Linear,
    /// By the same factor each second.
    Exponential,
}

/// A piece of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Segment {
    /// A rate for some time.
    Rate {
        /// At its start; 0 or more, finite.
        from_per_s: f64,
        /// At its end.
        to_per_s: f64,
        /// Its length, positive.
        span_s: f64,
        /// The way between the two.
        curve: Curve,
    },
    /// Arrivals at one moment.
    Burst {
        /// How many; at least one.
        requests: u64,
    },
}

impl Segment {
    /// Its length, seconds.
    #[must_use]
    pub fn span_s(&self) -> f64 {
        match self {
            Self::Rate { span_s, .. } => *span_s,
            Self::Burst { .. } => 0.0,
        }
    }

    /// The same with a share of its arrivals; a burst has at least one.
    #[must_use]
    pub fn divided(self, by: u32) -> Self {
        match self {
            Self::Rate {
                from_per_s,
                to_per_s,
                span_s,
                curve,
            } => Self::Rate {
                from_per_s: from_per_s / f64::from(by),
                to_per_s: to_per_s / f64::from(by),
                span_s,
                curve,
            },
            Self::Burst { requests } => Self::Burst {
                requests: (requests / u64::from(by)).max(1),
            },
        }
    }

    /// The rate, where it does not change; `None` also for a pause.
    #[must_use]
    pub fn constant_per_s(&self) -> Option<f64> {
        match *self {
            Self::Rate {
                from_per_s,
                to_per_s,
                ..
            } if from_per_s.total_cmp(&to_per_s).is_eq() && from_per_s > 0.0 => Some(from_per_s),
            _ => None,
        }
    }

    /// Λ of the rate from its start until `seconds` later; bursts are not part of it.
    #[must_use]
    pub fn amount_after(&self, seconds: f64) -> f64 {
        let Self::Rate {
            from_per_s: a,
            to_per_s: b,
            span_s,
            curve,
        } = *self
        else {
            return 0.0;
        };
        match curve {
            Curve::Exponential if a.total_cmp(&b).is_ne() => {
                let growth = (b / a).ln() / span_s;
                a * (growth * seconds).exp_m1() / growth
            }
            _ => a * seconds + (b - a) * seconds * seconds / (2.0 * span_s),
        }
    }

    /// Λ of the whole segment.
    #[must_use]
    pub fn amount(&self) -> f64 {
        self.amount_after(self.span_s())
    }

    /// The inverse of [`Self::amount_after`], for an amount below [`Self::amount`].
    #[must_use]
    pub fn seconds_at(&self, amount: f64) -> f64 {
        let Self::Rate {
            from_per_s: a,
            to_per_s: b,
            span_s,
            curve,
        } = *self
        else {
            return 0.0;
        };
        if amount <= 0.0 {
            return 0.0;
        }
        let seconds = match curve {
            Curve::Exponential if a.total_cmp(&b).is_ne() => {
                let growth = (b / a).ln() / span_s;
                (growth * amount / a).ln_1p() / growth
            }
            // stable for a = 0, for b < a and for a = b
            _ => 2.0 * amount / (a + (a * a + 2.0 * (b - a) * amount / span_s).max(0.0).sqrt()),
        };
        seconds.min(span_s)
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Burst { requests } => write!(f, "+{requests}"),
            Self::Rate {
                from_per_s,
                to_per_s,
                span_s,
                curve,
            } => {
                write!(f, "{from_per_s}")?;
                if from_per_s.total_cmp(&to_per_s).is_ne() {
                    write!(f, "..{to_per_s}")?;
                }
                write!(f, "@{span_s}")?;
                match curve {
                    Curve::Linear => Ok(()),
                    Curve::Exponential => f.write_str(":exp"),
                }
            }
        }
    }
}
