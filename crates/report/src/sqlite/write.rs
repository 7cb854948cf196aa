//! Owns writing a run's database while the run is under way: one thread, one
//! connection, a transaction that never stays open for long.
//!
//! It must not know where records come from, nor what a row looks like inside.

use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evalscope_model::events::{RunEvent, Warning};
use evalscope_model::record::{Bodies, Exchange};
use evalscope_model::time::monotonic_ns;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::encode::Encoder;
use super::row;
use super::{StoreError, refused, schema};
use crate::findings::FindingId;
use crate::model::{RecordBodies, RunMeta, RunState};
use evalscope_model::plan::StoppedBy;

/// Bytes of a page. Every page is two system calls on its way to the journal
/// and one to the file. For rows of 45 KiB (128 recorded events) the system's
/// time was 1.2 µs an event with pages of 4 KiB, 0.9 with 8, 0.6 with 16, 0.43
/// with 32, and the same with 64; the file's size does not change.
const PAGE_BYTES: u32 = 32_768;

/// Pages the journal holds before they are moved to the file: 16 MiB, which
/// stay in the system's cache.
const JOURNAL_PAGES: u32 = 512;

/// Pages in memory, KiB. Small on purpose: a page is filled once and not read
/// again; from 1 to 16 MiB no difference could be measured.
const CACHE_KIB: i32 = 4096;

/// The longest a stored row waits for its commit, nanoseconds.
const COMMIT_EVERY_NS: u64 = 1_000_000_000;

/// Rows in one transaction: the journal can only be moved to the file, and its
/// room used again, between two.
const COMMIT_EVERY_ROWS: u32 = 256;

/// Bodies of one request larger than this together are not stored: SQLite takes values of 10⁹
/// bytes, and the stored form is longer by a third.
const MOST_BODY_BYTES: usize = 512 << 20;

