//! Owns TTFT against input tokens (R8): a density in cells, its median line and slope.
//!
//! It must not know how cells are drawn.

/// Requests by input tokens and TTFT: at most 60 × 40 cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Density {
    /// Edges of the columns, input tokens, one more than there are columns. Nearly equal in log value.
    pub input_edges: Vec<f64>,
    /// Edges of the rows, milliseconds, by rising value.
    pub ttft_edges_ms: Vec<f64>,
    /// The cells that are not empty, by column, then row.
    pub cells: Vec<Cell>,
    /// The columns that are not empty, with their median.
    pub columns: Vec<InputColumn>,
    /// How TTFT grows with the input; `None` below 3 columns of 5 requests.
    pub slope: Option<Slope>,
}

/// A cell of a [`Density`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Column, from the left.
    pub column: usize,
    /// Row, from the bottom.
    pub row: usize,
    /// Requests.
    pub count: u64,
    /// Class of the count: 1 to 8 by its logarithm.
    pub class: u8,
    /// Share of the prompt tokens that came from the server's cache, 0 to 1, over the requests of the
    /// cell that report it; `None` if none does.
    pub cached_share: Option<f64>,
}

/// A column of a [`Density`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputColumn {
    /// Column, from the left.
    pub column: usize,
    /// Requests.
    pub count: u64,
    /// Mean input tokens.
    pub input_tokens: f64,
    /// Median TTFT, milliseconds.
    pub ttft_p50_ms: f64,
}

/// The line through the medians of the columns: the median of the slopes between any two of them
/// (Theil 1950, Sen 1968).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Milliseconds per 1000 input tokens.
    pub ms_per_1000_tokens: f64,
    /// TTFT at 0 tokens, milliseconds.
    pub intercept_ms: f64,
}
