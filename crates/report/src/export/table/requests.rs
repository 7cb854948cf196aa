//! Owns the table of requests: what the view `requests` of a database has, behind the run's own columns.
//!
//! It must not know how the view is made, nor the API that a response came from.

use evalscope_model::record::Phase;
use evalscope_model::time::Timestamp;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde_json::Value;

use super::cell::{Cell, Column, Kind, optional, required};
use super::rows::{Put, Rows, TextReader};
use crate::bodies;
use crate::export::chosen::ChosenRun;
use crate::export::runs::ExportError;
use crate::sqlite::{ColumnType, REQUEST_COLUMNS, Reader, StoreError, Stored};

/// The run's own columns.
const OF_RUN: [Column; 5] = [
    required("run", Kind::Text),
    optional("parallel", Kind::Small),
    optional("rate_per_s", Kind::Number),
    required("phase", Kind::Text),
    optional("shard", Kind::Small),
];

/// The view has these moments as numbers, which are not exact to the nanosecond.
const MOMENTS: [Column; 2] = [
    optional("sent_at", Kind::Moment),
    optional("completed_at", Kind::Moment),
];
/// The moments stand behind this column.
const BEFORE_MOMENTS: &str = "completed_at_unix_s";

const BODIES: [Column; 3] = [
    optional("request", Kind::Text),
    optional("answer", Kind::Text),
    optional("reasoning", Kind::Text),
];

/// Columns of the view that are never null.
const NEVER_NULL: [&str; 2] = ["idx", "succeeded"];

pub(super) fn columns(with_bodies: bool) -> Vec<Column> {
    let mut all = OF_RUN.to_vec();
    for column in &REQUEST_COLUMNS {
        all.push(Column {
            name: column.name,
            kind: match column.kind {
                ColumnType::Flag => Kind::Flag,
                ColumnType::Small => Kind::Small,
                ColumnType::Whole => Kind::Whole,
                ColumnType::Number => Kind::Number,
                ColumnType::Text => Kind::Text,
            },
            is_required: NEVER_NULL.contains(&column.name),
        });
        if column.name == BEFORE_MOMENTS {
            all.extend(MOMENTS);
        }
    }
    if with_bodies {
        all.extend(BODIES);
    }
    all
}

pub(super) fn write(
    run: &ChosenRun,
    rows: &Rows<'_>,
    put: &mut Put<'_>,
) -> Result<(), ExportError> {
    let reader = Reader::open(&run.database)?;
    for phase in rows.phases() {
        reader.for_each_request(*phase, &rows.wanted(), |row| {
            let source = Source {
                run,
                reader: &reader,
                row,
            };
            let body = rows.bodies.map(|text| source.body(*phase, text));
            let body = body.transpose()?;
            let mut cells = source.cells(*phase)?;
            if let Some(body) = &body {
                cells.extend(body.cells());
            }
            put(&cells)
        })?;
    }
    Ok(())
}

/// The row of a request.
struct Source<'a, 'stmt> {
    run: &'a ChosenRun,
    reader: &'a Reader,
    row: &'a Row<'stmt>,
}

