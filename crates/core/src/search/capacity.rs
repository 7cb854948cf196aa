//! Owns the experiment that searches for the largest load that meets limits, where each probe runs until
//! its requests tell, and the answer is confirmed.
//!
//! It must not know where results are kept or shown.

use std::collections::BTreeMap;

use evalscope_model::experiment::{Experiment, Point, PointResult};
use evalscope_model::search::{
    Mode, OtherLimits, ProbeJudgement, ProbePlan, ProbeRecord, ProbeTime, ProbeVerdict, Purpose,
    SearchEnd, SearchRecord, Selection, Variable, Way,
};
use evalscope_model::sla::{SlaFigure, SlaLimit};
use evalscope_model::slo::Comparison;

use super::action::Action;
use super::bracket::{Answer, BracketSearch, Judged, Probed, Wanted, leans};
use super::judge::least_requests;
use super::plan::{SearchPlan, Statistics};
use super::words::{capital, ended, reasons, warming};

/// Unless `success_rate` has a limit, so many requests have to succeed, percent.
const LEAST_SUCCESS: f64 = 99.0;

/// How much longer a value is measured that does not tell: twice as long as usual, looked at first
/// where it ended before. A confirmation is a little shorter at least.
const AGAIN: (f64, f64) = (1.0, 2.0);
const CONFIRMATION: (f64, f64) = (1.5, 2.0);

/// More than the requests that have to come on average, in their standard deviations.
const SURE: f64 = 3.0;

/// A probe as one search sees it.
#[derive(Clone, Copy, Debug)]
struct Step<'a> {
    wanted: Wanted,
    result: &'a PointResult,
    judgement: Option<&'a ProbeJudgement>,
    /// It was measured for another search.
    is_reused: bool,
}

/// See the module.
#[derive(Debug)]
pub struct CapacitySearch {
    plan: SearchPlan,
    way: Statistics,
    search: BracketSearch,
    /// What was asked for, in order, and for which group.
    asked: Vec<(usize, Wanted)>,
}

impl CapacitySearch {
    /// A search for what the plan asks. Its groups have limits only.
    #[must_use]
    pub fn new(plan: SearchPlan, way: Statistics) -> Self {
        let bounds = (plan.lower, plan.upper);
        Self {
            search: BracketSearch::new(plan.start, bounds, plan.values(), way.precision),
            plan,
            way,
            asked: Vec::new(),
        }
    }

