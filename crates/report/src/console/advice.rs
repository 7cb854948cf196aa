//! Owns what a sweep suggests: the best of its runs, and what to do next, in sentences.
//!
//! It must not know where the sentences are shown.

use std::num::NonZeroUsize;

use evalscope_model::metrics::{Distribution, LoadVerdict, Metric};

use super::layout::{number, optional, percent};
use crate::report::RunReport;

/// Successes from this share on are good, in the sweep's colours and advice.
pub(super) const GOOD_SHARE: f64 = 0.95;
/// Successes below this share are bad.
pub(super) const BAD_SHARE: f64 = 0.80;
/// Mean prompt lengths that differ by no more than this share are the same load.
const SAME_LENGTH: f64 = 0.02;
/// Latency that grew by more than this factor over a sweep is worth a sentence.
const LATENCY_GROWTH: f64 = 3.0;
/// A step of a sweep that brings less throughput than this is near the limit.
const WORTHWHILE_GAIN: f64 = 0.10;

/// A load, to put runs in its order: the rate, then the requests in flight.
pub(crate) fn height(run: &RunReport) -> (f64, usize) {
    let slots = run.meta.load.concurrency;
    (
        run.rate_per_s().unwrap_or(f64::INFINITY),
        slots.map_or(usize::MAX, NonZeroUsize::get),
    )
}

/// How much the throughput of the last load is above that of the next lower one.
fn gain_of_last_step(by_load: &[&RunReport]) -> Option<f64> {
    let (last, before) = by_load.split_last()?;
    let mut lower = before.iter().rev();
    let before = lower.find(|run| height(run) != height(last))?;
    let before = before.requests_per_s().filter(|rate| *rate > 0.0)?;
    Some(last.requests_per_s()? / before - 1.0)
}

/// The rate of a run that is paced, as it was given, or the mean of its profile.
pub(super) fn rate(report: &RunReport) -> Option<String> {
    let mean = report.rate_per_s()?;
    let schedule = report.meta.load.pacing.schedule()?;
    Some(match schedule.profile.constant_per_s() {
        Some(rate) => rate.to_string(),
        None => number(mean),
    })
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

/// The best runs of a sweep.
pub(crate) fn best(runs: &[RunReport]) -> Vec<String> {
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
            "Lowest latency: cannot be determined, because the prompts of the points differ in length ({} to \
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
            "Lowest latency: cannot be determined, because the samples show no difference between {} ({} s) \
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

/// Between which loads the server stopped to keep up; `None` where no load was too much.
fn limit_of_open_loops(by_load: &[&RunReport]) -> Option<String> {
    let verdict = |run: &RunReport| run.load.as_ref()?.verdict();
    let is = |run: &RunReport, wanted| verdict(run) == Some(wanted);
    let too_much = by_load.iter().find(|run| is(run, LoadVerdict::Saturated))?;
    let kept_up = by_load
        .iter()
        .rev()
        .find(|run| height(run) < height(too_much) && is(run, LoadVerdict::KeptUp));
    Some(match kept_up {
        Some(kept_up) => format!(
            "the server kept up at {} and did not at {}: its limit is in between.",
            load(kept_up),
            load(too_much)
        ),
        None => format!(
            "the server did not keep up at {}: lower the load to find its limit.",
            load(too_much)
        ),
    })
}

/// What a sweep suggests to do next, in sentences; nothing for a single run.
#[must_use]
pub fn advice(runs: &[RunReport]) -> Vec<String> {
    if runs.len() < 2 {
        return Vec::new();
    }
    let (mut by_load, poor): (Vec<&RunReport>, Vec<&RunReport>) =
        runs.iter().partition(|run| is_usable(run));
    by_load.sort_by(|a, b| {
        let ((rate_a, slots_a), (rate_b, slots_b)) = (height(a), height(b));
        rate_a.total_cmp(&rate_b).then(slots_a.cmp(&slots_b))
    });
    let mut advice = Vec::new();
    for run in by_load.iter().chain(&poor) {
        if let Some(share) = run.success_share().filter(|share| *share < GOOD_SHARE) {
            advice.push(if run.totals.succeeded == 0 {
                format!("no request succeeded at {}: see its errors.", load(run))
            } else {
                format!(
                    "only {} of the requests succeeded at {}: see its errors before using its figures.",
                    percent(share),
                    load(run)
                )
            });
        }
    }
    let [lowest, .., highest] = by_load.as_slice() else {
        return advice;
    };
    if height(lowest) == height(highest) {
        // the same load again says nothing about another
        return advice;
    }
    if let Some(limit) = limit_of_open_loops(&by_load) {
        // throughput and latency of a saturated server say how long the run was
        advice.push(limit);
        return advice;
    }
    if let Some((fastest, _)) = most(runs, RunReport::requests_per_s) {
        if std::ptr::eq(fastest, *highest) {
            advice.push(match gain_of_last_step(&by_load) {
                Some(gain) if gain < WORTHWHILE_GAIN => format!(
                    "throughput rose by only {} in the last step (to {}): the server is close to its limit.",
                    percent(gain.max(0.0)),
                    load(highest)
                ),
                _ => format!(
                    "throughput was highest at the highest load ({}): raise the load to find the limit.",
                    load(highest)
                ),
            });
        } else if std::ptr::eq(fastest, *lowest) {
            advice.push(format!(
                "throughput was highest at the lowest load ({}): lower the load, the server is past its limit.",
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
            "average latency grew {:.1} times from {} to {}: requests wait for each other at the server.",
            high / low,
            load(lowest),
            load(highest)
        ));
    }
    advice
}
