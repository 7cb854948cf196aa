//! Owns how long requests keep a slot busy when that is drawn for a whole request, and how long a
//! step of a continuous batch takes.
//!
//! It must not know when a request is served or what its tokens are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution, Exp1, Gamma, LogNormal};

use crate::error::SimError;
use crate::seed::seeded;

/// How the service times of whole requests vary around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ServiceSpread {
    /// Every request takes the mean.
    #[default]
    Constant,
    /// Exponential: the standard deviation equals the mean.
    Exponential,
    /// Log-normal.
    LogNormal {
        /// Standard deviation divided by the mean.
        cv: f64,
    },
    /// Gamma.
    Gamma {
        /// Standard deviation divided by the mean.
        cv: f64,
    },
}

/// The highest coefficient of variation.
pub(crate) const HIGHEST_CV: f64 = 10.0;

/// Below this coefficient of variation a gamma distribution counts as constant: its shape, the
/// inverse of the square, must stay finite.
const LOWEST_CV: f64 = 1e-6;

impl ServiceSpread {
    /// The coefficient of variation.
    #[must_use]
    pub fn cv(self) -> f64 {
        match self {
            ServiceSpread::Constant => 0.0,
            ServiceSpread::Exponential => 1.0,
            ServiceSpread::LogNormal { cv } | ServiceSpread::Gamma { cv } => cv,
        }
    }
}

impl FromStr for ServiceSpread {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let bad = || SimError::ServiceSpread {
            got: text.to_owned(),
        };
        let (name, cv) = match text.split_once(':') {
            None => (text, None),
            Some((name, cv)) => {
                let cv = cv.parse::<f64>().ok();
                let cv = cv.filter(|cv| (0.0..=HIGHEST_CV).contains(cv));
                (name, Some(cv.ok_or_else(bad)?))
            }
        };
        match (name, cv) {
            ("constant", None) => Ok(ServiceSpread::Constant),
            ("exp" | "exponential", None) => Ok(ServiceSpread::Exponential),
            ("lognormal" | "log-normal", Some(cv)) => Ok(ServiceSpread::LogNormal { cv }),
            ("gamma", Some(cv)) => Ok(ServiceSpread::Gamma { cv }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for ServiceSpread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceSpread::Constant => f.write_str("constant"),
            ServiceSpread::Exponential => f.write_str("exp"),
            ServiceSpread::LogNormal { cv } => write!(f, "lognormal:{cv}"),
            ServiceSpread::Gamma { cv } => write!(f, "gamma:{cv}"),
        }
    }
}

/// The service times of whole requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// Mean service time, in milliseconds.
    pub mean_ms: f64,
    /// How the service times vary around their mean.
    pub spread: ServiceSpread,
}

/// Different from the seeds of gaps and faults, so that all can use the sequence number as stream.
const SERVICE_SEED: u64 = 0x7365_7276_6963_6521;

impl Service {
    /// The service time of request number `sequence` (from 1). It depends on nothing else, so that
    /// the truth of a run can be computed without it.
    #[must_use]
    pub fn time(&self, seed: u64, sequence: u64) -> Duration {
        let mut generator = seeded(seed ^ SERVICE_SEED, sequence);
        let share: f64 = match self.spread {
            ServiceSpread::Constant => 1.0,
            ServiceSpread::Exponential => Exp1.sample(&mut generator),
            ServiceSpread::LogNormal { cv } => LogNormal::from_mean_cv(1.0, cv)
                .expect("the profile was checked")
                .sample(&mut generator),
            ServiceSpread::Gamma { cv } if cv < LOWEST_CV => 1.0,
            ServiceSpread::Gamma { cv } => Gamma::new(1.0 / (cv * cv), cv * cv)
                .expect("the profile was checked")
                .sample(&mut generator),
        };
        Duration::from_secs_f64((self.mean_ms * share).min(LONGEST_MS) / 1e3)
    }
}

/// Maximum latency in a profile, in milliseconds: one day. Far above any use, and far below an
/// overflow in the arithmetic of deadlines.
pub(crate) const LONGEST_MS: f64 = 86_400_000.0;

