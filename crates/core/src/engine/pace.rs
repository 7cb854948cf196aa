//! Owns releasing requests at their scheduled moments.
//!
//! The moments are absolute: being late for one does not delay the next, and
//! how late it was stays in the record.

use std::future::Future;

use async_channel::Sender;
use tokio_util::sync::CancellationToken;

use super::run::{Job, PhaseRun};
use crate::schedule::Arrivals;
use crate::time::{RunClock, Timestamp};
use crate::transport;

/// A source of time that can also wait. Tests bring one that is paused.
pub trait Clock: Clone {
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Wait until a moment.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(pub RunClock);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        transport::sleep_until(&self.0, at).await;
    }
}

/// Forward jobs of a phase from `ready` to `due`, each at its arrival, until the
/// jobs end, the deadline passes or `stop` says so.
pub(super) async fn pace(
    clock: &impl Clock,
    mut arrivals: Arrivals,
    phase: &PhaseRun,
    due: Sender<Job>,
    stop: CancellationToken,
) {
    let start = clock.now();
    let forwarding = async {
        loop {
            let dry = phase.ready.is_empty();
            let Ok(mut job) = phase.ready.recv().await else {
                break;
            };
            let Some(offset) = arrivals.next_offset() else {
                break;
            };
            if phase.duration.is_some_and(|deadline| offset >= deadline) {
                break;
            }
            let scheduled = start.after(offset);
            if dry {
                phase.starved(scheduled, clock.now());
            }
            clock.sleep_until(scheduled).await;
            job.scheduled = Some(scheduled);
            if due.send(job).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = forwarding => {}
        () = stop.cancelled() => {}
    }
}
