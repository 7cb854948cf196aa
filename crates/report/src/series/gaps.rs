//! Owns the histogram of gaps between token-bearing events (R9).
//!
//! It must not know which requests they belong to.

use super::missing::Missing;
use super::spread::Spread;

/// Gaps above the median times this are stalls.
pub(super) const STALL: f64 = 3.0;
/// A [`GapHistogram`] has no more bins; the bins of a run of equal gaps are this much wider each.
const MOST_BINS: f64 = 60.0;
const NARROWEST: f64 = 1.02;
/// Below, the 99.9th percentile is the mark of single gaps.
const LEAST_FOR_P999: u64 = 10_000;
/// From nanoseconds to milliseconds.
const MS: f64 = 1e-6;

/// Gaps of all successes.
#[derive(Clone, Debug, PartialEq)]
pub struct GapHistogram {
    /// Number of gaps.
    pub count: u64,
    /// Bins of equal log width by rising value, without a hole between the first and the last.
    pub bins: Vec<GapBin>,
    /// Median, milliseconds; that of `result.json`, as is the next.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// 99.9th percentile, milliseconds; `None` below 10,000 gaps.
    pub p999_ms: Option<f64>,
    /// Above this, a gap is a stall: 3 × the median, milliseconds.
    pub stall_ms: f64,
    /// Stalls over all gaps, 0 to 1.
    pub stall_share: f64,
    /// Time in stalls, seconds, summed over requests.
    pub stall_s: f64,
    /// Time in stalls over the time in all gaps, 0 to 1.
    pub stall_time_share: f64,
}

/// A bin of a [`GapHistogram`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GapBin {
    /// Lower edge, milliseconds; 0 in the first one if gaps of 0 occurred.
    pub from_ms: f64,
    /// Upper edge, milliseconds.
    pub to_ms: f64,
    /// Gaps.
    pub count: u64,
}

/// Sums up the stalls of a run whose median gap is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stalls {
    /// Longer gaps are stalls, nanoseconds.
    limit_ns: f64,
    count: u64,
    stall_ns: f64,
    all_ns: f64,
}

impl Stalls {
    pub(super) fn new(p50_ms: f64) -> Self {
        Self {
            limit_ns: p50_ms / MS * STALL,
            ..Self::default()
        }
    }

    /// Add a gap, nanoseconds.
    pub(super) fn push(&mut self, gap_ns: f64) {
        self.all_ns += gap_ns;
        if gap_ns > self.limit_ns {
            self.count += 1;
            self.stall_ns += gap_ns;
        }
    }

    /// With all gaps of the run, and the percentiles of its report.
    pub(super) fn finish(
        self,
        gaps: &Spread,
        p50_ms: Option<f64>,
        p99_ms: Option<f64>,
    ) -> Result<GapHistogram, Missing> {
        let (Some(p50_ms), Some(p99_ms)) = (p50_ms, p99_ms) else {
            return Err(Missing::NotStreamed);
        };
        let count = gaps.samples();
        let p999 = gaps.percentile(0.999).map(|gap| gap * MS);
        Ok(GapHistogram {
            count,
            bins: bins(gaps),
            p50_ms,
            p99_ms,
            p999_ms: p999
                .filter(|_| count >= LEAST_FOR_P999)
                .map(|gap| gap.max(p99_ms)),
            stall_ms: p50_ms * STALL,
            stall_share: self.count as f64 / count.max(1) as f64,
            stall_s: self.stall_ns / 1e9,
            stall_time_share: if self.all_ns > 0.0 {
                self.stall_ns / self.all_ns
            } else {
                0.0
            },
        })
    }
}

/// Bins of equal log width. Gaps below a microsecond came in the same read: they are one bin, the first.
fn bins(gaps: &Spread) -> Vec<GapBin> {
    const BUNDLED_NS: f64 = 1000.0;
    let bundled: u64 = gaps
        .values()
        .filter(|(gap, _)| *gap < BUNDLED_NS)
        .map(|(_, count)| count)
        .sum();
    let mut bins = Vec::new();
    if bundled > 0 {
        bins.push(GapBin {
            from_ms: 0.0,
            to_ms: BUNDLED_NS * MS,
            count: bundled,
        });
    }
    let spaced = gaps.values().filter(|(gap, _)| *gap >= BUNDLED_NS);
    let Some((lowest, _)) = spaced.clone().next() else {
        return bins;
    };
    let lowest = if bundled > 0 { BUNDLED_NS } else { lowest };
    let highest = spaced.clone().last().map_or(lowest, |(gap, _)| gap);
    let factor = (highest / lowest).powf(1.0 / MOST_BINS).max(NARROWEST);
    let nth_of = |gap: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to the number of bins"
        )]
        let nth = ((gap / lowest).ln() / factor.ln()).clamp(0.0, MOST_BINS - 1.0) as usize;
        nth
    };
    let first = bins.len();
    for nth in 0..=nth_of(highest) {
        bins.push(GapBin {
            from_ms: lowest * factor.powf(nth as f64) * MS,
            to_ms: lowest * factor.powf(nth as f64 + 1.0) * MS,
            count: 0,
        });
    }
    for (gap, count) in spaced {
        bins[first + nth_of(gap)].count += count;
    }
    bins
}
