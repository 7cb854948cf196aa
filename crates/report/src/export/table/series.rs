//! Owns the table of series: what the charts over time show, a row for each value.
//!
//! It must not know what the values are made of.

use super::cell::{Cell, Column, Kind, required};
use super::rows::Put;
use crate::export::chosen::ChosenRun;
use crate::export::runs::ExportError;
use crate::series::{MOST_BINS, RunSeries, percentiles_over_time, values_over_time};

pub(super) const COLUMNS: [Column; 5] = [
    required("run", Kind::Text),
    required("t_s", Kind::Number),
    required("bin_s", Kind::Number),
    required("name", Kind::Text),
    required("value", Kind::Number),
];

pub(super) fn write(run: &ChosenRun, put: &mut Put<'_>) -> Result<(), ExportError> {
    let series = RunSeries::load(&run.report()?, MOST_BINS)?;
    let all = values_over_time(&series)
        .into_iter()
        .chain(percentiles_over_time(&series));
    for (name, values) in all {
        for (bin, value) in values.into_iter().enumerate() {
            // a bin without a value has no row
            let Some(value) = value else { continue };
            put(&[
                Cell::Text(&run.name),
                Cell::Number(series.axis.start_s(bin)),
                Cell::Number(series.axis.length_s(bin)),
                Cell::Text(&name),
                Cell::Number(value),
            ])?;
        }
    }
    Ok(())
}
