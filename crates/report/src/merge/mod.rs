//! Owns putting the databases of several processes that made one run together into one, which is read like
//! that of a single process.
//!
//! It must not know how runs are divided, nor how a process ran.

mod error;
mod offsets;
mod parts;

use std::path::{Path, PathBuf};

use evalscope_model::metrics::{ClientReport, ClientSnapshot, RunTotals, ShardClient};
use evalscope_model::shard::Shard;
use evalscope_model::time::{RunClock, Timestamp};

use crate::files;
use crate::findings::Finding;
use crate::model::{RunMeta, RunState, ShardMeta, rfc3339_local};
use crate::sqlite::{Copied, FILE_NAME, Merged};

pub use error::MergeError;
pub use offsets::Offsets;
pub use parts::Missing;

use parts::{Part, Parts};

/// The parts of a run, checked and not yet put together.
#[derive(Debug)]
pub struct Merge {
    parts: Parts,
    out: PathBuf,
}

/// What was put together.
#[derive(Debug)]
pub struct MergedRun {
    /// The run's folder.
    pub folder: PathBuf,
    /// Requests of all phases that count.
    pub measured: u64,
    /// How far the whole came.
    pub state: RunState,
}

impl Merge {
    /// Find the databases in these folders and check that they are the parts of one run. Nothing is
    /// written. `out` must be new or empty.
    ///
    /// # Errors
    /// If they are not, if some are missing that must not be, or if `out` cannot be taken.
    pub fn prepare(
        folders: &[PathBuf],
        out: &Path,
        offsets: &Offsets,
        missing: Missing,
    ) -> Result<Self, MergeError> {
        files::check_free(out)?;
        let parts = Parts::read(folders, offsets)?;
        parts.check(missing)?;
        Ok(Self {
            parts,
            out: out.to_owned(),
        })
    }

