//! Owns which file goes where in an invocation's folder, and finds the
//! databases in one again.
//!
//! Layout: the invocation's folder holds `result.json` and
//! `performance_summary.txt`, and for each run a folder
//! `parallel_<P>_number_<N>` with its database and the files made from it.

mod error;
mod whole;

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::{fs, io};

use evalscope_model::point::{PROBES, is_run_name};
use evalscope_model::search::SearchRecord;

use crate::capacity;
use crate::console;
use crate::html::{self, Ended};
use crate::json::{self, ResultFile};
use crate::model::{Lang, RunMeta};
use crate::repeats::{Repeats, repeats};
use crate::report::RunReport;
use crate::speeds;
use crate::sqlite::{FILE_NAME, Reader, StoreError};
use crate::together::Together;
use crate::workload::Unreported;

pub use error::FilesError;
pub(crate) use error::io_error;
pub(crate) use whole::write;
pub use whole::write_with;

/// A run's summary in the reference tool's form.
pub const SUMMARY: &str = "benchmark_summary.json";
/// A run's percentiles in the reference tool's form.
pub const PERCENTILES: &str = "benchmark_percentile.json";
/// A run's speeds by length of the prompt, in the reference tool's form.
pub const SPEEDS: &str = "speed_benchmark.json";
/// A run's throughput over three windows, in the reference tool's form.
pub const THROUGHPUT: &str = "workload_throughput.json";
/// A run's tokens over time, in the reference tool's form.
pub const TIMELINE: &str = "workload_timeline.json";
/// The conversations of a run, in the reference tool's form.
pub const CONVERSATIONS: &str = "trace_summary.json";
/// A run's settings.
pub const ARGS: &str = "benchmark_args.json";
/// Everything of an invocation.
pub const RESULT: &str = "result.json";
/// The tables of an invocation.
pub const TEXT: &str = "performance_summary.txt";

/// The page of an invocation.
pub const PAGE: &str = "perf_report.html";

/// What becomes of the page of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// It is not written.
    LeftOut,
    /// It is written in the language that the first run was given.
    Written,
    /// It is written in this language.
    WrittenIn(Lang),
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), FilesError> {
    let text = json::text(value).map_err(|source| FilesError::Json {
        path: path.to_owned(),
        source,
    })?;
    write(path, &text)
}

/// Write the files of a run into its folder.
///
/// # Errors
/// When a file cannot be written.
pub fn write_run(folder: &Path, report: &RunReport) -> Result<(), FilesError> {
    write_json(&folder.join(ARGS), &json::args(report))?;
    write_json(&folder.join(SUMMARY), &json::summary(report))?;
    write_json(&folder.join(PERCENTILES), &json::percentiles(report))?;
    if let Some(timeline) = &report.workload {
        write_json(
            &folder.join(THROUGHPUT),
            &timeline.throughput(Unreported::Null),
        )?;
        write_json(&folder.join(TIMELINE), &timeline.points(Unreported::Null))?;
    }
    if let Some(figures) = &report.conversations {
        write_json(
            &folder.join(CONVERSATIONS),
            &json::trace_summary(&figures.per_conversation),
        )?;
    }
    if !report.speeds.is_empty() {
        write_json(
            &folder.join(SPEEDS),
            &speeds::json(&report.speeds, report.gpu_memory_gb),
        )?;
    }
    Ok(())
}

