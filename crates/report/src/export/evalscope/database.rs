//! Owns EvalScope's database of requests: one table, a row for each request in the order in which
//! they ended. What the other files need of the rows is gathered on the way.
//!
//! It must not know how bodies are encoded, nor what the rows add up to.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use evalscope_model::metrics::Metric;
use evalscope_model::record::{Phase, RequestRecord};

use rusqlite::{Connection, params};

use super::gaps::Gaps;
use super::moments::{completion, start, unix_s};
use super::{bodies, python};
use crate::export::ExportError;
use crate::model::RunMeta;
use crate::sqlite::{Reader, StoreError, Stored, refused};
use crate::workload::Workload;

/// As `create_result_table` writes it, blanks included.
const CREATE: &str = "CREATE TABLE result(
                      request TEXT,
                      start_time REAL,
                      inter_token_latencies TEXT,
                      success INTEGER,
                      response_messages TEXT,
                      completed_time REAL,
                      latency REAL,
                      first_chunk_latency REAL,
                      prompt_tokens INTEGER,
                      completion_tokens INTEGER,
                      max_gpu_memory_cost REAL,
                      time_per_output_token REAL,
                      request_id TEXT,
                      is_stream INTEGER
                   )";

/// `request_id` is only that of a recorded workload.
const INSERT: &str = "INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)";

/// The table that was written.
pub(super) struct Table {
    path: PathBuf,
    connection: Connection,
}

impl Table {
    fn create(path: &Path) -> Result<Self, StoreError> {
        let doing = refused(path, "make the database");
        let connection = Connection::open(path).map_err(&doing)?;
        connection.execute_batch(CREATE).map_err(&doing)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    /// What a query of one column of numbers gives.
    pub(super) fn numbers(&self, sql: &str) -> Result<Vec<f64>, StoreError> {
        self.rows(sql, |row| row.get(0))
    }

    /// What a query gives.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let doing = refused(&self.path, "read the rows");
        let mut statement = self.connection.prepare(sql).map_err(&doing)?;
        let rows = statement.query_map([], read).map_err(&doing)?;
        rows.collect::<Result<_, _>>().map_err(&doing)
    }

    pub(super) fn close(self) -> Result<(), StoreError> {
        let closed = self.connection.close();
        closed.map_err(|(_, source)| refused(&self.path, "close the database")(source))
    }
}

/// Requests by kind of response, failed ones included.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) streamed: u64,
    pub(super) whole: u64,
}

/// What EvalScope always has, and these rows do not.
#[derive(Default)]
pub(super) struct Missing {
    /// Requests without their bodies.
    pub(super) bodies: u64,
    /// Successes of which a number of tokens is not known.
    pub(super) tokens: u64,
    /// Streamed successes without a token.
    pub(super) first_token: u64,
}

/// What is about the hand-off from prefill to decode, nanoseconds.
pub(super) struct Handoff {
    pub(super) steady: Gaps,
    pub(super) latencies: Vec<f64>,
    pub(super) overheads: Vec<f64>,
}

impl Handoff {
    fn new() -> Self {
        Self {
            steady: Gaps::new(),
            latencies: Vec::new(),
            overheads: Vec::new(),
        }
    }

    fn push(&mut self, record: &RequestRecord) {
        Metric::SteadyItl.samples(record, |gap_ns| self.steady.push(whole(gap_ns)));
        let latency = Metric::PdHandoffLatency.of_request(record);
        let overhead = Metric::PdHandoffOverhead.of_request(record);
        self.latencies.extend(latency);
        self.overheads.extend(overhead);
    }
}

/// A database, and what was gathered of its rows.
pub(super) struct Rows {
    pub(super) table: Table,
    pub(super) streams: Streams,
    pub(super) gaps: Gaps,
    /// With `--enable-pd-metrics`.
    pub(super) handoff: Option<Handoff>,
    pub(super) workload: Workload,
    pub(super) missing: Missing,
}

