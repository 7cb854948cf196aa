//! Owns the experiment that searches for the load with the greatest throughput, output or goodput, where each
//! probe runs until its figure is known well enough, and the answer is measured again.
//!
//! It must not know where results are kept or shown.

use std::collections::BTreeMap;

use evalscope_model::experiment::{Experiment, Point, PointResult};
use evalscope_model::metrics::{Delivery, Interval};
use evalscope_model::search::{
    Greatest, LimitJudgement, Mode, ProbePlan, ProbeRecord, ProbeTime, Purpose, SearchEnd,
    SearchRecord, Selection, Way,
};
use evalscope_model::sla::{Rank, SlaFigure, value};
use evalscope_model::slo::SloFigure;

use super::action::Action;
use super::bracket::Wanted;
use super::peak::{Observation, Peak, PeakSearch};
use super::plan::{SearchPlan, Statistics};
use super::words::{capital, ended, short, warming};

/// See the module.
#[derive(Debug)]
pub struct GreatestSearch {
    plan: SearchPlan,
    way: Statistics,
    figure: SlaFigure,
    search: PeakSearch,
    /// What was asked for, in order.
    asked: Vec<Wanted>,
}

impl GreatestSearch {
    /// A search for the greatest value of a figure: throughput, output or goodput.
    #[must_use]
    pub fn new(plan: SearchPlan, way: Statistics, figure: SlaFigure) -> Self {
        let bounds = (plan.lower, plan.upper);
        Self {
            search: PeakSearch::new(plan.start, bounds, plan.values(), way.precision),
            plan,
            way,
            figure,
            asked: Vec::new(),
        }
    }

    /// About how many probes a search takes, and how many seconds: some doublings, the sections of two gaps,
    /// and a confirmation.
    #[must_use]
    pub fn estimate(&self) -> (u32, f64) {
        const STEPS: f64 = 5.0;
        const PER_SECTION: f64 = 0.618;
        let gap = 2f64.ln() / (1.0 + self.way.precision).ln();
        let sections = (gap.ln() / -PER_SECTION.ln()).ceil().max(1.0);
        let ProbeTime { least_s, most_s } = self.way.time;
        let seconds = (STEPS + sections) * least_s.midpoint(most_s) + most_s;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number"
        )]
        let probes = (STEPS + sections + 1.0) as u32;
        (probes, seconds)
    }

    fn point(&self, wanted: Wanted, done: &[PointResult]) -> Point {
        let ProbeTime { least_s, most_s } = self.way.time;
        let same = |asked: &&Wanted| asked.value.total_cmp(&wanted.value).is_eq();
        let nth = self.asked.iter().filter(same).count();
        let probe = ProbePlan {
            limits: Vec::new(),
            guards: Vec::new(),
            others: Vec::new(),
            greatest: Some(Greatest {
                figure: self.figure,
                slo: self.plan.slo.clone(),
                // two that differ by the precision can be distinguished
                precision: self.way.precision / 2.0,
            }),
            from: self.plan.from(),
            delivery: self.plan.delivery,
            time: match wanted.purpose {
                Purpose::Confirmation => ProbeTime {
                    least_s: most_s,
                    most_s,
                },
                Purpose::Search | Purpose::Again | Purpose::OtherSearch => {
                    ProbeTime { least_s, most_s }
                }
            },
            confidence: self.way.confidence,
        };
        self.plan.probe(wanted.value, nth, done, probe)
    }

    fn observed(&self, done: &[PointResult]) -> Vec<Observation> {
        let all = self.asked.iter().zip(done);
        all.map(|(wanted, result)| {
            let figure = figure_of(result);
            let seen = figure.and_then(|figure| figure.value).unwrap_or(0.0);
            let interval = figure.and_then(|figure| figure.value_ci);
            Observation {
                wanted: *wanted,
                figure: seen,
                low: interval.map_or(seen, Interval::low),
                high: interval.map_or(seen, Interval::high),
                succeeded: result.succeeded > 0,
                client_limited: result.client_limited && result.succeeded > 0,
            }
        })
        .collect()
    }

    fn time_is_up(&self, done: &[PointResult]) -> bool {
        let took_s: f64 = done.iter().map(|point| point.took_s).sum();
        self.way.most_s.is_some_and(|most_s| took_s >= most_s)
    }

    /// The figures that show what a load costs: output, and how fast requests are.
    fn views(&self) -> Vec<SlaFigure> {
        let percentile = |rank, of| SlaFigure::Percentile(rank, of);
        let mut views = vec![self.figure];
        views.extend(match self.plan.delivery {
            Delivery::Stream => vec![
                SlaFigure::OutputTokensPerS,
                percentile(Rank::P50, SloFigure::Tpot),
                percentile(Rank::P99, SloFigure::Ttft),
            ],
            Delivery::Whole => vec![
                SlaFigure::OutputTokensPerS,
                percentile(Rank::P99, SloFigure::Latency),
            ],
        });
        views
    }

    fn probes(&self, done: &[PointResult]) -> Vec<ProbeRecord> {
        let all = self.asked.iter().zip(done);
        all.map(|(wanted, result)| {
            let figures = self.views().into_iter();
            let figures =
                figures.filter_map(|figure| Some((figure.name(), *result.figures.get(&figure)?)));
            ProbeRecord {
                value: wanted.value,
                runs: vec![result.spec.point.label.clone()],
                group: Some(1),
                purpose: wanted.purpose,
                total_requests: result.sent,
                succeeded_requests: result.succeeded,
                failures: result.failures.clone(),
                took_s: result.took_s,
                request_gate_passed: result.sent > 0 && result.succeeded == result.sent,
                reasons: Vec::new(),
                metric_values: figures.collect(),
                group_passes: BTreeMap::from([("1".to_owned(), result.succeeded > 0)]),
                weak: false,
                cached_share: result.cached_share,
                dominated: Some(done.iter().any(|other| self.dominates(other, result))),
                client_limited: result.client_limited,
                judgement: result.judgement().cloned(),
            }
        })
        .collect()
    }

    /// Whether a load has as much output as another and is as fast, and is better in one of them.
    fn dominates(&self, one: &PointResult, other: &PointResult) -> bool {
        let views = self.views();
        let known = views[1..].iter().filter_map(|figure| {
            let (a, b) = (one.figures.get(figure)?, other.figures.get(figure)?);
            // output is to be great, times are to be small
            Some(match figure {
                SlaFigure::OutputTokensPerS => a.total_cmp(b),
                _ => b.total_cmp(a),
            })
        });
        let known: Vec<std::cmp::Ordering> = known.collect();
        known.len() > 1
            && known.iter().all(|order| order.is_ge())
            && known.iter().any(|order| order.is_gt())
    }

    fn selection(&self, peak: &Peak, probes: &[ProbeRecord]) -> Selection {
        let variable = self.plan.variable;
        let at = |value: f64| {
            let mut all = probes.iter().rev();
            all.find(|probe| probe.value.total_cmp(&value).is_eq())
        };
        let best = peak.best.and_then(at);
        let seen = best.and_then(of_probe);
        let observed = seen.and_then(|seen| seen.value);
        let label = self.figure.label();
        let mut sentences = vec![match (peak.best, seen) {
            (Some(best), Some(seen)) => format!(
                "Greatest {label}: {} at a {} of {} ({}).",
                self.shown(seen),
                variable.noun(),
                variable.phrase(best),
                if peak.confirmed {
                    "confirmed"
                } else {
                    "not confirmed"
                }
            ),
            _ if peak.end == SearchEnd::NoneMeets => {
                format!("No {} has a {label} above 0.", variable.noun())
            }
            _ => format!(
                "No {} with the greatest {label} was found.",
                variable.noun()
            ),
        }];
        if !matches!(peak.end, SearchEnd::Found | SearchEnd::NoneMeets) {
            sentences.push(format!("{}.", capital(&ended(peak.end, self.plan.lower))));
        }
        let above = probes.iter().filter(|probe| Some(probe.value) > peak.best);
        let next = above.min_by(|a, b| a.value.total_cmp(&b.value));
        if let Some((next, seen)) = next.and_then(|next| Some((next, of_probe(next)?)))
            && observed.is_some()
        {
            let at = variable.phrase(next.value);
            sentences.push(format!("At {at} it is {}.", self.shown(seen)));
        }
        sentences.extend(warming(probes));
        Selection {
            criteria: BTreeMap::from([(self.figure.name(), "max".to_owned())]),
            mode: Mode::Max,
            selected_value: peak.best,
            observed_metric: observed,
            observed_metric_ci: seen.and_then(|seen| seen.value_ci),
            status: match peak.best {
                Some(_) => "best_observed",
                None => "none",
            }
            .to_owned(),
            reason: match observed {
                Some(seen) => {
                    format!(
                        "Best observed {}: {}",
                        self.figure,
                        value(self.figure, short(seen))
                    )
                }
                None => ended(peak.end, self.plan.lower),
            },
            assumption: "the figure rises to a peak and then does not rise again".to_owned(),
            fails_at: None,
            confirmed: peak.confirmed,
            unstable: false,
            end: peak.end,
            sentences,
        }
    }

    /// A figure with its interval: `12.3 req/s [12, 12.6]`.
    fn shown(&self, seen: &LimitJudgement) -> String {
        let text = value(self.figure, short(seen.value.unwrap_or(0.0)));
        match seen.value_ci {
            Some(ci) => format!("{text} [{}, {}]", short(ci.low()), short(ci.high())),
            None => text,
        }
    }
}

