//! Owns the annotations of GitHub Actions: a line for each rule that is broken or unclear, or for each
//! figure that is worse where there is no rule.

use super::cell::Verdict;
use super::gates::RuleOutcome;
use super::outcome::Comparison;
use super::words;
use crate::rules::Severity;

/// The lines: `::error title=ttft_p99 at parallel=8::188 ms → 231 ms (+23 %, 95 %: +11 … +36)`.
#[must_use]
pub fn annotations(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        for rule in &comparison.rules {
            let kind = match (rule.outcome, rule.severity) {
                (RuleOutcome::Passed | RuleOutcome::NotComparable, _) => continue,
                (RuleOutcome::Failed, Severity::Error) => "error",
                _ => "warning",
            };
            let figure = rule.conditions[0].figure;
            let title = format!("{figure} at {}", rule.point);
            let says = format!("{}: {}", rule.rule, words::conditions(rule));
            text.push_str(&line(kind, &title, &says));
        }
        for point in &comparison.points {
            for reason in &point.not_comparable {
                text.push_str(&line(
                    "error",
                    &format!("not comparable at {}", point.point),
                    reason,
                ));
            }
            if !comparison.rules.is_empty() {
                continue;
            }
            for cell in point
                .cells
                .iter()
                .filter(|cell| cell.verdict == Verdict::Worse)
            {
                let says = words::in_short(cell, point.is_indicative);
                text.push_str(&line(
                    "warning",
                    &format!("{} at {}", cell.figure, point.point),
                    &says,
                ));
            }
        }
    }
    text
}

/// A workflow command.
fn line(kind: &str, title: &str, message: &str) -> String {
    let message = message
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A");
    let title = title
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A");
    let title = title.replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={title}::{message}\n")
}
