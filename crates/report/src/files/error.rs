//! Owns why files of runs could not be written or found.
//!
//! It must not know which files there are.

use std::io;
use std::path::{Path, PathBuf};

use crate::html;
use crate::sqlite::{FILE_NAME, StoreError};

/// Why files could not be written or found.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A database could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system refused.
    #[error("`{}`: cannot {doing}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's own words.
        source: io::Error,
    },
    /// A value has no JSON form.
    #[error("`{}`: cannot be written as JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The page could not be made.
    #[error("`{}`: the page cannot be made", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<html::PageError>,
    },
    /// No run has this name.
    #[error("no run is called `{name}`\nhint: the runs are {names}")]
    NoSuchRun {
        /// The name.
        name: String,
        /// Those that there are.
        names: String,
    },
    /// There are several runs.
    #[error("there are several runs\nhint: `--run` says which: {names}")]
    SeveralRuns {
        /// Their names.
        names: String,
    },
    /// The folder to write into holds something.
    #[error("`{}` is not empty\nhint: give a new or an empty folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// What is to be written into is no folder.
    #[error("`{}` is a file\nhint: give a new or an empty folder", path.display())]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// There is no run in a folder.
    #[error(
        "`{}` holds no `{FILE_NAME}`\nhint: give the folder of a command's runs, which has folders such \
         as `parallel_<P>_number_<N>`, or one of these folders",
        path.display()
    )]
    NoRuns {
        /// The folder.
        path: PathBuf,
    },
}

pub(crate) fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::Io {
        path: path.to_owned(),
        doing,
        source,
    }
}
