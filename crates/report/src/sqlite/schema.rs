//! Owns the tables: their columns, in order, and the SQL that makes them.
//!
//! It must not know where a column's value comes from.

use std::fmt::Write as _;

/// Stored in the file's `user_version`.
pub(super) const VERSION: i64 = 3;

/// Stored in the file's `application_id`: "EVSP".
pub(super) const APPLICATION_ID: i64 = 0x4556_5350;

/// Tables of requests, one for each phase; their columns are the same.
pub(super) const MEASURED: &str = "result";
/// See [`MEASURED`].
pub(super) const WARMUP: &str = "warmup";

/// Names and types of the columns of a request, in order.
///
/// The first [`RECORD_COLUMNS`] hold the record, the wide ones come after:
/// SQLite keeps the head of a row in the table's own pages and chains the rest
/// behind it, so whoever reads only the head never follows a chain.
pub(super) const COLUMNS: [(&str, &str); 53] = [
    ("idx", "INTEGER NOT NULL"),
    ("phase", "TEXT NOT NULL"),
    ("success", "TEXT NOT NULL"),
    ("start_time", "REAL"),
    ("completed_time", "REAL"),
    ("latency", "REAL"),
    ("first_chunk_latency", "REAL"),
    ("time_per_output_token", "REAL"),
    ("n_chunks", "INTEGER"),
    ("chunk_time", "REAL"),
    ("prompt_tokens", "INTEGER"),
    ("completion_tokens", "INTEGER"),
    ("token_source", "TEXT"),
    ("prompt_token_source", "TEXT"),
    ("asked_prompt_tokens", "INTEGER"),
    ("counted_prompt_tokens", "INTEGER"),
    ("counted_completion_tokens", "INTEGER"),
    ("cached_tokens", "INTEGER"),
    ("reasoning_tokens", "INTEGER"),
    ("max_gpu_memory_cost", "REAL"),
    ("is_stream", "INTEGER"),
    ("http_status", "INTEGER"),
    ("finish_reason", "TEXT"),
    ("request_id", "TEXT"),
    ("answer_model", "TEXT"),
    ("ending", "TEXT"),
    ("skipped_events", "INTEGER"),
    ("compressed", "INTEGER"),
    ("peer", "TEXT"),
    ("reasoning_from_total", "INTEGER"),
    ("error_kind", "TEXT"),
    ("error_text", "TEXT"),
    ("clock", "TEXT"),
    ("scheduled_ns", "INTEGER"),
    ("slot_free_ns", "INTEGER"),
    ("dispatched_ns", "INTEGER"),
    ("connected_ns", "INTEGER"),
    ("write_begun_ns", "INTEGER"),
    ("write_done_ns", "INTEGER"),
    ("first_byte_ns", "INTEGER"),
    ("headers_ns", "INTEGER"),
    ("last_data_ns", "INTEGER"),
    ("ended_ns", "INTEGER"),
    ("connection_reused", "INTEGER"),
    ("dns_ns", "INTEGER"),
    ("tcp_ns", "INTEGER"),
    ("tls_ns", "INTEGER"),
    ("events", "BLOB"),
    ("chunk_times", "TEXT"),
    ("request", "TEXT"),
    ("response_messages", "TEXT"),
    ("final_event", "TEXT"),
    ("error_excerpt", "TEXT"),
];

/// How many of [`COLUMNS`] are the record: up to and with `events`.
pub(super) const RECORD_COLUMNS: usize = 48;

/// Columns that came with format 3.
pub(super) const SINCE_3: [&str; 6] = [
    "answer_model",
    "ending",
    "skipped_events",
    "compressed",
    "peer",
    "reasoning_from_total",
];

/// The requests with plain names, each with its unit.
const VIEW: &str = "
CREATE VIEW requests AS SELECT
  idx,
  success = 'True' AS succeeded,
  error_kind,
  error_text,
  http_status,
  is_stream AS streamed,
  finish_reason,
  prompt_tokens AS input_tokens,
  completion_tokens AS output_tokens,
  token_source AS output_tokens_source,
  prompt_token_source AS input_tokens_source,
  asked_prompt_tokens AS asked_input_tokens,
  counted_prompt_tokens AS counted_input_tokens,
  counted_completion_tokens AS counted_output_tokens,
  cached_tokens,
  reasoning_tokens,
  n_chunks AS events,
  first_chunk_latency * 1e3 AS ttft_ms,
  latency * 1e3 AS latency_ms,
  time_per_output_token * 1e3 AS tpot_ms,
  chunk_time * 1e3 AS event_gap_mean_ms,
  CASE WHEN latency > 0 THEN completion_tokens / latency END AS output_tok_per_s,
  CASE WHEN success = 'True' THEN (last_data_ns - scheduled_ns) / 1e6
       WHEN error_kind = 'not_sent' THEN (ended_ns - scheduled_ns) / 1e6 END AS latency_from_schedule_ms,
  (dispatched_ns - scheduled_ns) / 1e6 AS dispatch_lag_ms,
  (dispatched_ns - max(scheduled_ns, slot_free_ns)) / 1e6 AS client_lag_ms,
  slot_free_ns > scheduled_ns AS waited_for_slot,
  connection_reused,
  CASE WHEN NOT connection_reused THEN (connected_ns - dispatched_ns) / 1e6 END AS connect_ms,
  dns_ns / 1e6 AS dns_ms,
  tcp_ns / 1e6 AS tcp_ms,
  tls_ns / 1e6 AS tls_ms,
  (write_done_ns - write_begun_ns) / 1e6 AS send_ms,
  (first_byte_ns - write_begun_ns) / 1e6 AS first_byte_ms,
  (headers_ns - write_begun_ns) / 1e6 AS headers_ms,
  start_time AS sent_at_unix_s,
  completed_time AS completed_at_unix_s,
  clock AS arrival_clock,
  request_id AS response_id,
  answer_model,
  ending,
  skipped_events,
  compressed,
  peer
FROM result;
";

/// The statements that make an empty database.
pub(super) fn create() -> String {
    let mut sql = String::from(
        "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;\n\
         CREATE TABLE client (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL);\n\
         CREATE TABLE warning (id INTEGER PRIMARY KEY, text TEXT NOT NULL);\n",
    );
    for table in [MEASURED, WARMUP] {
        let columns: Vec<String> = COLUMNS.map(|(name, kind)| format!("{name} {kind}")).into();
        // rows are kept in the order they ended in, which is the cheapest to
        // write; the index puts them back into the order of the run
        let _infallible = write!(
            sql,
            "CREATE TABLE {table} ({});\nCREATE INDEX {table}_by_idx ON {table} (idx);\n",
            columns.join(", ")
        );
    }
    sql.push_str(VIEW);
    sql
}

/// The statement that stores a request.
pub(super) fn insert(table: &str) -> String {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let marks = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO {table} ({names}) VALUES ({marks})")
}

/// The query of all records of a table of a file of some version, each after its row's number.
/// What the file has no column for is null.
pub(super) fn select(table: &str, version: i64) -> String {
    let names: Vec<&str> = COLUMNS[..RECORD_COLUMNS]
        .iter()
        .map(|(name, _)| match version {
            ..3 if SINCE_3.contains(name) => "NULL",
            _ => name,
        })
        .collect();
    format!(
        "SELECT rowid, {} FROM {table} INDEXED BY {table}_by_idx ORDER BY idx, rowid",
        names.join(", ")
    )
}
