//! Owns making bodies ahead of their use: a thread that takes prompts, has bodies made of them,
//! and puts them where slots or the pacer take them.
//!
//! It must not know slots, nor when a request is due.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Sender;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::phase::Job;
use crate::dataset::{DatasetError, PromptStream};
use crate::protocol::{BodyError, BuildBodies, PreparedRequest};
use crate::time::RunClock;

/// How long a phase waits at most for bodies to be ready ahead of it: a data set that
/// takes longer over so many will not keep them ready either.
const GATE_PATIENCE: Duration = Duration::from_secs(3);

/// Where bodies come from.
#[derive(Debug)]
pub struct Feed {
    /// The prompts.
    pub prompts: PromptStream,
    /// What makes bodies of them.
    pub bodies: Box<dyn BuildBodies>,
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

/// A phase as the feed sees it.
#[derive(Debug)]
pub(super) struct Feeding {
    /// Bodies to make.
    pub(super) requests: u64,
    /// Where they go.
    pub(super) ready: Sender<Job>,
    /// What opens when enough of them are there.
    pub(super) gate: CancellationToken,
}

impl Drop for Feeding {
    /// However making bodies ends: nobody waits for more of them.
    fn drop(&mut self) {
        self.gate.cancel();
    }
}

/// Build bodies ahead of their use, phase after phase, until all are built, the
/// run stops, or there are no more.
pub(super) fn feed_jobs(
    mut feed: Feed,
    phases: Vec<Feeding>,
    budget: &Arc<Budget>,
    stop: &CancellationToken,
    clock: &RunClock,
) -> Option<FeedError> {
    let mut error = None;
    // the first request is wanted at once, however dear a batch is
    let mut batch = 1;
    for phase in phases {
        let begun = clock.now();
        let mut index = 0;
        while index < phase.requests && !stop.is_cancelled() && error.is_none() {
            let left = usize::try_from(phase.requests - index).unwrap_or(usize::MAX);
            let (requests, failed) = feed.next_requests(index, batch.min(left));
            // who is asked to stop need not say why there is no more
            error = failed.filter(|_| !stop.is_cancelled());
            index += requests.len() as u64;
            batch = feed.bodies.batch().clamp(1, 2 * batch);
            if !phase.hand_over(requests, budget, stop) {
                break;
            }
            if clock.now().since(begun) >= GATE_PATIENCE {
                phase.gate.cancel();
            }
        }
    }
    error
}

impl Feed {
    /// The next `n` requests, each with the round of the data set that its prompt
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
                Err(error) => failed = Some(error.into()),
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

impl Feeding {
    /// Put requests where slots or the pacer take them. Says whether any are taken
    /// still: a phase may be over early.
    fn hand_over(
        &self,
        requests: Vec<(PreparedRequest, u64)>,
        budget: &Arc<Budget>,
        stop: &CancellationToken,
    ) -> bool {
        requests.into_iter().all(|(request, round)| {
            let held = budget.take(request.body.len() as u64, || {
                // that is all that will be ready ahead
                self.gate.cancel();
                !stop.is_cancelled() && !self.ready.is_closed()
            });
            let Some(held) = held else {
                return false;
            };
            if self.ready.is_full() {
                self.gate.cancel();
            }
            let job = Job {
                request,
                scheduled: None,
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
