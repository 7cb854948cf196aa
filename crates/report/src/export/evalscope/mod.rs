//! Owns the form of EvalScope 1.14.1 as a whole: its folders, and which file goes where.
//!
//! ```text
//! <out>/<YYYYMMDD_HHMMSS>/<name>/parallel_<P>_number_<N>/   or rate_<R>_number_<N>
//!   benchmark_args.json  benchmark_data.db  benchmark_percentile.json  benchmark_summary.json
//!   workload_throughput.json  workload_timeline.json          where a request succeeded
//!   trace_summary.json                                        of conversations
//!   speed_benchmark.json                                      of `speed_benchmark*`
//! ```
//!
//! It must not know what a file holds. Source of all that is here: the package `evalscope` 1.14.1,
//! which `ci/reference-commands export` reads exports with.

mod arguments;
mod bodies;
mod database;
mod gaps;
mod load;
mod moments;
mod percentiles;
mod python;
mod speeds;
mod summary;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use self::database::Missing;
use self::load::{number, rate};
use self::python::Value;
use super::runs::{Export, ExportError, Exported, Invocation, local_second};
use crate::files::{
    ARGS, CONVERSATIONS, PERCENTILES, SPEEDS, SUMMARY, THROUGHPUT, TIMELINE, io_error,
    write as write_file,
};
use crate::json;
use crate::model::RunState;
use crate::report::RunReport;
use crate::sqlite::FILE_NAME;
use crate::workload::Unreported;

/// Write all runs. Folders that were made are noted in `made`.
pub(super) fn write(export: &Export, made: &mut Vec<PathBuf>) -> Result<Exported, ExportError> {
    let mut exported = Exported::default();
    for invocation in &export.invocations {
        let time = export.out.join(local_second(&invocation.runs[0], '_'));
        let mut tops: Vec<(PathBuf, BTreeSet<String>)> = Vec::new();
        for run in &invocation.runs {
            let name = run_name(run);
            // EvalScope has no two points of the same load: a second one is a command of its own
            let at = tops.iter().position(|(_, names)| !names.contains(&name));
            let at = at.unwrap_or(tops.len());
            if at == tops.len() {
                tops.push((new_folder(&time, invocation, made)?, BTreeSet::new()));
            }
            let (top, names) = &mut tops[at];
            let folder = top.join(&name);
            fs::create_dir(&folder).map_err(io_error(&folder, "make the folder"))?;
            let missing = write_run(run, &folder)?;
            note_all(run, &name, &missing, &mut exported.notes);
            names.insert(name);
            exported.runs += 1;
        }
        exported
            .folders
            .extend(tops.into_iter().map(|(top, _)| top));
    }
    Ok(exported)
}

fn write_run(run: &RunReport, folder: &Path) -> Result<Missing, ExportError> {
    let file = |name: &str, value: &Value| write_file(&folder.join(name), &python::indented(value));
    let rows = database::write(&run.database, &folder.join(FILE_NAME))?;
    file(ARGS, &arguments::of(run, folder))?;
    file(SUMMARY, &summary::of(run, &rows.streams))?;
    file(PERCENTILES, &percentiles::of(&rows)?)?;
    if let Some(timeline) = rows.workload.finish_as_evalscope(&run.meta.clock) {
        file(THROUGHPUT, &timeline.throughput(Unreported::Zero).into())?;
        file(TIMELINE, &timeline.points(Unreported::Zero).into())?;
    }
    if let Some(figures) = &run.conversations {
        let summary = json::trace_summary(&figures.per_conversation);
        file(CONVERSATIONS, &summary.into())?;
    }
    if crate::speeds::is_measured(&run.meta.dataset) {
        file(SPEEDS, &speeds::of(&rows.table)?)?;
    }
    rows.table.close()?;
    Ok(rows.missing)
}

/// A folder for runs of a command: with its name, or that and a number.
fn new_folder(
    time: &Path,
    invocation: &Invocation,
    made: &mut Vec<PathBuf>,
) -> Result<PathBuf, ExportError> {
    if !made.iter().any(|folder| folder == time) {
        fs::create_dir_all(time).map_err(io_error(time, "make the folder"))?;
        made.push(time.to_owned());
    }
    let mut name = invocation.name.clone();
    for number in 2_u64.. {
        let folder = time.join(&name);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                name.clone_from(&invocation.name);
                name.push(format!("_{number}"));
            }
            Err(error) => return Err(io_error(&folder, "make the folder")(error).into()),
        }
    }
    unreachable!("there are fewer folders than numbers")
}

/// A run's name in EvalScope: by its number of requests, the one that was sent where none was
/// asked for.
fn run_name(run: &RunReport) -> String {
    let number = number(run);
    match (run.meta.load.concurrency, rate(run)) {
        (Some(slots), _) => format!("parallel_{slots}_number_{number}"),
        (None, rate) => format!("rate_{}_number_{number}", python::float(rate)),
    }
}

/// Say what this form has no place for, and what it needs and the run does not have.
fn note_all(run: &RunReport, name: &str, missing: &Missing, notes: &mut Vec<String>) {
    let own = &run.meta.name;
    let total = run.totals.total;
    if own != name {
        notes.push(format!(
            "`{own}` is called `{name}`, as EvalScope names runs"
        ));
    }
    let mut note = |text: String| notes.push(format!("`{name}`: {text}"));
    if run.state == RunState::Running {
        note("the run has no end on record: it is under way, or was killed".to_owned());
    }
    if missing.bodies > 0 {
        note(format!(
            "the bodies of {} of {total} requests were not recorded: their `request` is NULL, and \
             their `response_messages` is an empty list",
            missing.bodies
        ));
    }
    let succeeded = run.totals.succeeded;
    if missing.tokens > 0 {
        note(format!(
            "the number of tokens of {} of {succeeded} responses is not known: it is written as 0",
            missing.tokens
        ));
    }
    if missing.first_token > 0 {
        note(format!(
            "{} of {succeeded} responses came as streams without a token: their \
             `first_chunk_latency` is written as 0.0",
            missing.first_token
        ));
    }
    let unsent = run.totals.not_sent + run.totals.shed;
    if unsent > 0 {
        note(format!(
            "requests that were due and never sent are left out: {unsent}"
        ));
    }
    if run.totals.unfinished > 0 {
        note(format!(
            "requests that were given up before they ended are left out: {}",
            run.totals.unfinished
        ));
    }
}
