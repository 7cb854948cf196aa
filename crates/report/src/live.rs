//! Owns the figures of a run that is under way, for trackers: counts,
//! throughputs and means, in memory that does not grow.
//!
//! What a finished run shows is never taken from here, but from its database.

use evalscope_model::metrics::{Metric, RunTotals};
use evalscope_model::record::{Phase, RequestRecord};
use serde_json::{Map, Value};

use crate::names::Figure;

/// Means that are followed.
const MEANS: [Metric; 6] = [
    Metric::Latency,
    Metric::Ttft,
    Metric::Tpot,
    Metric::Itl,
    Metric::InputTokens,
    Metric::OutputTokens,
];

/// Sums over the requests that have ended so far.
#[derive(Debug, Default)]
pub struct LiveFigures {
    totals: RunTotals,
    sums: [(f64, u64); MEANS.len()],
}

impl LiveFigures {
    /// Take a record in; warm-up is left out.
    pub fn push(&mut self, record: &RequestRecord) {
        if record.phase != Phase::Measured {
            return;
        }
        self.totals.push(record);
        for (metric, (sum, n)) in MEANS.iter().zip(&mut self.sums) {
            metric.samples(record, |value| {
                *sum += value;
                *n += 1;
            });
        }
    }

    /// Requests that have ended.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.totals.total
    }

    /// The figures under the keys of `benchmark_summary.json`; what is not known
    /// yet is left out.
    #[must_use]
    pub fn values(&self) -> Map<String, Value> {
        let totals = &self.totals;
        let tokens = totals.input_tokens + totals.output_tokens;
        let single = [
            (Figure::Total, Some(totals.total as f64)),
            (Figure::Succeeded, Some(totals.succeeded as f64)),
            (Figure::Failed, Some(totals.failed() as f64)),
            (
                Figure::RequestThroughput,
                totals.rate_per_s(totals.succeeded),
            ),
            (
                Figure::OutputThroughput,
                totals.rate_per_s(totals.output_tokens),
            ),
            (
                Figure::InputThroughput,
                totals.rate_per_s(totals.input_tokens),
            ),
            (Figure::TotalThroughput, totals.rate_per_s(tokens)),
        ];
        let means = MEANS.iter().zip(&self.sums).map(|(metric, (sum, n))| {
            let mean = (*n > 0).then(|| sum / *n as f64 * metric.scale());
            (Figure::Mean(*metric), mean)
        });
        single
            .into_iter()
            .chain(means)
            .filter_map(|(figure, value)| Some((figure.key()?.to_owned(), value?.into())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RunReport;
    use crate::{json, samples};

    #[test]
    fn at_the_end_live_figures_are_the_reports() {
        let folder = tempfile::tempdir().unwrap();
        let exchanges = samples::mixed(40);
        let mut live = LiveFigures::default();
        for exchange in &exchanges {
            live.push(&exchange.record);
        }
        let path = samples::finished(folder.path(), &samples::meta("m"), exchanges);
        let report = json::summary(&RunReport::load(&path).unwrap());
        let values = live.values();
        assert!(values.len() >= 10, "{values:?}");
        for (key, value) in values {
            let (ours, theirs) = (value.as_f64().unwrap(), report[&key].as_f64().unwrap());
            // the file is rounded
            let step = if key.ends_with("(ms)") { 0.01 } else { 0.000_1 };
            assert!(
                (ours - theirs).abs() <= 0.501 * step,
                "{key}: {ours} {theirs}"
            );
        }
    }
}