impl Source<'_, '_> {
    fn cells(&self, phase: Phase) -> Result<Vec<Cell<'_>>, ExportError> {
        let load = &self.run.meta.load;
        let places = load
            .concurrency
            .and_then(|places| i64::try_from(places.get()).ok());
        let mut cells = Vec::with_capacity(OF_RUN.len() + REQUEST_COLUMNS.len() + 5);
        cells.extend([
            Cell::Text(&self.run.name),
            Cell::small(places),
            Cell::number(self.run.meta.rate_per_s()),
            Cell::Text(phase.as_str()),
            Cell::small(self.shard()?),
        ]);
        for (at, column) in REQUEST_COLUMNS.iter().enumerate() {
            cells.push(self.cell(at, column.kind)?);
            if column.name == BEFORE_MOMENTS {
                cells.push(self.moment(REQUEST_COLUMNS.len())?);
                cells.push(self.moment(REQUEST_COLUMNS.len() + 1)?);
            }
        }
        Ok(cells)
    }

    /// The process that sent the request, if several carried out the run.
    fn shard(&self) -> Result<Option<i64>, ExportError> {
        let (index, conversation) = (self.whole("idx")?, self.whole("conversation")?);
        let shard = index.and_then(|index| self.run.meta.shard_of(index, conversation));
        Ok(shard.map(i64::from))
    }

    /// A whole number of the view.
    fn whole(&self, name: &str) -> Result<Option<u64>, ExportError> {
        let mut columns = REQUEST_COLUMNS.iter();
        let at = columns.position(|column| column.name == name);
        Ok(match self.value(at.expect("the view has this column"))? {
            ValueRef::Integer(whole) => Some(whole.cast_unsigned()),
            _ => None,
        })
    }

    fn cell(&self, at: usize, kind: ColumnType) -> Result<Cell<'_>, ExportError> {
        let value = self.value(at)?;
        Ok(match (kind, value) {
            (_, ValueRef::Null) => Cell::Missing,
            (ColumnType::Flag, ValueRef::Integer(flag)) => Cell::Flag(flag != 0),
            (ColumnType::Small, ValueRef::Integer(count)) => Cell::small(Some(count)),
            (ColumnType::Whole, ValueRef::Integer(whole)) => Cell::Whole(whole),
            (ColumnType::Number, ValueRef::Real(number)) => Cell::Number(number),
            (ColumnType::Number, ValueRef::Integer(whole)) => Cell::Number(whole as f64),
            (ColumnType::Text, ValueRef::Text(text)) => {
                let text = std::str::from_utf8(text);
                Cell::Text(text.map_err(|error| self.damaged(at, &error.to_string()))?)
            }
            (_, other) => {
                let why = format!("{} is not of its type", other.data_type());
                return Err(self.damaged(at, &why));
            }
        })
    }

    fn value(&self, at: usize) -> Result<ValueRef<'_>, ExportError> {
        let value = self.row.get_ref(at);
        value.map_err(|error| self.damaged(at, &error.to_string()))
    }

    /// A moment of the run's clock.
    fn moment(&self, at: usize) -> Result<Cell<'_>, ExportError> {
        let ValueRef::Integer(nanos) = self.value(at)? else {
            return Ok(Cell::Missing);
        };
        let at = Timestamp::from_nanos(nanos.cast_unsigned());
        let unix_ns = i64::try_from(self.run.meta.clock.unix_ns(at));
        Ok(unix_ns.map_or(Cell::Missing, Cell::Moment))
    }

    fn damaged(&self, at: usize, why: &str) -> ExportError {
        let name = REQUEST_COLUMNS.get(at).map_or("?", |column| column.name);
        let damaged = StoreError::Damaged {
            path: self.run.database.clone(),
            what: format!("column `{name}` of the view `requests`: {why}"),
        };
        damaged.into()
    }

    /// The bodies, which stand behind the moments.
    fn body(&self, phase: Phase, text: &TextReader<'_>) -> Result<Body, ExportError> {
        let first = REQUEST_COLUMNS.len() + 2;
        let stored = |at: usize| {
            let text = self.row.get::<_, Option<String>>(first + at);
            text.map_err(|error| self.damaged(first + at, &error.to_string()))
        };
        let index = self.whole("idx")?.unwrap_or_default();
        let conversation = self.whole("conversation")?;
        let conversation = conversation.filter(|_| phase == Phase::Measured);
        let turn = self
            .whole("turn")?
            .and_then(|turn| u32::try_from(turn).ok());
        let turn = turn.unwrap_or(0);
        let turns_before = match conversation {
            Some(conversation) => self.reader.turns_before(index, turn, conversation)?,
            None => Vec::new(),
        };
        let stored = Stored {
            gpu_memory_gb: None,
            request: stored(0)?.unwrap_or_default(),
            turns_before,
            response_messages: stored(1)?.unwrap_or_default(),
            final_event: None,
        };
        let events = bodies::texts(&stored.response_messages);
        let generated = text(&self.run.meta, &events);
        let (answer, reasoning) = generated.map_or((None, None), |text| {
            (Some(text.answer), Some(text.reasoning))
        });
        Ok(Body {
            request: bodies::request(&stored, turn).map(|body| match body {
                Value::String(text) => text,
                body => body.to_string(),
            }),
            answer,
            reasoning: reasoning.filter(|text| !text.is_empty()),
        })
    }
}

/// What was sent and received.
struct Body {
    request: Option<String>,
    answer: Option<String>,
    reasoning: Option<String>,
}

impl Body {
    fn cells(&self) -> [Cell<'_>; 3] {
        [&self.request, &self.answer, &self.reasoning].map(|text| Cell::text(text.as_deref()))
    }
}
