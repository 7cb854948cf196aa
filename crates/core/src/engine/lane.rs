//! Owns a lane: what one receiving thread does. Sessions are tasks; connections that are idle wait
//! on a stack, so that few are used and all of them are warm.
//!
//! It must not know which load it serves, nor when sessions are due.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::clock::Clock;
use super::dispatch::Dispatch;
use super::end::RunEnd;
use super::feed::panic_text;
use super::gate::{Job, Start, Turn};
use super::health::{Backoff, reached_none};
use super::http::{Requester, Transport};
use super::no_response::panicked;
use super::shared::SharedRun;
use crate::load::SessionEnd;
use evalscope_model::record::Ending;
use evalscope_model::time::Timestamp;

/// The requests under way on one thread, by their task.
#[derive(Debug, Default)]
pub(super) struct UnderWay(RefCell<HashMap<Id, Rc<Cell<Option<Dispatch>>>>>);

impl UnderWay {
    /// All of them: the thread has panicked.
    pub(super) fn take_all(&self) -> Vec<Dispatch> {
        self.0
            .borrow_mut()
            .drain()
            .filter_map(|(_, current)| current.take())
            .collect()
    }
}

/// How long a connection stays open without a request.
const IDLE: Duration = Duration::from_mins(1);

/// Connections without a request, the one that was used last on top.
#[derive(Debug)]
struct Idle<R>(VecDeque<(Box<R>, Timestamp)>);

impl<R> Default for Idle<R> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<R> Idle<R> {
    /// The one that was used last.
    fn take(&mut self, now: Timestamp) -> Option<Box<R>> {
        self.close_old(now);
        self.0.pop_back().map(|(requester, _)| requester)
    }

    fn put(&mut self, requester: Box<R>, now: Timestamp) {
        self.close_old(now);
        self.0.push_back((requester, now));
    }

    fn close_old(&mut self, now: Timestamp) {
        while self
            .0
            .front()
            .is_some_and(|(_, since)| now.since(*since) > IDLE)
        {
            self.0.pop_front();
        }
    }
}

