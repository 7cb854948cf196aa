//! Owns the load that the flags ask for, and its limits in time.
//!
//! It must not know how a load is made.

use std::time::Duration;

use evalscope_core::transport::Timeouts;
use evalscope_model::conversation::KeepConnection;
use evalscope_model::plan::{OpenLoop, Sweep, Warmup, WhenFull};
use evalscope_model::profile::Profile;
use evalscope_model::shard::Shard;
use evalscope_workload::trace::Trace;

use super::profile_file;
use super::trace::replayed;
use crate::failure::hinted;
use crate::flags::load::{Full, LoadArgs};
use crate::flags::prompts::PromptArgs;
use crate::flags::rates::Rate;
use crate::flags::server::ServerArgs;

/// The load that was asked for, of which `shard` is carried out here, with `seed`. `whole`: requests of a
/// set that is meant to be sent whole. `trace`: what is replayed.
pub(super) fn sweep_of(
    load: &LoadArgs,
    prompts: &PromptArgs,
    whole: Option<u64>,
    trace: Option<&Trace>,
    (seed, shard): (u64, Shard),
    notes: &mut Vec<String>,
) -> anyhow::Result<Sweep> {
    let rate = rates_of(load)?;
    let mut parallel = load.parallel.clone();
    if load.open_loop {
        if trace.is_none() && rate.iter().any(Option::is_none) {
            let hint = "such as `--rate 5`, or several for a sweep: `--rate 5 10 20`";
            return Err(hinted(
                "`--open-loop` needs `--rate`: how many requests a second",
                hint,
            ));
        }
        if parallel.take().is_some() {
            notes.push(
                "`--parallel` has no effect with `--open-loop`: requests never wait".to_owned(),
            );
        }
    }
    let sweep = Sweep {
        number: load.number.clone(),
        whole,
        dataset_offset: prompts.dataset_offset,
        repeat_prompts: prompts.repeat_prompts,
        parallel,
        rate,
        gaps: load.burstiness.unwrap_or(load.arrivals),
        open_loop: OpenLoop {
            max_in_flight: load.max_in_flight,
            when_full: match load.when_full {
                Full::Wait => WhenFull::Wait,
                Full::Drop => WhenFull::Drop,
                Full::Stop => WhenFull::Stop,
            },
            stop_when_saturated: load.stop_when_saturated,
        },
        drain_timeout_s: load.drain_timeout,
        warmup: warmup_of(load.warmup_num),
        duration_s: load.duration.filter(|seconds| *seconds > 0.0),
        sleep_interval_s: load.sleep_interval,
        conversations: None,
        connections: KeepConnection::Keep,
        recording: None,
        repeats: load.repeats,
        shard,
        seed,
    };
    match trace {
        Some(trace) => replayed(sweep, load, trace, notes),
        None => Ok(sweep),
    }
}

/// The rates of a sweep; `None` is no pacing.
fn rates_of(load: &LoadArgs) -> anyhow::Result<Vec<Option<Profile>>> {
    let rates = load.rate.iter().flat_map(|rates| &rates.0);
    rates
        .map(|rate| match rate {
            Rate::Unpaced => Ok(None),
            Rate::Profile(profile) => Ok(Some(profile.clone())),
            Rate::File(file) => profile_file::read(file).map(Some),
        })
        .collect()
}

/// A share where it is one, or else a number.
fn warmup_of(typed: f64) -> Warmup {
    if typed > 0.0 && typed < 1.0 {
        return Warmup::Share(typed);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and negative means none"
    )]
    Warmup::Count(typed as u64)
}

/// The limits of a request.
pub(super) fn timeouts_of(server: &ServerArgs) -> Timeouts {
    Timeouts {
        // by default, connecting has a separate limit
        connect: server
            .connect_timeout
            .map(|seconds| limit(seconds).unwrap_or(NO_LIMIT)),
        read: server.read_timeout.and_then(limit),
        total: limit(server.total_timeout),
    }
}

/// As good as none, in a field whose absence means a default.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

/// A limit in seconds; 0 means no limit.
pub(super) fn limit(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
}

/// A seed that no other command has: random prompts that repeat an earlier command's would meet
/// a warm prefix cache. 32 bits, which a person can type.
pub(super) fn drawn_seed(notes: &mut Vec<String>) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    // the standard library's only source of randomness of the system
    let seed = RandomState::new().build_hasher().finish() >> 32;
    notes.push(format!(
        "random seed {seed}: repeat this load with `--seed {seed}`"
    ));
    seed
}