    /// About how many probes a search takes, and how many seconds: from where it begins, three steps up
    /// or down, the middles of a bracket, and a confirmation.
    #[must_use]
    pub fn estimate(&self) -> (u32, f64) {
        const STEPS: f64 = 4.0;
        let middles = (2f64.ln() / (1.0 + self.way.precision).ln()).log2().ceil();
        let middles = middles.max(0.0);
        let time = self.time(&self.plan.limits(0), self.plan.start, Purpose::Search);
        let groups = self.plan.groups.len() as f64;
        let seconds = STEPS * time.least_s.midpoint(time.most_s)
            + middles * time.most_s
            + CONFIRMATION.1 * time.most_s;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number"
        )]
        let probes = (groups * (STEPS + middles + 1.0)) as u32;
        (probes, groups * seconds)
    }

    /// What must not be broken for certain, beside the limits: so many requests have to succeed.
    fn guards(limits: &[SlaLimit]) -> Vec<SlaLimit> {
        let mut guards = Vec::new();
        let is_limited = |limit: &SlaLimit| limit.figure == SlaFigure::SuccessRate;
        if !limits.iter().any(is_limited) {
            guards.push(SlaLimit {
                figure: SlaFigure::SuccessRate,
                comparison: Comparison::AtLeast,
                limit: LEAST_SUCCESS,
            });
        }
        guards
    }

    /// When a probe is looked at: late enough that the requests which its limits need are due.
    fn time(&self, limits: &[SlaLimit], value: f64, purpose: Purpose) -> ProbeTime {
        let ProbeTime { least_s, most_s } = self.way.time;
        let most_s = match self.plan.variable {
            Variable::Parallel => most_s,
            Variable::Rate => {
                let least = least_requests(limits, self.way.confidence) as f64;
                most_s.max((least + SURE * least.sqrt()) / value)
            }
        };
        let (first, last) = match purpose {
            Purpose::Search | Purpose::OtherSearch => {
                return ProbeTime { least_s, most_s };
            }
            Purpose::Again => AGAIN,
            Purpose::Confirmation => CONFIRMATION,
        };
        ProbeTime {
            least_s: most_s * first,
            most_s: most_s * last,
        }
    }

    fn point(&self, group: usize, wanted: Wanted, done: &[PointResult]) -> Point {
        let Wanted { value, purpose } = wanted;
        let limits = self.plan.limits(group);
        let time = self.time(&limits, value, purpose);
        let asked = self.asked.iter();
        let nth = asked.filter(|(_, asked)| asked.value.total_cmp(&value).is_eq());
        let nth = nth.count();
        // searches that are over have no more questions
        let others = (group + 1..self.plan.groups.len()).map(|other| {
            let limits = self.plan.limits(other);
            OtherLimits {
                guards: Self::guards(&limits),
                limits,
            }
        });
        let probe = ProbePlan {
            guards: Self::guards(&limits),
            limits,
            others: others.collect(),
            greatest: None,
            from: self.plan.from(),
            delivery: self.plan.delivery,
            time,
            confidence: self.way.confidence,
        };
        self.plan.probe(value, nth, done, probe)
    }

    /// The probes of a group, in order, and what it wants next; `None`: it is over. Where an earlier search
    /// has measured a value, and that tells for this one too, it is not measured again.
    fn steps<'a>(&self, group: usize, done: &'a [PointResult]) -> (Vec<Step<'a>>, Option<Wanted>) {
        let asked = || self.asked.iter().zip(done);
        let mut own = asked().filter(|((of, _), _)| *of == group);
        let mut steps: Vec<Step<'_>> = Vec::new();
        loop {
            let probed: Vec<Probed> = steps.iter().map(Step::probed).collect();
            let Action::Measure(wanted) = self.search.next(&probed, false) else {
                return (steps, None);
            };
            let of_others = asked().filter(|((of, asked), _)| {
                *of < group && asked.value.total_cmp(&wanted.value).is_eq()
            });
            let tells = of_others.filter_map(|((of, _), result)| {
                let judgement = result.judgements.get(group - of)?;
                Some(Step {
                    wanted,
                    result,
                    judgement: Some(judgement),
                    is_reused: true,
                })
            });
            let mut tells = tells
                .filter(|step| matches!(step.judged(), Judged::Passed | Judged::Failed))
                .filter(|_| wanted.purpose == Purpose::Search);
            let step = tells.next().or_else(|| {
                own.next().map(|(_, result)| Step {
                    wanted,
                    result,
                    judgement: result.judgement(),
                    is_reused: false,
                })
            });
            match step {
                Some(step) => steps.push(step),
                None => return (steps, Some(wanted)),
            }
        }
    }

    fn time_is_up(&self, done: &[PointResult]) -> bool {
        let took_s: f64 = done.iter().map(|point| point.took_s).sum();
        self.way.most_s.is_some_and(|most_s| took_s >= most_s)
    }

    fn probes(&self, group: usize, steps: &[Step<'_>]) -> Vec<ProbeRecord> {
        let number = group + 1;
        let records = steps.iter().map(|step| {
            let Step { wanted, result, .. } = *step;
            let judged = step.judged();
            let figures = self.plan.groups[group].iter().filter_map(|criterion| {
                let figure = criterion.figure();
                Some((figure.name(), *result.figures.get(&figure)?))
            });
            let passes = match judged {
                Judged::Passed => true,
                Judged::Failed | Judged::ClientLimited => false,
                Judged::Undecided => step.used() <= leans(wanted.purpose),
            };
            ProbeRecord {
                value: wanted.value,
                runs: vec![result.spec.point.label.clone()],
                group: u32::try_from(number).ok(),
                purpose: if step.is_reused {
                    Purpose::OtherSearch
                } else {
                    wanted.purpose
                },
                total_requests: result.sent,
                succeeded_requests: result.succeeded,
                failures: result.failures.clone(),
                took_s: result.took_s,
                request_gate_passed: result.sent > 0 && result.succeeded == result.sent,
                reasons: step.reasons(),
                metric_values: figures.collect(),
                group_passes: BTreeMap::from([(number.to_string(), passes)]),
                weak: step.is_undecided(),
                cached_share: result.cached_share,
                dominated: None,
                client_limited: result.client_limited,
                judgement: step.judgement.cloned(),
            }
        });
        records.collect()
    }

    fn selection(&self, group: usize, answer: &Answer, own: &[ProbeRecord]) -> Selection {
        let criteria = self.plan.groups[group].iter();
        let sentences = self.sentences(group, answer, own);
        Selection {
            criteria: criteria
                .map(|criterion| (criterion.figure().name(), criterion.target()))
                .collect(),
            mode: Mode::Constraint,
            selected_value: answer.best,
            observed_metric: None,
            observed_metric_ci: None,
            status: match answer.best {
                Some(_) => "best_observed",
                None => "none",
            }
            .to_owned(),
            reason: match answer.best {
                Some(_) if answer.confirmed => {
                    "confirmed with other prompts and arrivals".to_owned()
                }
                Some(_) => "not confirmed".to_owned(),
                None => ended(answer.end, self.plan.lower),
            },
            assumption: "a load above one that is too much is too much".to_owned(),
            fails_at: answer.fails_at,
            confirmed: answer.confirmed,
            unstable: answer.unstable,
            end: answer.end,
            sentences,
        }
    }

    /// The answer in sentences.
    fn sentences(&self, group: usize, answer: &Answer, own: &[ProbeRecord]) -> Vec<String> {
        let (variable, phrase) = (self.plan.variable, self.plan.phrase(group));
        let name = variable.noun();
        let same = |probe: &&ProbeRecord, value: f64| probe.value.total_cmp(&value).is_eq();
        let mut sentences = Vec::new();
        sentences.push(match answer.best {
            Some(best) => {
                let confirmation = own
                    .iter()
                    .rev()
                    .find(|probe| same(probe, best) && probe.purpose == Purpose::Confirmation);
                let seconds =
                    confirmation.and_then(|probe| Some(probe.judgement.as_ref()?.judged_s));
                let how = match seconds.filter(|_| answer.confirmed) {
                    Some(seconds) => format!("confirmed, {seconds:.0} s"),
                    None => "not confirmed".to_owned(),
                };
                let value = variable.phrase(best);
                format!("Largest {name} that meets {phrase}: {value} ({how}).")
            }
            None => format!(
                "No {name} was found that meets {phrase}: {}.",
                ended(answer.end, self.plan.lower)
            ),
        });
        if answer.best.is_some() && !matches!(answer.end, SearchEnd::Found) {
            let why = ended(answer.end, self.plan.lower);
            sentences.push(format!("{}.", capital(&why)));
        }
        let fails_at = answer.fails_at.or_else(|| {
            let values = own
                .iter()
                .filter(|probe| probe.weak)
                .map(|probe| probe.value);
            values
                .filter(|value| answer.best.is_none_or(|best| *value > best))
                .reduce(f64::min)
        });
        let failing = fails_at.and_then(|value| {
            let mut all = own.iter().rev();
            all.find(|probe| {
                same(probe, value) && probe.group_passes.values().all(|passes| !passes)
            })
        });
        if let Some(probe) = failing {
            let at = match variable {
                Variable::Parallel => format!("a concurrency of {},", probe.value),
                Variable::Rate => variable.phrase(probe.value),
            };
            sentences.extend(probe.reasons.first().map(|why| format!("At {at} {why}.")));
        }
        if answer.unstable {
            sentences.push(
                "Lower loads failed where higher ones had passed, more than once: the server does not behave \
                 the same twice."
                    .to_owned(),
            );
        }
        sentences.extend(warming(own));
        sentences
    }
}

