//! Owns goodput: whether a request met its objective, and what that adds up to.
//!
//! Pure. It must not know how an objective is written ([`crate::slo`]), or how results are shown.

use serde::{Deserialize, Serialize};

use super::Metric;
use super::choices::token_gaps;
use super::intervals::{Interval, share_interval};
use crate::record::{FailureKind, RequestRecord};
use crate::slo::{Condition, Slo, SloFigure, SloFrom};
use crate::time::Timestamp;

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
pub enum Outcome {
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
    pub outcome: Outcome,
    standings: [Standing; SloFigure::ALL.len()],
    conditions: usize,
}

impl Judgement {
    /// How it stands to each condition, in the objective's order.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings[..self.conditions]
    }
}

/// Holds the figures of requests to conditions.
#[derive(Clone, Debug)]
pub struct Yardstick {
    from: SloFrom,
    delivery: Delivery,
}

/// Judges the requests of a run.
#[derive(Clone, Debug)]
pub struct Judge {
    slo: Slo,
    yardstick: Yardstick,
}

impl Judge {
    /// A judge by this objective.
    #[must_use]
    pub fn new(slo: Slo, from: SloFrom, delivery: Delivery) -> Self {
        Self {
            slo,
            yardstick: Yardstick::new(from, delivery),
        }
    }

    /// Judge a measured request.
    #[must_use]
    pub fn judge(&self, record: &RequestRecord) -> Judgement {
        let conditions = self.slo.conditions();
        let mut standings = [Standing::NotApplicable; SloFigure::ALL.len()];
        for (standing, condition) in standings.iter_mut().zip(conditions) {
            *standing = self.yardstick.standing(record, condition);
        }
        let has = |what: Standing| standings.contains(&what);
        let was_cut = record.failure.as_ref().map(|failure| failure.kind);
        let outcome = match was_cut {
            Some(FailureKind::Cancelled | FailureKind::ContextLimit) if !has(Standing::Missed) => {
                Outcome::LeftOut
            }
            None if !has(Standing::Missed) => Outcome::Good,
            _ => Outcome::Bad,
        };
        Judgement {
            outcome,
            standings,
            conditions: conditions.len(),
        }
    }
}

impl Yardstick {
    /// Times begin `from` there.
    #[must_use]
    pub const fn new(from: SloFrom, delivery: Delivery) -> Self {
        Self { from, delivery }
    }

    /// How a measured request stands to a condition.
    #[must_use]
    pub fn standing(&self, record: &RequestRecord, condition: &Condition) -> Standing {
        let figure = condition.figure;
        if self.delivery == Delivery::Whole && figure.needs_stream() {
            return Standing::NotApplicable;
        }
        let met = |value: f64| {
            if condition.is_met_by(value) {
                Standing::Met
            } else {
                Standing::Missed
            }
        };
        match record.failure.as_ref().map(|failure| failure.kind) {
            None => match self.value(record, figure) {
                Some(value) => met(value),
                None if cannot_exist(record, figure) => Standing::NotApplicable,
                None => Standing::Missed,
            },
            Some(FailureKind::Unfinished | FailureKind::Cancelled) => {
                // the first token may have come, and then its time is known
                let is_known = matches!(figure, SloFigure::Ttft | SloFigure::Ttfat);
                match self.value(record, figure).filter(|_| is_known) {
                    Some(value) => met(value),
                    None => match self.at_least(record, figure).map(met) {
                        Some(Standing::Missed) => Standing::Missed,
                        _ => Standing::Open,
                    },
                }
            }
            // the conversation was at its end: the server has done nothing wrong
            Some(FailureKind::ContextLimit) => Standing::Open,
            Some(_) => Standing::Missed,
        }
    }

    /// The figure of a request, in the unit of limits.
    #[must_use]
    pub fn value(&self, record: &RequestRecord, figure: SloFigure) -> Option<f64> {
        let since_start = |at: Option<Timestamp>| Some(at?.nanos_since(self.start(record)?) as f64);
        match figure {
            SloFigure::Ttft | SloFigure::Ttfat if !record.streamed => None,
            SloFigure::Ttft => since_start(record.events.tokens().next().map(|e| e.at)),
            SloFigure::Ttfat => {
                since_start(record.events.tokens().find(|e| e.answer).map(|e| e.at))
            }
            SloFigure::Latency => since_start(record.times.last_data),
            SloFigure::Tpot => Metric::Tpot.of_request(record),
            SloFigure::Decode => Metric::DecodeTokPerS.of_request(record),
            SloFigure::ItlMax => longest_gap(record),
        }
    }

    /// What is known of a figure of a request that we ended: it would have been at least this.
    fn at_least(&self, record: &RequestRecord, figure: SloFigure) -> Option<f64> {
        match figure {
            SloFigure::Ttft | SloFigure::Ttfat | SloFigure::Latency => {
                Some(record.times.ended.nanos_since(self.start(record)?) as f64)
            }
            SloFigure::ItlMax => longest_gap(record),
            SloFigure::Tpot | SloFigure::Decode => None,
        }
    }

    fn start(&self, record: &RequestRecord) -> Option<Timestamp> {
        match self.from {
            SloFrom::Schedule => Some(record.times.scheduled),
            SloFrom::Send => record.times.write_begun,
        }
    }
}

/// The longest gap between tokens of the same choice, nanoseconds.
fn longest_gap(record: &RequestRecord) -> Option<f64> {
    let mut longest = None;
    token_gaps(&record.events, |gap| {
        longest = Some(longest.map_or(gap, |longest: f64| longest.max(gap)));
    });
    longest
}

