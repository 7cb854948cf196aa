//! Owns why the lists of a sweep do not make a plan, in words.
//!
//! It must not know how a sweep is expanded.

/// Why the lists of a sweep do not make a plan.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PlanError {
    /// Two lists that go together have different lengths, and neither is a single value.
    #[error("`{left_flag}` has {left_len} ({left}) but `{right_flag}` has {right_len} ({right})",
        left_len = counted(left), right_len = right.split(' ').count())]
    Lengths {
        /// The first flag.
        left_flag: &'static str,
        /// Its values.
        left: String,
        /// The second flag.
        right_flag: &'static str,
        /// Its values.
        right: String,
    },
    /// A run of no requests.
    #[error("`--number 0` sends nothing: give at least 1")]
    NoRequests,
    /// A share of a number that nobody has given.
    #[error("`--warmup-num {0}` is a share of `--number`, which is not given")]
    ShareOfNothing(f64),
    /// A profile is over before the warm-up is.
    #[error(
        "`--warmup-num {warmup_requests}` leaves nothing to measure: `--rate {profile}` sends {expected} requests on \
         average, the warm-up included"
    )]
    OnlyWarmup {
        /// Warm-up requests.
        warmup_requests: u64,
        /// The profile.
        profile: String,
        /// Its mean number of arrivals.
        expected: f64,
    },
    /// Shards carry out one run.
    #[error(
        "`--shard` takes one run, but this command has {points}\nhint: start the shards of each run on their own, \
         with a `--run-id` of its own"
    )]
    SeveralPoints {
        /// Runs of the command.
        points: usize,
    },
    /// A shard would have nothing to do.
    #[error(
        "`{flag} {given}` is too few for {shards} shards: each needs at least one\nhint: give `{flag}` {shards} or \
         more, or take fewer shards"
    )]
    FewerThanShards {
        /// The flag.
        flag: &'static str,
        /// Its value.
        given: u64,
        /// The number of shards.
        shards: u32,
    },
    /// A shard sees only its part of the load.
    #[error(
        "`{0}` would end one shard while the others go on: each sees only its part of the load\nhint: leave it \
         out, or use one process"
    )]
    EndsOneShard(&'static str),
}

/// How many values stand in a list.
fn counted(list: &str) -> String {
    match list.split(' ').count() {
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    }
}