/// How long one step of a continuous batch takes, in which every running request gets a token:
/// `step_ms + step_ms_per_request × running requests`. Written `12,0.2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchItl {
    /// The part that does not depend on the number of requests, in milliseconds.
    pub step_ms: f64,
    /// The part for each running request, in milliseconds.
    pub step_ms_per_request: f64,
}

impl BatchItl {
    /// The length of a step with this many running requests.
    #[must_use]
    pub fn step(&self, running: usize) -> Duration {
        let ms = self.step_ms + self.step_ms_per_request * running as f64;
        Duration::from_secs_f64(ms.min(LONGEST_MS) / 1e3)
    }
}

impl FromStr for BatchItl {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let number = |text: &str| {
            let number = text.trim().parse::<f64>().ok();
            number.filter(|ms| (0.0..=LONGEST_MS).contains(ms))
        };
        text.split_once(',')
            .and_then(|(alone, each)| {
                Some(BatchItl {
                    step_ms: number(alone)?,
                    step_ms_per_request: number(each)?,
                })
            })
            .ok_or_else(|| SimError::BatchItl {
                got: text.to_owned(),
            })
    }
}

impl fmt::Display for BatchItl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.step_ms, self.step_ms_per_request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_times_have_the_mean_and_width_asked_for() {
        for (text, cv) in [("exp", 1.0), ("lognormal:0.5", 0.5), ("gamma:0.7", 0.7)] {
            let service = Service {
                mean_ms: 200.0,
                spread: text.parse().expect("a distribution"),
            };
            let drawn: Vec<f64> = (1..=10_000)
                .map(|sequence| service.time(3, sequence).as_secs_f64() * 1e3)
                .collect();
            let count = drawn.len() as f64;
            let mean = drawn.iter().sum::<f64>() / count;
            let variance = drawn.iter().map(|ms| (ms - mean).powi(2)).sum::<f64>() / count;
            assert!((mean / 200.0 - 1.0).abs() < 0.03, "{text}: mean {mean}");
            let got = variance.sqrt() / mean;
            assert!((got / cv - 1.0).abs() < 0.05, "{text}: cv {got}");
        }
    }

    #[test]
    fn a_service_time_depends_on_seed_and_number_alone() {
        let service = Service {
            mean_ms: 200.0,
            spread: ServiceSpread::Exponential,
        };
        assert_eq!(service.time(1, 7), service.time(1, 7));
        assert_ne!(service.time(1, 7), service.time(1, 8));
        assert_ne!(service.time(1, 7), service.time(2, 7));
        let constant = Service {
            spread: ServiceSpread::Constant,
            ..service
        };
        assert_eq!(constant.time(1, 7), Duration::from_millis(200));
        let hardly = Service {
            spread: ServiceSpread::Gamma { cv: 1e-200 },
            ..service
        };
        assert_eq!(hardly.time(1, 7), Duration::from_millis(200));
    }

    #[test]
    fn distributions_survive_printing_and_parsing() {
        for text in ["constant", "exp", "lognormal:1.2", "gamma:0.7"] {
            let spread: ServiceSpread = text.parse().expect("a distribution");
            assert_eq!(spread.to_string(), text);
        }
        for text in [
            "", "exp:1", "gamma", "gamma:", "gamma:-1", "gamma:11", "normal:1",
        ] {
            let message = text.parse::<ServiceSpread>().expect_err(text).to_string();
            assert!(message.contains("gamma:CV"), "{message}");
        }
    }

    #[test]
    fn steps_grow_with_the_batch() {
        let itl: BatchItl = "12,0.2".parse().expect("two times");
        assert_eq!(itl.step(64), Duration::from_micros(24_800));
        assert_eq!(itl.to_string(), "12,0.2");
        for text in ["12", "12,", ",1", "12,-1", "x,1", "1,2,3", "inf,1"] {
            let message = text.parse::<BatchItl>().expect_err(text).to_string();
            assert!(message.contains("T0,T1"), "{message}");
        }
    }
}
