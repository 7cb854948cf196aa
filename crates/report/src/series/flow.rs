//! Owns what moved in each bin of time: tokens, requests and failures (R4).
//!
//! It must not know how long the bins are: [`super::TimeAxis::rates_per_s`] makes rates.

use std::collections::BTreeMap;

use evalscope_model::metrics::output_by_time;
use evalscope_model::record::{Failure, FailureKind, RequestRecord};

use super::axis::{Clock, Walk};
use crate::report::without_numbers;

/// Groups of failures that are kept apart: a server may say something else each time.
const MOST_GROUPS: usize = 200;

/// Sums of the measured requests for each bin of the axis; the bins of the warm-up are 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Output tokens of successes, by the arrival of their token-bearing events; of responses that
    /// were not streamed, by their end. All bins together are the run's output tokens.
    pub output_tokens: Option<Vec<f64>>,
    /// Prompt tokens of successes, by the arrival of the first token; of responses that were not
    /// streamed, by their end. `None` if they are unknown.
    pub input_tokens: Option<Vec<f64>>,
    /// Successes, by their end.
    pub succeeded: Vec<f64>,
    /// Failures, by their end; without requests that were never sent or given up.
    pub failed: Vec<f64>,
    /// Token-bearing events of failed requests: output that was generated and lost.
    pub lost_token_events: Vec<f64>,
    /// Failures by kind and message without its numbers, the first 200 of these groups.
    pub failed_by_group: BTreeMap<(FailureKind, String), FailuresOverTime>,
}

/// Failures of one kind with one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailuresOverTime {
    /// Count of each bin.
    pub counts: Vec<u32>,
    /// When the first one ended, seconds.
    pub first_s: f64,
    /// When the last one ended, seconds.
    pub last_s: f64,
}

/// Sums up a [`Flow`].
#[derive(Debug)]
pub(super) struct FlowSums {
    clock: Clock,
    walk: Walk,
    flow: Flow,
    output_tokens: Vec<f64>,
    input_tokens: Vec<f64>,
    output_known: bool,
    input_known: bool,
}

impl Flow {
    /// When the failures of a kind with such a message were; `None` if they are not kept apart.
    #[must_use]
    pub fn failures(&self, kind: FailureKind, message: &str) -> Option<&FailuresOverTime> {
        self.failed_by_group.get(&(kind, without_numbers(message)))
    }
}

impl FlowSums {
    pub(super) fn new(clock: Clock) -> Self {
        let empty = || vec![0.0; clock.axis().len()];
        Self {
            clock,
            walk: Walk::new(clock),
            flow: Flow {
                succeeded: empty(),
                failed: empty(),
                lost_token_events: empty(),
                ..Flow::default()
            },
            output_tokens: empty(),
            input_tokens: empty(),
            output_known: false,
            input_known: false,
        }
    }

    /// Add a measured request that was sent.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        let ended = self.clock.measured_bin(record.times.ended);
        if let Some(failure) = &record.failure {
            for stamp in record.events.tokens() {
                self.flow.lost_token_events[self.clock.measured_bin(stamp.at)] += 1.0;
            }
            if failure.kind.counts_as_failed() {
                self.flow.failed[ended] += 1.0;
                self.failed(failure, record, ended);
            }
            return;
        }
        self.flow.succeeded[ended] += 1.0;
        self.output_known |= record.output_tokens().0.is_some();
        output_by_time(record, |at, tokens| {
            self.output_tokens[self.walk.bin(at)] += tokens;
        });
        if let Some(tokens) = record.prompt_tokens().0 {
            self.input_known = true;
            let first = record.events.tokens().next().map(|stamp| stamp.at);
            let bin = match first.or(record.times.last_data) {
                Some(at) => self.clock.measured_bin(at),
                None => ended,
            };
            self.input_tokens[bin] += tokens as f64;
        }
    }

    fn failed(&mut self, failure: &Failure, record: &RequestRecord, ended: usize) {
        let groups = &mut self.flow.failed_by_group;
        let group = (failure.kind, without_numbers(&failure.message));
        if groups.len() == MOST_GROUPS && !groups.contains_key(&group) {
            return;
        }
        let at_s = self.clock.seconds(record.times.ended);
        let failures = groups.entry(group).or_insert_with(|| FailuresOverTime {
            counts: vec![0; self.clock.axis().len()],
            first_s: at_s,
            last_s: at_s,
        });
        failures.counts[ended] += 1;
        failures.first_s = failures.first_s.min(at_s);
        failures.last_s = failures.last_s.max(at_s);
    }

    pub(super) fn finish(mut self) -> Flow {
        self.flow.output_tokens = self.output_known.then_some(self.output_tokens);
        self.flow.input_tokens = self.input_known.then_some(self.input_tokens);
        self.flow
    }
}
