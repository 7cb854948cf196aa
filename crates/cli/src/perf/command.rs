//! Owns what all parts of a command work on.

use std::path::Path;

use evalscope_core::engine::RunControl;

use crate::log::Log;
use crate::resolve::Job;
use crate::served::Served;
use crate::sources::Prompts;

use super::start::Start;

/// What all parts of a command work on.
#[derive(Clone, Copy)]
pub(super) struct Command<'a> {
    pub(super) job: &'a Job,
    pub(super) prompts: &'a Prompts,
    /// The server that this command started.
    pub(super) served: Option<&'a Served>,
    pub(super) control: &'a RunControl,
    /// When the load begins.
    pub(super) start: &'a Start,
    /// The folder of all results.
    pub(super) top: &'a Path,
    pub(super) log: &'a Log,
}
