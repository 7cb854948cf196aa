//! Owns the view `requests`: its columns in order, what type each has, and the SQL behind it; and which
//! of its rows are wanted.
//!
//! It must not know the tables below it.

/// What a column holds. Any but `idx` and `succeeded` may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// 0 or 1.
    Flag,
    /// A count that a response can have.
    Small,
    /// A whole number that counts over a run.
    Whole,
    /// Any other number.
    Number,
    /// A text.
    Text,
}
use ColumnType::{Flag, Number, Small, Text, Whole};

/// A column of the view.
#[derive(Clone, Copy, Debug)]
pub struct RequestColumn {
    /// Its name, which ends with its unit.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnType,
    sql: &'static str,
}

const fn column(name: &'static str, kind: ColumnType, sql: &'static str) -> RequestColumn {
    RequestColumn { name, kind, sql }
}

/// The columns of the view, in order.
pub const REQUEST_COLUMNS: [RequestColumn; 53] = [
    column("idx", Whole, "idx"),
    column("succeeded", Flag, "success = 'True'"),
    column("error_kind", Text, "error_kind"),
    column("error_text", Text, "error_text"),
    column("http_status", Small, "http_status"),
    column("streamed", Flag, "is_stream"),
    column("finish_reason", Text, "finish_reason"),
    column("input_tokens", Small, "prompt_tokens"),
    column("output_tokens", Small, "completion_tokens"),
    column("output_tokens_source", Text, "token_source"),
    column("input_tokens_source", Text, "prompt_token_source"),
    column("asked_input_tokens", Small, "asked_prompt_tokens"),
    column("counted_input_tokens", Small, "counted_prompt_tokens"),
    column("counted_output_tokens", Small, "counted_completion_tokens"),
    column("cached_tokens", Small, "cached_tokens"),
    column("reasoning_tokens", Small, "reasoning_tokens"),
    column("events", Small, "n_chunks"),
    column("ttft_ms", Number, "first_chunk_latency * 1e3"),
    column("latency_ms", Number, "latency * 1e3"),
    column("tpot_ms", Number, "time_per_output_token * 1e3"),
    column("event_gap_mean_ms", Number, "chunk_time * 1e3"),
    column(
        "output_tok_per_s",
        Number,
        "CASE WHEN latency > 0 THEN completion_tokens / latency END",
    ),
    column(
        "latency_from_schedule_ms",
        Number,
        "CASE WHEN error_kind IS NULL THEN (last_data_ns - scheduled_ns) / 1e6 \
     WHEN error_kind IN ('not_sent', 'shed', 'unfinished') THEN (ended_ns - scheduled_ns) / 1e6 \
     END",
    ),
    column(
        "dispatch_lag_ms",
        Number,
        "(dispatched_ns - scheduled_ns) / 1e6",
    ),
    column(
        "client_lag_ms",
        Number,
        "(dispatched_ns - max(scheduled_ns, slot_free_ns)) / 1e6",
    ),
    column("waited_for_slot", Flag, "slot_free_ns > scheduled_ns"),
    column("connection_reused", Flag, "connection_reused"),
    column(
        "connect_ms",
        Number,
        "CASE WHEN NOT connection_reused THEN (connected_ns - dispatched_ns) / 1e6 END",
    ),
    column("dns_ms", Number, "dns_ns / 1e6"),
    column("tcp_ms", Number, "tcp_ns / 1e6"),
    column("tls_ms", Number, "tls_ns / 1e6"),
    column("send_ms", Number, "(write_done_ns - write_begun_ns) / 1e6"),
    column(
        "first_byte_ms",
        Number,
        "(first_byte_ns - write_begun_ns) / 1e6",
    ),
    column("headers_ms", Number, "(headers_ns - write_begun_ns) / 1e6"),
    column("sent_at_unix_s", Number, "start_time"),
    column("completed_at_unix_s", Number, "completed_time"),
    column("arrival_clock", Text, "clock"),
    column("response_id", Text, "request_id"),
    column("answer_model", Text, "answer_model"),
    column("ending", Text, "ending"),
    column("skipped_events", Small, "skipped_events"),
    column("compressed", Flag, "compressed"),
    column("peer", Text, "peer"),
    column("conversation", Whole, "conversation"),
    column("turn", Small, "turn"),
    column(
        "think_s",
        Number,
        "CASE WHEN turn > 0 THEN turn_delay_ns / 1e9 END",
    ),
    column("asked_increment_tokens", Small, "asked_increment_tokens"),
    column("asked_output_tokens", Small, "asked_output_tokens"),
    column("trace_line", Whole, "trace_line"),
    column("possible_cached_tokens", Small, "possible_cached_tokens"),
    column("inputs", Small, "inputs"),
    column("model", Text, "model"),
    column("url", Text, "url"),
];

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Succeeded,
    /// Anything else: it failed, was given up, or never sent.
    Failed,
}

/// Which requests are read, and what of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Those that ended in this way; all without it.
    pub outcome: Option<Outcome>,
    /// Those with these indexes; all if there is none.
    pub indexes: &'a [u64],
    /// With their stored bodies.
    pub bodies: bool,
}

impl Wanted<'_> {
    /// The condition on a row.
    pub(super) fn condition(&self) -> String {
        let mut all = vec!["true".to_owned()];
        all.extend(self.outcome.map(|outcome| {
            match outcome {
                Outcome::Succeeded => "error_kind IS NULL",
                Outcome::Failed => "error_kind IS NOT NULL",
            }
            .to_owned()
        }));
        if !self.indexes.is_empty() {
            let indexes = self
                .indexes
                .iter()
                .map(|index| index.cast_signed().to_string());
            all.push(format!(
                "idx IN ({})",
                indexes.collect::<Vec<_>>().join(", ")
            ));
        }
        all.join(" AND ")
    }
}

/// The columns of the view with their names, as SQL.
pub(super) fn columns() -> String {
    let columns = REQUEST_COLUMNS.iter().map(|column| match *column {
        RequestColumn { name, sql, .. } if name == sql => name.to_owned(),
        RequestColumn { name, sql, .. } => format!("{sql} AS {name}"),
    });
    columns.collect::<Vec<_>>().join(",\n  ")
}

/// The statement that makes the view.
pub(super) fn view() -> String {
    format!(
        "\nCREATE VIEW requests AS SELECT\n  {}\nFROM result;\n",
        columns()
    )
}
