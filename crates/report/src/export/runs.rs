//! Owns the runs to be exported: finding and reading them, and whether the folder to write into
//! can be taken.
//!
//! It must not know the forms they are written in.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use evalscope_model::time::Timestamp;

use crate::files::{self, FilesError};
use crate::model::rfc3339_local;
use crate::report::RunReport;
use crate::sqlite::{FILE_NAME, StoreError};

/// Why runs could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file could not be found, read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A database could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder to write into lies in the one that is read.
    #[error(
        "`{}` lies inside of `{}`, which is only read\nhint: give a folder beside it",
        path.display(),
        source_folder.display()
    )]
    Inside {
        /// The folder to write into.
        path: PathBuf,
        /// The folder that is read.
        source_folder: PathBuf,
    },
    /// No run has this name.
    #[error("no run is called `{name}`\nhint: the runs are {}", listed(known))]
    NoSuchRun {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Runs of several commands have this name.
    #[error(
        "several runs are called `{name}`\nhint: `--run` takes one of {}",
        listed(found)
    )]
    SeveralRuns {
        /// The name.
        name: String,
        /// How each can be named.
        found: Vec<String>,
    },
    /// No run has a request with this index.
    #[error(
        "no {kind} request has index {index}\nhint: without `--idx`, column `idx` of the table has all \
         indexes"
    )]
    NoSuchRequest {
        /// The index.
        index: u64,
        /// Of which phase it was to be.
        kind: &'static str,
    },
    /// Bodies are wanted and none was recorded.
    #[error(
        "`--bodies`: the bodies of requests and responses were not recorded\nhint: run `evalscope perf` \
         with `--record-bodies all`, or `failed` for those of failures"
    )]
    NoBodies,
    /// What was made could not be written.
    #[error("cannot write the export")]
    Write {
        /// The system's own words, or those of the library that encodes the file.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The local second in which a run was started, date and time with this between them.
pub(super) fn local_second(run: &RunReport, between: char) -> String {
    let digits = |text: &str| -> String {
        let date_and_time = text.chars().take("2026-01-31T12:00:00".len());
        date_and_time.filter(char::is_ascii_digit).collect()
    };
    let mut text = digits(&run.meta.started_at);
    if text.len() != 14 {
        text = digits(&rfc3339_local(&run.meta.clock, Timestamp::ZERO));
    }
    text.insert(8.min(text.len()), between);
    text
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The error of a library that writes files.
pub(super) fn unwritten(
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ExportError {
    ExportError::Write {
        source: source.into(),
    }
}

/// The runs of one command.
#[derive(Debug)]
pub(super) struct Invocation {
    /// The name of its folder.
    pub(super) name: OsString,
    /// In the order they were started in; never empty.
    pub(super) runs: Vec<RunReport>,
}

/// Runs that were found and read, and where they are to go.
#[derive(Debug)]
pub struct Export {
    pub(super) invocations: Vec<Invocation>,
    pub(super) out: PathBuf,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Exported {
    /// The folders of commands.
    pub folders: Vec<PathBuf>,
    /// How many runs are in them.
    pub runs: usize,
    /// What the form has no place for, or what it needs and the runs do not have.
    pub notes: Vec<String>,
}

impl Export {
    /// Find the runs in a folder (a run's, a command's, or one that holds commands') and read
    /// them. `out` must be new or empty.
    ///
    /// # Errors
    /// When there is no run, one cannot be read, or `out` cannot be taken.
    pub fn prepare(folder: &Path, out: &Path) -> Result<Self, ExportError> {
        let found = fs::canonicalize(folder).map_err(files::io_error(folder, "find it"))?;
        files::check_free(out)?;
        if real_place(out)?.starts_with(&found) {
            return Err(ExportError::Inside {
                path: out.to_owned(),
                source_folder: folder.to_owned(),
            });
        }
        let databases = commands(&found)?;
        let mut invocations = Vec::with_capacity(databases.len());
        for (top, databases) in databases {
            let mut runs = Vec::with_capacity(databases.len());
            for database in databases {
                runs.push(RunReport::load(&database)?);
            }
            files::in_order(&mut runs);
            let name = top
                .file_name()
                .map_or_else(|| "perf".into(), OsString::from);
            invocations.push(Invocation { name, runs });
        }
        Ok(Self {
            invocations,
            out: out.to_owned(),
        })
    }
}

/// The folders of commands in a folder and their databases; of a run's folder only this run, not its
/// whole command.
pub(super) fn commands(folder: &Path) -> Result<Vec<files::Invocation>, ExportError> {
    let found = fs::canonicalize(folder).map_err(files::io_error(folder, "find it"))?;
    if !found.join(FILE_NAME).is_file() {
        return Ok(files::invocations(&found)?);
    }
    let top = found.parent().filter(|_| files::is_run(&found));
    let top = top.unwrap_or(&found).to_owned();
    Ok(vec![(top, vec![found.join(FILE_NAME)])])
}

/// Where a folder lies that need not be there yet, without links and `..`.
fn real_place(folder: &Path) -> Result<PathBuf, ExportError> {
    let whole = std::path::absolute(folder).map_err(files::io_error(folder, "find it"))?;
    let mut missing = Vec::new();
    for ancestor in whole.ancestors() {
        match fs::canonicalize(ancestor) {
            Ok(place) => {
                return Ok(missing
                    .iter()
                    .rev()
                    .fold(place, |place, name| place.join(name)));
            }
            Err(_) => missing.push(ancestor.file_name().unwrap_or_default()),
        }
    }
    Ok(whole)
}
