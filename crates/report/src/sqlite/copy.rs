//! Owns copying the rows of one database into another, with all moments moved to another clock. Rows go
//! from statement to statement: no record is made of them.
//!
//! It must not know which databases belong together.

use std::fmt;
use std::path::{Path, PathBuf};

use evalscope_model::metrics::{ClientSnapshot, Distribution, Samples};
use evalscope_model::mix::{ModelId, number_of};
use evalscope_model::record::{EventLog, FailureKind, Phase};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, ToSql, params};

use super::read::Reader;
use super::write::Database;
use super::{StoreError, conversation, refused, schema};
use crate::findings::Finding;
use crate::model::{RunMeta, RunState};

/// Pages in memory while rows are copied, KiB.
const CACHE_KIB: i32 = 16_384;

/// A database that is put together from others.
pub(crate) struct Merged {
    path: PathBuf,
    connection: Connection,
    /// The names of models, by their numbers.
    models: Vec<String>,
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What was copied of a database, with moments on the new clock, nanoseconds.
#[derive(Debug)]
pub(crate) struct Copied {
    /// Measured requests, and how late they were by the client's own fault.
    pub(crate) measured: u64,
    pub(crate) client_lag: Distribution,
    /// When the first request was due, and when the first one was sent.
    pub(crate) first_due: Option<u64>,
    pub(crate) first_sent: Option<u64>,
    /// When the last measured request ended that was sent.
    pub(crate) last_end: Option<u64>,
}

/// What becomes of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Plain,
    /// A moment: moved.
    Moment,
    /// A log of events: its first stamp is moved.
    Events,
    /// The number of a model: that of the same name here.
    Model,
}

/// Columns with moments. Other nanoseconds are lengths of time.
const MOMENTS: [&str; 10] = [
    "scheduled_ns",
    "slot_free_ns",
    "dispatched_ns",
    "connected_ns",
    "write_begun_ns",
    "write_done_ns",
    "first_byte_ns",
    "headers_ns",
    "last_data_ns",
    "ended_ns",
];

impl Column {
    fn of(name: &str) -> Self {
        match name {
            "events" => Self::Events,
            "model_id" => Self::Model,
            _ if MOMENTS.contains(&name) => Self::Moment,
            _ => Self::Plain,
        }
    }
}

/// A value on its way from one statement to another.
struct Passed<'a>(ValueRef<'a>);

impl ToSql for Passed<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// The columns that sums are made of.
#[derive(Clone, Copy)]
struct Places {
    phase: usize,
    error_kind: usize,
    scheduled: usize,
    slot_free: usize,
    dispatched: usize,
    ended: usize,
}

impl Places {
    fn new() -> Self {
        let at = |name: &str| {
            let mut columns = schema::COLUMNS.iter();
            columns
                .position(|(own, ..)| *own == name)
                .expect("it is a column")
        };
        Self {
            phase: at("phase"),
            error_kind: at("error_kind"),
            scheduled: at("scheduled_ns"),
            slot_free: at("slot_free_ns"),
            dispatched: at("dispatched_ns"),
            ended: at("ended_ns"),
        }
    }
}

/// Sums over the rows of a database.
struct Sums {
    places: Places,
    measured: u64,
    lag: Samples,
    first_due: Option<u64>,
    first_sent: Option<u64>,
    last_end: Option<u64>,
}

