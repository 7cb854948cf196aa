//! Owns releasing requests at their scheduled moments.
//!
//! The moments are absolute: being late for one does not delay the next, and
//! how late it was stays in the record.

use std::future::Future;

use async_channel::Sender;

use super::phase::{Job, PhaseRun, SharedRun};
use super::slot::unsent;
use crate::protocol::PreparedRequest;
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
/// jobs end, the deadline passes or the run is stopped. Arrivals that were due by then
/// and that no slot could take become records of their own: the longest waits must not
/// go missing from the figures.
pub(super) async fn pace(
    clock: &impl Clock,
    mut arrivals: Arrivals,
    phase: &PhaseRun,
    due: Sender<Job>,
    shared: &SharedRun,
) {
    let start = clock.now();
    // the arrival that waits to be handed over
    let mut waiting: Option<(PreparedRequest, Timestamp)> = None;
    let mut next_index = 0;
    let forwarding = async {
        // above some 330 arrivals per second nothing here ever waits
        while !shared.stop.is_cancelled() {
            let dry = phase.ready.is_empty();
            let Ok(mut job) = phase.ready.recv().await else {
                break;
            };
            let Some(offset) = arrivals.next_offset() else {
                break;
            };
            next_index = job.request.index + 1;
            if phase.duration.is_some_and(|deadline| offset >= deadline) {
                break;
            }
            let scheduled = start.after(offset);
            waiting = Some((without_body(&job.request), scheduled));
            if dry {
                phase.starved(scheduled, clock.now());
            }
            clock.sleep_until(scheduled).await;
            job.scheduled = Some(scheduled);
            if due.send(job).await.is_err() {
                break;
            }
            waiting = None;
        }
    };
    tokio::select! {
        () = forwarding => {}
        () = shared.stop.cancelled() => {}
    }
    let now = clock.now();
    let deadline = phase.duration.map(|duration| start.after(duration));
    let end = deadline.map_or(now, |deadline| deadline.min(now));
    if let Some((request, scheduled)) = waiting
        && scheduled <= end
    {
        shared
            .hand_on(unsent(&request, phase.phase, scheduled, end))
            .await;
    }
    while next_index < phase.requests
        && let Some(offset) = arrivals.next_offset()
        && start.after(offset) <= end
    {
        let request = PreparedRequest {
            index: next_index,
            body: Vec::new(),
            stream: false,
            output_asked: false,
            asked_tokens: None,
        };
        next_index += 1;
        let exchange = unsent(&request, phase.phase, start.after(offset), end);
        if !shared.hand_on(exchange).await {
            break;
        }
    }
}

fn without_body(request: &PreparedRequest) -> PreparedRequest {
    PreparedRequest {
        body: Vec::new(),
        ..*request
    }
}
