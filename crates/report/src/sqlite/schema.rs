//! Owns the table of requests and the views of it: their columns, in order, and the SQL that
//! makes them. What follows from other columns stands in views alone: no moment is stored twice.
//!
//! It must not know where a column's value comes from.

use evalscope_model::record::Phase;

use super::conversation;
use super::requests::{self, Wanted};

/// Stored in the file's `user_version`.
pub(super) const VERSION: i64 = 6;

/// Stored in the file's `application_id`: "EVSP".
pub(super) const APPLICATION_ID: i64 = 0x4556_5350;

/// The table of all requests, in the order they ended in.
pub(super) const TABLE: &str = "record";

/// What a column is for when records are read back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Of the record.
    Record,
    /// A figure that follows from the record, for queries.
    Figure,
    /// A body, behind the record: SQLite keeps the head of a row in the table's own pages and
    /// chains the rest behind it, so reading only the head never follows a chain.
    Body,
}
use Part::{Body, Figure, Record};

/// Names and types of the columns of a request, in order.
pub(super) const COLUMNS: [(&str, &str, Part); 58] = [
    ("idx", "INTEGER NOT NULL", Record),
    ("phase", "TEXT NOT NULL", Record),
    ("prompt_tokens", "INTEGER", Record),
    ("completion_tokens", "INTEGER", Record),
    ("token_source", "TEXT", Record),
    ("prompt_token_source", "TEXT", Record),
    ("asked_prompt_tokens", "INTEGER", Record),
    ("counted_prompt_tokens", "INTEGER", Record),
    ("counted_completion_tokens", "INTEGER", Record),
    ("cached_tokens", "INTEGER", Record),
    ("reasoning_tokens", "INTEGER", Record),
    ("reasoning_from_total", "INTEGER", Record),
    ("is_stream", "INTEGER", Record),
    ("http_status", "INTEGER", Record),
    ("finish_reason", "TEXT", Record),
    ("request_id", "TEXT", Record),
    ("answer_model", "TEXT", Record),
    ("ending", "TEXT", Record),
    ("skipped_events", "INTEGER", Record),
    ("compressed", "INTEGER", Record),
    ("peer", "TEXT", Record),
    ("error_kind", "TEXT", Record),
    ("error_text", "TEXT", Record),
    ("clock", "TEXT", Record),
    ("scheduled_ns", "INTEGER", Record),
    ("slot_free_ns", "INTEGER", Record),
    ("dispatched_ns", "INTEGER", Record),
    ("connected_ns", "INTEGER", Record),
    ("write_begun_ns", "INTEGER", Record),
    ("write_done_ns", "INTEGER", Record),
    ("first_byte_ns", "INTEGER", Record),
    ("headers_ns", "INTEGER", Record),
    ("last_data_ns", "INTEGER", Record),
    ("ended_ns", "INTEGER", Record),
    ("connection_reused", "INTEGER", Record),
    ("dns_ns", "INTEGER", Record),
    ("tcp_ns", "INTEGER", Record),
    ("tls_ns", "INTEGER", Record),
    ("conversation", "INTEGER", Record),
    ("turn", "INTEGER", Record),
    ("turn_delay_ns", "INTEGER", Record),
    ("asked_increment_tokens", "INTEGER", Record),
    ("asked_output_tokens", "INTEGER", Record),
    ("trace_line", "INTEGER", Record),
    ("possible_cached_tokens", "INTEGER", Record),
    ("inputs", "INTEGER", Record),
    ("model_id", "INTEGER", Record),
    ("url_id", "INTEGER", Record),
    ("max_gpu_memory_cost", "REAL", Figure),
    ("first_chunk_latency", "REAL", Figure),
    ("time_per_output_token", "REAL", Figure),
    ("n_chunks", "INTEGER", Figure),
    ("chunk_time", "REAL", Figure),
    ("events", "BLOB", Record),
    ("request", "TEXT", Body),
    ("response_messages", "TEXT", Body),
    ("final_event", "TEXT", Body),
    ("error_excerpt", "TEXT", Body),
];

/// Columns that came with format 3.
pub(super) const SINCE_3: [&str; 6] = [
    "answer_model",
    "ending",
    "skipped_events",
    "compressed",
    "peer",
    "reasoning_from_total",
];

/// Columns that came with format 4.
pub(super) const SINCE_4: [&str; 7] = [
    "conversation",
    "turn",
    "turn_delay_ns",
    "asked_increment_tokens",
    "asked_output_tokens",
    "trace_line",
    "possible_cached_tokens",
];

