//! Owns a run from its first body to its last record: its threads, its phases, and the
//! ways it ends.
//!
//! Whatever happens to one of its threads, a run ends in good order: nothing more is
//! sent, what is under way may end, and what was measured has reached the sink.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::budget::{AHEAD_BYTES, Budget};
use super::clock::{Clock, SystemClock};
use super::end::{Fault, RunEnd};
use super::feed::{Feed, FeedError, Queue, Sessions, feed_jobs, panic_text};
use super::gate::{Gate, Limits, Turn, Wait};
use super::health::Health;
use super::http::Transport;
use super::lane::{UnderWay, serve};
use super::no_response::panicked;
use super::progress::Progress;
use super::shared::{LaneQueue, SharedRun};
use super::urls::Urls;
use crate::load::{model_of, until_enough};
use crate::transport::{ReadStats, TimestampBeacon, process_usage, thread_cpu_ns};
use evalscope_model::events::{RunEvent, Snapshot};
use evalscope_model::metrics::{ClientSnapshot, HANDLING_BITS, LogHistogram};
use evalscope_model::mix::Spread;
use evalscope_model::plan::RunSpec;
use evalscope_model::time::{RunClock, Timestamp};

/// How often the client looks at itself.
const TICK: Duration = Duration::from_millis(500);

/// The ways to end a run early.
#[derive(Clone, Debug, Default)]
pub struct RunControl {
    /// Send nothing more; requests in flight may end.
    pub stop: CancellationToken,
    /// Give up requests in flight too.
    pub abort: CancellationToken,
    /// What the run was to find out is known: send nothing more, and let requests in flight end.
    pub enough: Arc<AtomicBool>,
}

/// Everything a run needs besides its transport.
#[derive(Debug)]
pub struct RunSetup {
    /// The load.
    pub spec: RunSpec,
    /// The most sessions at a time: the load's concurrency, or fewer where the machine cannot open
    /// so many connections.
    pub most_in_flight: NonZeroUsize,
    /// Where bodies come from.
    pub feed: Feed,
    /// The URLs of the transport, and how sessions are spread over them.
    pub spread: Spread,
    /// The run's clock.
    pub clock: RunClock,
    /// After how long without a server the run gives up; `None` for never, and then it does not
    /// give up a server that refuses everything either.
    pub give_up_after: Option<Duration>,
    /// What it waits for before its first request; `None`: only for its bodies.
    pub barrier: Option<Barrier>,
}

/// A common start with other processes.
#[derive(Debug)]
pub struct Barrier {
    /// Cancelled when everything is ready for the first request.
    pub ready: CancellationToken,
    /// The moment that the load counts from. A sender that is gone ends the run.
    pub start: Receiver<Timestamp>,
}

/// How a run ended.
#[derive(Debug)]
pub struct RunOutcome {
    /// Why nothing more was sent.
    pub end: RunEnd,
    /// How often the dataset had begun again before the last prompt sent.
    pub rounds: u64,
    /// The share of sessions whose prompt the dataset had given before.
    pub repeated_share: f64,
    /// Measured requests that were sent and have ended.
    pub measured: u64,
    /// Requests that were sent and failed, in the warm-up too.
    pub failed: u64,
    /// Bytes that arrived, per second of the run.
    pub received_per_s: f64,
}

/// Names of the threads, and what they are to a person.
const FEED: (&str, &str) = ("evalscope-feed", "the thread that builds bodies");
const GATE: (&str, &str) = ("evalscope-gate", "the thread that keeps the schedule");
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
    sink: &Sender<RunEvent>,
) -> RunOutcome {
    run_on(&SystemThreads, setup, transport, control, sink)
}

