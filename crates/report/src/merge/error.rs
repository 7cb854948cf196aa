//! Owns why databases cannot be put together.

use std::path::PathBuf;

use crate::files::FilesError;
use crate::sqlite::StoreError;

/// Why databases cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A database could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A folder holds no database.
    #[error(
        "`{}` holds no `benchmark_data.db`\nhint: give the folder of each shard, such as `shard-0-of-4`",
        path.display()
    )]
    NoShard {
        /// The folder.
        path: PathBuf,
    },
    /// A database is one of a whole run.
    #[error(
        "`{}` was measured by one process, not by a shard\nhint: leave it out; `evalscope report` takes it as it is",
        path.display()
    )]
    Whole {
        /// The database.
        path: PathBuf,
    },
    /// A database has another form.
    #[error(
        "`{}` was written by another version of this program, which divided runs in another way\nhint: merge with the \
         version that measured",
        path.display()
    )]
    Form {
        /// The database.
        path: PathBuf,
    },
    /// Two databases are not parts of the same run.
    #[error(
        "these are shards of different runs: {what} is {left} in `{}` and {right} in `{}`\nhint: merge only shards that \
         one command started, with the same flags",
        left_path.display(),
        right_path.display()
    )]
    Different {
        /// What differs.
        what: String,
        /// Its value in the first.
        left: String,
        /// Its value in the other.
        right: String,
        /// The first.
        left_path: PathBuf,
        /// The other.
        right_path: PathBuf,
    },
    /// A shard is there twice.
    #[error(
        "shard {index} is there twice: `{}` and `{}`\nhint: give each shard once; if a folder holds several runs, give \
         that of the one to merge",
        left_path.display(),
        right_path.display()
    )]
    Repeated {
        /// Its number.
        index: u32,
        /// The first database.
        left_path: PathBuf,
        /// The other.
        right_path: PathBuf,
    },
    /// Shards are missing or did not finish.
    #[error(
        "the run is not whole: {what}\nhint: give all shards; `--allow-partial` merges what is there, and everything \
         made from it says that it is partial"
    )]
    NotWhole {
        /// Which shards, and why.
        what: String,
    },
    /// A request is in two databases.
    #[error(
        "request {index} is there twice, so the shards did not divide one run between them\nhint: please report it"
    )]
    Twice {
        /// Its number.
        index: u64,
    },
    /// The offsets of clocks cannot be used.
    #[error(
        "`{}`: {why}\nhint: it looks like {{\"shards\":[{{\"index\":0,\"offset_ns\":-1200,\"error_ns\":300}}]}}, with each \
         shard once",
        path.display()
    )]
    Offsets {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}
