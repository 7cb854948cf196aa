//! Owns the sums over the measured records of a run: how requests ended, and what they amount to.
//!
//! Pure. It must not know distributions, nor how a sum is shown.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use super::{Comparison, choices};
use crate::record::{ArrivalClock, Ending, FailureKind, RequestRecord, TokenSource};
use crate::time::Timestamp;

/// Sums over the measured records of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunTotals {
    /// Requests dispatched that have ended by themselves: in success or in failure.
    pub total: u64,
    /// Requests that were due but never dispatched, because the run ended; not part of the total.
    pub not_sent: u64,
    /// Requests that were due while as many were in flight as may be, and were not sent; not part
    /// of the total.
    pub shed: u64,
    /// Requests that were given up: the run was stopped, or their time after the last dispatch was
    /// over. How they would have ended is not known; not part of the total.
    pub unfinished: u64,
    /// Those of them that were in flight when the run was stopped.
    pub cancelled: u64,
    /// Turns whose prompt was longer than the server's context: the ends of their conversations, no
    /// failures; not part of the total.
    pub context_limit: u64,
    /// Requests that succeeded.
    pub succeeded: u64,
    /// Failed requests by kind.
    pub failed_by_kind: BTreeMap<FailureKind, u64>,
    /// Successful responses that were event streams.
    pub streamed: u64,
    /// First dispatch.
    pub first_dispatch: Option<Timestamp>,
    /// Last end.
    pub last_end: Option<Timestamp>,
    /// Prompt tokens of successes.
    pub input_tokens: u64,
    /// Output tokens of successes.
    pub output_tokens: u64,
    /// Successes whose prompt tokens are known.
    pub input_known: u64,
    /// Requests to an API that generates nothing, however they ended.
    pub without_output: u64,
    /// Texts or documents of those that succeeded.
    pub inputs: u64,
    /// Successes by source of their output tokens.
    pub token_sources: BTreeMap<&'static str, u64>,
    /// Prompt lengths: requested, compared with what the server saw.
    pub prompt_lengths: Comparison,
    /// Output tokens: counted locally, compared with what the server reported.
    pub counted_output: Comparison,
    /// Cached prompt tokens, over successes that reported them.
    pub cached_tokens: Option<u64>,
    /// Prompt tokens of those successes.
    pub cached_of_tokens: u64,
    /// Reasoning tokens, over successes that reported them.
    pub reasoning_tokens: Option<u64>,
    /// Token-bearing events of failed requests: output that was generated and lost.
    pub failed_token_events: u64,
    /// Largest number of choices in a success.
    pub most_choices: u64,
    /// Successes by finish reason.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Token-bearing events of all requests.
    pub token_events: u64,
    /// Those that arrived in the same read as an earlier token-bearing event.
    pub coalesced_events: u64,
    /// Streamed requests with at least one arrival stamped by the user clock.
    pub user_clock: u64,
    /// Requests whose arrivals were all stamped by the kernel.
    pub kernel_clock: u64,
    /// Requests that opened a connection.
    pub new_connections: u64,
    /// Connections to each address, and requests sent there; the first [`MOST_NAMES`] addresses.
    pub peers: BTreeMap<SocketAddr, PeerTotals>,
    /// Successes by the model named in the response; the first [`MOST_NAMES`] models.
    pub models: BTreeMap<String, u64>,
    /// Compressed responses.
    pub compressed: u64,
    /// Successes whose end was only detected by silence.
    pub ended_by_grace: u64,
    /// Successes with skipped events, and the number of these events.
    pub skipping: u64,
    /// See `skipping`.
    pub skipped_events: u64,
    /// Successes whose reasoning tokens were only included in the total.
    pub reasoning_from_total: u64,
    /// Successful streams of two token-bearing events or more.
    pub first_reads: u64,
    /// Those whose second token came in the same read as the first.
    pub bundled_first_reads: u64,
    /// Requests that were due while every slot was busy.
    pub waited_for_slot: u64,
}

/// Number of distinct models, reasons and addresses that are kept apart: a server that invents a
/// new one for each response must not exhaust memory.
pub const MOST_NAMES: usize = 64;

/// Traffic to one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerTotals {
    /// Requests sent.
    pub requests: u64,
    /// Connections made.
    pub connections: u64,
}

/// Count one more under a name; names beyond the limit count as `other`.
fn count_name(counts: &mut BTreeMap<String, u64>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
        return;
    }
    let name = if counts.len() < MOST_NAMES {
        name
    } else {
        "other"
    };
    *counts.entry(name.to_owned()).or_insert(0) += 1;
}

