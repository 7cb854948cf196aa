//! Owns the table of a sweep: its runs side by side, with the best of them and advice below.

use evalscope_model::metrics::Metric;

use super::advice::{BAD_SHARE, GOOD_SHARE, advice, best, rate};
use super::layout::{Grid, MISSING, number, optional, percent, wrapped};
use super::load::verdict_word;
use super::screen::{Paint, Screen};
use crate::figures::LoadFigures;
use crate::report::RunReport;

/// A column: its header, which a line break may break, and its cell for a run.
type Column = (&'static str, fn(&RunReport) -> String);

/// What was asked for, and what came of it.
const LOAD: [Column; 5] = [
    ("Conc.", |run| match run.meta.load.concurrency {
        Some(slots) => slots.to_string(),
        None => MISSING.to_owned(),
    }),
    ("Rate\n(req/s)", |run| {
        rate(run).unwrap_or_else(|| MISSING.to_owned())
    }),
    ("Reqs", |run| number(run.totals.total as f64)),
    ("Success", |run| share(run.success_share())),
    ("RPS\n(req/s)", |run| optional(run.requests_per_s())),
];

const OUTPUT: [Column; 1] = [("Output\n(tok/s)", |run| optional(run.output_tokens_per_s()))];

/// Of runs without output.
const INPUTS: [Column; 3] = [
    ("Inputs\n(1/s)", |run| optional(run.inputs_per_s())),
    ("Input\n(tok/s)", |run| optional(run.input_tokens_per_s())),
    ("Input\ntokens\navg", |run| {
        optional(run.metric(Metric::InputTokens).mean)
    }),
];

const OPEN_LOOP: [Column; 1] = [("Kept\nup", |run| {
    let verdict = run.load.as_ref().and_then(LoadFigures::verdict);
    verdict_word(verdict).to_owned()
})];

const CONVERSATIONS: [Column; 2] = [
    ("Conv.\n(1/s)", |run| {
        let figures = run.conversations.as_ref();
        optional(figures.and_then(|figures| figures.conversations_per_s))
    }),
    ("Cached", |run| {
        let figures = run.conversations.as_ref();
        share(figures.and_then(|figures| figures.cached.share))
    }),
];

const OBJECTIVE: [Column; 1] = [("Good", |run| {
    share(run.goodput.as_ref().and_then(|goodput| goodput.share))
})];

const FROM_SCHEDULE: [Column; 2] = [
    ("Lat. from\nsched.\navg (s)", |run| {
        optional(run.metric(Metric::LatencyFromSchedule).mean)
    }),
    ("Lat. from\nsched.\np99 (s)", |run| {
        optional(run.metric(Metric::LatencyFromSchedule).p99)
    }),
];

const TTFT_FROM_SCHEDULE: [Column; 2] = [
    ("TTFT from\nsched.\navg (ms)", |run| {
        optional(run.metric(Metric::TtftFromSchedule).mean)
    }),
    ("TTFT from\nsched.\np99 (ms)", |run| {
        optional(run.metric(Metric::TtftFromSchedule).p99)
    }),
];

const TIMES: [Column; 2] = [
    ("Latency\navg\n(s)", |run| {
        optional(run.metric(Metric::Latency).mean)
    }),
    ("Latency\np99\n(s)", |run| {
        optional(run.metric(Metric::Latency).p99)
    }),
];

const TOKEN_TIMES: [Column; 3] = [
    ("TTFT\navg\n(ms)", |run| {
        optional(run.metric(Metric::Ttft).mean)
    }),
    ("TTFT\np99\n(ms)", |run| {
        optional(run.metric(Metric::Ttft).p99)
    }),
    ("TPOT\navg\n(ms)", |run| {
        optional(run.metric(Metric::Tpot).mean)
    }),
];

/// Of runs with `--enable-pd-metrics`.
const HANDOFF: [Column; 3] = [
    ("Steady\nITL avg\n(ms)", |run| {
        optional(run.metric(Metric::SteadyItl).mean)
    }),
    ("PD\nhand-off\navg (ms)", |run| {
        optional(run.metric(Metric::PdHandoffLatency).mean)
    }),
    ("PD\nhand-off\np99 (ms)", |run| {
        optional(run.metric(Metric::PdHandoffLatency).p99)
    }),
];

const PLATEAU: [Column; 1] = [("Plateau\nRPS\n(req/s)", |run| {
    let plateau = run.plateau.as_ref().ok();
    optional(plateau.map(|plateau| plateau.totals.requests_per_s))
})];

const PLATEAU_OUTPUT: [Column; 2] = [
    ("Plateau\noutput\n(tok/s)", |run| {
        let plateau = run.plateau.as_ref().ok();
        optional(plateau.and_then(|plateau| plateau.totals.output_tokens_per_s))
    }),
    ("Plateau\nTTFT\np99 (ms)", |run| {
        let plateau = run.plateau.as_ref().ok();
        optional(plateau.and_then(|plateau| plateau.metric(Metric::Ttft)?.p99))
    }),
];

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| MISSING.to_owned(), percent)
}

/// The columns that say something in any of the runs.
fn columns(runs: &[RunReport]) -> Vec<Column> {
    let generate = runs.iter().any(RunReport::generates);
    let is_paced = runs.iter().any(RunReport::is_paced);
    let has_plateau = runs.iter().any(|run| run.plateau.is_ok());
    let has_handoff = |run: &RunReport| run.metric(Metric::PdHandoffLatency).count > 0;
    let groups: [(&[Column], bool); 13] = [
        (&LOAD, true),
        (&OUTPUT, generate),
        (&INPUTS, !generate),
        (&OPEN_LOOP, runs.iter().any(RunReport::is_open_loop)),
        (
            &CONVERSATIONS,
            runs.iter().any(|run| run.conversations.is_some()),
        ),
        (&OBJECTIVE, runs.iter().any(|run| run.goodput.is_some())),
        (&FROM_SCHEDULE, is_paced),
        (&TTFT_FROM_SCHEDULE, is_paced && generate),
        (&TIMES, true),
        (&TOKEN_TIMES, generate),
        (&HANDOFF, runs.iter().any(has_handoff)),
        (&PLATEAU, has_plateau),
        (&PLATEAU_OUTPUT, has_plateau && generate),
    ];
    let shown = groups.iter().filter(|(_, says_something)| *says_something);
    shown.flat_map(|(columns, _)| *columns).copied().collect()
}

/// The runs of a sweep beside each other.
pub(crate) fn sweep_grid(runs: &[RunReport]) -> Grid {
    let columns = columns(runs);
    Grid {
        header: columns
            .iter()
            .map(|(label, _)| (*label).to_owned())
            .collect(),
        rows: runs
            .iter()
            .map(|run| columns.iter().map(|(_, cell)| cell(run)).collect())
            .collect(),
        keys: 2,
        words: 0,
    }
}

/// The runs of a sweep beside each other, the best of them, and advice.
#[must_use]
pub fn sweep(runs: &[RunReport], screen: Screen) -> String {
    let grid = sweep_grid(runs);
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
