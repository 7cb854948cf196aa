//! Owns `benchmark_percentile.json`: figures of the written rows by nearest rank, as EvalScope's
//! `get_percentile_results` has them. Where there is no sample EvalScope writes `NaN`, which is not JSON; its
//! reader takes `null` as well, so that is what is written here.
//!
//! It must not know how a row was made.

use super::database::{Handoff, Rows};
use super::gaps::Gaps;
use super::python::Value;
use crate::evalscope::rounded;
use crate::sqlite::StoreError;

/// The rows of the file: EvalScope's labels, and percents.
const ROWS: [(&str, u32); 11] = [
    ("min", 0),
    ("1%", 1),
    ("5%", 5),
    ("10%", 10),
    ("25%", 25),
    ("50%", 50),
    ("75%", 75),
    ("90%", 90),
    ("95%", 95),
    ("99%", 99),
    ("max", 100),
];

const DECIMALS: usize = 4;

/// The place of the p-th percentile among n sorted values, from 0: the one at rank ⌈n·p/100⌉.
fn rank(percent: u32, n: usize) -> usize {
    let percent = percent as usize;
    (n * percent).div_ceil(100).saturating_sub(1)
}

type Column = [f64; ROWS.len()];

fn column(rows: &Rows, figure: &str, condition: &str) -> Result<Column, StoreError> {
    let values = rows.table.numbers(&format!(
        "SELECT {figure} FROM result WHERE success = 1 AND {condition}"
    ))?;
    Ok(ranked(values).unwrap_or([f64::NAN; ROWS.len()]))
}

/// The values at the percentiles; `None` without a value.
fn ranked(mut values: Vec<f64>) -> Option<Column> {
    values.sort_unstable_by(f64::total_cmp);
    let at = |percent| rounded(values[rank(percent, values.len())], DECIMALS);
    (!values.is_empty()).then(|| ROWS.map(|(_, percent)| at(percent)))
}

/// From nanoseconds to seconds, as the rows have them, and then to milliseconds.
fn ms(ns: f64) -> f64 {
    ns / 1e9 * 1000.0
}

fn of_gaps(gaps: &Gaps) -> Option<Column> {
    let gaps = gaps.at(ROWS.map(|(_, percent)| percent), rank)?;
    Some(gaps.map(|ns| rounded(ms(ns), DECIMALS)))
}

/// The columns that follow with `--enable-pd-metrics`, those that have a value.
fn of_handoff(handoff: &Handoff) -> impl Iterator<Item = (&'static str, Column)> {
    let of_requests = |ns: &[f64]| ranked(ns.iter().copied().map(ms).collect());
    let columns = [
        ("Steady ITL (ms)", of_gaps(&handoff.steady)),
        ("PD Handoff Latency (ms)", of_requests(&handoff.latencies)),
        ("PD Handoff Overhead (ms)", of_requests(&handoff.overheads)),
    ];
    let columns = columns.into_iter();
    columns.filter_map(|(key, column)| Some((key, column?)))
}

pub(super) fn of(rows: &Rows) -> Result<Value, StoreError> {
    let streams = "SELECT count(*) FROM result WHERE success = 1 AND is_stream = 1";
    let has_streams = rows.table.numbers(streams)?.iter().sum::<f64>() > 0.0;
    // figures of streams are those of all where nothing was streamed
    let (of_streams, with_tpot) = if has_streams {
        (
            "is_stream = 1",
            "is_stream = 1 AND time_per_output_token > 0",
        )
    } else {
        ("1", "1")
    };
    let with_speed = format!("{of_streams} AND time_per_output_token > 0");
    let took_time = "latency > 0";
    let mut columns = vec![
        ("Latency (s)", column(rows, "latency", "1")?),
        (
            "TTFT (ms)",
            column(rows, "first_chunk_latency * 1000", of_streams)?,
        ),
        (
            "ITL (ms)",
            of_gaps(&rows.gaps).unwrap_or([f64::NAN; ROWS.len()]),
        ),
        (
            "TPOT (ms)",
            column(rows, "time_per_output_token * 1000", with_tpot)?,
        ),
        ("Input tokens", column(rows, "prompt_tokens", "1")?),
        ("Output tokens", column(rows, "completion_tokens", "1")?),
        (
            "Output (tok/s)",
            column(rows, "completion_tokens / latency", took_time)?,
        ),
        (
            "Total (tok/s)",
            column(
                rows,
                "(prompt_tokens + completion_tokens) / latency",
                took_time,
            )?,
        ),
        (
            "Decode (tok/s)",
            column(rows, "1.0 / time_per_output_token", &with_speed)?,
        ),
    ];
    columns.extend(rows.handoff.iter().flat_map(of_handoff));
    let table = ROWS.iter().enumerate().map(|(i, (label, _))| {
        let mut fields = vec![("Percentiles".to_owned(), (*label).into())];
        let figures = columns.iter();
        fields.extend(figures.map(|(key, column)| {
            let figure = Some(column[i]).filter(|value| !value.is_nan());
            ((*key).to_owned(), figure.map_or(Value::None, Value::from))
        }));
        Value::Dict(fields)
    });
    Ok(Value::List(table.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let ranks = |n| ROWS.map(|(_, percent)| rank(percent, n));
        assert_eq!(ranks(1), [0; 11]);
        assert_eq!(ranks(10), [0, 0, 0, 0, 2, 4, 7, 8, 9, 9, 9]);
        assert_eq!(ranks(200), [0, 1, 9, 19, 49, 99, 149, 179, 189, 197, 199]);
    }
}
