//! Owns the table of intervals: how far figures can be trusted within one run.
//!
//! It must not know how they are computed.

use evalscope_model::metrics::{Interval, Metric};

use super::layout::{Grid, MISSING, number, optional, percent, plain, wrapped};
use super::load::share_range;
use super::screen::{Paint, Screen};
use crate::report::RunReport;

/// Intervals of percentiles, of the plateau's throughput and of good requests; empty if there are
/// none.
#[must_use]
pub fn intervals(report: &RunReport, screen: Screen) -> String {
    let range =
        |interval: Interval| format!("{} to {}", number(interval.low()), number(interval.high()));
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (metric, of) in &report.intervals {
        let distribution = report.metric(*metric);
        // without reasoning it is the same
        if *metric == Metric::Ttfat && distribution == report.metric(Metric::Ttft) {
            continue;
        }
        for (percentile, value, interval) in [
            ("p50", distribution.p50, of.p50_ci),
            ("p90", distribution.p90, of.p90_ci),
            ("p95", distribution.p95, of.p95_ci),
            ("p99", distribution.p99, of.p99_ci),
        ] {
            if value.is_some() {
                let interval = interval.map_or_else(|| MISSING.to_owned(), range);
                rows.push([
                    format!("{} {percentile}", metric.key()),
                    optional(value),
                    interval,
                ]);
            }
        }
    }
    if let Ok(plateau) = &report.plateau
        && let Some(interval) = plateau.totals.output_tokens_per_s_ci
    {
        rows.push([
            "output_tokens_per_s on the plateau".to_owned(),
            optional(plateau.totals.output_tokens_per_s),
            range(interval),
        ]);
    }
    if let Some(goodput) = &report.goodput
        && let (Some(share), Some(interval)) = (goodput.share, goodput.share_ci)
    {
        rows.push([
            "good requests".to_owned(),
            percent(share),
            share_range(interval),
        ]);
    }
    let judged = report.load.as_ref().and_then(|load| load.judged);
    if let Some(saturation) = judged.map(|judged| judged.saturation)
        && let (Some(excess), Some(interval)) = (saturation.excess, saturation.excess_ci)
    {
        rows.push([
            "arrivals that were not served".to_owned(),
            percent(excess),
            share_range(interval),
        ]);
    }
    if rows.is_empty() {
        return String::new();
    }
    let grid = Grid {
        header: ["Figure", "Value", "95 % interval"]
            .map(str::to_owned)
            .into(),
        rows: rows.into_iter().map(Vec::from).collect(),
        keys: 3,
        words: 1,
    };
    let mut text = screen.paint(Paint::Bold, "Intervals within this run:");
    text.push('\n');
    text.push_str(&grid.render(screen.width, plain));
    let note = "They say how far chance within this run may have moved a figure; another run may differ by \
                more. A `-` means too few requests.";
    text.push_str(&wrapped("", note, screen.width));
    text
}