pub(super) fn run_on<T: Transport>(
    starter: &(impl Threads + Sync),
    setup: RunSetup,
    transport: &T,
    control: &RunControl,
    sink: &Sender<RunEvent>,
) -> RunOutcome {
    // before the first connection, so that its first read has a kernel time
    let _beacon = TimestampBeacon::light();
    let usage_before = process_usage();
    let clock = setup.clock;
    let threads = transport.stats().len();
    let prepared = Prepared::new(&setup, threads, control, sink);
    let (shared, queue, sessions) = (prepared.shared, prepared.queue, prepared.sessions);
    let barrier = setup.barrier;
    let look = || {
        let mut client = snapshot(
            transport.stats(),
            shared.running_for(clock.now()),
            usage_before,
        );
        client.feed_wait_s = shared.gate.starved().as_secs_f64();
        RunEvent::Snapshot(Box::new(Snapshot {
            client,
            load: shared.progress.snapshot(),
        }))
    };
    // made before any thread: what the system refuses is known before anything waits
    let runtimes = (0..=threads)
        .map(|_| runtime())
        .collect::<Result<Vec<_>, Fault>>();
    let mut runtimes = match runtimes {
        Ok(runtimes) => runtimes.into_iter(),
        Err(fault) => {
            shared.end(RunEnd::Fault(fault));
            Vec::new().into_iter()
        }
    };

    let running = Running::default();
    let feed_error: Mutex<Option<FeedError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        let (shared, running, feed_error) = (&shared, &running, &feed_error);
        let start = |thread, work| start(starter, scope, running, shared, thread, work);
        if let Some(runtime) = runtimes.next() {
            start(
                GATE,
                Box::new(move || runtime.block_on(deal(&SystemClock(clock), shared, barrier))),
            );
        }
        for (lane, runtime) in runtimes.enumerate() {
            start(
                RECEIVE,
                Box::new(move || receive(lane, &runtime, transport, clock, shared)),
            );
        }
        let source = setup.feed;
        start(
            FEED,
            Box::new(move || {
                let fed = catch_unwind(AssertUnwindSafe(|| {
                    feed_jobs(source, &queue, sessions, &shared.stop, &clock)
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
    let took = shared.running_for(clock.now());

    for exchange in shared.left_over(clock.now()) {
        if sink
            .send_blocking(RunEvent::Exchange(Box::new(exchange)))
            .is_err()
        {
            shared.end(RunEnd::SinkGone);
            break;
        }
    }
    let _ = sink.send_blocking(look());
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
            .or(shared.gate.stopped_by().map(RunEnd::Load))
            .unwrap_or(RunEnd::Complete),
        rounds: shared.rounds.load(Ordering::Relaxed),
        repeated_share: shared.repeated.load(Ordering::Relaxed) as f64
            / shared.sessions.load(Ordering::Relaxed).max(1) as f64,
        measured: shared.progress.measured(),
        failed: shared.progress.failed(),
        received_per_s: received_per_s(transport.stats(), took),
    }
}

/// Start a thread of a run. That it cannot start, or panics, ends the run.
fn start<'scope>(
    starter: &impl Threads,
    scope: &'scope std::thread::Scope<'scope, '_>,
    running: &'scope Running,
    shared: &'scope SharedRun,
    (name, what): (&'static str, &'static str),
    work: Box<dyn FnOnce() + Send + 'scope>,
) {
    running.one_more();
    let guarded = move || {
        let _done = Done(running);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
            let message = panic_text(payload.as_ref());
            shared.end(RunEnd::Fault(Fault::Panic { what, message }));
        }
    };
    if let Err(source) = starter.start(scope, name, Box::new(guarded)) {
        running.one_less();
        shared.end(RunEnd::Fault(Fault::Start { what, source }));
    }
}

/// How many threads of a run have not ended.
#[derive(Debug, Default)]
struct Running {
    threads: Mutex<u64>,
    changed: Condvar,
}

impl Running {
    fn one_more(&self) {
        *self.lock() += 1;
    }

    fn one_less(&self) {
        *self.lock() -= 1;
        self.changed.notify_all();
    }

    /// Wait for a thread to end, or for something else to look at, at most this long. Says whether
    /// all have ended.
    fn wait(&self, most: Duration) -> bool {
        let threads = self.lock();
        if *threads == 0 {
            return true;
        }
        let waited = self.changed.wait_timeout(threads, most);
        let (threads, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *threads == 0
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a thread out, whatever becomes of it.
struct Done<'a>(&'a Running);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.one_less();
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Fault::Start {
            what: "an event loop",
            source,
        })
}

/// Deal out the sessions that start at a moment, or that no end has made room for: the first ones,
/// and those whose requests were not ready.
async fn deal(clock: &impl Clock, shared: &SharedRun, barrier: Option<Barrier>) {
    let dealing = async {
        shared.primed.cancelled().await;
        let mut begin = Some(begin_of(clock, shared, barrier).await);
        // at a high rate nothing here ever waits
        while !shared.stop.is_cancelled() {
            // moments of the load count from the one of its first question
            let now = begin.take().unwrap_or_else(|| clock.now());
            match shared.gate.deal(now) {
                Turn::Start(start) => shared.deal(start, now).await,
                Turn::Refused(left) => {
                    shared.hand_on_unsent(&left, now).await;
                }
                Turn::Wait(Wait::Until(at)) => tokio::select! {
                    () = clock.sleep_until(at) => {}
                    () = shared.gate.changed() => {}
                },
                Turn::Wait(Wait::ForRequest) => {
                    shared.gate.request_ready(|| clock.now()).await;
                }
                Turn::Wait(Wait::ForEnd) => shared.gate.changed().await,
                Turn::Over => break,
            }
        }
    };
    tokio::select! {
        () = dealing => {}
        () = shared.stop.cancelled() => {}
    }
    let now = clock.now();
    if shared.stop.is_cancelled() {
        shared.note_stop(now);
    }
    shared.note_starts_over(now);
    shared.close();
}

/// The moment that the load counts from, once it has come.
async fn begin_of(clock: &impl Clock, shared: &SharedRun, barrier: Option<Barrier>) -> Timestamp {
    let begin = match barrier {
        None => clock.now(),
        Some(barrier) => {
            barrier.ready.cancel();
            let Ok(begin) = barrier.start.recv().await else {
                shared.stop.cancel();
                return clock.now();
            };
            clock.sleep_until(begin).await;
            begin
        }
    };
    shared.note_begin(begin);
    begin
}

/// A receiving thread, from its first request to its last. A panic outside of a
/// session costs the requests that are under way on this thread, not their records.
fn receive<T: Transport>(
    lane: usize,
    runtime: &tokio::runtime::Runtime,
    transport: &T,
    clock: RunClock,
    shared: &Arc<SharedRun>,
) {
    let under_way = UnderWay::default();
    let worked = catch_unwind(AssertUnwindSafe(|| {
        let context = transport.thread(lane);
        let stats = &transport.stats()[lane];
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
                () = serve(lane, transport, &context, &clock, shared, &under_way) => {}
                () = looking => {}
            }
        });
        busy();
    }));
    let Err(payload) = worked else { return };
    let message = panic_text(payload.as_ref());
    for dispatch in under_way.take_all() {
        let exchange = panicked(dispatch, clock.now(), &message);
        shared.progress.ended(&exchange.record);
        // a sink that is gone ends the run anyway
        let _ = shared
            .sink
            .send_blocking(RunEvent::Exchange(Box::new(exchange)));
    }
    std::panic::resume_unwind(payload);
}

