//! Owns a slot: the loop that takes a job, sends it, and hands on its record.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Progress;
use super::collect::{Collector, Dispatch};
use super::health::{Backoff, reached_none};
use super::pace::Clock;
use super::phase::{Job, PhaseRun, SharedRun};
use super::run::RunEnd;
use crate::protocol::{Api, PreparedRequest};
use crate::record::{
    ArrivalClock, Bodies, ConnectCost, CountedTokens, Ending, EventLog, Exchange, Failure,
    FailureKind, Phase, PluginTokens, RecordBodies, RequestRecord, RequestTimes, Usage,
};
use crate::time::Timestamp;
use crate::transport::{Connection, ReadContext, ReadStats, Reuse, SendTimes, Target, Timeouts};

/// One place for a request in flight.
pub trait Slot {
    /// Send a request and wait for the end of its answer. A request that is
    /// given up when `abort` is done still makes its exchange, with what came.
    fn send(
        &mut self,
        request: PreparedRequest,
        dispatch: Dispatch,
        abort: impl Future<Output = ()>,
    ) -> impl Future<Output = Exchange>;
}

/// Makes slots on the thread that will run them.
pub trait Transport: Sync {
    /// Counters, one for each receiving thread: there are as many threads.
    fn stats(&self) -> &[Arc<ReadStats>];
    /// Its slots.
    type Slot: Slot + 'static;
    /// What the slots of one thread share.
    type Thread;
    /// Set up a thread; `thread` counts from 0.
    fn thread(&self, thread: usize) -> Self::Thread;
    /// A new slot of a thread.
    fn slot(&self, thread: &Self::Thread) -> Self::Slot;
}

/// Slots that speak HTTP.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    /// Where requests go.
    pub target: Arc<Target>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Whether connections carry more than one request.
    pub reuse: Reuse,
    /// Which bodies are kept.
    pub record_bodies: RecordBodies,
    /// The API that is spoken.
    pub api: Arc<dyn Api>,
    /// The run's clock.
    pub clock: crate::time::RunClock,
    /// Counters, one for each receiving thread.
    pub stats: Arc<Vec<Arc<ReadStats>>>,
    /// Do not ask the kernel for times.
    pub user_clock_only: bool,
}

impl Transport for HttpTransport {
    type Slot = HttpSlot;
    type Thread = ReadContext;

    fn stats(&self) -> &[Arc<ReadStats>] {
        &self.stats
    }

    fn thread(&self, thread: usize) -> ReadContext {
        let stats = Arc::clone(&self.stats[thread]);
        ReadContext::new(self.clock, stats, self.user_clock_only)
    }

    fn slot(&self, context: &ReadContext) -> HttpSlot {
        HttpSlot {
            connection: Connection::new(
                Arc::clone(&self.target),
                self.timeouts,
                self.reuse,
                context.clone(),
            ),
            context: context.clone(),
            record_bodies: self.record_bodies,
            api: Arc::clone(&self.api),
        }
    }
}

/// A slot with a connection of its own.
#[derive(Debug)]
pub struct HttpSlot {
    connection: Connection,
    context: ReadContext,
    record_bodies: RecordBodies,
    api: Arc<dyn Api>,
}

impl HttpSlot {
    /// Whether the connection of the last answer is still open `after` it.
    pub(super) async fn connection_stays_open(&self, after: Duration) -> bool {
        self.connection.stays_open(after).await
    }
}

impl Slot for HttpSlot {
    async fn send(
        &mut self,
        request: PreparedRequest,
        dispatch: Dispatch,
        abort: impl Future<Output = ()>,
    ) -> Exchange {
        let mut collector = Collector::new(self.api.reader(), self.record_bodies, request.stream);
        let mut sent = SendTimes::default();
        let result = {
            let sending =
                self.connection
                    .send(&request.body, request.stream, &mut sent, &mut collector);
            tokio::select! {
                biased;
                result = sending => result,
                () = abort => Err(Failure::new(
                    FailureKind::Cancelled,
                    "the run was stopped while the request was under way",
                )),
            }
        };
        let now = self.context.clock().now();
        collector.finish(dispatch, &sent, result, request.body, now)
    }
}

