//! Owns goodput: whether a request met its objective, what that adds up to, and percentiles in
//! which failures count as endless.
//!
//! Pure. It must not know how an objective is written ([`crate::slo`]), or how results are shown.

use serde::{Deserialize, Serialize};

use super::Metric;
use super::intervals::Interval;
use crate::record::RequestRecord;
use crate::slo::{Condition, Slo, SloFrom};

/// What the run asked the server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Event streams.
    Stream,
    /// Whole responses: no time to the first token exists.
    Whole,
}

/// How a request stands to one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It met the condition.
    Met,
    /// It did not, or nothing can be said because it failed.
    Missed,
    /// We ended the request before the condition was decided.
    Open,
    /// The figure cannot exist for this request, such as the time per token of one token.
    NotApplicable,
}

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// It succeeded and met every condition that applies.
    Good,
    /// It was due, and is not good.
    Bad,
    /// It was cancelled by our own stop, before it broke a condition.
    LeftOut,
}

/// A request judged by an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it counts as.
    pub standard: Standard,
    standings: [Standing; 6],
    conditions: usize,
}

impl Judgement {
    /// How it stands to each condition, in the objective's order.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings[..self.conditions]
    }
}

/// Judges the requests of a run.
#[derive(Clone, Debug)]
pub struct Judge {
    slo: Slo,
    from: SloFrom,
    delivery: Delivery,
}

impl Judge {
    /// A judge by this objective.
    #[must_use]
    pub fn new(slo: Slo, from: SloFrom, delivery: Delivery) -> Self {
        Self {
            slo,
            from,
            delivery,
        }
    }

    /// Judge a measured request.
    #[must_use]
    pub fn judge(&self, record: &RequestRecord) -> Judgement {
        let _ = record;
        todo!()
    }
}

/// Counts the measured requests of a run by an objective. Takes eight bytes a request.
#[derive(Clone, Debug)]
pub struct GoodputAccumulator {
    judge: Judge,
}

impl GoodputAccumulator {
    /// An empty count.
    #[must_use]
    pub fn new(judge: Judge) -> Self {
        Self { judge }
    }

    /// Add a measured request, in any order.
    pub fn push(&mut self, record: &RequestRecord) {
        let _ = self.judge.judge(record);
        todo!()
    }

    /// The result, for requests that took this long together: the duration of the run, or the
    /// length of the plateau.
    #[must_use]
    pub fn finish(self, duration_s: f64) -> Goodput {
        let _ = duration_s;
        todo!()
    }
}

/// How many requests met an objective. Shares are between 0 and 1, and missing where nothing was
/// due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Goodput {
    /// The objective, as `--slo` reads it.
    pub slo: String,
    /// Where times begin.
    pub from: SloFrom,
    /// Requests that were due: all that were sent, and those that should have been.
    pub due: u64,
    /// Good requests.
    pub good: u64,
    /// Requests cancelled by our own stop before they broke a condition; not part of `due`.
    pub left_out: u64,
    /// Good requests over those due.
    pub share: Option<f64>,
    /// 95 % interval of the share within this run.
    pub share_ci: Option<Interval>,
    /// Good requests per second.
    pub requests_per_s: Option<f64>,
    /// Output tokens of good requests per second; missing where they are unknown.
    pub output_tokens_per_s: Option<f64>,
    /// Each condition by itself, in the objective's order.
    pub conditions: Vec<ConditionCounts>,
}

/// How many requests met one condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConditionCounts {
    /// The condition, with its limit and unit.
    pub condition: String,
    /// Requests that met it.
    pub met: u64,
    /// Requests due to which it applies; those that failed included.
    pub applied: u64,
    /// Requests due to which it does not apply.
    pub not_applicable: u64,
    /// Of those that it applies to, requests that we gave up on before it was decided. They count as not met.
    pub open: u64,
    /// Requests that are bad because of this condition alone.
    pub only_failed_by: u64,
    /// `met` over `applied`.
    pub share: Option<f64>,
    /// 95 % interval of the share within this run.
    pub share_ci: Option<Interval>,
}

impl Goodput {
    /// The limit as it was asked for.
    #[must_use]
    pub fn condition_of(condition: &Condition) -> String {
        condition.to_string()
    }
}

/// A percentile of a sample in which requests that failed take endlessly long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", untagged)]
pub enum WithFailures {
    /// The percentile.
    Value(f64),
    /// So many requests failed that the percentile is one of them.
    Failed(FailedWord),
    /// No request has the figure.
    #[default]
    None,
}

/// The word `failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailedWord {
    /// See [`WithFailures::Failed`].
    Failed,
}

/// Percentiles of a metric over all requests that were due, in the unit of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PercentilesWithFailures {
    /// Median.
    pub p50_with_failures: WithFailures,
    /// 90th percentile.
    pub p90_with_failures: WithFailures,
    /// 95th percentile.
    pub p95_with_failures: WithFailures,
    /// 99th percentile.
    pub p99_with_failures: WithFailures,
}

/// Collects a metric together with the requests that failed. Takes eight bytes a request up to
/// [`super::EXACT_LIMIT`] requests, a histogram above.
#[derive(Clone, Debug)]
pub struct FailureAdjusted {
    metric: Metric,
    delivery: Delivery,
}

impl FailureAdjusted {
    /// An empty collection for one of the times of requests.
    #[must_use]
    pub fn new(metric: Metric, delivery: Delivery) -> Self {
        Self { metric, delivery }
    }

    /// Add a measured request, in any order. Requests that our own stop cancelled are left out.
    pub fn push(&mut self, record: &RequestRecord) {
        let _ = (self.metric, self.delivery, record);
        todo!()
    }

    /// The percentiles.
    #[must_use]
    pub fn finish(self) -> PercentilesWithFailures {
        todo!()
    }
}
