//! Owns the order of the runs of a sweep by load, and its knee.
//!
//! It must not know how a sweep is drawn, but for the axis of its loads.

use std::num::NonZeroUsize;

use evalscope_model::metrics::Metric;

use super::context::Context;
use crate::console::number;
use crate::html::scale::Scale;
use crate::html::svg::Axis;
use crate::report::RunReport;

/// Runs that a knee needs.
const LEAST_FOR_KNEE: usize = 4;
/// A knee stands out by so much.
const LEAST_KNEE: f64 = 0.1;
/// Loads that are further apart are drawn by their logarithm.
pub(super) const WIDE: f64 = 8.0;

/// Where throughput still rises and latency hardly does: the position of a run in the list given.
///
/// # Errors
/// Why there is none.
pub fn knee(runs: &[RunReport]) -> Result<usize, NoKnee> {
    knee_of(&Sweep::of(runs))
}

/// Why a sweep has no knee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKnee {
    /// Fewer than four loads.
    FewLoads,
    /// The load did not reach it.
    NotReached,
}

/// A value of a run.
pub(super) type OfRun = fn(&RunReport) -> Option<f64>;

/// A line over loads.
pub(super) type Line = Vec<(f64, Option<f64>)>;

/// A run with its load.
#[derive(Clone, Copy)]
pub(super) struct AtLoad<'a> {
    /// Position in the list of runs.
    pub(super) position: usize,
    pub(super) load: f64,
    pub(super) run: &'a RunReport,
}

/// What a sweep changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Concurrency,
    Rate,
}

/// Runs by rising load.
pub(super) struct Sweep<'a> {
    kind: Kind,
    pub(super) points: Vec<AtLoad<'a>>,
}

impl<'a> Sweep<'a> {
    pub(super) fn of(runs: &'a [RunReport]) -> Self {
        let concurrency = |run: &RunReport| {
            let slots = run.meta.load.concurrency.map(NonZeroUsize::get);
            slots.map(|slots| slots as f64)
        };
        let points = |load: &dyn Fn(&RunReport) -> Option<f64>| {
            let mut points: Vec<AtLoad<'a>> = runs
                .iter()
                .enumerate()
                .filter_map(|(position, run)| {
                    Some(AtLoad {
                        position,
                        load: load(run)?,
                        run,
                    })
                })
                .collect();
            points.sort_by(|a, b| a.load.total_cmp(&b.load));
            points
        };
        let different = |points: &[AtLoad<'_>]| {
            points
                .chunk_by(|a, b| a.load.total_cmp(&b.load).is_eq())
                .count()
        };
        let by_slots = points(&concurrency);
        let by_rate = points(&RunReport::rate_per_s);
        if different(&by_rate) > different(&by_slots) {
            Self {
                kind: Kind::Rate,
                points: by_rate,
            }
        } else {
            Self {
                kind: Kind::Concurrency,
                points: by_slots,
            }
        }
    }

    /// There are two loads to compare.
    pub(super) fn is_one(&self) -> bool {
        let ends = self.points.first().zip(self.points.last());
        ends.is_some_and(|(first, last)| last.load > first.load)
    }

    pub(super) fn axis(&self, context: &Context<'_>) -> Axis {
        let loads: Vec<f64> = self.points.iter().map(|point| point.load).collect();
        let (low, high) = (loads[0], loads[loads.len() - 1]);
        let scale = if low > 0.0 && high / low > WIDE {
            Scale::doublings(&loads)
        } else {
            Scale::exact(low, high, 6)
        };
        Axis::new(scale, context.text(&format!("axis.{}", self.key())))
    }

    pub(super) fn key(&self) -> &'static str {
        match self.kind {
            Kind::Concurrency => "concurrency",
            Kind::Rate => "rate",
        }
    }

    pub(super) fn load_label(&self, point: &AtLoad<'_>) -> String {
        match self.kind {
            Kind::Concurrency => number(point.load),
            Kind::Rate => format!("{} req/s", number(point.load)),
        }
    }

    /// A load with what it is.
    pub(super) fn load_text(&self, context: &Context<'_>, point: &AtLoad<'_>) -> String {
        match self.kind {
            Kind::Concurrency => {
                format!(
                    "{} {}",
                    context.text("axis.concurrency"),
                    number(point.load)
                )
            }
            Kind::Rate => self.load_label(point),
        }
    }

    pub(super) fn line(&self, value: &dyn Fn(&RunReport) -> Option<f64>) -> Line {
        self.points
            .iter()
            .map(|point| (point.load, value(point.run)))
            .collect()
    }
}

/// Output throughput, or that of requests if no tokens are known.
pub(super) fn throughput(sweep: &Sweep<'_>) -> (&'static str, OfRun) {
    let tokens = sweep
        .points
        .iter()
        .any(|point| point.run.output_tokens_per_s().is_some());
    if tokens {
        ("output", RunReport::output_tokens_per_s)
    } else {
        ("requests", RunReport::requests_per_s)
    }
}

/// TTFT, or latency if it is not known.
pub(super) fn latency(sweep: &Sweep<'_>) -> Metric {
    let is_known = |point: &AtLoad<'_>| point.run.metric(Metric::Ttft).p99.is_some();
    if sweep.points.iter().any(is_known) {
        Metric::Ttft
    } else {
        Metric::Latency
    }
}

pub(super) fn knee_of(sweep: &Sweep<'_>) -> Result<usize, NoKnee> {
    let (_, throughput) = throughput(sweep);
    let metric = latency(sweep);
    let known: Vec<(usize, f64, f64)> = sweep
        .points
        .chunk_by(|a, b| a.load.total_cmp(&b.load).is_eq())
        .filter_map(|same| {
            let point = same.first()?;
            Some((
                point.position,
                throughput(point.run)?,
                point.run.metric(metric).p99?,
            ))
        })
        .collect();
    if known.len() < LEAST_FOR_KNEE {
        return Err(NoKnee::FewLoads);
    }
    let most = |value: fn(&(usize, f64, f64)) -> f64| known.iter().map(value).fold(0.0, f64::max);
    let (most_throughput, most_latency) = (most(|point| point.1), most(|point| point.2));
    if most_throughput <= 0.0 || most_latency <= 0.0 {
        return Err(NoKnee::NotReached);
    }
    let height = |point: &(usize, f64, f64)| point.1 / most_throughput - point.2 / most_latency;
    let (nth, best) = known
        .iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| height(a).total_cmp(&height(b)))
        .expect("there are at least four");
    if height(best) >= LEAST_KNEE && nth + 1 < known.len() {
        Ok(best.0)
    } else {
        Err(NoKnee::NotReached)
    }
}
