//! Owns the flags about the load: how many requests, how they arrive, when to stop.
//!
//! It must not know how a load is made.

use std::num::NonZeroUsize;

use clap::{ArgAction, Args};

use super::values::{count, finite, places, rate, seconds_or_zero, share, warmup};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Requests in flight; several values make a sweep
    ///
    /// A sweep has one run for each value: `1 8 64` or `1,8,64`. A single value is used for every
    /// value of --number and --rate. [default: 1; unlimited with --rate]
    #[arg(long, value_name = "N", num_args = 1.., action = ArgAction::Set, value_delimiter = ',',
          value_parser = places)]
    pub(crate) parallel: Option<Vec<NonZeroUsize>>,

    /// Requests of each run [default: 1000]
    ///
    /// One value for all runs of a sweep, or one for each. For a meaningful p99 use 1000 or more. With
    /// --duration alone the number is unlimited.
    #[arg(short, long, value_name = "N", num_args = 1.., action = ArgAction::Set,
          value_delimiter = ',', value_parser = count)]
    pub(crate) number: Option<Vec<u64>>,

    /// Arrivals per second (Poisson): 5, or 90/m
    ///
    /// Requests start at random times with this mean rate, however fast the server is; --parallel,
    /// if given, limits the requests in flight. 90/m and 5000/h are per minute and per hour; -1 or
    /// inf means no pacing. One value for all runs of a sweep, or one for each.
    #[arg(long, value_name = "PER_SECOND", num_args = 1.., action = ArgAction::Set,
          value_delimiter = ',', value_parser = rate, default_value = "-1")]
    pub(crate) rate: Vec<f64>,

    /// Stop sending after this time: 300, 30s or 5m
    ///
    /// Requests in flight are allowed to finish. The time begins with the run or, after a warm-up,
    /// with the first measured request. 0 for no limit.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero)]
    pub(crate) duration: Option<f64>,

    /// Requests to send before the measured ones
    ///
    /// No figure includes them. Below 1, a fraction of --number. Take at least --parallel to warm
    /// every slot. The measurement does not wait for the last of them to end.
    #[arg(long, value_name = "N", default_value = "0", value_parser = warmup)]
    pub(crate) warmup_num: f64,

    /// Pause between the runs of a sweep.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "5")]
    pub(crate) sleep_interval: f64,

    /// Exit with 1 if more than this fraction of requests fails: 0.01 or 1%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) max_error_rate: Option<f64>,

    /// End the run when no request has reached the server for this long, or when the first 20
    /// responses are all the same 4xx error; 0 for never.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero, default_value = "60")]
    pub(crate) give_up_after: f64,

    /// Number of receive threads. [default: one per core]
    #[arg(long, value_name = "N", value_parser = places)]
    pub(crate) client_threads: Option<NonZeroUsize>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) num_workers: Option<f64>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) db_commit_interval: Option<f64>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) queue_size_multiplier: Option<f64>,

    /// Accepted for compatibility with EvalScope; has no effect.
    #[arg(long, value_name = "N", value_parser = finite)]
    pub(crate) in_flight_task_multiplier: Option<f64>,
}
