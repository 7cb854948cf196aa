//! Owns making bodies ahead of their use: a thread that takes prompts, has bodies made of them,
//! and puts them where the gate takes them.
//!
//! It must not know when a request is due, nor who sends it.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Sender;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::gate::Job;
use crate::protocol::{BodyError, BuildBodies, PreparedRequest};
use evalscope_model::prompt::Workload;
use evalscope_model::record::Phase;
use evalscope_model::time::RunClock;

/// How long a run waits at most for bodies to be ready before its first session: a dataset that
/// takes longer over so many will not keep them ready either.
const PRIMING_PATIENCE: Duration = Duration::from_secs(3);

/// Where bodies come from.
#[derive(Debug)]
pub struct Feed {
    /// The prompts.
    pub prompts: Box<dyn Workload>,
    /// What makes bodies of them.
    pub bodies: Box<dyn BuildBodies>,
}

/// Why there are no more requests to send.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The prompts ended early.
    #[error(transparent)]
    Workload(Box<dyn std::error::Error + Send + Sync>),
    /// A body could not be made.
    #[error(transparent)]
    Bodies(#[from] BodyError),
}

/// Where bodies go.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) ready: Sender<Job>,
    /// Cancelled when enough of them are there.
    pub(super) primed: CancellationToken,
    /// What they may take together.
    pub(super) budget: Arc<Budget>,
}

impl Drop for Queue {
    /// However making bodies ends: the run does not wait for more of them.
    fn drop(&mut self) {
        self.primed.cancel();
    }
}

/// Build bodies ahead of their use, phase after phase, until all are built, the
/// run stops, or there are no more.
pub(super) fn feed_jobs(
    mut feed: Feed,
    queue: &Queue,
    phases: [(Phase, u64); 2],
    stop: &CancellationToken,
    clock: &RunClock,
) -> Option<FeedError> {
    let begun = clock.now();
    // the first request is wanted at once, however dear a batch is
    let mut batch = 1;
    for (phase, requests) in phases {
        let mut index = 0;
        let mut next_request = 0;
        while index < requests && !stop.is_cancelled() {
            let left = usize::try_from(requests - index).unwrap_or(usize::MAX);
            let (made, failed) = feed.next_requests(index, batch.min(left));
            index += made.len() as u64;
            batch = feed.bodies.batch().clamp(1, 2 * batch);
            let is_taken = queue.hand_over(phase, made, &mut next_request, stop);
            if failed.is_some() || !is_taken {
                // after a stop it does not matter why there are no more
                return failed.filter(|_| !stop.is_cancelled());
            }
            if clock.now().since(begun) >= PRIMING_PATIENCE {
                queue.primed.cancel();
            }
        }
    }
    None
}

impl Feed {
    /// The next `n` requests, each with the round of the dataset that its prompt
    /// is of; fewer, and why, where something fails.
    fn next_requests(
        &mut self,
        first: u64,
        n: usize,
    ) -> (Vec<(PreparedRequest, u64)>, Option<FeedError>) {
        let mut items = Vec::with_capacity(n);
        let mut rounds = Vec::with_capacity(n);
        let mut failed = None;
        while items.len() < n && failed.is_none() {
            match self.prompts.next_item() {
                Ok(item) => {
                    items.push(item);
                    rounds.push(self.prompts.rounds());
                }
                Err(error) => failed = Some(FeedError::Workload(error)),
            }
        }
        if items.is_empty() {
            return (Vec::new(), failed);
        }
        match self.bodies.build(first, items) {
            Ok(requests) => (requests.into_iter().zip(rounds).collect(), failed),
            Err(error) => (Vec::new(), failed.or(Some(error.into()))),
        }
    }
}

impl Queue {
    /// Put requests where the gate takes them. Says whether any are still taken: the run may be
    /// over early.
    fn hand_over(
        &self,
        phase: Phase,
        requests: Vec<(PreparedRequest, u64)>,
        next_request: &mut u64,
        stop: &CancellationToken,
    ) -> bool {
        requests.into_iter().all(|(mut request, round)| {
            let session = request.index;
            // a conversation takes as many numbers as it has turns
            request.index = *next_request;
            *next_request += request.turns();
            let held = self.budget.take(request.bytes(), || {
                // that is all that will be ready ahead
                self.primed.cancel();
                !stop.is_cancelled() && !self.ready.is_closed()
            });
            let Some(held) = held else {
                return false;
            };
            if self.ready.is_full() {
                self.primed.cancel();
            }
            let job = Job {
                request,
                session,
                phase,
                round,
                held,
            };
            self.ready.send_blocking(job).is_ok()
        })
    }
}

/// What a panic said.
pub(super) fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".to_owned())
}
