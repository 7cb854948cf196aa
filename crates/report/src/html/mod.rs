//! Owns the HTML report of a command: `perf_report.html`.
//!
//! It must not know how figures are computed.

pub mod scale;

pub mod svg;

pub mod charts;