impl Sums {
    fn push(&mut self, row: &Row<'_>, by_ns: u64) -> rusqlite::Result<()> {
        let places = self.places;
        let moment = |at: usize| -> rusqlite::Result<u64> {
            Ok(row.get::<_, i64>(at)?.cast_unsigned() + by_ns)
        };
        let (scheduled, dispatched) = (moment(places.scheduled)?, moment(places.dispatched)?);
        let first = |before: Option<u64>, at: u64| Some(before.map_or(at, |first| first.min(at)));
        self.first_due = first(self.first_due, scheduled);
        let is_measured = row.get_ref(places.phase)?.as_str() == Ok(Phase::Measured.as_str());
        self.measured += u64::from(is_measured);
        let kind = match row.get_ref(places.error_kind)? {
            ValueRef::Null => None,
            kind => kind.as_str().ok().and_then(FailureKind::from_name),
        };
        if kind.is_some_and(FailureKind::is_unsent) {
            return Ok(());
        }
        self.first_sent = first(self.first_sent, dispatched);
        if is_measured {
            let possible = scheduled.max(moment(places.slot_free)?);
            self.lag.push(dispatched.saturating_sub(possible) as f64);
            self.last_end = self.last_end.max(Some(moment(places.ended)?));
        }
        Ok(())
    }
}