/// Columns that came with format 5.
pub(super) const SINCE_5: [&str; 1] = ["inputs"];

/// Columns that came with format 6.
pub(super) const SINCE_6: [&str; 2] = ["model_id", "url_id"];

/// The tables of names: what `model_id` and `url_id` of a request stand for.
pub(super) const NAMES: &str = "CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n\
     CREATE TABLE url (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n";

/// Stores the name of a model, and of a URL.
pub(super) const INSERT_MODEL: &str = "INSERT OR REPLACE INTO model VALUES (?, ?)";
pub(super) const INSERT_URL: &str = "INSERT INTO url VALUES (?, ?)";

/// The names of models, in the order of their numbers.
pub(super) const SELECT_MODELS: &str = "SELECT name FROM model ORDER BY id";

/// The name of the model or the URL of a request, in a file of some version.
fn name_of(table: &str, version: i64) -> String {
    match version {
        ..6 => "NULL".to_owned(),
        _ => format!("(SELECT name FROM {table} WHERE id = {table}_id)"),
    }
}

/// The columns that a record is read back from, in order.
pub(super) fn record_columns() -> impl Iterator<Item = &'static str> {
    let of_record = COLUMNS.iter().filter(|(_, _, part)| *part == Record);
    of_record.map(|(name, ..)| *name)
}

/// A byte of `events`, by its place from 1.
fn byte_at(place: &str) -> String {
    let digit = |at: u8| {
        format!("(instr('0123456789ABCDEF', substr(hex(substr(events, {place}, 1)), {at}, 1)) - 1)")
    };
    format!("({} * 16 + {})", digit(1), digit(2))
}

/// A table `stamp` of what `events` holds, one row for each byte: where a stamp ends, `token` is
/// 1 when it bears one and 0 when not, elsewhere null; `first` is 1 for the first such stamp of
/// an event. The form is that of `EventLog::to_bytes`.
fn stamps() -> String {
    let whole = "(value | ((byte & 127) << shift))";
    let (first, next) = (byte_at("1"), byte_at("pos + 1"));
    format!(
        "WITH RECURSIVE stamp (pos, byte, value, shift, more, at, choice, token, counted, first) AS (
    SELECT 1, {first}, 0, 0, 0, 0, 0, NULL, 0, 0 WHERE length(events) > 0
    UNION ALL
    SELECT pos + 1, {next},
      CASE WHEN byte < 128 THEN 0 ELSE {whole} END,
      CASE WHEN byte < 128 THEN 0 ELSE shift + 7 END,
      CASE WHEN byte >= 128 THEN more ELSE NOT more AND {whole} & 3 = 3 END,
      CASE WHEN byte >= 128 OR more THEN at ELSE at + ({whole} >> 2) END,
      CASE WHEN byte < 128 AND more THEN {whole} >> 5 ELSE choice END,
      CASE WHEN byte >= 128 THEN NULL WHEN more THEN {whole} & 1
           WHEN {whole} & 3 = 3 THEN NULL ELSE {whole} & 3 < 2 END,
      CASE WHEN byte >= 128 THEN counted
           WHEN more THEN {whole} & 1 OR ({whole} & 16 AND counted)
           WHEN {whole} & 3 = 3 THEN counted ELSE {whole} & 3 < 2 END,
      CASE WHEN byte >= 128 THEN 0 WHEN more THEN {whole} & 1 AND NOT ({whole} & 16 AND counted)
           WHEN {whole} & 3 = 3 THEN 0 ELSE {whole} & 3 < 2 END
    FROM stamp WHERE pos <= length(events))"
    )
}

