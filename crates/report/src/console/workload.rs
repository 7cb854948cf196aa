//! Owns the table of tokens per second over windows of a run.
//!
//! It must not know how they are counted.

use super::layout::{Grid, optional, plain};
use super::screen::{Paint, Screen};
use crate::report::RunReport;
use crate::workload::{Counted, Unreported};

fn label(counted: Counted) -> &'static str {
    match counted {
        Counted::Prompt => "Prompt tokens",
        Counted::NewPrompt => "New prompt tokens",
        Counted::CachedPrompt => "Cached prompt tokens",
        Counted::Output => "Output tokens",
    }
}

/// Tokens per second of successes: over the whole run, over its end where the run is longer than that,
/// and without its start. `None` without a success.
pub(crate) fn workload_grid(report: &RunReport) -> Option<Grid> {
    let timeline = report.workload.as_ref()?;
    let has_last = timeline.has_last_window();
    let mut header = vec!["Throughput\n(tok/s)", "Overall"];
    header.extend(has_last.then_some("Last\n30 s"));
    header.push("Without the\nfirst 20%");
    let rates = timeline.rates(Unreported::Null).into_iter();
    let known = rates.filter(|rates| {
        rates.overall.is_some() && (report.generates() || rates.counted != Counted::Output)
    });
    let rows = known.map(|rates| {
        let mut row = vec![label(rates.counted).to_owned(), optional(rates.overall)];
        row.extend(has_last.then(|| optional(rates.last_window)));
        row.push(optional(rates.steady));
        row
    });
    Some(Grid {
        header: header.into_iter().map(str::to_owned).collect(),
        rows: rows.collect(),
        keys: 1,
        words: 1,
    })
}

/// The same as text; empty without a success.
#[must_use]
pub fn workload(report: &RunReport, screen: Screen) -> String {
    let Some(grid) = workload_grid(report) else {
        return String::new();
    };
    let mut text = screen.paint(Paint::Bold, "Workload throughput:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, plain));
    text
}
