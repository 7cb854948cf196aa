//! Owns the flags about the load: how many requests, how they arrive, when to stop.
//!
//! It must not know how a load is made.

use std::num::{NonZeroU32, NonZeroUsize};

use clap::{ArgAction, Args, ValueEnum};
use evalscope_model::profile::Gaps;

use super::rates::{Rates, rates};
use super::values::{burstiness, count, finite, places, repeats, seconds_or_zero, share, warmup};

/// What happens to a request that is due when as many are in flight as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Full {
    /// It waits until another one has ended
    Wait,
    /// It is not sent and counts as shed
    Drop,
    /// The run ends
    Stop,
}

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

    /// Arrivals per second: 5, 90/m, or 1..20@60,20@5m
    ///
    /// Requests are sent at this mean rate, however fast the server is; --parallel, if given, limits
    /// the requests in flight. 90/m and 5000/h are per minute and per hour; -1 or
    /// inf means no pacing. One value for all runs of a sweep, or one for each.
    ///
    /// A profile is one value: segments with commas between them. 20@60 is 20 per second for 60
    /// seconds, 1..20@5m rises from 1 to 20 within 5 minutes (1..20@5m:exp by the same factor each
    /// second), 0@30 is a pause, +200 is 200 requests at one moment. @FILE reads points from JSON
    /// or CSV. The run ends with its profile.
    #[arg(long, value_name = "PER_SECOND", num_args = 1.., action = ArgAction::Set,
          value_parser = rates, default_value = "-1")]
    pub(crate) rate: Vec<Rates>,

    /// Send at the moments of --rate and never wait for responses
    ///
    /// --parallel is ignored. A --rate without --parallel is an open loop in any case.
    #[arg(long)]
    pub(crate) open_loop: bool,

    /// How arrivals are spread: poisson, constant or gamma:SHAPE
    ///
    /// poisson: random gaps, as independent users come. constant: equal gaps. gamma:SHAPE: more
    /// bursty than poisson below 1, more even above 1.
    #[arg(long, value_name = "GAPS", default_value = "poisson")]
    pub(crate) arrivals: Gaps,

    /// The same as --arrivals gamma:SHAPE; inf is constant
    #[arg(long, value_name = "SHAPE", value_parser = burstiness, conflicts_with = "arrivals")]
    pub(crate) burstiness: Option<Gaps>,

    /// The most requests in flight of an open loop [default: what this machine can hold]
    #[arg(long, value_name = "N", value_parser = places)]
    pub(crate) max_in_flight: Option<NonZeroUsize>,

    /// What happens to a request that is due at --max-in-flight
    #[arg(long, value_name = "ACTION", value_enum, default_value = "wait")]
    pub(crate) when_full: Full,

    /// How long requests may take after the last one was sent [default: 30 in an open loop]
    ///
    /// Requests still in flight then are given up and count as unfinished. A closed loop has no such
    /// limit by default. 0 gives them up at once.
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_zero)]
    pub(crate) drain_timeout: Option<f64>,

    /// End an open loop when the server is found not to keep up
    ///
    /// The check runs 30, 45, 68, 101 … seconds after the start of each constant rate. The run ends
    /// after two such verdicts in a row, or at once if 30 % of the requests are not served.
    #[arg(long)]
    pub(crate) stop_when_saturated: bool,

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

    /// How often each run of a sweep is measured
    ///
    /// The runs are repeated in turn, all of them once and then again, with prompts and arrivals of their
    /// own. The results then give the median, the range and, from 3 on, an interval for each load.
    #[arg(long, value_name = "N", default_value = "1", value_parser = repeats)]
    pub(crate) repeats: NonZeroU32,

    /// Exit with 1 if more than this fraction of requests fails: 0.01 or 1%.
    ///
    /// Requests that were shed at --max-in-flight, and those unfinished after --drain-timeout, count as
    /// failed.
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
