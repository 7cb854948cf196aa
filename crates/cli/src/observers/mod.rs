//! Owns what watches a run: the screen, JSON lines, metrics, the log of requests, the progress file and the
//! tracker. None of them changes an event.

mod abort;
mod debug_log;
mod display;
mod metrics_board;
mod metrics_endpoint;
mod probe;
mod progress_file;
mod progress_json;
mod search_progress;
mod standing;
mod tracker;

pub(crate) use abort::{ABORT_WINDOW, Abort};
pub(crate) use debug_log::DebugLog;
pub(crate) use display::Display;
pub(crate) use metrics_board::MetricsBoard;
pub(crate) use metrics_endpoint::serve as serve_metrics;
pub(crate) use probe::{JudgedProbe, ProbeWatch};
pub(crate) use progress_file::ProgressFile;
pub(crate) use progress_json::{EndedRun, ProgressLines};
pub(crate) use search_progress::SearchProgress;
pub(crate) use standing::{Standing, Watching};
pub(crate) use tracker::{Following, TrackerPlan};
