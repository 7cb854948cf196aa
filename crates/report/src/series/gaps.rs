//! Owns the histogram of gaps between token-bearing events (R9).
//!
//! It must not know which requests they belong to.

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
