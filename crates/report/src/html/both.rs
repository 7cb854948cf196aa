//! Owns what a chart says in the other language: the pieces of its text that differ, in the order in which
//! they stand on the page, for the button that changes the language.
//!
//! It must not know what is drawn.

use std::collections::BTreeMap;

use super::charts::{Chart, Drawn, NoChart};

/// Pieces of text in the other language, by their places among all of the chart.
pub(super) type OtherTexts = BTreeMap<usize, String>;

/// Why there is no chart, in one line.
pub(super) fn line(none: &NoChart) -> String {
    format!("{}: {}", none.title, none.why)
}

/// What differs in the other language. A chart whose pieces are others there keeps its language.
pub(super) fn others(own: &Drawn, other: &Drawn) -> OtherTexts {
    let (own, other) = match (own, other) {
        (Ok(own), Ok(other)) => (pieces(own), pieces(other)),
        (Err(own), Err(other)) => (vec![line(own)], vec![line(other)]),
        _ => return OtherTexts::new(),
    };
    if own.len() != other.len() {
        return OtherTexts::new();
    }
    let pairs = own.iter().zip(other).enumerate();
    pairs
        .filter(|(_, (own, other))| *own != other)
        .map(|(nth, (_, other))| (nth, other))
        .collect()
}

/// The texts of a chart as they stand on the page.
fn pieces(chart: &Chart) -> Vec<String> {
    let mut pieces = vec![chart.title.clone(), chart.description.clone()];
    let drawn = chart
        .svg
        .split('>')
        .filter_map(|part| Some(part.split_once('<')?.0))
        .filter(|text| !text.trim().is_empty())
        .map(read);
    pieces.extend(drawn);
    let cells = chart
        .table
        .header
        .iter()
        .chain(chart.table.rows.iter().flatten());
    let cells = cells.filter(|text| !text.trim().is_empty());
    if !chart.table.rows.is_empty() {
        pieces.extend(cells.cloned());
    }
    pieces
}

/// A text of markup without its escapes.
fn read(text: &str) -> String {
    let mut text = text.to_owned();
    for (escape, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ] {
        text = text.replace(escape, c);
    }
    text
}
