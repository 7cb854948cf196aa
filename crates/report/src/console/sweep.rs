//! Owns the table of a sweep: its runs beside each other, the best of them, and advice.

use std::num::NonZeroUsize;

use evalscope_model::metrics::{Distribution, Metric};
use evalscope_model::plan::Pacing;

use super::layout::{Grid, MISSING, number, optional, percent, wrapped};
use super::{Paint, Screen};
use crate::report::RunReport;

/// Successes from this share on are good, in the sweep's colours and advice.
const GOOD_SHARE: f64 = 0.95;
/// Successes below this share are bad.
const BAD_SHARE: f64 = 0.80;
/// Mean prompt lengths that differ by no more than this share are the same load.
const SAME_LENGTH: f64 = 0.02;
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
    match (concurrency, rate(report)) {
        (Some(slots), None) => format!("concurrency {slots}"),
        (Some(slots), Some(rate)) => format!("concurrency {slots}, rate {rate} req/s"),
        (None, Some(rate)) => format!("rate {rate} req/s"),
        (None, None) => "concurrency not limited".to_owned(),
    }
}

/// The runs of a sweep beside each other, the best of them, and advice.
#[must_use]
pub fn sweep(runs: &[RunReport], screen: Screen) -> String {
    let paced = runs.iter().any(RunReport::is_paced);
    let header = [
        "Conc.",
        "Rate\n(req/s)",
        "Reqs",
        "Success",
        "RPS\n(req/s)",
        "Output\n(tok/s)",
    ];
    let from_schedule = [
        "Lat. from\nsched.\navg (s)",
        "Lat. from\nsched.\np99 (s)",
        "TTFT from\nsched.\navg (ms)",
        "TTFT from\nsched.\np99 (ms)",
    ];
    let plain = [
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
            let mut row = vec![
                match run.meta.load.concurrency {
                    Some(slots) => slots.to_string(),
                    None => "not\nlimited".to_owned(),
                },
                rate(run).map_or_else(|| MISSING.to_owned(), |rate| rate.to_string()),
                number(run.totals.total as f64),
                run.success_share()
                    .map_or_else(|| MISSING.to_owned(), percent),
                optional(run.requests_per_s()),
                optional(run.output_tokens_per_s()),
            ];
            if paced {
                for metric in [
                    metric(Metric::LatencyFromSchedule),
                    metric(Metric::TtftFromSchedule),
                ] {
                    row.extend([optional(metric.mean), optional(metric.p99)]);
                }
            }
            row.extend([
                optional(metric(Metric::Latency).mean),
                optional(metric(Metric::Latency).p99),
                optional(metric(Metric::Ttft).mean),
                optional(metric(Metric::Ttft).p99),
                optional(metric(Metric::Tpot).mean),
            ]);
            row
        })
        .collect();
    let grid = Grid {
        header: header
            .iter()
            .chain(from_schedule.iter().filter(|_| paced))
            .chain(&plain)
            .map(|label| (*label).to_owned())
            .collect(),
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

/// Enough of a run succeeded for its figures to be compared with others.
fn is_usable(run: &RunReport) -> bool {
    run.success_share().is_some_and(|share| share >= BAD_SHARE)
}

/// The usable run with the largest of a figure; the first of equals.
fn most(
    runs: &[RunReport],
    figure: impl Fn(&RunReport) -> Option<f64>,
) -> Option<(&RunReport, f64)> {
    let mut best: Option<(&RunReport, f64)> = None;
    for run in runs.iter().filter(|run| is_usable(run)) {
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
    let throughput =
        throughput.map(|(run, rps)| format!("Highest RPS: {} ({} req/s)", load(run), number(rps)));
    throughput.into_iter().chain(lowest_latency(runs)).collect()
}

/// The run of the lowest latency, or why none can be named.
fn lowest_latency(runs: &[RunReport]) -> Option<String> {
    let usable: Vec<&RunReport> = runs.iter().filter(|run| is_usable(run)).collect();
    let (best, less) = most(runs, |run| {
        run.metric(Metric::Latency).mean.map(|mean| -mean)
    })?;
    if usable.len() < 2 {
        return Some(format!(
            "Lowest latency: {} ({} s)",
            load(best),
            number(-less)
        ));
    }
    let lengths: Vec<f64> = usable
        .iter()
        .filter_map(|run| run.metric(Metric::InputTokens).mean)
        .collect();
    let shortest = lengths.iter().copied().fold(f64::INFINITY, f64::min);
    let longest = lengths.iter().copied().fold(0.0, f64::max);
    if longest > shortest * (1.0 + SAME_LENGTH) {
        return Some(format!(
            "Lowest latency: cannot be told, because the prompts of the points differ in length ({} to \
             {} tokens on average); `--repeat-prompts` gives each point the same ones",
            number(shortest),
            number(longest)
        ));
    }
    let mut rivals = usable.iter().filter(|run| !std::ptr::eq(**run, best));
    let equal =
        rivals.find(|run| !differs(best.metric(Metric::Latency), run.metric(Metric::Latency)));
    Some(match equal {
        Some(rival) => format!(
            "Lowest latency: cannot be told, because the samples show no difference between {} ({} s) \
             and {} ({} s)",
            load(best),
            number(-less),
            load(rival),
            optional(rival.metric(Metric::Latency).mean)
        ),
        None => format!("Lowest latency: {} ({} s)", load(best), number(-less)),
    })
}

/// Whether two means are further apart than their samples' scatter explains: Welch's test, with
/// the normal distribution's 5 % point, since a few samples are no ground for a verdict anyway.
fn differs(a: &Distribution, b: &Distribution) -> bool {
    let of = |d: &Distribution| Some((d.mean?, d.std?, d.count as f64));
    let (Some((mean_a, std_a, n_a)), Some((mean_b, std_b, n_b))) = (of(a), of(b)) else {
        return false;
    };
    let error = (std_a * std_a / n_a + std_b * std_b / n_b).sqrt();
    (mean_a - mean_b).abs() > 1.96 * error
}

/// What a sweep suggests to do next.
fn advice(runs: &[RunReport]) -> Vec<String> {
    let (mut by_load, poor): (Vec<&RunReport>, Vec<&RunReport>) =
        runs.iter().partition(|run| is_usable(run));
    by_load.sort_by(|a, b| {
        let key = |run: &RunReport| {
            (
                rate(run).unwrap_or(f64::INFINITY),
                run.meta
                    .load
                    .concurrency
                    .map_or(usize::MAX, NonZeroUsize::get),
            )
        };
        let ((rate_a, slots_a), (rate_b, slots_b)) = (key(a), key(b));
        rate_a.total_cmp(&rate_b).then(slots_a.cmp(&slots_b))
    });
    let mut advice = Vec::new();
    for run in by_load.iter().chain(&poor) {
        if let Some(share) = run.success_share().filter(|share| *share < GOOD_SHARE) {
            advice.push(if run.totals.succeeded == 0 {
                format!("Advice: no request succeeded at {}: see its errors.", load(run))
            } else {
                format!(
                    "Advice: only {} of the requests succeeded at {}: see its errors before using its figures.",
                    percent(share),
                    load(run)
                )
            });
        }
    }
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
