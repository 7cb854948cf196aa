//! Owns reading a run's database, whatever became of the process that wrote it.
//!
//! It never writes: a killed run's journal is replayed in memory by SQLite.

mod requests;
mod stored;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use evalscope_model::events::Began;
use evalscope_model::metrics::ClientSnapshot;
use evalscope_model::plan::StoppedBy;
use evalscope_model::record::{ConversationRecord, EventLogFormat, Phase, RequestRecord};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use super::{StoreError, conversation, refused, row, schema};
use crate::findings::{Finding, FindingId};
use crate::model::{RunMeta, RunState};

pub use stored::Stored;

/// A run's database, open for reading.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    version: i64,
    meta: RunMeta,
    state: RunState,
    ended_at: Option<String>,
    stopped_by: Option<StoppedBy>,
}

impl Reader {
    /// Open a database.
    ///
    /// # Errors
    /// When the file is missing, no run's database, damaged, or of a later format.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            return Err(StoreError::Missing {
                path: path.to_owned(),
            });
        }
        let (connection, version) = connect(path)?;
        let meta = needed(&connection, path, "meta")?;
        let meta = serde_json::from_str(&meta).map_err(|e| StoreError::Damaged {
            path: path.to_owned(),
            what: format!("what is known of the run cannot be read: {e}"),
        })?;
        let state = needed(&connection, path, "state")?;
        let state = RunState::from_name(&state).ok_or_else(|| StoreError::Damaged {
            path: path.to_owned(),
            what: format!("the run's state `{state}` is unknown"),
        })?;
        Ok(Self {
            path: path.to_owned(),
            ended_at: value(&connection, path, "ended_at")?,
            stopped_by: value(&connection, path, "stopped_by")?
                .and_then(|name| StoppedBy::from_name(&name)),
            connection,
            version,
            meta,
            state,
        })
    }

    /// What is known of the run.
    #[must_use]
    pub fn meta(&self) -> &RunMeta {
        &self.meta
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether it has the form that this version writes.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.version == schema::VERSION
    }

    /// When its load began at a common start; `None` without one.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn began(&self) -> Result<Option<Began>, StoreError> {
        let json = value(&self.connection, &self.path, "began")?;
        json.map(|json| {
            serde_json::from_str(&json).map_err(|e| StoreError::Damaged {
                path: self.path.clone(),
                what: format!("when its load began cannot be read: {e}"),
            })
        })
        .transpose()
    }

    /// How far it came.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.state
    }

    /// When it ended: RFC 3339, local time with offset; `None` for a run that was killed, and for
    /// one of an earlier version of this program.
    #[must_use]
    pub fn ended_at(&self) -> Option<&str> {
        self.ended_at.as_deref()
    }

    /// What ended it before its number, its time and its profile.
    #[must_use]
    pub fn stopped_by(&self) -> Option<StoppedBy> {
        self.stopped_by
    }

    /// Requests of a phase.
    ///
    /// # Errors
    /// When SQLite cannot read the file.
    pub fn count(&self, phase: Phase) -> Result<u64, StoreError> {
        let count: i64 = self
            .connection
            .query_row(
                &format!(
                    "SELECT count(*) FROM {} WHERE phase = ?",
                    schema::table(phase, self.version)
                ),
                [phase.as_str()],
                |row| row.get(0),
            )
            .map_err(refused(&self.path, "count the requests"))?;
        Ok(count.cast_unsigned())
    }

    /// The names of the models that requests ask for, by their numbers; none in files of earlier versions.
    ///
    /// # Errors
    /// When SQLite cannot read the file.
    pub fn models(&self) -> Result<Vec<String>, StoreError> {
        if self.version < 6 {
            return Ok(Vec::new());
        }
        let doing = refused(&self.path, "read the names of models");
        let select = self.connection.prepare(schema::SELECT_MODELS);
        let mut select = select.map_err(&doing)?;
        let names = select.query_map([], |row| row.get(0)).map_err(&doing)?;
        names.collect::<Result<_, _>>().map_err(&doing)
    }

    /// The most GPU memory that a server started here has taken, GB.
    ///
    /// # Errors
    /// When SQLite cannot read the file.
    pub fn gpu_memory_gb(&self) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT max(max_gpu_memory_cost) FROM result";
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(refused(&self.path, "read the memory of the GPUs"))
    }

    /// The client's last figures; `None` for a run killed before the first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn client(&self) -> Result<Option<ClientSnapshot>, StoreError> {
        let json: Option<String> = self
            .connection
            .query_row("SELECT value FROM client", [], |row| row.get(0))
            .optional()
            .map_err(refused(&self.path, "read the client's figures"))?;
        json.map(|json| {
            serde_json::from_str(&json).map_err(|e| StoreError::Damaged {
                path: self.path.clone(),
                what: format!("the client's figures cannot be read: {e}"),
            })
        })
        .transpose()
    }

    /// What the run warned of, in order.
    ///
    /// # Errors
    /// When SQLite cannot read the file.
    pub fn warnings(&self) -> Result<Vec<Finding>, StoreError> {
        let doing = refused(&self.path, "read the warnings");
        let has_ids: bool = self
            .connection
            .query_row(schema::HAS_FINDING, [], |row| row.get(0))
            .map_err(&doing)?;
        let finding = if has_ids { "finding" } else { "NULL" };
        let mut statement = self
            .connection
            .prepare(&format!("SELECT text, {finding} FROM warning ORDER BY id"))
            .map_err(&doing)?;
        let rows = statement
            .query_map([], |row| {
                let id: Option<String> = row.get(1)?;
                let id = id.map_or(FindingId::Other, |id| FindingId::from_name(&id));
                Ok(Finding::new(id, row.get::<_, String>(0)?))
            })
            .map_err(&doing)?;
        rows.collect::<Result<_, _>>().map_err(&doing)
    }

    /// Hand every record of a phase to `sink`, by index, each with the number
    /// of its row. One record is in memory at a time.
    ///
    /// # Errors
    /// When a row cannot be read, or when `sink` fails.
    pub fn for_each(
        &self,
        phase: Phase,
        sink: impl FnMut(i64, RequestRecord) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.for_each_record(phase, sink)
    }

    /// The same for what can fail in other ways, too.
    pub(crate) fn for_each_record<E: From<StoreError>>(
        &self,
        phase: Phase,
        sink: impl FnMut(i64, RequestRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        self.for_each_of(phase, &schema::select(phase, self.version), 0, sink)
    }

    /// The same in any order and without what charts do not need.
    ///
    /// # Errors
    /// When a row cannot be read, or when `sink` fails.
    pub fn for_each_for_charts(
        &self,
        phase: Phase,
        sink: impl FnMut(i64, RequestRecord) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let select = schema::select_for_charts(phase, self.version);
        self.for_each_of(phase, &select, schema::null_for_charts(self.version), sink)
    }

    fn for_each_of<E: From<StoreError>>(
        &self,
        phase: Phase,
        select: &str,
        null: u64,
        mut sink: impl FnMut(i64, RequestRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let doing = refused(&self.path, "read the requests");
        let mut statement = self.connection.prepare(select).map_err(&doing)?;
        let mut rows = statement.query([]).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            let (rowid, record) = self.record_of(phase, row, null)?;
            sink(rowid, record)?;
        }
        Ok(())
    }

    /// The record in a row that begins with its number and the columns of a record.
    fn record_of(
        &self,
        phase: Phase,
        row: &rusqlite::Row<'_>,
        null: u64,
    ) -> Result<(i64, RequestRecord), StoreError> {
        let rowid = row
            .get(0)
            .map_err(refused(&self.path, "read the requests"))?;
        let format = if self.version < 3 {
            EventLogFormat::V1
        } else {
            EventLogFormat::V2
        };
        let record = row::read(row, format, null).map_err(|(column, why)| StoreError::Damaged {
            path: self.path.clone(),
            what: format!(
                "row {rowid} of `{}`, column `{}`: {why}",
                schema::table(phase, self.version),
                schema::record_columns().nth(column - 1).unwrap_or("?")
            ),
        })?;
        Ok((rowid, record))
    }

    /// Hand every conversation of a phase that has ended to `sink`, in dataset order.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn for_each_conversation(
        &self,
        phase: Phase,
        mut sink: impl FnMut(ConversationRecord),
    ) -> Result<(), StoreError> {
        if self.version < 4 {
            return Ok(());
        }
        let doing = refused(&self.path, "read the conversations");
        let mut statement = self
            .connection
            .prepare(conversation::SELECT)
            .map_err(&doing)?;
        let mut rows = statement.query([phase.as_str()]).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            sink(
                conversation::read(row, phase).map_err(|why| StoreError::Damaged {
                    path: self.path.clone(),
                    what: format!("table `conversation`: {why}"),
                })?,
            );
        }
        Ok(())
    }

    /// What the server said when the request in this row of the measured ones failed.
    ///
    /// # Errors
    /// When SQLite cannot read the file.
    pub fn error_excerpt(&self, rowid: i64) -> Result<Option<String>, StoreError> {
        self.connection
            .query_row(
                &format!(
                    "SELECT error_excerpt FROM {} WHERE rowid = ?",
                    schema::table(Phase::Measured, self.version)
                ),
                [rowid],
                |row| row.get(0),
            )
            .map_err(refused(&self.path, "read what a server said"))
    }
}

