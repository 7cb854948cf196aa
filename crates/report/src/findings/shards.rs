//! Owns findings about a run that several processes carried out together.

use evalscope_model::metrics::Metric;
use evalscope_model::plan::Pacing;

use super::finding::{Evidence, Finding};
use super::id::FindingId;
use crate::model::{RunState, ShardMeta};

/// Clocks that are further apart shift arrivals visibly.
const APART_NS: u64 = 10_000_000;
/// The same as a share of the median TTFT.
const APART_OF_TTFT: f64 = 0.01;
/// A first request that is sent later than this shows on the time axis.
const STARTED_LATE_NS: u64 = 50_000_000;
/// Idle for longer than this share of the run, a shard bends throughput.
const IDLE_SHARE: f64 = 0.05;

pub(super) fn incomplete(e: &Evidence<'_>) -> Option<Finding> {
    if e.state != RunState::Partial {
        return None;
    }
    let all = e.shards.len() + e.missing_shards.len();
    let mut why = Vec::new();
    if !e.missing_shards.is_empty() {
        let is = if e.missing_shards.len() == 1 {
            "is"
        } else {
            "are"
        };
        let missing = e.missing_shards.iter().copied();
        why.push(format!("{} of {all} {is} missing", named(missing)));
    }
    let cut: Vec<&ShardMeta> = e
        .shards
        .iter()
        .filter(|shard| shard.state != RunState::Finished)
        .collect();
    if !cut.is_empty() {
        let indices = cut.iter().map(|shard| shard.index);
        why.push(format!("{} did not finish", named(indices)));
    }
    let text = format!(
        "the run is partial: {}; the figures are those of a part of the load",
        why.join(", and ")
    );
    Some(Finding::new(FindingId::ShardsMissing, text))
}

pub(super) fn clocks(e: &Evidence<'_>) -> Option<Finding> {
    let apart = |shard: &ShardMeta| shard.offset_ns.unsigned_abs() + shard.offset_error_ns;
    let worst = e.shards.iter().max_by_key(|shard| apart(shard))?;
    let ns = apart(worst);
    let of_ttft = e
        .metric(Metric::Ttft)
        .p50
        .filter(|ttft_ms| ns as f64 / 1e6 > APART_OF_TTFT * ttft_ms);
    let limit = match of_ttft {
        _ if ns > APART_NS => "10 ms".to_owned(),
        Some(_) => "1 % of the median TTFT".to_owned(),
        None => return None,
    };
    let text = format!(
        "the clock of shard {} may be off by {:.1} ms (limit {limit}): latencies are unaffected, but requests of \
         different shards are shifted against each other by as much; synchronise the clocks with NTP or chrony",
        worst.index,
        ns as f64 / 1e6
    );
    Some(Finding::new(FindingId::ShardClocksApart, text))
}

pub(super) fn started_late(e: &Evidence<'_>) -> Option<Finding> {
    let late = |shard: &&ShardMeta| shard.started_late_ns.filter(|ns| *ns > STARTED_LATE_NS);
    let worst = e.shards.iter().filter(|shard| late(shard).is_some());
    let worst = worst.max_by_key(late)?;
    let text = format!(
        "shard {} sent its first request {:.0} ms after its schedule (limit 50 ms): the load was not the one asked \
         for at the start",
        worst.index,
        late(&worst)? as f64 / 1e6
    );
    Some(Finding::new(FindingId::ShardStartedLate, text))
}

pub(super) fn idle(e: &Evidence<'_>) -> Option<Finding> {
    if e.load.pacing != Pacing::Unpaced || e.load.duration_s.is_some() {
        return None;
    }
    let worst = e.shards.iter().max_by_key(|shard| shard.idle_ns)?;
    let idle_s = worst.idle_ns? as f64 / 1e9;
    let run_s = e.totals.duration_s();
    if idle_s <= IDLE_SHARE * run_s {
        return None;
    }
    let text = format!(
        "shard {} was idle for the last {idle_s:.1} s of {run_s:.1} s: its share of `--number` was done, so fewer \
         requests were in flight than `--parallel` says; `--duration` has no such tail",
        worst.index
    );
    Some(Finding::new(FindingId::ShardIdle, text))
}

fn named(indices: impl Iterator<Item = u32>) -> String {
    let indices: Vec<String> = indices.map(|index| index.to_string()).collect();
    match indices.as_slice() {
        [one] => format!("shard {one}"),
        [before @ .., last] => format!("shards {} and {last}", before.join(", ")),
        [] => "no shard".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{none, one};
    use super::*;
    use crate::samples::shard;

    fn shards(change: impl FnOnce(&mut [ShardMeta])) -> Vec<ShardMeta> {
        let mut shards = vec![shard(0), shard(1), shard(3)];
        change(&mut shards);
        shards
    }

    #[test]
    fn missing_and_cut_shards_are_named() {
        one(
            |c| {
                c.state = RunState::Partial;
                c.shards = shards(|all| all[1].state = RunState::Running);
                c.missing_shards = vec![2, 4];
            },
            FindingId::ShardsMissing,
            "shards 2 and 4 of 5 are missing, and shard 1 did not finish;",
        );
        none(|c| c.shards = shards(|_| ()));
    }

    #[test]
    fn clocks_that_are_apart_are_a_finding() {
        one(
            |c| {
                c.shards = shards(|all| {
                    (all[2].offset_ns, all[2].offset_error_ns) = (-9_000_000, 2_000_000);
                });
            },
            FindingId::ShardClocksApart,
            "clock of shard 3 may be off by 11.0 ms (limit 10 ms)",
        );
        let apart = || shards(|all| all[0].offset_ns = 3_000_000);
        one(
            |c| {
                c.metric(Metric::Ttft).p50 = Some(200.0);
                c.shards = apart();
            },
            FindingId::ShardClocksApart,
            "3.0 ms (limit 1 % of the median TTFT)",
        );
        none(|c| {
            c.metric(Metric::Ttft).p50 = Some(400.0);
            c.shards = apart();
        });
    }

    #[test]
    fn a_shard_that_begins_late_is_a_finding() {
        let late = |ms: u64| shards(|all| all[1].started_late_ns = Some(ms * 1_000_000));
        one(
            |c| c.shards = late(51),
            FindingId::ShardStartedLate,
            "shard 1 sent its first request 51 ms",
        );
        none(|c| c.shards = late(50));
    }

    #[test]
    fn a_tail_of_a_closed_loop_is_a_finding() {
        let change = |c: &mut super::super::tests::Case| {
            c.totals.first_dispatch = Some(evalscope_model::time::Timestamp::ZERO);
            c.totals.last_end = Some(evalscope_model::time::Timestamp::from_nanos(10_000_000_000));
            c.shards = shards(|all| all[2].idle_ns = Some(4_100_000_000));
        };
        one(
            change,
            FindingId::ShardIdle,
            "shard 3 was idle for the last 4.1 s of 10.0 s",
        );
        none(|c| {
            change(c);
            c.load.duration_s = Some(10.0);
        });
    }
}