/// The figure that is searched for.
fn figure_of(result: &PointResult) -> Option<&LimitJudgement> {
    result.judgement()?.limits.first()
}

fn of_probe(probe: &ProbeRecord) -> Option<&LimitJudgement> {
    probe.judgement.as_ref()?.limits.first()
}

impl Experiment for GreatestSearch {
    fn next(&mut self, done: &[PointResult]) -> Option<Point> {
        let time_is_up = self.time_is_up(done);
        match self.search.next(&self.observed(done), time_is_up) {
            Action::Done(_) => None,
            Action::Measure(wanted) => {
                let point = self.point(wanted, done);
                self.asked.push(wanted);
                Some(point)
            }
        }
    }

    fn remarks(&self, done: &[PointResult]) -> Vec<String> {
        let remark = |(asked, result): (&Wanted, &PointResult)| {
            let seen = figure_of(result)?;
            let judged_s = result.judgement()?.judged_s;
            Some(format!(
                "[{}={}] {} of {} after {judged_s:.0} s",
                self.plan.variable.name(),
                asked.value,
                self.figure.label(),
                self.shown(seen)
            ))
        };
        let last = self.asked.iter().zip(done).next_back();
        last.and_then(remark).into_iter().collect()
    }

    fn search(&self, done: &[PointResult]) -> Option<SearchRecord> {
        let probes = self.probes(done);
        let observed = self.observed(done);
        let peak = match self.search.next(&observed, self.time_is_up(done)) {
            Action::Done(peak) => peak,
            Action::Measure(_) => self.search.so_far(&observed),
        };
        Some(SearchRecord {
            variable: self.plan.variable,
            way: Way::Measured,
            lower_bound: self.plan.lower,
            upper_bound: self.plan.upper,
            selections: vec![self.selection(&peak, &probes)],
            probes,
        })
    }
}

#[cfg(test)]
mod tests;
