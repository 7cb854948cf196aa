//! Owns a run from its first body to its last record: threads, phases, and the
//! ways a run ends.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use tokio::sync::Barrier;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::collect::Dispatch;
use super::pace::{Clock, SystemClock, pace};
use super::slot::{HttpTransport, Slot, Transport, fallen, serve};
use super::{Progress, SinkMessage};
use crate::dataset::{DatasetError, PromptStream};
use crate::metrics::{ClientSnapshot, HANDLING_BITS, LogHistogram};
use crate::plan::{Pacing, RunSpec, sub_seed};
use crate::protocol::{BodyError, BuildBodies, PreparedRequest};
use crate::record::{Exchange, Phase};
use crate::schedule::Arrivals;
use crate::time::{RunClock, Timestamp};
use crate::transport::{ReadStats, Reuse, TimestampBeacon, process_usage};

/// How often the client looks at itself.
const TICK: Duration = Duration::from_millis(500);

/// How long a phase waits at most for bodies to be ready ahead of it: a data set that
/// takes longer over so many will not keep them ready either.
const GATE_PATIENCE: Duration = Duration::from_secs(3);

/// The ways to end a run early.
#[derive(Clone, Debug, Default)]
pub struct RunControl {
    /// Send nothing more; requests in flight may end.
    pub stop: CancellationToken,
    /// Give up requests in flight too.
    pub abort: CancellationToken,
}

/// Where bodies come from.
#[derive(Debug)]
pub struct Feed {
    /// The prompts.
    pub prompts: PromptStream,
    /// What makes bodies of them.
    pub bodies: Box<dyn BuildBodies>,
}

/// Everything a run needs besides its transport.
#[derive(Debug)]
pub struct RunSetup {
    /// The load.
    pub spec: RunSpec,
    /// Where bodies come from.
    pub feed: Feed,
    /// Receiving threads at most.
    pub threads: NonZeroUsize,
    /// The run's clock.
    pub clock: RunClock,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunOutcome {
    /// It was stopped before its end.
    pub interrupted: bool,
    /// There were no more requests: the run ended early for that.
    pub feed_error: Option<FeedError>,
    /// How often the data set began again.
    pub rounds: u64,
}

/// Why there are no more requests to send.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The data set failed.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A body could not be made.
    #[error(transparent)]
    Bodies(#[from] BodyError),
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The system refused something that a run cannot do without.
    #[error("cannot start {what}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The data set gives no prompt.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// A request on its way to a slot.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: PreparedRequest,
    /// Its moment, once it has one.
    pub(super) scheduled: Option<Timestamp>,
}

/// One phase of a run: what its slots take from, and until when.
#[derive(Debug)]
pub(super) struct PhaseRun {
    pub(super) phase: Phase,
    pub(super) jobs: Receiver<Job>,
    /// Bodies that wait for the pacer; equal to `jobs` without pacing.
    pub(super) ready: Receiver<Job>,
    /// Closed until enough bodies are ready.
    gate: CancellationToken,
    pub(super) duration: Option<Duration>,
    /// First dispatch in nanoseconds plus one; 0 before.
    started: AtomicU64,
    /// How long free slots, or a pacer whose moment had come, waited for bodies.
    starved_ns: Arc<AtomicU64>,
}

impl PhaseRun {
    /// Something waited for a body, from one moment to the other.
    pub(super) fn starved(&self, since: Timestamp, until: Timestamp) {
        self.starved_ns
            .fetch_add(until.nanos_since(since), Ordering::Relaxed);
    }

    /// Whether whoever asks for a job now waits for the feed, not for the pacer.
    pub(super) fn is_dry(&self) -> bool {
        self.jobs.same_channel(&self.ready) && self.ready.is_empty()
    }

    /// Whether a request dispatched now would come after the deadline. The
    /// first to ask starts the phase.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        let now_ns = now.as_nanos() + 1;
        let started =
            match self
                .started
                .compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => now_ns,
                Err(started) => started,
            };
        self.duration.is_some_and(|duration| {
            u128::from(now_ns.saturating_sub(started)) >= duration.as_nanos()
        })
    }
}

