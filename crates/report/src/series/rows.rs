//! Owns the requests inside the page, as the script reads them.
//!
//! It must not know which requests are kept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::packed::{Number, Whole};
use super::{KeptRequests, RequestRow};

/// Requests, a value for each in each list, by dispatch: first those of the warm-up.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct Requests<'a> {
    /// Measured requests of the run.
    total: u64,
    /// How many of them are kept.
    kept: u64,
    /// The first requests of each list, which are of the warm-up.
    warmup: usize,
    /// Lanes of the swim-lane.
    lanes: usize,
    /// Longer gaps between token-bearing events are stalls, milliseconds; `null` without gaps.
    stall_ms: Option<Number>,
    /// The first dispatch of these requests, microseconds from time 0.
    first_us: i64,
    /// Index in the run; the warm-up is numbered separately.
    idx: Whole,
    /// Dispatch, microseconds after that of the request before.
    after_us: Whole,
    /// How long before the dispatch it was due, microseconds.
    due_us: Whole,
    /// From the dispatch to when its connection was ready, microseconds; so are the next ones.
    connected_us: Whole,
    /// When it was sent: TTFT and latency begin here.
    sent_us: Whole,
    /// When the first token came.
    token_us: Whole,
    /// When the last data came.
    last_us: Whole,
    /// When it had ended.
    ended_us: Whole,
    /// Time per output token, microseconds.
    tpot_us: Whole,
    /// Prompt tokens.
    input_tokens: Whole,
    /// Prompt tokens that came from the server's cache.
    cached_tokens: Whole,
    /// Output tokens.
    output_tokens: Whole,
    /// Token-bearing events.
    events: Whole,
    /// Lane of the swim-lane; missing: never sent.
    lane: Whole,
    /// The position of its failure in `failures`; missing: it succeeded.
    failure: Whole,
    /// The position of its finish reason in `reasons`.
    reason: Whole,
    /// What the response `id`s of all these requests begin with.
    id_prefix: &'a str,
    /// The rest of each response `id`; empty if no request has one.
    id: Vec<Option<&'a str>>,
    /// The distinct failures of these requests.
    failures: Vec<FailureData<'a>>,
    /// The distinct finish reasons of these requests.
    reasons: Vec<&'a str>,
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct FailureData<'a> {
    /// The kind.
    kind: String,
    /// The failure in words.
    message: &'a str,
    /// HTTP status.
    http_status: Option<u16>,
}

impl<'a> Requests<'a> {
    /// Those that are kept.
    pub(super) fn new(kept: &'a KeptRequests) -> Self {
        let rows = || kept.requests.iter().map(|request| &request.row);
        let failures = Distinct::of(rows().map(failure_of));
        let reasons = Distinct::of(rows().map(|row| row.finish_reason.as_deref()));
        let ids: Vec<Option<&str>> = rows().map(|row| row.response_id.as_deref()).collect();
        let id_prefix = common_prefix(ids.iter().copied().flatten());
        let ids: Vec<Option<&str>> = ids
            .iter()
            .map(|id| Some(&(*id)?[id_prefix.len()..]))
            .collect();
        let dispatched = || rows().map(|row| row.dispatched_us);
        let first_us = dispatched().min().unwrap_or(0);
        let column = |of: fn(&RequestRow) -> Option<u64>| Whole::of(rows().map(of));
        let moment = |of: fn(&RequestRow) -> Option<i64>| {
            Whole::of(rows().map(|row| of(row).map(|at| after(at, row.dispatched_us))))
        };
        // the warm-up comes first, and may still be under way
        let mut before = first_us;
        let ordered = dispatched().map(|at| {
            let step = at.max(before);
            Some(after(step, std::mem::replace(&mut before, step)))
        });
        Self {
            total: kept.total,
            kept: kept.kept,
            warmup: rows().filter(|row| row.warmup).count(),
            lanes: kept.lanes,
            stall_ms: kept.stall_ms.map(Number),
            first_us,
            after_us: Whole::of(ordered),
            idx: column(|row| Some(row.index)),
            due_us: column(|row| Some(after(row.dispatched_us, row.scheduled_us))),
            connected_us: moment(|row| row.connected_us),
            sent_us: moment(|row| row.sent_us),
            token_us: moment(|row| row.first_token_us),
            last_us: moment(|row| row.last_data_us),
            ended_us: moment(|row| Some(row.ended_us)),
            tpot_us: column(|row| row.tpot_us),
            input_tokens: column(|row| row.input_tokens),
            cached_tokens: column(|row| row.cached_tokens),
            output_tokens: column(|row| row.output_tokens),
            events: column(|row| Some(row.token_events)),
            lane: Whole::of(kept.requests.iter().map(|one| Some(one.lane? as u64))),
            failure: Whole::of(failures.positions),
            reason: Whole::of(reasons.positions),
            id_prefix,
            id: if ids.iter().any(Option::is_some) {
                ids
            } else {
                Vec::new()
            },
            failures: failures.values,
            reasons: reasons.values,
        }
    }
}

/// What all of these begin with.
fn common_prefix<'a>(mut texts: impl Iterator<Item = &'a str>) -> &'a str {
    let Some(mut prefix) = texts.next() else {
        return "";
    };
    for text in texts {
        while !text.starts_with(prefix) {
            let shorter = prefix.char_indices().next_back();
            prefix = shorter.map_or("", |(end, _)| &prefix[..end]);
        }
    }
    prefix
}

fn after(at: i64, from: i64) -> u64 {
    u64::try_from(at.saturating_sub(from)).unwrap_or(0)
}

fn failure_of(row: &RequestRow) -> Option<FailureData<'_>> {
    Some(FailureData {
        kind: row.failure?.to_string(),
        message: row.message.as_deref().unwrap_or_default(),
        http_status: row.http_status,
    })
}

/// Values that recur, each once, and the position of each.
struct Distinct<T> {
    values: Vec<T>,
    positions: Vec<Option<u64>>,
}

impl<T: Ord + Clone> Distinct<T> {
    fn of(all: impl Iterator<Item = Option<T>>) -> Self {
        let (mut values, mut places) = (Vec::new(), BTreeMap::new());
        let positions = all.map(|value| {
            let position = places.entry(value?).or_insert_with_key(|value| {
                values.push(value.clone());
                values.len() as u64 - 1
            });
            Some(*position)
        });
        let positions = positions.collect();
        Self { values, positions }
    }
}
