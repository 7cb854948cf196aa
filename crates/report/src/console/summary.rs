//! Owns the table of a run's figures.
//!
//! It must not know what comes above and below it.

use evalscope_model::metrics::Metric;
use evalscope_model::plan::Pacing;
use unicode_width::UnicodeWidthStr;

use super::advice::rate;
use super::layout::{Grid, MISSING, Row, number, optional, percent, plain, tame, wrapped};
use super::load::{sentence, verdict_words};
use super::objective;
use super::screen::{Paint, Screen};
use crate::figures::PlateauFigures;
use crate::names::{self, Figure, Value};
use crate::report::RunReport;

/// Percentiles that have a row where the plateau says something else.
const OF_PLATEAU: [(&str, Metric); 2] = [
    ("p99 of TTFT (ms)", Metric::Ttft),
    ("p99 of latency (s)", Metric::Latency),
];

/// The figures of a run.
#[must_use]
pub fn summary(report: &RunReport, screen: Screen) -> String {
    let mut grid = summary_grid(report);
    let database = report.database.display().to_string();
    let labels = grid.rows.iter().map(|row| row[0].width());
    let label = labels.max().unwrap_or(0);
    // a path broken over lines cannot be copied
    let below = label + 7 + database.width() > usize::from(screen.width);
    if !below {
        let mut row = vec![names::DATABASE.to_owned(), database.clone()];
        row.resize(grid.header.len(), String::new());
        grid.rows.push(row);
    }
    let mut text = screen.paint(Paint::Bold, "Benchmarking summary:");
    text.push('\n');
    if let Some(sentence) = sentence(report) {
        text.push_str(&wrapped("", &sentence, screen.width));
    }
    text.push_str(&grid.render(screen.width, plain));
    if let Some(sentence) = plateau_sentence(report) {
        text.push_str(&wrapped("", &sentence, screen.width));
    }
    if below {
        text.push_str(names::DATABASE);
        text.push_str(": ");
        text.push_str(&database);
        text.push('\n');
    }
    text
}

/// The plateau of a run, where its figures are others.
fn beside(report: &RunReport) -> Option<&PlateauFigures> {
    let plateau = report.plateau.as_ref().ok();
    plateau.filter(|_| {
        report
            .differences()
            .is_some_and(|differences| differences.any())
    })
}

/// The figures of a run, and of its plateau where they are others.
pub(crate) fn summary_grid(report: &RunReport) -> Grid {
    let beside = beside(report);
    let mut header = vec!["Key".to_owned(), "Value".to_owned()];
    header.extend(beside.map(|_| "Plateau".to_owned()));
    Grid {
        keys: header.len(),
        words: header.len(),
        rows: rows(report, beside)
            .into_iter()
            .map(|(label, value, on_plateau)| {
                let mut row = vec![label, value];
                row.extend(beside.map(|_| on_plateau.unwrap_or_default()));
                row
            })
            .collect(),
        header,
    }
}

/// Where the plateau is, and whether the figures of the whole run are its own; `None` without one.
pub(crate) fn plateau_sentence(report: &RunReport) -> Option<String> {
    let totals = &report.plateau.as_ref().ok()?.totals;
    Some(format!(
        "Plateau: {} s to {} s after the start, {} requests{}",
        number(totals.start_s),
        number(totals.end_s),
        number(totals.requests as f64),
        if beside(report).is_some() {
            ""
        } else if report.generates() {
            "; its throughput and its p99 of TTFT are about those of the whole run"
        } else {
            "; its throughput is about that of the whole run"
        }
    ))
}

fn rows(report: &RunReport, beside: Option<&PlateauFigures>) -> Vec<Row> {
    let mut rows = vec![("Model".to_owned(), tame(&report.meta.model), None)];
    if let Some(alias) = report.meta.alias() {
        rows.push(("Alias".to_owned(), tame(alias), None));
    }
    let figure = |figure: Figure| -> Option<Row> {
        shown(figure, report).then(|| {
            let on_plateau = beside.map(|plateau| match on_plateau(figure, plateau) {
                Value::Missing => String::new(),
                value => of_value(figure, value, plateau.totals.succeeded),
            });
            let value = match (figure, rate(report)) {
                (Figure::Rate, Some(rate)) => rate,
                (Figure::Rate, None) if matches!(report.meta.load.pacing, Pacing::Recorded(_)) => {
                    "as recorded".to_owned()
                }
                _ => of_value(figure, figure.value(report), report.totals.succeeded),
            };
            (figure.label().to_owned(), value, on_plateau)
        })
    };
    rows.extend(Figure::first_of(report).filter_map(figure));
    if let Some(words) = verdict_words(report) {
        rows.push((names::VERDICT.to_owned(), words, None));
    }
    rows.extend(Figure::others_of(report).filter_map(figure));
    rows.extend(cached_per_request(report));
    if let Some(plateau) = beside {
        for (label, metric) in OF_PLATEAU {
            let on_plateau = plateau.metric(metric).and_then(|of| of.p99);
            if on_plateau.is_some() {
                let whole = optional(report.metric(metric).p99);
                rows.push((label.to_owned(), whole, Some(optional(on_plateau))));
            }
        }
    }
    rows.extend(objective::rows(report, beside));
    rows.extend(finish_reasons(report));
    rows
}

