//! Owns what a format of traces is.

use std::fmt;

use super::super::row::{Depth, Row};

/// Reads the lines of one file, in any order.
pub(in super::super) trait TraceReader: fmt::Debug + Send {
    /// Read a line into a cleared row.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn read(&self, line: &[u8], depth: Depth, row: &mut Row) -> Result<(), String>;
}