/// Write the measured requests of a database that succeeded or failed: EvalScope has no place for
/// those that were never sent, or given up.
pub(super) fn write(from: &Path, to: &Path) -> Result<Rows, ExportError> {
    let reader = Reader::open(from)?;
    let mut rows = Rows {
        table: Table::create(to)?,
        streams: Streams::default(),
        gaps: Gaps::new(),
        handoff: reader.meta().reports_handoff().then(Handoff::new),
        workload: Workload::new(usize::MAX),
        missing: Missing::default(),
    };
    let doing = refused(to, "write the requests");
    let transaction = rows
        .table
        .connection
        .unchecked_transaction()
        .map_err(&doing)?;
    let mut insert = transaction.prepare(INSERT).map_err(&doing)?;
    reader.for_each_stored(Phase::Measured, |record, stored| {
        let given_up = record.failure.as_ref();
        let given_up = given_up.is_some_and(|failure| failure.kind.is_given_up());
        if !record.dispatched() || given_up {
            return Ok(());
        }
        let row = Row::of(record, reader.meta(), &mut rows.missing);
        if row.is_stream {
            rows.streams.streamed += 1;
        } else {
            rows.streams.whole += 1;
        }
        if record.succeeded() {
            Metric::Itl.samples(record, |gap_ns| rows.gaps.push(whole(gap_ns)));
            if let Some(handoff) = &mut rows.handoff {
                handoff.push(record);
            }
            rows.workload.push(record);
        }
        row.insert(&mut insert, &stored, &mut rows.missing)
            .map_err(&doing)
    })?;
    drop(insert);
    transaction.commit().map_err(&doing)?;
    Ok(rows)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "gaps are whole nanoseconds, and none is negative"
)]
fn whole(gap_ns: f64) -> u64 {
    gap_ns as u64
}

/// What only a success has.
struct Success {
    latency: f64,
    first_chunk_latency: f64,
    prompt_tokens: u64,
    completion_tokens: u64,
    time_per_output_token: f64,
}

struct Row {
    start_time: f64,
    completed_time: f64,
    inter_token_latencies: String,
    is_stream: bool,
    turn: u32,
    success: Option<Success>,
}

impl Row {
    fn of(record: &RequestRecord, meta: &RunMeta, missing: &mut Missing) -> Self {
        Self {
            start_time: unix_s(&meta.clock, start(record)),
            completed_time: unix_s(&meta.clock, completion(record)),
            inter_token_latencies: inter_token_latencies(record),
            // of a failure that is what was asked for, whatever the error came as
            is_stream: record.streamed || (!record.succeeded() && meta.stream),
            turn: record.turn.map_or(0, |place| place.turn),
            success: record.succeeded().then(|| Success::of(record, missing)),
        }
    }

    fn insert(
        &self,
        statement: &mut rusqlite::Statement<'_>,
        stored: &Stored,
        missing: &mut Missing,
    ) -> rusqlite::Result<()> {
        let request = bodies::request(stored, self.turn);
        let messages = bodies::messages(stored);
        missing.bodies += u64::from(request.is_none());
        let success = self.success.as_ref();
        let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        statement.execute(params![
            request,
            self.start_time,
            self.inter_token_latencies,
            success.is_some(),
            bodies::column(messages.unwrap_or_default()),
            self.completed_time,
            success.map(|success| success.latency),
            success.map(|success| success.first_chunk_latency),
            success.map(|success| tokens(success.prompt_tokens)),
            success.map(|success| tokens(success.completion_tokens)),
            success.map(|_| stored.gpu_memory_gb.unwrap_or(0.0)),
            success.map(|success| success.time_per_output_token),
            self.is_stream,
        ])?;
        Ok(())
    }
}

impl Success {
    /// Where EvalScope has 0 for what does not exist, this has too.
    fn of(record: &RequestRecord, missing: &mut Missing) -> Self {
        let seconds = |metric: Metric| metric.of_request(record).map(|ns| ns / 1e9);
        let latency = seconds(Metric::Latency).unwrap_or(0.0);
        let first_token = seconds(Metric::Ttft);
        let (prompt, output) = (record.prompt_tokens().0, record.output_tokens().0);
        missing.tokens += u64::from(prompt.is_none() || output.is_none());
        missing.first_token += u64::from(record.streamed && first_token.is_none());
        Self {
            latency,
            first_chunk_latency: if record.streamed {
                first_token.unwrap_or(0.0)
            } else {
                latency
            },
            prompt_tokens: prompt.unwrap_or(0),
            completion_tokens: output.unwrap_or(0),
            time_per_output_token: seconds(Metric::Tpot).unwrap_or(0.0),
        }
    }
}

/// A JSON list of the gaps between token-bearing events, seconds; those of a failure as far as it
/// came.
fn inter_token_latencies(record: &RequestRecord) -> String {
    let record = if record.succeeded() {
        Cow::Borrowed(record)
    } else {
        // the metric counts successes only
        let mut copy = record.clone();
        copy.failure = None;
        Cow::Owned(copy)
    };
    let mut text = String::from("[");
    Metric::Itl.samples(&record, |gap_ns| {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(&python::float(gap_ns / 1e9));
    });
    text.push(']');
    text
}
