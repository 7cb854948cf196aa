//! Owns reading requests with all that is stored of them, in the order in which they ended.
//!
//! It must not know what the bodies hold, nor how they are encoded.

use evalscope_model::record::{Phase, RequestRecord};

use super::{Reader, schema};
use crate::sqlite::{StoreError, refused};

/// What is stored of a request beside its record, as it stands in the columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The most memory that the GPUs of a server of this program had taken until then, GB.
    pub gpu_memory_gb: Option<f64>,
    /// The request's body; empty where it was not kept. Of a turn of a conversation after the first,
    /// only what the turn added.
    pub request: String,
    /// The bodies of the turns before it, in order.
    pub turns_before: Vec<String>,
    /// The token-bearing events, or the body of a whole response; empty where they were not kept.
    pub response_messages: String,
    /// The stream's last data event, where it bore no token.
    pub final_event: Option<String>,
}

impl Reader {
    /// Hand every request of a phase to `sink`, in the order in which they ended. One request is in
    /// memory at a time.
    ///
    /// # Errors
    /// When a row cannot be read, or when `sink` fails.
    pub fn for_each_stored<E: From<StoreError>>(
        &self,
        phase: Phase,
        mut sink: impl FnMut(&RequestRecord, Stored) -> Result<(), E>,
    ) -> Result<(), E> {
        let doing = refused(&self.path, "read the requests and their bodies");
        let by_end = schema::select_by_end(phase, self.version);
        let mut statement = self.connection.prepare(&by_end).map_err(&doing)?;
        let numbers = statement.query_map([], |row| row.get(0)).map_err(&doing)?;
        let numbers: Vec<i64> = numbers.collect::<Result<_, _>>().map_err(&doing)?;
        let stored = schema::select_stored(phase, self.version);
        let mut statement = self.connection.prepare(&stored).map_err(&doing)?;
        for number in numbers {
            let mut rows = statement.query([number]).map_err(&doing)?;
            let Some(row) = rows.next().map_err(&doing)? else {
                continue;
            };
            let (record, stored) = self.stored_of(phase, row)?;
            sink(&record, stored)?;
        }
        Ok(())
    }

    /// The stored bodies of the turns before a turn of a conversation, in order: as many as it has, or
    /// fewer if one is not there.
    pub(crate) fn turns_before(
        &self,
        index: u64,
        turn: u32,
        conversation: u64,
    ) -> Result<Vec<String>, StoreError> {
        if turn == 0 {
            return Ok(Vec::new());
        }
        // the turns of a conversation have consecutive numbers
        let first = index.saturating_sub(turn.into());
        let doing = refused(&self.path, "read the turns of a conversation");
        let mut statement = self.connection.prepare(schema::TURNS).map_err(&doing)?;
        let rows = statement
            .query_map(
                [first, index.saturating_sub(1), conversation].map(u64::cast_signed),
                |row| Ok(row.get::<_, Option<String>>(0)?.unwrap_or_default()),
            )
            .map_err(&doing)?;
        rows.collect::<Result<_, _>>().map_err(&doing)
    }

    /// A measured request with all that is stored of it; `None` if there is none with this index.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stored(&self, index: u64) -> Result<Option<(RequestRecord, Stored)>, StoreError> {
        let doing = refused(&self.path, "read a request");
        let rowid: Option<i64> = self
            .connection
            .query_row(
                &format!(
                    "SELECT max(rowid) FROM {} WHERE phase = 'measured' AND idx = ?",
                    schema::table(Phase::Measured, self.version)
                ),
                [index.cast_signed()],
                |row| row.get(0),
            )
            .map_err(&doing)?;
        let Some(rowid) = rowid else {
            return Ok(None);
        };
        let sql = schema::select_stored(Phase::Measured, self.version);
        let mut statement = self.connection.prepare(&sql).map_err(&doing)?;
        let mut rows = statement.query([rowid]).map_err(&doing)?;
        let row = rows.next().map_err(&doing)?;
        row.map(|row| self.stored_of(Phase::Measured, row))
            .transpose()
    }

    /// The record and the bodies in a row of [`schema::select_stored`].
    fn stored_of(
        &self,
        phase: Phase,
        row: &rusqlite::Row<'_>,
    ) -> Result<(RequestRecord, Stored), StoreError> {
        let doing = refused(&self.path, "read the bodies of a request");
        // the row's number stands before the columns of the record
        let first = 1 + schema::record_columns().count();
        let (_, record) = self.record_of(phase, row, 0)?;
        let text = |at: usize| row.get::<_, Option<String>>(first + at).map_err(&doing);
        let place = record.turn.filter(|_| record.phase == Phase::Measured);
        let turns_before =
            place.map(|place| self.turns_before(record.index, place.turn, place.conversation));
        let stored = Stored {
            gpu_memory_gb: row.get(first).map_err(&doing)?,
            request: text(1)?.unwrap_or_default(),
            turns_before: turns_before.transpose()?.unwrap_or_default(),
            response_messages: text(2)?.unwrap_or_default(),
            final_event: text(3)?,
        };
        Ok((record, stored))
    }
}