/// A run's database, being written.
pub struct Database {
    path: PathBuf,
    connection: Connection,
    meta: RunMeta,
    gpu_peak_mib: Option<Arc<AtomicU64>>,
    most_body_bytes: usize,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Make a new database for a run; its state is [`RunState::Running`].
    ///
    /// # Errors
    /// When the file exists, or cannot be made.
    pub fn create(path: &Path, meta: &RunMeta) -> Result<Self, StoreError> {
        // SQLite has no "only if new": take the name first
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => StoreError::Exists {
                    path: path.to_owned(),
                },
                _ => StoreError::Io {
                    path: path.to_owned(),
                    doing: "create the database",
                    source,
                },
            })?;
        let doing = refused(path, "set up the database");
        let connection = open_for_writing(path)?;
        connection
            .execute_batch(&format!(
                "PRAGMA page_size = {PAGE_BYTES};\n\
                 {}\
                 PRAGMA journal_mode = WAL;\n\
                 PRAGMA synchronous = NORMAL;\n\
                 PRAGMA wal_autocheckpoint = {JOURNAL_PAGES};\n\
                 PRAGMA cache_size = -{CACHE_KIB};\n\
                 PRAGMA temp_store = MEMORY;\n\
                 PRAGMA application_id = {};\n\
                 PRAGMA user_version = {};\n\
                 BEGIN;\n{}COMMIT;",
                if is_on_network(path) {
                    // the file that readers share there does not work over a network
                    "PRAGMA locking_mode = EXCLUSIVE;\n"
                } else {
                    ""
                },
                schema::APPLICATION_ID,
                schema::VERSION,
                schema::create(meta.clock.wall_start_ns)
            ))
            .map_err(&doing)?;
        let json = serde_json::to_string(meta).map_err(|e| StoreError::Encode {
            path: path.to_owned(),
            what: "what is known of the run",
            why: e.to_string(),
        })?;
        for (key, value) in [
            ("meta", json.as_str()),
            ("state", RunState::Running.as_str()),
        ] {
            connection
                .execute("INSERT INTO run VALUES (?, ?)", [key, value])
                .map_err(&doing)?;
        }
        for (id, name) in (0u16..).zip(&meta.urls) {
            connection
                .execute(schema::INSERT_URL, params![id, name])
                .map_err(&doing)?;
        }
        Ok(Self {
            path: path.to_owned(),
            connection,
            meta: meta.clone(),
            gpu_peak_mib: None,
            most_body_bytes: MOST_BODY_BYTES,
        })
    }

    #[cfg(test)]
    pub(super) fn with_most_body_bytes(mut self, bytes: usize) -> Self {
        self.most_body_bytes = bytes;
        self
    }

    /// Note with each request how much memory of GPUs the server has taken at most, MiB; 0 for not
    /// known.
    #[must_use]
    pub fn with_gpu_memory(mut self, peak_mib: Option<Arc<AtomicU64>>) -> Self {
        self.gpu_peak_mib = peak_mib;
        self
    }

    /// The connection, for what writes in another way.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Store events until there are no more, then close the file. Blocks: give it a thread of its
    /// own.
    ///
    /// Rows are committed when a snapshot comes, and a second after the last commit at the latest
    /// while rows come; a process that is killed loses no more than that.
    ///
    /// # Errors
    /// If SQLite refuses a write, for example because the disk is full. No more events are taken
    /// then, and what was stored before stays readable.
    pub fn run(self, events: impl IntoIterator<Item = RunEvent>) -> Result<(), StoreError> {
        // the events are dropped at the end, which tells their sender of a failure
        let stored = self.store_all(events);
        let closed = self.close();
        stored.and(closed)
    }

    fn store_all(&self, events: impl IntoIterator<Item = RunEvent>) -> Result<(), StoreError> {
        let connection = &self.connection;
        let prepare = |sql: &str| {
            connection
                .prepare(sql)
                .map_err(refused(&self.path, "prepare to write"))
        };
        let mut insert = prepare(&schema::insert())?;
        let mut warning = prepare(schema::INSERT_WARNING)?;
        let mut conversation = prepare(super::conversation::INSERT)?;
        let mut client = prepare(
            "INSERT INTO client VALUES (1, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?;
        let mut encoder = Encoder::new();
        let mut transaction = Transaction::new(self);
        for event in events {
            transaction.begin()?;
            match event {
                RunEvent::Exchange(mut exchange) => {
                    if let Some(why) = self.insert(&mut insert, &mut exchange, &mut encoder)? {
                        warning
                            .execute([why.as_str(), FindingId::BodiesNotStored.as_str()])
                            .map_err(refused(&self.path, "store a warning"))?;
                    }
                    transaction.stored_row()?;
                }
                RunEvent::Conversation(record) => {
                    super::conversation::insert(&mut conversation, &record)
                        .map_err(refused(&self.path, "store a conversation"))?;
                    transaction.stored_row()?;
                }
                RunEvent::Snapshot(snapshot) => {
                    let json = serde_json::to_string(&snapshot.client).map_err(|e| {
                        StoreError::Encode {
                            path: self.path.clone(),
                            what: "the client's figures",
                            why: e.to_string(),
                        }
                    })?;
                    client
                        .execute([json])
                        .map_err(refused(&self.path, "store the client's figures"))?;
                    transaction.commit()?;
                }
                RunEvent::Began(began) => {
                    let json = serde_json::to_string(&began).map_err(|e| StoreError::Encode {
                        path: self.path.clone(),
                        what: "when the load began",
                        why: e.to_string(),
                    })?;
                    connection
                        .execute("INSERT OR REPLACE INTO run VALUES ('began', ?)", [json])
                        .map_err(refused(&self.path, "store when the load began"))?;
                    transaction.commit()?;
                }
                RunEvent::Model(model) => {
                    connection
                        .execute(schema::INSERT_MODEL, params![model.id.0, model.name])
                        .map_err(refused(&self.path, "store the name of a model"))?;
                }
                RunEvent::Warning(Warning { id, text }) => {
                    warning
                        .execute([text.as_str(), id])
                        .map_err(refused(&self.path, "store a warning"))?;
                }
            }
        }
        transaction.commit()
    }

    /// Store a request: without its bodies where these cannot be stored, and then says why. The
    /// record is what must not be lost.
    fn insert(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        exchange: &mut Exchange,
        encoder: &mut Encoder,
    ) -> Result<Option<String>, StoreError> {
        let bytes = exchange.bodies.bytes();
        let mut without = (bytes > self.most_body_bytes).then(|| {
            format!(
                "they have {bytes} bytes, at most {} are kept",
                self.most_body_bytes
            )
        });
        if without.is_none() {
            match self.insert_row(statement, exchange, self.meta.record_bodies, encoder) {
                Ok(()) => return Ok(None),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                    without = Some(error.to_string());
                }
                Err(error) => return Err(refused(&self.path, "store a request")(error)),
            }
        }
        exchange.bodies = Bodies::default();
        self.insert_row(statement, exchange, RecordBodies::None, encoder)
            .map_err(refused(&self.path, "store a request"))?;
        Ok(without.map(|why| {
            format!(
                "the bodies of request {} could not be stored: {why}",
                exchange.record.index
            )
        }))
    }

    fn insert_row(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        exchange: &Exchange,
        bodies: RecordBodies,
        encoder: &mut Encoder,
    ) -> rusqlite::Result<()> {
        let peak_mib = self.gpu_peak_mib.as_ref();
        let peak_mib = peak_mib.map_or(0, |peak| peak.load(Ordering::Relaxed));
        // GiB, which the column's readers know as GB
        let gpu_memory = (peak_mib > 0).then_some(peak_mib as f64 / 1024.0);
        row::insert(statement, exchange, bodies, gpu_memory, encoder)
    }

    /// Leave one file that can be read anywhere, also in a read-only folder.
    fn close(self) -> Result<(), StoreError> {
        let doing = refused(&self.path, "close the database");
        if !self.connection.is_autocommit() {
            // a failed write: keep the rows before it
            self.connection.execute_batch("COMMIT").map_err(&doing)?;
        }
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(&doing);
        // someone else reading the file keeps it in this mode: no harm
        let _still_wal: Result<String, _> =
            self.connection
                .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0));
        checkpoint?;
        self.connection.close().map_err(|(_, source)| doing(source))
    }
}

