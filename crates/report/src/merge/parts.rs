//! Owns finding the databases of shards and checking that they are those of one run.

use std::path::{Path, PathBuf};

use evalscope_model::shard::Shard;
use serde_json::Value;

use super::error::MergeError;
use super::offsets::{Offset, Offsets};
use crate::files::io_error;
use crate::model::{RunMeta, RunState};
use crate::sqlite::{FILE_NAME, Reader};

/// Folders between that of a shard and its database: `shard-0-of-4/20260101_120000/model/run`.
const DEPTH: usize = 4;

/// Settings that belong to a process and not to the run.
pub(super) const OWN_SETTINGS: [&str; 14] = [
    "shard",
    "start_at",
    "outputs_dir",
    "no_timestamp",
    "name",
    "client_threads",
    "ca_cert",
    "progress",
    "metrics_listen",
    "metrics_linger",
    "enable_progress_tracker",
    "log_every_n_query",
    "lang",
    "no_html",
];

/// The API whose server each process starts for itself, at an address of its own.
const OWN_SERVER: &str = "local_sim";

/// Whether shards may be missing, or not have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// That is an error.
    Refused,
    /// The rest is put together, and is called partial.
    Allowed,
}

/// A shard's database.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) shard: Shard,
    pub(super) reader: Reader,
    pub(super) offset: Offset,
    /// Unix time at the start of its clock, as its machine knew it when the load began, nanoseconds.
    wall_start_ns: u64,
}

impl Part {
    fn open(path: &Path, offsets: &Offsets) -> Result<Self, MergeError> {
        let reader = Reader::open(path)?;
        if !reader.is_current() {
            return Err(MergeError::Form {
                path: path.to_owned(),
            });
        }
        let meta = reader.meta();
        let shard = meta.load.shard;
        let is_part = meta.settings["shard"].is_string();
        if !is_part || !meta.shards.is_empty() {
            return Err(MergeError::Whole {
                path: path.to_owned(),
            });
        }
        let began = reader.began()?;
        Ok(Self {
            shard,
            offset: offsets.of(shard.index())?,
            wall_start_ns: began.map_or(meta.clock.wall_start_ns, |began| {
                began.unix_ns.saturating_sub(began.at.as_nanos())
            }),
            reader,
        })
    }

    /// When its clock started, on the common clock.
    pub(super) fn anchor_ns(&self) -> i128 {
        i128::from(self.wall_start_ns) - i128::from(self.offset.offset_ns)
    }

    pub(super) fn host(&self) -> Option<String> {
        self.reader.meta().host.as_ref()?.name.clone()
    }
}

/// The parts of a run, by their numbers.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) all: Vec<Part>,
}

impl Parts {
    /// Read all databases in these folders.
    pub(super) fn read(folders: &[PathBuf], offsets: &Offsets) -> Result<Self, MergeError> {
        let mut all = Vec::new();
        for folder in folders {
            let mut found = Vec::new();
            find(folder, DEPTH, &mut found)?;
            if found.is_empty() {
                return Err(MergeError::NoShard {
                    path: folder.clone(),
                });
            }
            for path in found {
                all.push(Part::open(&path, offsets)?);
            }
        }
        all.sort_by_key(|part| part.shard.index());
        Ok(Self { all })
    }

    /// Check that they are the parts of one run, each of them once.
    pub(super) fn check(&self, missing: Missing) -> Result<(), MergeError> {
        let (first, rest) = self.all.split_first().expect("a folder holds a database");
        for part in rest {
            check_same(first, part)?;
        }
        for pair in self.all.windows(2) {
            if pair[0].shard.index() == pair[1].shard.index() {
                return Err(MergeError::Repeated {
                    index: pair[0].shard.index(),
                    left_path: pair[0].reader.path().to_owned(),
                    right_path: pair[1].reader.path().to_owned(),
                });
            }
        }
        if missing == Missing::Refused && self.state() == RunState::Partial {
            return Err(MergeError::NotWhole {
                what: self.why_partial(),
            });
        }
        Ok(())
    }

