//! Owns `progress.json` of `--enable-progress-tracker`: the progress of a command, for other
//! programs, in EvalScope's format.
//!
//! If the file cannot be written, the run goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evalscope_model::plan::RunSpec;
use evalscope_model::time::{RunClock, Timestamp};
use serde_json::json;

use super::search_progress::SearchProgress;
use super::standing::Look;

/// The name of the file.
const FILE: &str = "progress.json";

/// It is written no more often.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file of a command.
#[derive(Clone, Debug)]
pub(crate) struct ProgressFile {
    path: PathBuf,
    /// Measured requests of all runs; `None`: unknown.
    total: Option<u64>,
    /// The search that the runs are probes of.
    search: Option<SearchProgress>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests of runs that are over.
    before: AtomicU64,
    /// When it was last written, nanoseconds of the present run's clock.
    written_ns: AtomicU64,
}

impl ProgressFile {
    /// Begin the file of a command. How many requests a search takes is unknown.
    pub(crate) fn start(folder: &Path, runs: &[RunSpec], search: Option<SearchProgress>) -> Self {
        let total = runs.iter().map(|run| run.part().requests).sum();
        let file = Self {
            path: folder.join(FILE),
            total: if search.is_some() { None } else { total },
            search,
            state: Arc::default(),
        };
        file.write("running", 0, 0.0);
        file
    }

    /// How the present run stands.
    pub(super) fn run_goes_on(&self, look: &Look, clock: &RunClock, now: Timestamp) {
        let last = Timestamp::from_nanos(self.state.written_ns.load(Ordering::Relaxed));
        if clock.now().since(last) >= INTERVAL {
            self.state
                .written_ns
                .store(now.as_nanos(), Ordering::Relaxed);
            let before = self.state.before.load(Ordering::Relaxed);
            self.write("running", before + look.ended, look.done());
        }
    }

    /// A run is over, with so many measured requests.
    pub(crate) fn run_ended(&self, ended: u64) {
        let before = self.state.before.fetch_add(ended, Ordering::Relaxed);
        // the next one has a clock of its own
        self.state.written_ns.store(0, Ordering::Relaxed);
        self.write("running", before + ended, 0.0);
    }

    /// The command is over.
    pub(crate) fn end(&self, well: bool) {
        let status = if well { "completed" } else { "error" };
        self.write(status, self.state.before.load(Ordering::Relaxed), 0.0);
    }

    /// `of_run`: how much of the present run is done.
    fn write(&self, status: &str, processed: u64, of_run: f64) {
        let share = match (&self.search, self.total) {
            (_, None) if status == "completed" => Some(1.0),
            (Some(search), _) => Some(search.done(of_run)),
            (None, Some(total)) => Some(processed as f64 / total.max(1) as f64),
            (None, None) => None,
        };
        let percent = share.map(|share| (share.min(1.0) * 1000.0).round() / 10.0);
        let content = json!({
            "status": status,
            "pipeline": "perf",
            "total_count": self.total,
            "processed_count": processed,
            "percent": percent,
            "updated_at": jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
        });
        // a reader sees the old file or the new one, never a part
        let partial = self.path.with_extension("json.partial");
        if std::fs::write(&partial, content.to_string()).is_ok() {
            let _ = std::fs::rename(&partial, &self.path);
        }
    }
}
