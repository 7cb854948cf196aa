//! Owns reporting to an experiment tracker: settings, metrics and files for Weights & Biases,
//! `SwanLab` or `ClearML`.
//!
//! A tracker that fails before the load is an error; one that fails later is a warning, and the run
//! goes on. It must not know their libraries.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use evalscope_core::engine::RunControl;
use evalscope_model::events::{Observer, RunEvent};
use evalscope_model::record::masked;
use evalscope_plugin::{
    Begin, Hello, Patience, Place, PluginError, PluginFault, Tracker, TrackerPlace,
};
use evalscope_report::live::LiveFigures;
use evalscope_report::{RunReport, json};
use serde_json::{Map, Value, json};

use crate::failure::hinted;
use crate::flags::output::TrackerFiles;
use crate::log::{self, Log};

/// What may wait for a slow tracker; live figures beyond it are left out.
const WAITING: usize = 64;
/// How long a login may take.
const LOGIN: Duration = Duration::from_mins(2);
/// Larger files stay here.
const LARGEST_FILE_BYTES: u64 = 100 << 20;

/// A tracker as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct TrackerPlan {
    pub(crate) place: TrackerPlace,
    /// `--swanlab-host`.
    pub(crate) host: Option<String>,
    /// The interpreter, if somebody has chosen one.
    pub(crate) python: Option<String>,
    /// What the experiment is called.
    pub(crate) name: String,
    /// What it is given in the end.
    pub(crate) files: TrackerFiles,
    /// The log holds bodies.
    pub(crate) debug: bool,
    /// Keys that a library may repeat, to be masked.
    pub(crate) secrets: Vec<String>,
}

/// A tracker that follows a command.
#[derive(Debug)]
pub(crate) struct Following {
    /// What of a file's name says that it may be handed over.
    wanted: Wanted,
    messages: Option<SyncSender<TrackerMessage>>,
    thread: Option<JoinHandle<()>>,
}

/// Something to tell.
#[derive(Debug)]
enum TrackerMessage {
    Live {
        run: String,
        step: u64,
        values: Map<String, Value>,
    },
    Summary {
        run: String,
        metrics: Value,
        percentiles: Value,
    },
    Files(Vec<PathBuf>),
}

impl TrackerPlan {
    /// Start the tracker and let it log in.
    pub(crate) fn start(
        &self,
        settings: &Value,
        folder: &Path,
        control: &RunControl,
        log: &Log,
    ) -> anyhow::Result<Following> {
        let kind = &self.place.kind;
        log.info(&format!("logging in to {kind}"));
        let mut options = settings.clone();
        options["swanlab_host"] = json!(self.host);
        let hello = Hello {
            tool: concat!("evalscope ", env!("CARGO_PKG_VERSION")).to_owned(),
            options,
        };
        let (stop, abort) = (control.stop.clone(), control.abort.clone());
        let patience = Patience {
            call: LOGIN,
            hello: LOGIN,
            stopped: std::sync::Arc::new(move || stop.is_cancelled()),
            aborted: std::sync::Arc::new(move || abort.is_cancelled()),
        };
        let (said, hidden) = (log.clone(), self.secrets.clone());
        let listener = Box::new(move |line: &str| said.info(&masked(line, &hidden)));
        let folder =
            std::path::absolute(folder).context("cannot find the path of the results folder")?;
        let begin = Begin {
            settings,
            name: &self.name,
            output_dir: &folder,
        };
        let place = Place::Tracker(self.place.clone());
        let python = self.python.as_deref();
        let tracker = Tracker::start(&place, python, &hello, patience, listener, &begin)
            .map_err(|error| refused(kind, &error, &self.secrets))?;
        if let Some(url) = tracker.url() {
            log.info(&format!("view the run at {}", masked(url, &self.secrets)));
        }
        let (messages, heard) = sync_channel(WAITING);
        let (log, kind, hidden) = (log.clone(), kind.clone(), self.secrets.clone());
        let thread = std::thread::Builder::new()
            .name("evalscope-tracker".to_owned())
            .spawn(move || tell(&tracker, &heard, &kind, &hidden, &log))
            .context("cannot start the tracker thread")?;
        Ok(Following {
            wanted: Wanted {
                files: self.files,
                debug: self.debug,
            },
            messages: Some(messages),
            thread: Some(thread),
        })
    }
}

impl Following {
    /// What reports the figures of a run now and then.
    pub(crate) fn live(&self, run: &str, every: u64) -> Live {
        Live {
            run: run.to_owned(),
            every,
            figures: LiveFigures::default(),
            reported: 0,
            messages: self.messages.clone(),
        }
    }

