//! Owns why a simulated server could not be set up or completed.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a simulated server could not be set up or completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The address is not available.
    #[error("cannot listen on {address}: choose a free port, or 0 for any")]
    Bind {
        /// The requested address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The truth log cannot be created or written.
    #[error("cannot write the truth log {}", path.display())]
    TruthLog {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The tokenizer or its chat template cannot be used.
    #[error(
        "cannot use the tokenizer {}: {message}; use a tokenizer.json or a directory that \
         holds one",
        path.display()
    )]
    Tokenizer {
        /// The requested path.
        path: PathBuf,
        /// The cause.
        message: String,
    },
    /// A thread or its runtime cannot be started.
    #[error("cannot run the simulated server: {source}")]
    Thread {
        /// The cause.
        source: io::Error,
    },
    /// A number in the profile is out of range.
    #[error("{name} is {got}; allowed are 0 to {highest} ({unit})")]
    Profile {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        got: f64,
        /// The highest allowed value.
        highest: f64,
        /// Unit of both.
        unit: &'static str,
    },
    /// A spread has an unknown name.
    #[error("unknown distribution {got:?}; allowed are constant, normal, log-normal")]
    Spread {
        /// The name.
        got: String,
    },
    /// A distribution of service times is invalid.
    #[error(
        "unknown distribution {got:?}; allowed are constant, exp, lognormal:CV and gamma:CV, where \
         CV is the standard deviation divided by the mean (0 to 10), as in gamma:0.7"
    )]
    ServiceSpread {
        /// The distribution.
        got: String,
    },
    /// The step times of a batch are invalid.
    #[error(
        "unknown step time {got:?}; expected T0,T1 in milliseconds: a step takes T0 + T1 × running \
         requests, as in 12,0.2"
    )]
    BatchItl {
        /// The value.
        got: String,
    },
    /// A drift is invalid.
    #[error(
        "unknown drift {got:?}; expected PERCENT%/UNIT with the unit s, min or h, as in 10%/min"
    )]
    Drift {
        /// The drift.
        got: String,
    },
    /// The size of a prefix cache is invalid.
    #[error(
        "the size of the prefix cache is {got:?}; allowed are a number of blocks, 0 for none, and inf"
    )]
    CacheBlocks {
        /// The size.
        got: String,
    },
    /// The share of tool calls is invalid.
    #[error("the share of tool calls is {got:?}; allowed are 0 to 1 and always")]
    ToolCalls {
        /// The share.
        got: String,
    },
    /// The name of a header is invalid.
    #[error("{got:?} is not the name of a header: letters, digits and hyphens, as in x-session-id")]
    HeaderName {
        /// The name.
        got: String,
    },
    /// A pause is invalid.
    #[error(
        "unknown pause {got:?}; expected pause:LENGTH@AFTER, times with a unit (ms, s, min or h), \
         as in pause:2s@30s"
    )]
    Pause {
        /// The part after the name.
        got: String,
    },
    /// A fault has an unknown name.
    #[error("unknown fault {got:?}; allowed are {allowed}")]
    FaultName {
        /// The name.
        got: String,
        /// The names of all faults.
        allowed: String,
    },
    /// The part after the colon of a fault rule is invalid.
    #[error(
        "unknown condition {got:?} of a fault; allowed are every=N (N at least 1) and p=P (P from \
         0 to 1), as in http-429:every=4 or cut:p=0.1"
    )]
    FaultWhen {
        /// The condition.
        got: String,
    },
}
