//! Owns what the threads of a run share: the gate, the lanes' queues of starts, and how a run
//! comes to its end.
//!
//! Nothing here is touched while bytes arrive. It must not know how bodies are made, nor how
//! requests are sent.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use tokio_util::sync::CancellationToken;

use super::end::RunEnd;
use super::gate::{Gate, Start, Unsent, UnsentWhy};
use super::health::Health;
use super::no_response::unsent;
use super::progress::Progress;
use super::urls::Urls;
use evalscope_model::conversation::{Conversations, KeepConnection};
use evalscope_model::events::RunEvent;
use evalscope_model::record::{Exchange, Failure, FailureKind};
use evalscope_model::time::Timestamp;

/// Starts that may wait for a lane: they wait only when it is late.
const LANE_QUEUE: usize = 1024;

/// A receiving thread, as the thread that deals out starts sees it.
#[derive(Debug)]
pub(super) struct LaneQueue {
    pub(super) starts: Sender<Box<Start>>,
    pub(super) dealt: Receiver<Box<Start>>,
    /// Sessions that were dealt to it and have not ended.
    pub(super) sessions: AtomicUsize,
}

impl Default for LaneQueue {
    fn default() -> Self {
        let (starts, dealt) = async_channel::bounded(LANE_QUEUE);
        Self {
            starts,
            dealt,
            sessions: AtomicUsize::new(0),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct SharedRun {
    pub(super) stop: CancellationToken,
    pub(super) abort: CancellationToken,
    /// The time that requests have after the last dispatch is over.
    pub(super) drain_over: AtomicBool,
    /// Enough bodies are ready for the first session to start.
    pub(super) primed: CancellationToken,
    pub(super) gate: Gate,
    pub(super) urls: Urls,
    pub(super) lanes: Vec<LaneQueue>,
    pub(super) progress: Progress,
    pub(super) sink: Sender<RunEvent>,
    pub(super) health: Health,
    /// The highest round of the dataset that a request sent was of.
    pub(super) rounds: AtomicU64,
    /// Sessions that were sent.
    pub(super) sessions: AtomicU64,
    /// Those of them whose prompt had been used before.
    pub(super) repeated: AtomicU64,
    /// When the run was found to be stopped, nanoseconds; 0 before.
    pub(super) stopped_ns: AtomicU64,
    /// The moment that the load counts from, nanoseconds; 0 before.
    pub(super) began_ns: AtomicU64,
    /// When the last session had started, nanoseconds; 0 before.
    pub(super) starts_over_ns: AtomicU64,
    /// What holds for conversations, if sessions are any.
    pub(super) conversations: Conversations,
    /// How long connections are kept.
    pub(super) connections: KeepConnection,
    /// How long requests may go on after the last dispatch.
    pub(super) drain: Option<Duration>,
    /// Why the run ends before its time; the first reason is the reason of the rest.
    pub(super) ended: Mutex<Option<RunEnd>>,
}

impl SharedRun {
    /// Note why the run will have ended before its time.
    pub(super) fn note_end(&self, why: RunEnd) {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
    }

    /// Give up what is in flight: the time that it had after the last dispatch is over.
    pub(super) fn end_drain(&self) {
        let stopped = noted(&self.stopped_ns).is_some();
        self.drain_over.store(!stopped, Ordering::Relaxed);
        self.abort.cancel();
    }

    /// Wait until requests in flight are given up; why they are.
    pub(super) async fn given_up(&self) -> Failure {
        self.abort.cancelled().await;
        if self.drain_over.load(Ordering::Relaxed) {
            Failure::new(
                FailureKind::Unfinished,
                "it was still in flight when the time after the last dispatch was over (`--drain-timeout`)",
            )
        } else {
            stopped()
        }
    }

    /// End the run in good order: nothing more is sent, requests in flight may end.
    pub(super) fn end(&self, why: RunEnd) {
        let gone = matches!(why, RunEnd::SinkGone);
        self.note_end(why);
        self.stop.cancel();
        if gone {
            // what still arrives could not be kept
            self.abort.cancel();
        }
    }

    /// Nothing more starts, no more bodies are made, and lanes end with their last session.
    pub(super) fn close(&self) {
        self.gate.close();
        for lane in &self.lanes {
            lane.starts.close();
        }
    }

    /// Give a start to the lane with the fewest sessions.
    pub(super) async fn deal(&self, start: Box<Start>, now: Timestamp) {
        let fewest = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.sessions.load(Ordering::Relaxed));
        let Some(lane) = fewest else { return };
        lane.sessions.fetch_add(1, Ordering::Relaxed);
        // the queue is closed when the run has ended
        if let Err(late) = lane.starts.send(start).await {
            self.came_too_late(*late.into_inner(), now).await;
        }
    }

    /// A start that comes after the end. In a closed loop nothing is due before it is sent.
    pub(super) async fn came_too_late(&self, start: Start, now: Timestamp) {
        // its place stays free, and its end asks the gate nothing
        self.gate.end_early();
        if self.gate.has_schedule() {
            let left = start.job.not_sent(start.due, UnsentWhy::Over);
            self.hand_on_unsent(&left, now).await;
        }
    }

    /// The load counts from here.
    pub(super) fn note_begin(&self, begin: Timestamp) {
        note(&self.began_ns, begin);
    }

    /// How long the load has been under way.
    pub(super) fn running_for(&self, now: Timestamp) -> Duration {
        noted(&self.began_ns).map_or(Duration::ZERO, |began| now.since(began))
    }

    /// The run was found to be stopped.
    pub(super) fn note_stop(&self, now: Timestamp) {
        note(&self.stopped_ns, now);
    }

    /// No more sessions start.
    pub(super) fn note_starts_over(&self, now: Timestamp) {
        note(&self.starts_over_ns, now);
    }

    /// When requests in flight are given up, as far as that is known.
    pub(super) fn drain_end(&self) -> Option<Timestamp> {
        let drain = match noted(&self.stopped_ns) {
            Some(_) => Some(self.drain.unwrap_or(super::DRAIN_GRACE)),
            None => self.drain,
        };
        let since = noted(&self.stopped_ns).or(noted(&self.starts_over_ns))?;
        Some(since.after(drain?))
    }

    /// When sessions could start for the last time, at the latest now.
    fn end_of_starts(&self, now: Timestamp) -> Timestamp {
        [noted(&self.stopped_ns), noted(&self.starts_over_ns)]
            .into_iter()
            .flatten()
            .fold(self.gate.end_of_starts(now), Timestamp::min)
    }

    /// Records of sessions that were due and never started, once the threads are done. `now` is
    /// the end of the run.
    pub(super) fn left_over(&self, now: Timestamp) -> impl Iterator<Item = Exchange> {
        let end = self.end_of_starts(now);
        let has_schedule = self.gate.has_schedule();
        let dealt = self
            .lanes
            .iter()
            .flat_map(|lane| std::iter::from_fn(|| lane.dealt.try_recv().ok()))
            .filter(move |_| has_schedule)
            .map(|start| start.job.not_sent(start.due, UnsentWhy::Over));
        let due = std::iter::from_fn(move || self.gate.unsent(end));
        dealt.chain(due).map(move |left| unsent(&left, end))
    }

    /// Hand on the record of a session that was due and is not started. Says whether the sink
    /// still takes records.
    pub(super) async fn hand_on_unsent(&self, left: &Unsent, now: Timestamp) -> bool {
        let until = match left.why {
            UnsentWhy::Full => now,
            UnsentWhy::NoRoom | UnsentWhy::Over => self.end_of_starts(now),
        };
        let exchange = Box::new(unsent(left, until));
        self.hand_on(exchange).await
    }

    /// Hand a finished exchange on. A sink that cannot keep up holds the caller back, and that
    /// shows as lag; one that is gone ends the run.
    pub(super) async fn hand_on(&self, exchange: Box<Exchange>) -> bool {
        self.send(RunEvent::Exchange(exchange)).await
    }

    /// Hand an event on.
    pub(super) async fn send(&self, event: RunEvent) -> bool {
        let sent = self.sink.send(event).await.is_ok();
        if !sent {
            self.end(RunEnd::SinkGone);
        }
        sent
    }
}

/// Wait until everything is to be given up; what that means for a request.
pub(super) async fn cancelled(abort: &CancellationToken) -> Failure {
    abort.cancelled().await;
    stopped()
}

fn stopped() -> Failure {
    Failure::new(
        FailureKind::Cancelled,
        "the run was stopped while the request was in flight",
    )
}

/// Note a moment, the first time.
fn note(moment_ns: &AtomicU64, now: Timestamp) {
    let _ = moment_ns.compare_exchange(
        0,
        now.as_nanos().max(1),
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
}

/// A moment that may have been noted.
fn noted(moment_ns: &AtomicU64) -> Option<Timestamp> {
    match moment_ns.load(Ordering::Relaxed) {
        0 => None,
        ns => Some(Timestamp::from_nanos(ns)),
    }
}
