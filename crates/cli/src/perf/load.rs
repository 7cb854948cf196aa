//! Owns what is said of a load before it begins: how many requests can be in flight here, and a line
//! for each point.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use evalscope_core::engine::DRAIN_GRACE;
use evalscope_core::protocol::{MaxTokens, Output};
use evalscope_core::transport::{Target, local_ports, raise_open_files_limit};
use evalscope_model::plan::{Pacing, RunSpec};

use crate::log::Log;
use crate::resolve::Job;
use crate::results::disk;
use crate::secrets;

/// Files beside connections: the database, logs, event loops, plugins, a margin. And ports beside them: those of
/// other programs, and of connections that have been closed and whose ports are not free yet.
const SPARE: u64 = 64;

/// What bounds the connections that this process may hold open.
#[derive(Clone, Copy, Debug)]
pub(super) struct MostInFlight {
    connections: usize,
    bound: &'static str,
}

/// The most requests that may be in flight, each with a connection to every one of so many URLs, after
/// this process has raised its limit.
pub(super) fn most_in_flight(urls: usize) -> MostInFlight {
    // of a limit that is tiny, half is left for connections
    let without_spare = |limit: u64| usize::try_from(limit - SPARE.min(limit / 2));
    let most = |limit: Option<u64>| {
        let most = limit.and_then(|limit| without_spare(limit).ok());
        most.unwrap_or(usize::MAX)
    };
    let files = most(raise_open_files_limit()) / urls.max(1);
    let ports = most(local_ports().map(|ports| ports as u64));
    if ports < files {
        MostInFlight {
            connections: ports,
            bound: "this machine has no more ports for one server (widen `net.ipv4.ip_local_port_range`)",
        }
    } else {
        MostInFlight {
            connections: files,
            bound: "this process may not open more files (raise the limit with `ulimit -Hn`)",
        }
    }
}

/// Log in brief what will be done.
pub(super) fn announce(job: &Job, target: &Target, top: &Path, log: &Log) {
    for note in job.notes.iter().chain(&disk::note(job, top)) {
        log.info(note);
    }
    log.info(&format!(
        "model {}, api {}, {}",
        models_of(job),
        job.api,
        secrets::shown_url(job.url())
    ));
    if let [_, others @ ..] = &job.urls[..]
        && !others.is_empty()
    {
        let shown: Vec<String> = others.iter().map(secrets::shown_url).collect();
        log.info(&format!(
            "and {} ({})",
            shown.join(", "),
            job.url_strategy.as_str()
        ));
    }
    if let Some(proxy) = target.proxy() {
        log.info(&format!("using the proxy {proxy}"));
    }
    if job.connection.trust.insecure && job.url().scheme() == "https" {
        log.warn("the server's certificate is not verified");
    } else if let Some(roots) = target.tls_roots() {
        log.info(&format!("trusted certificates: {roots}"));
    }
    log.info(&format!(
        "dataset {}, {}{}",
        job.prompts.set.name(),
        match (job.bodies.api.output(), job.bodies.max_tokens) {
            (Output::Vectors | Output::Scores, _) => String::new(),
            (Output::Generated, MaxTokens::Fixed(n)) => format!("max_tokens {n}, "),
            (Output::Generated, MaxTokens::Uniform(a, b)) => format!("max_tokens {a} to {b}, "),
        },
        counted(job.threads.get() as u64, "receive thread")
    ));
}

/// The models, with the share of each where they are several.
fn models_of(job: &Job) -> String {
    let Some(mix) = &job.bodies.mix else {
        return job.model.clone();
    };
    let named = mix.names().iter().zip(mix.shares());
    let named = named.map(|(name, share)| format!("{name} {:.1} %", share * 100.0));
    named.collect::<Vec<_>>().join(", ")
}

/// The most requests in flight of an open loop, unless somebody says so: each takes about 9 KB,
/// and few servers hold as many open streams.
const MOST_IN_FLIGHT: usize = 65_536;

