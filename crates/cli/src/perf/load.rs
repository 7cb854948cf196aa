//! Owns what is said of a load before it begins: how many requests can be in flight here, and a line
//! for each point.

use std::num::NonZeroUsize;
use std::path::Path;

use evalscope_core::transport::{Target, raise_open_files_limit};
use evalscope_model::plan::{Pacing, RunSpec};

use crate::log::Log;
use crate::resolve::Job;
use crate::results::disk;
use crate::secrets;

/// Files beside connections: the database, logs, event loops, plugins, a margin.
const SPARE_FILES: u64 = 64;

/// The most connections that this process may hold open, after it has raised its limit.
pub(super) fn most_in_flight() -> usize {
    raise_open_files_limit().map_or(usize::MAX, |limit| {
        // of a limit that is tiny, half is left for connections
        let spare = SPARE_FILES.min(limit / 2);
        usize::try_from(limit - spare).unwrap_or(usize::MAX)
    })
}

/// Log in brief what will be done.
pub(super) fn announce(job: &Job, target: &Target, top: &Path, log: &Log) {
    for note in job.notes.iter().chain(&disk::note(job, top)) {
        log.info(note);
    }
    log.info(&format!(
        "model {}, api {}, {}",
        job.model,
        job.api,
        secrets::shown_url(&job.url)
    ));
    if let Some(proxy) = target.proxy() {
        log.info(&format!("using the proxy {proxy}"));
    }
    if job.connection.trust.insecure && job.url.scheme() == "https" {
        log.warn("the server's certificate is not verified");
    } else if let Some(roots) = target.tls_roots() {
        log.info(&format!("trusted certificates: {roots}"));
    }
    log.info(&format!(
        "dataset {}, max_tokens {}, {}",
        job.prompts.set.name(),
        match job.bodies.max_tokens {
            evalscope_core::protocol::MaxTokens::Fixed(n) => n.to_string(),
            evalscope_core::protocol::MaxTokens::Uniform(a, b) => format!("{a} to {b}"),
        },
        counted(job.threads.get() as u64, "receive thread")
    ));
}

/// Slots if requests in flight are unlimited: each takes about 9 KB, and few servers hold as many
/// open streams.
const MOST_IN_FLIGHT: usize = 10_000;

/// Slots that are worth making: no more than requests, and no more than the machine can open
/// connections for.
pub(super) fn in_flight_of(spec: &RunSpec, most: usize) -> NonZeroUsize {
    let requests = spec.requests.unwrap_or(u64::MAX).max(spec.warmup_requests);
    let requests = usize::try_from(requests).unwrap_or(usize::MAX);
    let asked = spec.concurrency.map_or(MOST_IN_FLIGHT, NonZeroUsize::get);
    NonZeroUsize::new(asked.min(requests).min(most)).unwrap_or(NonZeroUsize::MIN)
}

/// A note if there are fewer slots than asked for.
pub(super) fn in_flight_note(spec: &RunSpec, slots: NonZeroUsize) -> Option<String> {
    let asked = spec.concurrency.filter(|asked| slots < *asked)?;
    let requests = spec.requests.unwrap_or(u64::MAX).max(spec.warmup_requests);
    let why = if slots.get() as u64 == requests {
        format!("the run has only {}", counted(requests, "request"))
    } else {
        "this process may not open more files (raise the limit with `ulimit -Hn`)".to_owned()
    };
    Some(format!(
        "`--parallel {asked}` is limited to {slots} in flight: {why}"
    ))
}

/// Log in brief what a run will do.
pub(super) fn announce_run(spec: &RunSpec, slots: NonZeroUsize, log: &Log) {
    if let Some(note) = in_flight_note(spec, slots) {
        log.warn(&note);
    }
    log.info(&format!(
        "{}: {}{}",
        spec.point.label,
        match (spec.requests, spec.duration_s) {
            (Some(requests), None) => counted(requests, "request"),
            (Some(requests), Some(seconds)) =>
                format!("{} in at most {seconds} s", counted(requests, "request")),
            (None, Some(seconds)) => format!("requests for {seconds} s"),
            (None, None) => "requests until the end of the profile".to_owned(),
        },
        match (&spec.pacing, spec.concurrency) {
            (Pacing::Unpaced, _) => format!(", {slots} in flight"),
            (Pacing::Arrivals(schedule), Some(_)) =>
                format!(", {schedule}, at most {slots} in flight"),
            (Pacing::Arrivals(schedule), None) => {
                let is_capped = spec
                    .requests
                    .is_none_or(|requests| (slots.get() as u64) < requests);
                let most = if is_capped {
                    format!(" (this program can hold {slots})")
                } else {
                    String::new()
                };
                format!(", {schedule}, no limit in flight{most}")
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
