//! Owns a session from its first request to its last: what a user does on one connection, and the
//! sessions that follow there.
//!
//! It must not know which load it serves, nor when sessions are due.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::clock::Clock;
use super::dispatch::Dispatch;
use super::end::RunEnd;
use super::gate::{Start, Turn};
use super::health::{Backoff, reached_none};
use super::http::Requester;
use super::shared::SharedRun;
use crate::load::SessionEnd;
use crate::protocol::{PreparedRequest, is_context_limit};
use evalscope_model::conversation::{EndedBy, KeepConnection, TurnPlace};
use evalscope_model::events::RunEvent;
use evalscope_model::record::{ConversationRecord, Ending, FailureKind, Phase};
use evalscope_model::time::Timestamp;

/// The session that a turn starts. One that is refused is a record.
pub(super) async fn start_of<C: Clock>(
    mut turn: Turn,
    clock: &C,
    shared: &SharedRun,
) -> Option<Box<Start>> {
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
pub(super) struct User<R, C> {
    requester: Box<R>,
    clock: C,
    shared: Arc<SharedRun>,
    /// The request under way, for whoever finds that this task panicked.
    current: Rc<Cell<Option<Dispatch>>>,
    backoff: Backoff,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
struct RequestEnd {
    /// When its place became free.
    at: Timestamp,
    succeeded: bool,
    is_context_limit: bool,
    /// Tokens of its prompt and its output, where the server says so.
    context_tokens: Option<u64>,
    /// The run goes on: the sink still takes records, and the wait for a server was not cut short.
    goes_on: bool,
}

/// What comes after a turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The next turn.
    Turn,
    /// The end.
    End(EndedBy),
}

impl<R: Requester, C: Clock> User<R, C> {
    pub(super) fn new(
        requester: Box<R>,
        clock: C,
        shared: &Arc<SharedRun>,
        current: &Rc<Cell<Option<Dispatch>>>,
    ) -> Self {
        Self {
            requester,
            clock,
            shared: Arc::clone(shared),
            current: Rc::clone(current),
            backoff: Backoff::default(),
        }
    }

    /// Serve a session, and those that its end and their ends make room for. Gives the connection
    /// back.
    pub(super) async fn live(mut self: Box<Self>, first: Box<Start>) -> Box<R> {
        let mut next = Some(first);
        while let Some(start) = next {
            let Some(end) = self.session(start).await else {
                break;
            };
            if self.shared.connections != KeepConnection::Keep {
                self.requester.hang_up();
            }
            let turn = self.shared.gate.ended(end, self.clock.now());
            next = start_of(turn, &self.clock, &self.shared).await;
        }
        self.requester
    }

    /// Serve a session. `None`: the run is over. Otherwise how it ended.
    async fn session(&mut self, mut start: Box<Start>) -> Option<SessionEnd> {
        let now = self.clock.now();
        if self.shared.stop.is_cancelled() || start.until.is_some_and(|until| now >= until) {
            self.shared.came_too_late(*start, now).await;
            return None;
        }
        // what it holds of the memory for bodies made ahead is free again
        drop(std::mem::take(&mut start.job.held));
        let (due, session) = (start.due, start.job.session);
        let shared = Arc::clone(&self.shared);
        let at = shared.urls.start(session);
        let request = &mut start.job.request;
        let round = start.job.round;
        self.shared.rounds.fetch_max(round, Ordering::Relaxed);
        self.shared.sessions.fetch_add(1, Ordering::Relaxed);
        if round > 0 {
            self.shared.repeated.fetch_add(1, Ordering::Relaxed);
        }
        let mut dispatch = Dispatch {
            index: request.index,
            phase: start.job.phase,
            scheduled: due,
            slot_free: start.possible,
            dispatched: self.clock.now(),
            stream: request.stream,
            output_asked: request.output_asked,
            asked_tokens: request.asked_tokens,
            asked_output_tokens: request.asked_output_tokens,
            turn: request.conversing.as_ref().map(|_| TurnPlace {
                conversation: session,
                turn: 0,
                delay: Duration::ZERO,
                asked_increment: request.asked_tokens,
            }),
            trace: request.trace,
            model: request.model,
            url: Some(at.url),
        };
        loop {
            let mut end = self.request(request, dispatch).await;
            if let Some(place) = dispatch.turn {
                // boxed: single requests have no use for its room
                let next = Box::pin(self.next_turn(request, dispatch, place, end));
                match next.await {
                    Ok(next) => {
                        dispatch = next;
                        continue;
                    }
                    Err(ended_by) => {
                        let record = conversation_of(request, dispatch, place, due, end, ended_by);
                        end.goes_on &= self.shared.send(record).await;
                    }
                }
            }
            return end.goes_on.then_some(SessionEnd {
                due,
                at: end.at,
                succeeded: end.succeeded,
            });
        }
    }

    /// Send a request and hand its record on.
    async fn request(&mut self, request: &mut PreparedRequest, dispatch: Dispatch) -> RequestEnd {
        let shared = &self.shared;
        self.current.set(Some(dispatch));
        shared
            .progress
            .started(dispatch.phase, dispatch.scheduled, dispatch.dispatched);
        let sending = self.requester.send(request, dispatch, shared.given_up());
        let mut exchange = Box::new(sending.await);
        self.current.set(None);
        let record = &mut exchange.record;
        let mut is_context_limit_of_server = false;
        if dispatch.turn.is_some()
            && let Some(failure) = &mut record.failure
            && matches!(failure.kind, FailureKind::Status(400 | 413))
            && is_context_limit(&failure.message)
        {
            failure.kind = FailureKind::ContextLimit;
            is_context_limit_of_server = true;
        }
        let record = &exchange.record;
        let tokens = (record.prompt_tokens().0, record.output_tokens().0);
        let mut end = RequestEnd {
            at: match record.ending {
                // its place was held on purpose, for a server that did not say that it was done
                Ending::Grace => self.clock.now(),
                Ending::Marked => record.times.ended,
            },
            succeeded: record.succeeded(),
            is_context_limit: is_context_limit_of_server,
            context_tokens: tokens
                .0
                .zip(tokens.1)
                .map(|(prompt, output)| prompt + output),
            goes_on: true,
        };
        shared.progress.ended(record);
        if let Some(why) = shared.health.note(record) {
            shared.end(RunEnd::GaveUp(why));
        }
        let is_away = reached_none(record);
        if !shared.hand_on(exchange).await {
            end.goes_on = false;
            return end;
        }
        if is_away {
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => end.goes_on = false,
                () = tokio::time::sleep(self.backoff.next()) => {}
            }
            // its place was not free meanwhile, on purpose
            end.at = self.clock.now();
        } else {
            self.backoff.reset();
        }
        end
    }

    /// The next turn of a conversation, once it is due; or why the conversation has ended.
    async fn next_turn(
        &mut self,
        request: &mut PreparedRequest,
        before: Dispatch,
        place: TurnPlace,
        end: RequestEnd,
    ) -> Result<Dispatch, EndedBy> {
        if let After::End(why) = self.after(request, end) {
            return Err(why);
        }
        let next = request.next_turn().ok_or(EndedBy::Completed)?;
        let due = end.at.after(next.delay);
        if let Some(why) = self.wait(due, before.phase).await {
            return Err(why);
        }
        if self.shared.connections == KeepConnection::Request {
            self.requester.hang_up();
        }
        Ok(Dispatch {
            index: request.index,
            scheduled: due,
            slot_free: due,
            dispatched: self.clock.now(),
            asked_tokens: None,
            asked_output_tokens: request.asked_output_tokens,
            turn: Some(TurnPlace {
                turn: place.turn + 1,
                delay: next.delay,
                asked_increment: next.asked_increment,
                ..place
            }),
            ..before
        })
    }

    /// What comes after a turn.
    fn after(&self, request: &PreparedRequest, end: RequestEnd) -> After {
        let Some(own) = &request.conversing else {
            return After::End(EndedBy::Completed);
        };
        if end.is_context_limit {
            return After::End(EndedBy::ContextLimit);
        }
        if !end.goes_on && end.succeeded {
            return After::End(EndedBy::Cancelled);
        }
        if !end.succeeded {
            let was_stopped = self.shared.abort.is_cancelled();
            return After::End(if was_stopped {
                EndedBy::Cancelled
            } else {
                EndedBy::Failed
            });
        }
        let Some(next) = own.turns.front() else {
            return After::End(if own.is_cut {
                EndedBy::MaxTurns
            } else {
                EndedBy::Completed
            });
        };
        let most = self.shared.conversations.max_context_tokens;
        let needed = next.context_tokens(end.context_tokens, &request.body);
        if most.is_some_and(|most| needed > most) {
            return After::End(EndedBy::ContextLimit);
        }
        After::Turn
    }

    /// Wait until the next turn is due. Why the conversation ends instead.
    async fn wait(&self, due: Timestamp, phase: Phase) -> Option<EndedBy> {
        let shared = &self.shared;
        let finishes = shared.conversations.finish && phase == Phase::Measured;
        loop {
            let now = self.clock.now();
            if shared.stop.is_cancelled() || shared.abort.is_cancelled() {
                return Some(EndedBy::Cancelled);
            }
            let until = shared.gate.deadline_now().filter(|_| !finishes);
            if until.is_some_and(|until| now >= until) {
                return Some(EndedBy::Duration);
            }
            if now >= due {
                return None;
            }
            let wake = until.map_or(due, |until| due.min(until));
            tokio::select! {
                biased;
                () = shared.stop.cancelled() => {}
                () = shared.abort.cancelled() => {}
                () = tokio::time::sleep(wake.since(now)) => {}
            }
        }
    }
}

/// The record of a conversation that has ended with a turn.
fn conversation_of(
    request: &mut PreparedRequest,
    last: Dispatch,
    place: TurnPlace,
    due: Timestamp,
    end: RequestEnd,
    ended_by: EndedBy,
) -> RunEvent {
    let own = request.conversing.take().unwrap_or_default();
    RunEvent::Conversation(Box::new(ConversationRecord {
        index: place.conversation,
        phase: last.phase,
        session: own.session,
        turns_planned: own.turns_planned,
        turns_sent: place.turn + 1,
        ended_by,
        scheduled: due,
        ended: end.at,
        empty_replies: own.empty_replies,
        tools_unmatched: own.tools_unmatched,
    }))
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

    /// Thousands of sessions wait for responses at a time.
    #[test]
    fn a_session_under_way_takes_little_memory() {
        let life = size_of_life(User::live);
        assert!(life <= 5120, "{life} bytes");
    }
}
