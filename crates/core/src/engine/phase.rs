//! Owns what the threads of a run share: the phases with their channels, and who may end the run.
//!
//! It must not know how bodies are made, nor what is sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

use super::budget::Held;
use super::health::Health;
use super::run::RunEnd;
use super::slot::unsent;
use super::{Progress, SinkMessage};
use crate::protocol::PreparedRequest;
use crate::record::{Exchange, Phase};
use crate::time::Timestamp;

/// A request on its way to a slot.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: PreparedRequest,
    /// Its moment, once it has one.
    pub(super) scheduled: Option<Timestamp>,
    /// How often the data set had begun again before its prompt.
    pub(super) round: u64,
    /// Its share of the memory for bodies made ahead.
    pub(super) held: Held,
}

/// One phase of a run: what its slots take from, and until when.
#[derive(Debug)]
pub(super) struct PhaseRun {
    pub(super) phase: Phase,
    /// Requests to send.
    pub(super) requests: u64,
    pub(super) jobs: Receiver<Job>,
    /// Bodies that wait for the pacer; equal to `jobs` without pacing.
    pub(super) ready: Receiver<Job>,
    /// Closed until enough bodies are ready.
    pub(super) gate: CancellationToken,
    pub(super) duration: Option<Duration>,
    /// First dispatch in nanoseconds plus one; 0 before.
    pub(super) started: AtomicU64,
    /// How long free slots, or a pacer whose moment had come, waited for bodies.
    pub(super) starved_ns: Arc<AtomicU64>,
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

    /// When nothing more is sent, once the phase has begun.
    fn deadline(&self) -> Option<Timestamp> {
        let started = self.started.load(Ordering::Relaxed);
        let started = (started > 0).then(|| Timestamp::from_nanos(started - 1))?;
        Some(started.after(self.duration?))
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
    pub(super) phases: Arc<Vec<PhaseRun>>,
    pub(super) barrier: Arc<Barrier>,
    pub(super) health: Arc<Health>,
    /// The highest round of the data set that a request sent was of.
    pub(super) rounds: Arc<AtomicU64>,
    /// When it was found to be stopped, nanoseconds; 0 before.
    pub(super) stopped_ns: Arc<AtomicU64>,
    /// Why the run ends before its time; the first reason is the reason of the rest.
    pub(super) ended: Arc<Mutex<Option<RunEnd>>>,
}

impl SharedRun {
    /// Note why the run will have ended before its time.
    pub(super) fn note_end(&self, why: RunEnd) {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(why);
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

    /// Wait until all slots, and the pacer, have come to a phase and enough bodies are ready
    /// for it. Says whether the run goes on.
    pub(super) async fn enter(&self, phase: &PhaseRun) -> bool {
        let entering = async {
            if self.barrier.wait().await.is_leader() {
                self.progress.reset();
                let measuring = u64::from(phase.phase == Phase::Measured);
                self.progress.measuring.store(measuring, Ordering::Relaxed);
            }
            phase.gate.cancelled().await;
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = entering => true,
        }
    }

    /// Nobody hands over another body.
    pub(super) fn close(&self) {
        for phase in self.phases.iter() {
            phase.jobs.close();
            phase.ready.close();
        }
    }

    /// Records of requests that were due and that no slot has taken. `now` is the end of the run.
    pub(super) fn left_over(&self, now: Timestamp) -> Vec<Exchange> {
        let mut records = Vec::new();
        for phase in self.phases.iter() {
            let end = self.end_of_sending(phase, now);
            while let Ok(job) = phase.jobs.try_recv() {
                records.extend(
                    job.scheduled
                        .map(|at| unsent(&job.request, phase.phase, at, end)),
                );
            }
        }
        records
    }

    /// When a phase stopped sending, at the latest now.
    pub(super) fn end_of_sending(&self, phase: &PhaseRun, now: Timestamp) -> Timestamp {
        let stopped = self.stopped_ns.load(Ordering::Relaxed);
        let stopped = (stopped > 0).then(|| Timestamp::from_nanos(stopped));
        [phase.deadline(), stopped]
            .into_iter()
            .flatten()
            .fold(now, Timestamp::min)
    }

    /// The run was found to be stopped.
    pub(super) fn note_stop(&self, now: Timestamp) {
        let _ = self.stopped_ns.compare_exchange(
            0,
            now.as_nanos().max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Hand a finished exchange on. A sink that cannot keep up holds the caller back, and that
    /// shows as lag; one that is gone ends the run.
    pub(super) async fn hand_on(&self, exchange: Exchange) -> bool {
        let message = SinkMessage::Exchange(Box::new(exchange));
        let sent = self.sink.send(message).await.is_ok();
        if !sent {
            self.end(RunEnd::SinkGone);
        }
        sent
    }
}
