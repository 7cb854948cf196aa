//! Owns where the runs of a side are read from: folders, databases, `result.json`, baselines, and the
//! results of vLLM's bench.
//!
//! It must not know how runs are compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use evalscope_model::metrics::{PERCENTILE_DEGREES, Verdict, student_quantile};
use serde_json::{Map, Value};

use super::baseline::Baseline;
use super::blocks::AllBlocks;
use super::measured::Measured;
use super::run::{Run, Trials};
use super::within::{Within, too_short};
use super::{settings, vllm};
use crate::files::{self, FilesError, RESULT};
use crate::model::RunState;
use crate::names::{FigureKey, Rate, Stat};
use crate::report::RunReport;
use crate::rules::{FurtherPercentiles, PointPlace, further_percentiles};
use crate::sqlite::{FILE_NAME, Reader, StoreError};

/// Folders between the one that was given and those of commands: that of the date.
const MOST_LEVELS: usize = 1;

/// Why a side cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A folder or file cannot be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is none of those that can be compared.
    #[error(
        "`{}`: {why}\nhint: give a folder of `evalscope perf`, a `{FILE_NAME}`, a `{RESULT}`, a baseline of \
         `--save-baseline`, or a result of vLLM's `bench serve --save-result`",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The argument names nothing.
    #[error("`{argument}` names no folder or file")]
    Nothing {
        /// The argument.
        argument: String,
    },
}

/// Read the runs of one side: a path, or several with commas between, whose runs are repeats. Of these figures, runs
/// get the percentiles that they do not have anyway.
///
/// # Errors
/// If one of them cannot be read.
pub fn read_side(argument: &str, further: &[FigureKey]) -> Result<Vec<Run>, ReadError> {
    let mut runs = Vec::new();
    let whole = Path::new(argument);
    let parts: Vec<&str> = if whole.exists() {
        vec![argument]
    } else {
        argument
            .split(',')
            .filter(|part| !part.is_empty())
            .collect()
    };
    if parts.is_empty() {
        return Err(ReadError::Nothing {
            argument: argument.to_owned(),
        });
    }
    for part in parts {
        runs.extend(read(Path::new(part), further)?);
    }
    for run in &mut runs {
        run.add_percentiles(further);
    }
    Ok(runs)
}

fn read(path: &Path, further: &[FigureKey]) -> Result<Vec<Run>, ReadError> {
    if path.is_dir() {
        return read_folder(path, further);
    }
    let bytes = fs::read(path).map_err(files::io_error(path, "read it"))?;
    if bytes.starts_with(b"SQLite format 3\0") {
        return Ok(vec![of_database(path, further)?]);
    }
    let unknown = |why: String| ReadError::Unknown {
        path: path.to_owned(),
        why,
    };
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| unknown(format!("it is not JSON: {error}")))?;
    let origin = path.display().to_string();
    if value["kind"] == Baseline::KIND {
        let baseline = Baseline::read(value).map_err(|error| unknown(error.to_string()))?;
        return Ok(baseline.runs);
    }
    if vllm::is_result(&value) {
        return Ok(vec![vllm::run(&value, origin, further)]);
    }
    match value["runs"].as_array() {
        Some(runs) if value.get("format_version").is_some() => Ok(runs
            .iter()
            .map(|run| of_result(run, &value, &origin))
            .collect()),
        _ => Err(unknown("it has no runs".to_owned())),
    }
}

fn read_folder(folder: &Path, further: &[FigureKey]) -> Result<Vec<Run>, ReadError> {
    let own = folder.join(FILE_NAME);
    if own.is_file() {
        return Ok(vec![of_database(&own, further)?]);
    }
    match databases_below(folder, MOST_LEVELS) {
        Ok(databases) => {
            let runs = databases.iter().map(|own| of_database(own, further));
            runs.collect()
        }
        Err(FilesError::NoRuns { .. }) if folder.join(RESULT).is_file() => {
            read(&folder.join(RESULT), further)
        }
        Err(error) => Err(error.into()),
    }
}

