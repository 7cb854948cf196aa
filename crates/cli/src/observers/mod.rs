//! Owns what watches a run: the screen, the log of requests, the progress file and the tracker. None
//! of them changes an event.

mod debug_log;
mod display;
mod probe;
mod progress_file;
mod tracker;

pub(crate) use debug_log::DebugLog;
pub(crate) use display::{Display, Watching};
pub(crate) use probe::{JudgedProbe, ProbeWatch};
pub(crate) use progress_file::ProgressFile;
pub(crate) use tracker::{Following, TrackerPlan};
