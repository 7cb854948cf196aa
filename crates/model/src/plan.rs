//! Owns what a command asks for, once it is understood: a [`RunPlan`] is an
//! immutable list of [`RunSpec`]s, one for each point of a sweep.
//!
//! It must not know the command line, sockets or files, nor how a run is
//! carried out.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::point::PointId;
use crate::profile::{Gaps, Profile, Schedule};

/// How requests are spaced in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Pacing {
    /// The next request is sent at once when one has ended.
    Unpaced,
    /// Requests have moments of their own, fixed before the clock starts.
    #[serde(alias = "poisson")]
    Arrivals(Schedule),
}

impl Pacing {
    /// The schedule; `None` without pacing.
    #[must_use]
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Unpaced => None,
            Self::Arrivals(schedule) => Some(schedule),
        }
    }

    /// Mean arrivals per second; `None` without pacing.
    #[must_use]
    pub fn rate_per_s(&self) -> Option<f64> {
        Some(self.schedule()?.profile.mean_per_s())
    }
}

/// What happens to a request that is due when as many are in flight as may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It waits, in order, until another one has ended.
    #[default]
    Wait,
    /// It is not sent, and counts as shed.
    Drop,
    /// The run ends; requests in flight may end.
    Stop,
}

/// Why a load ended before its number, its time and its profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// As many requests were in flight as may be (`--when-full stop`).
    InFlightCap,
    /// The server did not keep up (`--stop-when-saturated`).
    Saturated,
}

impl StoppedBy {
    /// Its name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlightCap => "in_flight_cap",
            Self::Saturated => "saturated",
        }
    }

    /// Read a name as written by [`Self::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::InFlightCap, Self::Saturated]
            .into_iter()
            .find(|why| why.as_str() == name)
    }
}

/// The limits of a load without a limit on concurrency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenLoop {
    /// The most requests in flight (`--max-in-flight`); `None`: as many as the machine can hold.
    pub max_in_flight: Option<NonZeroUsize>,
    /// What happens to requests that are due then.
    pub when_full: WhenFull,
    /// The run ends when the server is found not to keep up.
    pub stop_when_saturated: bool,
}

/// One load: everything the engine needs to know of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Which point of its command it is.
    #[serde(flatten)]
    pub point: PointId,
    /// The most requests in flight at a time; `None`: an open loop, which needs a schedule.
    pub concurrency: Option<NonZeroUsize>,
    /// What holds for an open loop.
    #[serde(default)]
    pub open_loop: OpenLoop,
    /// Measured requests to send; `None`: as many as the duration has time for.
    pub requests: Option<u64>,
    /// Spacing of the requests.
    pub pacing: Pacing,
    /// Requests sent first and left out of every figure.
    pub warmup_requests: u64,
    /// Stop dispatching this long after the first dispatch, seconds.
    pub duration_s: Option<f64>,
    /// How long requests in flight may go on after the last dispatch, seconds; `None`: as long as
    /// they take.
    #[serde(default)]
    pub drain_timeout_s: Option<f64>,
    /// Root of every random draw of this run.
    pub seed: u64,
    /// Prompts of the dataset that earlier points of the sweep have used.
    pub dataset_offset: u64,
}

impl RunSpec {
    /// The dispatch deadline, counted from the first dispatch.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.duration_s.map(Duration::from_secs_f64)
    }

    /// Requests never wait for the responses to others: the schedule alone decides when they start.
    #[must_use]
    pub fn is_open_loop(&self) -> bool {
        self.concurrency.is_none()
    }

    /// How long requests in flight may go on after the last dispatch.
    #[must_use]
    pub fn drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout_s.map(Duration::from_secs_f64)
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
    /// Warm-up requests for `requests` measured ones; `None`: a share of no number.
    ///
    /// ```
    /// use evalscope_model::plan::Warmup;
    /// assert_eq!(Warmup::Count(5).of(Some(100)), Some(5));
    /// assert_eq!(Warmup::Share(0.1).of(Some(100)), Some(10));
    /// assert_eq!(Warmup::Share(0.001).of(Some(100)), Some(1));
    /// assert_eq!(Warmup::Share(0.1).of(None), None);
    /// ```
    #[must_use]
    pub fn of(self, requests: Option<u64>) -> Option<u64> {
        match (self, requests) {
            (Self::Count(n), _) => Some(n),
            (Self::Share(_), None) => None,
            (Self::Share(share), Some(requests)) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of a u64 is a non-negative number below it"
                )]
                let n = (share * requests as f64) as u64;
                Some(n.max(1))
            }
        }
    }
}

