//! Owns the table of repeated runs: each figure of a load with its median, range and interval.
//!
//! It must not know how they are computed.

use evalscope_model::metrics::Interval;

use super::layout::{Grid, MISSING, number, optional, plain, wrapped};
use super::screen::{Paint, Screen};
use crate::repeats::Repeats;

/// The figures of the loads that were measured more than once.
pub(crate) fn repeats_grid(repeats: &[Repeats]) -> Grid {
    let range =
        |interval: Interval| format!("{} to {}", number(interval.low()), number(interval.high()));
    let rows = repeats.iter().flat_map(|load| {
        load.figures.iter().map(move |figure| {
            let pooled = figure.key.split_once('.').and_then(|(metric, percentile)| {
                let together = load.pooled.get(metric)?;
                match percentile {
                    "p50" => together.p50,
                    "p99" => together.p99,
                    _ => None,
                }
            });
            vec![
                load.load.clone(),
                figure.key.to_owned(),
                load.runs.len().to_string(),
                number(figure.median),
                number(figure.lowest),
                number(figure.highest),
                figure.interval.map_or_else(|| MISSING.to_owned(), range),
                optional(pooled),
            ]
        })
    });
    Grid {
        header: [
            "Load",
            "Figure",
            "Runs",
            "Median",
            "Lowest",
            "Highest",
            "95 %\ninterval",
            "All\nrequests",
        ]
        .map(str::to_owned)
        .into(),
        rows: rows.collect(),
        keys: 2,
        words: 2,
    }
}

/// What the repeated runs of each load come to.
#[must_use]
pub fn repeats(repeats: &[Repeats], screen: Screen) -> String {
    let mut text = screen.paint(Paint::Bold, "Repeated runs:");
    text.push('\n');
    text.push_str(&repeats_grid(repeats).render(screen.width, plain));
    let note = "The interval is that of the mean of further runs and needs 3 runs. \"All requests\" is the percentile \
                of the requests of all runs together.";
    text.push_str(&wrapped("", note, screen.width));
    text
}
