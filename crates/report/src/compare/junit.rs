//! Owns the comparison as `JUnit` XML: a suite for each point, a case for each rule, or for each figure
//! where there is no rule.

use std::fmt::Write as _;

use super::cell::{Cell, Verdict};
use super::gates::{RuleOutcome, RuleResult};
use super::outcome::{Comparison, PointResult};
use super::words;

/// The kind of a case and what is said about it; `None` if it passed.
type Said = Option<(&'static str, String)>;

/// The file.
#[must_use]
pub fn junit(comparisons: &[Comparison]) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"evalscope compare\">\n",
    );
    for comparison in comparisons {
        for point in &comparison.points {
            suite(&mut text, comparison, point, comparisons.len() > 1);
        }
    }
    text.push_str("</testsuites>\n");
    text
}

fn suite(text: &mut String, comparison: &Comparison, point: &PointResult, several: bool) {
    let own = comparison
        .rules
        .iter()
        .filter(|rule| rule.point == point.point);
    let mut cases: Vec<(String, Said)> = own.map(of_rule).collect();
    if comparison.rules.is_empty() {
        cases = point
            .cells
            .iter()
            .map(|cell| of_cell(cell, point))
            .collect();
    }
    let count = |kind: &str| {
        let is = |(_, said): &&(String, Said)| said.as_ref().is_some_and(|(own, _)| *own == kind);
        cases.iter().filter(is).count()
    };
    let name = if several {
        format!("{} {}", comparison.new.join(", "), point.point)
    } else {
        point.point.clone()
    };
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
        escaped(&name),
        cases.len(),
        count("failure"),
        count("error"),
        count("skipped")
    );
    for (case, said) in &cases {
        let (case, class) = (escaped(case), escaped(&name));
        let _ = match said {
            None => writeln!(
                text,
                "    <testcase classname=\"{class}\" name=\"{case}\"/>"
            ),
            Some((kind, message)) => writeln!(
                text,
                "    <testcase classname=\"{class}\" name=\"{case}\"><{kind} message=\"{}\"/></testcase>",
                escaped(message)
            ),
        };
    }
    text.push_str("  </testsuite>\n");
}

fn of_rule(rule: &RuleResult) -> (String, Said) {
    let kind = match rule.outcome {
        RuleOutcome::Passed => None,
        RuleOutcome::Failed => Some("failure"),
        RuleOutcome::Unclear => Some("skipped"),
        RuleOutcome::NotComparable => Some("error"),
    };
    let why = rule
        .why
        .as_ref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    (
        rule.rule.clone(),
        kind.map(|kind| (kind, words::conditions(rule) + &why)),
    )
}

fn of_cell(cell: &Cell, point: &PointResult) -> (String, Said) {
    let says = || words::in_short(cell, point.is_indicative);
    let said = match cell.verdict {
        Verdict::Better | Verdict::Same => None,
        Verdict::Worse => Some(("failure", says())),
        Verdict::Unclear => Some(("skipped", says())),
        Verdict::NotComparable => Some(("error", point.not_comparable.join("; "))),
    };
    (cell.figure.to_string(), said)
}

/// Text inside of an attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
