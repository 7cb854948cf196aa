//! Owns percentiles that a report does not have, such as p99.9: they are computed from the requests of a run
//! when a rule or a comparison asks for them.
//!
//! It must not know who asks.

use std::collections::BTreeMap;

use evalscope_model::metrics::{Metric, Samples};
use evalscope_model::record::Phase;

use crate::names::{FigureKey, Percentile, Stat};
use crate::source::RecordSource;
use crate::sqlite::StoreError;

/// Further percentiles by their names.
pub type FurtherPercentiles = BTreeMap<FigureKey, f64>;

/// Those of these figures that a report does not have, of the measured requests of a run. Figures that a report has
/// are not among them. Reads nothing if there is none.
///
/// # Errors
/// If the requests cannot be read.
pub fn further_percentiles(
    source: &dyn RecordSource,
    figures: impl IntoIterator<Item = FigureKey>,
) -> Result<FurtherPercentiles, StoreError> {
    let mut wanted: BTreeMap<Metric, Vec<Percentile>> = BTreeMap::new();
    for (metric, percentile) in figures
        .into_iter()
        .filter_map(FigureKey::further_percentile)
    {
        let own = wanted.entry(metric).or_default();
        if !own.contains(&percentile) {
            own.push(percentile);
        }
    }
    let mut found = FurtherPercentiles::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    let mut all: Vec<(Metric, Samples)> =
        wanted.keys().map(|own| (*own, own.collection())).collect();
    source.for_each_for_charts(Phase::Measured, &mut |_, record| {
        for (metric, samples) in &mut all {
            metric.samples(&record, |value| samples.push(value));
        }
        Ok(())
    })?;
    for (metric, samples) in all {
        let percentiles = &wanted[&metric];
        let at: Vec<f64> = percentiles.iter().map(|own| own.share()).collect();
        let values = samples.quantiles(&at, metric.scale());
        for (percentile, value) in percentiles.iter().zip(values) {
            let figure = FigureKey::Metric(metric, Stat::Percentile(*percentile));
            found.extend(value.map(|value| (figure, value)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::sqlite::Reader;

    #[test]
    fn they_lie_between_those_of_the_report() {
        let folder = tempfile::tempdir().unwrap();
        let database = samples::finished(folder.path(), &samples::meta("m"), samples::mixed(60));
        let report = crate::RunReport::load(&database).unwrap();
        let reader = Reader::open(&database).unwrap();
        let of = |names: &[&str]| {
            let figures = names.iter().map(|name| name.parse::<FigureKey>().unwrap());
            further_percentiles(&reader, figures).unwrap()
        };
        let found = of(&[
            "ttft_p99.9",
            "itl_p42",
            "ttft_p50",
            "error_rate",
            "ttft_p99.9",
        ]);
        let names: Vec<String> = found.keys().map(FigureKey::to_string).collect();
        assert_eq!(names, ["ttft_p99.9", "itl_p42"]);
        let ttft = report.metric(Metric::Ttft);
        let p999 = found[&"ttft_p99.9".parse().unwrap()];
        assert!(
            ttft.p99.unwrap() <= p999 && p999 <= ttft.max.unwrap(),
            "{p999}"
        );
        assert_eq!(of(&["ttft_p50"]), FurtherPercentiles::new());
    }
}