/// What all slots share. Nothing here is touched on the receiving path.
#[derive(Debug, Clone)]
pub(super) struct SharedRun {
    pub(super) stop: CancellationToken,
    pub(super) abort: CancellationToken,
    pub(super) progress: Arc<Progress>,
    pub(super) sink: Sender<SinkMessage>,
    phases: Arc<Vec<PhaseRun>>,
    barrier: Arc<Barrier>,
}

/// Carry out a run. Blocks until its last record has been handed to the sink.
///
/// # Errors
/// When it cannot begin. Whatever happens after that is in the outcome and in
/// the records.
pub fn run(
    setup: RunSetup,
    transport: &HttpTransport,
    control: &RunControl,
    progress: &Arc<Progress>,
    sink: &Sender<SinkMessage>,
) -> Result<RunOutcome, EngineError> {
    // before the first connection, so that its first read has a kernel time
    let _beacon = TimestampBeacon::light();
    let usage_before = process_usage();
    let clock = setup.clock;
    let stats = Arc::clone(&transport.stats);
    let threads = stats.len();
    let prepared = Prepared::new(&setup, control, progress, sink);
    let starved_ns = Arc::clone(&prepared.starved_ns);
    let look = move || {
        let mut snapshot = snapshot(&stats, &clock, usage_before, threads);
        snapshot.feed_wait_s = starved_ns.load(Ordering::Relaxed) as f64 / 1e9;
        snapshot
    };
    let spec = setup.spec.clone();
    let done = AtomicU64::new(0);
    let feeding = prepared.feeding;
    let shared = prepared.shared;
    let fed: Mutex<Option<Fed>> = Mutex::new(None);

    std::thread::scope(|scope| -> Result<(), EngineError> {
        let source = setup.feed;
        let feed_stop = control.stop.clone();
        let fed = &fed;
        spawn(
            scope,
            "evalscope-feed",
            "the thread that builds bodies",
            move || {
                // what was prepared before an error is still sent
                let result = feed_jobs(source, feeding, &feed_stop, &clock);
                *fed.lock().expect("the feeding thread alone holds it") = Some(result);
            },
        )?;
        if let Pacing::Poisson { .. } = spec.pacing {
            let (shared, spec) = (shared.clone(), spec.clone());
            let due = prepared.due;
            let runtime = runtime()?;
            spawn(
                scope,
                "evalscope-pace",
                "the thread that keeps the schedule",
                move || {
                    runtime.block_on(pace_phases(&SystemClock(clock), &spec, &shared, due));
                },
            )?;
        } else {
            drop(prepared.due);
        }
        for thread in 0..threads {
            let (shared, transport) = (shared.clone(), transport.clone());
            let slots = share(spec.concurrency.get(), threads, thread);
            let runtime = runtime()?;
            let done = &done;
            spawn(scope, "evalscope-recv", "a receiving thread", move || {
                let context = transport.thread(thread);
                let local = LocalSet::new();
                let clock = SystemClock(clock);
                local.block_on(
                    &runtime,
                    slots_of_thread(slots, &transport, &context, &clock, &shared),
                );
                done.fetch_add(1, Ordering::Release);
            })?;
        }
        watch(&done, threads, &shared, control, &look, &clock);
        Ok(())
    })?;

    let _ = shared
        .sink
        .send_blocking(SinkMessage::Client(Box::new(look())));
    let fed = fed.into_inner().ok().flatten().unwrap_or_default();
    Ok(RunOutcome {
        interrupted: control.stop.is_cancelled() && fed.error.is_none(),
        feed_error: fed.error,
        rounds: fed.rounds,
    })
}

fn spawn<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    name: &str,
    what: &'static str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<(), EngineError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work)
        .map(drop)
        .map_err(|source| EngineError::System { what, source })
}

