//! Owns the table of conversations and the view of it: from a [`ConversationRecord`] to a row and
//! back.
//!
//! It must not know how requests are stored, nor when a row is written.

use evalscope_model::conversation::EndedBy;
use evalscope_model::record::{ConversationRecord, Phase};
use evalscope_model::time::Timestamp;
use rusqlite::{Row, Statement, params};

/// The table, in the order in which conversations ended, and the view of the measured ones with what
/// follows from their turns.
pub(super) const CREATE: &str = "
CREATE TABLE conversation (
  idx INTEGER NOT NULL, phase TEXT NOT NULL, session_id TEXT,
  turns_planned INTEGER NOT NULL, turns_sent INTEGER NOT NULL, ended_by TEXT NOT NULL,
  scheduled_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL,
  empty_replies INTEGER NOT NULL, tools_unmatched INTEGER NOT NULL);
CREATE VIEW conversations AS SELECT
  c.idx,
  c.session_id,
  c.turns_planned,
  c.turns_sent,
  t.turns_succeeded,
  c.ended_by,
  c.ended_by IN ('completed', 'max_turns') AS whole,
  (c.ended_ns - c.scheduled_ns) / 1e9 AS duration_s,
  t.busy_s,
  t.think_s,
  t.first_turn_ttft_ms,
  t.input_tokens,
  t.output_tokens,
  t.cached_tokens,
  c.empty_replies,
  c.tools_unmatched
FROM conversation c LEFT JOIN (
  SELECT
    conversation,
    sum(error_kind IS NULL) AS turns_succeeded,
    sum(CASE WHEN error_kind IS NULL THEN max(last_data_ns - write_begun_ns, 0) END) / 1e9 AS busy_s,
    sum(turn_delay_ns) / 1e9 AS think_s,
    max(CASE WHEN turn = 0 THEN first_chunk_latency END) * 1e3 AS first_turn_ttft_ms,
    sum(CASE WHEN error_kind IS NULL THEN prompt_tokens END) AS input_tokens,
    sum(CASE WHEN error_kind IS NULL THEN completion_tokens END) AS output_tokens,
    sum(CASE WHEN error_kind IS NULL THEN cached_tokens END) AS cached_tokens
  FROM record WHERE phase = 'measured' AND conversation IS NOT NULL GROUP BY conversation
) t ON t.conversation = c.idx
WHERE c.phase = 'measured';
";

/// Stores a conversation.
pub(super) const INSERT: &str = "INSERT INTO conversation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The columns, in order.
pub(super) const COLUMNS: [&str; 10] = [
    "idx",
    "phase",
    "session_id",
    "turns_planned",
    "turns_sent",
    "ended_by",
    "scheduled_ns",
    "ended_ns",
    "empty_replies",
    "tools_unmatched",
];

/// All of them, in the order of the columns.
pub(super) const SELECT_ALL: &str = "SELECT * FROM conversation";

/// The conversations of a phase, in dataset order.
pub(super) const SELECT: &str = "SELECT idx, phase, session_id, turns_planned, turns_sent, ended_by, \
     scheduled_ns, ended_ns, empty_replies, tools_unmatched \
     FROM conversation WHERE phase = ? ORDER BY idx, rowid";

/// Store one.
pub(super) fn insert(
    statement: &mut Statement<'_>,
    record: &ConversationRecord,
) -> rusqlite::Result<()> {
    statement.execute(params![
        record.index.cast_signed(),
        record.phase.as_str(),
        record.session,
        record.turns_planned,
        record.turns_sent,
        record.ended_by.as_str(),
        record.scheduled.as_nanos().cast_signed(),
        record.ended.as_nanos().cast_signed(),
        record.empty_replies,
        record.tools_unmatched,
    ])?;
    Ok(())
}

/// Read a row of [`SELECT`]. Why it makes no sense, otherwise.
pub(super) fn read(row: &Row<'_>, phase: Phase) -> Result<ConversationRecord, String> {
    let number = |at: usize| -> Result<u64, String> {
        let value: i64 = row.get(at).map_err(|error| error.to_string())?;
        Ok(value.cast_unsigned())
    };
    let small = |at: usize| row.get::<_, u32>(at).map_err(|error| error.to_string());
    let ended_by: String = row.get(5).map_err(|error| error.to_string())?;
    Ok(ConversationRecord {
        index: number(0)?,
        phase,
        session: row.get(2).map_err(|error| error.to_string())?,
        turns_planned: small(3)?,
        turns_sent: small(4)?,
        ended_by: EndedBy::from_name(&ended_by)
            .ok_or_else(|| format!("column `ended_by`: `{ended_by}` is unknown"))?,
        scheduled: Timestamp::from_nanos(number(6)?),
        ended: Timestamp::from_nanos(number(7)?),
        empty_replies: small(8)?,
        tools_unmatched: small(9)?,
    })
}
