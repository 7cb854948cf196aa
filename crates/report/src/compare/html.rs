//! Owns `compare.html`: verdicts, rules, a forest plot of the changes beside their figures, and charts in which
//! the sides are overlaid, in one file that loads nothing and runs nothing.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, context};
use serde::Serialize;

use super::cell::{Cell, Limits, Verdict};
use super::gates::RuleOutcome;
use super::outcome::{Comparison, Ending, PointResult};
use super::overlay::Named;
use super::run::Run;
use super::{overlay, settings, words};
use crate::html::charts::{self, Drawn};
use crate::html::{english, foreign_name, page_style};
use crate::model::Tool;

const TEMPLATE: &str = include_str!("compare.html");

/// Forest plots reach at least so far to either side, as a share.
const LEAST_REACH: f64 = 0.2;
/// And at most so far: what is beyond is cut.
const MOST_REACH: f64 = 1.0;

#[derive(Serialize)]
struct Section {
    summary: String,
    is_bad: bool,
    base: Vec<String>,
    new: Vec<String>,
    rules: Vec<RuleRow>,
    points: Vec<PointPart>,
    alone: Vec<(&'static str, Vec<String>)>,
}

#[derive(Serialize)]
struct RuleRow {
    class: &'static str,
    rule: String,
    point: String,
    outcome: &'static str,
    figures: String,
    why: Option<String>,
}

#[derive(Serialize)]
struct PointPart {
    point: String,
    base_runs: String,
    new_runs: u64,
    indicative: Option<&'static str>,
    not_comparable: Vec<String>,
    finish_reasons: Option<String>,
    reach: String,
    cells: Vec<Row>,
    to_decide: Option<String>,
    interval_head: &'static str,
    without_intervals: Vec<String>,
    differences: Vec<(String, String, String)>,
    warnings: Vec<(&'static str, Vec<String>)>,
}

#[derive(Serialize)]
struct Row {
    class: &'static str,
    figure: String,
    base: String,
    new: String,
    change: String,
    interval: String,
    forest: String,
    verdict: &'static str,
}

/// The page.
///
/// # Errors
/// When the template and what it is given do not fit together.
pub fn html(
    comparisons: &[Comparison],
    limits: &Limits,
    base: &[Run],
    new: &[Vec<Run>],
) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.add_template("compare.html", TEMPLATE)?;
    let sections: Vec<Section> = comparisons.iter().map(|one| section(one, limits)).collect();
    environment.get_template("compare.html")?.render(context! {
        comparisons => Value::from(Serde(&sections)),
        charts => Value::from(Serde(&overlaid(comparisons, base, new))),
        style => Value::from_safe_string(page_style()),
        version => Tool::this().version,
    })
}

/// The charts of all loads, then those of each.
#[derive(Serialize)]
struct Charts {
    loads: Figures,
    points: Vec<(String, Figures)>,
}

/// Charts that there are, and why others are not.
#[derive(Default, Serialize)]
struct Figures {
    drawn: Vec<Figure>,
    missing: Vec<String>,
}

#[derive(Serialize)]
struct Figure {
    drawing: String,
    title: String,
    description: String,
    svg: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn figures(all: Vec<Drawn>) -> Figures {
    let mut figures = Figures::default();
    for one in all {
        match one {
            Ok(chart) => figures.drawn.push(Figure {
                drawing: chart.drawing,
                title: chart.title,
                description: chart.description,
                svg: chart.svg,
                header: chart.table.header,
                rows: chart.table.rows,
            }),
            Err(none) => figures
                .missing
                .push(format!("{}: {}", none.title, none.why)),
        }
    }
    figures
}

fn overlaid(comparisons: &[Comparison], base: &[Run], new: &[Vec<Run>]) -> Charts {
    let names = new.iter().enumerate().map(|(nth, runs)| {
        let name = match new.len() {
            1 => "new".to_owned(),
            _ => format!("new {}", nth + 1),
        };
        (name, runs.as_slice())
    });
    let sides: Vec<Named<'_>> = std::iter::once(("base".to_owned(), base))
        .chain(names)
        .collect();
    let mut points: Vec<String> = Vec::new();
    for point in comparisons.iter().flat_map(|one| &one.points) {
        if !points.contains(&point.point) {
            points.push(point.point.clone());
        }
    }
    let words = english();
    let loads = overlay::loads(&sides, &points);
    let of_loads = loads.map(|loads| charts::of_sides(&loads, &words));
    let of_point = |(nth, point): (usize, &String)| {
        let drawn = charts::of_point(
            &overlay::point(&sides, point),
            &words,
            &format!("point{}-", nth + 1),
        );
        (foreign_name(point), figures(drawn))
    };
    let mut loads = figures(of_loads.unwrap_or_default());
    let mut points: Vec<(String, Figures)> = points.iter().enumerate().map(of_point).collect();
    // say it once if no point has any
    if points.iter().all(|(_, own)| own.drawn.is_empty()) {
        loads.missing.extend(
            points
                .drain(..)
                .next()
                .map(|(_, own)| own.missing)
                .into_iter()
                .flatten(),
        );
    }
    Charts { loads, points }
}

fn section(one: &Comparison, limits: &Limits) -> Section {
    let rules = one.rules.iter().map(|rule| RuleRow {
        class: match rule.outcome {
            RuleOutcome::Failed => "worse",
            RuleOutcome::Passed => "better",
            RuleOutcome::Unclear | RuleOutcome::NotComparable => "",
        },
        rule: foreign_name(&rule.rule),
        point: foreign_name(&rule.point),
        outcome: words::outcome(rule.outcome),
        figures: words::conditions(rule),
        why: rule.why.as_deref().map(foreign_name),
    });
    let alone = [("base", &one.only_in_base), ("new runs", &one.only_in_new)];
    let names = |all: &[String]| all.iter().map(|one| foreign_name(one)).collect();
    Section {
        summary: foreign_name(&one.summary),
        is_bad: matches!(one.ending, Ending::RuleFailed | Ending::NotComparable),
        base: names(&one.base),
        new: names(&one.new),
        rules: rules.collect(),
        points: one.points.iter().map(|point| part(point, limits)).collect(),
        alone: alone
            .into_iter()
            .filter(|(_, labels)| !labels.is_empty())
            .map(|(side, labels)| (side, names(labels)))
            .collect(),
    }
}

fn part(point: &PointResult, limits: &Limits) -> PointPart {
    let far = point.cells.iter().filter_map(|cell| {
        let ci = cell.change_ci?;
        Some(ci.low().abs().max(ci.high().abs()))
    });
    let reach = far.fold(LEAST_REACH, f64::max).min(MOST_REACH);
    let row = |cell: &Cell| Row {
        class: match cell.verdict {
            Verdict::Worse => "worse",
            Verdict::Better => "better",
            Verdict::Same | Verdict::Unclear | Verdict::NotComparable => "",
        },
        figure: cell.figure.to_string(),
        base: words::value(cell.figure, cell.base),
        new: words::value(cell.figure, cell.new),
        change: words::change(cell),
        interval: words::interval(cell),
        forest: forest(cell, reach, limits.noise(cell.figure)),
        verdict: words::verdict(cell),
    };
    let shown = |value| foreign_name(&settings::shown(value));
    let differences = point.allowed_differences.iter();
    let warnings = [
        ("base", &point.base_warnings),
        ("new runs", &point.new_warnings),
    ];
    let base_runs = usize::try_from(point.base_runs).unwrap_or(usize::MAX);
    PointPart {
        point: foreign_name(&point.point),
        base_runs: words::counted(base_runs, "run"),
        new_runs: point.new_runs,
        indicative: point.is_indicative.then_some(words::INDICATIVE),
        not_comparable: point
            .not_comparable
            .iter()
            .map(|one| foreign_name(one))
            .collect(),
        finish_reasons: point.finish_reasons.as_deref().map(foreign_name),
        reach: format!("{:.0}", reach * 100.0),
        cells: point.cells.iter().map(row).collect(),
        to_decide: words::to_decide(&point.cells),
        interval_head: words::interval_head(point.is_indicative),
        without_intervals: point
            .without_intervals
            .iter()
            .map(|one| foreign_name(one))
            .collect(),
        differences: differences
            .map(|one| {
                (
                    foreign_name(&one.setting),
                    shown(&one.base),
                    shown(&one.new),
                )
            })
            .collect(),
        warnings: warnings
            .into_iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(side, all)| (side, all.iter().map(|one| foreign_name(one)).collect()))
            .collect(),
    }
}

/// The interval of a change on a line from −`reach` to +`reach`, with no change in the middle.
fn forest(cell: &Cell, reach: f64, noise: f64) -> String {
    const WIDE: f64 = 240.0;
    const HIGH: f64 = 22.0;
    let x = |change: f64| (WIDE / 2.0) * (1.0 + (change / reach).clamp(-1.0, 1.0));
    let mut svg = format!(
        "<svg class=\"forest\" viewBox=\"0 0 {WIDE} {HIGH}\" aria-hidden=\"true\"><rect class=\"noise\" x=\"{:.1}\" y=\"0\" \
         width=\"{:.1}\" height=\"{HIGH}\"/><line class=\"zero\" x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"0\" y2=\"{HIGH}\"/>",
        x(-noise),
        x(noise) - x(-noise),
        middle = x(0.0)
    );
    if let Some(ci) = cell.change_ci {
        let _ = write!(
            svg,
            "<line class=\"reach\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"11\" y2=\"11\"/>",
            x(ci.low()),
            x(ci.high())
        );
    }
    if let Some(change) = cell.change {
        let _ = write!(
            svg,
            "<circle class=\"estimate\" cx=\"{:.1}\" cy=\"11\" r=\"4\"/>",
            x(change)
        );
    }
    svg.push_str("</svg>");
    svg
}
