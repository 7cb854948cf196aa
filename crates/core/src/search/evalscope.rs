//! Owns the experiment that searches as EvalScope 1.14.1 does: some runs of a few requests for each
//! value, means of their figures, and no probe in which a request failed.
//!
//! It must not know where results are kept or shown.

use std::collections::BTreeMap;

use evalscope_model::experiment::{Experiment, Point, PointResult};
use evalscope_model::search::{
    Mode, ProbeRecord, Purpose, SearchEnd, SearchRecord, Selection, Way,
};
use evalscope_model::sla::{Criterion, SlaFigure, value};

use super::action::Action;
use super::plan::{Reference, SearchPlan};
use super::reference::{Found, Goal, Observed, ReferenceSearch};

/// See the module.
#[derive(Debug)]
pub struct EvalscopeSearch {
    plan: SearchPlan,
    way: Reference,
    search: ReferenceSearch,
    /// The values that were asked for, in order.
    values: Vec<u64>,
}

impl EvalscopeSearch {
    /// A search for what the plan asks.
    #[must_use]
    pub fn new(plan: SearchPlan, way: Reference) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounds are whole numbers here, and EvalScope cuts the start"
        )]
        let whole = |value: f64| value as u64;
        let goal = match plan.groups[0][0] {
            Criterion::Greatest(_) => Goal::Greatest,
            Criterion::Smallest(_) => Goal::Smallest,
            Criterion::Limit(_) => Goal::Limits(plan.groups.len()),
        };
        Self {
            search: ReferenceSearch::new(
                whole(plan.start),
                whole(plan.lower),
                whole(plan.upper),
                goal,
            ),
            plan,
            way,
            values: Vec::new(),
        }
    }

    /// About how many runs a search takes: of some doublings, and of the values between two of them.
    #[must_use]
    pub fn estimate(&self) -> u32 {
        const VALUES: u32 = 10;
        self.way.runs.saturating_mul(VALUES)
    }

    fn runs(&self) -> usize {
        usize::try_from(self.way.runs).unwrap_or(usize::MAX)
    }

    /// The values that were measured as often as they have to be, or at least once.
    fn probes(&self, done: &[PointResult]) -> Vec<ProbeRecord> {
        let runs = done.chunks(self.runs());
        let probes = self.values.iter().zip(runs);
        probes
            .map(|(value, runs)| self.probe(*value, runs))
            .collect()
    }

    fn probe(&self, value: u64, runs: &[PointResult]) -> ProbeRecord {
        let mut reasons = Vec::new();
        let mut request_gate_passed = true;
        let figures: Vec<SlaFigure> = self
            .plan
            .groups
            .iter()
            .flatten()
            .map(Criterion::figure)
            .collect();
        for (nth, run) in (1..).zip(runs) {
            if run.sent == 0 || run.succeeded != run.sent {
                request_gate_passed = false;
                reasons.push(format!(
                    "run {nth}: {}/{} requests succeeded",
                    run.succeeded, run.sent
                ));
            }
            let missing = figures
                .iter()
                .filter(|figure| !run.figures.contains_key(figure));
            reasons
                .extend(missing.map(|figure| format!("run {nth}: missing or non-finite {figure}")));
        }
        let mean = |figure: SlaFigure| {
            let values = runs.iter().map(|run| run.figures.get(&figure).copied());
            let values: Vec<f64> = values.collect::<Option<_>>()?;
            Some(values.iter().sum::<f64>() / values.len() as f64)
        };
        let metric_values: BTreeMap<String, f64> = figures
            .iter()
            .filter_map(|figure| Some((figure.name(), mean(*figure)?)))
            .collect();
        let meets = |criterion: &Criterion| match criterion {
            Criterion::Limit(limit) => {
                mean(limit.figure).is_some_and(|value| limit.is_met_by(value))
            }
            other => mean(other.figure()).is_some(),
        };
        let group_passes = (1..).zip(&self.plan.groups).map(|(nth, group): (u32, _)| {
            let passes = request_gate_passed && group.iter().all(meets);
            (nth.to_string(), passes)
        });
        ProbeRecord {
            value: value as f64,
            runs: runs
                .iter()
                .map(|run| run.spec.point.label.clone())
                .collect(),
            group: None,
            purpose: Purpose::Search,
            total_requests: runs.iter().map(|run| run.sent).sum(),
            succeeded_requests: runs.iter().map(|run| run.succeeded).sum(),
            failures: runs.iter().flat_map(|run| &run.failures).fold(
                BTreeMap::new(),
                |mut all, (kind, count)| {
                    *all.entry(kind.clone()).or_default() += count;
                    all
                },
            ),
            took_s: runs.iter().map(|run| run.took_s).sum(),
            request_gate_passed,
            group_passes: group_passes.collect(),
            reasons,
            metric_values,
            weak: false,
            client_limited: runs.iter().any(|run| run.client_limited),
            cached_share: None,
            dominated: None,
            judgement: None,
        }
    }

    fn observed(&self, probes: &[ProbeRecord]) -> Vec<Observed> {
        let climbed = self.plan.groups[0][0].figure().name();
        let observed = self.values.iter().zip(probes);
        observed
            .map(|(value, probe)| Observed {
                value: *value,
                met: (1..=self.plan.groups.len())
                    .map(|nth| probe.group_passes[&nth.to_string()])
                    .collect(),
                figure: probe
                    .metric_values
                    .get(&climbed)
                    .copied()
                    .filter(|_| probe.request_gate_passed),
            })
            .collect()
    }

    /// The best of what was measured, where the search was stopped.
    fn best_so_far(observed: &[Observed], groups: usize) -> Found {
        (0..groups)
            .map(|group| {
                let met = observed.iter().filter(|one| one.met[group]);
                met.map(|one| one.value).max()
            })
            .collect()
    }

    fn selection(
        &self,
        group: usize,
        best: Option<u64>,
        probes: &[ProbeRecord],
        is_over: bool,
    ) -> Selection {
        let criteria = &self.plan.groups[group];
        let (mode, assumption) = match criteria[0] {
            Criterion::Limit(_) => (
                Mode::Constraint,
                "SLA satisfaction is monotonic as pressure increases",
            ),
            Criterion::Greatest(_) => (Mode::Max, CLIMBS),
            Criterion::Smallest(_) => (Mode::Min, CLIMBS),
        };
        let probe = best.and_then(|best| {
            let mut all = probes.iter();
            all.find(|probe| probe.value.total_cmp(&(best as f64)).is_eq())
        });
        let figure = criteria[0].figure();
        let observed_metric = probe
            .and_then(|probe| probe.metric_values.get(&figure.name()).copied())
            .filter(|_| mode != Mode::Constraint);
        let variable = self.plan.variable;
        let reason = match (best, observed_metric) {
            (Some(_), Some(observed)) => {
                format!(
                    "Best observed {figure}: {}",
                    value(figure, rounded(observed))
                )
            }
            (Some(_), None) => "Satisfied at the selected tested pressure".to_owned(),
            (None, _) if mode == Mode::Constraint => {
                format!("Failed at lower bound ({})", self.plan.lower)
            }
            (None, _) => "No run passed the 100% success gate with the required metric".to_owned(),
        };
        let phrase = self.plan.phrase(group);
        let what = match mode {
            Mode::Constraint => format!("Largest {} that met {phrase}", variable.noun()),
            _ => format!("Best {} for {phrase}", variable.noun()),
        };
        let runs = match self.way.runs {
            1 => "1 run".to_owned(),
            runs => format!("{runs} runs"),
        };
        let sentence = match best {
            Some(best) => format!(
                "{what} in {runs} of {} requests: {}.",
                self.way.requests(best as f64),
                variable.phrase(best as f64)
            ),
            None => format!(
                "No {} was found that meets {phrase}: {}.",
                variable.noun(),
                reason.to_lowercase()
            ),
        };
        let number = (group + 1).to_string();
        let failed = probes.iter().filter(|probe| !probe.group_passes[&number]);
        Selection {
            criteria: criteria
                .iter()
                .map(|criterion| (criterion.figure().name(), criterion.target()))
                .collect(),
            mode,
            selected_value: best.map(|best| best as f64),
            observed_metric,
            observed_metric_ci: None,
            status: if best.is_some() {
                "best_observed"
            } else {
                "none"
            }
            .to_owned(),
            reason,
            assumption: assumption.to_owned(),
            fails_at: failed
                .map(|probe| probe.value)
                .filter(|value| best.is_none_or(|best| *value > best as f64))
                .reduce(f64::min)
                .filter(|_| mode == Mode::Constraint),
            confirmed: false,
            unstable: false,
            end: match best {
                _ if !is_over => SearchEnd::Interrupted,
                None => SearchEnd::NoneMeets,
                Some(best) if best as f64 >= self.plan.upper => SearchEnd::AtBound,
                Some(_) => SearchEnd::Found,
            },
            sentences: vec![sentence],
        }
    }
}

