//! Owns writing runs again for other programs: as tables for analysis, and in the form of another
//! tool. Each form has a module of its own; what a form has no place for is said in notes.
//!
//! It must not know what any form looks like, nor the command line. Nothing is written where the
//! runs lie.

mod chosen;
mod evalscope;
mod runs;
mod table;
mod vllm;

use std::fs;

pub use crate::sqlite::Outcome;
pub use chosen::{Chosen, ChosenRun};
pub use runs::{Export, ExportError, Exported};
pub use table::{GeneratedText, Rows, Table, TableFormat, TextReader, write as write_table};
pub use vllm::write as write_vllm;

/// The forms that runs can be exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Folders, databases and JSON files of EvalScope 1.14.1.
    EvalScope,
}

impl Export {
    /// Write them. After an error nothing of it is left.
    ///
    /// # Errors
    /// When a database cannot be read any more, or a file cannot be written.
    pub fn write(&self, format: Format) -> Result<Exported, ExportError> {
        let mut made = Vec::new();
        let written = match format {
            Format::EvalScope => evalscope::write(self, &mut made),
        };
        if written.is_err() {
            for folder in &made {
                // what cannot be removed is no news beside the error
                let _ = fs::remove_dir_all(folder);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests;
