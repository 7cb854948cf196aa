//! Owns what a search for capacity is asked and what it comes to: how a probe is judged, what each
//! probe was, and the answers.
//!
//! Pure. It must not know how the next value is chosen, nor how results are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::metrics::{Delivery, Interval, Saturation};
use crate::sla::{SlaFigure, SlaLimit};
use crate::slo::{Slo, SloFrom};

/// What a search varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Variable {
    /// Requests in flight.
    Parallel,
    /// Arrivals per second.
    Rate,
}

impl Variable {
    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Rate => "rate",
        }
    }

    /// What people call it.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Parallel => "concurrency",
            Self::Rate => "rate",
        }
    }

    /// A value as it is said: `26.1/s`, `8`.
    #[must_use]
    pub fn phrase(self, value: f64) -> String {
        match self {
            Self::Parallel => format!("{value}"),
            Self::Rate => format!("{value}/s"),
        }
    }
}

/// How a search is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Each probe runs until its violations tell.
    Measured,
    /// As EvalScope does it: some runs of a few requests for each value.
    Evalscope,
}

/// The times at which a probe is looked at, after its beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeTime {
    /// The first look, seconds.
    pub least_s: f64,
    /// The last look, seconds.
    pub most_s: f64,
}

/// How a probe is watched and judged.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbePlan {
    /// What has to hold.
    pub limits: Vec<SlaLimit>,
    /// What must not be broken for certain: a load passes also if there are too few requests to show that
    /// these hold.
    pub guards: Vec<SlaLimit>,
    /// The limits of other searches: the load is judged on them too, on what there is when it ends.
    pub others: Vec<OtherLimits>,
    /// The figure whose greatest value is searched for, where that is the question.
    pub greatest: Option<Greatest>,
    /// Where the times of requests begin.
    pub from: SloFrom,
    /// What the server is asked for.
    pub delivery: Delivery,
    /// When it is looked at.
    pub time: ProbeTime,
    /// The confidence of the last look; earlier ones are surer.
    pub confidence: f64,
}

/// The limits of another search.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherLimits {
    /// As in [`ProbePlan`].
    pub limits: Vec<SlaLimit>,
    /// As in [`ProbePlan`].
    pub guards: Vec<SlaLimit>,
}

/// A figure whose greatest value is searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct Greatest {
    /// Throughput, output, or goodput.
    pub figure: SlaFigure,
    /// What makes a request good.
    pub slo: Option<Slo>,
    /// A load is measured until the interval of its figure is this narrow to either side, a share.
    pub precision: f64,
}

/// What a probe was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProbeVerdict {
    /// All limits hold.
    Passed,
    /// A limit does not hold, or the server did not keep up.
    Failed,
    /// The requests do not tell.
    Undecided,
}

/// How a probe stands to one limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct LimitJudgement {
    /// The figure, as in `--sla-params`.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub figure: SlaFigure,
    /// The limit with its unit: `<= 500 ms`.
    pub target: String,
    /// The figure over the judged requests, in the unit of the limit; `null` without any.
    pub value: Option<f64>,
    /// 95 % interval of the figure, for means and throughput; `null` otherwise, or for too few requests.
    pub value_ci: Option<Interval>,
    /// Requests that the limit applies to.
    pub requests: u64,
    /// Requests beyond the limit, or failed; 0 for means and throughput.
    pub violations: u64,
    /// Violations over requests; `null` for means and throughput.
    pub violation_share: Option<f64>,
    /// Interval of that share, for as few independent requests as there seem to be.
    pub violation_share_ci: Option<Interval>,
    /// As few independent requests as those that the limit applies to seem to be: a queue makes neighbours
    /// alike; `null` for means and throughput.
    #[serde(default)]
    pub independent_requests: Option<f64>,
    /// The share that may lie beyond the limit; `null` for means and throughput.
    pub allowed_share: Option<f64>,
    /// Requests that cannot have the figure, such as the time per token of a single token.
    pub not_applicable: u64,
    /// How much of what the limit allows is used: 1 at the limit, more beyond it.
    pub used: Option<f64>,
    /// Whether it holds.
    pub verdict: ProbeVerdict,
}

/// What a probe was found to be, and what that rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct ProbeJudgement {
    /// The verdict on all limits.
    pub verdict: ProbeVerdict,
    /// What the load was judged to be; `null` in a closed loop.
    pub load: Option<Saturation>,
    /// From when on requests are judged, seconds after the first was due.
    pub begins_after_s: f64,
    /// For how long, seconds.
    pub judged_s: f64,
    /// Requests that are judged.
    pub requests: u64,
    /// Each limit.
    pub limits: Vec<LimitJudgement>,
}

impl ProbeJudgement {
    /// The most that is used of what a limit allows.
    #[must_use]
    pub fn used(&self) -> f64 {
        let used = self.limits.iter().filter_map(|limit| limit.used);
        used.fold(0.0, f64::max)
    }

    /// As many independent requests as it seems to rest on: those of the limit that is used most.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let used = |limit: &&LimitJudgement| limit.used.unwrap_or(0.0);
        let most = self
            .limits
            .iter()
            .max_by(|a, b| used(a).total_cmp(&used(b)));
        most.map_or(0.0, |limit| {
            limit.independent_requests.unwrap_or(limit.requests as f64)
        })
    }
}