/// Serve jobs of one phase until there are no more.
pub(super) async fn serve<S: Slot, C: Clock>(
    slot: &mut S,
    clock: &C,
    shared: &SharedRun,
    phase: &PhaseRun,
    current: &Rc<Cell<Option<Dispatch>>>,
) {
    let mut slot_free = clock.now();
    let mut backoff = Backoff::default();
    loop {
        let dry = phase.is_dry();
        let job = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            job = phase.jobs.recv() => job,
        };
        let Ok(job) = job else { break };
        let dispatched = clock.now();
        if phase.is_over(dispatched) {
            // without a moment of its own it is not due
            if let Some(at) = job.scheduled {
                let end = shared.end_of_sending(phase, dispatched);
                shared
                    .hand_on(unsent(&job.request, phase.phase, at, end))
                    .await;
            }
            break;
        }
        let Job {
            request,
            scheduled,
            round,
            held,
        } = job;
        drop(held);
        if dry {
            phase.starved(slot_free, dispatched);
        }
        let dispatch = Dispatch {
            index: request.index,
            phase: phase.phase,
            // without pacing a request is wanted as soon as a slot is free
            scheduled: scheduled.unwrap_or(slot_free),
            slot_free,
            dispatched,
            stream: request.stream,
            output_asked: request.output_asked,
            asked_tokens: request.asked_tokens,
        };
        shared.rounds.fetch_max(round, Ordering::Relaxed);
        current.set(Some(dispatch));
        shared.progress.taken_up(dispatched);
        let exchange = slot.send(request, dispatch, shared.abort.cancelled()).await;
        current.set(None);
        slot_free = match exchange.record.ending {
            // the slot was held on purpose, by a server that did not say that it was done
            Ending::Grace => clock.now(),
            Ending::Marked => exchange.record.times.ended,
        };
        count(&shared.progress, &exchange.record);
        if let Some(why) = shared.health.note(&exchange.record) {
            shared.end(RunEnd::GaveUp(why));
        }
        let away = reached_none(&exchange.record);
        if !shared.hand_on(exchange).await {
            break;
        }
        if !away {
            backoff.reset();
            continue;
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            () = tokio::time::sleep(backoff.next()) => {}
        }
        // it was not free meanwhile, on purpose
        slot_free = clock.now();
    }
}

fn count(progress: &Progress, record: &RequestRecord) {
    if record.succeeded() {
        progress.succeeded.fetch_add(1, Ordering::Relaxed);
        let tokens = record.output_tokens().0.unwrap_or(0);
        progress.output_tokens.fetch_add(tokens, Ordering::Relaxed);
    } else {
        progress.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The record of a request whose task panicked: a fault of this program, and not lost.
pub(super) fn panicked(
    dispatch: Dispatch,
    now: Timestamp,
    message: &str,
    progress: &Progress,
) -> Exchange {
    let mut record = without_answer(dispatch, now);
    record.failure = Some(Failure::new(
        FailureKind::Internal,
        format!("this program panicked while handling the request: {message}; please report it"),
    ));
    count(progress, &record);
    Exchange {
        record,
        bodies: Bodies::default(),
    }
}

/// The record of a request that was due and that nobody sent before the phase's `end`.
pub(super) fn unsent(
    request: &PreparedRequest,
    phase: Phase,
    scheduled: Timestamp,
    end: Timestamp,
) -> Exchange {
    let dispatch = Dispatch {
        index: request.index,
        phase,
        scheduled,
        slot_free: scheduled,
        dispatched: end.max(scheduled),
        stream: request.stream,
        output_asked: request.output_asked,
        asked_tokens: request.asked_tokens,
    };
    let mut record = without_answer(dispatch, dispatch.dispatched);
    record.failure = Some(Failure::new(
        FailureKind::NotSent,
        "it was due, but the run ended before a slot was free for it",
    ));
    Exchange {
        record,
        bodies: Bodies::default(),
    }
}

/// A record of which nothing is known but its dispatch.
pub(super) fn without_answer(dispatch: Dispatch, ended: Timestamp) -> RequestRecord {
    RequestRecord {
        index: dispatch.index,
        phase: dispatch.phase,
        failure: None,
        streamed: dispatch.stream,
        times: RequestTimes {
            scheduled: dispatch.scheduled,
            slot_free: dispatch.slot_free,
            dispatched: dispatch.dispatched,
            ended,
            ..RequestTimes::default()
        },
        connect: ConnectCost::default(),
        clock: ArrivalClock::User,
        events: EventLog::default(),
        http_status: None,
        usage: Usage::default(),
        plugin: PluginTokens::default(),
        asked_prompt_tokens: dispatch.asked_tokens,
        counted: CountedTokens::default(),
        finish_reason: None,
        response_id: None,
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        peer: None,
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_sending<F: Future>(
        _: impl FnOnce(&'static mut HttpSlot, PreparedRequest, Dispatch) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// Thousands of slots wait for answers at a time: what only connecting needs must not lie
    /// in each of them.
    #[test]
    fn a_request_under_way_takes_little_memory() {
        let sending = size_of_sending(|slot, request, dispatch| {
            slot.send(request, dispatch, std::future::pending())
        });
        assert!(sending <= 4096, "{sending} bytes");
        assert!(size_of::<HttpSlot>() <= 1536, "{}", size_of::<HttpSlot>());
    }
}
