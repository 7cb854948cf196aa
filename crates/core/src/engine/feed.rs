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
use evalscope_model::events::{NamedModel, RunEvent};
use evalscope_model::mix::ModelId;
use evalscope_model::prompt::Workload;
use evalscope_model::record::Phase;
use evalscope_model::shard::Deal;
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
    Workload(#[from] Box<dyn std::error::Error + Send + Sync>),
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
    /// Where the names of models go.
    pub(super) events: Sender<RunEvent>,
}

impl Drop for Queue {
    /// However making bodies ends: the run does not wait for more of them.
    fn drop(&mut self) {
        self.primed.cancel();
    }
}

/// What a run, or a shard of one, sends: session by session, the warm-up first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sessions {
    /// Those of the warm-up, and which of all are the shard's own.
    pub(super) deal: Deal,
    /// The measured ones, of all shards together.
    pub(super) measured: u64,
}

impl Sessions {
    /// The phases: where each begins among all sessions, and how many of it are the shard's own.
    fn phases(self) -> [(Phase, u64, u64); 2] {
        let Deal { shard, warmup } = self.deal;
        [
            (Phase::Warmup, 0, shard.share(warmup)),
            (Phase::Measured, warmup, shard.share(self.measured)),
        ]
    }
}

/// A request that was made, and what the dataset says of its place.
#[derive(Debug)]
struct Made {
    request: PreparedRequest,
    /// How often the dataset had begun again before its prompt.
    round: u64,
    /// Requests of other shards between the one before it and this one.
    passed: u64,
}

/// Build bodies ahead of their use, phase after phase, until all are built, the
/// run stops, or there are no more.
pub(super) fn feed_jobs(
    mut feed: Feed,
    queue: &Queue,
    sessions: Sessions,
    stop: &CancellationToken,
    clock: &RunClock,
) -> Option<FeedError> {
    let begun = clock.now();
    // the first request is wanted at once, however dear a batch is
    let mut batch = 1;
    let mut place = 0;
    let mut named = 0;
    for (phase, base, own) in sessions.phases() {
        let mut nth = 0;
        let mut next_request = 0;
        if let Err(error) = feed.pass_to(base, &mut place) {
            return Some(error);
        }
        while nth < own && !stop.is_cancelled() {
            let left = usize::try_from(own - nth).unwrap_or(usize::MAX);
            let last = nth + batch.min(left) as u64;
            let indices = (nth..last).map(|nth| sessions.deal.shard.nth(nth));
            let (made, failed) = feed.next_requests(indices, base, &mut place);
            nth += made.len() as u64;
            batch = feed.bodies.batch().clamp(1, 2 * batch);
            queue.name_models(feed.bodies.models(), &mut named);
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
    /// The requests with these positions in their phase, which begins at `base` among all sessions;
    /// fewer, and why, where something fails.
    fn next_requests(
        &mut self,
        indices: impl Iterator<Item = u64>,
        base: u64,
        place: &mut u64,
    ) -> (Vec<Made>, Option<FeedError>) {
        let mut items = Vec::new();
        let mut places = Vec::new();
        let mut failed = None;
        for index in indices {
            let next = self
                .pass_to(base + index, place)
                .and_then(|passed| Ok((passed, self.prompts.next_item()?)));
            match next {
                Ok((passed, item)) => {
                    *place += 1;
                    items.push((index, item));
                    places.push((passed, self.prompts.rounds()));
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if items.is_empty() {
            return (Vec::new(), failed);
        }
        match self.bodies.build(items) {
            Ok(requests) => {
                let made = requests.into_iter().zip(places);
                let made = made.map(|(request, (passed, round))| Made {
                    request,
                    round,
                    passed,
                });
                (made.collect(), failed)
            }
            Err(error) => (Vec::new(), failed.or(Some(error.into()))),
        }
    }

    /// Pass over the items of other shards before this place among all sessions. Returns how many
    /// requests they are.
    fn pass_to(&mut self, wanted: u64, place: &mut u64) -> Result<u64, FeedError> {
        let mut passed = 0;
        while *place < wanted {
            let item = self.prompts.pass_item()?;
            passed += self.bodies.requests_of(&item);
            *place += 1;
        }
        Ok(passed)
    }
}

impl Queue {
    /// Pass on the names of models that are new since the last time. They are there before any request
    /// that asks for one can end.
    fn name_models(&self, models: &[String], named: &mut usize) {
        for (at, name) in models.iter().enumerate().skip(*named) {
            let model = NamedModel {
                id: ModelId(u16::try_from(at).unwrap_or(u16::MAX)),
                name: name.clone(),
            };
            // a sink that is gone ends the run
            let _ = self.events.send_blocking(RunEvent::Model(model));
        }
        *named = models.len();
    }

    /// Put requests where the gate takes them. Says whether any are still taken: the run may be
    /// over early.
    fn hand_over(
        &self,
        phase: Phase,
        requests: Vec<Made>,
        next_request: &mut u64,
        stop: &CancellationToken,
    ) -> bool {
        requests.into_iter().all(|made| {
            let Made {
                mut request,
                round,
                passed,
            } = made;
            let session = request.index;
            // a conversation takes as many numbers as it has turns, whoever sends it
            *next_request += passed;
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