/// The cached share of single requests; `None` where nothing came from a cache.
fn cached_per_request(report: &RunReport) -> Option<Row> {
    let share = report.metric(Metric::CachedShare);
    share.max.filter(|most| *most > 0.0)?;
    let of = |value: Option<f64>| Some(number(100.0 * value?));
    let shown = format!(
        "mean {}, p50 {}, p90 {}",
        of(share.mean)?,
        of(share.p50)?,
        of(share.p90)?
    );
    Some((names::CACHED_PER_REQUEST.to_owned(), shown, None))
}

/// Successes by why generation ended, with their shares, the most frequent first.
fn finish_reasons(report: &RunReport) -> Option<Row> {
    let mut reasons: Vec<(&String, &u64)> = report.totals.finish_reasons.iter().collect();
    reasons.sort_by_key(|(reason, n)| (std::cmp::Reverse(**n), (*reason).clone()));
    let all: u64 = reasons.iter().map(|(_, n)| **n).sum();
    let shown: Vec<String> = reasons
        .iter()
        .map(|(reason, n)| {
            let share = percent(**n as f64 / all as f64);
            format!("{} {} ({share})", tame(reason), number(**n as f64))
        })
        .collect();
    (all > 0).then(|| ("Finish reasons".to_owned(), shown.join(", "), None))
}

/// The value of a figure on a plateau; missing for those that it does not have.
fn on_plateau(figure: Figure, plateau: &PlateauFigures) -> Value {
    let totals = &plateau.totals;
    match figure {
        Figure::Duration => Value::Number(totals.end_s - totals.start_s),
        Figure::Total => Value::Count(totals.requests),
        Figure::Succeeded => Value::Count(totals.succeeded),
        Figure::Failed => Value::Count(totals.failed),
        Figure::RequestThroughput => Value::Number(totals.requests_per_s),
        Figure::OutputThroughput => totals.output_tokens_per_s.into(),
        Figure::InputThroughput => totals.input_tokens_per_s.into(),
        Figure::TotalThroughput => {
            let (input, output) = (totals.input_tokens_per_s, totals.output_tokens_per_s);
            input
                .zip(output)
                .map(|(input, output)| input + output)
                .into()
        }
        Figure::Mean(metric) => plateau.metric(metric).map_or(Value::Missing, Value::from),
        _ => Value::Missing,
    }
}

/// Whether a figure has a row: some only say something in some runs.
fn shown(figure: Figure, report: &RunReport) -> bool {
    match figure {
        Figure::Streamed | Figure::Whole => {
            (1..report.totals.succeeded).contains(&report.totals.streamed)
        }
        Figure::InputThroughput => !report.generates(),
        // of conversations, which a table of their own speaks of
        Figure::Expected | Figure::InFlight | Figure::MostInFlight
            if report.conversations.is_some() =>
        {
            false
        }
        // the table would say twice that nothing limits it
        Figure::Expected if report.is_open_loop() => report.meta.load.requests.is_some(),
        Figure::Mean(Metric::Ttfat) => {
            let answer = report.metric(Metric::Ttfat);
            answer.count > 0 && answer != report.metric(Metric::Ttft)
        }
        figure => !figure.is_left_out(report),
    }
}

/// A value of the summary. `succeeded`: as many samples as every mean should have.
fn of_value(figure: Figure, value: Value, succeeded: u64) -> String {
    match (figure, value) {
        (Figure::Rate, Value::Missing) => "unpaced".to_owned(),
        (Figure::Concurrency | Figure::Expected, Value::Missing) => "not limited".to_owned(),
        (_, Value::Missing) => MISSING.to_owned(),
        (_, Value::Count(n)) => number(n as f64),
        (_, Value::Number(x)) => number(x),
        // the number of gaps is not one of responses
        (Figure::Mean(metric), Value::Mean(x, _)) if metric.per_gap() => number(x),
        (_, Value::Mean(x, n)) if n == succeeded => number(x),
        (_, Value::Mean(x, n)) => format!("{} ({} samples)", number(x), number(n as f64)),
    }
}
