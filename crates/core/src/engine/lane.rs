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
use super::feed::panic_text;
use super::gate::Start;
use super::http::Transport;
use super::no_response::panicked;
use super::session::{User, start_of};
use super::shared::SharedRun;
use crate::load::SessionEnd;
use evalscope_model::conversation::EndedBy;
use evalscope_model::events::RunEvent;
use evalscope_model::record::ConversationRecord;
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
        let requester = warm.unwrap_or_else(|| Box::new(transport.requester(thread)));
        let user = Box::new(User::new(requester, clock.clone(), shared, &current));
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
        if let Some(place) = dispatch.turn {
            let record = ConversationRecord {
                index: place.conversation,
                phase: dispatch.phase,
                session: None,
                turns_planned: place.turn + 1,
                turns_sent: place.turn + 1,
                ended_by: EndedBy::Failed,
                scheduled: dispatch.scheduled,
                ended: now,
                empty_replies: 0,
                tools_unmatched: 0,
            };
            shared.send(RunEvent::Conversation(Box::new(record))).await;
        }
    }
    let end = SessionEnd {
        due,
        at: now,
        succeeded: false,
    };
    let turn = shared.gate.ended(end, now);
    start_of(turn, clock, shared).await
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