impl RunTotals {
    /// Add a record.
    pub fn push(&mut self, record: &RequestRecord) {
        let times = &record.times;
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        match kind {
            Some(FailureKind::NotSent) => {
                self.not_sent += 1;
                return;
            }
            Some(FailureKind::Shed) => {
                self.shed += 1;
                return;
            }
            Some(FailureKind::ContextLimit) => self.context_limit += 1,
            Some(kind) if kind.is_given_up() => {
                self.unfinished += 1;
                self.cancelled += u64::from(kind == FailureKind::Cancelled);
            }
            _ => self.total += 1,
        }
        self.without_output += u64::from(record.inputs.is_some());
        self.first_dispatch = Some(
            self.first_dispatch
                .map_or(times.dispatched, |t| t.min(times.dispatched)),
        );
        self.last_end = Some(self.last_end.map_or(times.ended, |t| t.max(times.ended)));
        let connected = times.connected.is_some() && !record.connect.reused;
        self.new_connections += u64::from(connected);
        self.compressed += u64::from(record.compressed);
        if let Some(peer) = record.peer
            && (self.peers.len() < MOST_NAMES || self.peers.contains_key(&peer))
        {
            let peer = self.peers.entry(peer).or_default();
            peer.requests += 1;
            peer.connections += u64::from(connected);
        }
        self.waited_for_slot += u64::from(times.slot_free > times.scheduled);
        self.token_events += record.events.tokens().count() as u64;
        self.coalesced_events += record.events.tokens().filter(|e| e.coalesced).count() as u64;
        if times.first_byte.is_some() {
            match record.clock {
                ArrivalClock::Kernel => self.kernel_clock += 1,
                ArrivalClock::User => self.user_clock += 1,
            }
        }
        if let Some(kind) = kind {
            if kind.counts_as_failed() {
                *self.failed_by_kind.entry(kind).or_insert(0) += 1;
            }
            self.failed_token_events += record.events.tokens().count() as u64;
            return;
        }
        self.succeeded += 1;
        self.streamed += u64::from(record.streamed);
        self.most_choices = self.most_choices.max(choices::count(&record.events));
        let (output, source) = record.output_tokens();
        self.output_tokens = self.output_tokens.saturating_add(output.unwrap_or(0));
        if record.inputs.is_none() {
            *self.token_sources.entry(source.as_str()).or_insert(0) += 1;
        }
        if let Some(prompt) = record.prompt_tokens().0 {
            self.input_tokens = self.input_tokens.saturating_add(prompt);
            self.input_known += 1;
        }
        self.inputs = self.inputs.saturating_add(record.inputs.unwrap_or(0));
        self.prompt_lengths
            .push(record.asked_prompt_tokens, record.reported_prompt_tokens());
        self.counted_output.push(
            record.counted.completion_tokens,
            record.reported_output_tokens(),
        );
        if let Some(cached) = record.usage.cached_tokens {
            let sum = self.cached_tokens.get_or_insert(0);
            *sum = sum.saturating_add(cached);
            let of = record.prompt_tokens().0.unwrap_or(0);
            self.cached_of_tokens = self.cached_of_tokens.saturating_add(of);
        }
        if let Some(reasoning) = record.usage.reasoning_tokens {
            let sum = self.reasoning_tokens.get_or_insert(0);
            *sum = sum.saturating_add(reasoning);
        }
        if record.inputs.is_none() {
            let reason = record.finish_reason.as_deref().unwrap_or("none");
            count_name(&mut self.finish_reasons, reason);
        }
        if let Some(model) = &record.model {
            count_name(&mut self.models, model);
        }
        self.ended_by_grace += u64::from(record.ending == Ending::Grace);
        self.skipping += u64::from(record.skipped_events > 0);
        self.skipped_events = self.skipped_events.saturating_add(record.skipped_events);
        self.reasoning_from_total += u64::from(record.usage.reasoning_from_total);
        let first = record.events.tokens().next();
        if let Some(second) = first.and_then(|first| {
            record
                .events
                .tokens()
                .find(|stamp| stamp.choice == first.choice && *stamp != first)
        }) {
            self.first_reads += 1;
            self.bundled_first_reads += u64::from(second.coalesced);
        }
    }

    /// Requests that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.total - self.succeeded
    }

    /// First dispatch to last end, seconds; 0 for a run without requests.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        match (self.first_dispatch, self.last_end) {
            (Some(first), Some(last)) => last.nanos_since(first) as f64 / 1e9,
            _ => 0.0,
        }
    }

    /// `amount` divided by the run's duration; `None` if the duration or the number of successes is
    /// 0.
    #[must_use]
    pub fn rate_per_s(&self, amount: u64) -> Option<f64> {
        self.rate_within(amount, self.duration_s())
    }

    /// `amount` divided by a duration in seconds; `None` if that or the number of successes is 0.
    #[must_use]
    pub fn rate_within(&self, amount: u64, duration_s: f64) -> Option<f64> {
        (duration_s > 0.0 && self.succeeded > 0).then(|| amount as f64 / duration_s)
    }

    /// Share of token-bearing events that arrived in the same read as an earlier one.
    #[must_use]
    pub fn coalesced_share(&self) -> Option<f64> {
        (self.token_events > 0).then(|| self.coalesced_events as f64 / self.token_events as f64)
    }

    /// Share of successes whose output tokens are counted or estimated locally.
    #[must_use]
    pub fn estimated_share(&self) -> Option<f64> {
        let estimated = self
            .token_sources
            .iter()
            .filter(|(source, _)| {
                ![TokenSource::ServerUsage, TokenSource::Plugin]
                    .map(TokenSource::as_str)
                    .contains(source)
            })
            .map(|(_, n)| n)
            .sum::<u64>();
        (self.succeeded > 0).then(|| estimated as f64 / self.succeeded as f64)
    }
}
