//! Owns the latency model: how long a request waits for its first token, the gaps between its
//! tokens, and their number.
//!
//! It must not know about sockets, JSON or faults. Everything here is a pure function of the
//! profile and the request's sequence number, so that runs are reproducible.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, Normal};

use crate::error::SimError;
use crate::seed::seeded;
use crate::service::{BatchItl, HIGHEST_CV, LONGEST_MS, Service};

/// How the gaps between tokens vary around their mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Spread {
    /// Every gap equals the mean.
    #[default]
    Constant,
    /// Normally distributed; a negative draw counts as no gap, which lifts the mean noticeably
    /// only for a `cv` above 0.5.
    Normal {
        /// Standard deviation divided by the mean.
        cv: f64,
    },
    /// Log-normally distributed: never negative, with a tail to the right.
    LogNormal {
        /// Standard deviation divided by the mean.
        cv: f64,
    },
}

/// The kind of a [`Spread`], without its width: the value of `--itl-dist`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpreadKind {
    /// See [`Spread::Constant`].
    #[default]
    Constant,
    /// See [`Spread::Normal`].
    Normal,
    /// See [`Spread::LogNormal`].
    LogNormal,
}

impl SpreadKind {
    /// The spread of this kind with the given coefficient of variation.
    #[must_use]
    pub fn with_cv(self, cv: f64) -> Spread {
        match self {
            SpreadKind::Constant => Spread::Constant,
            SpreadKind::Normal => Spread::Normal { cv },
            SpreadKind::LogNormal => Spread::LogNormal { cv },
        }
    }
}

impl FromStr for SpreadKind {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        match text {
            "constant" => Ok(SpreadKind::Constant),
            "normal" => Ok(SpreadKind::Normal),
            "log-normal" => Ok(SpreadKind::LogNormal),
            _ => Err(SimError::Spread {
                got: text.to_owned(),
            }),
        }
    }
}

impl std::fmt::Display for SpreadKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SpreadKind::Constant => "constant",
            SpreadKind::Normal => "normal",
            SpreadKind::LogNormal => "log-normal",
        })
    }
}

/// What decides when the tokens of a request are due.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Timing {
    /// The latencies of the profile, for each request as if it were alone.
    #[default]
    Latencies,
    /// The service time of the whole request is drawn, so that the utilisation is known: arrival
    /// rate × mean service time / slots. The last token is due at its end, and the latencies of
    /// the profile are stretched to fit; without any, all tokens have equal shares.
    Service(Service),
    /// Continuous batching: all running requests get their next token at the end of the same step.
    /// A step prefills the prompt of at most one waiting request, which then belongs to the batch,
    /// and decodes: `prompt_tokens / prefill_tokens_per_s + ` [`BatchItl::step`]. A request joins
    /// the queue `ttft_ms` after it was read.
    Batch(BatchItl),
}

/// How much slower the server is after each minute; 0.1 is 10 % of its speed at the start.
/// Written `10%/min`; the other units are `s` and `h`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Drift {
    /// What is added to all times per minute since the first request, as a share of them.
    pub per_min: f64,
}

impl FromStr for Drift {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let drift = text.split_once("%/").and_then(|(percent, unit)| {
            let percent = percent.parse::<f64>().ok()?;
            let per_min = match unit {
                "s" => percent * 60.0,
                "min" | "m" => percent,
                "h" => percent / 60.0,
                _ => return None,
            } / 100.0;
            (0.0..=HIGHEST_DRIFT).contains(&per_min).then_some(per_min)
        });
        match drift {
            Some(per_min) => Ok(Drift { per_min }),
            None => Err(SimError::Drift {
                got: text.to_owned(),
            }),
        }
    }
}

/// The highest drift per minute: 100 times as slow after one minute.
const HIGHEST_DRIFT: f64 = 100.0;

/// The latency model of the simulated server.
///
/// `time to first token = ttft_ms + prompt_tokens / prefill_tokens_per_s`, then one token per gap,
/// unless [`Profile::timing`] says otherwise. The default profile has no latency: the server
/// responds as fast as it can.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The part of the time to first token that does not depend on the prompt, in milliseconds.
    pub ttft_ms: f64,
    /// Prefill speed in prompt tokens per second; 0 means that the prompt costs nothing.
    pub prefill_tokens_per_s: f64,
    /// What the gap between the first and the second token has on top, in milliseconds: the hand-off of
    /// a request from a prefill server to a decode server. [`Timing::Batch`] has none.
    pub pd_handoff_ms: f64,
    /// Mean gap between two tokens of one request, in milliseconds.
    pub itl_ms: f64,
    /// How the gaps vary around their mean.
    pub spread: Spread,
    /// What decides when tokens are due.
    pub timing: Timing,
    /// How the server slows down.
    pub drift: Drift,
    /// Number of requests served at once; others wait in order of arrival. `None` serves all at
    /// once.
    pub slots: Option<NonZeroUsize>,
    /// Every response has exactly this many tokens, whatever the request asks for.
    pub output_tokens: Option<u32>,
    /// Number of tokens of a response if the request does not say.
    pub default_output_tokens: u32,
    /// Seed for everything random: gaps and the requests affected by faults.
    pub seed: u64,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            ttft_ms: 0.0,
            prefill_tokens_per_s: 0.0,
            pd_handoff_ms: 0.0,
            itl_ms: 0.0,
            spread: Spread::Constant,
            timing: Timing::Latencies,
            drift: Drift::default(),
            slots: None,
            output_tokens: None,
            default_output_tokens: 128,
            seed: 0,
        }
    }
}

