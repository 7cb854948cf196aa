//! Owns a run from its first body to its last record: its threads, its phases, and the
//! ways it ends.
//!
//! Whatever happens to one of its threads, a run ends in good order: nothing more is
//! sent, what is under way may end, and what was measured has reached the sink.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::Sender;
use tokio::sync::Barrier;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::budget::{AHEAD_BYTES, Budget};
use super::collect::Dispatch;
use super::feed::{Feed, FeedError, Feeding, feed_jobs, panic_text};
use super::health::{GaveUp, Health};
use super::pace::{Clock, SystemClock, pace};
use super::phase::{Job, PhaseRun, SharedRun};
use super::slot::{HttpTransport, Slot, Transport, panicked, serve};
use super::{Progress, SinkMessage};
use crate::metrics::{ClientSnapshot, HANDLING_BITS, LogHistogram};
use crate::plan::{Pacing, RunSpec, sub_seed};
use crate::protocol::PreparedRequest;
use crate::record::{Exchange, Masker, Phase};
use crate::schedule::Arrivals;
use crate::time::{RunClock, Timestamp};
use crate::transport::{ReadStats, Reuse, TimestampBeacon, process_usage, thread_cpu_ns};

/// How often the client looks at itself.
const TICK: Duration = Duration::from_millis(500);

/// The ways to end a run early.
#[derive(Clone, Debug, Default)]
pub struct RunControl {
    /// Send nothing more; requests in flight may end.
    pub stop: CancellationToken,
    /// Give up requests in flight too.
    pub abort: CancellationToken,
}

/// Everything a run needs besides its transport.
#[derive(Debug)]
pub struct RunSetup {
    /// The load.
    pub spec: RunSpec,
    /// Slots that are made: the load's concurrency, or fewer where it has fewer requests or the
    /// machine cannot open so many connections.
    pub slots: NonZeroUsize,
    /// Where bodies come from.
    pub feed: Feed,
    /// The run's clock.
    pub clock: RunClock,
    /// After how long without a server the run gives up; `None` for never, and then it does not
    /// give up a server that refuses everything either.
    pub give_up_after: Option<Duration>,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunOutcome {
    /// Why nothing more was sent.
    pub end: RunEnd,
    /// How often the data set had begun again before the last prompt sent.
    pub rounds: u64,
}

/// Why a run sent nothing more.
#[derive(Debug)]
pub enum RunEnd {
    /// Everything was sent, or the time was up.
    Complete,
    /// It was stopped from outside.
    Stopped,
    /// There were no more requests.
    Feed(FeedError),
    /// The server was not there, or refused everything.
    GaveUp(GaveUp),
    /// The sink took no more records; why is known there.
    SinkGone,
    /// Something of this program failed.
    Fault(Fault),
}

/// What of this program failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refused something that a run cannot do without.
    #[error("cannot start {what}")]
    Start {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A thread panicked.
    #[error("{what} panicked: {message}; please report it")]
    Panic {
        /// Which.
        what: &'static str,
        /// What it said.
        message: String,
    },
}

/// Names of the threads, and what they are to a person.
const FEED: (&str, &str) = ("evalscope-feed", "the thread that builds bodies");
const PACE: (&str, &str) = ("evalscope-pace", "the thread that keeps the schedule");
const RECEIVE: (&str, &str) = ("evalscope-recv", "a receiving thread");

/// Starts the threads of a run. Tests have one that refuses.
pub(super) trait Threads {
    /// Start a thread; `name` is the system's name for it.
    fn start<'scope>(
        &self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        name: &str,
        work: Box<dyn FnOnce() + Send + 'scope>,
    ) -> std::io::Result<()>;
}

/// Threads of the system.
struct SystemThreads;

impl Threads for SystemThreads {
    fn start<'scope>(
        &self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        name: &str,
        work: Box<dyn FnOnce() + Send + 'scope>,
    ) -> std::io::Result<()> {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, work)
            .map(drop)
    }
}

/// Carry out a run. Blocks until its last record has been handed to the sink. Whatever goes
/// wrong is in the outcome and in the records.
pub fn run<T: Transport>(
    setup: RunSetup,
    transport: &T,
    control: &RunControl,
    progress: &Arc<Progress>,
    sink: &Sender<SinkMessage>,
) -> RunOutcome {
    run_on(&SystemThreads, setup, transport, control, progress, sink)
}

