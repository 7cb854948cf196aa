//! Owns how a run stands: what has ended, how far that is, and what is still to come. It is summed up
//! from the events of the run, so looking at it can neither slow nor change what is measured.
//!
//! It must not know who looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evalscope_model::events::{LoadSnapshot, Observer, RunEvent};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::Phase;
use evalscope_model::time::Timestamp;

use super::search_progress::SearchProgress;

/// What has been seen of a run so far. Each reader copies what it needs, so none of them can hold it back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    run: Arc<Mutex<Seen>>,
    /// The search that the run is a probe of.
    search: Option<SearchProgress>,
}

/// Sums up the events of a run.
#[derive(Debug)]
pub(crate) struct Watching(pub(crate) Standing);

/// What has been seen of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    load: LoadSnapshot,
    warmup: Counts,
    measured: Counts,
}

/// Requests and conversations of one phase that have ended.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    conversations: u64,
    failed: u64,
    inputs: u64,
    input_tokens: u64,
    output_tokens: u64,
}

impl Standing {
    /// Nothing has been seen of a run, which may be a probe of a search.
    pub(super) fn new(search: Option<SearchProgress>) -> Self {
        Self {
            search,
            ..Self::default()
        }
    }

    /// Measured conversations that have ended.
    pub(crate) fn conversations(&self) -> u64 {
        self.seen().measured.conversations
    }

    /// How the run stands at a moment.
    pub(super) fn look(&self, spec: &RunSpec, now: Timestamp) -> Look {
        let mut look = Look::at(&self.seen(), spec, now);
        let done = look.done();
        look.of_search = self.search.as_ref().map(|search| search.done(done));
        look
    }

    fn seen(&self) -> Seen {
        *self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watching {
    fn name(&self) -> &'static str {
        "the progress display"
    }

    fn on(&mut self, event: &RunEvent) {
        let mut seen = self.0.run.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            RunEvent::Exchange(exchange) => {
                let record = &exchange.record;
                if !record.dispatched() {
                    return;
                }
                let counts = seen.counts(record.phase);
                counts.requests += 1;
                match &record.failure {
                    None => {
                        counts.inputs += record.inputs.unwrap_or(0);
                        counts.input_tokens += record.prompt_tokens().0.unwrap_or(0);
                        counts.output_tokens += record.output_tokens().0.unwrap_or(0);
                    }
                    Some(failure) => counts.failed += u64::from(failure.kind.counts_as_failed()),
                }
            }
            RunEvent::Conversation(record) => seen.counts(record.phase).conversations += 1,
            RunEvent::Snapshot(snapshot) => seen.load = snapshot.load,
            RunEvent::Warning(_) | RunEvent::Began(_) | RunEvent::Model(_) => {}
        }
    }
}

impl Seen {
    fn counts(&mut self, phase: Phase) -> &mut Counts {
        match phase {
            Phase::Warmup => &mut self.warmup,
            Phase::Measured => &mut self.measured,
        }
    }
}

/// What a run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Requests,
    Conversations,
}

/// How a run stands at a moment.
#[derive(Debug, PartialEq)]
pub(super) struct Look {
    /// Whether these are the measured requests, or those of the warm-up.
    pub(super) measuring: bool,
    /// What is counted.
    pub(super) unit: Unit,
    /// How many of them have ended.
    pub(super) ended: u64,
    /// Requests that have ended.
    pub(super) requests: u64,
    /// How many there will be; `None`: limited by time only.
    pub(super) total: Option<u64>,
    pub(super) failed: u64,
    pub(super) in_flight: u64,
    /// How late requests were sent lately, at most; `None` where nothing is due at a moment.
    pub(super) lag: Option<Duration>,
    /// Texts or documents of requests that generate nothing.
    pub(super) inputs: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Since the first of them was dispatched.
    pub(super) elapsed: Duration,
    /// When nothing more is sent.
    pub(super) limit: Option<Duration>,
    /// How much of the search is done, 0 to 1; `None`: the run is not a probe.
    pub(super) of_search: Option<f64>,
}

