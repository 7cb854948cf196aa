//! Owns the judgement on a probe: whether the requests of a load meet limits, while it runs and at its
//! end.
//!
//! It is given outcomes in any order and moments at which to look, and must not know clocks. Requests
//! in flight at a look count as violations where a pass is in question, and are left out where a
//! failure is: a look never fails a load for what is not known, and never passes it.

mod start;
mod window;

use evalscope_model::metrics::{Judge, LoadVerdict, Outcome, Standing, Yardstick, normal_quantile};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::{FailureKind, Phase, RequestRecord};
use evalscope_model::search::{
    LimitJudgement, OtherLimits, ProbeJudgement, ProbePlan, ProbeVerdict,
};
use evalscope_model::sla::{SlaFigure, SlaLimit};
use evalscope_model::slo::Condition;
use evalscope_model::time::Timestamp;

use start::{Load, Start};
use window::{Done, Reading, Seen, Window};

/// Looks, as multiples of the first: 20, 40, 60, 90, 120 s and so on.
const FIRST_LOOKS: [f64; 5] = [1.0, 2.0, 3.0, 4.5, 6.0];
const LATER_BY: f64 = 1.5;

/// Earlier looks have this much less room for error.
const EARLIER_LOOKS: f64 = 5.0;

/// From then on a saturated load fails, seconds; before, with such an excess.
const SATURATED_FROM_S: f64 = 60.0;
const CERTAIN_EXCESS: f64 = 0.3;

/// How much longer than its time a closed loop may go on until it has the requests that a percentile
/// needs.
pub const LONGEST_TIMES: f64 = 10.0;

/// Judges one probe.
#[derive(Debug)]
pub struct ProbeJudge {
    plan: ProbePlan,
    yardstick: Yardstick,
    /// Those of its own search first, then those of the others.
    conditions: Vec<Vec<Option<Condition>>>,
    /// Says which requests are good, where goodput is asked for.
    good: Option<Judge>,
    looks_s: Vec<f64>,
    /// The fewest requests that can pass at the last look.
    least_requests: u64,
    seen: Vec<Seen>,
    start: Start,
    load: Option<Load>,
    look: Option<Look>,
    next_look: usize,
    decided: Option<(ProbeVerdict, Timestamp)>,
}

/// A look that is under way: until the requests that were in flight then have ended.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Timestamp,
    open: u64,
}

impl ProbeJudge {
    /// A judge for this load.
    #[must_use]
    pub fn new(plan: ProbePlan, spec: &RunSpec) -> Self {
        let most_s = plan.time.most_s;
        let yardstick = Yardstick::new(plan.from, plan.delivery);
        Self {
            conditions: std::iter::once(&plan.limits)
                .chain(plan.others.iter().map(|others| &others.limits))
                .map(|limits| limits.iter().map(SlaLimit::condition).collect())
                .collect(),
            good: plan.greatest.as_ref().and_then(|greatest| {
                Some(Judge::new(greatest.slo.clone()?, plan.from, plan.delivery))
            }),
            looks_s: looks(plan.time.least_s, most_s),
            least_requests: least_requests(&plan.limits, plan.confidence),
            yardstick,
            plan,
            seen: Vec::new(),
            start: Start::new(spec, most_s),
            load: Load::new(spec),
            look: None,
            next_look: 0,
            decided: None,
        }
    }

    /// A request has ended.
    pub fn ended(&mut self, record: &RequestRecord) {
        self.start.ended(record);
        if let Some(load) = &mut self.load {
            load.ended(record);
        }
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        let is_out = matches!(
            kind,
            Some(FailureKind::NotSent | FailureKind::ContextLimit | FailureKind::Cancelled)
        );
        if record.phase == Phase::Warmup || is_out {
            return;
        }
        let due = record.times.scheduled;
        if let Some(look) = &mut self.look
            && due <= look.at
            && record.times.ended > look.at
        {
            look.open = look.open.saturating_sub(1);
        }
        let sets = self.conditions.iter().enumerate();
        let limits = sets.flat_map(|(set, conditions)| conditions.iter().zip(self.limits(set).0));
        let readings = limits.map(|(condition, limit)| match condition {
            None => Reading {
                standing: Standing::NotApplicable,
                value: None,
            },
            Some(condition) => {
                let value = self.yardstick.value(record, condition.figure);
                Reading {
                    standing: self.yardstick.standing(record, condition),
                    value: value
                        .filter(|_| record.succeeded())
                        .map(|value| value / limit.figure.ns_per_unit()),
                }
            }
        });
        let good = self.good.as_ref();
        let is_good = good.is_some_and(|judge| judge.judge(record).outcome == Outcome::Good);
        self.seen.push(Seen {
            due,
            ended: record.times.ended,
            succeeded: record.succeeded(),
            is_good,
            output_tokens: record.output_tokens().0.unwrap_or(0),
            readings: readings.collect(),
        });
    }