/// A run that was killed leaves its rows, and even its tables, in the journal beside the file.
fn why_not_ours(connection: &Connection) -> &'static str {
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0));
    match tables {
        Ok(0_i64) => {
            "it has no tables; the database of a killed run has to be copied together with its `-wal` file"
        }
        _ => "another program wrote it",
    }
}

/// Open the file and check that it is a database of this program.
fn connect(path: &Path) -> Result<(Connection, i64), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut opened = Connection::open_with_flags(path, flags).and_then(checked_by);
    if matches!(&opened, Err(error) if cannot_share(error)) {
        if journal_left(path) {
            return Err(StoreError::Apart {
                path: path.to_owned(),
            });
        }
        // a folder that cannot be written has no room for the files that
        // readers share; without a journal the file itself is complete
        opened =
            Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)
                .and_then(checked_by);
    }
    let (connection, application, version) = opened.map_err(|source| {
        if source.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
            StoreError::NotOurs {
                path: path.to_owned(),
                why: "it is not an SQLite file".to_owned(),
            }
        } else {
            refused(path, "open the database for reading")(source)
        }
    })?;
    if application != schema::APPLICATION_ID {
        return Err(StoreError::NotOurs {
            path: path.to_owned(),
            why: why_not_ours(&connection).to_owned(),
        });
    }
    if version > schema::VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
            known: schema::VERSION,
        });
    }
    Ok((connection, version))
}

fn checked_by(connection: Connection) -> rusqlite::Result<(Connection, i64, i64)> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = pragma("application_id")?;
    let version = pragma("user_version")?;
    Ok((connection, application, version))
}

fn cannot_share(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

fn journal_left(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).is_ok_and(|file| file.len() > 0)
}

/// The file as a URI that promises SQLite that nothing writes to it.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => {
                let _infallible = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// A value of the table `run`, if it is there.
fn value(connection: &Connection, path: &Path, key: &str) -> Result<Option<String>, StoreError> {
    connection
        .query_row("SELECT value FROM run WHERE key = ?", [key], |row| {
            row.get(0)
        })
        .optional()
        .map_err(refused(path, "read what is known of the run"))
}

/// A value of the table `run` that every file has.
fn needed(connection: &Connection, path: &Path, key: &str) -> Result<String, StoreError> {
    value(connection, path, key)?.ok_or_else(|| StoreError::Damaged {
        path: path.to_owned(),
        what: format!("table `run` has no `{key}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_hides_what_means_something_in_one() {
        assert_eq!(
            immutable_uri(Path::new("/a b/50%?/x.db")),
            "file:/a%20b/50%25%3f/x.db?immutable=1"
        );
    }
}
