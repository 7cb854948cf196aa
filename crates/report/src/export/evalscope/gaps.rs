//! Owns the gaps between tokens of a whole run, of which there may be 10⁹.
//!
//! It must not know which gaps count.

use evalscope_model::metrics::{DenseHistogram, HISTOGRAM_BITS};

/// Gaps kept as they are: 128 MiB.
const EXACT_LIMIT: usize = 1 << 24;

/// Gaps, nanoseconds. Beyond [`EXACT_LIMIT`] they are counted in a histogram, whose error is at
/// most 0.05 % of a value.
pub(super) struct Gaps {
    limit: usize,
    exact: Vec<u64>,
    histogram: Option<DenseHistogram>,
    range: Option<(u64, u64)>,
}

impl Gaps {
    pub(super) fn new() -> Self {
        Self {
            limit: EXACT_LIMIT,
            exact: Vec::new(),
            histogram: None,
            range: None,
        }
    }

    pub(super) fn push(&mut self, gap_ns: u64) {
        let (least, most) = self.range.unwrap_or((gap_ns, gap_ns));
        self.range = Some((least.min(gap_ns), most.max(gap_ns)));
        if self.histogram.is_none() && self.exact.len() == self.limit {
            let mut histogram = DenseHistogram::new(HISTOGRAM_BITS);
            for gap_ns in std::mem::take(&mut self.exact) {
                histogram.record(gap_ns);
            }
            self.histogram = Some(histogram);
        }
        match &mut self.histogram {
            Some(histogram) => histogram.record(gap_ns),
            None => self.exact.push(gap_ns),
        }
    }

    /// The gap at each percentile, in nanoseconds: `rank` gives the place of one among so many
    /// gaps, from 0. `None` without a gap.
    pub(super) fn at<const N: usize>(
        &self,
        percents: [u32; N],
        rank: impl Fn(u32, usize) -> usize,
    ) -> Option<[f64; N]> {
        let (least, most) = self.range?;
        Some(if let Some(histogram) = &self.histogram {
            let histogram = histogram.snapshot();
            percents.map(|percent| {
                let gap = histogram.quantile(f64::from(percent) / 100.0);
                gap.map_or(f64::NAN, |gap| gap.clamp(least as f64, most as f64))
            })
        } else {
            let mut sorted = self.exact.clone();
            sorted.sort_unstable();
            percents.map(|percent| sorted[rank(percent, sorted.len())] as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_takes_over_and_stays_close() {
        let mut gaps = Gaps {
            limit: 1000,
            ..Gaps::new()
        };
        assert_eq!(gaps.at([50], |_, _| 0), None);
        let n = 100_000_u64;
        for gap_ns in 0..n {
            gaps.push(gap_ns);
        }
        let [least, middle, most] = gaps.at([0, 50, 100], |_, _| 0).unwrap();
        assert_eq!((least, most), (0.0, (n - 1) as f64));
        assert!((middle / (n as f64 / 2.0) - 1.0).abs() < 0.001, "{middle}");
    }
}
