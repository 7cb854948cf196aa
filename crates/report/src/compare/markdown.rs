//! Owns the comparison as Markdown, for pull requests: the first line is the verdict.

use std::fmt::Write as _;

use super::outcome::Comparison;
use super::words;

/// The text.
#[must_use]
pub fn markdown(comparisons: &[Comparison]) -> String {
    let several = comparisons.len() > 1;
    let texts = comparisons.iter().map(|one| {
        let heading = if several {
            format!("## {}\n\n", escaped(&one.new.join(", ")))
        } else {
            String::new()
        };
        heading + &of_one(one)
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn of_one(comparison: &Comparison) -> String {
    let mut text = format!("**{}**\n", escaped(&comparison.summary));
    for point in &comparison.points {
        let _ = write!(text, "\n### {}\n\n", escaped(&point.point));
        for reason in &point.not_comparable {
            let _ = writeln!(text, "Not comparable: {}\n", escaped(reason));
        }
        if let Some(reasons) = &point.finish_reasons {
            let _ = writeln!(text, "Finish reasons differ: {}\n", escaped(reasons));
        }
        let _ = writeln!(
            text,
            "| Figure | Base | New | Change | {} | Verdict |\n|---|--:|--:|--:|--:|---|",
            words::interval_head(point.is_indicative)
        );
        for cell in &point.cells {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} |",
                cell.figure,
                words::value(cell.figure, cell.base),
                words::value(cell.figure, cell.new),
                words::change(cell),
                words::interval(cell),
                words::verdict(cell)
            );
        }
        if let Some(runs) = words::to_decide(&point.cells) {
            let _ = writeln!(text, "\n{runs}");
        }
        for reason in &point.without_intervals {
            let _ = writeln!(text, "\n{}", escaped(reason));
        }
        if point.is_indicative {
            let _ = writeln!(text, "\n_{}._", words::INDICATIVE);
        }
        if !point.allowed_differences.is_empty() {
            text.push_str("\n<details><summary>Settings that differ</summary>\n\n| Setting | Base | New |\n|---|---|---|\n");
            for one in &point.allowed_differences {
                let of = |value| escaped(&super::settings::shown(value));
                let _ = writeln!(
                    text,
                    "| {} | {} | {} |",
                    escaped(&one.setting),
                    of(&one.base),
                    of(&one.new)
                );
            }
            text.push_str("\n</details>\n");
        }
    }
    if !comparison.rules.is_empty() {
        text.push_str("\n### Rules\n\n| Rule | Point | Outcome | |\n|---|---|---|---|\n");
        for rule in &comparison.rules {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                rule.rule,
                escaped(&rule.point),
                words::outcome(rule.outcome),
                escaped(&words::conditions(rule))
            );
        }
    }
    for (side, labels) in [
        ("base", &comparison.only_in_base),
        ("new runs", &comparison.only_in_new),
    ] {
        if !labels.is_empty() {
            let _ = writeln!(
                text,
                "\nOnly the {side} measured: {}",
                escaped(&labels.join("; "))
            );
        }
    }
    text
}

/// Text from outside, without marks that Markdown or HTML would read.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '*' | '[' | ']' => {
                safe.push('\\');
                safe.push(c);
            }
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
