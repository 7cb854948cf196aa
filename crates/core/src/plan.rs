//! Owns what a command asks for, once it is understood: a [`RunPlan`] is an
//! immutable list of [`RunSpec`]s, one for each point of a sweep.
//!
//! It must not know the command line, sockets or files, nor how a run is
//! carried out.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How requests are spaced in time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Pacing {
    /// A slot sends its next request at once when its last has ended.
    Unpaced,
    /// Arrivals of a Poisson process, fixed before the clock starts.
    Poisson {
        /// Mean arrivals per second; positive and finite.
        rate_per_s: f64,
    },
}

/// One load: everything the engine needs to know of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Name of the run, also of its folder in a sweep: `parallel_<P>_number_<N>`.
    pub name: String,
    /// Slots: the most requests in flight at a time.
    pub concurrency: NonZeroUsize,
    /// Measured requests to send.
    pub requests: u64,
    /// Spacing of the requests.
    pub pacing: Pacing,
    /// Requests sent first and left out of every figure.
    pub warmup_requests: u64,
    /// Stop dispatching this long after the first dispatch, seconds.
    pub duration_s: Option<f64>,
    /// Root of every random draw of this run.
    pub seed: u64,
    /// Prompts of the data set that earlier points of the sweep have used.
    pub dataset_offset: u64,
}

impl RunSpec {
    /// The dispatch deadline, counted from the first dispatch.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.duration_s.map(Duration::from_secs_f64)
    }
}

/// All runs of one command, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    runs: Vec<RunSpec>,
    /// Pause between two runs, seconds.
    sleep_interval_s: f64,
}

impl RunPlan {
    /// The runs, in order; never empty.
    #[must_use]
    pub fn runs(&self) -> &[RunSpec] {
        &self.runs
    }

    /// Pause between two runs.
    #[must_use]
    pub fn sleep_interval(&self) -> Duration {
        Duration::from_secs_f64(self.sleep_interval_s)
    }
}

/// How many warm-up requests to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// This many.
    Count(u64),
    /// This share of the measured number, at least one.
    Share(f64),
}

impl Warmup {
    /// Warm-up requests for `requests` measured ones.
    ///
    /// ```
    /// use evalscope_core::plan::Warmup;
    /// assert_eq!(Warmup::Count(5).of(100), 5);
    /// assert_eq!(Warmup::Share(0.1).of(100), 10);
    /// assert_eq!(Warmup::Share(0.001).of(100), 1);
    /// ```
    #[must_use]
    pub fn of(self, requests: u64) -> u64 {
        match self {
            Self::Count(n) => n,
            Self::Share(share) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of a u64 is a non-negative number below it"
                )]
                let n = (share * requests as f64) as u64;
                n.max(1)
            }
        }
    }
}

/// The loads of a sweep as they were asked for: lists that go together.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// `--parallel`.
    pub parallel: Vec<NonZeroUsize>,
    /// `--number`; `None` when it was not given.
    pub number: Option<Vec<u64>>,
    /// `--rate`; −1 for no pacing.
    pub rate: Vec<f64>,
    /// `--warmup-num`.
    pub warmup: Warmup,
    /// `--duration`, seconds.
    pub duration_s: Option<f64>,
    /// `--sleep-interval`, seconds.
    pub sleep_interval_s: f64,
    /// `--seed`.
    pub seed: u64,
    /// `--repeat-prompts`: every run begins at the first prompt.
    pub repeat_prompts: bool,
}

/// Requests per run when nobody says how many.
pub const DEFAULT_REQUESTS: u64 = 1000;

/// Why the lists of a sweep do not make a plan.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// Two lists that go together have different lengths.
    #[error("`{left_flag}` has {left_len} ({left}) but `{right_flag}` has {right_len} ({right})",
        left_len = counted(left), right_len = right.split(' ').count())]
    Lengths {
        /// The first flag.
        left_flag: &'static str,
        /// Its values.
        left: String,
        /// The second flag.
        right_flag: &'static str,
        /// Its values.
        right: String,
    },
    /// A rate that is neither −1 nor positive.
    #[error("`--rate {0}` is not a rate: give requests per second above 0, or -1 for no pacing")]
    Rate(f64),
    /// A run of no requests.
    #[error("`--number 0` sends nothing: give at least 1")]
    NoRequests,
    /// The same load twice would write into the same folder.
    #[error(
        "the sweep has the point parallel {parallel}, number {number} twice: each point has its own folder"
    )]
    Twice {
        /// Its concurrency.
        parallel: usize,
        /// Its number of requests.
        number: u64,
    },
}