pub(super) fn run_on<T: Transport>(
    starter: &(impl Threads + Sync),
    setup: RunSetup,
    transport: &T,
    control: &RunControl,
    progress: &Arc<Progress>,
    sink: &Sender<SinkMessage>,
) -> RunOutcome {
    // before the first connection, so that its first read has a kernel time
    let _beacon = TimestampBeacon::light();
    let usage_before = process_usage();
    let clock = setup.clock;
    let threads = transport.stats().len();
    let slots = setup.slots.get();
    let spec = setup.spec.clone();
    let prepared = Prepared::new(&setup, control, progress, sink);
    let starved_ns = Arc::clone(&prepared.starved_ns);
    let look = || {
        let mut snapshot = snapshot(transport.stats(), &clock, usage_before);
        snapshot.feed_wait_s = starved_ns.load(Ordering::Relaxed) as f64 / 1e9;
        snapshot
    };
    let shared = prepared.shared;
    // made before any thread: what the system refuses is known before anything waits
    let paced = matches!(spec.pacing, Pacing::Poisson { .. });
    let runtimes = (0..threads + usize::from(paced))
        .map(|_| runtime())
        .collect::<Result<Vec<_>, Fault>>();
    let mut runtimes = match runtimes {
        Ok(runtimes) => runtimes.into_iter(),
        Err(fault) => {
            shared.end(RunEnd::Fault(fault));
            Vec::new().into_iter()
        }
    };

    let running = AtomicU64::new(0);
    let feed_error: Mutex<Option<FeedError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        let (shared, running, feed_error) = (&shared, &running, &feed_error);
        let start = |thread, work| start(starter, scope, running, shared, thread, work);
        if paced && let Some(pacer) = runtimes.next() {
            let due = prepared.due;
            let spec = &spec;
            start(
                PACE,
                Box::new(move || {
                    pacer.block_on(pace_phases(&SystemClock(clock), spec, shared, due));
                }),
            );
        } else {
            drop(prepared.due);
        }
        for (thread, runtime) in runtimes.enumerate() {
            let n = share(slots, threads, thread);
            start(
                RECEIVE,
                Box::new(move || receive(thread, n, &runtime, transport, clock, shared)),
            );
        }
        let (source, feeding, budget) = (setup.feed, prepared.feeding, prepared.budget);
        start(
            FEED,
            Box::new(move || {
                let fed = catch_unwind(AssertUnwindSafe(|| {
                    feed_jobs(source, feeding, &budget, &shared.stop, &clock)
                }));
                // what was prepared before an error or a panic is still sent
                match fed {
                    Ok(error) => {
                        *feed_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
                    }
                    Err(payload) => shared.note_end(RunEnd::Fault(Fault::Panic {
                        what: FEED.1,
                        message: panic_text(payload.as_ref()),
                    })),
                }
            }),
        );
        watch(running, shared, &look, &clock);
    });

    for exchange in shared.left_over(clock.now()) {
        if sink
            .send_blocking(SinkMessage::Exchange(Box::new(exchange)))
            .is_err()
        {
            shared.end(RunEnd::SinkGone);
            break;
        }
    }
    let _ = sink.send_blocking(SinkMessage::Client(Box::new(look())));
    let ended = shared
        .ended
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let feed_error = feed_error
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let stopped = control.stop.is_cancelled().then_some(RunEnd::Stopped);
    RunOutcome {
        end: ended
            .or(feed_error.map(RunEnd::Feed))
            .or(stopped)
            .unwrap_or(RunEnd::Complete),
        rounds: shared.rounds.load(Ordering::Relaxed),
    }
}

/// Start a thread of a run. That it cannot start, or panics, ends the run.
fn start<'scope>(
    starter: &impl Threads,
    scope: &'scope std::thread::Scope<'scope, '_>,
    running: &'scope AtomicU64,
    shared: &'scope SharedRun,
    (name, what): (&'static str, &'static str),
    work: Box<dyn FnOnce() + Send + 'scope>,
) {
    running.fetch_add(1, Ordering::AcqRel);
    let guarded = move || {
        let _done = Done(running);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            let message = panic_text(payload.as_ref());
            shared.end(RunEnd::Fault(Fault::Panic { what, message }));
        }
    };
    if let Err(source) = starter.start(scope, name, Box::new(guarded)) {
        running.fetch_sub(1, Ordering::AcqRel);
        shared.end(RunEnd::Fault(Fault::Start { what, source }));
    }
}