/// What a value was measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To find the next value.
    Search,
    /// Because what was measured before did not tell, or a lower value failed than one that passed: for
    /// twice as long.
    Again,
    /// To confirm the answer.
    Confirmation,
    /// For another search, whose probe has the same runs.
    OtherSearch,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct ProbeRecord {
    /// The value.
    #[serde(serialize_with = "whole_or_real")]
    pub value: f64,
    /// The names of its runs.
    pub runs: Vec<String>,
    /// The search that it belongs to, from 1; all searches of EvalScope's way share their probes: `null`.
    pub group: Option<u32>,
    /// What it was measured for.
    pub purpose: Purpose,
    /// Requests that were sent.
    pub total_requests: u64,
    /// Requests that succeeded.
    pub succeeded_requests: u64,
    /// How many requests failed, by kind.
    #[serde(default)]
    pub failures: BTreeMap<String, u64>,
    /// How long its runs took, seconds.
    pub took_s: f64,
    /// Every request succeeded: EvalScope's condition for a valid probe.
    pub request_gate_passed: bool,
    /// Why it is not valid.
    pub reasons: Vec<String>,
    /// The figures that were asked for, over all of its requests, in the units of `--sla-params`. With
    /// several runs, means of the runs' figures, as EvalScope has them.
    pub metric_values: BTreeMap<String, f64>,
    /// Whether it met each group of criteria, by the group's number.
    pub group_passes: BTreeMap<String, bool>,
    /// Its pass or fail rests on where the figures lie, not on what their intervals prove.
    pub weak: bool,
    /// The share of prompt tokens that the server had in its prefix cache; `null` if it does not say.
    #[serde(default)]
    pub cached_share: Option<f64>,
    /// In a search for the greatest figure: another value had as much output and was as fast, and better in one
    /// of them; `null` elsewhere.
    #[serde(default)]
    pub dominated: Option<bool>,
    /// What the client was found to be: its figures may be those of this program.
    pub client_limited: bool,
    /// The judgement; `null` in EvalScope's way.
    pub judgement: Option<ProbeJudgement>,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SearchEnd {
    /// It has an answer.
    Found,
    /// Every value up to the upper bound will do.
    AtBound,
    /// Values that had passed failed when they were measured again.
    NotConfirmed,
    /// No value will do, down to the lower bound.
    NoneMeets,
    /// Three probes in a row had no success.
    NoSuccess,
    /// This program, not the server, is the limit.
    ClientLimited,
    /// `--sla-max-time` was over.
    OutOfTime,
    /// It was stopped.
    Interrupted,
}

/// What a selection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The largest value that meets limits.
    Constraint,
    /// The value with the greatest figure.
    Max,
    /// The value with the smallest figure.
    Min,
}

/// The answer for one group of criteria.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Selection {
    /// The criteria with their targets, as EvalScope writes them.
    pub criteria: BTreeMap<String, String>,
    /// What was searched for.
    pub mode: Mode,
    /// The answer; `null` where no value will do.
    #[serde(serialize_with = "optional_whole_or_real")]
    pub selected_value: Option<f64>,
    /// The figure there, for `max` and `min`.
    pub observed_metric: Option<f64>,
    /// 95 % interval of that figure; `null` in EvalScope's way, and for limits.
    #[serde(default)]
    pub observed_metric_ci: Option<Interval>,
    /// `best_observed` or `none`, as EvalScope has it.
    pub status: String,
    /// In words.
    pub reason: String,
    /// What the search takes for granted.
    pub assumption: String,
    /// The lowest value that failed for certain; `null` if none did.
    #[serde(serialize_with = "optional_whole_or_real")]
    pub fails_at: Option<f64>,
    /// The answer was measured again, with other prompts and arrivals.
    pub confirmed: bool,
    /// Lower values failed where higher ones had passed, more than once: the server does not behave the same
    /// twice.
    pub unstable: bool,
    /// How the search ended.
    pub end: SearchEnd,
    /// The answer in a sentence or two.
    pub sentences: Vec<String>,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct SearchRecord {
    /// What was varied.
    pub variable: Variable,
    /// How it was searched.
    pub way: Way,
    /// The least value.
    #[serde(serialize_with = "whole_or_real")]
    pub lower_bound: f64,
    /// The greatest value.
    #[serde(serialize_with = "whole_or_real")]
    pub upper_bound: f64,
    /// The answers, one for each group of criteria.
    pub selections: Vec<Selection>,
    /// What was measured, in order.
    pub probes: Vec<ProbeRecord>,
}

/// Whole numbers are integers in files, as EvalScope has them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn whole_or_real<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && (0.0..9e15).contains(value) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number of that range"
        )]
        let whole = *value as u64;
        to.serialize_u64(whole)
    } else {
        to.serialize_f64(*value)
    }
}

#[expect(clippy::ref_option, reason = "serde's form")]
fn optional_whole_or_real<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => whole_or_real(value, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_values_are_integers_in_files() {
        #[derive(Serialize)]
        struct Two(
            #[serde(serialize_with = "whole_or_real")] f64,
            #[serde(serialize_with = "optional_whole_or_real")] Option<f64>,
        );
        let text = |one, two| serde_json::to_string(&Two(one, two)).unwrap();
        assert_eq!(text(4.0, None), "[4,null]");
        assert_eq!(text(26.1, Some(3.0)), "[26.1,3]");
    }
}