/// The loads of a sweep as they were asked for: lists that go together. A list of one value holds
/// for every point.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// `--parallel`; `None` when it was not given.
    pub parallel: Option<Vec<NonZeroUsize>>,
    /// `--number`; `None` when it was not given.
    pub number: Option<Vec<u64>>,
    /// Requests when `--number` was not given; without a duration that is [`DEFAULT_REQUESTS`].
    pub whole: Option<u64>,
    /// `--rate`; `None` for no pacing.
    pub rate: Vec<Option<Profile>>,
    /// `--arrivals`.
    pub gaps: Gaps,
    /// The limits of runs without a limit on concurrency.
    pub open_loop: OpenLoop,
    /// `--drain-timeout`, seconds.
    pub drain_timeout_s: Option<f64>,
    /// `--warmup-num`.
    pub warmup: Warmup,
    /// `--duration`, seconds.
    pub duration_s: Option<f64>,
    /// `--sleep-interval`, seconds.
    pub sleep_interval_s: f64,
    /// `--seed`.
    pub seed: u64,
    /// `--dataset-offset`: prompts of the dataset that no run takes.
    pub dataset_offset: u64,
    /// `--repeat-prompts`: every run begins at the first prompt.
    pub repeat_prompts: bool,
}

/// How long requests of an open loop may go on after the last dispatch, unless somebody says so,
/// seconds.
pub const OPEN_LOOP_DRAIN_S: f64 = 30.0;

/// Requests per run when nobody says how many, nor for how long.
pub const DEFAULT_REQUESTS: u64 = 1000;

/// Why the lists of a sweep do not make a plan.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// Two lists that go together have different lengths, and neither is a single value.
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
    /// A run of no requests.
    #[error("`--number 0` sends nothing: give at least 1")]
    NoRequests,
    /// A share of a number that nobody has given.
    #[error("`--warmup-num {0}` is a share of `--number`, which is not given")]
    ShareOfNothing(f64),
}

impl Sweep {
    /// Expand the lists into runs.
    ///
    /// # Errors
    /// When lists that go together differ in length, or a value makes no run.
    pub fn expand(self) -> Result<RunPlan, PlanError> {
        let points = self.points()?;
        let several_rates = self.rate.len() > 1;
        let mut runs: Vec<RunSpec> = Vec::with_capacity(points);
        let mut dataset_offset = self.dataset_offset;
        for i in 0..points {
            let pacing = match at(&self.rate, i) {
                None => Pacing::Unpaced,
                Some(profile) => Pacing::Arrivals(Schedule {
                    profile: profile.clone(),
                    gaps: self.gaps,
                }),
            };
            let concurrency = match (&self.parallel, &pacing) {
                (Some(parallel), _) => Some(*at(parallel, i)),
                (None, Pacing::Unpaced) => Some(NonZeroUsize::MIN),
                (None, Pacing::Arrivals(_)) => None,
            };
            let profile_ends = pacing
                .schedule()
                .is_some_and(|schedule| schedule.profile.span_s().is_some());
            let requests = match (&self.number, self.whole, self.duration_s) {
                (Some(number), ..) => Some(*at(number, i)),
                (None, Some(whole), _) => Some(whole),
                (None, None, Some(_)) => None,
                (None, None, None) if profile_ends => None,
                (None, None, None) => Some(DEFAULT_REQUESTS),
            };
            if requests == Some(0) {
                return Err(PlanError::NoRequests);
            }
            let warmup_requests = self.warmup.of(requests).ok_or(match self.warmup {
                Warmup::Share(share) => PlanError::ShareOfNothing(share),
                Warmup::Count(_) => PlanError::NoRequests,
            })?;
            let mut run = RunSpec {
                point: PointId::first(""),
                concurrency,
                open_loop: self.open_loop,
                requests,
                pacing,
                warmup_requests,
                duration_s: self.duration_s,
                drain_timeout_s: self
                    .drain_timeout_s
                    .or(concurrency.is_none().then_some(OPEN_LOOP_DRAIN_S)),
                seed: self.seed,
                dataset_offset,
            };
            let label = label_of(&run, several_rates, &runs);
            run.point = PointId::after(runs.iter().map(|run| &run.point), &label);
            runs.push(run);
            if !self.repeat_prompts {
                dataset_offset += requests.unwrap_or(0) + warmup_requests;
            }
        }
        Ok(RunPlan {
            runs,
            sleep_interval_s: self.sleep_interval_s,
        })
    }

    /// How many points the lists have: as many as the longest.
    fn points(&self) -> Result<usize, PlanError> {
        let mut lists = Vec::new();
        if let Some(parallel) = &self.parallel {
            lists.push(("--parallel", parallel.len(), spaced(parallel)));
        }
        if let Some(number) = &self.number {
            lists.push(("--number", number.len(), spaced(number)));
        }
        let rates: Vec<String> = self
            .rate
            .iter()
            .map(|rate| rate.as_ref().map_or("-1".to_owned(), Profile::to_string))
            .collect();
        lists.push(("--rate", rates.len(), spaced(&rates)));
        let mut long = lists.into_iter().filter(|(_, values, _)| *values != 1);
        let Some((left_flag, points, left)) = long.next() else {
            return Ok(1);
        };
        match long.find(|(_, values, _)| *values != points) {
            None => Ok(points),
            Some((right_flag, _, right)) => Err(PlanError::Lengths {
                left_flag,
                left,
                right_flag,
                right,
            }),
        }
    }
}