fn runtime() -> Result<tokio::runtime::Runtime, EngineError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| EngineError::System {
            what: "an event loop",
            source,
        })
}

/// Slots of one thread when `slots` are dealt out to `threads`.
fn share(slots: usize, threads: usize, thread: usize) -> usize {
    slots / threads + usize::from(thread < slots % threads)
}

/// Look at the client twice a second until its threads are done.
fn watch(
    done: &AtomicU64,
    threads: usize,
    shared: &SharedRun,
    control: &RunControl,
    look: &impl Fn() -> ClientSnapshot,
    clock: &RunClock,
) {
    let mut stopped_at: Option<Timestamp> = None;
    let mut next_tick = clock.now().after(TICK);
    while done.load(Ordering::Acquire) < threads as u64 {
        std::thread::park_timeout(Duration::from_millis(5));
        let now = clock.now();
        if now >= next_tick {
            next_tick = now.after(TICK);
            // a sink that is busy has no need of a tick
            let _ = shared.sink.try_send(SinkMessage::Client(Box::new(look())));
        }
        if control.stop.is_cancelled() {
            let since = *stopped_at.get_or_insert(now);
            if now.since(since) >= super::DRAIN_GRACE {
                control.abort.cancel();
            }
        }
    }
}

fn snapshot(
    stats: &[Arc<ReadStats>],
    clock: &RunClock,
    before: Option<(f64, u64)>,
    threads: usize,
) -> ClientSnapshot {
    let sum = |counter: fn(&ReadStats) -> &AtomicU64| {
        stats
            .iter()
            .map(|stats| counter(stats).load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let parts: Vec<LogHistogram> = stats.iter().map(|s| s.handling.snapshot()).collect();
    let usage = process_usage().unwrap_or_default();
    ClientSnapshot {
        handling: LogHistogram::sum(HANDLING_BITS, &parts),
        kernel_reads: sum(|s| &s.kernel_reads),
        user_reads: sum(|s| &s.user_reads),
        // every thread sees the same steps
        clock_steps: stats
            .iter()
            .map(|s| s.clock_steps.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0),
        cpu_s: usage.0 - before.unwrap_or_default().0,
        elapsed_s: clock.now().as_nanos() as f64 / 1e9,
        max_rss_bytes: usage.1,
        client_threads: threads as u64,
        feed_wait_s: 0.0,
    }
}

/// The channels of a run, made before its threads.
struct Prepared {
    shared: SharedRun,
    /// For each phase: how many bodies, where they go, and what opens then.
    feeding: Vec<(u64, Sender<Job>, CancellationToken)>,
    /// For each phase: where the pacer's jobs go.
    due: Vec<Sender<Job>>,
    /// How long the measured phase waited for bodies.
    starved_ns: Arc<AtomicU64>,
}

impl Prepared {
    fn new(
        setup: &RunSetup,
        control: &RunControl,
        progress: &Arc<Progress>,
        sink: &Sender<SinkMessage>,
    ) -> Self {
        let spec = &setup.spec;
        let slots = spec.concurrency.get();
        // enough for every slot to refill at once
        let capacity = slots.max(64);
        let paced = spec.pacing != Pacing::Unpaced;
        let mut phases = Vec::new();
        let mut feeding = Vec::new();
        let mut due = Vec::new();
        let starved_ns: Arc<AtomicU64> = Arc::default();
        for (phase, n, duration) in [
            (Phase::Warmup, spec.warmup_requests, None),
            (Phase::Measured, spec.requests, spec.duration()),
        ] {
            if n == 0 {
                continue;
            }
            let (ready_in, ready) = async_channel::bounded(capacity);
            let (due_in, jobs) = if paced {
                async_channel::bounded(capacity)
            } else {
                (ready_in.clone(), ready.clone())
            };
            let gate = CancellationToken::new();
            feeding.push((n, ready_in, gate.clone()));
            due.push(due_in);
            phases.push(PhaseRun {
                phase,
                jobs,
                ready,
                gate,
                duration,
                started: AtomicU64::new(0),
                starved_ns: match phase {
                    Phase::Warmup => Arc::default(),
                    Phase::Measured => Arc::clone(&starved_ns),
                },
            });
        }
        let parties = slots + usize::from(paced);
        Self {
            shared: SharedRun {
                stop: control.stop.clone(),
                abort: control.abort.clone(),
                progress: Arc::clone(progress),
                sink: sink.clone(),
                phases: Arc::new(phases),
                barrier: Arc::new(Barrier::new(parties)),
            },
            feeding,
            due,
            starved_ns,
        }
    }
}

/// What the feeding thread has to say in the end.
#[derive(Debug, Default)]
struct Fed {
    error: Option<FeedError>,
    rounds: u64,
}

/// Build bodies ahead of their use, phase after phase.
fn feed_jobs(
    mut feed: Feed,
    phases: Vec<(u64, Sender<Job>, CancellationToken)>,
    stop: &CancellationToken,
    clock: &RunClock,
) -> Fed {
    let mut error = None;
    // the first request is wanted at once, however dear a batch is
    let mut batch = 1;
    for (n, ready, gate) in phases {
        let begun = clock.now();
        let mut index = 0;
        while index < n && !stop.is_cancelled() && error.is_none() {
            let left = usize::try_from(n - index).unwrap_or(usize::MAX);
            let (requests, failed) = feed.next_requests(index, batch.min(left));
            // who is asked to stop need not say why there is no more
            error = failed.filter(|_| !stop.is_cancelled());
            index += requests.len() as u64;
            batch = feed.bodies.batch().clamp(1, 2 * batch);
            if !hand_over(requests, &ready, &gate) {
                break;
            }
            if clock.now().since(begun) >= GATE_PATIENCE {
                gate.cancel();
            }
        }
        gate.cancel();
    }
    Fed {
        error,
        rounds: feed.prompts.rounds(),
    }
}

impl Feed {
    /// The next `n` requests; fewer, and why, where something fails.
    fn next_requests(&mut self, first: u64, n: usize) -> (Vec<PreparedRequest>, Option<FeedError>) {
        let mut items = Vec::with_capacity(n);
        let mut failed = None;
        while items.len() < n && failed.is_none() {
            match self.prompts.next_item() {
                Ok(item) => items.push(item),
                Err(error) => failed = Some(error.into()),
            }
        }
        if items.is_empty() {
            return (Vec::new(), failed);
        }
        match self.bodies.build(first, items) {
            Ok(requests) => (requests, failed),
            Err(error) => (Vec::new(), failed.or(Some(error.into()))),
        }
    }
}

/// Put requests where slots or the pacer take them. Says whether any are taken
/// still: a phase may be over early.
fn hand_over(
    requests: Vec<PreparedRequest>,
    ready: &Sender<Job>,
    gate: &CancellationToken,
) -> bool {
    requests.into_iter().all(|request| {
        if ready.is_full() {
            gate.cancel();
        }
        let job = Job {
            request,
            scheduled: None,
        };
        ready.send_blocking(job).is_ok()
    })
}

async fn pace_phases(
    clock: &impl Clock,
    spec: &RunSpec,
    shared: &SharedRun,
    due: Vec<Sender<Job>>,
) {
    for (phase, due) in shared.phases.iter().zip(due) {
        shared.barrier.wait().await;
        phase.gate.cancelled().await;
        // the schedule of the measurement must not depend on a warm-up
        let seed = match phase.phase {
            Phase::Warmup => sub_seed(spec.seed, "warm-up"),
            Phase::Measured => spec.seed,
        };
        let arrivals = Arrivals::new(spec.pacing, seed);
        pace(clock, arrivals, phase, due, shared.stop.clone()).await;
        // a feeder that waits for room must not wait for ever
        phase.ready.close();
    }
}

/// Run `n` slots on this thread, through all phases.
async fn slots_of_thread<T: Transport, C: Clock + 'static>(
    n: usize,
    transport: &T,
    thread: &T::Thread,
    clock: &C,
    shared: &SharedRun,
) {
    let mut slots = JoinSet::new();
    let mut currents = std::collections::HashMap::new();
    let spawn = |slots: &mut JoinSet<()>, first_phase: usize| {
        let current = Rc::new(Cell::new(None));
        let at_phase = Rc::new(Cell::new(first_phase));
        let state = (Rc::clone(&current), Rc::clone(&at_phase));
        let slot = transport.slot(thread);
        let task = slot_life(slot, clock.clone(), shared.clone(), current, at_phase);
        let id = slots.spawn_local(task).id();
        (id, state)
    };
    for _ in 0..n {
        let (id, state) = spawn(&mut slots, 0);
        currents.insert(id, state);
    }
    while let Some(joined) = slots.join_next_with_id().await {
        let Err(fault) = joined else { continue };
        // a slot fell over: its request is a record all the same, and another
        // slot takes its place
        let Some((current, at_phase)) = currents.remove(&fault.id()) else {
            continue;
        };
        if let Some(dispatch) = Cell::take(&current) {
            let exchange = fallen(dispatch, clock.now(), &shared.progress);
            let message = SinkMessage::Exchange(Box::new(exchange));
            if shared.sink.send(message).await.is_err() {
                shared.stop.cancel();
            }
        }
        let (id, state) = spawn(&mut slots, at_phase.get());
        currents.insert(id, state);
    }
}

/// A slot through all phases. `at_phase` is the phase it serves, past its start.
async fn slot_life<S: Slot, C: Clock>(
    mut slot: S,
    clock: C,
    shared: SharedRun,
    current: Rc<Cell<Option<Dispatch>>>,
    at_phase: Rc<Cell<usize>>,
) {
    let first = at_phase.get();
    for (i, phase) in shared.phases.iter().enumerate() {
        // `first` is 0 for a new run, else one more than a phase already begun
        if i + 1 < first {
            continue;
        }
        if i + 1 != first {
            if shared.barrier.wait().await.is_leader() {
                shared.progress.reset();
                let measuring = u64::from(phase.phase == Phase::Measured);
                shared
                    .progress
                    .measuring
                    .store(measuring, Ordering::Relaxed);
            }
            phase.gate.cancelled().await;
            at_phase.set(i + 1);
        }
        serve(&mut slot, &clock, &shared, phase, &current).await;
        // the phase is over for all: nobody may wait to hand over another body
        phase.jobs.close();
    }
}

/// A server closes a connection that it does not keep within this time.
const CLOSE_WAIT: Duration = Duration::from_millis(100);

/// What a single request taught.
#[derive(Debug)]
pub struct Probe {
    /// The request and its answer.
    pub exchange: Exchange,
    /// What the server does with a connection after an answer.
    pub reuse: Reuse,
}

/// Send a single request, outside any run: a test of the connection.
///
/// # Errors
/// When no event loop can be made.
pub fn probe(
    request: PreparedRequest,
    transport: &HttpTransport,
    abort: &CancellationToken,
) -> Result<Probe, EngineError> {
    let _beacon = TimestampBeacon::light();
    let clock = transport.clock;
    let dispatch = Dispatch {
        index: 0,
        phase: Phase::Warmup,
        scheduled: clock.now(),
        slot_free: clock.now(),
        dispatched: clock.now(),
        stream: request.stream,
        output_asked: false,
        asked_tokens: request.asked_tokens,
    };
    let context = transport.thread(0);
    let mut slot = transport.slot(&context);
    Ok(runtime()?.block_on(async {
        let exchange = slot.send(request, dispatch, abort.cancelled()).await;
        let reuse = if slot.connection_stays_open(CLOSE_WAIT).await {
            Reuse::WhileOpen
        } else {
            Reuse::Never
        };
        Probe { exchange, reuse }
    }))
}

#[cfg(test)]
mod tests;
