//! Owns how figures, tables and words are laid out in a given width.
//!
//! It must not know what they say.

use comfy_table::presets::ASCII_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use unicode_width::UnicodeWidthStr;

/// What stands for a missing value.
pub(super) const MISSING: &str = "-";

/// The condensed form, with the columns marked below the header too.
const STYLE: TableStyle = ASCII_FULL_CONDENSED.header_separator(LineStyle::new('+', '=', '+', '+'));

/// A row of the summary: its label, its value, and its value on the plateau.
pub(super) type Row = (String, String, Option<String>);

/// Three or four significant digits; whole numbers whole, with thousands apart.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return MISSING.to_owned();
    }
    let decimals = if value.fract() == 0.0 {
        0
    } else {
        // what is rounded up to the next power of ten has a digit more before the point
        let rounded = format!("{size:.0$}", decimals(size));
        decimals(rounded.parse().unwrap_or(size))
    };
    let text = format!("{value:.decimals$}");
    let (integer, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::with_capacity(text.len() + 4);
    let digits = integer.trim_start_matches('-');
    grouped.push_str(&integer[..integer.len() - digits.len()]);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push_str(rest);
    grouped
}

/// Decimals of a number of this size that is not whole.
fn decimals(size: f64) -> usize {
    match size {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        0.1.. => 4,
        0.01.. => 5,
        _ => 6,
    }
}

pub(crate) fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), number)
}

/// A share as percent, which is 100 only where it is all.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.fract() == 0.0 {
        format!("{percent:.0}%")
    } else {
        let text = format!("{:.1}%", percent.min(99.9));
        // a little below nothing
        if text == "-0.0%" {
            "0.0%".to_owned()
        } else {
            text
        }
    }
}

/// One line that does nothing to a terminal.
pub(super) fn tame(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A table of short cells. Where it is too wide it is cut into several, one
/// below the other, each beginning with the same columns.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Columns that begin every part.
    pub(crate) keys: usize,
    /// Columns that hold words, at the left.
    pub(crate) words: usize,
}

impl Grid {
    fn column_width(&self, column: usize) -> usize {
        self.rows
            .iter()
            .chain([&self.header])
            .flat_map(|row| row[column].lines())
            .map(UnicodeWidthStr::width)
            .max()
            .unwrap_or(0)
            // a blank at each side and a line
            + 3
    }

    /// The columns of each part.
    pub(super) fn parts(&self, width: u16) -> Vec<Vec<usize>> {
        let keys: Vec<usize> = (0..self.keys).collect();
        let begin: usize = 1 + keys.iter().map(|c| self.column_width(*c)).sum::<usize>();
        let mut parts = vec![keys.clone()];
        let mut used = begin;
        for column in self.keys..self.header.len() {
            let wide = self.column_width(column);
            let part = parts.last_mut().expect("it begins with one and only grows");
            if used + wide > usize::from(width) && part.len() > self.keys {
                let mut next = keys.clone();
                next.push(column);
                parts.push(next);
                used = begin + wide;
            } else {
                part.push(column);
                used += wide;
            }
        }
        parts
    }

    /// Leave out the columns from this one on.
    pub(super) fn keep_columns(&mut self, columns: usize) {
        for row in self.rows.iter_mut().chain([&mut self.header]) {
            row.truncate(columns);
        }
    }

    pub(crate) fn render(&self, width: u16, paint: impl Fn(usize, &str) -> String) -> String {
        let mut text = String::new();
        for part in self.parts(width) {
            let cells = |row: &[String]| -> Vec<Cell> {
                part.iter()
                    .map(|column| {
                        Cell::new(&row[*column]).set_alignment(if *column < self.words {
                            CellAlignment::Left
                        } else {
                            CellAlignment::Right
                        })
                    })
                    .collect()
            };
            let mut table = Table::new();
            table
                .load_style(STYLE)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(width)
                .set_header(cells(&self.header));
            for row in &self.rows {
                table.add_row(cells(row));
            }
            let lines: Vec<String> = table.lines().collect();
            let body = lines
                .iter()
                .position(|line| line.starts_with("+="))
                .map_or(0, |at| at + 1);
            // a row that was broken has no line of its own to paint
            let unbroken = lines.len() == body + self.rows.len() + 1;
            for (at, line) in lines.iter().enumerate() {
                match at
                    .checked_sub(body)
                    .filter(|row| unbroken && *row < self.rows.len())
                {
                    Some(row) => text.push_str(&paint(row, line)),
                    None => text.push_str(line),
                }
                text.push('\n');
            }
        }
        text
    }
}

pub(super) fn plain(_row: usize, line: &str) -> String {
    line.to_owned()
}

/// Words in lines of `width`, each but the first after as many blanks as the
/// first line's mark is wide.
pub(crate) fn wrapped(mark: &str, text: &str, width: u16) -> String {
    let room = usize::from(width).saturating_sub(mark.width()).max(20);
    let mut out = String::from(mark);
    let mut used = 0;
    for word in tame(text).split(' ') {
        let wide = word.width();
        if used > 0 && used + 1 + wide > room {
            out.push('\n');
            out.push_str(&" ".repeat(mark.width()));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += wide;
    }
    out.push('\n');
    out
}
