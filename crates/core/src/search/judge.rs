//! Owns the judgement on a probe: whether the requests of a load meet limits, while it runs and at its
//! end.
//!
//! It is given outcomes in any order and moments at which to look, and must not know clocks. Requests
//! in flight at a look count as violations where a pass is in question, and are left out where a
//! failure is: a look never fails a load for what is not known, and never passes it.

use evalscope_model::metrics::{
    Ended, Interval, LoadVerdict, LoadWindow, Saturation, Standing, Yardstick, normal_quantile,
    quantile, student_quantile, variance_inflation, wilson,
};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::{FailureKind, Phase, RequestRecord};
use evalscope_model::search::{LimitJudgement, ProbeJudgement, ProbePlan, ProbeVerdict};
use evalscope_model::sla::{SlaFigure, SlaLimit};
use evalscope_model::slo::Condition;
use evalscope_model::time::Timestamp;

use crate::schedule::Arrivals;

/// Looks, as multiples of the first: 20, 40, 60, 90, 120 s and so on.
const FIRST_LOOKS: [f64; 5] = [1.0, 2.0, 3.0, 4.5, 6.0];
const LATER_BY: f64 = 1.5;

/// Earlier looks have this much less room for error.
const EARLIER_LOOKS: f64 = 5.0;

/// An earlier look passes a load that uses at most this much of its limit.
const PASSES_EARLY: f64 = 0.25;
/// Of means and throughput.
const MEAN_PASSES_EARLY: f64 = 0.9;

/// From then on a saturated load fails, seconds; before, with such an excess.
const SATURATED_FROM_S: f64 = 60.0;
const CERTAIN_EXCESS: f64 = 0.3;

/// The first requests, from which the length of the start is taken: so many, or so large a share of
/// those within the longest time.
const FIRST_REQUESTS: f64 = 20.0;
const FIRST_SHARE: f64 = 0.05;

/// The length of the start is twice this percentile of their latencies.
const START_RANK: f64 = 0.9;

/// How much longer than its time a closed loop may go on until it has the requests that a percentile
/// needs.
pub const LONGEST_TIMES: f64 = 10.0;

/// Batches of means, and bins of throughput.
const BATCHES: usize = 20;

/// Judges one probe.
#[derive(Debug)]
pub struct ProbeJudge {
    plan: ProbePlan,
    yardstick: Yardstick,
    conditions: Vec<Option<Condition>>,
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

/// What is kept of a request.
#[derive(Clone, Debug)]
struct Seen {
    due: Timestamp,
    ended: Timestamp,
    succeeded: bool,
    output_tokens: u64,
    readings: Box<[Reading]>,
}

/// A request and one limit.
#[derive(Clone, Copy, Debug)]
struct Reading {
    standing: Standing,
    /// In the unit of the limit.
    value: Option<f64>,
}

/// When the start of a load is over.
#[derive(Debug)]
struct Start {
    /// Slots of a closed loop; `None`: arrivals.
    slots: Option<u64>,
    /// Of a closed loop: first requests of slots that have ended, and when the last of them did.
    ended: u64,
    last: Timestamp,
    /// Of arrivals: how many of the first are looked at, and the moment they were due with their
    /// latencies.
    first: usize,
    latencies: Vec<(u64, f64)>,
    warmup: u64,
    /// When the first request was due.
    began: Option<Timestamp>,
    over: Option<Timestamp>,
}

/// The arrivals of a load, for the verdict on whether the server keeps up.
#[derive(Debug)]
struct Load {
    arrivals: Arrivals,
    began: Option<Timestamp>,
    coming: Option<Timestamp>,
    window: Option<LoadWindow>,
    spec: RunSpec,
}

/// A look that is under way: until the requests that were in flight then have ended.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Timestamp,
    open: u64,
}

/// Judged requests between two moments.
struct Window {
    from: Timestamp,
    to: Timestamp,
    /// Requests that are in flight.
    open: u64,
    confidence: f64,
    is_last: bool,
}

