//! Owns the comparison of two sides: every point, every figure, every rule, and how it ends.
//!
//! It must not know formats, nor where runs and rules come from.

use super::cell::{self, Cell, Limits, Verdict};
use super::gates::{self, GatedPoint, RuleOutcome, RuleResult};
use super::outcome::{Comparison, Ending, PointResult};
use super::points::{Matched, Point};
use super::reasons;
use super::run::Run;
use super::words;
use crate::names::FigureKey;
use crate::rules::{Gate, NoFigure, PointPlace, Selector, Severity};
use evalscope_model::metrics::holm;

/// What is compared, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only these points; empty: all.
    pub at: Vec<Selector>,
    /// The figures that are shown.
    pub figures: Vec<FigureKey>,
    /// What is assumed, and what counts as noise.
    pub limits: Limits,
    /// Settings that may differ.
    pub allow_different: Vec<String>,
    /// What must not hold.
    pub gates: Vec<Gate>,
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The sides have no load in common.
    #[error("no load was measured on both sides\nthe base has: {base}\nthe new runs have: {new}")]
    NothingInCommon {
        /// Loads of the base.
        base: String,
        /// Loads of the new runs.
        new: String,
    },
    /// A rule is about points that there are not.
    #[error("rule `{rule}` is about none of the points: {points}")]
    NoPoint {
        /// The rule.
        rule: String,
        /// The points.
        points: String,
    },
    /// A rule needs a figure that the runs do not have.
    #[error(transparent)]
    NoFigure(#[from] NoFigure),
}

impl Options {
    /// All figures that are shown, or that rules or limits are about.
    #[must_use]
    pub fn all_figures(&self) -> Vec<FigureKey> {
        let of_rules = self.gates.iter().flat_map(|gate| gate.rule.conditions());
        let of_rules = of_rules.map(|condition| condition.figure);
        self.figures.iter().copied().chain(of_rules).collect()
    }
}

/// Compare the runs of two sides.
///
/// # Errors
/// If there is nothing to compare, or a rule needs what is not there.
pub fn compare(base: &[Run], new: &[Run], options: &Options) -> Result<Comparison, CompareError> {
    let matched = Matched::of(base, new);
    let labels = |runs: &[Run]| {
        let mut all: Vec<String> = runs.iter().map(|run| run.place.to_string()).collect();
        all.dedup();
        all.join("; ")
    };
    let is_wanted =
        |place: &PointPlace| options.at.is_empty() || options.at.iter().any(|at| at.holds(place));
    let points: Vec<&Point<'_>> = matched
        .points
        .iter()
        .filter(|point| is_wanted(point.place))
        .collect();
    if points.is_empty() {
        return Err(CompareError::NothingInCommon {
            base: labels(base),
            new: labels(new),
        });
    }
    let mut results = Vec::new();
    let mut gated = Vec::new();
    for point in points {
        let result = point_result(point, options);
        gated.push(GatedPoint {
            label: result.point.clone(),
            point,
            is_comparable: result.not_comparable.is_empty(),
        });
        results.push(result);
    }
    let rules = gates::judge(&options.gates, &gated, &options.limits)?;
    for gate in &options.gates {
        let rule = gate.rule.to_string();
        if !rules.iter().any(|result| result.rule == rule) {
            let points = results.iter().map(|result| result.point.as_str());
            return Err(CompareError::NoPoint {
                rule,
                points: points.collect::<Vec<_>>().join("; "),
            });
        }
    }
    let origins = |runs: &[Run]| runs.iter().map(|run| run.origin.clone()).collect();
    let mut comparison = Comparison {
        summary: String::new(),
        ending: ending(&results, &rules),
        base: origins(base),
        new: origins(new),
        points: results,
        only_in_base: matched.only_base.clone(),
        only_in_new: matched.only_new.clone(),
        rules,
    };
    comparison.summary = words::summary(&comparison);
    Ok(comparison)
}

fn ending(points: &[PointResult], rules: &[RuleResult]) -> Ending {
    let has = |outcome: RuleOutcome| {
        let mut gating = rules.iter().filter(|rule| rule.severity == Severity::Error);
        gating.any(|rule| rule.outcome == outcome)
    };
    if has(RuleOutcome::Failed) {
        Ending::RuleFailed
    } else if points.iter().any(|point| !point.not_comparable.is_empty()) {
        Ending::NotComparable
    } else if has(RuleOutcome::Unclear) {
        Ending::Unclear
    } else {
        Ending::Passed
    }
}

fn point_result(point: &Point<'_>, options: &Options) -> PointResult {
    let doubts = point.doubts(&options.allow_different);
    let limits = &options.limits;
    let of = |figure: FigureKey| cell::compare(figure, &point.base, &point.new, limits);
    let primary: Vec<(FigureKey, f64)> = FigureKey::PRIMARY
        .into_iter()
        .filter_map(|figure| Some((figure, of(figure)?.p?)))
        .collect();
    let mut cells: Vec<Cell> = options
        .figures
        .iter()
        .filter_map(|figure| of(*figure))
        .collect();
    for cell in &mut cells {
        cell.p_adjusted = cell.p.map(|p| adjusted(&primary, cell.figure, p));
        cell::decide(cell, limits);
        if !doubts.reasons.is_empty() {
            cell.verdict = Verdict::NotComparable;
            cell.runs_to_decide = None;
        }
    }
    let without_intervals = words::without_intervals(&cells, &point.base, &point.new);
    let warnings = |runs: &[&Run]| {
        let mut all: Vec<String> = Vec::new();
        for warning in runs.iter().flat_map(|run| &run.warnings) {
            if !all.contains(warning) {
                all.push(warning.clone());
            }
        }
        all
    };
    PointResult {
        point: point.place.to_string(),
        base_runs: point.base.len() as u64,
        new_runs: point.new.len() as u64,
        is_indicative: point.is_indicative(),
        not_comparable: doubts.reasons,
        allowed_differences: doubts.allowed,
        finish_reasons: reasons::difference(&point.base, &point.new),
        cells,
        without_intervals,
        base_warnings: warnings(&point.base),
        new_warnings: warnings(&point.new),
    }
}

/// The probability of a figure, corrected for the primary ones; of another figure, for these and itself.
fn adjusted(primary: &[(FigureKey, f64)], figure: FigureKey, p: f64) -> f64 {
    let others = primary.iter().filter(|(own, _)| *own != figure);
    let all: Vec<f64> = [p].into_iter().chain(others.map(|(_, p)| *p)).collect();
    holm(&all)[0]
}