/// The open transaction, if there is one.
struct Transaction<'a> {
    database: &'a Database,
    open: bool,
    rows: u32,
    last_commit_ns: u64,
}

impl<'a> Transaction<'a> {
    fn new(database: &'a Database) -> Self {
        Self {
            database,
            open: false,
            rows: 0,
            last_commit_ns: monotonic_ns(),
        }
    }

    fn execute(&self, sql: &str, doing: &'static str) -> Result<(), StoreError> {
        self.database
            .connection
            .execute_batch(sql)
            .map_err(refused(&self.database.path, doing))
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.open {
            self.execute("BEGIN", "begin to write")?;
            self.open = true;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if self.open {
            self.execute("COMMIT", "commit what was measured")?;
            self.open = false;
            self.rows = 0;
            self.last_commit_ns = monotonic_ns();
        }
        Ok(())
    }

    /// A row is in: commit when there are enough, or the last is long ago.
    fn stored_row(&mut self) -> Result<(), StoreError> {
        self.rows += 1;
        if self.rows >= COMMIT_EVERY_ROWS
            || monotonic_ns().saturating_sub(self.last_commit_ns) >= COMMIT_EVERY_NS
        {
            self.commit()?;
        }
        Ok(())
    }
}

/// Whether a file lies on another machine, as far as the system says so.
#[cfg(target_os = "linux")]
fn is_on_network(path: &Path) -> bool {
    use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
    /// `CIFS_SUPER_MAGIC` and `SMB2_SUPER_MAGIC` of the kernel's `magic.h`.
    const NEWER_SMB: [FsType; 2] = [FsType(0xff53_4d42), FsType(0xfe53_4d42)];
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    statfs(folder.unwrap_or(Path::new("."))).is_ok_and(|system| {
        let kind = system.filesystem_type();
        kind == NFS_SUPER_MAGIC || kind == SMB_SUPER_MAGIC || NEWER_SMB.contains(&kind)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_on_network(_: &Path) -> bool {
    false
}

fn open_for_writing(path: &Path) -> Result<Connection, StoreError> {
    Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(refused(path, "open the database for writing"))
}

/// Store how and when a run ended (RFC 3339), and what ended it early, once [`Database::run`] has returned.
///
/// # Errors
/// When the file is not there, not a run's database, or cannot be written.
pub fn set_end(
    path: &Path,
    state: RunState,
    ended_at: &str,
    stopped_by: Option<StoppedBy>,
) -> Result<(), StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let doing = refused(path, "store how the run ended");
    let mut connection = open_for_writing(path)?;
    let all = connection.transaction().map_err(&doing)?;
    let stopped_by = stopped_by.map(|why| ("stopped_by", why.as_str()));
    let facts = [("state", state.as_str()), ("ended_at", ended_at)];
    for (key, value) in facts.into_iter().chain(stopped_by) {
        all.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", [key, value])
            .map_err(&doing)?;
    }
    all.commit().map_err(&doing)
}
