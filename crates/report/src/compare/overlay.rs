//! Owns what the charts of a comparison show: the runs of all sides, by load and by metric.
//!
//! It must not know how charts are drawn.

use std::collections::BTreeMap;

use evalscope_model::metrics::{LogHistogram, Metric};

use super::blocks::{Blocks, Timed};
use super::run::Run;
use crate::html::charts::{AtLoad, Axis, Lines, Loads, PointOfSides, Side, SideOfPoint};
use crate::rules::PointPlace;

/// Points of a line of percentiles.
const POINTS: usize = 100;
/// Samples beyond its last point.
const BEYOND: f64 = 10.0;
/// Samples that a tenth of a run needs for its 99th percentile; fewer are enough for the median.
const LEAST_FOR_P99: u64 = 100;
const LEAST_FOR_P50: u64 = 5;

/// A side with its name; the base is the first.
pub(super) type Named<'a> = (String, &'a [Run]);

/// The loads of these points; `None` if no run has a load that is a number.
pub(super) fn loads(sides: &[Named<'_>], points: &[String]) -> Option<Loads> {
    let shown = |run: &&Run| points.contains(&run.place.to_string());
    let number_of = |axis: Axis| {
        let runs = sides.iter().flat_map(|(_, runs)| runs.iter());
        let mut loads: Vec<f64> = runs
            .filter(shown)
            .filter_map(|run| load(&run.place, axis))
            .collect();
        loads.sort_by(f64::total_cmp);
        loads.dedup();
        loads.len()
    };
    let axis = if number_of(Axis::Rate) > number_of(Axis::Concurrency) {
        Axis::Rate
    } else {
        Axis::Concurrency
    };
    let of_side = |(name, runs): &Named<'_>| {
        let mut by_place: Vec<(&PointPlace, AtLoad)> = Vec::new();
        for run in runs.iter().filter(shown) {
            let Some(load) = load(&run.place, axis) else {
                continue;
            };
            let known = by_place
                .iter()
                .position(|(place, _)| place.is_same_load(&run.place));
            let at = known.unwrap_or_else(|| {
                let values = BTreeMap::new();
                by_place.push((&run.place, AtLoad { load, values }));
                by_place.len() - 1
            });
            for (figure, measured) in &run.figures {
                let values = by_place[at].1.values.entry(*figure).or_default();
                values.push(measured.value);
            }
        }
        let mut loads: Vec<AtLoad> = by_place.into_iter().map(|(_, own)| own).collect();
        loads.sort_by(|a, b| a.load.total_cmp(&b.load));
        Side {
            name: name.clone(),
            loads,
        }
    };
    let sides: Vec<Side> = sides.iter().map(of_side).collect();
    let is_empty = sides.iter().all(|side| side.loads.is_empty());
    (!is_empty).then_some(Loads { axis, sides })
}

fn load(place: &PointPlace, axis: Axis) -> Option<f64> {
    match axis {
        Axis::Concurrency => place.parallel.map(|slots| slots as f64),
        Axis::Rate => place.rate.as_ref()?.parse().ok(),
    }
}

/// The distributions of all sides at a point.
pub(super) fn point(sides: &[Named<'_>], point: &str) -> PointOfSides {
    let of_side = |(name, runs): &Named<'_>| {
        let runs: Vec<&Run> = runs
            .iter()
            .filter(|run| run.place.to_string() == point)
            .collect();
        let lines = Timed::ALL.into_iter().filter_map(|timed| {
            let blocks: Vec<&Blocks> = runs
                .iter()
                .filter_map(|run| run.blocks.get(&timed))
                .collect();
            // without a schedule, latency counts from it as it does from dispatch
            let is_shown = timed != Timed::LatencyFromSchedule
                || runs.iter().any(|run| run.place.rate.is_some());
            let metric = timed.metric();
            is_shown.then(|| Some((metric, lines(metric, &blocks)?)))?
        });
        SideOfPoint {
            name: name.clone(),
            lines: lines.collect(),
        }
    };
    PointOfSides {
        sides: sides.iter().map(of_side).collect(),
    }
}

/// The requests of some runs together.
fn lines(metric: Metric, runs: &[&Blocks]) -> Option<Lines> {
    let tenths = Blocks::pooled(runs);
    let bits = tenths.first()?.bits();
    let all = LogHistogram::sum(bits, &tenths);
    let scale = metric.scale();
    let at = |of: &LogHistogram, p: f64| of.quantile(p).map(|ns| ns * scale);
    let count = all.count() as f64;
    let cut = -(BEYOND / count.max(2.0 * BEYOND)).log10();
    let percentiles = (0..POINTS).filter_map(|nth| {
        let p = 1.0 - 10f64.powf(-cut * nth as f64 / (POINTS - 1) as f64);
        Some((p, at(&all, p)?))
    });
    let of_tenth = |own: &LogHistogram| {
        let count = own.count();
        let with = |least: u64, p: f64| (count >= least).then(|| at(own, p)).flatten();
        (with(LEAST_FOR_P50, 0.5), with(LEAST_FOR_P99, 0.99))
    };
    Some(Lines {
        percentiles: percentiles.collect(),
        ends: at(&all, 0.5).zip(at(&all, 0.99)),
        tenths: tenths.iter().map(of_tenth).collect(),
    })
}