impl Look {
    fn at(seen: &Seen, spec: &RunSpec, now: Timestamp) -> Self {
        let measuring = spec.warmup_requests == 0 || seen.load.measured_begun.is_some();
        let (counts, begun) = if measuring {
            (seen.measured, seen.load.measured_begun)
        } else {
            (seen.warmup, seen.load.warmup_begun)
        };
        let (unit, ended) = match spec.conversations {
            Some(_) => (Unit::Conversations, counts.conversations),
            None => (Unit::Requests, counts.requests),
        };
        Self {
            measuring,
            unit,
            ended,
            requests: counts.requests,
            total: if measuring {
                spec.requests.or_else(|| requests_of_bursts(spec))
            } else {
                Some(spec.warmup_requests)
            },
            failed: counts.failed,
            in_flight: seen.load.in_flight,
            lag: spec.pacing.schedule().map(|_| seen.load.lag),
            inputs: counts.inputs,
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            elapsed: begun.map_or(Duration::ZERO, |begun| now.since(begun)),
            limit: limit(spec).filter(|_| measuring),
            of_search: None,
        }
    }

    /// The fraction that has ended.
    fn counted(&self) -> f64 {
        self.total
            .map_or(0.0, |total| self.ended as f64 / total.max(1) as f64)
    }

    /// The fraction of the time that has passed, if time will end the run before the count does.
    pub(super) fn timed(&self) -> Option<f64> {
        let limit = self.limit?.as_secs_f64();
        let share = self.elapsed.as_secs_f64() / limit.max(f64::MIN_POSITIVE);
        (share >= self.counted()).then_some(share.min(1.0))
    }

    /// How much is done, 0 to 1.
    pub(super) fn done(&self) -> f64 {
        self.timed().unwrap_or_else(|| self.counted())
    }

    /// The estimated time left, if known.
    pub(super) fn left(&self) -> Option<Duration> {
        if let (Some(_), Some(limit)) = (self.timed(), self.limit) {
            // afterwards, requests still wait or are in flight
            return limit.checked_sub(self.elapsed);
        }
        let done = self.counted();
        let seconds = self.elapsed.as_secs_f64() * (1.0 - done) / done;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// After how long nothing more is sent, if not before. A profile of nothing but bursts takes no time.
fn limit(spec: &RunSpec) -> Option<Duration> {
    let profile = spec
        .pacing
        .schedule()
        .and_then(|schedule| schedule.profile.span_s())
        .filter(|span_s| *span_s > 0.0);
    let profile = profile.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    [spec.duration(), profile].into_iter().flatten().min()
}

/// The requests of a profile of nothing but bursts.
fn requests_of_bursts(spec: &RunSpec) -> Option<u64> {
    let profile = &spec.pacing.schedule()?.profile;
    let is_bursts = profile.span_s() == Some(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of whole numbers, and a float cast saturates"
    )]
    is_bursts.then(|| profile.expected_within(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such a profile takes no time, and its requests are known.
    #[test]
    fn bursts_are_counted() {
        let plan = evalscope_model::plan::Sweep {
            parallel: None,
            number: None,
            whole: None,
            rate: vec![Some("+700,+300".parse().unwrap())],
            gaps: evalscope_model::profile::Gaps::Poisson,
            open_loop: evalscope_model::plan::OpenLoop::default(),
            drain_timeout_s: None,
            warmup: evalscope_model::plan::Warmup::Count(0),
            duration_s: None,
            sleep_interval_s: 0.0,
            seed: 1,
            dataset_offset: 0,
            repeat_prompts: false,
            conversations: None,
            connections: evalscope_model::conversation::KeepConnection::Keep,
            recording: None,
            repeats: std::num::NonZeroU32::MIN,
            shard: evalscope_model::shard::Shard::WHOLE,
        }
        .expand()
        .unwrap();
        let spec = &plan.runs()[0];
        assert_eq!(limit(spec), None);
        assert_eq!(requests_of_bursts(spec), Some(1000));
    }
}