impl Sweep {
    /// Expand the lists into runs.
    ///
    /// # Errors
    /// When lists that go together differ in length, or a value makes no run.
    pub fn expand(self) -> Result<RunPlan, PlanError> {
        let n = self.parallel.len();
        let number = match self.number {
            None => vec![DEFAULT_REQUESTS; n],
            Some(number) if number.len() == n => number,
            Some(number) => {
                return Err(PlanError::Lengths {
                    left_flag: "--parallel",
                    left: spaced(&self.parallel),
                    right_flag: "--number",
                    right: spaced(&number),
                });
            }
        };
        let rate = if self.rate.len() == 1 {
            vec![self.rate[0]; n]
        } else if self.rate.len() == n {
            self.rate
        } else {
            return Err(PlanError::Lengths {
                left_flag: "--parallel",
                left: spaced(&self.parallel),
                right_flag: "--rate",
                right: spaced(&self.rate),
            });
        };
        let mut runs: Vec<RunSpec> = Vec::with_capacity(n);
        let mut dataset_offset = 0;
        for ((concurrency, requests), rate) in self.parallel.into_iter().zip(number).zip(rate) {
            if requests == 0 {
                return Err(PlanError::NoRequests);
            }
            let pacing = if rate > 0.0 && rate.is_finite() {
                Pacing::Poisson { rate_per_s: rate }
            } else if (rate + 1.0).abs() < f64::EPSILON {
                Pacing::Unpaced
            } else {
                return Err(PlanError::Rate(rate));
            };
            let name = format!("parallel_{concurrency}_number_{requests}");
            if runs.iter().any(|run| run.name == name) {
                return Err(PlanError::Twice {
                    parallel: concurrency.get(),
                    number: requests,
                });
            }
            let warmup_requests = self.warmup.of(requests);
            runs.push(RunSpec {
                name,
                concurrency,
                requests,
                pacing,
                warmup_requests,
                duration_s: self.duration_s,
                seed: self.seed,
                dataset_offset,
            });
            if !self.repeat_prompts {
                dataset_offset += requests + warmup_requests;
            }
        }
        Ok(RunPlan {
            runs,
            sleep_interval_s: self.sleep_interval_s,
        })
    }
}

/// Derive the seed of one purpose from the run's seed, so that adding a
/// consumer of randomness never changes what another one draws.
///
/// FNV-1a over the purpose's name and the seed, finished with the mixer of
/// `SplitMix64` (Steele, Lea & Flood 2014).
#[must_use]
pub fn sub_seed(seed: u64, purpose: &str) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in purpose.bytes().chain(seed.to_le_bytes()) {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 30;
    hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= hash >> 27;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// How many values stand in a list.
fn counted(list: &str) -> String {
    match list.split(' ').count() {
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    }
}

fn spaced<T: ToString>(values: &[T]) -> String {
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(parallel: &[usize], number: Option<&[u64]>) -> Sweep {
        Sweep {
            parallel: parallel
                .iter()
                .map(|&p| NonZeroUsize::new(p).unwrap())
                .collect(),
            number: number.map(<[u64]>::to_vec),
            rate: vec![-1.0],
            warmup: Warmup::Count(0),
            duration_s: None,
            sleep_interval_s: 5.0,
            seed: 0,
            repeat_prompts: false,
        }
    }

    #[test]
    fn points_of_a_sweep_share_no_prompt() {
        let plan = sweep(&[1, 10, 50], Some(&[10, 20, 100])).expand().unwrap();
        let offsets: Vec<_> = plan.runs().iter().map(|r| r.dataset_offset).collect();
        assert_eq!(offsets, [0, 10, 30]);
        assert_eq!(plan.runs()[1].name, "parallel_10_number_20");
    }

    #[test]
    fn unless_they_are_to_repeat_them() {
        let mut sweep = sweep(&[1, 10], Some(&[10, 20]));
        sweep.repeat_prompts = true;
        let plan = sweep.expand().unwrap();
        assert!(plan.runs().iter().all(|run| run.dataset_offset == 0));
    }

    #[test]
    fn lists_of_different_lengths_show_both() {
        let error = sweep(&[1, 10, 50], Some(&[10, 20])).expand().unwrap_err();
        insta::assert_snapshot!(error, @"`--parallel` has 3 values (1 10 50) but `--number` has 2 (10 20)");
        let error = sweep(&[1], Some(&[10, 20])).expand().unwrap_err();
        insta::assert_snapshot!(error, @"`--parallel` has 1 value (1) but `--number` has 2 (10 20)");
    }

    #[test]
    fn a_default_number_serves_every_point() {
        let plan = sweep(&[1, 2], None).expand().unwrap();
        assert!(plan.runs().iter().all(|r| r.requests == DEFAULT_REQUESTS));
    }

    #[test]
    fn rates_are_checked() {
        for bad in [0.0, -2.0, f64::NAN, f64::INFINITY] {
            let mut sweep = sweep(&[1], None);
            sweep.rate = vec![bad];
            assert!(matches!(sweep.expand(), Err(PlanError::Rate(_))));
        }
    }

    #[test]
    fn a_plan_survives_json() {
        let plan = sweep(&[1, 2], Some(&[3, 4])).expand().unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<RunPlan>(&text).unwrap(), plan);
    }

    #[test]
    fn sub_seeds_differ_by_purpose_and_seed() {
        assert_ne!(sub_seed(0, "arrivals"), sub_seed(0, "max_tokens"));
        assert_ne!(sub_seed(0, "arrivals"), sub_seed(1, "arrivals"));
        assert_eq!(sub_seed(7, "arrivals"), sub_seed(7, "arrivals"));
    }
}
