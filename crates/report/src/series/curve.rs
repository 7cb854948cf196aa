//! Owns the distribution of a metric: over the whole run, and over time.
//!
//! It must not know which metric it is.

use super::axis::TimeAxis;
use super::missing::Missing;
use super::spread::{LEAST_SAMPLES, Spread};

/// Points of a [`Curve`].
const POINTS: usize = 200;
/// Bins are taken together by one of these until there are as few parts as columns, and most have percentiles.
const TOGETHER: [usize; 9] = [1, 2, 3, 5, 10, 20, 50, 100, 300];
/// As many of the parts with samples must have percentiles, so that lines are more than dots.
const MOST_OF_PARTS: f64 = 0.9;
/// Samples beyond its last point.
const BEYOND: f64 = 10.0;
/// A [`Heatmap`] has no more columns and rows.
const MOST_COLUMNS: usize = 80;
const ROWS: usize = 64;
/// Values above the 99.99th percentile times this are in the top row.
const OUTLIER: f64 = 4.0;
/// Classes of counts that are not 0.
const CLASSES: u8 = 8;

/// Percentiles of a metric over the whole run (R1).
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// How many samples it was made from.
    pub samples: u64,
    /// 200 points by rising x. The first is the smallest value; the last has 10 samples beyond it.
    pub points: Vec<CurvePoint>,
}

/// A point of a [`Curve`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// −log₁₀(1 − p): 1 is the 90th percentile, 2 the 99th.
    pub nines: f64,
    /// The percentile, 0 to 1.
    pub p: f64,
    /// Its value.
    pub value: f64,
}

/// Values of a metric over time (R2, R3). A request counts when it was dispatched, a gap when it
/// ended.
#[derive(Clone, Debug, PartialEq)]
pub struct OverTime {
    /// Samples of each bin.
    pub samples: Vec<u64>,
    /// Bins that have their percentiles in common, counted from time 0 in both directions: where there are
    /// few samples, more than one.
    pub bins_together: usize,
    /// Median of each bin of the axis; `None` below 5 samples in it and those that it has it in common with.
    pub p50: Vec<Option<f64>>,
    /// 90th percentile of each bin.
    pub p90: Vec<Option<f64>>,
    /// 99th percentile of each bin.
    pub p99: Vec<Option<f64>>,
    /// The same samples by value.
    pub heatmap: Heatmap,
}

/// Counts by time and value (R2): at most 80 columns and 64 rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// Bins of the axis in a column; the last column may have fewer.
    pub bins_per_column: usize,
    /// Number of columns.
    pub columns: usize,
    /// Edges of the rows by rising value, one more than there are rows. Rows are equally high in log
    /// value. Larger values are in the top row.
    pub row_edges: Vec<f64>,
    /// The top row has values above its upper edge: label it "≥".
    pub top_row_is_open: bool,
    /// Count of each cell, column by column, each from the lowest row up.
    pub counts: Vec<u64>,
    /// Class of each cell in the same order: 0 is empty, 1 to 8 by the logarithm of the count.
    pub classes: Vec<u8>,
}

impl Heatmap {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.row_edges.len().saturating_sub(1)
    }

    /// Class of a cell; row 0 is the lowest.
    #[must_use]
    pub fn class(&self, column: usize, row: usize) -> u8 {
        self.classes[column * self.rows() + row]
    }

    /// Count of a cell.
    #[must_use]
    pub fn count(&self, column: usize, row: usize) -> u64 {
        self.counts[column * self.rows() + row]
    }
}

impl Curve {
    /// The percentiles of some samples, each multiplied by `scale`.
    pub(super) fn of(samples: &Spread, scale: f64) -> Result<Self, Missing> {
        let count = samples.samples() as f64;
        if count <= BEYOND {
            return Err(Missing::TooFewSamples);
        }
        let cut = -(BEYOND / count).log10();
        let nines: Vec<f64> = (0..POINTS)
            .map(|nth| cut * nth as f64 / (POINTS - 1) as f64)
            .collect();
        let wanted: Vec<f64> = nines.iter().map(|nines| 1.0 - 10f64.powf(-nines)).collect();
        let values = samples.percentiles(&wanted);
        let points = nines.into_iter().zip(wanted).zip(values);
        Ok(Self {
            samples: samples.samples(),
            points: points
                .map(|((nines, p), value)| CurvePoint {
                    nines,
                    p,
                    value: value * scale,
                })
                .collect(),
        })
    }
}

