//! Owns reading the rows of the view `requests`, of either phase and in files of any version.
//!
//! It must not know what its columns mean.

use evalscope_model::record::Phase;

use super::{Reader, schema};
use crate::sqlite::requests::Wanted;
use crate::sqlite::{StoreError, refused};

impl Reader {
    /// Pass every wanted request of a phase to `sink`, by index: the columns of
    /// [`crate::sqlite::REQUEST_COLUMNS`], the start and the end of the request in nanoseconds of the
    /// run's clock and, if wanted, the stored bodies of the request and of the response. One row is in
    /// memory at a time.
    ///
    /// # Errors
    /// When a row cannot be read, or when `sink` fails.
    pub(crate) fn for_each_request<E: From<StoreError>>(
        &self,
        phase: Phase,
        wanted: &Wanted<'_>,
        mut sink: impl FnMut(&rusqlite::Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let doing = refused(&self.path, "read the requests");
        let start_ns = self.meta.clock.wall_start_ns;
        let select = schema::select_requests(phase, self.version, start_ns, wanted);
        let mut statement = self.connection.prepare(&select).map_err(&doing)?;
        let mut rows = statement.query([]).map_err(&doing)?;
        while let Some(row) = rows.next().map_err(&doing)? {
            sink(row)?;
        }
        Ok(())
    }

    /// Whether a phase has a request with this index.
    ///
    /// # Errors
    /// When SQLite cannot read the file.
    pub(crate) fn has_request(&self, phase: Phase, index: u64) -> Result<bool, StoreError> {
        let sql = schema::has_request(phase, self.version);
        self.connection
            .query_row(&sql, [index.cast_signed()], |row| row.get(0))
            .map_err(refused(&self.path, "look for a request"))
    }
}
