//! Owns `sla_summary.json`: the figures of a search's probes in EvalScope's form.
//!
//! It must not know what the search found.

use evalscope_model::metrics::PERCENTILE_ROWS;
use evalscope_model::search::SearchRecord;
use serde_json::{Map, Value};

use super::reference::{percentiles, summary};
use crate::names;
use crate::report::RunReport;

/// Keys that are sums over the runs of a value; others are means.
const COUNTS: [&str; 5] = [
    "Total Requests",
    "Success Requests",
    "Failed Requests",
    "Stream Requests",
    "Non-Stream Requests",
];

/// Each measured value with its figures, means over its runs: `{"parallel_2": {"metrics": …,
/// "percentiles": …}}`, the percentiles by column.
#[must_use]
pub fn sla_summary(runs: &[RunReport], search: &SearchRecord) -> Value {
    let mut all = Map::new();
    for probe in &search.probes {
        let key = format!("{}_{}", search.variable.name(), probe.value);
        if all.contains_key(&key) {
            continue;
        }
        let names = search
            .probes
            .iter()
            .filter(|other| other.value.total_cmp(&probe.value).is_eq())
            .flat_map(|other| &other.runs);
        let own: Vec<&RunReport> = names
            .filter_map(|name| runs.iter().find(|run| run.meta.name == *name))
            .collect();
        if !own.is_empty() {
            all.insert(key, of_value(&own));
        }
    }
    Value::Object(all)
}

fn of_value(runs: &[&RunReport]) -> Value {
    let summaries: Vec<Value> = runs.iter().map(|run| summary(run)).collect();
    let mut metrics = Map::new();
    for key in summaries[0].as_object().into_iter().flat_map(Map::keys) {
        let values = summaries.iter().map(|summary| &summary[key]);
        let value = if COUNTS.contains(&key.as_str()) {
            values.filter_map(Value::as_u64).sum::<u64>().into()
        } else {
            mean(values)
        };
        metrics.insert(key.clone(), value);
    }
    let tables: Vec<Value> = runs.iter().map(|run| percentiles(run)).collect();
    let mut columns = Map::new();
    let labels = PERCENTILE_ROWS.iter().map(|(label, _)| *label);
    columns.insert(names::PERCENTILES.to_owned(), labels.collect());
    for (key, _, _) in names::percentile_columns(runs[0]) {
        let column =
            (0..PERCENTILE_ROWS.len()).map(|row| mean(tables.iter().map(|table| &table[row][key])));
        columns.insert(key.to_owned(), column.collect());
    }
    let parts = [("metrics", metrics), ("percentiles", columns)];
    let parts = parts.map(|(key, part)| (key.to_owned(), Value::Object(part)));
    Value::Object(Map::from_iter(parts))
}

/// The mean of the numbers among these; one number is itself.
fn mean<'a>(values: impl Iterator<Item = &'a Value>) -> Value {
    let known: Vec<&Value> = values.filter(|value| value.is_number()).collect();
    match known[..] {
        [] => Value::Null,
        [one] => one.clone(),
        _ => {
            let sum: f64 = known.iter().filter_map(|value| value.as_f64()).sum();
            (sum / known.len() as f64).into()
        }
    }
}
