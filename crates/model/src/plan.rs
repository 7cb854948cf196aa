//! Owns what a command asks for, once it is understood: a [`RunPlan`] is an
//! immutable list of [`RunSpec`]s, one for each point of a sweep.
//!
//! It must not know the command line, sockets or files, nor how a run is
//! carried out.

mod error;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::PlanError;

use crate::conversation::{Conversations, KeepConnection};
use crate::point::PointId;
use crate::profile::{Gaps, Profile, Schedule};
use crate::shard::Shard;

/// How requests are spaced in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Pacing {
    /// The next request is sent at once when one has ended.
    Unpaced,
    /// Requests have moments of their own, fixed before the clock starts.
    #[serde(alias = "poisson")]
    Arrivals(Schedule),
    /// Requests are sent at the moments that a trace has recorded.
    Recorded(Recording),
}

/// The moments of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// From the first moment to the last, as it is sent, seconds.
    pub span_s: f64,
    /// Offsets from the start as they are sent, nanoseconds, never decreasing.
    #[serde(skip)]
    pub offsets_ns: Arc<[u64]>,
}

impl Pacing {
    /// The schedule; `None` without pacing, or where a trace gives the moments.
    #[must_use]
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Unpaced | Self::Recorded(_) => None,
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
    /// What the run was to find out was known (`--sla-auto-tune`).
    Decided,
}

impl StoppedBy {
    /// Its name in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InFlightCap => "in_flight_cap",
            Self::Saturated => "saturated",
            Self::Decided => "decided",
        }
    }

    /// Read a name as written by [`Self::as_str`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::InFlightCap, Self::Saturated, Self::Decided]
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
    /// The most sessions under way at a time: requests, or conversations. `None`: an open loop, which
    /// needs a schedule.
    pub concurrency: Option<NonZeroUsize>,
    /// What holds for an open loop.
    #[serde(default)]
    pub open_loop: OpenLoop,
    /// Measured sessions to start: requests, or conversations. `None`: as many as the duration has
    /// time for.
    pub requests: Option<u64>,
    /// What holds for its conversations; `None`: its sessions are single requests.
    #[serde(default)]
    pub conversations: Option<Conversations>,
    /// How long connections are kept.
    #[serde(default)]
    pub connections: KeepConnection,
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
    /// Which part of it this process carries out; all else says what the whole run is.
    #[serde(default, skip_serializing_if = "Shard::is_whole")]
    pub shard: Shard,
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

    /// The same command with this run only.
    #[must_use]
    pub fn beginning_with(self, run: RunSpec) -> Self {
        Self {
            runs: vec![run],
            ..self
        }
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
    /// `--multi-turn` and what goes with it.
    pub conversations: Option<Conversations>,
    /// `--connections`.
    pub connections: KeepConnection,
    /// The moments of a trace, which take the place of rates.
    pub recording: Option<Recording>,
    /// `--repeats`: how often each point is measured.
    pub repeats: NonZeroU32,
    /// `--shard`.
    pub shard: Shard,
}

/// How long requests of an open loop may go on after the last dispatch, unless somebody says so,
/// seconds.
pub const OPEN_LOOP_DRAIN_S: f64 = 30.0;

