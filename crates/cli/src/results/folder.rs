//! Owns the folder of a command's results: where it is, and that nothing measured is replaced in it.
//!
//! It must not know what is put there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use evalscope_model::plan::RunSpec;
use evalscope_report::{files, sqlite};
use serde_json::json;

use crate::console;
use crate::failure::hinted;
use crate::log;
use crate::resolve::ResultsPlace;

/// What to do about results that are in the way.
const OTHER_FOLDER: &str =
    "choose another `--name` or `--outputs-dir`, or leave out `--no-timestamp`";

/// Make the invocation's folder. One that was asked for by name may hold runs of other commands,
/// as long as they are other points: they stay.
pub(crate) fn make(place: &ResultsPlace, model: &str, runs: &[RunSpec]) -> anyhow::Result<PathBuf> {
    let top = if place.timestamp {
        let second = jiff::Zoned::now().strftime("%Y%m%d_%H%M%S").to_string();
        folder_of_its_own(&place.outputs_dir, &second, &place.name)?
    } else {
        let top = place.outputs_dir.join(&place.name);
        for spec in runs {
            // a search cannot go on with the probes of another one
            let path = match &spec.point.within {
                Some(probes) => top.join(probes),
                None => top.join(spec.point.folder()).join(sqlite::FILE_NAME),
            };
            if path.exists() {
                return Err(hinted(
                    format!("{} already holds a run", path.display()),
                    OTHER_FOLDER,
                ));
            }
        }
        let earlier = files::runs_in(&top).map_err(|error| {
            // the cause may have a hint of its own
            let cause = error.to_string();
            let cause = cause.lines().next().unwrap_or_default();
            hinted(
                format!("no runs can be added to {}: {cause}", top.display()),
                OTHER_FOLDER,
            )
        })?;
        if let Some(other) = earlier.iter().find(|run| run.model != *model) {
            return Err(hinted(
                format!(
                    "{} already holds runs of another model, `{}`; this command measures `{}`",
                    top.display(),
                    other.model,
                    model
                ),
                OTHER_FOLDER,
            ));
        }
        if !earlier.is_empty() {
            let names: Vec<_> = earlier.iter().map(|run| run.name.as_str()).collect();
            console::err(&format!(
                "{} already holds {}: the runs of this command are added",
                top.display(),
                names.join(", ")
            ));
        }
        std::fs::create_dir_all(&top).with_context(|| unmade(&top))?;
        top
    };
    if let Some(file) = &place.path_file {
        let path = std::path::absolute(&top).unwrap_or_else(|_| top.clone());
        // which probes a search has is not known yet
        let is_known = runs.iter().all(|run| run.point.within.is_none());
        let names = is_known.then(|| {
            let names = runs.iter().map(|run| run.point.folder());
            names.collect::<Vec<_>>()
        });
        let written = json!({"folder": path.display().to_string(), "runs": names});
        std::fs::write(file, written.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(top)
}

/// `outputs/20260101_120000/name`, or `20260101_120000_2` where another command of the same
/// second has that.
fn folder_of_its_own(outputs: &Path, second: &str, name: &str) -> anyhow::Result<PathBuf> {
    for number in 1_u64.. {
        let folder = match number {
            1 => outputs.join(second),
            _ => outputs.join(format!("{second}_{number}")),
        };
        std::fs::create_dir_all(&folder).with_context(|| unmade(&folder))?;
        let top = folder.join(name);
        match std::fs::create_dir(&top) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| top.clone()).with_context(|| unmade(&top)),
        }
    }
    anyhow::bail!("no folder below {} is free", outputs.display())
}

/// Remove the folder of a command that has measured nothing, where it holds but the log.
pub(crate) fn forget(top: &Path) {
    let Ok(entries) = std::fs::read_dir(top) else {
        return;
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    if names != [log::LOG] || std::fs::remove_file(top.join(log::LOG)).is_err() {
        return;
    }
    // a folder that holds anything else stays
    for folder in top.ancestors().take(3) {
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

fn unmade(folder: &Path) -> String {
    format!("cannot make the folder {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_same_second_have_folders_of_their_own() {
        let outputs = tempfile::tempdir().unwrap();
        let make = |name| {
            let top = folder_of_its_own(outputs.path(), "20260101_120000", name).unwrap();
            let below = top.strip_prefix(outputs.path()).unwrap().to_owned();
            below.display().to_string()
        };
        assert_eq!(make("m"), "20260101_120000/m");
        assert_eq!(make("m"), "20260101_120000_2/m");
        assert_eq!(make("other"), "20260101_120000/other");
        assert_eq!(make("m"), "20260101_120000_3/m");
        std::fs::write(outputs.path().join("file"), "").unwrap();
        let error = folder_of_its_own(&outputs.path().join("file"), "x", "m").unwrap_err();
        assert!(error.to_string().starts_with("cannot make the folder "));
    }
}