/// Counts a thread out, whatever becomes of it.
struct Done<'a>(&'a AtomicU64);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Fault::Start {
            what: "an event loop",
            source,
        })
}

/// Slots of one thread when `slots` are dealt out to `threads`.
fn share(slots: usize, threads: usize, thread: usize) -> usize {
    slots / threads + usize::from(thread < slots % threads)
}

/// A receiving thread, from its first request to its last. A panic outside of a
/// slot costs the requests that are under way on this thread, not their records.
fn receive<T: Transport>(
    thread: usize,
    slots: usize,
    runtime: &tokio::runtime::Runtime,
    transport: &T,
    clock: RunClock,
    shared: &SharedRun,
) {
    let currents = Currents::default();
    let worked = catch_unwind(AssertUnwindSafe(|| {
        let context = transport.thread(thread);
        let stats = &transport.stats()[thread];
        let busy = || stats.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
        LocalSet::new().block_on(runtime, async {
            let looking = async {
                loop {
                    busy();
                    tokio::time::sleep(TICK / 2).await;
                }
            };
            let clock = SystemClock(clock);
            tokio::select! {
                () = slots_of_thread(slots, transport, &context, &clock, shared, &currents) => {}
                () = looking => {}
            }
        });
        busy();
    }));
    let Err(payload) = worked else { return };
    let message = panic_text(payload.as_ref());
    for (current, _) in currents.borrow().values() {
        if let Some(dispatch) = Cell::take(current) {
            let exchange = panicked(dispatch, clock.now(), &message, &shared.progress);
            // a sink that is gone ends the run anyway
            let _ = shared
                .sink
                .send_blocking(SinkMessage::Exchange(Box::new(exchange)));
        }
    }
    std::panic::resume_unwind(payload);
}

/// Look at the client twice a second until the threads are done; end the drain
/// after its time.
fn watch(
    running: &AtomicU64,
    shared: &SharedRun,
    look: &impl Fn() -> ClientSnapshot,
    clock: &RunClock,
) {
    let mut stopped_at: Option<Timestamp> = None;
    let mut next_tick = clock.now().after(TICK);
    while running.load(Ordering::Acquire) > 0 {
        std::thread::park_timeout(Duration::from_millis(5));
        let now = clock.now();
        if now >= next_tick {
            next_tick = now.after(TICK);
            // a sink that is busy has no need of a tick
            let _ = shared.sink.try_send(SinkMessage::Client(Box::new(look())));
        }
        if shared.stop.is_cancelled() {
            // also where no slot is left to do so: nobody may wait to hand over a body
            shared.close();
            shared.note_stop(now);
            let since = *stopped_at.get_or_insert(now);
            if now.since(since) >= super::DRAIN_GRACE {
                shared.abort.cancel();
            }
        }
    }
}

fn snapshot(
    stats: &[Arc<ReadStats>],
    clock: &RunClock,
    before: Option<(f64, u64)>,
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
        receive_cpu_s: stats
            .iter()
            .map(|s| s.cpu_ns.load(Ordering::Relaxed) as f64 / 1e9)
            .collect(),
        elapsed_s: clock.now().as_nanos() as f64 / 1e9,
        max_rss_bytes: usage.1,
        client_threads: stats.len() as u64,
        feed_wait_s: 0.0,
    }
}

/// The channels of a run, made before its threads.
struct Prepared {
    shared: SharedRun,
    feeding: Vec<Feeding>,
    budget: Arc<Budget>,
    /// For each phase: where the pacer's jobs go.
    due: Vec<Sender<Job>>,
    /// How long the measured phase waited for bodies.
    starved_ns: Arc<AtomicU64>,
}

/// Requests that are worth having ready: enough for every slot to refill at once, or, where slots
/// are not limited, for the arrivals of a few seconds.
fn ahead(spec: &RunSpec, slots: usize) -> usize {
    const SECONDS: f64 = 3.0;
    match (spec.concurrency, spec.pacing) {
        (None, Pacing::Poisson { rate_per_s }) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is positive, and a float cast saturates"
            )]
            let arrivals = (SECONDS * rate_per_s).ceil() as usize;
            arrivals.min(slots)
        }
        _ => slots,
    }
}