    /// The numbers of those that are not there.
    pub(super) fn missing(&self) -> Vec<u32> {
        let of = self.all[0].shard.of().get();
        let is_there = |index: &u32| self.all.iter().any(|part| part.shard.index() == *index);
        (0..of).filter(|index| !is_there(index)).collect()
    }

    /// How far the whole came.
    pub(super) fn state(&self) -> RunState {
        let finished = |part: &Part| part.reader.state() == RunState::Finished;
        if self.missing().is_empty() && self.all.iter().all(finished) {
            RunState::Finished
        } else {
            RunState::Partial
        }
    }

    fn why_partial(&self) -> String {
        let of = self.all[0].shard.of();
        let missing = self.missing();
        let missing = missing
            .iter()
            .map(|index| format!("shard {index} of {of} is missing"));
        let cut = self
            .all
            .iter()
            .filter(|part| part.reader.state() != RunState::Finished)
            .map(|part| {
                let index = part.shard.index();
                match part.reader.state() {
                    RunState::Running => format!("shard {index} was killed or is still under way"),
                    RunState::GaveUp => format!("shard {index} gave up"),
                    _ => format!("shard {index} was interrupted"),
                }
            });
        missing.chain(cut).collect::<Vec<_>>().join(", ")
    }
}

/// Check that two databases are of the same run.
fn check_same(first: &Part, other: &Part) -> Result<(), MergeError> {
    let (left, right) = (first.reader.meta(), other.reader.meta());
    let different = |what: &str, left: &Value, right: &Value| MergeError::Different {
        what: what.to_owned(),
        left: left.to_string(),
        right: right.to_string(),
        left_path: first.reader.path().to_owned(),
        right_path: other.reader.path().to_owned(),
    };
    for (what, of) in FACTS {
        let (left, right) = (of(left), of(right));
        if left != right {
            return Err(different(what, &left, &right));
        }
    }
    let settings = |meta: &RunMeta| meta.settings.as_object().cloned().unwrap_or_default();
    let (left_settings, right_settings) = (settings(left), settings(right));
    let keys = left_settings.keys().chain(right_settings.keys());
    for key in keys {
        let is_own = OWN_SETTINGS.contains(&key.as_str());
        if is_own || left.api == OWN_SERVER && ["url", "port"].contains(&key.as_str()) {
            continue;
        }
        let of = |settings: &serde_json::Map<String, Value>| {
            settings.get(key).cloned().unwrap_or(Value::Null)
        };
        let (left, right) = (of(&left_settings), of(&right_settings));
        if left != right {
            let flag = format!("`--{}`", key.replace('_', "-"));
            return Err(different(&flag, &left, &right));
        }
    }
    Ok(())
}

/// A fact of a run, for comparison and for people.
type Fact = fn(&RunMeta) -> Value;

/// What all parts of a run have to agree on, besides their settings.
const FACTS: [(&str, Fact); 5] = [
    ("the version of the program", |meta| {
        meta.tool.version.as_str().into()
    }),
    ("the number of shards", |meta| {
        meta.load.shard.of().get().into()
    }),
    ("`--run-id`", |meta| meta.run_id.clone().into()),
    ("`--seed`", |meta| meta.load.seed.into()),
    ("the run", |meta| meta.name.as_str().into()),
];

/// The databases in or below a folder, or that file.
fn find(place: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), MergeError> {
    if place.is_file() {
        found.push(place.to_owned());
        return Ok(());
    }
    let own = place.join(FILE_NAME);
    if own.is_file() {
        found.push(own);
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = std::fs::read_dir(place).map_err(io_error(place, "read it"))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error(place, "read it"))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders
        .iter()
        .try_for_each(|folder| find(folder, depth - 1, found))
}
