//! Owns the lines of CSV files: where each column is, and its values as numbers.
//!
//! It must not know what a column means.

use std::borrow::Cow;
use std::collections::BTreeMap;

use csv::ReaderBuilder;

use super::times::clipped;

/// The columns that a format reads, and where each is.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// How many values a line has.
    width: usize,
    /// Name and position of each.
    found: Vec<(String, Option<usize>)>,
}

/// The values of a line.
#[derive(Debug)]
pub(super) struct Values<'a> {
    columns: &'a Columns,
    values: Vec<Cow<'a, str>>,
}

impl Columns {
    /// Find columns in a header: those that must be there, and others. `named` are the file's names.
    pub(super) fn find(
        header: &[u8],
        must: &[&str],
        may: &[&str],
        named: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let header = split(header)?;
        let place = |name: &str| {
            let name = named.get(name).map_or(name, String::as_str);
            let place = header.iter().position(|own| own.trim() == name);
            (name.to_owned(), place)
        };
        let missing = must
            .iter()
            .map(|name| place(name))
            .find(|(_, at)| at.is_none());
        if let Some((name, _)) = missing {
            let there: Vec<String> = header
                .iter()
                .map(|own| format!("`{}`", own.trim()))
                .collect();
            return Err(format!(
                "no column `{name}` in the header; there {} {}",
                if there.len() == 1 { "is" } else { "are" },
                clipped(&there.join(", "))
            ));
        }
        Ok(Self {
            width: header.len(),
            found: must.iter().chain(may).map(|name| place(name)).collect(),
        })
    }

    /// Whether the file has this column: by its position in the lists that were asked for.
    pub(super) fn has(&self, column: usize) -> bool {
        self.found[column].1.is_some()
    }

    /// The values of a line.
    pub(super) fn read<'a>(&'a self, line: &'a [u8]) -> Result<Values<'a>, String> {
        let values = split(line)?;
        if values.len() != self.width {
            return Err(format!(
                "{} values in a row, but {} in the header",
                values.len(),
                self.width
            ));
        }
        Ok(Values {
            columns: self,
            values,
        })
    }
}

impl Values<'_> {
    /// The text in a column, by its position in the lists that were asked for; empty if the file does
    /// not have it.
    pub(super) fn text(&self, column: usize) -> &str {
        let place = self.columns.found[column].1;
        place.map_or("", |at| self.values[at].trim())
    }

    /// The name of a column in the file.
    pub(super) fn name(&self, column: usize) -> &str {
        &self.columns.found[column].0
    }

    /// A number of tokens. Tools that know only floats write `12.0`.
    pub(super) fn tokens(&self, column: usize) -> Result<u64, String> {
        let text = self.text(column);
        let digits = text.strip_suffix(".0").unwrap_or(text);
        digits.parse().map_err(|_| {
            format!(
                "`{}` is \"{}\": expected a whole number, 0 or greater",
                self.name(column),
                clipped(text)
            )
        })
    }
}

/// The values of a line of CSV (RFC 4180).
fn split(line: &[u8]) -> Result<Vec<Cow<'_, str>>, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
    if !text.contains('"') {
        return Ok(text.split(',').map(Cow::Borrowed).collect());
    }
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(line);
    match reader.records().next() {
        Some(Ok(record)) => Ok(record
            .iter()
            .map(|own| Cow::Owned(own.to_owned()))
            .collect()),
        Some(Err(error)) => Err(error.to_string()),
        None => Ok(Vec::new()),
    }
}
