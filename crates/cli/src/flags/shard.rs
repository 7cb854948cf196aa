//! Owns the flags of several processes that make one run.
//!
//! It must not know how a run is divided.

use clap::Args;

use evalscope_model::shard::{Shard, ShardError};
use evalscope_model::time::parse_unix_s;

/// Which part of a run this process carries out, as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShardChoice {
    /// As the launcher's variables say.
    Environment,
    Typed(Shard),
}

/// When the load begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// As soon as everything is ready.
    #[default]
    Ready,
    /// At a moment of Unix time, nanoseconds.
    Unix(u64),
    /// When a line on stdin says so.
    Stdin,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Several processes")]
pub(crate) struct ShardArgs {
    /// Carry out part I of N of a run: 0/4 is the first of four
    ///
    /// All parts get the same other flags; --rate, --number, --parallel and --duration are those of the
    /// whole run. env takes I and N from Slurm, MPI, Kubernetes or torchrun. `evalscope merge` puts
    /// the results together.
    #[arg(long, value_name = "I/N", value_parser = shard_choice)]
    pub(crate) shard: Option<ShardChoice>,

    /// Begin at this Unix time, in seconds; stdin waits for a line with it
    ///
    /// Everything is prepared before. A process that is not ready in time sends nothing and exits
    /// with 2. On stdin, `start 1795623158.25` begins, and `stop` ends the run at any time.
    #[arg(long, value_name = "TIME", value_parser = start_at)]
    pub(crate) start_at: Option<StartAt>,

    /// A name that all parts of a run share; others are not merged with them.
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub(crate) run_id: Option<String>,
}

/// Which part of a run a process carries out.
fn shard_choice(text: &str) -> Result<ShardChoice, String> {
    match text {
        "env" => Ok(ShardChoice::Environment),
        _ => text
            .parse()
            .map(ShardChoice::Typed)
            .map_err(|error: ShardError| error.to_string()),
    }
}

/// When a load begins.
fn start_at(text: &str) -> Result<StartAt, String> {
    match text {
        "stdin" => Ok(StartAt::Stdin),
        _ => parse_unix_s(text).map(StartAt::Unix).ok_or_else(|| {
            "expected Unix time in seconds, such as 1795623158.25, or stdin".to_owned()
        }),
    }
}

/// The name of a run of several processes.
fn run_id(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a name, such as the number of a job".to_owned()),
        id => Ok(id.to_owned()),
    }
}
