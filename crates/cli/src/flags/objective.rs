//! Owns the flags about objectives: what makes a request good, and how many have to be.
//!
//! It must not know how requests are judged.

use clap::{ArgAction, Args, ValueEnum};

use evalscope_report::rules::Rule;

use super::values::{seconds_or_zero, share};

/// Where the times of an objective begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// When the request was due
    Schedule,
    /// When it was sent
    Send,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objectives")]
pub(crate) struct ObjectiveArgs {
    /// What a good request meets: "ttft<=500ms tpot<=50ms"
    ///
    /// Conditions with <=, <, >= or >, separated by spaces or commas. Figures are ttft, ttfat, tpot,
    /// `itl_max` (the longest gap between tokens) and latency with a time such as 500ms or 10s, and
    /// decode with a speed such as 20tok/s. The results then say how many requests met them.
    #[arg(long, value_name = "CONDITIONS", num_args = 1.., action = ArgAction::Set)]
    pub(crate) slo: Option<Vec<String>>,

    /// The same in milliseconds, as vLLM writes it: ttft:500 tpot:50 e2el:10000
    #[arg(long, value_name = "NAME:MS", num_args = 1.., action = ArgAction::Set,
          conflicts_with = "slo")]
    pub(crate) goodput: Option<Vec<String>>,

    /// Where ttft, ttfat and latency of --slo begin [default: schedule in an open loop, else send]
    #[arg(long, value_name = "MOMENT", value_enum)]
    pub(crate) slo_from: Option<From>,

    /// Exit with 1 if a smaller fraction of requests meets --slo: 0.95 or 95%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) min_goodput: Option<f64>,

    /// Exit with 3 if this holds of a finished run: `ttft_p99>500ms and error_rate>1%`
    ///
    /// A figure such as `ttft_p99`, `latency_mean`, `output_tokens_per_s` or `error_rate`, with <, <=, >
    /// or >= and a bound; conditions are joined by " and ", and `ttft_p99@parallel=8>500ms` is about
    /// some runs only. `evalscope compare --fail-if` takes changes, too.
    #[arg(long, value_name = "RULE", num_args = 1.., action = ArgAction::Append)]
    pub(crate) fail_if: Vec<Rule>,

    /// Stop as soon as this holds of the last 30 s of a run, with exit code 3: `error_rate>20%`
    ///
    /// As --fail-if; looked at every 2 s. Requests in flight may end, as after Ctrl-C.
    #[arg(long, value_name = "RULE", num_args = 1.., action = ArgAction::Append)]
    pub(crate) abort_if: Vec<Rule>,

    /// From when on --abort-if is looked at, after the first measured request.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = seconds_or_zero)]
    pub(crate) abort_after: f64,
}
