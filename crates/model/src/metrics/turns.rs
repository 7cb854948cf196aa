//! Owns the figures of requests by the turn that they are: each of the first turns, and groups of the
//! later ones.
//!
//! Pure. It must not know which conversation a turn belongs to.

use serde::{Deserialize, Serialize};

use super::sharing::{CachedShare, cached_of};
use super::{Distribution, Metric, Samples};
use crate::record::{FailureKind, RequestRecord};

/// Times and lengths of some turns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct TurnGroup {
    /// Requests that succeeded or failed.
    pub requests: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// From the send to the first token.
    pub ttft_ms: Distribution,
    /// From the send to the last data event.
    pub latency_s: Distribution,
    /// Prompt tokens.
    pub input_tokens: Distribution,
}

/// A row of the table of turns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct TurnRow {
    /// The first turn of the row, from 1.
    pub from_turn: u64,
    /// The last turn of the row.
    pub to_turn: u64,
    /// Requests that succeeded or failed.
    pub requests: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Median of the time to the first token; `null` without a stream.
    pub ttft_p50_ms: Option<f64>,
    /// Its 99th percentile.
    pub ttft_p99_ms: Option<f64>,
    /// Median of the latency.
    pub latency_p50_s: Option<f64>,
    /// Its 99th percentile.
    pub latency_p99_s: Option<f64>,
    /// Prompt tokens, on average.
    pub input_tokens_mean: Option<f64>,
    /// Prompt tokens that did not come from the cache, on average over the requests whose server
    /// reported cached tokens.
    pub new_input_tokens_mean: Option<f64>,
    /// Cached tokens over prompt tokens of these, 0 to 1.
    pub cached_share: Option<f64>,
}

/// Sums over some turns.
#[derive(Clone, Debug)]
struct Sums {
    requests: u64,
    succeeded: u64,
    ttft: Samples,
    latency: Samples,
    input: Samples,
    cached: CachedShare,
    new_input: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            requests: 0,
            succeeded: 0,
            ttft: Samples::bounded(),
            latency: Samples::bounded(),
            input: Samples::bounded(),
            cached: CachedShare::default(),
            new_input: 0,
        }
    }
}

impl Sums {
    fn push(&mut self, record: &RequestRecord) {
        self.requests += 1;
        self.succeeded += u64::from(record.succeeded());
        for (metric, samples) in [
            (Metric::Ttft, &mut self.ttft),
            (Metric::Latency, &mut self.latency),
            (Metric::InputTokens, &mut self.input),
        ] {
            metric.samples(record, |value| samples.push(value));
        }
        if let Some((cached, prompt)) = cached_of(record) {
            self.cached.push(cached, prompt);
            let new = prompt.saturating_sub(cached);
            self.new_input = self.new_input.saturating_add(new);
        }
    }

    fn group(self) -> TurnGroup {
        TurnGroup {
            requests: self.requests,
            succeeded: self.succeeded,
            ttft_ms: self.ttft.distribution(Metric::Ttft.scale()),
            latency_s: self.latency.distribution(Metric::Latency.scale()),
            input_tokens: self.input.distribution(1.0),
        }
    }

    fn row(self, from_turn: u64, to_turn: u64) -> TurnRow {
        let (cached, new_input) = (self.cached, self.new_input);
        let group = self.group();
        let reported = cached.requests;
        TurnRow {
            from_turn,
            to_turn,
            requests: group.requests,
            succeeded: group.succeeded,
            ttft_p50_ms: group.ttft_ms.p50,
            ttft_p99_ms: group.ttft_ms.p99,
            latency_p50_s: group.latency_s.p50,
            latency_p99_s: group.latency_s.p99,
            input_tokens_mean: group.input_tokens.mean,
            new_input_tokens_mean: (reported > 0).then(|| new_input as f64 / reported as f64),
            cached_share: cached.share,
        }
    }
}

/// Sums up requests by their turn.
#[derive(Clone, Debug, Default)]
pub(super) struct TurnTable {
    first: Sums,
    later: Sums,
    rows: Vec<Sums>,
}

/// The row of a turn, from 0: turns 1, 2 and 3 have their own, then they double in length.
fn row_of(turn: u32) -> usize {
    let number = u64::from(turn) + 1;
    match number {
        1..4 => turn as usize,
        _ => number.ilog2() as usize + 1,
    }
}

/// The turns of a row, from 1.
fn turns_of(row: usize) -> (u64, u64) {
    let number = row as u64 + 1;
    match number {
        1..4 => (number, number),
        _ => (1 << (row - 1), (1 << row) - 1),
    }
}

impl TurnTable {
    /// Add a request. Those that were given up, and those that only the context limit ended, are
    /// neither successes nor failures.
    pub(super) fn push(&mut self, turn: u32, record: &RequestRecord) {
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        if kind.is_some_and(|kind| !FailureKind::counts_as_failed(kind)) {
            return;
        }
        let row = row_of(turn);
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Sums::default);
        }
        self.rows[row].push(record);
        if turn == 0 {
            self.first.push(record);
        } else {
            self.later.push(record);
        }
    }

    /// The first turns, the later ones, and the rows of the table.
    pub(super) fn finish(self) -> (TurnGroup, TurnGroup, Vec<TurnRow>) {
        let rows = self.rows.into_iter().enumerate().map(|(row, sums)| {
            let (from, to) = turns_of(row);
            sums.row(from, to)
        });
        let rows = rows.filter(|row| row.requests > 0).collect();
        (self.first.group(), self.later.group(), rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_turn_is_in_the_row_that_names_it(turn in any::<u32>()) {
            let (from, to) = turns_of(row_of(turn));
            prop_assert!((from..=to).contains(&(u64::from(turn) + 1)));
        }
    }

    #[test]
    fn rows_follow_each_other() {
        let rows: Vec<_> = (0..6).map(turns_of).collect();
        assert_eq!(rows, [(1, 1), (2, 2), (3, 3), (4, 7), (8, 15), (16, 31)]);
    }
}
