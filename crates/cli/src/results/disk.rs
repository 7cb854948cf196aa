//! Owns the estimate of what a command's databases will take on disk.
//!
//! It must not know how requests are stored.

use std::path::Path;

use evalscope_model::plan::RunSpec;
use evalscope_model::record::RecordBodies;

use crate::resolve::Job;

/// Results above this are worth a note, bytes.
const WORTH_A_NOTE: f64 = 1e9;

/// Bytes that a request takes, and an output token of it, in the database.
///
/// Measured with the simulator, as the slope and the rest of the database's size over
/// `--max-tokens 64` and `1024`: `evalscope perf --api local_sim --dataset sample --parallel 32
/// -n 200 --max-tokens 64 --record-bodies all`, and likewise with `--no-stream` and
/// `--record-bodies none`. With `all`, each event of a stream is kept.
fn bytes_each(bodies: RecordBodies, stream: bool) -> (f64, f64) {
    match (bodies, stream) {
        (RecordBodies::All, true) => (18_400.0, 239.0),
        (RecordBodies::All, false) => (2_340.0, 7.0),
        // most requests succeed
        (RecordBodies::Failed | RecordBodies::None, true) => (1_200.0, 4.3),
        (RecordBodies::Failed | RecordBodies::None, false) => (1_310.0, 0.0),
    }
}

/// Requests of a run, at most; `None` where nothing says how many.
fn requests(run: &RunSpec) -> Option<f64> {
    let timed = run.pacing.schedule().and_then(|schedule| {
        let seconds = run.duration_s.or_else(|| schedule.profile.span_s())?;
        Some(schedule.profile.expected_within(seconds))
    });
    let measured = match (run.requests.map(|n| n as f64), timed) {
        (Some(number), Some(timed)) => number.min(timed),
        (number, timed) => number.or(timed)?,
    };
    Some(measured + run.warmup_requests as f64)
}

/// A note on what the results in a folder will take on disk; `None` where that is little, or not
/// known.
pub(crate) fn note(job: &Job, folder: &Path) -> Option<String> {
    let runs = job.plan.runs().iter().map(RunSpec::part);
    let requests: f64 = runs.filter_map(|run| requests(&run)).sum();
    let total = |bodies| {
        let (of_request, of_token) = bytes_each(bodies, job.stream);
        requests * (of_request + job.most_tokens * of_token)
    };
    let (bytes, without_bodies) = (total(job.record_bodies), total(RecordBodies::None));
    (bytes > WORTH_A_NOTE).then(|| text(bytes, without_bodies, free(folder)))
}

/// Bytes that this user may still write to the file system of a folder; `None` where the system does
/// not say.
#[cfg(unix)]
fn free(folder: &Path) -> Option<f64> {
    let system = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(system.blocks_available() as f64 * system.fragment_size() as f64)
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<f64> {
    None
}

fn text(bytes: f64, without_bodies: f64, free: Option<f64>) -> String {
    let free = free.map_or_else(String::new, |free| {
        format!(", where {} are free", size(free))
    });
    let less = if without_bodies < bytes {
        format!(
            "; about {} with `--record-bodies none`",
            size(without_bodies)
        )
    } else {
        String::new()
    };
    format!(
        "the results will take up to about {} on disk{free}, without the prompts{less}",
        size(bytes)
    )
}

fn size(bytes: f64) -> String {
    if bytes < 1e9 {
        format!("{:.0} MB", bytes / 1e6)
    } else {
        format!("{:.1} GB", bytes / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evalscope_model::plan::{OpenLoop, Pacing};
    use evalscope_model::point::PointId;
    use evalscope_model::profile::Schedule;

    #[test]
    fn what_is_free_and_what_would_help_is_said() {
        assert_eq!(
            text(5.08e9, 1e8, Some(2.34e10)),
            "the results will take up to about 5.1 GB on disk, where 23.4 GB are free, without the \
             prompts; about 100 MB with `--record-bodies none`"
        );
        assert_eq!(
            text(2e9, 2e9, None),
            "the results will take up to about 2.0 GB on disk, without the prompts"
        );
    }

    #[test]
    fn a_time_limit_bounds_a_paced_run() {
        let run = |requests, rate_per_s: Option<f64>, duration_s| RunSpec {
            point: PointId::first("test"),
            concurrency: None,
            requests,
            conversations: None,
            connections: evalscope_model::conversation::KeepConnection::Keep,
            pacing: rate_per_s.map_or(Pacing::Unpaced, |rate_per_s| {
                Pacing::Arrivals(Schedule::poisson(rate_per_s))
            }),
            open_loop: OpenLoop::default(),
            drain_timeout_s: None,
            warmup_requests: 3,
            duration_s,
            seed: 0,
            dataset_offset: 0,
            shard: evalscope_model::shard::Shard::WHOLE,
        };
        assert_eq!(requests(&run(Some(100), None, Some(9.0))), Some(103.0));
        assert_eq!(requests(&run(Some(100), Some(2.0), Some(9.0))), Some(21.0));
        assert_eq!(requests(&run(None, Some(2.0), Some(9.0))), Some(21.0));
        assert_eq!(requests(&run(None, None, Some(9.0))), None);
    }
}
