//! Owns the table of a sweep: its runs side by side, with the best of them and advice below.

use evalscope_model::metrics::Metric;

use super::advice::{BAD_SHARE, GOOD_SHARE, advice, best, rate};
use super::layout::{Grid, MISSING, number, optional, percent, wrapped};
use super::load::verdict_word;
use super::screen::{Paint, Screen};
use crate::figures::LoadFigures;
use crate::report::RunReport;

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
    let open_loop = runs.iter().any(RunReport::is_open_loop);
    let kept_up = ["Kept\nup"];
    let objective = runs.iter().any(|run| run.goodput.is_some());
    let good = ["Good"];
    let has_plateau = runs.iter().any(|run| run.plateau.is_ok());
    let of_plateau = [
        "Plateau\nRPS\n(req/s)",
        "Plateau\noutput\n(tok/s)",
        "Plateau\nTTFT\np99 (ms)",
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
                rate(run).unwrap_or_else(|| MISSING.to_owned()),
                number(run.totals.total as f64),
                run.success_share()
                    .map_or_else(|| MISSING.to_owned(), percent),
                optional(run.requests_per_s()),
                optional(run.output_tokens_per_s()),
            ];
            if open_loop {
                let verdict = run.load.as_ref().and_then(LoadFigures::verdict);
                row.push(verdict_word(verdict).to_owned());
            }
            if objective {
                let share = run.goodput.as_ref().and_then(|goodput| goodput.share);
                row.push(share.map_or_else(|| MISSING.to_owned(), percent));
            }
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
            if has_plateau {
                let plateau = run.plateau.as_ref().ok();
                let totals = plateau.map(|plateau| &plateau.totals);
                row.extend([
                    optional(totals.map(|totals| totals.requests_per_s)),
                    optional(totals.and_then(|totals| totals.output_tokens_per_s)),
                    optional(plateau.and_then(|plateau| plateau.metric(Metric::Ttft)?.p99)),
                ]);
            }
            row
        })
        .collect();
    let grid = Grid {
        header: header
            .iter()
            .chain(kept_up.iter().filter(|_| open_loop))
            .chain(good.iter().filter(|_| objective))
            .chain(from_schedule.iter().filter(|_| paced))
            .chain(&plain)
            .chain(of_plateau.iter().filter(|_| has_plateau))
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
    for sentence in best(runs) {
        text.push_str(&wrapped("", &sentence, screen.width));
    }
    for sentence in advice(runs) {
        text.push_str(&wrapped("", &format!("Advice: {sentence}"), screen.width));
    }
    text
}