    /// Tell what a run came to.
    pub(crate) fn summary(&self, report: &RunReport) {
        self.say(TrackerMessage::Summary {
            run: report.meta.name.clone(),
            metrics: json::summary(report),
            percentiles: json::percentiles(report),
        });
    }

    /// Hand over the files below a folder.
    pub(crate) fn files(&self, folder: &Path) {
        let mut found = Vec::new();
        self.wanted.collect(folder, &mut found);
        if found.is_empty() {
            return;
        }
        found.sort();
        self.say(TrackerMessage::Files(found));
    }

    fn say(&self, message: TrackerMessage) {
        if let Some(messages) = &self.messages {
            let _ = messages.send(message);
        }
    }
}

/// Reports the figures of a run to the tracker while it is under way.
#[derive(Debug)]
pub(crate) struct Live {
    run: String,
    /// Requests between two reports.
    every: u64,
    figures: LiveFigures,
    /// Requests at the last report.
    reported: u64,
    messages: Option<SyncSender<TrackerMessage>>,
}

impl Observer for Live {
    fn name(&self) -> &'static str {
        "the report to the tracker"
    }

    fn on(&mut self, event: &RunEvent) {
        let RunEvent::Exchange(exchange) = event else {
            return;
        };
        self.figures.push(&exchange.record);
        let step = self.figures.requests();
        if step < self.reported + self.every {
            return;
        }
        self.reported = step;
        let message = TrackerMessage::Live {
            run: self.run.clone(),
            step,
            values: self.figures.values(),
        };
        // a slow tracker misses a step
        if let Some(messages) = &self.messages {
            let _ = messages.try_send(message);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Pass on what is said, until there is nothing more.
fn tell(
    tracker: &Tracker,
    messages: &Receiver<TrackerMessage>,
    kind: &str,
    hidden: &[String],
    log: &Log,
) {
    let mut failed = false;
    for message in messages {
        if failed {
            continue;
        }
        let sent = match message {
            TrackerMessage::Live { run, step, values } => tracker.metrics(&run, step, &values),
            TrackerMessage::Summary {
                run,
                metrics,
                percentiles,
            } => tracker.summary(&run, &metrics, &percentiles),
            TrackerMessage::Files(paths) => {
                let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
                tracker.files(&paths)
            }
        };
        if let Err(error) = sent {
            failed = true;
            let error = masked(&error.to_string(), hidden);
            log.warn(&format!(
                "nothing more is reported to {kind}; the measurement goes on: {error}"
            ));
        }
    }
    tracker.end();
}

/// Which files are handed over.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    files: TrackerFiles,
    debug: bool,
}

impl Wanted {
    fn takes(self, path: &Path) -> bool {
        let ending = path.extension().and_then(OsStr::to_str);
        match (self.files, ending) {
            (TrackerFiles::Db, Some("json" | "txt" | "log" | "db"))
            | (TrackerFiles::Reports, Some("json" | "txt")) => true,
            // of the logs, only ours, and that without bodies
            (TrackerFiles::Reports, Some("log")) => !self.debug && path.ends_with(log::LOG),
            _ => false,
        }
    }

    /// Files worth keeping elsewhere.
    fn collect(self, folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(about) = entry.metadata() else {
                continue;
            };
            if about.is_dir() {
                // what a library has written itself it need not get back
                let own = ["wandb", "swanlog"];
                if !own.iter().any(|name| path.ends_with(name)) {
                    self.collect(&path, found);
                }
            } else if about.len() <= LARGEST_FILE_BYTES
                && self.takes(&path)
                && let Ok(path) = std::path::absolute(&path)
            {
                found.push(path);
            }
        }
    }
}

fn refused(kind: &str, error: &PluginError, hidden: &[String]) -> anyhow::Error {
    let text = masked(&error.to_string(), hidden);
    let missing = match &error.fault {
        PluginFault::Start { .. } | PluginFault::Ended(_) => true,
        PluginFault::Raised { message, .. } => message.contains("No module named evalscope"),
        _ => false,
    };
    if missing {
        hinted(
            text,
            "trackers need Python with the package `evalscope`: `pip install .` in its source, and name \
             the interpreter in EVALSCOPE_PYTHON if it is another one",
        )
    } else {
        hinted(
            text,
            format!("fix this, or leave out `--visualizer {kind}`; no load was sent"),
        )
    }
}
