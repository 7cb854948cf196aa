//! Owns what watches a run: the screen, JSON lines, the log of requests, the progress file and the
//! tracker. None of them changes an event.

mod debug_log;
mod display;
mod progress_file;
mod progress_json;
mod standing;
mod tracker;

pub(crate) use debug_log::DebugLog;
pub(crate) use display::Display;
pub(crate) use progress_file::ProgressFile;
pub(crate) use progress_json::{EndedRun, ProgressLines};
pub(crate) use standing::{Standing, Watching};
pub(crate) use tracker::{Following, TrackerPlan};
