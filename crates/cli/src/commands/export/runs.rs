//! Owns finding the runs to be exported, and how an export that was begun fails.
//!
//! It must not know what is written of them.

use evalscope_report::export::{Chosen, ExportError};

use super::args::ExportArgs;
use crate::catalog::row::nearest;
use crate::failure::{Unfinished, hinted};

/// The runs to be exported.
pub(super) fn chosen(args: &ExportArgs) -> anyhow::Result<Chosen> {
    Chosen::find(&args.dir, args.run.as_deref()).map_err(|error| match &error {
        ExportError::NoSuchRun { name, known } => {
            let near = nearest(name, known.iter().map(String::as_str));
            if near.is_empty() {
                return error.into();
            }
            let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            hinted(
                format!("no run is called `{name}`{near}"),
                format!("the runs are {}", list.join(", ")),
            )
        }
        _ => error.into(),
    })
}

/// An export that was begun and could not be completed.
pub(super) fn unfinished(source: ExportError, left: String) -> anyhow::Error {
    Unfinished {
        what: "the export could not be completed",
        source: source.into(),
        hint: left,
    }
    .into()
}