/// Requests that can be in flight: no more than there are, and no more than the machine can open
/// connections for.
pub(super) fn in_flight_of(spec: &RunSpec, most: MostInFlight) -> NonZeroUsize {
    let requests = usize::try_from(all_requests(spec)).unwrap_or(usize::MAX);
    let asked = asked_in_flight(spec).map_or(MOST_IN_FLIGHT, |(_, asked)| asked.get());
    NonZeroUsize::new(asked.min(requests).min(most.connections)).unwrap_or(NonZeroUsize::MIN)
}

/// How long requests in flight may go on when a run of this command is stopped.
pub(super) fn longest_drain(job: &Job) -> Duration {
    let drains = job.plan.runs().iter();
    drains
        .map(|spec| spec.drain_timeout().unwrap_or(DRAIN_GRACE))
        .max()
        .unwrap_or(DRAIN_GRACE)
}

/// How many requests may be in flight, and the flag that says so.
fn asked_in_flight(spec: &RunSpec) -> Option<(&'static str, NonZeroUsize)> {
    match spec.concurrency {
        Some(asked) => Some(("--parallel", asked)),
        None => Some(("--max-in-flight", spec.open_loop.max_in_flight?)),
    }
}

/// Requests of a run, those of its warm-up too.
fn all_requests(spec: &RunSpec) -> u64 {
    let measured = spec.requests.unwrap_or(u64::MAX);
    measured.saturating_add(spec.warmup_requests)
}

/// A note if fewer requests can be in flight than asked for.
pub(super) fn in_flight_note(
    spec: &RunSpec,
    slots: NonZeroUsize,
    most: MostInFlight,
) -> Option<String> {
    let (flag, asked) = asked_in_flight(spec).filter(|(_, asked)| slots < *asked)?;
    let requests = all_requests(spec);
    let why = if slots.get() as u64 == requests {
        format!("the run has only {}", counted(requests, "request"))
    } else {
        most.bound.to_owned()
    };
    Some(format!(
        "`{flag} {asked}` is limited to {slots} in flight: {why}"
    ))
}

/// Log in brief what a run will do.
pub(super) fn announce_run(spec: &RunSpec, slots: NonZeroUsize, note: Option<&str>, log: &Log) {
    if let Some(note) = note {
        log.warn(note);
    }
    let noun = match spec.conversations {
        Some(_) => "conversation",
        None => "request",
    };
    log.info(&format!(
        "{}: {}{}",
        spec.point.label,
        match (spec.requests, spec.duration_s) {
            (Some(sessions), None) => counted(sessions, noun),
            (Some(sessions), Some(seconds)) =>
                format!("{} in at most {seconds} s", counted(sessions, noun)),
            (None, Some(seconds)) => format!("{noun}s for {seconds} s"),
            (None, None) => match &spec.pacing {
                Pacing::Recorded(recording) => counted(recording.offsets_ns.len() as u64, noun),
                _ => format!("{noun}s until the end of the profile"),
            },
        },
        match (&spec.pacing, spec.concurrency) {
            (Pacing::Unpaced, _) => format!(", {slots} in flight"),
            (Pacing::Recorded(recording), _) => format!(
                ", at the moments of the trace: {:.1} s at {} times its speed",
                recording.span_s, recording.speed
            ),
            (Pacing::Arrivals(schedule), Some(_)) =>
                format!(", {schedule}, at most {slots} in flight"),
            (Pacing::Arrivals(schedule), None) => {
                let is_capped = spec
                    .requests
                    .is_none_or(|requests| (slots.get() as u64) < requests);
                let most = match (spec.open_loop.max_in_flight, is_capped) {
                    (Some(_), true) => format!("at most {slots} in flight"),
                    (None, true) => format!("no limit in flight (this program can hold {slots})"),
                    (_, false) => "no limit in flight".to_owned(),
                };
                format!(", {schedule}, {most}")
            }
        }
    ));
}

/// A number with its noun.
pub(super) fn counted(n: u64, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}