impl Profile {
    /// Check that every number is in range.
    ///
    /// # Errors
    /// [`SimError::Profile`] with the name, the value and the allowed range.
    pub fn check(&self) -> Result<(), SimError> {
        let in_range = |name: &'static str, got: f64, highest: f64, unit: &'static str| {
            if got.is_finite() && (0.0..=highest).contains(&got) {
                Ok(())
            } else {
                Err(SimError::Profile {
                    name,
                    got,
                    highest,
                    unit,
                })
            }
        };
        in_range("ttft-ms", self.ttft_ms, LONGEST_MS, "milliseconds")?;
        in_range(
            "prefill-tok-s",
            self.prefill_tokens_per_s,
            1e12,
            "tokens per second",
        )?;
        let handoff = self.pd_handoff_ms;
        in_range("pd-handoff-ms", handoff, LONGEST_MS, "milliseconds")?;
        in_range("itl-ms", self.itl_ms, LONGEST_MS, "milliseconds")?;
        match self.spread {
            Spread::Constant => {}
            Spread::Normal { cv } | Spread::LogNormal { cv } => {
                in_range("itl-cv", cv, HIGHEST_CV, "standard deviation / mean")?;
            }
        }
        match self.timing {
            Timing::Latencies => {}
            Timing::Service(Service { mean_ms, spread }) => {
                in_range("service-ms", mean_ms, LONGEST_MS, "milliseconds")?;
                let unit = "standard deviation / mean";
                in_range("CV of service-dist", spread.cv(), HIGHEST_CV, unit)?;
            }
            Timing::Batch(itl) => {
                in_range("T0 of batch-itl", itl.step_ms, LONGEST_MS, "milliseconds")?;
                let each = itl.step_ms_per_request;
                in_range("T1 of batch-itl", each, LONGEST_MS, "milliseconds")?;
            }
        }
        let drift = self.drift.per_min;
        in_range("drift", drift, HIGHEST_DRIFT, "share per minute")
    }

    /// Whether the first token is later than the request.
    #[must_use]
    pub fn waits_for_first_token(&self) -> bool {
        self.timing != Timing::Latencies || self.ttft_ms > 0.0 || self.prefill_tokens_per_s > 0.0
    }

    /// Whether all tokens after the first are due together with it.
    #[must_use]
    pub fn sends_at_once(&self) -> bool {
        self.timing == Timing::Latencies && self.itl_ms <= 0.0 && self.pd_handoff_ms <= 0.0
    }

    /// How long the prefill of a prompt takes.
    #[must_use]
    pub fn prefill(&self, prompt_tokens: u64) -> Duration {
        if self.prefill_tokens_per_s <= 0.0 {
            return Duration::ZERO;
        }
        // A tiny prefill rate must not overflow the timer.
        let s = prompt_tokens as f64 / self.prefill_tokens_per_s;
        Duration::from_secs_f64(s.min(LONGEST_MS / 1e3))
    }

    /// From the start of service to the first token.
    #[must_use]
    pub fn time_to_first_token(&self, prompt_tokens: u64) -> Duration {
        Duration::from_secs_f64(self.ttft_ms / 1e3) + self.prefill(prompt_tokens)
    }

    /// How many tokens each choice of the response has, and whether it ends because of its length
    /// (rather than because the model stopped), if the request allows `asked` tokens.
    #[must_use]
    pub fn output_length(&self, asked: Option<u32>) -> (u32, bool) {
        let tokens = self
            .output_tokens
            .or(asked)
            .unwrap_or(self.default_output_tokens);
        (tokens, asked.is_some_and(|limit| tokens >= limit))
    }

    /// The gaps between the tokens of request number `sequence`.
    #[must_use]
    pub fn gaps(&self, sequence: u64) -> Gaps {
        let mean = Duration::from_secs_f64(self.itl_ms / 1e3);
        let draw = match self.spread {
            _ if mean.is_zero() => Draw::Constant,
            Spread::Constant => Draw::Constant,
            Spread::Normal { cv } => Draw::Normal(
                Normal::from_mean_cv(self.itl_ms, cv).expect("the profile was checked"),
                Box::new(seeded(self.seed, sequence)),
            ),
            Spread::LogNormal { cv } => Draw::LogNormal(
                LogNormal::from_mean_cv(self.itl_ms, cv).expect("the profile was checked"),
                Box::new(seeded(self.seed, sequence)),
            ),
        };
        Gaps { mean, draw }
    }
}

