//! Owns the tables that people read: text of a given width, from reports.
//!
//! It must not know the terminal: the caller says how wide it is and whether it
//! shows colour. Everything is readable without colour.

mod advice;
mod conversations;
mod intervals;
mod layout;
mod load;
mod mix;
mod objective;
mod repeats;
mod screen;
mod search;
mod shards;
mod summary;
mod sweep;
mod trace;
mod workload;

use evalscope_model::metrics::{Metric, PERCENTILE_ROWS, Verdict};
use evalscope_model::record::{EXCERPT_BYTES, FailureKind};

use crate::names;
use crate::report::RunReport;
use crate::together::Together;

use layout::{plain, tame};

pub use advice::advice;
pub(crate) use advice::{best, height};
pub use conversations::conversations;
pub use intervals::intervals;
pub(crate) use layout::{Grid, number, optional, percent, wrapped};
pub use load::segments;
pub(crate) use load::{segment_grid, sentence as load_sentence};
pub use mix::mix;
pub(crate) use mix::mix_grid;
pub use repeats::repeats;
pub(crate) use repeats::repeats_grid;
pub(crate) use screen::Paint;
pub use screen::{Confidence, Ink, Screen};
pub use search::search;
pub(crate) use search::{answers, probe_grid};
pub(crate) use shards::shard_grid;
pub use shards::shards;
pub use summary::summary;
pub(crate) use summary::{plateau_sentence, summary_grid};
pub use sweep::sweep;
pub(crate) use sweep::sweep_grid;
pub use trace::trace;
pub use workload::workload;
pub(crate) use workload::workload_grid;

/// Width of the tables in `performance_summary.txt`.
const FILE_WIDTH: u16 = 100;

/// Columns of the percentile table that only wide screens show: they follow from others.
const DERIVED: [Metric; 2] = [Metric::TotalTokPerS, Metric::DecodeTokPerS];

/// Characters shown of what a server said.
const EXAMPLE_CHARS: usize = 240;

/// The percentiles of a run, each column sorted on its own.
pub(crate) fn percentile_grid(report: &RunReport) -> Grid {
    percentiles_of(report, &names::percentile_columns(report))
}

fn percentiles_of(report: &RunReport, columns: &[names::PercentileColumn]) -> Grid {
    let header = [names::PERCENTILES]
        .into_iter()
        .chain(columns.iter().map(|(_, label, _)| *label))
        .map(str::to_owned)
        .collect();
    let rows = PERCENTILE_ROWS
        .iter()
        .map(|(label, at)| {
            [(*label).to_owned()]
                .into_iter()
                .chain(
                    columns
                        .iter()
                        .map(|(_, _, metric)| optional(at(report.metric(*metric)))),
                )
                .collect()
        })
        .collect();
    Grid {
        header,
        rows,
        keys: 1,
        words: 1,
    }
}

/// The percentiles of a run.
#[must_use]
pub fn percentiles(report: &RunReport, screen: Screen) -> String {
    let has_samples = |metric: Metric| report.metric(metric).count > 0;
    let mut text = screen.paint(Paint::Bold, "Percentile results:");
    text.push('\n');
    let mut columns = names::percentile_columns(report);
    if !columns.iter().any(|(_, _, metric)| has_samples(*metric)) {
        text.push_str(match report.totals.total {
            0 => "none: no request was sent\n",
            _ => "none: no request succeeded\n",
        });
        return text;
    }
    let mut grid = percentiles_of(report, &columns);
    // a second table is not worth them
    if grid.parts(screen.width).len() > 1 {
        columns.retain(|(_, _, metric)| !DERIVED.contains(metric));
        grid = percentiles_of(report, &columns);
    }
    text.push_str(&grid.render(screen.width, plain));
    if has_samples(Metric::Ttft) && has_samples(Metric::OutputTokPerS) {
        let note = "Each column is sorted separately: the 99% row has a slow TTFT, but a fast output rate.";
        text.push_str(&wrapped("", note, screen.width));
    }
    text
}

