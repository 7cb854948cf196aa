//! Owns which runs are exported: those in a folder, or the one with a name.
//!
//! It must not know what is written of them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::runs::ExportError;
use crate::files;
use crate::model::{RunMeta, RunState};
use crate::report::RunReport;
use crate::sqlite::{Reader, StoreError};

/// A run to be exported.
#[derive(Debug)]
pub struct ChosenRun {
    /// Its name. Where the folder holds several commands, behind that of the command's folder.
    pub name: String,
    /// Its database.
    pub database: PathBuf,
    /// What is known of it.
    pub meta: RunMeta,
    /// How far it came.
    pub state: RunState,
}

/// The runs to be exported, those of each command in the order in which they were started.
#[derive(Debug)]
pub struct Chosen {
    /// Never empty.
    pub runs: Vec<ChosenRun>,
}

impl Chosen {
    /// Find the runs in a folder (a run's, a command's, or one that holds commands'); with a name,
    /// only that run.
    ///
    /// # Errors
    /// When there is no run, none or several have this name, or a database cannot be opened.
    pub fn find(folder: &Path, name: Option<&str>) -> Result<Self, ExportError> {
        let commands = super::runs::commands(folder)?;
        let has_several = commands.len() > 1;
        let mut runs = Vec::new();
        for (top, databases) in commands {
            let mut own = Vec::with_capacity(databases.len());
            for database in databases {
                let reader = Reader::open(&database)?;
                let (meta, state) = (reader.meta().clone(), reader.state());
                let name = match top.file_name().filter(|_| has_several) {
                    Some(command) => format!("{}/{}", command.display(), meta.name),
                    None => meta.name.clone(),
                };
                own.push(ChosenRun {
                    name,
                    database,
                    meta,
                    state,
                });
            }
            own.sort_by(|a, b| files::by_start(&a.meta, &b.meta));
            runs.append(&mut own);
        }
        let Some(wanted) = name else {
            return Ok(Self { runs });
        };
        let known: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
        runs.retain(|run| run.name == wanted || run.meta.name == wanted);
        match runs.len() {
            1 => Ok(Self { runs }),
            0 => Err(ExportError::NoSuchRun {
                name: wanted.to_owned(),
                known,
            }),
            _ => Err(ExportError::SeveralRuns {
                name: wanted.to_owned(),
                found: runs.into_iter().map(|run| run.name).collect(),
            }),
        }
    }
}

impl ChosenRun {
    /// Sum up its database.
    pub(super) fn report(&self) -> Result<RunReport, StoreError> {
        RunReport::load(&self.database)
    }

    /// What was asked of it, as the database has it, and how far it came; secrets are masked.
    pub(super) fn about(&self) -> Value {
        let mut about = serde_json::to_value(&self.meta).unwrap_or_default();
        about["run"] = self.name.as_str().into();
        about["state"] = self.state.as_str().into();
        about
    }

    /// A file's name for what is written of it, without an ending.
    #[must_use]
    pub fn file_stem(&self) -> String {
        self.name.replace('/', "_")
    }
}