#[derive(Debug)]
enum Draw {
    Constant,
    Normal(Normal<f64>, Box<ChaCha8Rng>),
    LogNormal(LogNormal<f64>, Box<ChaCha8Rng>),
}

/// An endless sequence of gaps between tokens; see [`Profile::gaps`].
#[derive(Debug)]
pub struct Gaps {
    mean: Duration,
    draw: Draw,
}

impl Gaps {
    /// Gaps that are all the same.
    pub(crate) fn even(mean: Duration) -> Self {
        let draw = Draw::Constant;
        Gaps { mean, draw }
    }

    /// The gap to the next token.
    pub fn draw(&mut self) -> Duration {
        let ms = match &mut self.draw {
            Draw::Constant => return self.mean,
            Draw::Normal(normal, generator) => normal.sample(generator),
            Draw::LogNormal(normal, generator) => normal.sample(generator),
        };
        Duration::from_secs_f64(ms.clamp(0.0, LONGEST_MS) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ServiceSpread;

    fn profile(spread: Spread) -> Profile {
        Profile {
            itl_ms: 10.0,
            spread,
            seed: 7,
            ..Profile::default()
        }
    }

    #[test]
    fn gaps_repeat_for_the_same_seed_and_sequence() {
        let profile = profile(Spread::LogNormal { cv: 0.4 });
        let draw = |sequence| {
            let mut gaps = profile.gaps(sequence);
            (0..50).map(|_| gaps.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let other = Profile {
            seed: 8,
            ..profile.clone()
        };
        assert_ne!(draw(3)[0], other.gaps(3).draw());
    }

    #[test]
    fn gaps_have_the_mean_and_width_asked_for() {
        for spread in [Spread::Normal { cv: 0.2 }, Spread::LogNormal { cv: 0.2 }] {
            let mut gaps = profile(spread).gaps(1);
            let drawn: Vec<f64> = (0..40_000)
                .map(|_| gaps.draw().as_secs_f64() * 1e3)
                .collect();
            let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
            let variance =
                drawn.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
            assert!((mean - 10.0).abs() < 0.05, "{spread:?}: mean {mean}");
            assert!(
                (variance.sqrt() - 2.0).abs() < 0.05,
                "{spread:?}: sd {}",
                variance.sqrt()
            );
        }
    }

    #[test]
    fn constant_gaps_are_exact() {
        let mut gaps = profile(Spread::Constant).gaps(1);
        assert_eq!([gaps.draw(), gaps.draw()], [Duration::from_millis(10); 2]);
    }

    #[test]
    fn first_token_time_grows_with_the_prompt() {
        let profile = Profile {
            ttft_ms: 50.0,
            prefill_tokens_per_s: 20_000.0,
            ..Profile::default()
        };
        assert_eq!(
            profile.time_to_first_token(2000),
            Duration::from_millis(150)
        );
        let free = Profile {
            prefill_tokens_per_s: 0.0,
            ..profile
        };
        assert_eq!(free.time_to_first_token(2000), Duration::from_millis(50));
    }

    #[test]
    fn output_length_follows_the_request_unless_fixed() {
        let follows = Profile::default();
        assert_eq!(follows.output_length(Some(5)), (5, true));
        assert_eq!(follows.output_length(None), (128, false));
        let fixed = Profile {
            output_tokens: Some(9),
            ..Profile::default()
        };
        assert_eq!(fixed.output_length(Some(20)), (9, false));
        assert_eq!(fixed.output_length(Some(9)), (9, true));
        assert_eq!(fixed.output_length(None), (9, false));
    }

    #[test]
    fn unusable_numbers_are_named() {
        let profile = Profile {
            itl_ms: -1.0,
            ..Profile::default()
        };
        let message = profile.check().expect_err("negative").to_string();
        assert!(
            message.contains("itl-ms") && message.contains("-1"),
            "{message}"
        );
        let profile = Profile {
            timing: Timing::Service(Service {
                mean_ms: f64::NAN,
                spread: ServiceSpread::Constant,
            }),
            ..Profile::default()
        };
        let message = profile.check().expect_err("not a number").to_string();
        assert!(message.contains("service-ms is NaN"), "{message}");
    }

    #[test]
    fn a_drift_has_a_unit() {
        for (text, per_min) in [("10%/min", 0.1), ("1%/s", 0.6), ("60%/h", 0.01)] {
            let drift: Drift = text.parse().expect("a drift");
            assert!((drift.per_min - per_min).abs() < 1e-12, "{text}");
        }
        for text in ["10", "10%", "10%/day", "-1%/min", "x%/min", "1e9%/s"] {
            let message = text.parse::<Drift>().expect_err(text).to_string();
            assert!(message.contains("10%/min"), "{message}");
        }
    }
}
