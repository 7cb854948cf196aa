//! Owns what the repeated runs of a load come to (`--repeats`): for each figure its median, its range
//! and an interval, and percentiles of the requests of all of them together.
//!
//! It must not know formats or widths. Between runs only repeats count: an interval within one run
//! says nothing of the next one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use evalscope_model::metrics::{Distribution, Interval, Metric, quantile, student_quantile};
use serde::Serialize;

use crate::report::RunReport;
use crate::source::RecordSource;
use crate::sqlite::{Reader, StoreError};

/// So many runs are needed for an interval.
const LEAST_RUNS: usize = 3;

/// The metrics whose percentiles over all runs are given.
const POOLED: [Metric; 5] = [
    Metric::Ttft,
    Metric::Tpot,
    Metric::Latency,
    Metric::LatencyFromSchedule,
    Metric::TtftFromSchedule,
];

/// The repeated runs of one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Repeats {
    /// What all runs of this load are called.
    pub load: String,
    /// Their names, in the order they were started in.
    pub runs: Vec<String>,
    /// The figures of the runs.
    pub figures: Vec<RepeatedFigure>,
    /// Distributions of the requests of all runs together, by the metric's key. They are not means of
    /// the runs' percentiles.
    pub pooled: BTreeMap<&'static str, Distribution>,
}

/// One figure of the repeated runs of a load.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RepeatedFigure {
    /// Its key, as in a run: `output_tokens_per_s`, `ttft_ms.p99`.
    pub key: &'static str,
    /// Its value in each run; `null` where a run has none.
    pub values: Vec<Option<f64>>,
    /// The median of the runs.
    pub median: f64,
    /// The lowest of the runs.
    pub lowest: f64,
    /// The highest of the runs.
    pub highest: f64,
    /// 95 % interval of what another run would have on average: Student's, of the logarithms; `null`
    /// below three runs, or if a value is not positive.
    pub interval: Option<Interval>,
}

/// A figure: its key, and its value in a run.
type Figure = (&'static str, fn(&RunReport) -> Option<f64>);

/// The figures that are compared between runs.
const FIGURES: [Figure; 9] = [
    ("requests_per_s", RunReport::requests_per_s),
    ("output_tokens_per_s", RunReport::output_tokens_per_s),
    ("success_share", RunReport::success_share),
    ("ttft_ms.p50", |run| run.metric(Metric::Ttft).p50),
    ("ttft_ms.p99", |run| run.metric(Metric::Ttft).p99),
    ("tpot_ms.p50", |run| run.metric(Metric::Tpot).p50),
    ("tpot_ms.p99", |run| run.metric(Metric::Tpot).p99),
    ("latency_s.p50", |run| run.metric(Metric::Latency).p50),
    ("latency_s.p99", |run| run.metric(Metric::Latency).p99),
];

/// Distributions over the requests of several databases, kept so that a command that writes its files
/// after each run reads them again only where a run was added.
pub type Pooled = BTreeMap<Vec<PathBuf>, BTreeMap<&'static str, Distribution>>;

/// The loads that were measured more than once, in the order of their first runs. Runs are given in the
/// order they were started in.
///
/// # Errors
/// When a database cannot be read.
pub fn repeats(runs: &[RunReport], pooled: &mut Pooled) -> Result<Vec<Repeats>, StoreError> {
    let mut loads: Vec<(&str, Vec<&RunReport>)> = Vec::new();
    for run in runs {
        let point = &run.meta.load.point;
        if point.repetition.is_none() {
            continue;
        }
        let load = point.load_label();
        match loads.iter_mut().find(|(known, _)| *known == load) {
            Some((_, runs)) => runs.push(run),
            None => loads.push((load, vec![run])),
        }
    }
    loads.retain(|(_, runs)| runs.len() > 1);
    let mut all = Vec::with_capacity(loads.len());
    for (load, runs) in loads {
        let databases: Vec<PathBuf> = runs.iter().map(|run| run.database.clone()).collect();
        if !pooled.contains_key(&databases) {
            pooled.insert(databases.clone(), of_all(&databases)?);
        }
        let together = pooled[&databases].clone();
        all.push(Repeats {
            load: load.to_owned(),
            runs: runs.iter().map(|run| run.meta.name.clone()).collect(),
            figures: FIGURES
                .iter()
                .filter_map(|(key, of)| {
                    RepeatedFigure::of(key, runs.iter().map(|run| of(run)).collect())
                })
                .collect(),
            pooled: together,
        });
    }
    Ok(all)
}

/// The distributions of the requests in several databases.
fn of_all(databases: &[PathBuf]) -> Result<BTreeMap<&'static str, Distribution>, StoreError> {
    let readers: Vec<Reader> = databases
        .iter()
        .map(|database| Reader::open(database))
        .collect::<Result<_, _>>()?;
    let parts: Vec<&dyn RecordSource> = readers.iter().map(|reader| reader as _).collect();
    let mut report = RunReport::sum_up(&parts)?;
    let known = POOLED.into_iter().filter_map(|metric| {
        let distribution = report.metrics.remove(&metric)?;
        (distribution.count > 0).then_some((metric.key(), distribution))
    });
    Ok(known.collect())
}

