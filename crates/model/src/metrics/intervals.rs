//! Owns how far a figure can be trusted: quantiles of the normal and of Student's distribution, and
//! intervals of shares, percentiles and throughput within one run.
//!
//! Pure. It must not know records or metrics. Requests of one run depend on each other, so every
//! interval here is made for fewer requests than there were: the number is divided by V, by how
//! much the means of batches vary more than independent requests would make them. An interval
//! speaks of this run only; a second run may differ by more.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// From a lower to an upper bound; `[low, high]` in files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interval(f64, f64);

impl Interval {
    /// From `low` to `high`.
    #[must_use]
    pub const fn new(low: f64, high: f64) -> Self {
        Self(low, high)
    }

    /// The lower bound.
    #[must_use]
    pub const fn low(self) -> f64 {
        self.0
    }

    /// The upper bound.
    #[must_use]
    pub const fn high(self) -> f64 {
        self.1
    }

    /// Both bounds in another unit.
    #[must_use]
    pub fn scaled(self, by: f64) -> Self {
        Self(self.0 * by, self.1 * by)
    }
}

/// The value below which a standard normal variable is with probability `p`, in (0, 1).
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    let _ = p;
    todo!()
}

/// The probability that a variable of Student's distribution is below `t`.
#[must_use]
pub fn student_cdf(t: f64, degrees: u32) -> f64 {
    let _ = (t, degrees);
    todo!()
}

/// The value below which a variable of Student's distribution is with probability `p`, in (0, 1).
#[must_use]
pub fn student_quantile(p: f64, degrees: u32) -> f64 {
    let _ = (p, degrees);
    todo!()
}

/// Wilson's interval of a share: `share` of `n` trials, which may be an effective number. `z` is
/// the quantile of the confidence: 1.96 for 95 %.
#[must_use]
pub fn wilson(share: f64, n: f64, z: f64) -> Interval {
    let _ = (share, n, z);
    todo!()
}

/// V: by how much the means of batches vary more than those of independent values would; at least
/// 1. The largest over 6, 10, 16 and 24 batches. The values are in order of dispatch.
#[must_use]
pub fn variance_inflation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let _ = values;
    todo!()
}

/// Wilson's 95 % interval of the share of `true`, in order of dispatch, with V; `None` without a
/// value.
#[must_use]
pub fn share_interval(outcomes: impl Iterator<Item = bool> + Clone) -> Option<Interval> {
    let _ = outcomes;
    todo!()
}

/// A metric's values with the moments at which their requests were dispatched. Takes 16 bytes a
/// value, and 24 while it is being sorted.
#[derive(Clone, Debug, Default)]
pub struct Series {
    points: Vec<(Timestamp, f64)>,
}

impl Series {
    /// Add a value, in any order.
    pub fn push(&mut self, dispatched: Timestamp, value: f64) {
        self.points.push((dispatched, value));
    }

    /// Put the values into order.
    #[must_use]
    pub fn finish(self) -> Ordered {
        todo!()
    }
}

/// Values in order of dispatch and in order of size.
#[derive(Clone, Debug)]
pub struct Ordered {
    by_dispatch: Vec<f64>,
    by_size: Vec<f64>,
}

impl Ordered {
    /// The 95 % interval of the percentile `p` (0..1) within this run, in the unit of the values.
    /// `None` if there are too few values: after division by V, fewer than 3.7 / (1 − p).
    #[must_use]
    pub fn percentile(&self, p: f64) -> Option<Interval> {
        let _ = (p, &self.by_dispatch, &self.by_size);
        todo!()
    }
}

/// A mean of bins and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanOfBins {
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval within this run.
    pub interval: Interval,
    /// Bins that were left after joining.
    pub bins: usize,
}

/// The mean of equal bins of time, such as tokens per second, with Student's interval. Bins are
/// joined in pairs while neighbours resemble each other (lag-1 correlation above 0.3) and at least
/// ten remain. `None` below two bins.
#[must_use]
pub fn mean_of_bins(bins: &[f64]) -> Option<MeanOfBins> {
    let _ = bins;
    todo!()
}
