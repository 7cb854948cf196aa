//! Owns which runs of the two sides are measurements of the same load, and whether they can be compared.
//!
//! It must not know tests or rules.

use evalscope_model::metrics::{ENOUGH_RUNS, Metric};
use serde_json::Value;

use super::run::Run;
use super::settings::{self, CLIENT, Difference, WORKLOAD};
use crate::names::{FigureKey, Stat};
use crate::rules::PointPlace;

/// Mean lengths that differ by no more than this share are the same workload.
const SAME_WORKLOAD: f64 = 0.02;

/// The runs of one load.
#[derive(Debug)]
pub(super) struct Point<'a> {
    pub(super) place: &'a PointPlace,
    pub(super) base: Vec<&'a Run>,
    pub(super) new: Vec<&'a Run>,
}

/// Loads that both sides have, and those that only one has.
#[derive(Debug, Default)]
pub(super) struct Matched<'a> {
    pub(super) points: Vec<Point<'a>>,
    pub(super) only_base: Vec<String>,
    pub(super) only_new: Vec<String>,
}

/// Runs by their load, in the order of the first.
fn by_load(runs: &[Run]) -> Vec<(&PointPlace, Vec<&Run>)> {
    let mut groups: Vec<(&PointPlace, Vec<&Run>)> = Vec::new();
    for run in runs {
        let own = groups
            .iter_mut()
            .find(|(place, _)| place.is_same_load(&run.place));
        match own {
            Some((_, group)) => group.push(run),
            None => groups.push((&run.place, vec![run])),
        }
    }
    groups
}

impl<'a> Matched<'a> {
    pub(super) fn of(base: &'a [Run], new: &'a [Run]) -> Self {
        let mut matched = Self::default();
        let mut left = by_load(new);
        for (place, base) in by_load(base) {
            match left.iter().position(|(other, _)| other.is_same_load(place)) {
                Some(at) => {
                    let (place, new) = left.remove(at);
                    matched.points.push(Point { place, base, new });
                }
                None => matched.only_base.push(place.to_string()),
            }
        }
        matched.only_new = left.iter().map(|(place, _)| place.to_string()).collect();
        matched
    }
}

/// What speaks against comparing the runs of a point.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Why they are not comparable; empty if they are.
    pub(super) reasons: Vec<String>,
    /// Settings that differ and may.
    pub(super) allowed: Vec<Difference>,
}

impl Point<'_> {
    /// There are too few runs for a verdict to be more than an indication.
    pub(super) fn is_indicative(&self) -> bool {
        self.base.len() < ENOUGH_RUNS || self.new.len() < ENOUGH_RUNS
    }

    fn look_at_clients(&self, allowed: &[String], doubts: &mut Doubts) {
        let limited = |runs: &[&Run]| -> Vec<String> {
            let runs = runs.iter().filter(|run| run.client_limited);
            runs.map(|run| run.origin.clone()).collect()
        };
        let (base, new) = (limited(&self.base), limited(&self.new));
        if base.is_empty() && new.is_empty() {
            return;
        }
        if allowed.iter().any(|name| name == CLIENT) {
            let says = |limited: &[String]| {
                Value::from(if limited.is_empty() {
                    "not limited"
                } else {
                    "limited"
                })
            };
            doubts.allowed.push(Difference {
                setting: CLIENT.to_owned(),
                base: says(&base),
                new: says(&new),
            });
            return;
        }
        let mut all = [base, new].concat();
        all.dedup();
        doubts.reasons.push(format!(
            "{}: the client was limited, so its figures may show the client",
            all.join(", ")
        ));
    }

    pub(super) fn doubts(&self, allowed: &[String]) -> Doubts {
        let mut doubts = Doubts::default();
        for run in self.base.iter().chain(&self.new) {
            let reason = run
                .unusable
                .as_ref()
                .map(|why| format!("{}: {why}", run.origin));
            if let Some(reason) = reason.filter(|reason| !doubts.reasons.contains(reason)) {
                doubts.reasons.push(reason);
            }
        }
        self.look_at_clients(allowed, &mut doubts);
        let first = self.base[0];
        let others = self.base[1..].iter().chain(&self.new);
        let mut differences: Vec<Difference> = Vec::new();
        for run in others {
            for difference in settings::differences(&first.settings, &run.settings) {
                if !differences
                    .iter()
                    .any(|one| one.setting == difference.setting)
                {
                    differences.push(difference);
                }
            }
        }
        differences.extend(workload(&self.base, &self.new));
        for difference in differences {
            if allowed.contains(&difference.setting) {
                doubts.allowed.push(difference);
            } else if difference.setting == WORKLOAD {
                doubts.reasons.push(format!(
                    "workload differs: {} vs {}",
                    settings::bare(&difference.base),
                    settings::bare(&difference.new)
                ));
            } else {
                doubts.reasons.push(difference.text());
            }
        }
        doubts
    }
}

/// The lengths that were seen, where they differ. Repeats may have had other prompts than the first run,
/// so the sides are compared, and not runs.
fn workload(base: &[&Run], new: &[&Run]) -> Option<Difference> {
    let of_side = |runs: &[&Run], figure: FigureKey| -> Option<f64> {
        let known: Option<Vec<f64>> = runs.iter().map(|run| run.value(figure)).collect();
        Some(known?.iter().sum::<f64>() / runs.len() as f64)
    };
    [
        (Metric::InputTokens, "input tokens"),
        (Metric::OutputTokens, "output tokens"),
    ]
    .into_iter()
    .find_map(|(metric, name)| {
        let mean = FigureKey::Metric(metric, Stat::Mean);
        let (a, b) = (of_side(base, mean)?, of_side(new, mean)?);
        if (b - a).abs() <= SAME_WORKLOAD * a.abs() {
            return None;
        }
        let number = |value: f64| crate::console::number((value * 10.0).round() / 10.0);
        Some(Difference {
            setting: WORKLOAD.to_owned(),
            base: number(a).into(),
            new: format!("{} {name}", number(b)).into(),
        })
    })
}
