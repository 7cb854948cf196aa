//! Owns the charts of the HTML report: which there are, in which order, and what each takes from a run.
//!
//! It must not know pixels, colours, or the page around a chart.

mod chart;

mod context;

mod time;

mod loads;

mod whiskers;

mod sweep;

mod search;

mod distribution;

mod sides;

mod side_times;

mod timeline;

mod requests;

mod tokens;

mod turns;

#[cfg(test)]
mod tests;

pub use chart::{Chart, Drawn, Group, NoChart, Table, Words};
pub use loads::{NoKnee, knee};
pub use side_times::{Lines, PointOfSides, SideOfPoint};
pub use sides::{AtLoad, Axis, Loads, Side};

use evalscope_model::search::SearchRecord;

use crate::report::RunReport;
use crate::series::RunSeries;

use context::Context;
use loads::Sweep;

/// Draws a chart of a sweep.
type OfSweep = fn(&Context<'_>, &Sweep<'_>) -> Drawn;

/// Draws a chart of a run.
type OfRun = fn(&Context<'_>, &RunReport, &RunSeries) -> Drawn;

/// Draws a chart of the loads of several sides.
type OfSides = fn(&Context<'_>, &Loads) -> Drawn;

/// Draws a chart of several sides at one load.
type OfPoint = fn(&Context<'_>, &PointOfSides) -> Drawn;

/// The charts of a comparison over its loads, in the order of the page.
const OF_SIDES: [OfSides; 2] = [sides::curve, sides::against_load];

/// The charts of a comparison at one load, in the order of the page.
const OF_POINT: [OfPoint; 2] = [side_times::percentiles, side_times::over_the_run];

/// The charts of a sweep, in the order of the page.
const OF_SWEEP: [OfSweep; 3] = [sweep::curve, sweep::against_load, sweep::goodput];

/// The charts of a run, in the order of the page.
const OF_RUN: [OfRun; 11] = [
    distribution::curve,
    distribution::heatmap,
    timeline::percentiles,
    timeline::throughput,
    timeline::in_flight,
    tokens::decode_by_load,
    requests::lanes,
    requests::ttft_by_input,
    tokens::gaps,
    tokens::lengths,
    timeline::client,
];

/// The charts of a run without output, in the order of the page.
const WITHOUT_OUTPUT: [OfRun; 5] = [
    distribution::curve,
    timeline::throughput,
    timeline::in_flight,
    requests::lanes,
    timeline::client,
];

/// The charts of conversations, in the order of the page.
const OF_CONVERSATIONS: [OfRun; 3] = [turns::ttft, turns::cached, turns::lanes];

/// The charts of a command with several runs; none for one run.
#[must_use]
pub fn of_sweep(runs: &[RunReport], words: &dyn Words) -> Vec<Drawn> {
    let context = Context { words, prefix: "" };
    if runs.len() < 2 {
        return Vec::new();
    }
    let sweep = Sweep::of(runs);
    if !sweep.is_one() {
        let titles = ["s1", "s2", "s3"].map(|id| (id, context.text(&format!("{id}.title"))));
        let without = |(id, title)| Err(context.without(id, Group::Sweep, title, "one_load"));
        return titles.map(without).into();
    }
    OF_SWEEP.iter().map(|draw| draw(&context, &sweep)).collect()
}

/// The charts of the loads of several sides, overlaid.
#[must_use]
pub fn of_sides(loads: &Loads, words: &dyn Words) -> Vec<Drawn> {
    let context = Context { words, prefix: "" };
    OF_SIDES.iter().map(|draw| draw(&context, loads)).collect()
}

/// The charts of several sides at one load, overlaid. The prefix makes ids unique on the page.
#[must_use]
pub fn of_point(point: &PointOfSides, words: &dyn Words, prefix: &str) -> Vec<Drawn> {
    let context = Context { words, prefix };
    OF_POINT.iter().map(|draw| draw(&context, point)).collect()
}

/// The chart of the search that a command's runs were the probes of.
#[must_use]
pub fn of_search(search: &SearchRecord, words: &dyn Words) -> Vec<Drawn> {
    let context = Context { words, prefix: "" };
    vec![search::probes(&context, search)]
}

/// The charts of a run. The prefix makes ids unique on a page with several runs: `run3-`.
#[must_use]
pub fn of_run(run: &RunReport, series: &RunSeries, words: &dyn Words, prefix: &str) -> Vec<Drawn> {
    let context = Context { words, prefix };
    let talks = OF_CONVERSATIONS.iter();
    let talks = talks.filter(|_| run.conversations.is_some());
    let charts: &[OfRun] = if run.generates() {
        &OF_RUN
    } else {
        &WITHOUT_OUTPUT
    };
    charts
        .iter()
        .chain(talks)
        .map(|draw| draw(&context, run, series))
        .collect()
}