/// Serve the sessions that are dealt to a lane until no more come and the last one has ended.
pub(super) async fn serve<T: Transport, C: Clock + 'static>(
    n: usize,
    transport: &T,
    thread: &T::Thread,
    clock: &C,
    shared: &Arc<SharedRun>,
    under_way: &UnderWay,
) {
    let idle: Rc<RefCell<Idle<T::Requester>>> = Rc::default();
    let mut tasks = JoinSet::new();
    let start_task = |tasks: &mut JoinSet<()>, start: Box<Start>| {
        let current = Rc::new(Cell::new(None));
        let warm = idle.borrow_mut().take(clock.now());
        let user = Box::new(User {
            requester: warm.unwrap_or_else(|| Box::new(transport.requester(thread))),
            clock: clock.clone(),
            shared: Arc::clone(shared),
            current: Rc::clone(&current),
            backoff: Backoff::default(),
        });
        let (idle, now) = (Rc::clone(&idle), clock.clone());
        let task = async move {
            let requester = user.live(start).await;
            idle.borrow_mut().put(requester, now.now());
        };
        let id = tasks.spawn_local(task).id();
        under_way.0.borrow_mut().insert(id, current);
    };
    let lane = &shared.lanes[n];
    loop {
        tokio::select! {
            start = lane.dealt.recv() => match start {
                Ok(start) => start_task(&mut tasks, start),
                Err(_) => break,
            },
            Some(joined) = tasks.join_next_with_id() => {
                if let Some(start) = ended(joined, clock, shared, under_way).await {
                    start_task(&mut tasks, start);
                    continue;
                }
                lane.sessions.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
    while let Some(joined) = tasks.join_next_with_id().await {
        if let Some(start) = ended(joined, clock, shared, under_way).await {
            start_task(&mut tasks, start);
        }
    }
}

/// A task has ended. One that panicked costs its request, which is a record all the same. Its place is
/// free in any case, and the session that follows may have to start here.
async fn ended<C: Clock>(
    joined: Result<(Id, ()), JoinError>,
    clock: &C,
    shared: &SharedRun,
    under_way: &UnderWay,
) -> Option<Box<Start>> {
    let id = joined.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
    let current = under_way.0.borrow_mut().remove(&id)?;
    let fault = joined.err()?;
    let now = clock.now();
    let mut due = now;
    if let Some(dispatch) = current.take() {
        due = dispatch.scheduled;
        let message = fault
            .try_into_panic()
            .map_or_else(|_| String::new(), |payload| panic_text(payload.as_ref()));
        let exchange = Box::new(panicked(dispatch, now, &message));
        shared.progress.ended(&exchange.record);
        shared.hand_on(exchange).await;
    }
    let end = SessionEnd {
        due,
        at: now,
        succeeded: false,
    };
    let turn = shared.gate.ended(end, now);
    start_of(turn, clock, shared).await
}

/// The session that a turn starts. One that is refused is a record.
async fn start_of<C: Clock>(mut turn: Turn, clock: &C, shared: &SharedRun) -> Option<Box<Start>> {
    loop {
        match turn {
            Turn::Start(start) => return Some(start),
            Turn::Refused(left) => {
                if !shared.hand_on_unsent(&left, clock.now()).await {
                    return None;
                }
                turn = shared.gate.again(clock.now());
            }
            Turn::Wait(_) | Turn::Over => return None,
        }
    }
}

/// One session after the other on one connection. Boxed, and so are exchanges: what moves between
/// the steps of a task would lie in it several times.
struct User<R, C> {
    requester: Box<R>,
    clock: C,
    shared: Arc<SharedRun>,
    /// The request under way, for whoever finds that this task panicked.
    current: Rc<Cell<Option<Dispatch>>>,
    backoff: Backoff,
}

impl<R: Requester, C: Clock> User<R, C> {
    /// Serve a session, and those that its end and their ends make room for. Gives the connection
    /// back.
    async fn live(mut self: Box<Self>, first: Box<Start>) -> Box<R> {
        let mut next = Some(first);
        while let Some(start) = next {
            let Some(end) = self.session(*start).await else {
                break;
            };
            let turn = self.shared.gate.ended(end, self.clock.now());
            next = start_of(turn, &self.clock, &self.shared).await;
        }
        self.requester
    }

    /// Serve a session. `None`: the run is over. Otherwise how it ended.
    async fn session(&mut self, start: Start) -> Option<SessionEnd> {
        let shared = &self.shared;
        let now = self.clock.now();
        if shared.stop.is_cancelled() || start.until.is_some_and(|until| now >= until) {
            shared.came_too_late(start, now).await;
            return None;
        }
        let Start {
            job, due, possible, ..
        } = start;
        let Job {
            request,
            phase,
            round,
            held,
        } = job;
        drop(held);
        let dispatched = self.clock.now();
        let dispatch = Dispatch {
            index: request.index,
            phase,
            scheduled: due,
            slot_free: possible,
            dispatched,
            stream: request.stream,
            output_asked: request.output_asked,
            asked_tokens: request.asked_tokens,
        };
        shared.rounds.fetch_max(round, Ordering::Relaxed);
        self.current.set(Some(dispatch));
        shared.progress.started(phase, due, dispatched);
        let sending = self.requester.send(request, dispatch, shared.given_up());
        let exchange = Box::new(sending.await);
        self.current.set(None);
        let record = &exchange.record;
        let mut end = SessionEnd {
            due,
            at: match record.ending {
                // its place was held on purpose, for a server that did not say that it was done
                Ending::Grace => self.clock.now(),
                Ending::Marked => record.times.ended,
            },
            succeeded: record.succeeded(),
        };
        shared.progress.ended(record);
        if let Some(why) = shared.health.note(record) {
            shared.end(RunEnd::GaveUp(why));
        }
        let is_away = reached_none(record);
        if !shared.hand_on(exchange).await {
            return None;
        }
        if is_away {
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => return None,
                () = tokio::time::sleep(self.backoff.next()) => {}
            }
            // its place was not free meanwhile, on purpose
            end.at = self.clock.now();
        } else {
            self.backoff.reset();
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::SystemClock;
    use crate::engine::http::HttpRequester;

    fn size_of_life<F: Future>(
        _: impl FnOnce(Box<User<HttpRequester, SystemClock>>, Box<Start>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// After a burst most connections have nothing to do: they close, the warm ones last.
    #[test]
    fn connections_without_requests_close() {
        let at = |s: u64| Timestamp::from_nanos(s * 1_000_000_000);
        let mut idle = Idle::default();
        for n in 0..3 {
            idle.put(Box::new(n), at(n));
        }
        assert_eq!(idle.take(at(61)).as_deref(), Some(&2));
        assert_eq!(idle.take(at(61)).as_deref(), Some(&1));
        assert_eq!(idle.take(at(61)), None);
    }

    /// Thousands of sessions wait for responses at a time.
    #[test]
    fn a_session_under_way_takes_little_memory() {
        let life = size_of_life(User::live);
        assert!(life <= 4608, "{life} bytes");
    }
}
