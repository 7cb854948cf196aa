//! Owns the table of a sweep: its runs beside each other, the best of them, and advice.

use evalscope_core::metrics::Metric;
use evalscope_core::plan::Pacing;

use super::layout::{Grid, MISSING, number, optional, percent, wrapped};
use super::{Paint, Screen};
use crate::report::RunReport;

/// Successes from this share on are good, in the sweep's colours and advice.
const GOOD_SHARE: f64 = 0.95;
/// Successes below this share are bad.
const BAD_SHARE: f64 = 0.80;
/// Latency that grew by more than this factor over a sweep is worth a sentence.
const LATENCY_GROWTH: f64 = 3.0;
/// A step of a sweep that brings less throughput than this is near the limit.
const WORTHWHILE_GAIN: f64 = 0.10;

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