impl RepeatedFigure {
    /// `None` if no run has the figure.
    fn of(key: &'static str, values: Vec<Option<f64>>) -> Option<Self> {
        let mut known: Vec<f64> = values.iter().flatten().copied().collect();
        known.sort_unstable_by(f64::total_cmp);
        let (lowest, highest) = (*known.first()?, *known.last()?);
        Some(Self {
            key,
            median: quantile(&known, 0.5),
            lowest,
            highest,
            interval: log_interval(&known),
            values,
        })
    }
}

/// Student's 95 % interval of the mean of the logarithms, as values.
fn log_interval(values: &[f64]) -> Option<Interval> {
    if values.len() < LEAST_RUNS || values.iter().any(|value| *value <= 0.0) {
        return None;
    }
    let n = values.len() as f64;
    let degrees = u32::try_from(values.len() - 1).ok()?;
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let squares: f64 = logs.iter().map(|log| (log - mean) * (log - mean)).sum();
    let half = student_quantile(0.975, degrees) * (squares / f64::from(degrees) / n).sqrt();
    Some(Interval::new((mean - half).exp(), (mean + half).exp()))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::samples;

    /// `scipy.stats.t.interval(0.95, 2, *...)` of the logarithms of 100, 110 and 121.
    #[test]
    fn the_interval_is_students_of_the_logarithms() {
        let interval = log_interval(&[100.0, 110.0, 121.0]).unwrap();
        assert!((interval.low() - 86.809_56).abs() < 1e-3, "{interval:?}");
        assert!((interval.high() - 139.385_57).abs() < 1e-3, "{interval:?}");
        assert_eq!(log_interval(&[100.0, 110.0]), None);
        assert_eq!(log_interval(&[0.0, 1.0, 2.0]), None);
    }

    #[test]
    fn repeats_of_a_load_are_summed_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = Vec::new();
        for nth in 1..=3 {
            let mut meta = samples::meta("m");
            let point = meta.load.point.clone();
            meta.load.point = point.repeated(NonZeroU32::new(nth).unwrap());
            meta.name.clone_from(&meta.load.point.label);
            let own = folder.path().join(&meta.name);
            std::fs::create_dir_all(&own).unwrap();
            let requests = samples::successes(100 * u64::from(nth));
            let database = samples::finished(&own, &meta, requests);
            runs.push(RunReport::load(&database).unwrap());
        }
        runs.push(samples::report(&samples::meta("m"), samples::mixed(3)));
        let mut pooled = Pooled::new();
        let all = repeats(&runs, &mut pooled).unwrap();
        let [one] = &all[..] else { panic!("{all:?}") };
        assert_eq!(one.load, "parallel_5_number_30");
        assert_eq!(one.runs[2], "parallel_5_number_30_rep3");
        let ttft = one
            .figures
            .iter()
            .find(|figure| figure.key == "ttft_ms.p99");
        let ttft = ttft.unwrap();
        let values: Vec<f64> = ttft.values.iter().map(|value| value.unwrap()).collect();
        assert_eq!(
            [ttft.lowest, ttft.median, ttft.highest].map(f64::to_bits),
            [values[0], values[1], values[2]].map(f64::to_bits)
        );
        let interval = ttft.interval.unwrap();
        assert!(interval.low() < ttft.median && ttft.median < interval.high());
        // requests get slower with their number, so the pooled percentile is none of a run's
        let together = &one.pooled["ttft_ms"];
        assert_eq!(together.count, 600);
        assert!(values[0] < together.p99.unwrap() && together.p99.unwrap() < values[2]);
        assert_eq!(pooled.len(), 1);
        assert_eq!(repeats(&runs[..1], &mut pooled).unwrap(), []);
    }
}
