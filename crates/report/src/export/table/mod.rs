//! Owns tables of finished runs, and of runs under way, for analysis: which rows a table has, and in
//! which format it is written. Rows go to the file as they are read.
//!
//! It must not know the columns of a table, nor how a format is written.

mod cell;
mod events;
mod parquet_file;
mod requests;
mod rows;
mod series;
mod text_files;

use std::io::Write;

use self::cell::{Cell, Column};
use self::parquet_file::Parquet;
use self::text_files::{Csv, JsonLines};
use super::chosen::{Chosen, ChosenRun};
use super::runs::ExportError;
use crate::model::Tool;

pub use rows::{GeneratedText, Rows, TextReader};

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// A row for each request.
    Requests,
    /// A row for each event of a stream.
    Events,
    /// A row for each value of a chart over time.
    Series,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Events, Self::Series];

    /// The name of its file, without the ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Events => "events",
            Self::Series => "series",
        }
    }

    fn columns(self, rows: &Rows<'_>) -> Vec<Column> {
        match self {
            Self::Requests => requests::columns(rows.bodies.is_some()),
            Self::Events => events::COLUMNS.to_vec(),
            Self::Series => series::COLUMNS.to_vec(),
        }
    }
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Apache Parquet.
    Parquet,
    /// CSV.
    Csv {
        /// It begins with the mark of UTF-8 that Excel needs.
        for_excel: bool,
    },
    /// A JSON object in each line.
    JsonLines,
}

/// A table that is being written.
struct Sheet<W: Write + Send> {
    file: Format<W>,
    rows: u64,
}

enum Format<W: Write + Send> {
    Parquet(Box<Parquet<W>>),
    Csv(Box<Csv<W>>),
    JsonLines(JsonLines<W>),
}

impl<W: Write + Send> Sheet<W> {
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), ExportError> {
        self.rows += 1;
        match &mut self.file {
            Format::Parquet(file) => file.row(cells),
            Format::Csv(file) => file.row(cells),
            Format::JsonLines(file) => file.row(cells),
        }
    }

    fn finish(self) -> Result<u64, ExportError> {
        match self.file {
            Format::Parquet(file) => file.finish()?,
            Format::Csv(file) => file.finish()?,
            Format::JsonLines(file) => file.finish()?,
        }
        Ok(self.rows)
    }
}

/// Write a table of these runs. Returns how many rows it has.
///
/// # Errors
/// If a database cannot be read, or the table cannot be written.
pub fn write(
    table: Table,
    format: TableFormat,
    chosen: &Chosen,
    rows: &Rows<'_>,
    out: impl Write + Send,
) -> Result<u64, ExportError> {
    let columns = table.columns(rows);
    let file = match format {
        TableFormat::Parquet => {
            Format::Parquet(Box::new(Parquet::new(out, &columns, about(chosen))?))
        }
        TableFormat::Csv { for_excel } => {
            Format::Csv(Box::new(Csv::new(out, &columns, for_excel)?))
        }
        TableFormat::JsonLines => Format::JsonLines(JsonLines::new(out, &columns)),
    };
    let mut sheet = Sheet { file, rows: 0 };
    let mut put = |cells: &[Cell<'_>]| sheet.row(cells);
    for run in &chosen.runs {
        match table {
            Table::Requests => requests::write(run, rows, &mut put)?,
            Table::Events => events::write(run, rows, &mut put)?,
            Table::Series => series::write(run, &mut put)?,
        }
    }
    sheet.finish()
}

/// What a file says of itself: the version of this program, and what was asked of each run, with secrets
/// masked.
fn about(chosen: &Chosen) -> Vec<(&'static str, String)> {
    let runs: Vec<_> = chosen.runs.iter().map(ChosenRun::about).collect();
    let runs = serde_json::Value::Array(runs);
    vec![
        ("evalscope.version", Tool::this().version),
        ("evalscope.meta", runs.to_string()),
    ]
}

#[cfg(test)]
mod tests;
