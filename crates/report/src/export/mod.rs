//! Owns writing finished runs again in the form of another tool: which runs, and into which
//! folder. Each form has a module of its own; what a form has no place for is said in notes.
//!
//! It must not know what any form looks like, nor the command line. Nothing is written where the
//! runs lie.

mod evalscope;
mod runs;

use std::fs;

pub use runs::{Export, ExportError, Exported};

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
