//! Owns `compare.json`, with a schema.

use serde::Serialize;

use super::outcome::{Comparison, Ending};
use crate::json;
use crate::model::Tool;

/// `compare.json`: each of the new sides compared with the base.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(title = "compare.json", deny_unknown_fields)
)]
pub struct ComparisonFile<'a> {
    /// Version of this format. A higher one may have dropped or changed keys.
    pub format_version: u32,
    /// The program that compared.
    pub tool: Tool,
    /// The worst of their endings.
    pub ending: Ending,
    /// Each of the new sides with the base.
    pub comparisons: &'a [Comparison],
}

/// The worst ending of several comparisons.
#[must_use]
pub fn ending(comparisons: &[Comparison]) -> Ending {
    let endings = comparisons.iter().map(|one| one.ending);
    endings.max().unwrap_or(Ending::Passed)
}

impl<'a> ComparisonFile<'a> {
    /// Of these comparisons.
    #[must_use]
    pub fn of(comparisons: &'a [Comparison]) -> Self {
        Self {
            format_version: 1,
            tool: Tool::this(),
            ending: ending(comparisons),
            comparisons,
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