/// The value of a point; a single value is that of every one.
fn at<T>(values: &[T], point: usize) -> &T {
    values.get(point).unwrap_or(&values[0])
}

/// What people call a load.
fn label_of(run: &RunSpec, several_rates: bool, before: &[RunSpec]) -> String {
    let amount = match (run.requests, run.duration_s) {
        (Some(requests), _) => format!("number_{requests}"),
        (None, Some(duration)) => format!("duration_{duration}s"),
        (None, None) => "number_all".to_owned(),
    };
    let rate = run.pacing.schedule().map(|schedule| {
        let is_profile = |other: &&RunSpec| {
            let schedule = other.pacing.schedule();
            schedule.is_some_and(|schedule| schedule.profile.constant_per_s().is_none())
        };
        match schedule.profile.constant_per_s() {
            // as Python writes a float
            Some(rate_per_s) if rate_per_s.fract() == 0.0 => format!("rate_{rate_per_s:.1}"),
            Some(rate_per_s) => format!("rate_{rate_per_s}"),
            None => format!(
                "rate_profile{}",
                before.iter().filter(is_profile).count() + 1
            ),
        }
    });
    match (run.concurrency, rate) {
        (None, Some(rate)) => format!("{rate}_{amount}"),
        (None, None) => amount,
        (Some(slots), Some(rate)) if several_rates => format!("parallel_{slots}_{amount}_{rate}"),
        (Some(slots), _) => format!("parallel_{slots}_{amount}"),
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
    use crate::point::is_run_name;

    fn sweep(parallel: &[usize], number: Option<&[u64]>) -> Sweep {
        Sweep {
            parallel: Some(
                parallel
                    .iter()
                    .map(|&p| NonZeroUsize::new(p).unwrap())
                    .collect(),
            ),
            number: number.map(<[u64]>::to_vec),
            whole: None,
            rate: vec![None],
            gaps: Gaps::Poisson,
            open_loop: OpenLoop::default(),
            drain_timeout_s: None,
            warmup: Warmup::Count(0),
            duration_s: None,
            sleep_interval_s: 5.0,
            seed: 0,
            dataset_offset: 0,
            repeat_prompts: false,
        }
    }

    /// A rate without an end.
    fn rate(rate_per_s: f64) -> Option<Profile> {
        rate_per_s.to_string().parse().ok()
    }

    fn names(sweep: Sweep) -> Vec<String> {
        let plan = sweep.expand().unwrap();
        plan.runs()
            .iter()
            .map(|run| run.point.label.clone())
            .collect()
    }

    #[test]
    fn a_single_value_holds_for_every_point() {
        assert_eq!(
            names(sweep(&[1, 2], Some(&[9]))),
            ["parallel_1_number_9", "parallel_2_number_9"]
        );
        let numbers = sweep(&[4], Some(&[5, 6]));
        assert_eq!(
            names(numbers),
            ["parallel_4_number_5", "parallel_4_number_6"]
        );
        let mut rates = sweep(&[4], Some(&[5]));
        rates.rate = vec![rate(0.5), rate(20.0), None];
        assert_eq!(
            names(rates),
            [
                "parallel_4_number_5_rate_0.5",
                "parallel_4_number_5_rate_20.0",
                "parallel_4_number_5"
            ]
        );
    }

    #[test]
    fn names_of_runs_are_known_again() {
        for parallel in [None, Some(vec![NonZeroUsize::MIN; 3])] {
            for (number, duration_s) in [(Some(vec![7]), None), (None, Some(0.5))] {
                let mut sweep = sweep(&[1], None);
                sweep.rate = vec![rate(2.5), rate(1e-7), "1..5@9".parse().ok()];
                (sweep.parallel, sweep.number) = (parallel.clone(), number);
                sweep.duration_s = duration_s;
                for run in sweep.expand().unwrap().runs() {
                    let folder = run.point.folder();
                    assert!(is_run_name(&folder), "{folder}");
                }
            }
        }
        for no in [
            "parallel_1",
            "parallel__number_2",
            "parallel_1_number_x",
            "x_parallel_1_number_2",
            "parallel_1_number_2_old",
            "rate_5_number_2_rate_5",
        ] {
            assert!(!is_run_name(no), "{no}");
        }
    }

    #[test]
    fn a_point_can_be_repeated() {
        assert_eq!(
            names(sweep(&[2, 2, 2], Some(&[9]))),
            [
                "parallel_2_number_9",
                "parallel_2_number_9_2",
                "parallel_2_number_9_3"
            ]
        );
    }

    #[test]
    fn a_rate_alone_is_not_capped() {
        let mut sweep = sweep(&[1], Some(&[50]));
        sweep.parallel = None;
        assert_eq!(
            sweep.clone().expand().unwrap().runs()[0].concurrency,
            Some(NonZeroUsize::MIN)
        );
        sweep.rate = vec![rate(5.0), rate(2.5)];
        let plan = sweep.clone().expand().unwrap();
        assert!(plan.runs().iter().all(|run| run.concurrency.is_none()));
        assert_eq!(names(sweep), ["rate_5.0_number_50", "rate_2.5_number_50"]);
    }

    #[test]
    fn a_duration_alone_has_no_number() {
        let mut sweep = sweep(&[4], None);
        sweep.duration_s = Some(1.5);
        let run = sweep.clone().expand().unwrap().runs()[0].clone();
        assert_eq!(
            (run.requests, run.point.label.as_str()),
            (None, "parallel_4_duration_1.5s")
        );
        sweep.whole = Some(8);
        assert_eq!(names(sweep.clone()), ["parallel_4_number_8"]);
        sweep.whole = None;
        sweep.warmup = Warmup::Share(0.1);
        insta::assert_snapshot!(sweep.expand().unwrap_err(), @"`--warmup-num 0.1` is a share of `--number`, which is not given");
    }

    /// Databases of earlier versions say a number for both.
    #[test]
    fn a_run_of_an_earlier_version_is_read() {
        let text = r#"{"name": "parallel_2_number_9", "concurrency": 2, "requests": 9, "pacing": {"kind": "poisson", "rate_per_s": 2.5},
            "warmup_requests": 0, "duration_s": null, "seed": 0, "dataset_offset": 0}"#;
        let run: RunSpec = serde_json::from_str(text).unwrap();
        assert_eq!(
            (run.concurrency, run.requests),
            (NonZeroUsize::new(2), Some(9))
        );
        assert_eq!(run.pacing, Pacing::Arrivals(Schedule::poisson(2.5)));
        assert_eq!(
            (run.point.ordinal, run.point.folder()),
            (None, "parallel_2_number_9".to_owned())
        );
    }

    #[test]
    fn points_of_a_sweep_share_no_prompt() {
        let plan = sweep(&[1, 10, 50], Some(&[10, 20, 100])).expand().unwrap();
        let offsets: Vec<_> = plan.runs().iter().map(|r| r.dataset_offset).collect();
        assert_eq!(offsets, [0, 10, 30]);
        let ordinals = plan.runs().iter().filter_map(|run| run.point.ordinal);
        assert!(ordinals.map(usize::from).eq(1..=3));
        assert_eq!(plan.runs()[1].point.label, "parallel_10_number_20");
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
        let mut sweep = sweep(&[1], Some(&[10, 20]));
        sweep.rate = vec![rate(1.0), rate(2.0), rate(3.5)];
        insta::assert_snapshot!(sweep.expand().unwrap_err(), @"`--number` has 2 values (10 20) but `--rate` has 3 (1 2 3.5)");
    }

    #[test]
    fn a_default_number_serves_every_point() {
        let plan = sweep(&[1, 2], None).expand().unwrap();
        assert!(
            plan.runs()
                .iter()
                .all(|r| r.requests == Some(DEFAULT_REQUESTS))
        );
    }

    #[test]
    fn a_profile_that_ends_needs_no_number() {
        let mut sweep = sweep(&[1], None);
        sweep.parallel = None;
        sweep.rate = vec!["5@10".parse().ok(), "1..9@10".parse().ok(), rate(5.0)];
        let plan = sweep.clone().expand().unwrap();
        let numbers: Vec<_> = plan.runs().iter().map(|run| run.requests).collect();
        assert_eq!(numbers, [None, None, Some(DEFAULT_REQUESTS)]);
        assert_eq!(
            names(sweep),
            [
                "rate_profile1_number_all",
                "rate_profile2_number_all",
                "rate_5.0_number_1000"
            ]
        );
    }

    #[test]
    fn requests_of_an_open_loop_end_in_time() {
        let mut sweep = sweep(&[1], None);
        sweep.rate = vec![rate(1.0)];
        let drain = |sweep: &Sweep| sweep.clone().expand().unwrap().runs()[0].drain_timeout_s;
        assert_eq!(drain(&sweep), None);
        sweep.parallel = None;
        assert_eq!(drain(&sweep), Some(OPEN_LOOP_DRAIN_S));
        sweep.drain_timeout_s = Some(7.0);
        assert_eq!(drain(&sweep), Some(7.0));
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
