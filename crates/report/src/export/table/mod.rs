//! Owns tables of finished runs, and of runs under way, for analysis: which rows a table has, and in
//! which format it is written. Rows go to the file as they are read.
//!
//! It must not know the columns of a table, nor how a format is written.

mod cell;
mod events;
mod parquet;
mod requests;
mod series;
mod text;

use std::io::Write;

use evalscope_model::record::Phase;

use self::cell::{Cell, Column};
use self::parquet::Parquet;
use self::text::{Csv, JsonLines};
use super::chosen::{Chosen, ChosenRun};
use super::runs::ExportError;
use crate::model::{RecordBodies, RunMeta, Tool};
use crate::sqlite::{Outcome, Reader, Wanted};

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

/// The generated text of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedText {
    /// The answer.
    pub answer: String,
    /// The reasoning before it.
    pub reasoning: String,
}

/// Reads the generated text of a response of a run from its events, or from its body. `None` where it
/// finds none.
pub type TextReader<'a> = dyn Fn(&RunMeta, &[String]) -> Option<GeneratedText> + 'a;

/// Which requests become rows, and what of them.
#[derive(Clone, Copy, Default)]
pub struct Rows<'a> {
    /// Those that ended in this way.
    pub outcome: Option<Outcome>,
    /// Those with these indexes; all if there is none.
    pub indexes: &'a [u64],
    /// Those of the warm-up, too.
    pub warmup: bool,
    /// With their bodies, and what reads the text of a response.
    pub bodies: Option<&'a TextReader<'a>>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("outcome", &self.outcome)
            .field("indexes", &self.indexes)
            .field("warmup", &self.warmup)
            .field("bodies", &self.bodies.is_some())
            .finish()
    }
}

impl<'a> Rows<'a> {
    fn phases(&self) -> &'static [Phase] {
        if self.warmup {
            &[Phase::Warmup, Phase::Measured]
        } else {
            &[Phase::Measured]
        }
    }

    fn wanted(&self) -> Wanted<'a> {
        Wanted {
            outcome: self.outcome,
            indexes: self.indexes,
            bodies: self.bodies.is_some(),
        }
    }

    /// Check that the runs have what is wanted.
    ///
    /// # Errors
    /// If no run has a request with one of the indexes, or none has bodies.
    pub fn check(&self, chosen: &Chosen) -> Result<(), ExportError> {
        let mut kept = chosen.runs.iter().map(|run| run.meta.record_bodies);
        if self.bodies.is_some() && kept.all(|kept| kept == RecordBodies::None) {
            return Err(ExportError::NoBodies);
        }
        let mut missing = self.indexes.to_vec();
        for run in &chosen.runs {
            if missing.is_empty() {
                break;
            }
            let reader = Reader::open(&run.database)?;
            let mut left = Vec::new();
            for index in missing {
                let mut is_there = false;
                for phase in self.phases() {
                    is_there |= reader.has_request(*phase, index)?;
                }
                left.extend((!is_there).then_some(index));
            }
            missing = left;
        }
        match missing.first() {
            None => Ok(()),
            Some(index) => Err(ExportError::NoSuchRequest {
                index: *index,
                kind: if self.warmup {
                    "measured or warm-up"
                } else {
                    "measured"
                },
            }),
        }
    }
}

/// A table that is being written.
struct Sheet<W: Write + Send> {
    file: Format<W>,
    rows: u64,
}

enum Format<W: Write + Send> {
    Parquet(Box<Parquet<W>>),
    Csv(Csv<W>),
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
        TableFormat::Csv { for_excel } => Format::Csv(Csv::new(out, &columns, for_excel)?),
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

/// Takes the rows of a table.
type Put<'a> = dyn FnMut(&[Cell<'_>]) -> Result<(), ExportError> + 'a;

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