/// The databases of the commands in or below a folder.
fn databases_below(folder: &Path, levels: usize) -> Result<Vec<PathBuf>, FilesError> {
    match files::invocations(folder) {
        Ok(found) => Ok(found.into_iter().flat_map(|(_, own)| own).collect()),
        Err(nothing @ FilesError::NoRuns { .. }) if levels > 0 => {
            let mut found = Vec::new();
            for below in files::folders(folder)? {
                match databases_below(&below, levels - 1) {
                    Ok(own) => found.extend(own),
                    Err(FilesError::NoRuns { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if found.is_empty() {
                Err(nothing)
            } else {
                Ok(found)
            }
        }
        Err(error) => Err(error),
    }
}

fn of_database(database: &Path, further: &[FigureKey]) -> Result<Run, ReadError> {
    let report = RunReport::load(database)?;
    let reader = Reader::open(database)?;
    let within = Within::of(&reader, further)?;
    let percentiles = further_percentiles(&reader, further.iter().copied())?;
    let origin = database.display().to_string();
    Ok(of_report(&report, within, &percentiles, origin))
}

/// The degrees of freedom of the throughput of a plateau, which has twenty bins unless neighbours depend on each other.
const THROUGHPUT_DEGREES: u32 = 19;

/// Why the figures of a run in this state cannot be compared.
fn unusable(state: &str) -> Option<String> {
    (state != RunState::Finished.as_str())
        .then(|| format!("the run is not finished (its state is `{state}`)"))
}

fn of_report(
    report: &RunReport,
    within: Within,
    further: &FurtherPercentiles,
    origin: String,
) -> Run {
    let known = FigureKey::all().filter_map(|key| Some((key, key.value(report)?)));
    let all = known.chain(further.iter().map(|(key, value)| (*key, *value)));
    let figures = all.map(|(key, value)| {
        let ln_variance = within.ln_variances.get(&key).copied();
        (key, Measured { value, ln_variance })
    });
    let meta = &report.meta;
    Run {
        place: PointPlace::of(&meta.load),
        origin,
        tool: format!("{} {}", meta.tool.name, meta.tool.version),
        settings: settings_of(&meta.settings, [&meta.model, &meta.api, &meta.dataset]),
        figures: figures.collect(),
        lost: Some(Trials {
            count: report.lost(),
            of: report.lost() + report.totals.succeeded,
            inflation: within.of_lost,
        })
        .filter(|trials| trials.of > 0),
        good: report
            .goodput
            .as_ref()
            .filter(|own| own.due > 0)
            .map(|own| Trials {
                count: own.good,
                of: own.due,
                inflation: within.of_good,
            }),
        finish_reasons: report.totals.finish_reasons.clone(),
        blocks: within.blocks,
        without_intervals: within.short.map(too_short),
        is_short: within.short.is_some(),
        unusable: unusable(report.state.as_str()),
        client_limited: report.client.verdict == Verdict::ClientLimited,
        warnings: report.warnings.iter().map(|one| one.text.clone()).collect(),
    }
}

/// What is known of a run in any case stands in for settings of earlier versions.
fn settings_of(all: &Value, [model, api, dataset]: [&str; 3]) -> Map<String, Value> {
    let mut known = settings::that_matter(all);
    for (name, value) in [("model", model), ("api", api), ("dataset", dataset)] {
        known.entry(name).or_insert_with(|| value.into());
    }
    known
}

/// Figures of `result.json` that have an interval.
const WITH_INTERVALS: &str = "a result.json has an interval only of p50, p90, p95 and p99 of the times of requests, and of output_tokens_per_s \
                              if the run had a plateau: compare folders with databases, or three runs a side";

/// How much a figure of `result.json` varies within its run: from the intervals that it has of some percentiles, and of
/// the throughput of the plateau.
fn variance_in(run: &Value, figure: FigureKey) -> Option<f64> {
    let ends = |ci: &Value| {
        let (low, high) = (ci[0].as_f64()?, ci[1].as_f64()?);
        Some((high / low).ln()).filter(|width| width.is_finite())
    };
    let (width, degrees) = match figure {
        FigureKey::Metric(metric, Stat::Percentile(percentile)) => {
            let ci = &run["metrics"][metric.key()][format!("p{percentile}_ci")];
            (ends(ci)?, PERCENTILE_DEGREES)
        }
        FigureKey::Rate(Rate::OutputTokens) => (
            ends(&run["plateau"]["output_tokens_per_s_ci"])?,
            THROUGHPUT_DEGREES,
        ),
        _ => return None,
    };
    let error = width / (2.0 * student_quantile(0.975, degrees));
    Some(error * error)
}

/// A run of `result.json`.
fn of_result(run: &Value, file: &Value, origin: &str) -> Run {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let load = &run["load"];
    let count = |of: &str| run["counts"][of].as_u64().unwrap_or(0);
    let lost = count("failed") + count("shed") + count("unfinished");
    let of = lost + count("succeeded");
    let mut figures: BTreeMap<FigureKey, Measured> = FigureKey::all()
        .filter_map(|key| {
            let value = key.value_in(run)?;
            let ln_variance = variance_in(run, key);
            Some((key, Measured { value, ln_variance }))
        })
        .collect();
    if of > 0 {
        let errors = FigureKey::Rate(Rate::Errors);
        figures.insert(errors, Measured::of(lost as f64 / of as f64));
    }
    let trials = |count: u64, of: u64| {
        (of > 0).then_some(Trials {
            count,
            of,
            inflation: 1.0,
        })
    };
    let good = run["goodput"]["good"]
        .as_u64()
        .zip(run["goodput"]["due"].as_u64());
    let [model, api, dataset] = ["model", "api", "dataset"].map(|name| text(&run[name]));
    let rate = load["profile"].as_str().map(str::to_owned);
    let name = text(&run["name"]);
    Run {
        place: PointPlace {
            name: load_name(&name).to_owned(),
            parallel: load["concurrency"].as_u64(),
            rate: rate.or_else(|| load["rate_per_s"].as_f64().map(|rate| rate.to_string())),
            number: load["requests"].as_u64(),
            duration_s: load["duration_s"].as_f64(),
        },
        origin: format!("{origin} ({name})"),
        tool: format!(
            "{} {}",
            text(&file["tool"]["name"]),
            text(&file["tool"]["version"])
        ),
        settings: settings_of(&file["settings"], [&model, &api, &dataset]),
        figures,
        lost: trials(lost, of),
        good: good.and_then(|(good, due)| trials(good, due)),
        finish_reasons: run["finish_reasons"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(reason, n)| Some((reason.clone(), n.as_u64()?)))
            .collect(),
        blocks: AllBlocks::new(),
        without_intervals: Some(WITH_INTERVALS.to_owned()),
        is_short: false,
        unusable: unusable(&text(&run["state"])),
        client_limited: run["client"]["verdict"] == "client_limited",
        warnings: run["warnings"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| text(&one["text"]))
            .collect(),
    }
}

/// The name of a run without the number of its repetition.
fn load_name(name: &str) -> &str {
    match name.rsplit_once("_rep") {
        Some((load, nth)) if nth.parse::<u32>().is_ok() => load,
        _ => name,
    }
}