impl Step<'_> {
    fn judged(&self) -> Judged {
        let Some(judgement) = self.judgement else {
            return Judged::Failed;
        };
        match judgement.verdict {
            ProbeVerdict::Passed => Judged::Passed,
            // without a success there is nothing that this program could have slowed down
            _ if self.result.client_limited && self.result.succeeded > 0 => Judged::ClientLimited,
            ProbeVerdict::Failed => Judged::Failed,
            ProbeVerdict::Undecided => Judged::Undecided,
        }
    }

    fn is_undecided(&self) -> bool {
        let verdict = self.judgement.map(|judgement| judgement.verdict);
        verdict == Some(ProbeVerdict::Undecided)
    }

    fn reasons(&self) -> Vec<String> {
        let judgement = self.judgement;
        judgement.map_or_else(Vec::new, |judgement| {
            reasons(judgement, &self.result.failures)
        })
    }

    fn used(&self) -> f64 {
        self.judgement.map_or(0.0, ProbeJudgement::used)
    }

    fn probed(&self) -> Probed {
        Probed {
            wanted: self.wanted,
            judged: self.judged(),
            used: self.used(),
            weight: self.judgement.map_or(0.0, ProbeJudgement::weight),
            succeeded: self.result.succeeded > 0,
        }
    }
}

