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
    /// The request's body; empty where it was not kept.
    pub request: String,
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
        // the row's number stands before the columns of the record
        let first = 1 + schema::record_columns().count();
        for number in numbers {
            let mut rows = statement.query([number]).map_err(&doing)?;
            let Some(row) = rows.next().map_err(&doing)? else {
                continue;
            };
            let (_, record) = self.record_of(phase, row)?;
            let text = |at: usize| row.get::<_, Option<String>>(first + at).map_err(&doing);
            let stored = Stored {
                gpu_memory_gb: row.get(first).map_err(&doing)?,
                request: text(1)?.unwrap_or_default(),
                response_messages: text(2)?.unwrap_or_default(),
                final_event: text(3)?,
            };
            sink(&record, stored)?;
        }
        Ok(())
    }
}
