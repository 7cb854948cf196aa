//! Owns the settings of a simulated server.
//!
//! It must not know where they come from: flags, tests, or defaults.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::fault::{FaultRule, Pause};
use crate::profile::Profile;

/// All settings of a simulated server. By default it responds as fast as it can, without faults.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Latencies and output lengths.
    pub profile: Profile,
    /// The model that the server lists, and uses in responses if a request names none.
    pub model: String,
    /// Checked in order for each request; the first match wins.
    pub faults: Vec<FaultRule>,
    /// This many requests at the start get no fault.
    pub fault_after: u64,
    /// When the whole server stops for a while.
    pub pauses: Vec<Pause>,
    /// How long the stalling faults stay silent.
    pub stall: Duration,
    /// Write the role chunk separately before the first token, rather than together with it.
    pub role_first: bool,
    /// Requests to the API must carry this key. If it has the form `id.secret`, requests in Zhipu's
    /// protocol may carry a token signed with the secret instead.
    pub api_key: Option<String>,
    /// Reject requests with `stream_options`, as old servers do.
    pub reject_stream_options: bool,
    /// Counts prompt tokens: a `tokenizer.json`, or a directory with one and optionally
    /// `tokenizer_config.json` and `chat_template.jinja` or `.json`. Without a template,
    /// conversations are rendered as `ChatML`; without a tokenizer, four characters are one token.
    pub tokenizer: Option<PathBuf>,
    /// Prompt tokens per image.
    pub image_tokens: u32,
    /// Path of the ground-truth log, if any.
    pub truth_log: Option<PathBuf>,
    /// Keep the truth in memory as well, for [`Simulator::truth`](crate::Simulator::truth) and
    /// [`Simulator::stop`](crate::Simulator::stop). It grows with every request and token.
    pub keeps_truth: bool,
    /// Number of connections served at once. Further ones wait in the operating system's backlog,
    /// as with a real server that has stopped accepting: they are established, but nothing is
    /// read from them until another connection ends. `None` serves all.
    pub max_connections: Option<NonZeroUsize>,
    /// Threads that serve connections.
    pub threads: NonZeroUsize,
}

impl Default for SimConfig {
    fn default() -> Self {
        SimConfig {
            profile: Profile::default(),
            model: "sim".to_owned(),
            faults: Vec::new(),
            fault_after: 0,
            pauses: Vec::new(),
            stall: Duration::from_hours(1),
            role_first: true,
            api_key: None,
            reject_stream_options: false,
            tokenizer: None,
            image_tokens: 0,
            truth_log: None,
            keeps_truth: false,
            max_connections: None,
            threads: NonZeroUsize::MIN,
        }
    }
}