impl Experiment for CapacitySearch {
    fn next(&mut self, done: &[PointResult]) -> Option<Point> {
        if self.time_is_up(done) {
            return None;
        }
        let wants = |group| Some((group, self.steps(group, done).1?));
        let (group, wanted) = (0..self.plan.groups.len()).find_map(wants)?;
        let point = self.point(group, wanted, done);
        self.asked.push((group, wanted));
        Some(point)
    }

    fn remarks(&self, done: &[PointResult]) -> Vec<String> {
        let Some((group, _)) = done.len().checked_sub(1).map(|last| self.asked[last]) else {
            return Vec::new();
        };
        let probes = self.probes(group, &self.steps(group, done).0);
        let Some(probe) = probes
            .iter()
            .rfind(|probe| probe.purpose != Purpose::OtherSearch)
        else {
            return Vec::new();
        };
        let passes = probe.group_passes.values().all(|passes| *passes);
        let verdict = match (passes, probe.weak) {
            (true, false) => "passed",
            (false, false) => "failed",
            (true, true) => "does not tell, within the limits so far",
            (false, true) => "does not tell, close to the limits",
        };
        let seconds = probe
            .judgement
            .as_ref()
            .map_or(0.0, |judged| judged.judged_s);
        let requests = probe.judgement.as_ref().map_or(0, |judged| judged.requests);
        let why = match probe.reasons.first().filter(|_| !passes || probe.weak) {
            Some(why) => format!(": {why}"),
            None => String::new(),
        };
        vec![format!(
            "[{}={}] {verdict} after {seconds:.0} s and {requests} requests{why}",
            self.plan.variable.name(),
            probe.value
        )]
    }

    fn search(&self, done: &[PointResult]) -> Option<SearchRecord> {
        let time_is_up = self.time_is_up(done);
        let (mut selections, mut records) = (Vec::new(), Vec::new());
        for group in 0..self.plan.groups.len() {
            let (steps, _) = self.steps(group, done);
            let probed: Vec<Probed> = steps.iter().map(Step::probed).collect();
            let answer = match self.search.next(&probed, time_is_up) {
                Action::Done(answer) => answer,
                Action::Measure(_) => self.search.so_far(&probed),
            };
            let own = self.probes(group, &steps);
            selections.push(self.selection(group, &answer, &own));
            records.extend(own);
        }
        Some(SearchRecord {
            variable: self.plan.variable,
            way: Way::Measured,
            lower_bound: self.plan.lower,
            upper_bound: self.plan.upper,
            selections,
            probes: records,
        })
    }
}

#[cfg(test)]
mod tests;