/// Requests per run when nobody says how many, nor for how long.
pub const DEFAULT_REQUESTS: u64 = 1000;

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
            let pacing = match (&self.recording, at(&self.rate, i)) {
                (Some(recording), _) => Pacing::Recorded(recording.clone()),
                (None, None) => Pacing::Unpaced,
                (None, Some(profile)) => Pacing::Arrivals(Schedule {
                    profile: profile.clone(),
                    gaps: self.gaps,
                }),
            };
            let concurrency = match (&self.parallel, &pacing) {
                (Some(parallel), _) => Some(*at(parallel, i)),
                (None, Pacing::Unpaced) => Some(NonZeroUsize::MIN),
                (None, Pacing::Arrivals(_) | Pacing::Recorded(_)) => None,
            };
            let profile_ends = pacing
                .schedule()
                .is_some_and(|schedule| schedule.profile.span_s().is_some());
            let requests = match (&self.number, self.whole, self.duration_s) {
                (Some(number), ..) => Some(*at(number, i)),
                (None, Some(whole), _) => Some(whole),
                (None, None, Some(_)) => None,
                (None, None, None) if profile_ends || self.recording.is_some() => None,
                (None, None, None) => Some(DEFAULT_REQUESTS),
            };
            if requests == Some(0) {
                return Err(PlanError::NoRequests);
            }
            let warmup_requests = self.warmup.of(requests).ok_or(match self.warmup {
                Warmup::Share(share) => PlanError::ShareOfNothing(share),
                Warmup::Count(_) => PlanError::NoRequests,
            })?;
            leave_something_to_measure(&pacing, warmup_requests)?;
            let mut run = RunSpec {
                point: PointId::first(""),
                concurrency,
                open_loop: self.open_loop,
                requests,
                conversations: self.conversations,
                connections: self.connections,
                pacing,
                warmup_requests,
                duration_s: self.duration_s,
                drain_timeout_s: self
                    .drain_timeout_s
                    .or((concurrency.is_none() && self.conversations.is_none())
                        .then_some(OPEN_LOOP_DRAIN_S)),
                seed: self.seed,
                dataset_offset,
                shard: self.shard,
            };
            check_shard(&run, points * self.repeats.get() as usize)?;
            let label = label_of(&run, several_rates, &runs);
            run.point = PointId::after(runs.iter().map(|run| &run.point), &label);
            runs.push(run);
            if !self.repeat_prompts {
                dataset_offset += requests.unwrap_or(0) + warmup_requests;
            }
        }
        self.repeat(&mut runs);
        Ok(RunPlan {
            runs,
            sleep_interval_s: self.sleep_interval_s,
        })
    }

    /// Measure the points again, all of them in turn, so that a machine that drifts affects all alike. Each
    /// time has arrivals and prompts of its own.
    fn repeat(&self, runs: &mut Vec<RunSpec>) {
        if self.repeats == NonZeroU32::MIN {
            return;
        }
        let points = runs.len();
        for run in runs.iter_mut() {
            run.point = run.point.clone().repeated(NonZeroU32::MIN);
        }
        let prompts = |run: &RunSpec| run.requests.unwrap_or(0) + run.warmup_requests;
        let again = (2..=self.repeats.get()).filter_map(NonZeroU32::new);
        for nth in again {
            for point in 0..points {
                let mut run = runs[point].clone();
                run.seed = sub_seed(self.seed, &format!("repeat {nth}"));
                run.point.ordinal = NonZeroUsize::new(runs.len() + 1);
                run.point = run.point.repeated(nth);
                if let Some(last) = runs.last().filter(|_| !self.repeat_prompts) {
                    run.dataset_offset = last.dataset_offset + prompts(last);
                }
                runs.push(run);
            }
        }
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

/// Check that every shard of a run has something to do, and that none ends by itself what the others
/// go on with.
fn check_shard(run: &RunSpec, points: usize) -> Result<(), PlanError> {
    let shards = run.shard.of().get();
    if run.shard.is_whole() {
        return Ok(());
    }
    if points > 1 {
        return Err(PlanError::SeveralPoints { points });
    }
    let too_few = |flag, given| PlanError::FewerThanShards {
        flag,
        given,
        shards,
    };
    let places = [
        ("--parallel", run.concurrency),
        ("--max-in-flight", run.open_loop.max_in_flight),
    ];
    let counts = places
        .into_iter()
        .map(|(flag, places)| (flag, places.map(|places| places.get() as u64)))
        .chain([("--number", run.requests)]);
    for (flag, given) in counts {
        if let Some(given) = given.filter(|given| *given < u64::from(shards)) {
            return Err(too_few(flag, given));
        }
    }
    if run.open_loop.stop_when_saturated {
        return Err(PlanError::EndsOneShard("--stop-when-saturated"));
    }
    if run.is_open_loop() && run.open_loop.when_full == WhenFull::Stop {
        return Err(PlanError::EndsOneShard("--when-full stop"));
    }
    Ok(())
}

/// Requests of a profile are warm-up first.
fn leave_something_to_measure(pacing: &Pacing, warmup_requests: u64) -> Result<(), PlanError> {
    let profile = pacing.schedule().map(|schedule| &schedule.profile);
    let Some((profile, span_s)) = profile.and_then(|p| Some((p, p.span_s()?))) else {
        return Ok(());
    };
    let expected = profile.expected_within(span_s);
    if (warmup_requests as f64) < expected {
        return Ok(());
    }
    Err(PlanError::OnlyWarmup {
        warmup_requests,
        profile: profile.to_string(),
        expected: (expected * 10.0).round() / 10.0,
    })
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
        // a trace; as EvalScope names it
        (None, None) => format!("rate_-1.0_{amount}"),
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
    mixed(hash)
}

/// Bits in which each depends on all bits of a number: the mixer of `SplitMix64`.
pub(crate) const fn mixed(mut bits: u64) -> u64 {
    bits ^= bits >> 30;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    bits = bits.wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn spaced<T: ToString>(values: &[T]) -> String {
    values
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests;