impl OverTime {
    /// The samples of each bin of the axis, each multiplied by `scale`.
    pub(super) fn of(
        bins: &[Spread],
        all: &Spread,
        axis: &TimeAxis,
        scale: f64,
    ) -> Result<Self, Missing> {
        let heatmap = Heatmap::of(bins, all, axis, scale).ok_or(Missing::TooFewSamples)?;
        let (together, parts) = parts(bins, axis);
        let percentile = |p: f64| {
            let values = parts.iter().flat_map(|(length, samples)| {
                let value = samples.percentile(p).map(|value| value * scale);
                std::iter::repeat_n(value, *length)
            });
            values.collect()
        };
        Ok(Self {
            samples: bins.iter().map(Spread::samples).collect(),
            bins_together: together,
            p50: percentile(0.50),
            p90: percentile(0.90),
            p99: percentile(0.99),
            heatmap,
        })
    }
}

/// So few bins taken together that most parts with samples have percentiles, and the parts: how many bins
/// each has, and their samples. Warm-up and measured bins are never taken together.
fn parts(bins: &[Spread], axis: &TimeAxis) -> (usize, Vec<(usize, Spread)>) {
    let (warmup, measured) = bins.split_at(axis.warmup_bins);
    let is_enough = |together: &usize| {
        let samples = |part: &[Spread]| part.iter().map(Spread::samples).sum::<u64>();
        let parts = measured.chunks(*together).map(samples);
        let parts: Vec<u64> = parts.filter(|samples| *samples > 0).collect();
        let full = parts.iter().filter(|samples| **samples >= LEAST_SAMPLES);
        measured.len().div_ceil(*together) <= MOST_COLUMNS
            && full.count() as f64 >= MOST_OF_PARTS * parts.len() as f64
    };
    let together = TOGETHER.into_iter().find(is_enough);
    let together = together.unwrap_or(measured.len().max(1));
    let part = |bins: &[Spread]| (bins.len(), Spread::sum(bins));
    let mut parts: Vec<_> = warmup.rchunks(together).map(part).collect();
    parts.reverse();
    parts.extend(measured.chunks(together).map(part));
    (together, parts)
}

impl Heatmap {
    /// The rows span the values of `all`; `None` without any.
    fn of(bins: &[Spread], all: &Spread, axis: &TimeAxis, scale: f64) -> Option<Self> {
        let lowest = all.values().next()?.0.max(1.0);
        let outlier = all.percentiles(&[0.9999]).first()? * OUTLIER;
        let max = all.max()?;
        let top_row_is_open = max > outlier;
        let highest = if top_row_is_open {
            all.values()
                .map(|(value, _)| value)
                .take_while(|value| *value <= outlier)
                .last()?
        } else {
            max
        };
        // one value is a row of its own, not 64 rows of no height
        let highest = highest.max(lowest * 1.01);
        let step = (highest / lowest).ln() / ROWS as f64;
        let edge = |nth: usize| lowest * (step * nth as f64).exp() * scale;
        let bins_per_column = axis.len().div_ceil(MOST_COLUMNS).max(1);
        let columns = axis.len().div_ceil(bins_per_column);
        let mut counts = vec![0; columns * ROWS];
        for (bin, values) in bins.iter().enumerate() {
            for (value, count) in values.values() {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a cast saturates at both ends"
                )]
                let row = ((value / lowest).ln() / step) as usize;
                counts[bin / bins_per_column * ROWS + row.min(ROWS - 1)] += count;
            }
        }
        Some(Self {
            bins_per_column,
            columns,
            row_edges: (0..=ROWS).map(edge).collect(),
            top_row_is_open,
            classes: classes(&counts),
            counts,
        })
    }
}

/// The classes of counts: 0 for 0, else 1 to 8 by the logarithm, the largest in the highest.
pub(super) fn classes(counts: &[u64]) -> Vec<u8> {
    let most = counts.iter().copied().max().unwrap_or(0);
    let span = (most.max(1) as f64).ln();
    let class = |count: &u64| match *count {
        0 => 0,
        // of few equal counts, all are in the highest
        count if count == most => CLASSES,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to 8"
        )]
        count => ((count as f64).ln() / span * f64::from(CLASSES)).min(7.0) as u8 + 1,
    };
    counts.iter().map(class).collect()
}
