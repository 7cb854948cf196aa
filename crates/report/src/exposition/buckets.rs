//! Owns histograms with fixed bounds.

use super::page::Page;

/// Bounds of latencies: 1, 2, 5 from a millisecond to 200 seconds.
pub(super) const LATENCY_S: [f64; 17] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
    200.0,
];

/// Bounds of lags, most of which are far below a millisecond.
pub(super) const LAG_S: [f64; 16] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// Counts of values up to each bound.
#[derive(Clone, Debug)]
pub(super) struct Buckets {
    bounds: &'static [f64],
    /// Values up to the bound of the same place and above the one before; those above all bounds
    /// come last.
    counts: Vec<u64>,
    sum: f64,
}

impl Buckets {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    pub(super) fn record(&mut self, value: f64) {
        // a value that equals a bound is within it
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Write the samples: values up to each bound, those of the bounds before included.
    pub(super) fn write(&self, page: &mut Page, labels: &[(&str, &str)]) {
        let bounds = self.bounds.iter().map(|bound| format!("{bound:?}"));
        let mut count = 0;
        for (bound, own) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            count += own;
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            page.sample("_bucket", &labels, count);
        }
        page.sample("_sum", labels, self.sum);
        page.sample("_count", labels, count);
    }
}