/// Write the files of an invocation into its folder, whatever order its runs are given in.
/// Without a run there is nothing to write. Runs that other commands have put into the folder are
/// read from their databases: what was measured stays in the files. A command that writes them again after
/// each of its runs gives the same `ended` each time.
///
/// The page comes last. Why it could not be written is the value, since all else is there.
///
/// # Errors
/// When a database cannot be read, or another file cannot be written.
pub fn write_invocation(
    top: &Path,
    runs: &[RunReport],
    search: Option<&SearchRecord>,
    page: Page,
    ended: &mut Ended,
) -> Result<Option<FilesError>, FilesError> {
    if runs.is_empty() {
        return Ok(None);
    }
    let mut runs = runs.to_vec();
    for database in databases(top)? {
        if !runs.iter().any(|run| run.database == database) {
            runs.push(RunReport::load(&database)?);
        }
    }
    in_order(&mut runs);
    let repeats = repeats_of(&runs, ended)?;
    for run in &mut runs {
        // where the folder lies must not show in its files: it may be moved
        if let Ok(inside) = run.database.strip_prefix(top) {
            run.database = inside.to_owned();
        }
    }
    let search = match search {
        Some(search) => {
            let path = top.join(capacity::SELECTION);
            let settled = capacity::settled(search).map_err(|source| FilesError::Json {
                path: path.clone(),
                source,
            })?;
            write_json(&path, &settled)?;
            Some(settled)
        }
        None => capacity::record(top),
    };
    if let Some(search) = &search {
        write_json(
            &top.join(capacity::SUMMARY),
            &json::sla_summary(&runs, search),
        )?;
    }
    let together = Together { repeats, search };
    let Some(result) = ResultFile::new(&runs, &together) else {
        return Ok(None);
    };
    write_json(&top.join(RESULT), &result)?;
    write(
        &top.join(TEXT),
        &console::performance_summary(&runs, &together),
    )?;
    Ok(write_page(top, &runs, &together, page, ended).err())
}

/// What the repeated runs among these come to.
///
/// # Errors
/// When a database cannot be read.
pub fn repeats_of(runs: &[RunReport], ended: &mut Ended) -> Result<Vec<Repeats>, StoreError> {
    repeats(runs, &mut ended.pooled)
}

fn write_page(
    folder: &Path,
    runs: &[RunReport],
    together: &Together,
    page: Page,
    ended: &mut Ended,
) -> Result<(), FilesError> {
    let lang = match page {
        Page::LeftOut => return Ok(()),
        Page::Written => runs[0].meta.lang,
        Page::WrittenIn(lang) => lang,
    };
    let path = folder.join(PAGE);
    match html::page(folder, runs, together, lang, ended) {
        Ok(text) => write(&path, &text),
        Err(source) => Err(FilesError::Page {
            path,
            source: Box::new(source),
        }),
    }
}

pub(crate) fn in_order(runs: &mut [RunReport]) {
    runs.sort_by(|a, b| by_start(&a.meta, &b.meta));
}

/// By start, then by their order in the command, then by name.
pub(crate) fn by_start(a: &RunMeta, b: &RunMeta) -> Ordering {
    let start = |meta: &RunMeta| meta.started_at.parse::<jiff::Timestamp>().ok();
    start(a)
        .cmp(&start(b))
        .then_with(|| a.load.point.ordinal.cmp(&b.load.point.ordinal))
        .then_with(|| a.name.cmp(&b.name))
}

/// The runs in an invocation's folder, each of which can be read. Without a folder there are none.
///
/// # Errors
/// When the folder or a database cannot be read.
pub fn runs_in(top: &Path) -> Result<Vec<RunMeta>, FilesError> {
    if !top.is_dir() {
        return Ok(Vec::new());
    }
    let meta = |database: PathBuf| Ok(Reader::open(&database)?.meta().clone());
    databases(top)?.into_iter().map(meta).collect()
}

/// Read the databases in or below a folder again and rewrite every file made
/// from them. The folder may be an invocation's, a run's (then its whole
/// invocation is rebuilt), or one that holds invocations.
///
/// # Errors
/// When there is no database, one cannot be read, or a file cannot be written.
pub fn rebuild(folder: &Path, page: Page) -> Result<Vec<RunReport>, FilesError> {
    let folder = fs::canonicalize(folder).map_err(io_error(folder, "find it"))?;
    let mut all = Vec::new();
    for (top, databases) in invocations(&folder)? {
        let mut runs = Vec::with_capacity(databases.len());
        for database in databases {
            runs.push(RunReport::load(&database)?);
        }
        for run in &runs {
            let own = run.database.parent().expect("a database lies in a folder");
            write_run(own, run)?;
        }
        if let Some(error) = write_invocation(&top, &runs, None, page, &mut Ended::default())? {
            return Err(error);
        }
        in_order(&mut runs);
        all.append(&mut runs);
    }
    Ok(all)
}