/// A figure that a success lacks for no fault of the server: one token has no time per token, and
/// tokens that came together have no gap. A stream that was asked for and did not come is a fault,
/// and so is an answer that never began.
fn cannot_exist(record: &RequestRecord, figure: SloFigure) -> bool {
    let output = record.output_tokens().0;
    match figure {
        SloFigure::Latency => false,
        SloFigure::Ttft | SloFigure::Ttfat => output == Some(0),
        SloFigure::Tpot | SloFigure::Decode | SloFigure::ItlMax => {
            record.streamed || output.is_some_and(|output| output < 2)
        }
    }
}

/// Counts the measured requests of a run by an objective. Takes eight bytes a request.
#[derive(Clone, Debug)]
pub struct GoodputAccumulator {
    judge: Judge,
    left_out: u64,
    good_output_tokens: Option<u64>,
    /// Of every request that was due, its dispatch in steps of 1024 ns above the bits of [`Marks`].
    due: Vec<u64>,
}

/// What is kept of a judgement: whether the request is good, whether it succeeded, and its standing
/// to each condition.
#[derive(Clone, Copy)]
struct Marks(u64);

impl Marks {
    const BITS: u32 = 16;
    const GOOD: u64 = 1 << 15;
    const SUCCEEDED: u64 = 1 << 14;

    fn of(judgement: &Judgement, succeeded: bool) -> Self {
        let mut marks = u64::from(judgement.outcome == Outcome::Good) * Self::GOOD;
        marks |= u64::from(succeeded) * Self::SUCCEEDED;
        for (nth, standing) in judgement.standings().iter().enumerate() {
            marks |= (*standing as u64) << (2 * nth);
        }
        Self(marks)
    }

    fn is_good(self) -> bool {
        self.0 & Self::GOOD != 0
    }

    fn standing(self, condition: usize) -> Standing {
        // the order of their declaration
        match self.0 >> (2 * condition) & 3 {
            0 => Standing::Met,
            1 => Standing::Missed,
            2 => Standing::Open,
            _ => Standing::NotApplicable,
        }
    }
}

impl GoodputAccumulator {
    /// An empty count.
    #[must_use]
    pub fn new(judge: Judge) -> Self {
        Self {
            judge,
            left_out: 0,
            good_output_tokens: None,
            due: Vec::new(),
        }
    }

    /// Add a measured request, in any order.
    pub fn push(&mut self, record: &RequestRecord) {
        let judgement = self.judge.judge(record);
        match judgement.outcome {
            Outcome::LeftOut => {
                self.left_out += 1;
                return;
            }
            Outcome::Good => {
                if let Some(tokens) = record.output_tokens().0 {
                    let sum = self.good_output_tokens.get_or_insert(0);
                    *sum = sum.saturating_add(tokens);
                }
            }
            Outcome::Bad => {}
        }
        let at = if record.dispatched() {
            record.times.dispatched
        } else {
            record.times.scheduled
        };
        self.due
            .push(at.as_nanos() >> 10 << Marks::BITS | Marks::of(&judgement, record.succeeded()).0);
    }

    /// The result, for requests that took this long together: the duration of the run, or the
    /// length of the plateau.
    #[must_use]
    pub fn finish(mut self, duration_s: f64) -> Goodput {
        // in order of dispatch
        self.due.sort_unstable();
        let marks = self.due.iter().map(|packed| Marks(*packed));
        let good = marks.clone().filter(|marks| marks.is_good()).count() as u64;
        let due = self.due.len() as u64;
        let conditions = self.judge.slo.conditions();
        let per_s = |amount: u64| (due > 0 && duration_s > 0.0).then(|| amount as f64 / duration_s);
        let tokens = self.good_output_tokens.or_else(|| (good == 0).then_some(0));
        Goodput {
            slo: self.judge.slo.to_string(),
            from: self.judge.yardstick.from,
            due,
            good,
            left_out: self.left_out,
            share: share(good, due),
            share_ci: share_interval(marks.clone().map(Marks::is_good)),
            requests_per_s: per_s(good),
            output_tokens_per_s: tokens.and_then(per_s),
            conditions: (0..conditions.len())
                .map(|nth| count(&conditions[nth], nth, conditions.len(), &marks))
                .collect(),
        }
    }
}

/// How the requests stand to the condition at a position among all.
fn count(
    condition: &Condition,
    nth: usize,
    all: usize,
    marks: &(impl Iterator<Item = Marks> + Clone),
) -> ConditionCounts {
    let standing = |what: Standing| {
        let these = marks.clone().filter(|marks| marks.standing(nth) == what);
        these.count() as u64
    };
    // a request that failed would be bad without any condition
    let is_only_one = |marks: &Marks| {
        marks.0 & Marks::SUCCEEDED != 0
            && (0..all).all(|other| (marks.standing(other) == Standing::Missed) == (other == nth))
    };
    let applied = marks
        .clone()
        .filter(|marks| marks.standing(nth) != Standing::NotApplicable);
    let met = standing(Standing::Met);
    let applied_count = applied.clone().count() as u64;
    ConditionCounts {
        condition: condition.to_string(),
        met,
        applied: applied_count,
        not_applicable: standing(Standing::NotApplicable),
        open: standing(Standing::Open),
        only_failed_by: marks.clone().filter(is_only_one).count() as u64,
        share: share(met, applied_count),
        share_ci: share_interval(applied.map(|marks| marks.standing(nth) == Standing::Met)),
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
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

#[cfg(test)]
mod tests;