impl Merged {
    /// Make a new database. Nobody reads it before it is complete, so it needs no journal.
    pub(crate) fn create(path: &Path, meta: &RunMeta) -> Result<Self, StoreError> {
        let connection = Database::create(path, meta)?.into_connection();
        let doing = refused(path, "set up the database");
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = DELETE;\nPRAGMA journal_mode = OFF;\nPRAGMA synchronous = OFF;\n\
                 PRAGMA cache_size = -{CACHE_KIB};\nPRAGMA temp_store = FILE;\n{}",
                schema::DROP_INDEX
            ))
            .map_err(&doing)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            models: Vec::new(),
        })
    }

    /// Copy all requests and conversations of a database, with moments later by `by_ns`.
    pub(crate) fn copy(&mut self, from: &Reader, by_ns: u64) -> Result<Copied, StoreError> {
        let models = from.models()?.into_iter();
        let models = models.map(|name| number_of(&name, &mut self.models));
        let models: Vec<ModelId> = models.collect();
        let (reading, writing) = (
            refused(from.path(), "read the requests"),
            refused(&self.path, "store the requests"),
        );
        self.connection.execute_batch("BEGIN").map_err(&writing)?;
        let names = schema::COLUMNS.map(|(name, ..)| name);
        let columns = names.map(Column::of);
        let sql = format!("SELECT {} FROM {}", names.join(", "), schema::TABLE);
        let mut select = from.connection().prepare(&sql).map_err(&reading)?;
        let mut insert = self
            .connection
            .prepare(&schema::insert())
            .map_err(&writing)?;
        let mut sums = Sums {
            places: Places::new(),
            measured: 0,
            lag: Samples::exact(),
            first_due: None,
            first_sent: None,
            last_end: None,
        };
        let mut events = Vec::new();
        let mut rows = select.query([]).map_err(&reading)?;
        while let Some(row) = rows.next().map_err(&reading)? {
            sums.push(row, by_ns).map_err(&reading)?;
            for (at, column) in columns.iter().enumerate() {
                let value = row.get_ref(at).map_err(&reading)?;
                let bound = match (column, value) {
                    (Column::Moment, ValueRef::Integer(ns)) => {
                        insert.raw_bind_parameter(at + 1, ns + by_ns.cast_signed())
                    }
                    (Column::Events, ValueRef::Blob(bytes)) => {
                        EventLog::rebase_bytes(bytes, by_ns, &mut events).ok_or_else(|| {
                            StoreError::Damaged {
                                path: from.path().to_owned(),
                                what: "a log of events cannot be read".to_owned(),
                            }
                        })?;
                        insert.raw_bind_parameter(at + 1, Passed(ValueRef::Blob(&events)))
                    }
                    (Column::Model, ValueRef::Integer(id)) => {
                        let here = usize::try_from(id).ok().and_then(|id| models.get(id));
                        insert.raw_bind_parameter(at + 1, here.map(|id| id.0))
                    }
                    (_, value) => insert.raw_bind_parameter(at + 1, Passed(value)),
                };
                bound.map_err(&writing)?;
            }
            insert.raw_execute().map_err(&writing)?;
        }
        self.copy_conversations(from, by_ns)?;
        self.connection.execute_batch("COMMIT").map_err(&writing)?;
        Ok(Copied {
            measured: sums.measured,
            client_lag: sums.lag.distribution(1e-6),
            first_due: sums.first_due,
            first_sent: sums.first_sent,
            last_end: sums.last_end,
        })
    }

    fn copy_conversations(&self, from: &Reader, by_ns: u64) -> Result<(), StoreError> {
        let (reading, writing) = (
            refused(from.path(), "read the conversations"),
            refused(&self.path, "store the conversations"),
        );
        let mut select = from
            .connection()
            .prepare(conversation::SELECT_ALL)
            .map_err(&reading)?;
        let mut insert = self
            .connection
            .prepare(conversation::INSERT)
            .map_err(&writing)?;
        let mut rows = select.query([]).map_err(&reading)?;
        while let Some(row) = rows.next().map_err(&reading)? {
            for (at, name) in conversation::COLUMNS.iter().enumerate() {
                let mut value: Value = row.get(at).map_err(&reading)?;
                if let (Column::Moment, Value::Integer(ns)) = (Column::of(name), &mut value) {
                    *ns += by_ns.cast_signed();
                }
                insert.raw_bind_parameter(at + 1, value).map_err(&writing)?;
            }
            insert.raw_execute().map_err(&writing)?;
        }
        Ok(())
    }

    /// Once all is copied: the number of a request that is there twice, if one is.
    pub(crate) fn index(&self) -> Result<Option<u64>, StoreError> {
        let doing = refused(&self.path, "put the requests in order");
        self.connection
            .execute_batch(&schema::create_index())
            .map_err(&doing)?;
        let mut statement = self.connection.prepare(schema::TWICE).map_err(&doing)?;
        let mut rows = statement.query([]).map_err(&doing)?;
        let twice = rows.next().map_err(&doing)?;
        let twice = twice.map(|row| row.get::<_, i64>(0)).transpose();
        Ok(twice.map_err(&doing)?.map(i64::cast_unsigned))
    }

    /// Store what is known besides requests, and leave a complete file.
    pub(crate) fn finish(
        self,
        meta: &RunMeta,
        (state, ended_at): (RunState, Option<&str>),
        client: Option<&ClientSnapshot>,
        warnings: &[Finding],
    ) -> Result<(), StoreError> {
        let doing = refused(&self.path, "store what is known of the run");
        let encoded = |what, json: serde_json::Result<String>| {
            json.map_err(|e| StoreError::Encode {
                path: self.path.clone(),
                what,
                why: e.to_string(),
            })
        };
        let meta = encoded("what is known of the run", serde_json::to_string(meta))?;
        let facts = [
            ("meta", Some(meta.as_str())),
            ("state", Some(state.as_str())),
            ("ended_at", ended_at),
        ];
        for (key, value) in facts {
            if let Some(value) = value {
                self.connection
                    .execute("INSERT OR REPLACE INTO run VALUES (?, ?)", [key, value])
                    .map_err(&doing)?;
            }
        }
        for (id, name) in (0u16..).zip(&self.models) {
            self.connection
                .execute(schema::INSERT_MODEL, params![id, name])
                .map_err(&doing)?;
        }
        if let Some(client) = client {
            let json = encoded("the client's figures", serde_json::to_string(client))?;
            self.connection
                .execute("INSERT INTO client VALUES (1, ?)", [json])
                .map_err(&doing)?;
        }
        for warning in warnings {
            self.connection
                .execute(
                    schema::INSERT_WARNING,
                    [warning.text.as_str(), warning.id.as_str()],
                )
                .map_err(&doing)?;
        }
        self.connection
            .close()
            .map_err(|(_, source)| doing(source))?;
        let synced = std::fs::File::open(&self.path).and_then(|file| file.sync_all());
        synced.map_err(|source| StoreError::Io {
            path: self.path.clone(),
            doing: "write it to the disk",
            source,
        })
    }
}
