//! Owns how a comparison is put into words: the summary, values, changes, intervals.
//!
//! It must not know the formats that they stand in.

use super::blocks::LEAST_BEYOND;
use super::cell::{Cell, Method, Verdict};
use super::gates::{RuleOutcome, RuleResult};
use super::outcome::Comparison;
use super::run::Run;
use crate::names::{FigureKey, Percentile};
use crate::rules::shown;

/// The verdict in one sentence.
pub(super) fn summary(comparison: &Comparison) -> String {
    let of = |outcome: RuleOutcome| -> Vec<String> {
        let rules = comparison
            .rules
            .iter()
            .filter(|rule| rule.outcome == outcome);
        rules
            .map(|rule| format!("{} at {}", rule.rule, rule.point))
            .collect()
    };
    let failed = of(RuleOutcome::Failed);
    let unclear = of(RuleOutcome::Unclear);
    if !failed.is_empty() {
        return format!(
            "{} failed: {}",
            counted(failed.len(), "rule"),
            some(&failed)
        );
    }
    let unequal = comparison
        .points
        .iter()
        .filter(|point| !point.not_comparable.is_empty());
    let unequal: Vec<String> = unequal
        .map(|point| format!("{} ({})", point.point, point.not_comparable.join("; ")))
        .collect();
    if !unequal.is_empty() {
        return format!("not comparable: {}", some(&unequal));
    }
    if !unclear.is_empty() {
        return format!(
            "no rule failed, but {} unclear: {}",
            is_or_are(unclear.len()),
            some(&unclear)
        );
    }
    let changes = |verdict: Verdict| -> Vec<String> {
        let points = comparison.points.iter();
        let cells = points.flat_map(|point| point.cells.iter().map(move |cell| (point, cell)));
        cells
            .filter(|(_, cell)| cell.verdict == verdict)
            .map(|(point, cell)| format!("{} at {} ({})", cell.figure, point.point, change(cell)))
            .collect()
    };
    let (worse, better) = (changes(Verdict::Worse), changes(Verdict::Better));
    let found = match (worse.is_empty(), better.is_empty()) {
        (true, true) => "no figure is better or worse by more than noise and chance".to_owned(),
        (false, true) => format!("worse: {}", some(&worse)),
        (true, false) => format!("better: {}", some(&better)),
        (false, false) => format!("worse: {}; better: {}", some(&worse), some(&better)),
    };
    match comparison.rules.len() {
        0 => found,
        n => format!("{} passed; {found}", counted(n, "rule")),
    }
}

fn is_or_are(n: usize) -> String {
    if n == 1 {
        "one is".to_owned()
    } else {
        format!("{n} are")
    }
}

/// A number of things.
pub(super) fn counted(n: usize, thing: &str) -> String {
    match n {
        1 => format!("1 {thing}"),
        _ => format!("{n} {thing}s"),
    }
}

/// The first few of them.
fn some(all: &[String]) -> String {
    const MOST: usize = 5;
    match all.len().checked_sub(MOST) {
        Some(more) if more > 0 => format!("{}, and {more} more", all[..MOST].join(", ")),
        _ => all.join(", "),
    }
}

/// A value with its unit.
pub(super) fn value(figure: FigureKey, of: f64) -> String {
    shown(figure, of)
}

/// A change in percent, or in percentage points.
fn percent(share: f64, decimals: usize) -> String {
    let text = format!("{:+.decimals$}", share * 100.0);
    // not a number below nothing
    let is_zero = text.chars().all(|c| "+-0.".contains(c));
    if is_zero {
        text.replace(['+', '-'], "")
    } else {
        text
    }
}

fn decimals(cell: &Cell) -> usize {
    if cell.is_share() { 2 } else { 1 }
}

/// The change: `+23.1 %`, or `+0.50 points`.
pub(super) fn change(cell: &Cell) -> String {
    cell.change.map_or_else(
        || "-".to_owned(),
        |change| format!("{} {}", percent(change, decimals(cell)), unit(cell)),
    )
}

fn unit(cell: &Cell) -> &'static str {
    if cell.is_share() { "points" } else { "%" }
}

/// The 95 % interval: `+11.0 … +36.2`.
pub(super) fn interval(cell: &Cell) -> String {
    cell.change_ci.map_or_else(
        || "-".to_owned(),
        |ci| {
            format!(
                "{} … {}",
                percent(ci.low(), decimals(cell)),
                percent(ci.high(), decimals(cell))
            )
        },
    )
}

/// The verdict.
pub(super) fn verdict(cell: &Cell) -> &'static str {
    match (cell.verdict, cell.method) {
        (Verdict::Unclear, Method::Unknown) => "no interval",
        (verdict, _) => verdict.words(),
    }
}

