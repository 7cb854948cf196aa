//! Owns the charts of the HTML report: which there are, in which order, and what each takes from a run.
//!
//! It must not know pixels, colours, or the page around a chart.

mod chart;

pub use chart::{Chart, Drawn, Group, NoChart, Table, Words};
