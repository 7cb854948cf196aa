//! Owns the experiment that searches for the largest load that meets limits, where each probe runs until
//! its requests tell, and the answer is confirmed.
//!
//! It must not know where results are kept or shown.

use std::collections::BTreeMap;

use evalscope_model::experiment::{Experiment, Point, PointResult};
use evalscope_model::search::{
    LimitJudgement, Mode, ProbeJudgement, ProbePlan, ProbeRecord, ProbeTime, ProbeVerdict, Purpose,
    SearchEnd, SearchRecord, Selection, Variable, Way,
};
use evalscope_model::sla::{SlaFigure, SlaLimit, value};
use evalscope_model::slo::Comparison;

use super::action::Action;
use super::bracket::{Answer, BracketSearch, Judged, Probed, Values, Wanted, leans};
use super::judge::{LONGEST_TIMES, least_requests};
use super::plan::{SearchPlan, Statistics};

/// Unless `success_rate` has a limit, so many requests have to succeed, percent.
const LEAST_SUCCESS: f64 = 99.0;

/// How much longer a value is measured that does not tell: twice as long as usual, looked at first
/// where it ended before. A confirmation is a little shorter at least.
const AGAIN: (f64, f64) = (1.0, 2.0);
const CONFIRMATION: (f64, f64) = (1.5, 2.0);

/// More than the requests that have to come on average, in their standard deviations.
const SURE: f64 = 3.0;

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
        let values = match plan.variable {
            Variable::Parallel => Values::Whole,
            Variable::Rate => Values::Real,
        };
        let bounds = (plan.lower, plan.upper);
        Self {
            search: BracketSearch::new(plan.start, bounds, values, way.precision),
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
            Purpose::Search => return ProbeTime { least_s, most_s },
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
        let nth = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.value.total_cmp(&value).is_eq());
        let mut spec = self.plan.spec(value, nth.count(), done);
        spec.requests = None;
        // where it has not been decided by then, the judge decides on what there is
        spec.duration_s = Some(match self.plan.variable {
            Variable::Parallel => (time.most_s * (1.0 + LONGEST_TIMES)).ceil(),
            Variable::Rate => (time.most_s * 2.0 + 1.0).ceil(),
        });
        Point {
            spec,
            probe: Some(ProbePlan {
                guards: Self::guards(&limits),
                limits,
                from: self.plan.from(),
                delivery: self.plan.delivery,
                time,
                confidence: self.way.confidence,
            }),
        }
    }

    /// The measurements of a group, in order.
    fn probed(&self, group: usize, done: &[PointResult]) -> Vec<Probed> {
        let all = self.asked.iter().zip(done);
        all.filter(|((of, _), _)| *of == group)
            .map(|((_, wanted), result)| Probed {
                wanted: *wanted,
                judged: judged(result),
                used: result.judgement.as_ref().map_or(0.0, ProbeJudgement::used),
                weight: result
                    .judgement
                    .as_ref()
                    .map_or(0.0, ProbeJudgement::weight),
                succeeded: result.succeeded > 0,
            })
            .collect()
    }

    fn time_is_up(&self, done: &[PointResult]) -> bool {
        let took_s: f64 = done.iter().map(|point| point.took_s).sum();
        self.way.most_s.is_some_and(|most_s| took_s >= most_s)
    }

    fn probes(&self, done: &[PointResult]) -> Vec<ProbeRecord> {
        let all = self.asked.iter().zip(done);
        all.map(|((group, wanted), result)| {
            let judgement = result.judgement.clone();
            let undecided =
                |judgement: &ProbeJudgement| judgement.verdict == ProbeVerdict::Undecided;
            let passes = match judged(result) {
                Judged::Passed => true,
                Judged::Failed | Judged::ClientLimited => false,
                Judged::Undecided => {
                    let used = judgement.as_ref().map_or(0.0, ProbeJudgement::used);
                    used <= leans(wanted.purpose)
                }
            };
            let reasons = judgement.as_ref().map(reasons).unwrap_or_default();
            let figures = self.plan.groups[*group].iter().filter_map(|criterion| {
                let figure = criterion.figure();
                Some((figure.name(), *result.figures.get(&figure)?))
            });
            ProbeRecord {
                value: wanted.value,
                runs: vec![result.spec.point.label.clone()],
                group: u32::try_from(group + 1).ok(),
                purpose: wanted.purpose,
                total_requests: result.sent,
                succeeded_requests: result.succeeded,
                took_s: result.took_s,
                request_gate_passed: result.sent > 0 && result.succeeded == result.sent,
                reasons,
                metric_values: figures.collect(),
                group_passes: BTreeMap::from([((group + 1).to_string(), passes)]),
                weak: judgement.as_ref().is_some_and(undecided),
                client_limited: result.client_limited,
                judgement,
            }
        })
        .collect()
    }

    fn selection(&self, group: usize, answer: &Answer, probes: &[ProbeRecord]) -> Selection {
        let criteria = self.plan.groups[group].iter();
        let number = u32::try_from(group + 1).ok();
        let own: Vec<&ProbeRecord> = probes
            .iter()
            .filter(|probe| probe.group == number)
            .collect();
        let sentences = self.sentences(group, answer, &own);
        Selection {
            criteria: criteria
                .map(|criterion| (criterion.figure().name(), criterion.target()))
                .collect(),
            mode: Mode::Constraint,
            selected_value: answer.best,
            observed_metric: None,
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
    fn sentences(&self, group: usize, answer: &Answer, own: &[&ProbeRecord]) -> Vec<String> {
        let (variable, phrase) = (self.plan.variable, self.plan.phrase(group));
        let name = variable.noun();
        let same = |probe: &&&ProbeRecord, value: f64| probe.value.total_cmp(&value).is_eq();
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
            let mut sentence = why[..1].to_uppercase();
            sentence.push_str(&why[1..]);
            sentence.push('.');
            sentences.push(sentence);
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
            let at = variable.phrase(probe.value);
            sentences.extend(probe.reasons.first().map(|why| format!("At {at} {why}.")));
        }
        if answer.unstable {
            sentences.push(
                "Lower loads failed where higher ones had passed, more than once: the server does not behave \
                 the same twice."
                    .to_owned(),
            );
        }
        sentences
    }
}