/// The part of a failed response's excerpt that adds to the failure's message. For a stream that is
/// its end, if the excerpt reaches it: a stream begins with what went well.
#[must_use]
pub fn telling_excerpt(kind: FailureKind, excerpt: &str) -> Option<&str> {
    let is_cut = excerpt.len() >= EXCERPT_BYTES;
    let excerpt = excerpt.trim();
    let mut lines = excerpt.lines().map(str::trim);
    let is_stream = lines.next().is_some_and(|line| {
        [":", "data:", "event:", "id:", "retry:"]
            .iter()
            .any(|field| line.starts_with(field))
    });
    if !is_stream {
        return Some(excerpt).filter(|text| !text.is_empty());
    }
    // its words are the message, or nothing was wrong with it
    let is_said = matches!(
        kind,
        FailureKind::ServerError | FailureKind::Cancelled | FailureKind::Unfinished
    );
    if is_said || is_cut {
        return None;
    }
    let last = excerpt.lines().map(str::trim);
    let last = last
        .filter_map(|line| line.strip_prefix("data:"))
        .next_back()?;
    Some(last.trim())
}

/// The failures of a run by kind and message; empty without any.
#[must_use]
pub fn errors(report: &RunReport, screen: Screen) -> String {
    if report.errors.is_empty() {
        return String::new();
    }
    let mut text = screen.paint(Paint::Red, "Errors:");
    text.push('\n');
    let rows = report
        .errors
        .iter()
        .map(|group| {
            let mut message = tame(&group.message);
            let example = group.example.as_deref();
            if let Some(example) = example.and_then(|said| telling_excerpt(group.kind, said)) {
                let example = tame(example);
                let mut shown: String = example.chars().take(EXAMPLE_CHARS).collect();
                if shown.len() < example.len() {
                    shown.push('…');
                }
                message.push_str("\ne.g. ");
                message.push_str(&shown);
            }
            vec![group.kind.to_string(), message, number(group.count as f64)]
        })
        .collect();
    let grid = Grid {
        header: ["Kind", "Message", "Count"].map(str::to_owned).into(),
        rows,
        keys: 3,
        words: 2,
    };
    text.push_str(&grid.render(screen.width, plain));
    if report.errors_not_shown > 0 {
        text.push_str(&wrapped(
            "",
            &format!(
                "and {} failures with other messages: see column `error_text` of the database",
                number(report.errors_not_shown as f64)
            ),
            screen.width,
        ));
    }
    text
}

/// The judgement on the client, with its reasons; empty where it is `ok`.
#[must_use]
pub fn verdict(report: &RunReport, screen: Screen) -> String {
    if report.client.verdict == Verdict::Ok {
        return String::new();
    }
    let mut text = screen.paint(
        Paint::Yellow,
        "Client verdict: client-limited. Figures may show this client, not the server:",
    );
    text.push('\n');
    for reason in &report.client.reasons {
        text.push_str(&wrapped("  - ", reason, screen.width));
    }
    text
}

/// What a reader of the figures must know; empty where that is nothing.
#[must_use]
pub fn warnings(report: &RunReport, screen: Screen) -> String {
    if report.warnings.is_empty() {
        return String::new();
    }
    let mut text = screen.paint(Paint::Yellow, "Warnings:");
    text.push('\n');
    for warning in &report.warnings {
        text.push_str(&wrapped("  - ", &warning.text, screen.width));
    }
    text
}

/// Output speed by length of the prompt.
pub(crate) fn speed_grid(report: &RunReport) -> Grid {
    let rows = report
        .speeds
        .iter()
        .map(|row| {
            vec![
                optional(row.prompt_tokens.map(|n| n as f64)),
                optional(row.tokens_per_s),
                number(row.requests as f64),
            ]
        })
        .collect();
    Grid {
        header: ["Prompt tokens", "Speed (tok/s)", "Requests"]
            .map(str::to_owned)
            .into(),
        rows,
        keys: 1,
        words: 0,
    }
}

