//! Owns what becomes of rules in a comparison: each at each of its points.
//!
//! It must not know where rules come from, nor what a failed one leads to.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use evalscope_model::metrics::{Interval, holm};
use serde::Serialize;

use super::cell::{self, ALPHA, Cell, Limits};
use super::points::Point;
use crate::names::FigureKey;
use crate::rules::{Bound, Condition, Gate, NoFigure, Severity};

/// What became of a rule at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// It is not broken.
    Passed,
    /// It is broken.
    Failed,
    /// Its bound is passed, but the change may be chance.
    Unclear,
    /// The runs cannot be compared.
    NotComparable,
}

/// A rule at a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RuleResult {
    /// The rule.
    pub rule: String,
    /// The point.
    pub point: String,
    /// What it means if it is broken.
    pub severity: Severity,
    /// Why there is this rule.
    pub why: Option<String>,
    /// What became of it.
    pub outcome: RuleOutcome,
    /// There are too few runs for that to be more than an indication.
    pub is_indicative: bool,
    /// Its conditions.
    pub conditions: Vec<ConditionResult>,
}

/// A condition of a rule at a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ConditionResult {
    /// The figure.
    #[cfg_attr(test, schemars(with = "String"))]
    pub figure: FigureKey,
    /// The base.
    pub base: f64,
    /// The new runs.
    pub new: f64,
    /// The change, as in the cells.
    pub change: Option<f64>,
    /// 95 % interval of the change.
    pub change_ci: Option<Interval>,
    /// The probability of such a change by chance, corrected for all changes that rules are about (Holm).
    pub p_adjusted: Option<f64>,
    /// The bound is passed.
    pub holds: bool,
    /// Of a change: it is more than chance. Always so for absolute bounds.
    pub is_sure: bool,
}

/// A point with the position it has among all.
pub(super) struct GatedPoint<'a> {
    pub(super) label: String,
    pub(super) point: &'a Point<'a>,
    pub(super) is_comparable: bool,
}

fn fits(gate: &Gate, point: &GatedPoint<'_>) -> bool {
    let mut selectors = gate
        .rule
        .conditions()
        .iter()
        .filter_map(|one| one.at.as_ref())
        .chain(&gate.at);
    selectors.all(|at| at.holds(point.point.place))
}

/// Judge all rules.
///
/// # Errors
/// If a run does not have a figure.
pub(super) fn judge(
    gates: &[Gate],
    points: &[GatedPoint<'_>],
    limits: &Limits,
) -> Result<Vec<RuleResult>, NoFigure> {
    let mut cells: BTreeMap<(usize, FigureKey), Cell> = BTreeMap::new();
    let mut changes: Vec<(usize, FigureKey)> = Vec::new();
    for gate in gates {
        for (nth, point) in points
            .iter()
            .enumerate()
            .filter(|(_, point)| fits(gate, point))
        {
            for condition in gate.rule.conditions() {
                let key = (nth, condition.figure);
                if let Entry::Vacant(place) = cells.entry(key) {
                    let (base, new) = (&point.point.base, &point.point.new);
                    let own = cell::compare(condition.figure, base, new, limits);
                    place.insert(own.ok_or_else(|| NoFigure {
                        rule: gate.rule.to_string(),
                        figure: condition.figure,
                        run: format!("the comparison at {}", point.label),
                    })?);
                }
                if condition.bound.is_change() && point.is_comparable && !changes.contains(&key) {
                    changes.push(key);
                }
            }
        }
    }
    let p: Vec<f64> = changes
        .iter()
        .map(|key| cells[key].p.unwrap_or(1.0))
        .collect();
    for (key, adjusted) in changes.iter().zip(holm(&p)) {
        if let Some(cell) = cells.get_mut(key) {
            cell.p_adjusted = cell.p.map(|_| adjusted);
        }
    }
    let mut results = Vec::new();
    for gate in gates {
        for (nth, point) in points
            .iter()
            .enumerate()
            .filter(|(_, point)| fits(gate, point))
        {
            let conditions = gate.rule.conditions().iter();
            let conditions: Vec<ConditionResult> = conditions
                .map(|one| condition(one, &cells[&(nth, one.figure)]))
                .collect();
            results.push(RuleResult {
                rule: gate.rule.to_string(),
                point: point.label.clone(),
                severity: gate.severity,
                why: gate.why.clone(),
                is_indicative: point.point.is_indicative(),
                outcome: outcome(&conditions, point.is_comparable),
                conditions,
            });
        }
    }
    Ok(results)
}

fn condition(condition: &Condition, cell: &Cell) -> ConditionResult {
    let op = condition.op;
    let holds = match condition.bound {
        Bound::Value(bound) => op.holds(cell.new, bound),
        Bound::Ratio(bound) => cell.change.is_some_and(|change| op.holds(change, bound)),
        Bound::Difference(bound) => op.holds(cell.new - cell.base, bound),
    };
    let is_sure = !condition.bound.is_change()
        || cell.is_wholly(op.is_above()) && cell.p_adjusted.is_some_and(|p| p < ALPHA);
    ConditionResult {
        figure: condition.figure,
        base: cell.base,
        new: cell.new,
        change: cell.change,
        change_ci: cell.change_ci,
        p_adjusted: cell.p_adjusted,
        holds,
        is_sure,
    }
}

fn outcome(conditions: &[ConditionResult], is_comparable: bool) -> RuleOutcome {
    if !is_comparable {
        RuleOutcome::NotComparable
    } else if !conditions.iter().all(|one| one.holds) {
        RuleOutcome::Passed
    } else if conditions.iter().all(|one| one.is_sure) {
        RuleOutcome::Failed
    } else {
        RuleOutcome::Unclear
    }
}