impl Prepared {
    fn new(
        setup: &RunSetup,
        control: &RunControl,
        progress: &Arc<Progress>,
        sink: &Sender<SinkMessage>,
    ) -> Self {
        let spec = &setup.spec;
        let slots = setup.slots.get();
        let paced = spec.pacing != Pacing::Unpaced;
        let mut phases = Vec::new();
        let mut feeding = Vec::new();
        let mut due = Vec::new();
        let starved_ns: Arc<AtomicU64> = Arc::default();
        for (phase, requests) in [
            (Phase::Warmup, spec.warmup_requests),
            (Phase::Measured, spec.requests.unwrap_or(u64::MAX)),
        ] {
            if requests == 0 {
                continue;
            }
            let most = usize::try_from(requests).unwrap_or(usize::MAX);
            let capacity = ahead(spec, slots).max(64).min(most);
            let (ready_in, ready) = async_channel::bounded(capacity);
            let (due_in, jobs) = if paced {
                async_channel::bounded(capacity)
            } else {
                (ready_in.clone(), ready.clone())
            };
            let gate = CancellationToken::new();
            feeding.push(Feeding {
                requests,
                ready: ready_in,
                gate: gate.clone(),
            });
            due.push(due_in);
            phases.push(PhaseRun {
                phase,
                requests,
                jobs,
                ready,
                gate,
                duration: spec.duration(),
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
                health: Arc::new(Health::new(setup.give_up_after)),
                rounds: Arc::default(),
                stopped_ns: Arc::default(),
                ended: Arc::default(),
            },
            feeding,
            budget: Budget::new(AHEAD_BYTES),
            due,
            starved_ns,
        }
    }
}

async fn pace_phases(
    clock: &impl Clock,
    spec: &RunSpec,
    shared: &SharedRun,
    due: Vec<Sender<Job>>,
) {
    for (phase, due) in shared.phases.iter().zip(due) {
        if !shared.enter(phase).await {
            return;
        }
        // the schedule of the measurement must not depend on a warm-up
        let seed = match phase.phase {
            Phase::Warmup => sub_seed(spec.seed, "warm-up"),
            Phase::Measured => spec.seed,
        };
        let arrivals = Arrivals::new(spec.pacing, seed);
        pace(clock, arrivals, phase, due, shared).await;
        // a feeder that waits for room must not wait for ever
        phase.ready.close();
    }
}

/// What is under way on one thread, by the slot's task: the request, and the phase
/// it serves, past its start.
type Currents =
    std::cell::RefCell<HashMap<tokio::task::Id, (Rc<Cell<Option<Dispatch>>>, Rc<Cell<usize>>)>>;

/// Run `n` slots on this thread, through all phases.
async fn slots_of_thread<T: Transport, C: Clock + 'static>(
    n: usize,
    transport: &T,
    thread: &T::Thread,
    clock: &C,
    shared: &SharedRun,
    currents: &Currents,
) {
    let mut slots = JoinSet::new();
    let spawn = |slots: &mut JoinSet<()>, first_phase: usize| {
        let current = Rc::new(Cell::new(None));
        let at_phase = Rc::new(Cell::new(first_phase));
        let state = (Rc::clone(&current), Rc::clone(&at_phase));
        let slot = transport.slot(thread);
        let task = slot_life(slot, clock.clone(), shared.clone(), current, at_phase);
        let id = slots.spawn_local(task).id();
        currents.borrow_mut().insert(id, state);
    };
    for _ in 0..n {
        spawn(&mut slots, 0);
    }
    while let Some(joined) = slots.join_next_with_id().await {
        let Err(fault) = joined else { continue };
        // a slot panicked: its request is a record all the same, and another
        // slot takes its place
        let Some((current, at_phase)) = currents.borrow_mut().remove(&fault.id()) else {
            continue;
        };
        if let Some(dispatch) = Cell::take(&current) {
            let message = fault
                .try_into_panic()
                .map_or_else(|_| String::new(), |payload| panic_text(payload.as_ref()));
            let exchange = panicked(dispatch, clock.now(), &message, &shared.progress);
            shared.hand_on(exchange).await;
        }
        spawn(&mut slots, at_phase.get());
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
            if !shared.enter(phase).await {
                break;
            }
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

/// Send a single request, outside any run: a test of the connection. What a server that refuses
/// it repeats of `secrets` is masked.
///
/// # Errors
/// When the system refuses an event loop.
pub fn probe(
    request: PreparedRequest,
    transport: &HttpTransport,
    secrets: &[String],
    abort: &CancellationToken,
) -> Result<Probe, Fault> {
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
        let mut exchange = slot.send(request, dispatch, abort.cancelled()).await;
        Masker::new(secrets).hide(&mut exchange);
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