/// The database of the run of this name in or below a folder, or of the only one that there is.
///
/// # Errors
/// When there is no such run, or there are several, or a folder or a database cannot be read.
pub fn database_of(folder: &Path, name: Option<&str>) -> Result<PathBuf, FilesError> {
    let folder = fs::canonicalize(folder).map_err(io_error(folder, "find it"))?;
    let own = folder.join(FILE_NAME);
    if name.is_none() && own.is_file() {
        return Ok(own);
    }
    let mut runs = Vec::new();
    for (_, databases) in invocations(&folder)? {
        for database in databases {
            let meta = Reader::open(&database)?.meta().clone();
            runs.push((meta.name, database));
        }
    }
    let all: Vec<String> = runs.iter().map(|(name, _)| format!("`{name}`")).collect();
    let names = all.join(", ");
    if let Some(name) = name {
        runs.retain(|(own, _)| own == name);
    }
    match (name, runs.len()) {
        (_, 1) => Ok(runs.remove(0).1),
        (Some(name), 0) => Err(FilesError::NoSuchRun {
            name: name.to_owned(),
            names,
        }),
        _ => Err(FilesError::SeveralRuns { names }),
    }
}

/// Write the page of one of these runs into its folder, for a page that has no details of it.
///
/// # Errors
/// When no run has this name, or the page cannot be made or written.
pub fn write_run_page(runs: &[RunReport], name: &str, page: Page) -> Result<(), FilesError> {
    let Some(run) = runs.iter().find(|run| run.meta.name == name) else {
        let names = runs.iter().map(|run| format!("`{}`", run.meta.name));
        return Err(FilesError::NoSuchRun {
            name: name.to_owned(),
            names: names.collect::<Vec<_>>().join(", "),
        });
    };
    let folder = run.database.parent().expect("a database lies in a folder");
    let mut run = run.clone();
    run.database = PathBuf::from(FILE_NAME);
    write_page(
        folder,
        &[run],
        &Together::default(),
        page,
        &mut Ended::default(),
    )
}

/// Check that a folder can be written into without mixing what is there with what is written.
pub(crate) fn check_free(out: &Path) -> Result<(), FilesError> {
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(FilesError::NotEmpty {
                path: out.to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(FilesError::NotAFolder {
            path: out.to_owned(),
        }),
        Err(error) => Err(io_error(out, "read it")(error)),
    }
}

/// An invocation's folder and its databases.
pub(crate) type Invocation = (PathBuf, Vec<PathBuf>);

pub(crate) fn invocations(folder: &Path) -> Result<Vec<Invocation>, FilesError> {
    if folder.join(FILE_NAME).is_file() {
        let top = folder.parent().filter(|_| is_run(folder));
        // a probe of a search is a folder deeper
        let top = match top {
            Some(top) if top.ends_with(PROBES) => top.parent(),
            top => top,
        };
        return Ok(vec![match top {
            Some(top) => (top.to_owned(), databases(top)?),
            // a database on its own
            None => (folder.to_owned(), vec![folder.join(FILE_NAME)]),
        }]);
    }
    let here = databases(folder)?;
    if !here.is_empty() {
        return Ok(vec![(folder.to_owned(), here)]);
    }
    let mut below = Vec::new();
    for top in folders(folder)? {
        let databases = databases(&top)?;
        if !databases.is_empty() {
            below.push((top, databases));
        }
    }
    if below.is_empty() {
        return Err(FilesError::NoRuns {
            path: folder.to_owned(),
        });
    }
    Ok(below)
}

/// The databases of the runs in an invocation's folder.
fn databases(top: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let mut all = folders(top)?;
    let probes = top.join(PROBES);
    if probes.is_dir() {
        all.extend(folders(&probes)?);
    }
    Ok(all
        .into_iter()
        .filter(|folder| is_run(folder))
        .map(|folder| folder.join(FILE_NAME))
        .filter(|database| database.is_file())
        .collect())
}

/// The folders in a folder, by name.
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder, "read it"))? {
        let path = entry.map_err(io_error(folder, "read it"))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort_by(|a, b| {
        a.file_name()
            .partial_cmp(&b.file_name())
            .unwrap_or(Ordering::Equal)
    });
    Ok(found)
}

/// Whether a folder's name is that of a run.
pub(crate) fn is_run(folder: &Path) -> bool {
    folder
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(is_run_name)
}

#[cfg(test)]
mod tests;
