//! Owns the figures by model and by URL: those of the requests that asked for each, and that went to each.
//!
//! It must not know how they are shown.

use std::collections::BTreeMap;

use evalscope_model::metrics::{Accumulator, Distribution, Metric, RunTotals};
use evalscope_model::record::RequestRecord;

/// The figures of one model, or of one URL.
#[derive(Clone, Debug, PartialEq)]
pub struct MixFigures {
    /// The name of the model, or the URL.
    pub name: String,
    /// Sums over its requests.
    pub totals: RunTotals,
    /// Distributions of the main metrics.
    pub metrics: BTreeMap<Metric, Distribution>,
}

impl MixFigures {
    /// The distribution of one of the main metrics.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> Option<&Distribution> {
        self.metrics.get(&metric)
    }

    /// Output tokens are known for some of its responses.
    #[must_use]
    pub fn knows_output(&self) -> bool {
        self.metric(Metric::OutputTokens)
            .is_some_and(|tokens| tokens.count > 0)
    }
}

/// Sums up some metrics for each model, or for each URL.
#[derive(Debug)]
pub(crate) struct MixSums {
    of: fn(&RequestRecord) -> Option<usize>,
    names: Vec<String>,
    sums: Vec<(RunTotals, Accumulator)>,
}

impl MixSums {
    /// By what `of` says of a request: a place in `names`.
    pub(crate) fn new(
        of: fn(&RequestRecord) -> Option<usize>,
        names: &[String],
        metrics: &[Metric],
    ) -> Self {
        let sums = names
            .iter()
            .map(|_| (RunTotals::default(), Accumulator::new(metrics)));
        Self {
            of,
            names: names.to_vec(),
            sums: sums.collect(),
        }
    }

    /// Add a measured record, in any order.
    pub(crate) fn push(&mut self, record: &RequestRecord) {
        let sum = (self.of)(record).and_then(|at| self.sums.get_mut(at));
        if let Some((totals, metrics)) = sum {
            totals.push(record);
            metrics.push(record);
        }
    }

    /// The figures, or the metrics that an earlier pass has not summed up.
    pub(crate) fn finish_into(self, figures: &mut Vec<MixFigures>) {
        if figures.is_empty() {
            figures.extend(self.names.into_iter().map(|name| MixFigures {
                name,
                totals: RunTotals::default(),
                metrics: BTreeMap::new(),
            }));
        }
        for (figures, (totals, metrics)) in figures.iter_mut().zip(self.sums) {
            figures.totals = totals;
            figures.metrics.extend(metrics.finish());
        }
    }
}