/// Look at the client twice a second until the threads are done; end the drain after its time.
fn watch(running: &Running, shared: &SharedRun, look: &impl Fn() -> RunEvent, clock: &RunClock) {
    let mut next_tick = clock.now().after(TICK);
    let mut given_up = false;
    loop {
        let now = clock.now();
        if now >= next_tick {
            next_tick = now.after(TICK);
            // a sink that is busy has no need of a tick
            let _ = shared.sink.try_send(look());
        }
        if shared.stop.is_cancelled() {
            // also where the thread that deals out starts is gone
            shared.close();
            shared.note_stop(now);
        }
        let drain_end = shared.drain_end().filter(|_| !given_up);
        if drain_end.is_some_and(|end| now >= end) {
            given_up = true;
            shared.end_drain();
        }
        let next = drain_end.map_or(next_tick, |end| end.min(next_tick));
        if running.wait(next.since(now)) {
            break;
        }
    }
}

/// Bytes that have arrived, per second; 0 for a run that never began.
fn received_per_s(stats: &[Arc<ReadStats>], took: Duration) -> f64 {
    let arrived = stats
        .iter()
        .map(|stats| stats.bytes.load(Ordering::Relaxed));
    if took.is_zero() {
        return 0.0;
    }
    arrived.sum::<u64>() as f64 / took.as_secs_f64()
}

