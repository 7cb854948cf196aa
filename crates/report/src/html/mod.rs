//! Owns the HTML report of a command: `perf_report.html`, one file without anything outside of it.
//!
//! It must not know how figures are computed.

pub mod scale;

pub mod svg;

pub mod charts;

mod text;

mod foreign;

mod strip;

mod page;

mod render;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::model::Lang;
use crate::report::RunReport;

pub use render::PageError;

use page::{Charts, Page};

/// The page of a command, for a folder that holds the runs.
///
/// # Errors
/// When the template and what it is given do not fit together.
pub fn page(_folder: &Path, runs: &[RunReport], lang: Lang) -> Result<String, PageError> {
    render::render(&Page::of(runs, lang, Charts::default()), lang)
}
