//! Owns the flags of the search for the largest load within limits.
//!
//! It must not know how a load is searched for.

use std::num::{NonZeroU32, NonZeroUsize};

use clap::{Args, ValueEnum};

use super::values::{above_zero, confidence, places, precision, repeats, seconds, times};

/// What a search varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Vary {
    /// Requests in flight
    Parallel,
    /// Arrivals per second
    Rate,
}

#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "each has the name of its flag")]
#[command(next_help_heading = "Search for capacity")]
pub(crate) struct SearchArgs {
    /// Search for the largest load that meets --sla-params
    ///
    /// Each load is measured until its requests tell whether it meets the limits, and the answer is
    /// confirmed with other prompts. With --sla-num-runs or --sla-number-multiplier the search is that of
    /// EvalScope: a few requests for each load.
    #[arg(long)]
    pub(crate) sla_auto_tune: bool,

    /// What is varied
    ///
    /// A rate is an open loop, unless --sla-fixed-parallel limits the requests in flight.
    #[arg(long, value_name = "VARIABLE", value_enum, default_value = "parallel")]
    pub(crate) sla_variable: Vary,

    /// The limits, in JSON: `{"p99_ttft": "<=500ms"}`
    ///
    /// Figures are p50, p90, p95, p99 and p99.9 of latency, ttft, ttfat and tpot (`p99_ttft`), their means
    /// (`avg_ttft`), rps, tps and `success_rate` (">=99%" by default). Limits of one object hold together;
    /// each object of a list is a search of its own. `{"goodput": "max"}`, with --slo, and tps and rps find the
    /// load with the greatest figure.
    #[arg(long, value_name = "JSON")]
    pub(crate) sla_params: Option<String>,

    /// EvalScope's way: runs of each load [default: 3]
    #[arg(long, value_name = "N", value_parser = repeats)]
    pub(crate) sla_num_runs: Option<NonZeroU32>,

    /// The least load
    #[arg(long, value_name = "LOAD", value_parser = above_zero, default_value = "1")]
    pub(crate) sla_lower_bound: f64,

    /// The greatest load
    #[arg(long, value_name = "LOAD", value_parser = above_zero, default_value = "65536")]
    pub(crate) sla_upper_bound: f64,

    /// Requests in flight while a rate is searched for
    ///
    /// [default: unlimited; in EvalScope's way --sla-upper-bound]
    #[arg(long, value_name = "N", value_parser = places)]
    pub(crate) sla_fixed_parallel: Option<NonZeroUsize>,

    /// EvalScope's way: requests of a run, per unit of load [default: 2]
    #[arg(long, value_name = "N", value_parser = above_zero)]
    pub(crate) sla_number_multiplier: Option<f64>,

    /// How far apart a load that meets the limits and one that does not may be
    #[arg(long, value_name = "SHARE", value_parser = precision, default_value = "5%")]
    pub(crate) sla_precision: f64,

    /// How sure a verdict on a load has to be
    #[arg(long, value_name = "SHARE", value_parser = confidence, default_value = "0.95")]
    pub(crate) sla_confidence: f64,

    /// How long a load is measured, seconds: the first and the last look
    ///
    /// A p99 needs at least 381 requests to pass, so small rates take longer.
    #[arg(long, value_name = "MIN..MAX", value_parser = times, default_value = "20..120")]
    pub(crate) sla_probe_time: (f64, f64),

    /// Begin no measurement after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) sla_max_time: Option<f64>,
}