    /// Write the database of the whole run into a folder of its own below `out`. Without success, nothing is
    /// left there.
    ///
    /// # Errors
    /// If a database cannot be read or written, or a request is in two of them.
    pub fn write(&self) -> Result<MergedRun, MergeError> {
        let meta = self.meta();
        let folder = self.out.join(meta.load.point.folder());
        let partial = self.out.join(".partial");
        let is_new = !self.out.exists();
        let written = std::fs::create_dir_all(&partial)
            .map_err(files::io_error(&partial, "make the folder"))
            .map_err(MergeError::from)
            .and_then(|()| self.write_into(&partial, meta))
            .and_then(|written| {
                std::fs::rename(&partial, &folder)
                    .map_err(files::io_error(&folder, "put it in place"))?;
                Ok(written)
            });
        match written {
            Ok((measured, state)) => Ok(MergedRun {
                folder,
                measured,
                state,
            }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&partial);
                if is_new {
                    let _ = std::fs::remove_dir(&self.out);
                }
                Err(error)
            }
        }
    }

    fn write_into(&self, folder: &Path, mut meta: RunMeta) -> Result<(u64, RunState), MergeError> {
        let mut merged = Merged::create(&folder.join(FILE_NAME), &meta)?;
        let begins = self.begins();
        let mut copied = Vec::new();
        for part in &self.parts.all {
            let by_ns = part.anchor_ns() - begins;
            let by_ns = u64::try_from(by_ns).expect("the clock of the first part begins first");
            copied.push((part, merged.copy(&part.reader, by_ns)?));
        }
        if let Some(index) = merged.index()? {
            return Err(MergeError::Twice { index });
        }
        let clients = self.clients()?;
        let last_end = copied.iter().filter_map(|(_, own)| own.last_end).max();
        for ((part, own), client) in copied.iter().zip(&clients) {
            meta.shards.push(shard_of(part, own, last_end));
            let judged =
                ClientReport::judge(client.as_ref(), &RunTotals::default(), &own.client_lag);
            let host = part.host();
            meta.shard_clients.push(ShardClient::of(
                part.shard.index(),
                host,
                judged,
                &own.client_lag,
            ));
        }
        let state = self.parts.state();
        let clients: Vec<ClientSnapshot> = clients.into_iter().flatten().collect();
        merged.finish(
            &meta,
            (state, self.ended_at().as_deref()),
            ClientSnapshot::sum(&clients).as_ref(),
            &self.warnings()?,
        )?;
        Ok((copied.iter().map(|(_, own)| own.measured).sum(), state))
    }

    /// When the clock of the merged database begins, Unix nanoseconds on the common clock.
    fn begins(&self) -> i128 {
        let anchors = self.parts.all.iter().map(Part::anchor_ns);
        anchors.min().expect("there is a part")
    }

    /// What is known of the whole run before anything is copied.
    fn meta(&self) -> RunMeta {
        let first = &self.parts.all[0];
        let mut meta = first.reader.meta().clone();
        meta.load.shard = Shard::WHOLE;
        meta.clock = RunClock {
            wall_start_ns: u64::try_from(self.begins()).unwrap_or(0),
            monotonic_start_ns: 0,
        };
        meta.started_at = rfc3339_local(&meta.clock, Timestamp::ZERO);
        // that of the shard with the first request of all
        let arrivals = self.parts.all.iter();
        meta.first_arrival_ns = arrivals
            .filter_map(|part| part.reader.meta().first_arrival_ns)
            .min();
        meta.missing_shards = self.parts.missing();
        meta.folder = Some(
            self.out
                .join(meta.load.point.folder())
                .display()
                .to_string(),
        );
        for key in ["shard", "start_at"] {
            if let Some(value) = meta.settings.get_mut(key) {
                *value = serde_json::Value::Null;
            }
        }
        meta
    }

    fn clients(&self) -> Result<Vec<Option<ClientSnapshot>>, MergeError> {
        let parts = self.parts.all.iter();
        parts.map(|part| Ok(part.reader.client()?)).collect()
    }

    /// When the last part ended; `None` if that is not recorded for all of them.
    fn ended_at(&self) -> Option<String> {
        let parts = self.parts.all.iter();
        let ends = parts.map(|part| {
            let text = part.reader.ended_at()?;
            Some((text.parse::<jiff::Timestamp>().ok()?, text))
        });
        let ends: Vec<_> = ends.collect::<Option<_>>()?;
        let last = ends.into_iter().max_by_key(|(at, _)| *at);
        last.map(|(_, text)| text.to_owned())
    }

    /// What the parts warned of. What all of them say is said once.
    fn warnings(&self) -> Result<Vec<Finding>, MergeError> {
        let mut all: Vec<(u32, Finding)> = Vec::new();
        for part in &self.parts.all {
            let warnings = part.reader.warnings()?.into_iter();
            all.extend(warnings.map(|warning| (part.shard.index(), warning)));
        }
        let mut said: Vec<Finding> = Vec::new();
        for (index, warning) in &all {
            let by = all.iter().filter(|(_, other)| other == warning).count();
            let text = if by == self.parts.all.len() {
                warning.text.clone()
            } else {
                format!("shard {index}: {}", warning.text)
            };
            let finding = Finding::new(warning.id, text);
            if !said.contains(&finding) {
                said.push(finding);
            }
        }
        Ok(said)
    }
}

fn shard_of(part: &Part, own: &Copied, last_end: Option<u64>) -> ShardMeta {
    let since = |(from, to): (u64, u64)| to.saturating_sub(from);
    ShardMeta {
        index: part.shard.index(),
        host: part.host(),
        offset_ns: part.offset.offset_ns,
        offset_error_ns: part.offset.error_ns,
        started_late_ns: own.first_due.zip(own.first_sent).map(since),
        idle_ns: own.last_end.zip(last_end).map(since),
        requests: own.measured,
        state: part.reader.state(),
    }
}

#[cfg(test)]
mod tests;
