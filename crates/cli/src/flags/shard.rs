//! Owns the flags of several processes that make one run.
//!
//! It must not know how a run is divided.

use clap::Args;

use super::values::{run_id, shard_choice, start_at};
use evalscope_model::shard::Shard;

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
