//! Owns the tables a person reads: text of a given width, from reports.
//!
//! It must not know the terminal: whoever prints says how wide it is and
//! whether it shows colour. Everything is readable without.

use comfy_table::presets::ASCII_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use evalscope_core::metrics::{Metric, PERCENTILE_ROWS, Verdict};
use evalscope_core::plan::Pacing;
use unicode_width::UnicodeWidthStr;

use crate::names::{self, Figure, PERCENTILE_COLUMNS, Value};
use crate::report::RunReport;

/// What stands for a missing value.
const MISSING: &str = "-";

/// Width of the tables in `performance_summary.txt`.
const FILE_WIDTH: u16 = 100;

/// Columns at the end of the percentile table that only wide screens show.
const DERIVED_COLUMNS: usize = 2;

/// Characters shown of what a server said.
const EXAMPLE_CHARS: usize = 240;

/// Successes from this share on are good, in the sweep's colours and advice.
const GOOD_SHARE: f64 = 0.95;
/// Successes below this share are bad.
const BAD_SHARE: f64 = 0.80;
/// Latency that grew by more than this factor over a sweep is worth a sentence.
const LATENCY_GROWTH: f64 = 3.0;
/// The condensed form, with the columns marked below the header too.
const STYLE: TableStyle = ASCII_FULL_CONDENSED.header_separator(LineStyle::new('+', '=', '+', '+'));
/// A step of a sweep that brings less throughput than this is near the limit.
const WORTHWHILE_GAIN: f64 = 0.10;

/// Whether text may carry escape codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Plain text.
    Plain,
    /// ANSI colours.
    Color,
}

/// What text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: u16,
    /// Colours.
    pub ink: Ink,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Red,
    Yellow,
    Green,
}

impl Screen {
    fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => 1,
            Paint::Red => 31,
            Paint::Green => 32,
            Paint::Yellow => 33,
        };
        match self.ink {
            Ink::Plain => text.to_owned(),
            Ink::Color => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Three or four significant digits; whole numbers whole, with thousands apart.
fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let whole = value.fract() == 0.0;
    let decimals = match size {
        _ if whole => 0,
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        0.1.. => 4,
        0.01.. => 5,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    let (integer, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::with_capacity(text.len() + 4);
    let digits = integer.trim_start_matches('-');
    grouped.push_str(&integer[..integer.len() - digits.len()]);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push_str(rest);
    grouped
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), number)
}

/// A share as percent, which is 100 only where it is all.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.fract() == 0.0 {
        format!("{percent:.0}%")
    } else {
        format!("{:.1}%", percent.min(99.9))
    }
}

/// One line that does nothing to a terminal.
fn tame(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A table of short cells. Where it is too wide it is cut into several, one
/// below the other, each beginning with the same columns.
struct Grid {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns that begin every part.
    keys: usize,
    /// Columns that hold words, at the left.
    words: usize,
}

impl Grid {
    fn column_width(&self, column: usize) -> usize {
        self.rows
            .iter()
            .chain([&self.header])
            .flat_map(|row| row[column].lines())
            .map(UnicodeWidthStr::width)
            .max()
            .unwrap_or(0)
            // a blank at each side and a line
            + 3
    }

    /// The columns of each part.
    fn parts(&self, width: u16) -> Vec<Vec<usize>> {
        let keys: Vec<usize> = (0..self.keys).collect();
        let begin: usize = 1 + keys.iter().map(|c| self.column_width(*c)).sum::<usize>();
        let mut parts = vec![keys.clone()];
        let mut used = begin;
        for column in self.keys..self.header.len() {
            let wide = self.column_width(column);
            let part = parts.last_mut().expect("it begins with one and only grows");
            if used + wide > usize::from(width) && part.len() > self.keys {
                let mut next = keys.clone();
                next.push(column);
                parts.push(next);
                used = begin + wide;
            } else {
                part.push(column);
                used += wide;
            }
        }
        parts
    }

    /// Leave out the columns from this one on.
    fn keep_columns(&mut self, columns: usize) {
        for row in self.rows.iter_mut().chain([&mut self.header]) {
            row.truncate(columns);
        }
    }

    fn render(&self, width: u16, paint: impl Fn(usize, &str) -> String) -> String {
        let mut text = String::new();
        for part in self.parts(width) {
            let cells = |row: &[String]| -> Vec<Cell> {
                part.iter()
                    .map(|column| {
                        Cell::new(&row[*column]).set_alignment(if *column < self.words {
                            CellAlignment::Left
                        } else {
                            CellAlignment::Right
                        })
                    })
                    .collect()
            };
            let mut table = Table::new();
            table
                .load_style(STYLE)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width)
                .set_header(cells(&self.header));
            for row in &self.rows {
                table.add_row(cells(row));
            }
            let lines: Vec<String> = table.lines().collect();
            let body = lines
                .iter()
                .position(|line| line.starts_with("+="))
                .map_or(0, |at| at + 1);
            // a row that was broken has no line of its own to paint
            let unbroken = lines.len() == body + self.rows.len() + 1;
            for (at, line) in lines.iter().enumerate() {
                match at
                    .checked_sub(body)
                    .filter(|row| unbroken && *row < self.rows.len())
                {
                    Some(row) => text.push_str(&paint(row, line)),
                    None => text.push_str(line),
                }
                text.push('\n');
            }
        }
        text
    }
}

