//! Owns the distribution of a metric: over the whole run, and over time.
//!
//! It must not know which metric it is.

/// Percentiles of a metric over the whole run (R1).
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// How many samples it was made from.
    pub samples: u64,
    /// 200 points by rising x. The first is the median's or below; the last has 10 samples beyond it.
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
    /// Median of each bin of the axis; `None` below 5 samples.
    pub p50: Vec<Option<f64>>,
    /// 90th percentile of each bin.
    pub p90: Vec<Option<f64>>,
    /// 99th percentile of each bin.
    pub p99: Vec<Option<f64>>,
    /// The same samples by value.
    pub heatmap: Heatmap,
}

/// Counts by time and value (R2): at most 240 columns and 64 rows.
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