/// The query of the requests of a phase under the names of the reference tool, with what follows
/// from other columns, in a file of some version. `wall_start_ns` is Unix time at the start of the
/// run's clock.
fn phase_select(phase: Phase, version: i64, wall_start_ns: u64) -> String {
    let wall = wall_start_ns.cast_signed();
    let stamps = stamps();
    let plain: Vec<String> = COLUMNS
        .iter()
        .filter(|(name, ..)| !["idx", "phase"].contains(name))
        .map(|(name, ..)| match in_version(name, version) {
            "NULL" => format!("NULL AS {name}"),
            name => name.to_owned(),
        })
        .collect();
    format!(
        "SELECT
  idx,
  phase,
  CASE WHEN error_kind IS NULL THEN 'True' ELSE 'False' END AS success,
  ({wall} + coalesce(write_begun_ns, dispatched_ns)) / 1e9 AS start_time,
  ({wall} + CASE WHEN error_kind IS NULL THEN coalesce(last_data_ns, ended_ns) ELSE ended_ns END) / 1e9
    AS completed_time,
  CASE WHEN error_kind IS NULL THEN max(last_data_ns - write_begun_ns, 0) / 1e9 END AS latency,
  (SELECT '[' || coalesce(group_concat(seconds, ', '), '') || ']' FROM ({stamps}
    SELECT printf('%d.%09d', ({wall} + at) / 1000000000, ({wall} + at) % 1000000000) AS seconds
    FROM stamp WHERE first ORDER BY pos)) AS chunk_times,
  (SELECT '[' || coalesce(group_concat(seconds, ', '), '') || ']' FROM (
    SELECT printf('%.9f', gap / 1e9) AS seconds FROM ({stamps}
      SELECT pos, at - lag(at) OVER (PARTITION BY choice ORDER BY pos) AS gap
      FROM stamp WHERE token)
    WHERE gap IS NOT NULL ORDER BY pos)) AS inter_token_latencies,
  {} AS model,
  {} AS url,
  {}
FROM {} WHERE phase = '{}'",
        name_of("model", version),
        name_of("url", version),
        plain.join(",\n  "),
        table(phase, version),
        phase.as_str()
    )
}

/// The statements that make an empty database of a run whose clock began at this Unix time.
pub(super) fn create(wall_start_ns: u64) -> String {
    let columns: Vec<String> = COLUMNS
        .map(|(name, kind, _)| format!("{name} {kind}"))
        .into();
    // rows are kept in the order they ended in, which is the cheapest to
    // write; the index puts them back into the order of the run
    let mut sql = format!(
        "CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;\n\
         CREATE TABLE client (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL);\n\
         CREATE TABLE warning (id INTEGER PRIMARY KEY, text TEXT NOT NULL, finding TEXT);\n\
         CREATE TABLE {TABLE} ({});\n{}",
        columns.join(", "),
        create_index()
    );
    sql.push_str(NAMES);
    for (name, phase) in [("result", Phase::Measured), ("warmup", Phase::Warmup)] {
        let select = phase_select(phase, VERSION, wall_start_ns);
        sql = format!("{sql}CREATE VIEW {name} AS {select};\n");
    }
    sql.push_str(&requests::view());
    sql.push_str(conversation::CREATE);
    sql
}

/// The statement that makes the index of requests.
pub(super) fn create_index() -> String {
    format!("CREATE INDEX {TABLE}_by_idx ON {TABLE} (phase, idx);\n")
}

/// Rows are stored faster without the index, which is then made of all of them at once.
pub(super) const DROP_INDEX: &str = "DROP INDEX record_by_idx;";

/// A number that several requests of a phase have.
pub(super) const TWICE: &str = "SELECT idx FROM record INDEXED BY record_by_idx \
     GROUP BY phase, idx HAVING count(*) > 1 LIMIT 1";

/// Stores a warning: its words, and the id of the finding.
pub(super) const INSERT_WARNING: &str = "INSERT INTO warning (text, finding) VALUES (?, ?)";

/// Whether the table of warnings has the ids of findings, which the first files of format 3 lack.
pub(super) const HAS_FINDING: &str =
    "SELECT count(*) > 0 FROM pragma_table_info('warning') WHERE name = 'finding'";

/// The statement that stores a request.
pub(super) fn insert() -> String {
    let names = COLUMNS.map(|(name, ..)| name).join(", ");
    let marks = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO {TABLE} ({names}) VALUES ({marks})")
}

/// The table that holds the requests of a phase in a file of some version.
pub(super) fn table(phase: Phase, version: i64) -> &'static str {
    match (version, phase) {
        (3.., _) => TABLE,
        (_, Phase::Measured) => "result",
        (_, Phase::Warmup) => "warmup",
    }
}