    /// Look at the load, if it is time to. `in_flight`: requests that have begun and not ended. Says
    /// whether enough is known, so that the load can end.
    pub fn look(&mut self, now: Timestamp, in_flight: u64) -> bool {
        if self.decided.is_some() {
            return true;
        }
        let Some(from) = self.start.over(now, self.plan.time.most_s) else {
            return false;
        };
        let Some(look_s) = self.looks_s.get(self.next_look).copied() else {
            return true;
        };
        let since_s = now.nanos_since(from) as f64 / 1e9;
        if self.look.is_none() && since_s < look_s {
            return false;
        }
        let is_last = self.next_look + 1 == self.looks_s.len();
        if is_last {
            let enough =
                self.seen.len() as u64 >= self.least_requests || since_s >= LONGEST_TIMES * look_s;
            // what is in flight is judged when it has ended
            if self.start.slots.is_none() || enough {
                self.next_look += 1;
                return true;
            }
            return false;
        }
        let look = *self.look.get_or_insert(Look {
            at: now,
            open: in_flight,
        });
        let window = Window {
            from,
            to: look.at,
            open: look.open,
            ended: self.successes(),
            confidence: self.earlier_confidence(),
            is_last: false,
        };
        let verdict = self.judged(&window, 0).verdict;
        if verdict != ProbeVerdict::Undecided {
            self.decided = Some((verdict, look.at));
            return true;
        }
        let is_over = self
            .looks_s
            .get(self.next_look + 1)
            .is_some_and(|next_s| since_s >= *next_s);
        if look.open == 0 || is_over {
            self.look = None;
            self.next_look += 1;
        }
        false
    }

    /// The limits of its own search, or of another, with their guards.
    fn limits(&self, set: usize) -> (&[SlaLimit], &[SlaLimit]) {
        let other = set.checked_sub(1).map(|nth| &self.plan.others[nth]);
        match other {
            None => (&self.plan.limits, &self.plan.guards),
            Some(OtherLimits { limits, guards }) => (limits, guards),
        }
    }

    /// The judgements, once all requests have ended: on the limits of its own search, then on those of each
    /// other. Where its own ended the load early, the others are judged as at a look before the last.
    #[must_use]
    pub fn finish(mut self) -> Vec<ProbeJudgement> {
        let last_due = self.seen.iter().map(|seen| seen.due).max();
        let last = last_due.unwrap_or(Timestamp::ZERO);
        let from = self.start.over(last, self.plan.time.most_s);
        let from = from.or(self.start.began).unwrap_or(Timestamp::ZERO);
        let (verdict, to) = match self.decided {
            Some((verdict, to)) => (Some(verdict), to),
            None => (None, last),
        };
        let own = Window {
            from,
            to,
            open: 0,
            ended: self.successes(),
            confidence: self.plan.confidence,
            is_last: true,
        };
        let mut judged = vec![self.judged(&own, 0)];
        judged[0].verdict = verdict.unwrap_or(judged[0].verdict);
        let others = match verdict {
            None => own,
            Some(_) => Window {
                confidence: self.earlier_confidence(),
                is_last: false,
                ..own
            },
        };
        judged.extend((1..self.conditions.len()).map(|set| self.judged(&others, set)));
        judged
    }

    /// The confidence of a look before the last.
    fn earlier_confidence(&self) -> f64 {
        1.0 - (1.0 - self.plan.confidence) / EARLIER_LOOKS
    }