impl ProbeJudge {
    /// A judge for this load.
    #[must_use]
    pub fn new(plan: ProbePlan, spec: &RunSpec) -> Self {
        let most_s = plan.time.most_s;
        let rate_per_s = spec.pacing.rate_per_s();
        let expected = rate_per_s.map_or(0.0, |rate| rate * most_s * FIRST_SHARE);
        let yardstick = Yardstick::new(plan.from, plan.delivery);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests"
        )]
        let first = expected.max(FIRST_REQUESTS) as usize;
        let load = spec.pacing.schedule().map(|schedule| Load {
            arrivals: Arrivals::new(schedule.clone(), spec.seed),
            began: None,
            coming: None,
            window: None,
            spec: spec.clone(),
        });
        Self {
            conditions: plan.limits.iter().map(SlaLimit::condition).collect(),
            looks_s: looks(plan.time.least_s, most_s),
            least_requests: least_requests(&plan.limits, plan.confidence),
            yardstick,
            plan,
            seen: Vec::new(),
            start: Start {
                slots: (rate_per_s.is_none())
                    .then(|| spec.concurrency.map_or(1, |slots| slots.get() as u64)),
                ended: 0,
                last: Timestamp::ZERO,
                first,
                latencies: Vec::new(),
                warmup: spec.warmup_requests,
                began: None,
                over: None,
            },
            // how conversations arrive does not say when their turns do
            load: load.filter(|_| spec.conversations.is_none()),
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
        let readings = self.conditions.iter().zip(&self.plan.limits);
        let readings = readings.map(|(condition, limit)| match condition {
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
        self.seen.push(Seen {
            due,
            ended: record.times.ended,
            succeeded: record.succeeded(),
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
            confidence: 1.0 - (1.0 - self.plan.confidence) / EARLIER_LOOKS,
            is_last: false,
        };
        let verdict = self.judged(&window).verdict;
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

    /// The judgement, once all requests have ended.
    #[must_use]
    pub fn finish(mut self) -> ProbeJudgement {
        let last_due = self.seen.iter().map(|seen| seen.due).max();
        let last = last_due.unwrap_or(Timestamp::ZERO);
        let from = self.start.over(last, self.plan.time.most_s);
        let from = from.or(self.start.began).unwrap_or(Timestamp::ZERO);
        let (verdict, to) = match self.decided {
            Some((verdict, to)) => (Some(verdict), to),
            None => (None, last),
        };
        let window = Window {
            from,
            to,
            open: 0,
            confidence: self.plan.confidence,
            is_last: true,
        };
        let judged = self.judged(&window);
        ProbeJudgement {
            verdict: verdict.unwrap_or(judged.verdict),
            ..judged
        }
    }

    fn judged(&mut self, window: &Window) -> ProbeJudgement {
        let mut seen: Vec<&Seen> = self
            .seen
            .iter()
            .filter(|seen| window.from < seen.due && seen.due <= window.to)
            .collect();
        seen.sort_unstable_by_key(|seen| (seen.due, seen.ended));
        let guards = self.plan.guards.iter().map(|guard| {
            let judged = window.limit(guard, None, &seen);
            LimitJudgement {
                verdict: match judged.verdict {
                    ProbeVerdict::Undecided => ProbeVerdict::Passed,
                    verdict => verdict,
                },
                ..judged
            }
        });
        let limits = self.plan.limits.iter().enumerate();
        let limits: Vec<LimitJudgement> = limits
            .map(|(nth, limit)| window.limit(limit, Some(nth), &seen))
            .chain(guards)
            .collect();
        let requests = seen.len() as u64;
        let load = self.load.as_mut().and_then(|load| load.verdict(window.to));
        let judged_s = window.to.nanos_since(window.from) as f64 / 1e9;
        let is_saturated = load.is_some_and(|load| load.verdict == LoadVerdict::Saturated);
        let is_certain = judged_s >= SATURATED_FROM_S
            || load.is_some_and(|load| load.excess >= Some(CERTAIN_EXCESS));
        let any = |verdict| limits.iter().any(|limit| limit.verdict == verdict);
        let verdict = if is_saturated && is_certain || any(ProbeVerdict::Failed) {
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

impl Window {
    /// `nth`: the place of its readings.
    fn limit(&self, limit: &SlaLimit, nth: Option<usize>, seen: &[&Seen]) -> LimitJudgement {
        let reading = |seen: &Seen| nth.and_then(|nth| seen.readings.get(nth).copied());
        let value = |seen: &Seen| reading(seen)?.value;
        match limit.figure {
            SlaFigure::Percentile(rank, _) => {
                let standings = seen.iter().filter_map(|seen| Some(reading(seen)?.standing));
                let share = self.share(standings, rank.beyond());
                let mut values: Vec<f64> = seen.iter().filter_map(|seen| value(seen)).collect();
                values.sort_unstable_by(f64::total_cmp);
                let value = (!values.is_empty()).then(|| quantile(&values, 1.0 - rank.beyond()));
                LimitJudgement {
                    value,
                    ..share.judgement(limit)
                }
            }
            SlaFigure::SuccessRate => {
                let standings = seen.iter().map(|seen| {
                    if seen.succeeded {
                        Standing::Met
                    } else {
                        Standing::Missed
                    }
                });
                let share = self.share(standings, 1.0 - limit.limit / 100.0);
                let value = share.seen().map(|share| (1.0 - share) * 100.0);
                LimitJudgement {
                    value,
                    ..share.judgement(limit)
                }
            }
            SlaFigure::Mean(_) => {
                let values: Vec<f64> = seen.iter().filter_map(|seen| value(seen)).collect();
                let size = values.len() / BATCHES;
                let means: Vec<f64> = values
                    .chunks_exact(size.max(1))
                    .take(BATCHES)
                    .map(|batch| batch.iter().sum::<f64>() / batch.len() as f64)
                    .collect();
                let mean =
                    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
                let enough = size > 1;
                self.mean(limit, mean, enough.then_some(&means[..]), values.len())
            }
            SlaFigure::RequestsPerS => self.throughput(limit, seen, |_| 1.0),
            SlaFigure::OutputTokensPerS => {
                self.throughput(limit, seen, |seen| seen.output_tokens as f64)
            }
            // has no limit here
            SlaFigure::Goodput => self.mean(limit, None, None, 0),
        }
    }

    /// What the server delivers per second, by bins of time.
    fn throughput(
        &self,
        limit: &SlaLimit,
        seen: &[&Seen],
        worth: impl Fn(&Seen) -> f64,
    ) -> LimitJudgement {
        let span_ns = self.to.nanos_since(self.from) as f64;
        let mut bins = vec![0.0; BATCHES];
        let bin_s = span_ns / 1e9 / BATCHES as f64;
        let mut ended = 0;
        for seen in seen.iter().filter(|seen| seen.succeeded) {
            let at = seen.ended.nanos_since(self.from) as f64 / span_ns;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of the bins"
            )]
            if let Some(bin) = bins.get_mut((at * BATCHES as f64) as usize) {
                *bin += worth(seen) / bin_s;
                ended += 1;
            }
        }
        let mean = bins.iter().sum::<f64>() / BATCHES as f64;
        self.mean(limit, (span_ns > 0.0).then_some(mean), Some(&bins), ended)
    }

    /// A mean and its interval from batches.
    fn mean(
        &self,
        limit: &SlaLimit,
        mean: Option<f64>,
        batches: Option<&[f64]>,
        requests: usize,
    ) -> LimitJudgement {
        let interval = batches.and_then(|batches| mean_interval(batches, self.confidence));
        let used = mean.map(|mean| {
            if limit.is_upper() {
                mean / limit.limit
            } else {
                limit.limit / mean
            }
        });
        let verdict = match interval {
            None => ProbeVerdict::Undecided,
            Some(interval) => {
                let (best, worst) = if limit.is_upper() {
                    (interval.low(), interval.high())
                } else {
                    (interval.high(), interval.low())
                };
                let may_pass = self.is_last || used <= Some(MEAN_PASSES_EARLY) && self.open == 0;
                if !limit.is_met_by(best) {
                    ProbeVerdict::Failed
                } else if limit.is_met_by(worst) && may_pass {
                    ProbeVerdict::Passed
                } else {
                    ProbeVerdict::Undecided
                }
            }
        };
        LimitJudgement {
            figure: limit.figure,
            target: limit.target(),
            value: mean,
            value_ci: interval,
            requests: requests as u64,
            violations: 0,
            violation_share: None,
            violation_share_ci: None,
            allowed_share: None,
            not_applicable: 0,
            used,
            verdict,
        }
    }

    /// Count violations, with the interval of their share.
    fn share(&self, standings: impl Iterator<Item = Standing>, allowed: f64) -> Share {
        let (mut known, mut unknown, mut not_applicable) = (Vec::new(), self.open, 0);
        for standing in standings {
            match standing {
                Standing::Met => known.push(0.0),
                Standing::Missed => known.push(1.0),
                Standing::Open => unknown += 1,
                Standing::NotApplicable => not_applicable += 1,
            }
        }
        let n = known.len() as f64;
        let violations = known.iter().sum::<f64>();
        let inflation = variance_inflation(&known.iter().copied());
        let z = normal_quantile(f64::midpoint(1.0, self.confidence));
        let low = if known.is_empty() {
            0.0
        } else {
            wilson(violations / n, n / inflation, z).low()
        };
        let all = n + unknown as f64;
        let high = if all > 0.0 {
            wilson((violations + unknown as f64) / all, all / inflation, z).high()
        } else {
            1.0
        };
        let seen = violations / n;
        let may_pass = self.is_last || seen <= allowed * PASSES_EARLY;
        let verdict = if low > allowed {
            ProbeVerdict::Failed
        } else if high <= allowed && may_pass || allowed >= 1.0 {
            ProbeVerdict::Passed
        } else {
            ProbeVerdict::Undecided
        };
        Share {
            requests: known.len() as u64,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a sum of ones"
            )]
            violations: violations as u64,
            interval: Interval::new(low, high),
            allowed,
            not_applicable,
            verdict,
        }
    }
}

/// Violations of a limit.
struct Share {
    requests: u64,
    violations: u64,
    interval: Interval,
    allowed: f64,
    not_applicable: u64,
    verdict: ProbeVerdict,
}

impl Share {
    fn seen(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.violations as f64 / self.requests as f64)
    }

    fn judgement(&self, limit: &SlaLimit) -> LimitJudgement {
        let used = self.seen().map(|share| {
            if share > 0.0 {
                share / self.allowed
            } else {
                0.0
            }
        });
        LimitJudgement {
            figure: limit.figure,
            target: limit.target(),
            value: None,
            value_ci: None,
            requests: self.requests,
            violations: self.violations,
            violation_share: self.seen(),
            violation_share_ci: (self.requests > 0).then_some(self.interval),
            allowed_share: Some(self.allowed),
            not_applicable: self.not_applicable,
            // nothing is allowed where every request has to succeed
            used: used.filter(|used| used.is_finite()),
            verdict: self.verdict,
        }
    }
}

impl Start {
    fn ended(&mut self, record: &RequestRecord) {
        let order = match record.phase {
            Phase::Warmup => record.index,
            Phase::Measured => self.warmup + record.index,
        };
        let due = record.times.scheduled;
        if self.began.is_none_or(|began| due < began) {
            self.began = Some(due);
        }
        match self.slots {
            Some(slots) if order < slots => {
                self.ended += 1;
                self.last = self.last.max(record.times.ended);
            }
            None if order < self.first as u64 => {
                let latency_s = record.times.ended.nanos_since(due) as f64 / 1e9;
                self.latencies.push((order, latency_s));
            }
            _ => {}
        }
    }

    /// When the start was over; `None` while it is not. It takes at most `most_s`.
    fn over(&mut self, now: Timestamp, most_s: f64) -> Option<Timestamp> {
        if self.over.is_some() {
            return self.over;
        }
        let began = self.began?;
        let latest = after_s(began, most_s);
        let over = match self.slots {
            Some(slots) if self.ended >= slots => Some(self.last),
            Some(_) => None,
            None if self.latencies.len() >= self.first => {
                let mut latencies: Vec<f64> = self.latencies.iter().map(|one| one.1).collect();
                latencies.sort_unstable_by(f64::total_cmp);
                Some(after_s(began, 2.0 * quantile(&latencies, START_RANK)))
            }
            None => None,
        };
        let over = over.map(|over| over.min(latest));
        self.over = over.or_else(|| (latest <= now).then_some(latest));
        self.over.filter(|over| *over <= now)
    }
}

impl Load {
    fn ended(&mut self, record: &RequestRecord) {
        let due = record.times.scheduled;
        if self.began.is_none() {
            let order = match record.phase {
                Phase::Warmup => record.index,
                Phase::Measured => self.spec.warmup_requests + record.index,
            };
            let mut arrivals = self.arrivals.clone();
            let nth = usize::try_from(order).unwrap_or(usize::MAX);
            let offset = (0..=nth).map_while(|_| arrivals.next_offset()).last();
            let Some(offset) = offset else { return };
            let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
            let began = Timestamp::from_nanos(due.as_nanos().saturating_sub(offset_ns));
            let gaps = self.spec.pacing.schedule().map(|schedule| schedule.gaps);
            self.began = Some(began);
            self.window = gaps.map(|gaps| LoadWindow::new(began, None, gaps));
        }
        if let Some(window) = &mut self.window {
            window.ended(due, record.times.ended, Ended::of(record));
        }
    }

    /// The verdict on the load until this moment.
    fn verdict(&mut self, now: Timestamp) -> Option<Saturation> {
        let (began, window) = (self.began?, self.window.as_mut()?);
        loop {
            if self.coming.is_none() {
                self.coming = self
                    .arrivals
                    .next_offset()
                    .map(|offset| began.after(offset));
            }
            match self.coming.filter(|due| *due <= now) {
                Some(due) => window.due(due),
                None => break,
            }
            self.coming = None;
        }
        Some(window.verdict_at(now).0)
    }
}

/// The looks between the first and the last one, seconds.
fn looks(least_s: f64, most_s: f64) -> Vec<f64> {
    let mut looks = Vec::new();
    let later = std::iter::successors(Some(FIRST_LOOKS[4] * LATER_BY), |by| Some(by * LATER_BY));
    for by in FIRST_LOOKS.into_iter().chain(later) {
        let look_s = least_s * by;
        if look_s >= most_s {
            break;
        }
        looks.push(look_s);
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

/// Student's interval of the mean of batches; `None` below two.
fn mean_interval(batches: &[f64], confidence: f64) -> Option<Interval> {
    let n = batches.len();
    let degrees = u32::try_from(n).ok()?.checked_sub(1).filter(|n| *n > 0)?;
    let mean = batches.iter().sum::<f64>() / n as f64;
    let squares: f64 = batches.iter().map(|one| (one - mean) * (one - mean)).sum();
    let error = (squares / f64::from(degrees) / n as f64).sqrt();
    let half = student_quantile(f64::midpoint(1.0, confidence), degrees) * error;
    Some(Interval::new(mean - half, mean + half))
}

fn after_s(at: Timestamp, seconds: f64) -> Timestamp {
    at.after(std::time::Duration::from_secs_f64(seconds.max(0.0)))
}

#[cfg(test)]
mod tests;
