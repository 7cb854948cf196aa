//! Owns the database of a run: its schema, how records are written to it while
//! the run is under way, and how they are read back.
//!
//! It must not know what the records add up to, nor where the result is shown.

mod conversation;
mod encode;
mod read;
mod requests;
mod row;
mod schema;
mod write;

mod copy;

use std::path::{Path, PathBuf};

pub(crate) use copy::{Copied, Merged};
pub use read::{Reader, Stored};
pub use requests::{ColumnType, Outcome, REQUEST_COLUMNS, RequestColumn, Wanted};
pub use write::{Database, set_end};

/// The file's name in a run's folder.
pub const FILE_NAME: &str = "benchmark_data.db";

/// Why a database could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is there already.
    #[error(
        "`{}` exists already: results are never overwritten\nhint: remove it, or give another `--outputs-dir` or `--name`",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is not there.
    #[error("`{}` does not exist\nhint: give the folder of a run, or of a command's runs", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error(
        "`{}` is not a database of this tool ({why})\nhint: reports are made from a `{FILE_NAME}` that `evalscope perf` wrote",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        why: String,
    },
    /// The file is of a later version.
    #[error(
        "`{}` has format {found}; this program knows formats up to {known}\nhint: use a newer version of this program",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known format.
        known: i64,
    },
    /// The last rows are beside the file, in a folder where they cannot be
    /// put together.
    #[error(
        "`{}` has its last rows in the `-wal` file beside it, which cannot be read in a folder that is \
         read-only\nhint: copy both files to a folder that is writable",
        path.display()
    )]
    Apart {
        /// The file.
        path: PathBuf,
    },
    /// A value in the file makes no sense.
    #[error("`{}` is damaged: {what}\nhint: `sqlite3 FILE .recover` may save what is left", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which value, and why.
        what: String,
    },
    /// SQLite refused.
    #[error("`{}`: cannot {doing}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
    /// A value could not be put into the form it is stored in.
    #[error("`{}`: cannot encode {what}: {why}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The value.
        what: &'static str,
        /// What the encoder said.
        why: String,
    },
    /// The file system refused.
    #[error("`{}`: cannot {doing}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's own words.
        source: std::io::Error,
    },
}

/// Wraps an error of SQLite with the path and what was being done.
pub(crate) fn refused(path: &Path, doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite {
        path: path.to_owned(),
        doing,
        source,
    }
}

#[cfg(test)]
mod tests;