/// How a search without an answer ended, or with one that is not the whole truth.
fn ended(end: SearchEnd, lower: f64) -> String {
    match end {
        SearchEnd::Found => "a value was confirmed".to_owned(),
        SearchEnd::NotConfirmed => {
            "loads that had passed failed when they were measured again".to_owned()
        }
        SearchEnd::AtBound => {
            "no value up to the upper bound failed (`--sla-upper-bound`)".to_owned()
        }
        SearchEnd::NoneMeets => {
            format!("not even the lower bound, {lower}, does (`--sla-lower-bound`)")
        }
        SearchEnd::NoSuccess => "no request of three probes in a row succeeded".to_owned(),
        SearchEnd::ClientLimited => {
            "this program, not the server, is the limit at higher values".to_owned()
        }
        SearchEnd::OutOfTime => "the time was over (`--sla-max-time`)".to_owned(),
        SearchEnd::Interrupted => "the search was stopped".to_owned(),
    }
}

fn judged(result: &PointResult) -> Judged {
    let Some(judgement) = &result.judgement else {
        return Judged::Failed;
    };
    match judgement.verdict {
        ProbeVerdict::Passed => Judged::Passed,
        // without a success there is nothing that this program could have slowed down
        _ if result.client_limited && result.succeeded > 0 => Judged::ClientLimited,
        ProbeVerdict::Failed => Judged::Failed,
        ProbeVerdict::Undecided => Judged::Undecided,
    }
}

/// What breaks limits, the worst first, to continue "at 27.4/s".
fn reasons(judgement: &ProbeJudgement) -> Vec<String> {
    let mut broken: Vec<&LimitJudgement> = judgement
        .limits
        .iter()
        .filter(|limit| limit.verdict != ProbeVerdict::Passed)
        .collect();
    let used = |limit: &LimitJudgement| limit.used.unwrap_or(f64::INFINITY);
    broken.sort_by(|a, b| used(b).total_cmp(&used(a)));
    let mut reasons: Vec<String> = broken.into_iter().map(reason).collect();
    let failed = judgement.verdict == ProbeVerdict::Failed;
    let is_broken = |limit: &LimitJudgement| limit.verdict == ProbeVerdict::Failed;
    if failed && !judgement.limits.iter().any(is_broken) {
        let excess = judgement.load.and_then(|load| load.excess);
        reasons.insert(
            0,
            format!(
                "the server did not keep up: it served {} % less than came",
                percent(excess.unwrap_or(0.0))
            ),
        );
    }
    reasons
}

fn reason(limit: &LimitJudgement) -> String {
    let label = limit.figure.label();
    match (
        limit.violation_share,
        limit.violation_share_ci,
        limit.allowed_share,
    ) {
        (Some(share), Some(ci), Some(allowed)) => {
            let what = match limit.figure {
                SlaFigure::SuccessRate => "of requests failed".to_owned(),
                figure => format!(
                    "of requests broke {} {}",
                    figure.label(),
                    typeset(&limit.target)
                ),
            };
            format!(
                "{} % {what} [{}, {}]; {} % may",
                percent(share),
                percent(ci.low()),
                percent(ci.high()),
                percent(allowed)
            )
        }
        _ => match limit.value {
            Some(seen) => {
                let shown: f64 = format!("{seen:.4e}").parse().unwrap_or(seen);
                format!(
                    "the {label} was {}, not {}",
                    value(limit.figure, shown),
                    typeset(&limit.target)
                )
            }
            None => format!("there is no {label}"),
        },
    }
}

/// A limit as people read it.
fn typeset(target: &str) -> String {
    target.replace("<=", "≤").replace(">=", "≥")
}

/// A share as percent: one decimal, two below one.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 1.0 || percent <= 0.0 {
        let text = format!("{percent:.1}");
        text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
    } else {
        format!("{percent:.2}")
    }
}

impl Experiment for CapacitySearch {
    fn next(&mut self, done: &[PointResult]) -> Option<Point> {
        let time_is_up = self.time_is_up(done);
        for group in 0..self.plan.groups.len() {
            if let Action::Measure(wanted) = self.search.next(&self.probed(group, done), time_is_up)
            {
                let point = self.point(group, wanted, done);
                self.asked.push((group, wanted));
                return Some(point);
            }
        }
        None
    }

    fn remarks(&self, done: &[PointResult]) -> Vec<String> {
        let probes = self.probes(done);
        let Some(probe) = probes.last() else {
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
        let probes = self.probes(done);
        let groups = 0..self.plan.groups.len();
        let time_is_up = self.time_is_up(done);
        let selections = groups.map(|group| {
            let own = self.probed(group, done);
            let answer = match self.search.next(&own, time_is_up) {
                Action::Done(answer) => answer,
                Action::Measure(_) => self.search.so_far(&own),
            };
            self.selection(group, &answer, &probes)
        });
        Some(SearchRecord {
            variable: self.plan.variable,
            way: Way::Measured,
            lower_bound: self.plan.lower,
            upper_bound: self.plan.upper,
            selections: selections.collect(),
            probes,
        })
    }
}