fn snapshot(
    stats: &[Arc<ReadStats>],
    elapsed: Duration,
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
        elapsed_s: elapsed.as_secs_f64(),
        max_rss_bytes: usage.1,
        client_threads: stats.len() as u64,
        feed_wait_s: 0.0,
    }
}

/// What a run needs before its threads.
struct Prepared {
    shared: Arc<SharedRun>,
    queue: Queue,
    sessions: Sessions,
}

/// Requests that are worth having ready: enough for every place to refill at once, or, where they
/// are not limited, for the arrivals of a few seconds.
fn ahead(spec: &RunSpec, most: usize) -> usize {
    const SECONDS: f64 = 3.0;
    match (spec.concurrency, spec.pacing.schedule()) {
        (None, Some(schedule)) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate is positive, and a float cast saturates"
            )]
            let arrivals = schedule.profile.most_within(SECONDS).ceil() as usize;
            arrivals.min(most)
        }
        _ => most,
    }
}

impl Prepared {
    fn new(setup: &RunSetup, lanes: usize, control: &RunControl, sink: &Sender<RunEvent>) -> Self {
        let spec = &setup.spec;
        let own = &spec.part();
        let limits = Limits {
            warmup: own.warmup_requests,
            measured: own.requests.unwrap_or(u64::MAX),
            shard: spec.shard,
            converse: spec.conversations.is_some(),
            duration: spec.duration(),
        };
        let all = limits.warmup.saturating_add(limits.measured);
        let most = usize::try_from(all).unwrap_or(usize::MAX);
        let capacity = ahead(own, setup.most_in_flight.get()).max(64).min(most);
        let (ready, requests) = async_channel::bounded(capacity.max(1));
        let primed = CancellationToken::new();
        let load = model_of(spec, setup.most_in_flight);
        let model = until_enough(load, &control.enough);
        Self {
            shared: Arc::new(SharedRun {
                stop: control.stop.clone(),
                abort: control.abort.child_token(),
                primed: primed.clone(),
                gate: Gate::new(model, limits, requests),
                urls: Urls::new(setup.spread),
                lanes: (0..lanes).map(|_| LaneQueue::default()).collect(),
                progress: Progress::default(),
                sink: sink.clone(),
                health: Health::new(setup.give_up_after),
                rounds: AtomicU64::new(0),
                sessions: AtomicU64::new(0),
                repeated: AtomicU64::new(0),
                stopped_ns: AtomicU64::new(0),
                ended: Mutex::default(),
                drain_over: AtomicBool::new(false),
                drain: spec.drain_timeout(),
                conversations: spec.conversations.unwrap_or_default(),
                connections: spec.connections,
                began_ns: AtomicU64::new(0),
                starts_over_ns: AtomicU64::new(0),
            }),
            queue: Queue {
                ready,
                primed,
                budget: Budget::new(AHEAD_BYTES),
                events: sink.clone(),
            },
            sessions: Sessions {
                deal: spec.deal(),
                measured: spec.requests.unwrap_or(u64::MAX),
            },
        }
    }
}

#[cfg(test)]
mod tests;