fn plain(_row: usize, line: &str) -> String {
    line.to_owned()
}

/// Words in lines of `width`, each but the first after as many blanks as the
/// first line's mark is wide.
fn wrapped(mark: &str, text: &str, width: u16) -> String {
    let room = usize::from(width).saturating_sub(mark.width()).max(20);
    let mut out = String::from(mark);
    let mut used = 0;
    for word in tame(text).split(' ') {
        let wide = word.width();
        if used > 0 && used + 1 + wide > room {
            out.push('\n');
            out.push_str(&" ".repeat(mark.width()));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += wide;
    }
    out.push('\n');
    out
}

/// The figures of a run.
#[must_use]
pub fn summary(report: &RunReport, screen: Screen) -> String {
    let mut rows = vec![vec!["Model".to_owned(), tame(&report.meta.model)]];
    for figure in Figure::all() {
        if shown(figure, report) {
            rows.push(vec![figure.label().to_owned(), cell(figure, report)]);
        }
    }
    let database = report.database.display().to_string();
    let label = rows.iter().map(|row| row[0].width()).max().unwrap_or(0);
    // a path broken over lines cannot be copied
    let below = label + 7 + database.width() > usize::from(screen.width);
    if !below {
        rows.push(vec![names::DATABASE.to_owned(), database.clone()]);
    }
    let grid = Grid {
        header: vec!["Key".to_owned(), "Value".to_owned()],
        rows,
        keys: 2,
        words: 2,
    };
    let mut text = screen.paint(Paint::Bold, "Benchmarking summary:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, plain));
    if below {
        text.push_str(names::DATABASE);
        text.push_str(": ");
        text.push_str(&database);
        text.push('\n');
    }
    text
}

/// Whether a figure has a row: some only say something in some runs.
fn shown(figure: Figure, report: &RunReport) -> bool {
    match figure {
        Figure::Streamed | Figure::Whole => {
            (1..report.totals.succeeded).contains(&report.totals.streamed)
        }
        Figure::InputThroughput => false,
        Figure::CacheHits => figure.value(report) != Value::Missing,
        Figure::Mean(Metric::Ttfat) => {
            let answer = report.metric(Metric::Ttfat);
            answer.count > 0 && answer != report.metric(Metric::Ttft)
        }
        _ => true,
    }
}

fn cell(figure: Figure, report: &RunReport) -> String {
    match (figure, figure.value(report)) {
        (Figure::Rate, Value::Missing) => "unpaced".to_owned(),
        // as it was given
        (Figure::Rate, Value::Number(rate)) => rate.to_string(),
        (_, Value::Missing) => MISSING.to_owned(),
        (_, Value::Count(n)) => number(n as f64),
        // a gap is no answer: their numbers do not compare
        (_, Value::Number(x))
        | (Figure::Mean(Metric::Itl | Metric::EventGap), Value::Mean(x, _)) => number(x),
        (_, Value::Mean(x, n)) if n == report.totals.succeeded => number(x),
        (_, Value::Mean(x, n)) => format!("{} ({} samples)", number(x), number(n as f64)),
    }
}

/// The percentiles of a run.
#[must_use]
pub fn percentiles(report: &RunReport, screen: Screen) -> String {
    let has_samples = |metric: Metric| report.metric(metric).count > 0;
    let mut text = screen.paint(Paint::Bold, "Percentile results:");
    text.push('\n');
    if !PERCENTILE_COLUMNS
        .iter()
        .any(|(_, _, metric)| has_samples(*metric))
    {
        text.push_str("none: no request succeeded\n");
        return text;
    }
    let header = [names::PERCENTILES]
        .into_iter()
        .chain(PERCENTILE_COLUMNS.iter().map(|(_, label, _)| *label))
        .map(str::to_owned)
        .collect();
    let rows = PERCENTILE_ROWS
        .iter()
        .map(|(label, at)| {
            [(*label).to_owned()]
                .into_iter()
                .chain(
                    PERCENTILE_COLUMNS
                        .iter()
                        .map(|(_, _, metric)| optional(at(report.metric(*metric)))),
                )
                .collect()
        })
        .collect();
    let mut grid = Grid {
        header,
        rows,
        keys: 1,
        words: 1,
    };
    // the last columns follow from others: a second table is not worth them
    if grid.parts(screen.width).len() > 1 {
        grid.keep_columns(1 + PERCENTILE_COLUMNS.len() - DERIVED_COLUMNS);
    }
    text.push_str(&grid.render(screen.width, plain));
    text
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
            if let Some(example) = &group.example {
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
        text.push_str(&wrapped("  - ", warning, screen.width));
    }
    text
}

/// Output speed by length of the prompt; empty unless that was measured.
#[must_use]
pub fn speeds(report: &RunReport, screen: Screen) -> String {
    if report.speeds.is_empty() {
        return String::new();
    }
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
    let grid = Grid {
        header: ["Prompt tokens", "Speed (tok/s)", "Requests"]
            .map(str::to_owned)
            .into(),
        rows,
        keys: 1,
        words: 0,
    };
    let mut text = screen.paint(Paint::Bold, "Speed benchmark results:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, plain));
    if let Some(memory) = report.gpu_memory_gb {
        let line = format!("Most GPU memory taken: {} GB", number(memory));
        text.push_str(&wrapped("", &line, screen.width));
    }
    text
}

/// How token counts of ours compare with the server's; empty where there are none.
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
            "Output tokens: {} counted here, {} told by the server on average; {} of {} differ",
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
        percentiles(report, screen),
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

/// How much the throughput of the last load is above that of the one before.
fn gain_of_last_step(by_load: &[&RunReport]) -> Option<f64> {
    let [.., before, last] = by_load else {
        return None;
    };
    let before = before.requests_per_s().filter(|rate| *rate > 0.0)?;
    Some(last.requests_per_s()? / before - 1.0)
}

/// The rate of a run that is paced.
fn rate(report: &RunReport) -> Option<f64> {
    match report.meta.load.pacing {
        Pacing::Unpaced => None,
        Pacing::Poisson { rate_per_s } => Some(rate_per_s),
    }
}

/// A run's load in words.
fn load(report: &RunReport) -> String {
    let concurrency = report.meta.load.concurrency;
    match rate(report) {
        None => format!("concurrency {concurrency}"),
        Some(rate) => format!("concurrency {concurrency}, rate {rate} req/s"),
    }
}

/// The runs of a sweep beside each other, the best of them, and advice.
#[must_use]
pub fn sweep(runs: &[RunReport], screen: Screen) -> String {
    let header = [
        "Conc.",
        "Rate\n(req/s)",
        "Reqs",
        "Success",
        "RPS\n(req/s)",
        "Output\n(tok/s)",
        "Latency\navg\n(s)",
        "Latency\np99\n(s)",
        "TTFT\navg\n(ms)",
        "TTFT\np99\n(ms)",
        "TPOT\navg\n(ms)",
    ];
    let rows = runs
        .iter()
        .map(|run| {
            let metric = |m: Metric| run.metric(m);
            vec![
                run.meta.load.concurrency.to_string(),
                rate(run).map_or_else(|| MISSING.to_owned(), |rate| rate.to_string()),
                number(run.totals.total as f64),
                run.success_share()
                    .map_or_else(|| MISSING.to_owned(), percent),
                optional(run.requests_per_s()),
                optional(run.output_tokens_per_s()),
                optional(metric(Metric::Latency).mean),
                optional(metric(Metric::Latency).p99),
                optional(metric(Metric::Ttft).mean),
                optional(metric(Metric::Ttft).p99),
                optional(metric(Metric::Tpot).mean),
            ]
        })
        .collect();
    let grid = Grid {
        header: header.map(str::to_owned).into(),
        rows,
        keys: 2,
        words: 0,
    };
    let mut text = screen.paint(Paint::Bold, "Sweep overview:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, |row, line| {
        let paint = match runs[row].success_share() {
            Some(share) if share >= GOOD_SHARE => Paint::Green,
            Some(share) if share >= BAD_SHARE => Paint::Yellow,
            _ => Paint::Red,
        };
        screen.paint(paint, line)
    }));
    for sentence in best(runs).into_iter().chain(advice(runs)) {
        text.push_str(&wrapped("", &sentence, screen.width));
    }
    text
}

/// The run with the largest of a figure; the first of equals.
fn most(
    runs: &[RunReport],
    figure: impl Fn(&RunReport) -> Option<f64>,
) -> Option<(&RunReport, f64)> {
    let mut best: Option<(&RunReport, f64)> = None;
    for run in runs {
        if let Some(value) = figure(run)
            && best.is_none_or(|(_, most)| value > most)
        {
            best = Some((run, value));
        }
    }
    best
}

fn best(runs: &[RunReport]) -> Vec<String> {
    let throughput = most(runs, RunReport::requests_per_s);
    let latency = most(runs, |run| {
        run.metric(Metric::Latency).mean.map(|mean| -mean)
    });
    [
        throughput.map(|(run, rps)| format!("Highest RPS: {} ({} req/s)", load(run), number(rps))),
        latency.map(|(run, less)| format!("Lowest latency: {} ({} s)", load(run), number(-less))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a sweep suggests to do next.
fn advice(runs: &[RunReport]) -> Vec<String> {
    let mut by_load: Vec<&RunReport> = runs.iter().collect();
    by_load.sort_by(|a, b| {
        let key = |run: &RunReport| {
            (
                rate(run).unwrap_or(f64::INFINITY),
                run.meta.load.concurrency,
            )
        };
        let ((rate_a, slots_a), (rate_b, slots_b)) = (key(a), key(b));
        rate_a.total_cmp(&rate_b).then(slots_a.cmp(&slots_b))
    });
    let mut advice = Vec::new();
    let [lowest, .., highest] = by_load.as_slice() else {
        return advice;
    };
    if let Some((fastest, _)) = most(runs, RunReport::requests_per_s) {
        if std::ptr::eq(fastest, *highest) {
            advice.push(match gain_of_last_step(&by_load) {
                Some(gain) if gain < WORTHWHILE_GAIN => format!(
                    "Advice: throughput rose by only {} in the last step (to {}): the server is close to its limit.",
                    percent(gain.max(0.0)),
                    load(highest)
                ),
                _ => format!(
                    "Advice: throughput was highest at the highest load ({}): raise the load to find the limit.",
                    load(highest)
                ),
            });
        } else if std::ptr::eq(fastest, *lowest) {
            advice.push(format!(
                "Advice: throughput was highest at the lowest load ({}): lower the load, the server is past its limit.",
                load(lowest)
            ));
        }
    }
    for run in &by_load {
        if let Some(share) = run.success_share().filter(|share| *share < GOOD_SHARE) {
            advice.push(format!(
                "Advice: only {} of the requests succeeded at {}: see its errors before using its figures.",
                percent(share),
                load(run)
            ));
        }
    }
    let latency = |run: &RunReport| run.metric(Metric::Latency).mean;
    if let (Some(low), Some(high)) = (latency(lowest), latency(highest))
        && low > 0.0
        && high > LATENCY_GROWTH * low
    {
        advice.push(format!(
            "Advice: average latency grew {:.1} times from {} to {}: requests wait for each other at the server.",
            high / low,
            load(lowest),
            load(highest)
        ));
    }
    advice
}

/// The text of `performance_summary.txt`: all tables of all runs.
#[must_use]
pub fn performance_summary(runs: &[RunReport]) -> String {
    let screen = Screen {
        width: FILE_WIDTH,
        ink: Ink::Plain,
    };
    let mut text = String::new();
    if let Some(first) = runs.first() {
        let meta = &first.meta;
        let tool = format!("{} {}", meta.tool.name, meta.tool.version);
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
    if runs.len() > 1 {
        text.push('\n');
        text.push_str(&sweep(runs, screen));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    const NARROW: Screen = Screen {
        width: 80,
        ink: Ink::Plain,
    };

    fn fits(text: &str, width: usize) {
        for line in text.lines() {
            assert!(line.width() <= width, "{} columns: {line}", line.width());
        }
    }

    #[test]
    fn numbers_keep_three_or_four_digits() {
        let shown = [
            0.0,
            15.0,
            1.987_654,
            26.123_4,
            334.006,
            1234.5,
            1_234_567.0,
            0.002_99,
            0.157_7,
            -1.5,
        ]
        .map(number);
        assert_eq!(
            shown,
            [
                "0",
                "15",
                "1.988",
                "26.12",
                "334.0",
                "1,234",
                "1,234,567",
                "0.002990",
                "0.1577",
                "-1.500"
            ]
        );
        assert_eq!(
            [percent(1.0), percent(0.9999), percent(0.5)],
            ["100%", "99.9%", "50%"]
        );
    }

    #[test]
    fn a_run() {
        let text = run(
            &samples::report(&samples::meta("qwen2.5"), samples::mixed(30)),
            NARROW,
        );
        fits(&text, 80);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_run_with_a_chinese_model_and_a_rate() {
        let mut meta = samples::meta("通义千问-2.5-七十二亿参数-指令微调版");
        meta.load.pacing = Pacing::Poisson { rate_per_s: 2.5 };
        let text = run(&samples::report(&meta, samples::successes(120)), NARROW);
        fits(&text, 80);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_run_of_failures() {
        let text = run(
            &samples::report(&samples::meta("m"), samples::all_failed(12)),
            NARROW,
        );
        fits(&text, 80);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_run_without_streams_or_usage() {
        let text = run(
            &samples::report(&samples::meta("m"), samples::whole_answers(5)),
            NARROW,
        );
        fits(&text, 80);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_client_at_its_limit() {
        let report = samples::limited(samples::successes(120));
        let text = verdict(&report, NARROW);
        fits(&text, 80);
        insta::assert_snapshot!(text);
        assert_eq!(
            verdict(
                &samples::report(&samples::meta("m"), samples::mixed(30)),
                NARROW
            ),
            ""
        );
    }

    #[test]
    fn a_sweep() {
        let runs = samples::sweep();
        let text = sweep(&runs, NARROW);
        fits(&text, 80);
        insta::assert_snapshot!(text);
        insta::assert_snapshot!("performance_summary", performance_summary(&runs));
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let runs = samples::sweep();
        let color = Screen {
            ink: Ink::Color,
            ..NARROW
        };
        let text = sweep(&runs, color) + &run(&runs[0], color);
        assert!(text.contains("\x1b[32m"));
        let mut bare = text;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, sweep(&runs, NARROW) + &run(&runs[0], NARROW));
    }

    #[test]
    fn a_servers_words_do_nothing_to_a_terminal() {
        assert_eq!(tame("a\x1b[2Jb\r\n\tc"), "a [2Jb c");
    }
}