    /// When requests succeeded, where throughput matters.
    fn successes(&self) -> Vec<Done> {
        let limits = (0..self.conditions.len()).flat_map(|set| self.limits(set).0);
        let is_throughput = |limit: &SlaLimit| {
            matches!(
                limit.figure,
                SlaFigure::RequestsPerS | SlaFigure::OutputTokensPerS
            )
        };
        let matters = self.plan.greatest.is_some() || { limits }.any(is_throughput);
        let succeeded = self.seen.iter().filter(|seen| matters && seen.succeeded);
        succeeded
            .map(|seen| Done {
                at: seen.ended,
                output_tokens: seen.output_tokens,
                is_good: seen.is_good,
            })
            .collect()
    }

    /// The judgement on the limits of one search.
    fn judged(&mut self, window: &Window, set: usize) -> ProbeJudgement {
        let mut seen: Vec<&Seen> = self
            .seen
            .iter()
            .filter(|seen| window.from < seen.due && seen.due <= window.to)
            .collect();
        seen.sort_unstable_by_key(|seen| (seen.due, seen.ended));
        let (limits, guards) = self.limits(set);
        let guards = guards.iter().map(|guard| {
            let judged = window.limit(guard, None, &seen);
            LimitJudgement {
                verdict: match judged.verdict {
                    ProbeVerdict::Undecided => ProbeVerdict::Passed,
                    verdict => verdict,
                },
                ..judged
            }
        });
        let before: usize = self.conditions[..set].iter().map(Vec::len).sum();
        let limits = (before..).zip(limits);
        let greatest = self.plan.greatest.iter().filter(|_| set == 0);
        let limits: Vec<LimitJudgement> = greatest
            .map(|greatest| window.greatest(greatest))
            .chain(limits.map(|(nth, limit)| window.limit(limit, Some(nth), &seen)))
            .chain(guards)
            .collect();
        let requests = seen.len() as u64;
        let load = self.load.as_mut().and_then(|load| load.verdict(window.to));
        let judged_s = window.to.nanos_since(window.from) as f64 / 1e9;
        let is_saturated = load.is_some_and(|load| load.verdict == LoadVerdict::Saturated);
        let is_certain = judged_s >= SATURATED_FROM_S
            || load.is_some_and(|load| load.excess >= Some(CERTAIN_EXCESS));
        let any = |verdict| limits.iter().any(|limit| limit.verdict == verdict);
        let verdict = if self.plan.greatest.is_some() {
            // what it does beyond its capacity is a part of the question
            limits[0].verdict
        } else if is_saturated && is_certain || any(ProbeVerdict::Failed) {
            ProbeVerdict::Failed
        } else if is_saturated || any(ProbeVerdict::Undecided) {
            ProbeVerdict::Undecided
        } else {
            ProbeVerdict::Passed
        };
        let began = self.start.began.unwrap_or(window.from);
        ProbeJudgement {
            verdict,
            load,
            begins_after_s: window.from.nanos_since(began) as f64 / 1e9,
            judged_s,
            requests,
            limits,
        }
    }
}

/// The looks between the first and the last one, seconds.
fn looks(least_s: f64, most_s: f64) -> Vec<f64> {
    let mut looks = Vec::new();
    let later = std::iter::successors(Some(FIRST_LOOKS[4] * LATER_BY), |by| Some(by * LATER_BY));
    for by in FIRST_LOOKS.into_iter().chain(later) {
        let at_s = least_s * by;
        if at_s >= most_s {
            break;
        }
        looks.push(at_s);
    }
    looks.push(most_s);
    looks
}

/// How many requests a limit needs to pass at the last look, without any violation.
#[must_use]
pub fn least_requests(limits: &[SlaLimit], confidence: f64) -> u64 {
    let z = normal_quantile(f64::midpoint(1.0, confidence));
    let allowed = limits.iter().filter_map(|limit| match limit.figure {
        SlaFigure::Percentile(rank, _) => Some(rank.beyond()),
        SlaFigure::SuccessRate => Some(1.0 - limit.limit / 100.0),
        _ => None,
    });
    let allowed = allowed.filter(|allowed| *allowed > 0.0);
    let smallest = allowed.fold(1.0, f64::min);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests"
    )]
    let least = (z * z * (1.0 - smallest) / smallest).ceil() as u64;
    least
}

#[cfg(test)]
mod tests;
