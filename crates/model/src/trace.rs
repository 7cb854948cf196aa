//! Owns what is known of a trace that a run replays: what was taken of it, and what was left out.
//!
//! It must not know formats of files, nor how requests are sent.

use serde::{Deserialize, Serialize};

/// What a run takes of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceReport {
    /// The format, as on the command line.
    pub format: String,
    /// Requests that are replayed.
    pub requests: u64,
    /// Different moments that they have.
    pub moments: u64,
    /// From the first of them to the last in the trace's own time, seconds.
    pub span_s: f64,
    /// How many times as fast as recorded.
    pub speed: f64,
    /// Where the window begins, in seconds after the first line.
    pub start_s: f64,
    /// How long the window is, seconds; `None`: to the end.
    pub length_s: Option<f64>,
    /// The share of sessions that is kept.
    pub sample: f64,
    /// Requests of one moment are spread evenly up to the next one.
    pub spread: bool,
    /// The moments are not used: requests are sent in a closed loop.
    pub times_ignored: bool,
    /// Lines that are not replayed.
    pub left_out: LeftOut,
    /// Requests with an output length of 0, which became 1.
    pub outputs_raised: u64,
    /// Requests whose constrained output may end early: without `ignore_eos`.
    pub constrained: u64,
    /// Tokens of a block that the ids stand for; `None`: the trace does not say what prompts share.
    pub block_tokens: Option<u64>,
    /// The share of input tokens that an endless prefix cache could serve, over the requests that are
    /// replayed; `None`: unknown before the run.
    pub possible_cached_share: Option<f64>,
    /// What is doubtful about the trace.
    pub warnings: Vec<String>,
}

/// Lines of a trace that are not replayed, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Before the window, or known to be after it.
    pub outside_window: u64,
    /// Of sessions that the sample does not have.
    pub not_sampled: u64,
    /// Longer than `max_input` or `max_context`.
    pub too_long: u64,
    /// Recorded without a response.
    pub without_response: u64,
    /// Unreadable (`--skip-bad-lines`).
    pub bad: u64,
}
