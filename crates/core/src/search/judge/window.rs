//! Owns how the requests between two moments stand to limits.
//!
//! It must not know when the moments are.

use evalscope_model::metrics::{
    Interval, Standing, normal_quantile, quantile, student_quantile, variance_inflation, wilson,
};
use evalscope_model::search::{Greatest, LimitJudgement, ProbeVerdict};
use evalscope_model::sla::{SlaFigure, SlaLimit};
use evalscope_model::time::Timestamp;

/// An earlier look passes a load that uses at most this much of its limit.
const PASSES_EARLY: f64 = 0.25;
/// Of means and throughput.
const MEAN_PASSES_EARLY: f64 = 0.9;

/// Batches of means, and bins of throughput.
const BATCHES: usize = 20;

/// What is kept of a request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) due: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) succeeded: bool,
    /// It met the objective, where there is one.
    pub(super) is_good: bool,
    pub(super) output_tokens: u64,
    pub(super) readings: Box<[Reading]>,
}

/// A request and one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) standing: Standing,
    /// In the unit of the limit.
    pub(super) value: Option<f64>,
}

/// A success, for throughput.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) at: Timestamp,
    pub(super) output_tokens: u64,
    pub(super) is_good: bool,
}

/// Judged requests between two moments.
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// Requests that are in flight.
    pub(super) open: u64,
    /// Successes, those that were due before the window too.
    pub(super) ended: Vec<Done>,
    pub(super) confidence: f64,
    pub(super) is_last: bool,
}

impl Window {
    /// `nth`: the place of its readings.
    pub(super) fn limit(
        &self,
        limit: &SlaLimit,
        nth: Option<usize>,
        seen: &[&Seen],
    ) -> LimitJudgement {
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
                self.mean(
                    limit,
                    mean,
                    enough.then_some(&means[..]),
                    values.len() as u64,
                )
            }
            SlaFigure::RequestsPerS | SlaFigure::OutputTokensPerS => {
                let (mean, bins, counted) = self.throughput(limit.figure);
                self.mean(limit, mean, Some(&bins), counted)
            }
            // has no limit here
            SlaFigure::Goodput => self.mean(limit, None, None, 0),
        }
    }

    /// A figure that is to be as great as possible: it is known once its interval is narrow enough.
    pub(super) fn greatest(&self, greatest: &Greatest) -> LimitJudgement {
        let (mean, bins, counted) = self.throughput(greatest.figure);
        let interval = mean_interval(&bins, self.confidence).filter(|_| mean.is_some());
        let half = interval.map(|interval| (interval.high() - interval.low()) / 2.0);
        let is_narrow = half
            .zip(mean)
            .is_some_and(|(half, mean)| half <= greatest.precision * mean);
        LimitJudgement {
            figure: greatest.figure,
            target: "max".to_owned(),
            value: mean,
            value_ci: interval,
            requests: counted,
            violations: 0,
            violation_share: None,
            violation_share_ci: None,
            independent_requests: None,
            allowed_share: None,
            not_applicable: 0,
            used: None,
            verdict: if is_narrow || self.is_last {
                ProbeVerdict::Passed
            } else {
                ProbeVerdict::Undecided
            },
        }
    }

    /// What the server delivers per second: the mean, by bins of time, and how many requests that rests on.
    fn throughput(&self, figure: SlaFigure) -> (Option<f64>, Vec<f64>, u64) {
        let worth = |done: &Done| match figure {
            SlaFigure::OutputTokensPerS => done.output_tokens as f64,
            SlaFigure::Goodput => f64::from(u8::from(done.is_good)),
            _ => 1.0,
        };
        let span_ns = self.to.nanos_since(self.from) as f64;
        let mut bins = vec![0.0; BATCHES];
        let width_s = span_ns / 1e9 / BATCHES as f64;
        let mut counted = 0;
        let inside = self.ended.iter().filter(|done| self.from < done.at);
        for done in inside {
            let at = done.at.nanos_since(self.from) as f64 / span_ns;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of the bins"
            )]
            if let Some(bin) = bins.get_mut((at * BATCHES as f64) as usize) {
                *bin += worth(done) / width_s;
                counted += 1;
            }
        }
        let mean = bins.iter().sum::<f64>() / BATCHES as f64;
        ((span_ns > 0.0).then_some(mean), bins, counted)
    }

    /// A mean and its interval from batches.
    fn mean(
        &self,
        limit: &SlaLimit,
        mean: Option<f64>,
        batches: Option<&[f64]>,
        requests: u64,
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
            requests,
            violations: 0,
            violation_share: None,
            violation_share_ci: None,
            independent_requests: None,
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
            independent: n / inflation,
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
    independent: f64,
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
            independent_requests: (self.requests > 0).then_some(self.independent),
            allowed_share: Some(self.allowed),
            not_applicable: self.not_applicable,
            // nothing is allowed where every request has to succeed
            used: used.filter(|used| used.is_finite()),
            verdict: self.verdict,
        }
    }
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