/// As the files of EvalScope have figures: with four decimals.
fn rounded(value: f64) -> f64 {
    format!("{value:.4}").parse().unwrap_or(value)
}

/// What a climb takes for granted.
const CLIMBS: &str = "single-peaked objective within a valid low-pressure prefix";

impl Experiment for EvalscopeSearch {
    fn next(&mut self, done: &[PointResult]) -> Option<Point> {
        let nth = done.len() % self.runs();
        if nth == 0 {
            let probes = self.probes(done);
            match self.search.next(&self.observed(&probes)) {
                Action::Measure(value) => self.values.push(value),
                Action::Done(_) => return None,
            }
        }
        let value = *self.values.last()? as f64;
        let mut spec = self.plan.spec(value, nth, done);
        spec.requests = Some(self.way.requests(value));
        Some(Point { spec, probe: None })
    }

    fn remarks(&self, done: &[PointResult]) -> Vec<String> {
        if !done.len().is_multiple_of(self.runs()) {
            return Vec::new();
        }
        let probes = self.probes(done);
        let Some(probe) = probes.last() else {
            return Vec::new();
        };
        let selector = format!("[{}={}]", self.plan.variable.name(), probe.value);
        if !probe.request_gate_passed {
            let reasons = probe.reasons.join("; ");
            return vec![format!("{selector} SLA Check: {reasons} | FAILED")];
        }
        let rules = (1..)
            .zip(&self.plan.groups)
            .flat_map(|(rule, group): (u32, _)| {
                group.iter().map(move |criterion| (rule, criterion))
            });
        rules
            .filter_map(|(rule, criterion)| {
                let Criterion::Limit(limit) = criterion else {
                    return None;
                };
                let figure = limit.figure;
                let Some(seen) = probe.metric_values.get(&figure.name()) else {
                    return Some(format!("{selector} Metric {figure} not found in results."));
                };
                let status = if limit.is_met_by(*seen) {
                    "PASSED"
                } else {
                    "FAILED"
                };
                Some(format!(
                    "{selector} SLA Rule {rule} Check: {figure} = {} | Expect {} | {status}",
                    value(figure, rounded(*seen)),
                    limit.target()
                ))
            })
            .collect()
    }

    fn search(&self, done: &[PointResult]) -> Option<SearchRecord> {
        let probes = self.probes(done);
        let is_whole = done.len().is_multiple_of(self.runs());
        let known = &self.observed(&probes)[..];
        let (found, is_over) = match self.search.next(known) {
            Action::Done(found) if is_whole => (found, true),
            _ => (Self::best_so_far(known, self.plan.groups.len()), false),
        };
        let selections = found.iter().enumerate();
        Some(SearchRecord {
            variable: self.plan.variable,
            way: Way::Evalscope,
            lower_bound: self.plan.lower,
            upper_bound: self.plan.upper,
            selections: selections
                .map(|(group, best)| self.selection(group, *best, &probes, is_over))
                .collect(),
            probes,
        })
    }
}

#[cfg(test)]
mod tests;
