//! Owns what a search is asked: what it varies between which bounds, what has to hold, and the load
//! that its probes are made of.
//!
//! It must not know which value comes next.

use std::num::NonZeroUsize;

use evalscope_model::experiment::{Point, PointResult};
use evalscope_model::metrics::Delivery;
use evalscope_model::plan::{OPEN_LOOP_DRAIN_S, Pacing, RunSpec, sub_seed};
use evalscope_model::point::{PROBES, PointId};
use evalscope_model::profile::{Gaps, Profile, Schedule};
use evalscope_model::search::{ProbePlan, ProbeTime, Variable};
use evalscope_model::sla::{Criterion, Group, SlaLimit};
use evalscope_model::slo::{Slo, SloFrom};

use super::judge::LONGEST_TIMES;
use super::values::Values;

/// What a search is asked.
#[derive(Clone, Debug)]
pub struct SearchPlan {
    /// What is varied.
    pub variable: Variable,
    /// What has to hold; each group is a search of its own.
    pub groups: Vec<Group>,
    /// The first value.
    pub start: f64,
    /// The least value.
    pub lower: f64,
    /// The greatest value.
    pub upper: f64,
    /// The most requests in flight at a rate; `None`: an open loop.
    pub fixed_parallel: Option<NonZeroUsize>,
    /// How arrivals are spread.
    pub gaps: Gaps,
    /// Where the times of requests begin; `None`: where that is usual for the load.
    pub from: Option<SloFrom>,
    /// What makes a request good, if it was said.
    pub slo: Option<Slo>,
    /// What the server is asked for.
    pub delivery: Delivery,
    /// What all probes have in common.
    pub template: RunSpec,
    /// Every probe begins at the first prompt.
    pub repeat_prompts: bool,
}

/// EvalScope's way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Runs of each value.
    pub runs: u32,
    /// Requests of a run, per unit of the value.
    pub multiplier: f64,
}

/// The way in which each probe runs until its requests tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// How close a value that passes and one that fails have to be, a share.
    pub precision: f64,
    /// The confidence of a verdict.
    pub confidence: f64,
    /// When probes are looked at.
    pub time: ProbeTime,
    /// Nothing more is begun after this time, seconds.
    pub most_s: Option<f64>,
}

impl Reference {
    /// Requests of a run, as Python rounds them: halves to even.
    #[must_use]
    pub fn requests(&self, value: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests"
        )]
        let requests = (value * self.multiplier).round_ties_even() as u64;
        requests.max(1)
    }
}

impl SearchPlan {
    /// The limits of a group.
    #[must_use]
    pub fn limits(&self, group: usize) -> Vec<SlaLimit> {
        let criteria = self.groups[group].iter();
        criteria
            .filter_map(|criterion| match criterion {
                Criterion::Limit(limit) => Some(*limit),
                Criterion::Greatest(_) | Criterion::Smallest(_) => None,
            })
            .collect()
    }

    /// Where the times of requests begin.
    #[must_use]
    pub fn from(&self) -> SloFrom {
        let is_open = self.variable == Variable::Rate && self.fixed_parallel.is_none();
        self.from.unwrap_or_else(|| SloFrom::of_load(is_open))
    }

    /// The load of a probe, the `nth` run of its value from 0. Each has prompts and arrivals of its own.
    #[must_use]
    pub fn spec(&self, value: f64, nth: usize, done: &[PointResult]) -> RunSpec {
        let template = &self.template;
        let variable = self.variable.name();
        let mut point = PointId::first(&format!("sla_{variable}_{value}_run_{nth}")).within(PROBES);
        point.ordinal = NonZeroUsize::new(done.len() + 1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number that is a bound of the search"
        )]
        let whole = NonZeroUsize::new(value as usize);
        let (concurrency, pacing) = match self.variable {
            Variable::Parallel => (whole, Pacing::Unpaced),
            Variable::Rate => {
                let profile = Profile::Constant { rate_per_s: value };
                let gaps = self.gaps;
                (
                    self.fixed_parallel,
                    Pacing::Arrivals(Schedule { profile, gaps }),
                )
            }
        };
        let drain = concurrency.is_none().then_some(OPEN_LOOP_DRAIN_S);
        let used = done
            .iter()
            .map(|point| point.measured_requests + point.spec.warmup_requests);
        RunSpec {
            point,
            concurrency,
            pacing,
            drain_timeout_s: template.drain_timeout_s.or(drain),
            seed: match done.len() {
                0 => template.seed,
                probes => sub_seed(template.seed, &format!("probe {}", probes + 1)),
            },
            dataset_offset: if self.repeat_prompts {
                template.dataset_offset
            } else {
                template.dataset_offset + used.sum::<u64>()
            },
            ..template.clone()
        }
    }

    /// A probe, the `nth` run of its value from 0: its load goes on until its judge has decided.
    #[must_use]
    pub(super) fn probe(
        &self,
        value: f64,
        nth: usize,
        done: &[PointResult],
        probe: ProbePlan,
    ) -> Point {
        let most_s = probe.time.most_s;
        let mut spec = self.spec(value, nth, done);
        spec.requests = None;
        // where it has not been decided by then, the judge decides on what there is
        spec.duration_s = Some(match self.variable {
            Variable::Parallel => (most_s * (1.0 + LONGEST_TIMES)).ceil(),
            Variable::Rate => (most_s * 2.0 + 1.0).ceil(),
        });
        Point {
            spec,
            probe: Some(probe),
        }
    }

    /// Which values can be measured.
    pub(super) const fn values(&self) -> Values {
        match self.variable {
            Variable::Parallel => Values::Whole,
            Variable::Rate => Values::Real,
        }
    }

    /// The criteria of a group in words: `p99 TTFT ≤ 500 ms and p99 TPOT ≤ 50 ms`.
    #[must_use]
    pub fn phrase(&self, group: usize) -> String {
        let words = self.groups[group].iter().map(|criterion| match criterion {
            Criterion::Limit(limit) => limit.phrase(),
            Criterion::Greatest(figure) => format!("the greatest {}", figure.label()),
            Criterion::Smallest(figure) => format!("the smallest {}", figure.label()),
        });
        words.collect::<Vec<_>>().join(" and ")
    }
}
