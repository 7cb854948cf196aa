//! Owns the board of a command: the metrics of its runs, those that are over too, for the endpoint of
//! `--metrics-listen` and for `metrics.prom`.
//!
//! It must not know how somebody asks for them.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evalscope_model::events::{Observer, RunEvent};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::masked;
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_report::exposition::{Format, Labels, RunFacts, RunMetrics, text};

use super::progress_json::{EndedRun, Event};
use super::standing::Standing;
use crate::console::unix_s;

/// The name of the file.
const FILE: &str = "metrics.prom";

/// The runs of a command, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetricsBoard(Arc<Mutex<Vec<Posted>>>);

/// A run on the board.
#[derive(Debug)]
struct Posted {
    spec: RunSpec,
    clock: RunClock,
    standing: Standing,
    metrics: Arc<Mutex<RunMetrics>>,
    /// How it ended.
    ended: Option<EndedRun>,
}

/// Counts what happens in a run.
#[derive(Debug)]
pub(crate) struct MetricsTap(Arc<Mutex<RunMetrics>>);

impl MetricsBoard {
    /// Post a run that begins. Returns what counts its events.
    pub(crate) fn post(
        &self,
        spec: &RunSpec,
        clock: RunClock,
        standing: Standing,
        (model, secrets): (&str, &[String]),
    ) -> MetricsTap {
        let facts = RunFacts {
            labels: Labels {
                run: spec.point.label.clone(),
                model: masked(model, secrets),
                shard: (!spec.shard.is_whole()).then(|| spec.shard.to_string()),
            },
            concurrency: spec.concurrency.map(|places| places.get() as u64),
            started_unix_s: unix_s(clock.unix_ns(Timestamp::ZERO)),
        };
        let metrics = Arc::new(Mutex::new(RunMetrics::new(facts)));
        self.posted().push(Posted {
            spec: spec.clone(),
            clock,
            standing,
            metrics: Arc::clone(&metrics),
            ended: None,
        });
        MetricsTap(metrics)
    }

    /// The run that was posted last is over.
    pub(crate) fn end(&self, run: EndedRun) {
        if let Some(posted) = self.posted().last_mut() {
            let mut metrics = locked(&posted.metrics);
            metrics.set_done(posted.done_at(posted.clock.now()));
            metrics.end(run.state);
            drop(metrics);
            posted.ended = Some(run);
        }
    }

    /// Nothing came of the run that was posted last.
    pub(crate) fn withdraw(&self) {
        self.posted().pop();
    }

    /// Whether a run has begun.
    pub(crate) fn has_runs(&self) -> bool {
        !self.posted().is_empty()
    }

    /// The metrics of all runs.
    pub(super) fn text(&self, format: Format) -> String {
        let runs: Vec<RunMetrics> = self.posted().iter().map(Posted::metrics).collect();
        text(&runs, format)
    }

    /// How far the run is that was posted last, as a line of `--progress json`.
    pub(super) fn progress(&self) -> Option<String> {
        let posted = self.posted();
        let last = posted.last()?;
        if let Some(run) = &last.ended {
            return Event::Ended(run).line();
        }
        let now = last.clock.now();
        let progress = last.standing.progress(&last.spec, &last.clock, now);
        Event::Progress(&progress).line()
    }

    /// Write the metrics as they are now into a folder.
    pub(crate) fn write(&self, folder: &Path) -> std::io::Result<()> {
        // a reader sees the old file or the new one, never a part
        let path = folder.join(FILE);
        let partial = path.with_extension("prom.partial");
        std::fs::write(&partial, self.text(Format::Text))?;
        std::fs::rename(&partial, path)
    }

    fn posted(&self) -> MutexGuard<'_, Vec<Posted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posted {
    fn done_at(&self, now: Timestamp) -> f64 {
        self.standing.look(&self.spec, now).done()
    }

    /// A copy, so that nobody who reads it holds the run back.
    fn metrics(&self) -> RunMetrics {
        let mut metrics = locked(&self.metrics).clone();
        if self.ended.is_none() {
            metrics.set_done(self.done_at(self.clock.now()));
        }
        metrics
    }
}

impl Observer for MetricsTap {
    fn name(&self) -> &'static str {
        "the metrics of the run"
    }

    fn on(&mut self, event: &RunEvent) {
        locked(&self.0).on(event);
    }
}

fn locked(metrics: &Mutex<RunMetrics>) -> MutexGuard<'_, RunMetrics> {
    metrics.lock().unwrap_or_else(PoisonError::into_inner)
}
