//! Owns the comparison as tables of text.

use super::cell::{Cell, Verdict};
use super::gates::RuleOutcome;
use super::outcome::{Comparison, PointResult};
use super::words;
use crate::console::{Grid, Paint, Screen, wrapped};

/// The order of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As figures are listed.
    #[default]
    Figures,
    /// The worst change first.
    Change,
}

/// The tables.
#[must_use]
pub fn table(comparisons: &[Comparison], order: Order, screen: Screen) -> String {
    let several = comparisons.len() > 1;
    let texts = comparisons.iter().map(|one| {
        let heading = if several {
            wrapped_to("", &format!("== {}", one.new.join(", ")), screen)
        } else {
            String::new()
        };
        heading + &of_one(one, order, screen)
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn of_one(comparison: &Comparison, order: Order, screen: Screen) -> String {
    let mut text = String::new();
    for point in &comparison.points {
        text.push_str(&of_point(point, order, screen));
        text.push('\n');
    }
    for (side, labels) in [
        ("base", &comparison.only_in_base),
        ("new runs", &comparison.only_in_new),
    ] {
        if !labels.is_empty() {
            text.push_str(&wrapped_to(
                "",
                &format!("only the {side} measured: {}", labels.join("; ")),
                screen,
            ));
        }
    }
    for rule in &comparison.rules {
        let paint = match rule.outcome {
            RuleOutcome::Passed => Verdict::Better,
            RuleOutcome::Failed => Verdict::Worse,
            RuleOutcome::Unclear | RuleOutcome::NotComparable => Verdict::Unclear,
        };
        let mark = format!("rule {}: ", words::outcome(rule.outcome));
        let why = rule
            .why
            .as_ref()
            .map_or_else(String::new, |why| format!(" ({why})"));
        let says = format!(
            "`{}` at {}: {}{why}",
            rule.rule,
            rule.point,
            words::conditions(rule)
        );
        text.push_str(&painted(paint, &wrapped_to(&mark, &says, screen), screen));
    }
    text.push_str(&wrapped_to("", &comparison.summary, screen));
    text
}

fn wrapped_to(mark: &str, text: &str, screen: Screen) -> String {
    wrapped(mark, text, screen.width)
}

fn painted(verdict: Verdict, text: &str, screen: Screen) -> String {
    let paint = match verdict {
        Verdict::Better => Paint::Green,
        Verdict::Worse => Paint::Red,
        Verdict::Unclear | Verdict::NotComparable => Paint::Yellow,
        Verdict::Same => return text.to_owned(),
    };
    match text.strip_suffix('\n') {
        Some(line) => format!("{}\n", screen.paint(paint, line)),
        None => screen.paint(paint, text),
    }
}

fn of_point(point: &PointResult, order: Order, screen: Screen) -> String {
    let mut text = wrapped_to(
        "",
        &format!(
            "{}: {} of the base, {} new",
            point.point,
            words::counted(
                usize::try_from(point.base_runs).unwrap_or(usize::MAX),
                "run"
            ),
            point.new_runs
        ),
        screen,
    );
    for reason in &point.not_comparable {
        text.push_str(&wrapped_to("not comparable: ", reason, screen));
    }
    for difference in &point.allowed_differences {
        text.push_str(&wrapped_to("differs: ", &difference.text(), screen));
    }
    if let Some(reasons) = &point.finish_reasons {
        text.push_str(&wrapped_to("finish reasons differ: ", reasons, screen));
    }
    let mut cells: Vec<_> = point.cells.iter().collect();
    if order == Order::Change {
        cells.sort_by(|a, b| b.badness().total_cmp(&a.badness()));
    }
    let header = [
        "Figure",
        "Base",
        "New",
        "Change",
        words::interval_head(point.is_indicative),
        "Verdict",
    ];
    let row = |cell: &&Cell| {
        vec![
            cell.figure.to_string(),
            words::value(cell.figure, cell.base),
            words::value(cell.figure, cell.new),
            words::change(cell),
            words::interval(cell),
            words::verdict(cell).to_owned(),
        ]
    };
    let grid = Grid {
        header: header.map(str::to_owned).into(),
        rows: cells.iter().map(row).collect(),
        keys: 1,
        words: 1,
    };
    text.push_str(&grid.render(screen.width, |row, line| {
        painted(cells[row].verdict, line, screen)
    }));
    if let Some(runs) = words::to_decide(&point.cells) {
        text.push_str(&wrapped_to("", &runs, screen));
    }
    for reason in &point.without_intervals {
        text.push_str(&wrapped_to("", reason, screen));
    }
    if point.is_indicative {
        text.push_str(&wrapped_to("", words::INDICATIVE, screen));
    }
    text
}
