//! Owns the comparison as `OpenMetrics` text, for GitLab's metrics reports and textfile collectors.

use std::fmt::Write as _;

use super::cell::Verdict;
use super::gates::RuleOutcome;
use super::outcome::Comparison;

/// The text; it ends with `# EOF`.
#[must_use]
pub fn openmetrics(comparisons: &[Comparison]) -> String {
    let mut figures = String::new();
    let mut changes = String::new();
    let mut verdicts = String::new();
    let mut rules = String::new();
    let mut indicative = String::new();
    for (nth, comparison) in comparisons.iter().enumerate() {
        let side = match comparisons.len() {
            1 => "new".to_owned(),
            _ => format!("new{}", nth + 1),
        };
        for point in &comparison.points {
            let _ = writeln!(
                indicative,
                "evalscope_indicative{{point=\"{}\",side=\"{side}\"}} {}",
                escaped(&point.point),
                u8::from(point.is_indicative)
            );
            for cell in &point.cells {
                let unit = if cell.is_share() { "ratio" } else { cell.unit };
                let labels = format!(
                    "figure=\"{}\",point=\"{}\"",
                    cell.figure,
                    escaped(&point.point)
                );
                if nth == 0 {
                    let _ = writeln!(
                        figures,
                        "evalscope_figure{{{labels},unit=\"{unit}\",side=\"base\"}} {}",
                        cell.base
                    );
                }
                let _ = writeln!(
                    figures,
                    "evalscope_figure{{{labels},unit=\"{unit}\",side=\"{side}\"}} {}",
                    cell.new
                );
                if let Some(change) = cell.change {
                    let _ = writeln!(
                        changes,
                        "evalscope_change_ratio{{{labels},side=\"{side}\"}} {change}"
                    );
                }
                let worse = u8::from(cell.verdict == Verdict::Worse);
                let _ = writeln!(
                    verdicts,
                    "evalscope_worse{{{labels},side=\"{side}\"}} {worse}"
                );
            }
        }
        for rule in &comparison.rules {
            let failed = u8::from(rule.outcome == RuleOutcome::Failed);
            let _ = writeln!(
                rules,
                "evalscope_rule_failed{{rule=\"{}\",point=\"{}\",side=\"{side}\"}} {failed}",
                escaped(&rule.rule),
                escaped(&rule.point)
            );
        }
    }
    let mut text = String::new();
    for (name, help, samples) in [
        (
            "evalscope_figure",
            "A figure in its unit; shares are 0 to 1",
            figures,
        ),
        (
            "evalscope_change_ratio",
            "Its change: new / base - 1, of shares new - base",
            changes,
        ),
        (
            "evalscope_worse",
            "It is worse, by more than noise and more than chance",
            verdicts,
        ),
        (
            "evalscope_indicative",
            "There are fewer than three runs a side, so that nothing here is more than an indication",
            indicative,
        ),
        ("evalscope_rule_failed", "A rule failed", rules),
    ] {
        if !samples.is_empty() {
            let _ = write!(
                text,
                "# TYPE {name} gauge\n# HELP {name} {help}.\n{samples}"
            );
        }
    }
    text.push_str("# EOF\n");
    text
}

/// Text inside of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