/// How many runs a side would decide what is unclear; `None` if nothing is that can be decided so.
pub(super) fn to_decide(cells: &[Cell]) -> Option<String> {
    /// More than anybody makes.
    const MOST: u64 = 100;
    let unclear = cells.iter().filter(|cell| cell.verdict == Verdict::Unclear);
    let known: Vec<(u64, FigureKey)> = unclear
        .filter_map(|cell| Some((cell.runs_to_decide?, cell.figure)))
        .collect();
    let few = known.iter().filter(|(runs, _)| *runs <= MOST);
    let mut words: Vec<String> = few
        .map(|(runs, figure)| format!("{runs} for {figure}"))
        .collect();
    match (known.len() - words.len(), words.is_empty()) {
        (0, _) => {}
        (_, true) => words.push(format!("more than {MOST}")),
        (_, false) => words.push(format!("more than {MOST} for the others")),
    }
    (!words.is_empty()).then(|| format!("runs a side that would decide: {}", words.join(", ")))
}

/// A rule that is broken or unclear: `ttft_p99: 188 ms → 231 ms (+23.0 %, 95 %: +11.0 … +36.0)`.
pub(super) fn conditions(rule: &RuleResult) -> String {
    let one = |condition: &super::gates::ConditionResult| {
        let figure = condition.figure;
        let share = figure.unit() == crate::names::Unit::Share;
        let (decimals, unit) = if share { (2, "points") } else { (1, "%") };
        let change = condition
            .change
            .map(|change| format!("{} {unit}", percent(change, decimals)));
        let ci = condition.change_ci.map(|ci| {
            format!(
                "95 %: {} … {}",
                percent(ci.low(), decimals),
                percent(ci.high(), decimals)
            )
        });
        let ci = ci.or_else(|| change.is_some().then(|| "no interval".to_owned()));
        let mark = rule.is_indicative.then(|| "indicative".to_owned());
        let more: Vec<String> = change.into_iter().chain(ci).chain(mark).collect();
        format!(
            "{figure}: {} → {} ({})",
            value(figure, condition.base),
            value(figure, condition.new),
            more.join(", ")
        )
    };
    let mut all: Vec<String> = rule.conditions.iter().map(one).collect();
    // two bounds of one figure
    all.dedup();
    all.join("; ")
}

/// A figure of a test report: `188 ms → 231 ms (+23.0 %, 95 %: +11.0 … +36.0)`.
pub(super) fn in_short(cell: &Cell, is_indicative: bool) -> String {
    let ci = match cell.change_ci {
        Some(_) => format!("95 %: {}", interval(cell)),
        None => "no interval".to_owned(),
    };
    format!(
        "{} → {} ({}, {ci}{})",
        value(cell.figure, cell.base),
        value(cell.figure, cell.new),
        change(cell),
        if is_indicative { ", indicative" } else { "" }
    )
}

/// The head of the column of intervals.
pub(super) const fn interval_head(is_indicative: bool) -> &'static str {
    if is_indicative {
        "95 %, indicative"
    } else {
        "95 % interval"
    }
}

/// Why a percentile of a single run has no interval.
fn too_rare(percentile: Percentile) -> String {
    let p = percentile.share();
    let requests = (LEAST_BEYOND / p.min(1.0 - p)).ceil();
    format!(
        "it takes {} requests a run to say how much it varies, or three runs a side",
        crate::console::number(requests)
    )
}

/// Which figures have no interval, and why: a sentence for each reason.
pub(super) fn without_intervals(cells: &[Cell], base: &[&Run], new: &[&Run]) -> Vec<String> {
    const ONE_RUN: &str =
        "with fewer than three runs a side, nothing says how much it varies from run to run";
    let mut by_reason: Vec<(String, Vec<String>)> = Vec::new();
    let is_without =
        |cell: &&Cell| cell.method == Method::Unknown && cell.verdict == Verdict::Unclear;
    for cell in cells.iter().filter(is_without) {
        let lacks = |run: &&&Run| {
            let own = run.figures.get(&cell.figure);
            run.is_short || own.is_none_or(|measured| measured.ln_variance.is_none())
        };
        let run = base.iter().chain(new).find(lacks);
        let known = run.and_then(|run| run.without_intervals.clone());
        let rare = || {
            cell.figure
                .further_percentile()
                .map(|(_, own)| too_rare(own))
        };
        let reason = known.or_else(rare).unwrap_or_else(|| ONE_RUN.to_owned());
        let figure = cell.figure.to_string();
        match by_reason.iter_mut().find(|(own, _)| *own == reason) {
            Some((_, figures)) => figures.push(figure),
            None => by_reason.push((reason, vec![figure])),
        }
    }
    let sentences = by_reason.into_iter();
    sentences
        .map(|(reason, figures)| format!("no interval for {}: {reason}", figures.join(", ")))
        .collect()
}

/// What few runs mean.
pub(super) const INDICATIVE: &str = "indicative: fewer than three runs a side. How much runs differ is assumed \
    (`--run-scatter`), not measured, and identical servers can differ by more. Measure with `perf --repeats 5`";

/// What the outcome of a rule is called.
pub(super) const fn outcome(outcome: RuleOutcome) -> &'static str {
    match outcome {
        RuleOutcome::Passed => "passed",
        RuleOutcome::Failed => "failed",
        RuleOutcome::Unclear => "unclear",
        RuleOutcome::NotComparable => "not comparable",
    }
}
