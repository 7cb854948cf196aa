//! Owns a slot: the loop that takes a job, sends it, and hands on its record.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::collect::{Collector, Dispatch};
use super::pace::Clock;
use super::run::{PhaseRun, SharedRun};
use super::{Progress, SinkMessage};
use crate::protocol::{Api, PreparedRequest};
use crate::record::{
    ArrivalClock, Bodies, ConnectCost, CountedTokens, Ending, EventLog, Exchange, Failure,
    FailureKind, Masker, PluginTokens, RecordBodies, RequestRecord, RequestTimes, Usage,
};
use crate::time::Timestamp;
use crate::transport::{Line, ReadContext, Reuse, SendTimes, Target, Timeouts};

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
pub trait Transport: Clone + Send + 'static {
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
    pub stats: Arc<Vec<Arc<crate::transport::ReadStats>>>,
    /// Do not ask the kernel for times.
    pub user_clock_only: bool,
    /// What a server may have repeated and nobody may see.
    pub secrets: Arc<Vec<String>>,
}

impl Transport for HttpTransport {
    type Slot = HttpSlot;
    type Thread = ReadContext;

    fn thread(&self, thread: usize) -> ReadContext {
        let stats = Arc::clone(&self.stats[thread]);
        ReadContext::new(self.clock, stats, self.user_clock_only)
    }

    fn slot(&self, context: &ReadContext) -> HttpSlot {
        HttpSlot {
            line: Line::new(
                Arc::clone(&self.target),
                self.timeouts,
                self.reuse,
                context.clone(),
            ),
            context: context.clone(),
            record_bodies: self.record_bodies,
            api: Arc::clone(&self.api),
            secrets: Arc::clone(&self.secrets),
        }
    }
}

/// A slot with a connection of its own.
#[derive(Debug)]
pub struct HttpSlot {
    line: Line,
    context: ReadContext,
    record_bodies: RecordBodies,
    api: Arc<dyn Api>,
    secrets: Arc<Vec<String>>,
}

impl HttpSlot {
    /// Whether the connection of the last answer is still open `after` it.
    pub(super) async fn connection_stays_open(&self, after: Duration) -> bool {
        self.line.stays_open(after).await
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
            let sending = self
                .line
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
        let mut exchange = collector.finish(dispatch, &sent, result, request.body, now);
        // a server that refuses a key may repeat it in its refusal
        if !exchange.record.succeeded() {
            Masker::new(&self.secrets).hide(&mut exchange);
        }
        exchange
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
            break;
        }
        if dry {
            phase.starved(slot_free, dispatched);
        }
        let dispatch = Dispatch {
            index: job.request.index,
            phase: phase.phase,
            // without pacing a request is wanted as soon as a slot is free
            scheduled: job.scheduled.unwrap_or(slot_free),
            slot_free,
            dispatched,
            stream: job.request.stream,
            output_asked: job.request.output_asked,
            asked_tokens: job.request.asked_tokens,
        };
        current.set(Some(dispatch));
        shared.progress.dispatched.fetch_add(1, Ordering::Relaxed);
        let exchange = slot
            .send(job.request, dispatch, shared.abort.cancelled())
            .await;
        current.set(None);
        slot_free = match exchange.record.ending {
            // the slot was held on purpose, by a server that did not say that it was done
            Ending::Grace => clock.now(),
            Ending::Marked => exchange.record.times.ended,
        };
        count(&shared.progress, &exchange.record);
        // a sink that cannot keep up holds the slot back, and that shows as lag
        if shared
            .sink
            .send(SinkMessage::Exchange(Box::new(exchange)))
            .await
            .is_err()
        {
            shared.stop.cancel();
            break;
        }
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

/// The record of a request whose slot fell over: a fault of ours, not lost.
pub(super) fn fallen(dispatch: Dispatch, now: Timestamp, progress: &Progress) -> Exchange {
    let record = RequestRecord {
        index: dispatch.index,
        phase: dispatch.phase,
        failure: Some(Failure::new(
            FailureKind::Internal,
            "this program failed while handling the request; please report it",
        )),
        streamed: dispatch.stream,
        times: RequestTimes {
            scheduled: dispatch.scheduled,
            slot_free: dispatch.slot_free,
            dispatched: dispatch.dispatched,
            ended: now,
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
    };
    count(progress, &record);
    Exchange {
        record,
        bodies: Bodies::default(),
    }
}
