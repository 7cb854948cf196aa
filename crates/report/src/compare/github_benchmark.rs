//! Owns the new figures as github-action-benchmark stores them. A file of it has one direction: smaller
//! is better, or bigger is.

use serde::Serialize;

use super::cell::Cell;
use super::outcome::Comparison;
use super::words;
use crate::json;
use crate::names::Better;

#[derive(Serialize)]
struct Entry {
    name: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    extra: String,
}

/// The list, for figures of which this direction is better.
///
/// # Errors
/// When a value has no JSON form.
pub fn github_benchmark(comparisons: &[Comparison], better: Better) -> serde_json::Result<String> {
    let several = comparisons.len() > 1;
    let entries = comparisons.iter().flat_map(|comparison| {
        comparison.points.iter().flat_map(move |point| {
            let side = if several {
                format!("{} ", comparison.new.join(", "))
            } else {
                String::new()
            };
            let own = point
                .cells
                .iter()
                .filter(move |cell| cell.figure.better() == better);
            own.map(move |cell| entry(cell, &format!("{side}{}", point.point), point.is_indicative))
        })
    });
    json::text(&entries.collect::<Vec<_>>())
}

fn entry(cell: &Cell, point: &str, is_indicative: bool) -> Entry {
    // percent, as people read it
    let scale = if cell.is_share() { 100.0 } else { 1.0 };
    let range = cell.smallest_visible_change.map(|change| {
        let reach = if cell.is_share() {
            change
        } else {
            change * cell.new
        };
        format!("± {}", crate::console::number(reach * scale))
    });
    Entry {
        name: format!("{} at {point}", cell.figure),
        unit: cell.unit,
        value: cell.new * scale,
        range,
        extra: format!(
            "{}, base {}{}",
            words::change(cell),
            words::value(cell.figure, cell.base),
            if is_indicative { ", indicative" } else { "" }
        ),
    }
}