/// A column in a query of a file of some version: null where the file has none of this name.
fn in_version(name: &'static str, version: i64) -> &'static str {
    match version {
        ..3 if SINCE_3.contains(&name) => "NULL",
        ..4 if SINCE_4.contains(&name) => "NULL",
        ..5 if SINCE_5.contains(&name) => "NULL",
        ..6 if SINCE_6.contains(&name) => "NULL",
        _ => name,
    }
}

/// The columns of a record in a file of some version, after the row's number. What the file has no
/// column for is null.
fn record_of(version: i64) -> String {
    let names: Vec<&str> = record_columns()
        .map(|name| in_version(name, version))
        .collect();
    format!("rowid, {}", names.join(", "))
}

/// The query of all records of a phase in a file of some version, each after its row's number.
pub(super) fn select(phase: Phase, version: i64) -> String {
    let (record, table) = (record_of(version), table(phase, version));
    format!(
        "SELECT {record} FROM {table} INDEXED BY {table}_by_idx WHERE phase = '{}' \
         ORDER BY idx, rowid",
        phase.as_str()
    )
}

/// The query of the stored bodies of the measured requests from one index to another that are of one
/// conversation, in the order of its turns.
pub(super) const TURNS: &str = "SELECT request FROM record WHERE phase = 'measured' \
     AND idx BETWEEN ?1 AND ?2 AND conversation = ?3 ORDER BY turn, rowid";

/// A column in the query of what charts need: the same in all rows where they do not need it. The columns
/// of tokens hold the counts that count, whatever their source.
fn for_charts(name: &'static str, version: i64) -> &'static str {
    match name {
        "answer_model"
        | "asked_increment_tokens"
        | "asked_output_tokens"
        | "asked_prompt_tokens"
        | "compressed"
        | "counted_completion_tokens"
        | "counted_prompt_tokens"
        | "ending"
        | "first_byte_ns"
        | "headers_ns"
        | "model_id"
        | "peer"
        | "possible_cached_tokens"
        | "reasoning_from_total"
        | "reasoning_tokens"
        | "skipped_events"
        | "trace_line"
        | "turn_delay_ns"
        | "url_id"
        | "write_done_ns" => "NULL",
        "dns_ns" | "tcp_ns" | "tls_ns" => "0",
        "connection_reused" => "1",
        "token_source" | "prompt_token_source" => "'server_usage'",
        "clock" => "'kernel'",
        _ => in_version(name, version),
    }
}

/// The columns of [`select_for_charts`] that are null in every row: a bit for each, by its place in the
/// query. To ask SQLite for them costs as much as for the others.
pub(super) fn null_for_charts(version: i64) -> u64 {
    // the row's number comes first
    let places = record_columns().zip(1..);
    let places = places.filter(|(name, _)| for_charts(name, version) == "NULL");
    places.fold(0, |bits, (_, place)| bits | 1 << place)
}

/// The query of what charts need of the records of a phase, in any order: what they do not need is the same in all.
pub(super) fn select_for_charts(phase: Phase, version: i64) -> String {
    let columns = record_columns().map(|name| for_charts(name, version));
    let columns: Vec<&str> = columns.collect();
    let table = table(phase, version);
    // most rows are measured: reading them as they lie is quicker than by the index
    let by = match phase {
        Phase::Measured => "NOT INDEXED".to_owned(),
        Phase::Warmup => format!("INDEXED BY {table}_by_idx"),
    };
    format!(
        "SELECT rowid, {} FROM {table} {by} WHERE phase = '{}'",
        columns.join(", "),
        phase.as_str()
    )
}

/// The query of the columns of the view `requests` for a phase in a file of some version, by index; then
/// the start and the end of each request, nanoseconds of the run's clock, and the stored bodies if
/// they are wanted.
pub(super) fn select_requests(
    phase: Phase,
    version: i64,
    wall_start_ns: u64,
    wanted: &Wanted<'_>,
) -> String {
    let bodies = if wanted.bodies {
        ", request, response_messages"
    } else {
        ""
    };
    format!(
        "SELECT {}, coalesce(write_begun_ns, dispatched_ns), \
         CASE WHEN error_kind IS NULL THEN coalesce(last_data_ns, ended_ns) ELSE ended_ns END{bodies} \
         FROM ({}) WHERE {} ORDER BY idx",
        requests::columns(),
        phase_select(phase, version, wall_start_ns),
        wanted.condition()
    )
}

/// Whether a phase has a request with an index, in a file of some version.
pub(super) fn has_request(phase: Phase, version: i64) -> String {
    format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE phase = '{}' AND idx = ?)",
        table(phase, version),
        phase.as_str()
    )
}

/// The query of the numbers of all rows of a phase, in the order in which the requests ended.
pub(super) fn select_by_end(phase: Phase, version: i64) -> String {
    format!(
        "SELECT rowid FROM {} WHERE phase = '{}' ORDER BY \
         CASE WHEN error_kind IS NULL THEN coalesce(last_data_ns, ended_ns) ELSE ended_ns END, rowid",
        table(phase, version),
        phase.as_str()
    )
}

/// The query of all that is stored in one row: the record, then the memory of GPUs and the bodies.
pub(super) fn select_stored(phase: Phase, version: i64) -> String {
    format!(
        "SELECT {}, max_gpu_memory_cost, request, response_messages, final_event \
         FROM {} WHERE rowid = ?",
        record_of(version),
        table(phase, version)
    )
}