/// Output speed by length of the prompt; empty unless that was measured.
#[must_use]
pub fn speeds(report: &RunReport, screen: Screen) -> String {
    if report.speeds.is_empty() {
        return String::new();
    }
    let grid = speed_grid(report);
    let mut text = screen.paint(Paint::Bold, "Speed benchmark results:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, plain));
    if let Some(memory) = report.gpu_memory_gb {
        let line = format!("Most GPU memory taken: {} GB", number(memory));
        text.push_str(&wrapped("", &line, screen.width));
    }
    text
}

/// How our token counts compare with those of the server; empty if there are none.
#[must_use]
pub fn token_checks(report: &RunReport, screen: Screen) -> String {
    let totals = &report.totals;
    let mut text = String::new();
    if let Some((asked, seen)) = totals.prompt_lengths.means() {
        let lengths = &totals.prompt_lengths;
        let line = format!(
            "Prompt lengths: {} tokens asked, {} seen by the server on average; {} of {} exact, {} \
             at most apart",
            number(asked),
            number(seen),
            number(lengths.equal as f64),
            number(lengths.requests as f64),
            number(lengths.max_difference as f64)
        );
        text.push_str(&wrapped("", &line, screen.width));
    }
    if let Some((ours, theirs)) = totals.counted_output.means() {
        let output = &totals.counted_output;
        let line = format!(
            "Output tokens: {} counted here, {} reported by the server on average; {} of {} differ",
            number(ours),
            number(theirs),
            number((output.requests - output.equal) as f64),
            number(output.requests as f64)
        );
        text.push_str(&wrapped("", &line, screen.width));
    }
    text
}

/// Everything of one run: summary, verdict, percentiles, errors, warnings.
#[must_use]
pub fn run(report: &RunReport, screen: Screen) -> String {
    [
        format!("{}{}", summary(report, screen), verdict(report, screen)),
        shards(report, screen),
        conversations(report, screen),
        trace(report, screen),
        segments(report, screen),
        mix(report, screen),
        percentiles(report, screen),
        workload(report, screen),
        match screen.confidence {
            Confidence::Shown => intervals(report, screen),
            Confidence::Hidden => String::new(),
        },
        speeds(report, screen),
        token_checks(report, screen),
        errors(report, screen),
        warnings(report, screen),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .map(|part| part + "\n")
    .collect()
}

/// The text of `performance_summary.txt`: all tables of all runs.
#[must_use]
pub fn performance_summary(runs: &[RunReport], together: &Together) -> String {
    let screen = Screen {
        width: FILE_WIDTH,
        ink: Ink::Plain,
        confidence: Confidence::Hidden,
    };
    let mut text = String::new();
    if let Some(first) = runs.first() {
        let meta = &first.meta;
        let tool = format!("{} {}", meta.tool.name, meta.tool.version);
        if let Some(alias) = meta.alias() {
            text.push_str(&wrapped("Alias:    ", &tame(alias), screen.width));
        }
        for (label, value) in [
            ("Model:   ", &meta.model),
            ("API:     ", &meta.api),
            ("URL:     ", &meta.url),
            ("Data set:", &meta.dataset),
            ("Started: ", &meta.started_at),
            ("Tool:    ", &tool),
        ] {
            text.push_str(&wrapped(&format!("{label} "), value, screen.width));
        }
    }
    if let Some(found) = &together.search {
        text.push('\n');
        text.push_str(&search(found, screen));
    }
    if runs.len() > 1 {
        text.push('\n');
        text.push_str(&sweep(runs, screen));
    }
    if !together.repeats.is_empty() {
        text.push('\n');
        text.push_str(&repeats(&together.repeats, screen));
    }
    for report in runs {
        let heading = format!("=== {} ({}) ===", report.meta.name, report.state.as_str());
        for part in ["\n", &screen.paint(Paint::Bold, &heading), "\n\n"] {
            text.push_str(part);
        }
        text.push_str(&run(report, screen));
    }
    text
}

/// A table of short cells, whose first column holds words.
#[must_use]
pub fn grid(header: &[String], rows: Vec<Vec<String>>, screen: Screen) -> String {
    let grid = Grid {
        header: header.to_vec(),
        rows,
        keys: 1,
        words: 1,
    };
    grid.render(screen.width, plain)
}

#[cfg(test)]
mod tests;
