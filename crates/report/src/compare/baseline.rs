//! Owns baselines: small files with the runs of one side, to be committed beside the code.
//!
//! It must not know how runs are compared.

use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::json;
use crate::model::Tool;

/// The runs of one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Which kind of file it is.
    pub kind: String,
    /// Version of this format.
    pub format_version: u32,
    /// The program that wrote it.
    pub tool: Tool,
    /// The runs.
    pub runs: Vec<Run>,
}

impl Baseline {
    /// What `kind` says.
    pub const KIND: &str = "evalscope-baseline";

    /// These runs.
    #[must_use]
    pub fn of(runs: &[Run]) -> Self {
        Self {
            kind: Self::KIND.to_owned(),
            format_version: 1,
            tool: Tool::this(),
            runs: runs.to_vec(),
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// When a value has no JSON form.
    pub fn text(&self) -> serde_json::Result<String> {
        json::text(self)
    }
}
