//! Owns the gate of a run: it composes the load model, the number of sessions and the time limit,
//! and pairs each start with its request.
//!
//! Its lock is taken once when a session starts and once when it ends, never while bytes arrive.
//! It must not know how requests are sent, nor on which thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_channel::Receiver;
use tokio::sync::Notify;

use super::budget::Held;
use crate::load::{LoadModel, Next, SessionEnd};
use crate::protocol::PreparedRequest;
use evalscope_model::plan::StoppedBy;
use evalscope_model::record::Phase;
use evalscope_model::shard::{Shard, UNMADE};
use evalscope_model::time::Timestamp;

/// A request that is ready to be sent.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: PreparedRequest,
    /// Position of its session in its phase.
    pub(super) session: u64,
    pub(super) phase: Phase,
    /// How often the dataset had begun again before its prompt.
    pub(super) round: u64,
    /// Its share of the memory for bodies made ahead.
    pub(super) held: Held,
}

impl Job {
    /// What is left of it when its session does not start.
    pub(super) fn not_sent(self, due: Timestamp, why: UnsentWhy) -> Unsent {
        Unsent {
            request: self.request,
            session: self.session,
            phase: self.phase,
            due,
            why,
        }
    }
}

/// A session that is to start now.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) job: Job,
    /// When the load wanted it to start.
    pub(super) due: Timestamp,
    /// When it was due and the load had room for it.
    pub(super) possible: Timestamp,
    /// When it is too late to send it; `None` if it was due in time.
    pub(super) until: Option<Timestamp>,
}

/// What the gate says at a moment.
#[derive(Debug)]
pub(super) enum Turn {
    /// Start a session, and ask again.
    Start(Box<Start>),
    /// A session was due and there is no room for it. Ask again.
    Refused(Unsent),
    /// There is nothing to start yet.
    Wait(Wait),
    /// Nothing more will start.
    Over,
}

/// What has to happen before the next session can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// This moment.
    Until(Timestamp),
    /// A request has to be ready.
    ForRequest,
    /// A session has to end.
    ForEnd,
}

/// A session that was due and did not start.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) request: PreparedRequest,
    /// Position of its session in its phase.
    pub(super) session: u64,
    pub(super) phase: Phase,
    pub(super) due: Timestamp,
    pub(super) why: UnsentWhy,
}

/// Why a session that was due did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnsentWhy {
    /// The load had no room for it.
    Full,
    /// The run ended before there was room for it.
    NoRoom,
    /// The run ended before it was sent.
    Over,
}

/// How many sessions there are, and how long they may start. Of a shard, its own ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The first ones, which are not measured.
    pub(super) warmup: u64,
    /// The ones after them; [`u64::MAX`] where only the time ends the run.
    pub(super) measured: u64,
    /// Which sessions they are.
    pub(super) shard: Shard,
    /// They may have several requests.
    pub(super) converse: bool,
    /// Measured sessions start within this time.
    pub(super) duration: Option<Duration>,
}

/// A session that is due.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    due: Timestamp,
    /// `None`: it is refused.
    could_start: Option<Timestamp>,
}

/// The last moment within the time: what is due when it is up is not due within it.
fn last_before(deadline: Timestamp) -> Timestamp {
    Timestamp::from_nanos(deadline.as_nanos().saturating_sub(1))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    ready: Receiver<Job>,
    state: Mutex<State>,
    /// Something has changed that the dealing thread waits for.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    model: Box<dyn LoadModel>,
    /// Sessions that have started or were refused.
    taken: u64,
    /// The phase of the last job that was taken, and the position of the request after all of its
    /// turns.
    next_request: Option<(Phase, u64)>,
    /// What the model wants next, while its request is not ready.
    waiting: Option<Wanted>,
    /// A request that the dealing thread has waited for.
    head: Option<Job>,
    /// What the dealing thread waits for.
    dealer_waits: Option<Wait>,
    /// When the measurement began.
    measured_from: Option<Timestamp>,
    /// Until when requests were not ready, the last time.
    dry_until: Timestamp,
    /// How long measured sessions waited for requests, nanoseconds, summed up.
    starved_ns: u64,
    over: bool,
    /// Why the load ended before its time.
    stopped_by: Option<StoppedBy>,
    /// The load had no room for another session when it was last asked.
    is_full: bool,
}

impl State {
    fn take(&mut self, job: &Job) {
        self.taken += 1;
        self.next_request = Some((job.phase, job.request.index + job.request.turns()));
    }
}

impl Gate {
    /// A gate to sessions whose requests come from `ready`.
    pub(super) fn new(model: Box<dyn LoadModel>, limits: Limits, ready: Receiver<Job>) -> Self {
        Self {
            limits,
            ready,
            state: Mutex::new(State {
                model,
                taken: 0,
                next_request: None,
                waiting: None,
                head: None,
                dealer_waits: None,
                measured_from: None,
                dry_until: Timestamp::ZERO,
                starved_ns: 0,
                over: false,
                stopped_by: None,
                is_full: false,
            }),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do now, for the thread that deals out starts. It has to wait for what a
    /// [`Turn::Wait`] says, and for [`Gate::changed`].
    pub(super) fn deal(&self, now: Timestamp) -> Turn {
        let mut state = self.lock();
        let turn = self.next(&mut state, now);
        state.dealer_waits = match turn {
            Turn::Wait(wait) => Some(wait),
            _ => None,
        };
        turn
    }

    /// A session has ended: what its task is to do now.
    pub(super) fn ended(&self, end: SessionEnd, now: Timestamp) -> Turn {
        let mut state = self.lock();
        state.model.ended(end);
        self.ask(&mut state, now)
    }

    /// What the task of a session that was refused, or has ended, is to do now.
    pub(super) fn again(&self, now: Timestamp) -> Turn {
        self.ask(&mut self.lock(), now)
    }

    fn ask(&self, state: &mut State, now: Timestamp) -> Turn {
        // requests are taken in their order: while the dealing thread waits for one, it is the next
        // to take one
        if state.dealer_waits == Some(Wait::ForRequest) {
            return Turn::Wait(Wait::ForRequest);
        }
        let is_late = self.deadline(state).is_some_and(|deadline| now >= deadline);
        let turn = if is_late {
            Self::over(state)
        } else {
            self.next(state, now)
        };
        let is_news = match turn {
            Turn::Wait(wait) => state.dealer_waits != Some(wait),
            Turn::Over => true,
            Turn::Start(_) | Turn::Refused(_) => false,
        };
        if is_news {
            self.changed.notify_one();
        }
        turn
    }

    fn next(&self, state: &mut State, now: Timestamp) -> Turn {
        if self.limits.warmup == 0 {
            state.measured_from.get_or_insert(now);
        }
        let deadline = self.deadline(state);
        let all = self.limits.warmup.saturating_add(self.limits.measured);
        let late = deadline.filter(|deadline| now >= *deadline);
        if state.over || state.taken >= all {
            return Self::over(state);
        }
        let turn = match late {
            None => self.start(state, now, deadline),
            // what was due in time starts, however late the dealing thread wakes
            Some(deadline) if state.model.has_schedule() => {
                self.start(state, last_before(deadline).min(now), Some(deadline))
            }
            Some(_) => return Self::over(state),
        };
        match (late, turn) {
            (Some(_), Turn::Wait(_)) => Self::over(state),
            (_, turn) => turn,
        }
    }

    /// Start what the model wants to start at a moment.
    fn start(&self, state: &mut State, now: Timestamp, deadline: Option<Timestamp>) -> Turn {
        let wanted = match state.waiting.take() {
            Some(wanted) => wanted,
            None => match Self::asked(state, now) {
                Next::Start { due, could_start } => Wanted {
                    due,
                    could_start: Some(could_start),
                },
                Next::Refuse { due } => Wanted {
                    due,
                    could_start: None,
                },
                Next::At(at) => {
                    let first = deadline.map_or(at, |deadline| at.min(deadline));
                    return Turn::Wait(Wait::Until(first));
                }
                Next::OnEnd => {
                    state.is_full = true;
                    return Turn::Wait(Wait::ForEnd);
                }
                Next::Over => return Self::over(state),
                Next::Stop(why) => {
                    state.stopped_by = Some(why);
                    return Self::over(state);
                }
            },
        };
        let job = match state.head.take() {
            Some(job) => job,
            None => match self.ready.try_recv() {
                Ok(job) => job,
                Err(error) => {
                    state.waiting = Some(wanted);
                    if error.is_closed() {
                        return Self::over(state);
                    }
                    return Turn::Wait(Wait::ForRequest);
                }
            },
        };
        state.take(&job);
        if job.phase == Phase::Measured {
            state.measured_from.get_or_insert(now);
        }
        let Some(could_start) = wanted.could_start else {
            return Turn::Refused(job.not_sent(wanted.due, UnsentWhy::Full));
        };
        if job.phase == Phase::Measured {
            let dry_until = state.dry_until.min(now);
            state.starved_ns += dry_until.nanos_since(could_start.min(dry_until));
        }
        Turn::Start(Box::new(Start {
            job,
            due: wanted.due,
            possible: could_start,
            until: self.deadline(state).filter(|_| !state.model.has_schedule()),
        }))
    }

    /// What the model says.
    fn asked(state: &mut State, now: Timestamp) -> Next {
        state.is_full = false;
        state.model.next(now)
    }

    fn over(state: &mut State) -> Turn {
        state.over = true;
        Turn::Over
    }

    fn deadline(&self, state: &State) -> Option<Timestamp> {
        Some(state.measured_from?.after(self.limits.duration?))
    }

    /// Wait for a request to be ready, for the thread that deals out starts. Once there are no
    /// more, the gate is over.
    ///
    /// # Cancel safety
    /// No request is lost when this is dropped.
    pub(super) async fn request_ready(&self, now: impl Fn() -> Timestamp) {
        let Ok(job) = self.ready.recv().await else {
            // asked again, it finds that there are no more
            return;
        };
        let mut state = self.lock();
        state.head = Some(job);
        state.dry_until = now();
    }

    /// Wait until there is something to ask for again, for the thread that deals out starts.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Let no more sessions start: one that was to start found the run over.
    pub(super) fn end_early(&self) {
        Self::over(&mut self.lock());
        self.changed.notify_one();
    }

    /// Let no more sessions start, nor requests be made ready.
    pub(super) fn close(&self) {
        self.lock().over = true;
        self.ready.close();
        self.changed.notify_one();
    }

    /// When the time within which sessions start is over, as far as that is known.
    pub(super) fn deadline_now(&self) -> Option<Timestamp> {
        self.deadline(&self.lock())
    }

    /// Why the load ended before its time; `None` where it did not.
    pub(super) fn stopped_by(&self) -> Option<StoppedBy> {
        self.lock().stopped_by
    }

    /// How long measured sessions waited for requests, summed up.
    pub(super) fn starved(&self) -> Duration {
        Duration::from_nanos(self.lock().starved_ns)
    }

    /// The last moment at which a session could have started: `now`, or when the time was up.
    pub(super) fn end_of_starts(&self, now: Timestamp) -> Timestamp {
        let state = self.lock();
        self.deadline(&state)
            .map_or(now, |deadline| last_before(deadline).min(now))
    }

    /// Whether sessions are due at moments of their own.
    pub(super) fn has_schedule(&self) -> bool {
        self.lock().model.has_schedule()
    }

    /// A session that was due by `end` and did not start; each call returns another one.
    pub(super) fn unsent(&self, end: Timestamp) -> Option<Unsent> {
        let mut state = self.lock();
        let all = self.limits.warmup.saturating_add(self.limits.measured);
        if state.taken >= all {
            return None;
        }
        if !state.model.has_schedule() {
            return None;
        }
        let due = match state.waiting.take() {
            Some(wanted) => wanted.due,
            None => state.model.unsent(end)?,
        };
        let why = if state.is_full {
            UnsentWhy::NoRoom
        } else {
            UnsentWhy::Over
        };
        let job = state.head.take().or_else(|| self.ready.try_recv().ok());
        if let Some(job) = job {
            state.take(&job);
            return Some(job.not_sent(due, why));
        }
        // it was due before its request was made
        let nth = state.taken;
        state.taken += 1;
        let (phase, nth) = match nth.checked_sub(self.limits.warmup) {
            Some(nth) => (Phase::Measured, nth),
            None => (Phase::Warmup, nth),
        };
        let session = self.limits.shard.nth(nth);
        let index = match state.next_request {
            _ if !self.limits.converse => session,
            // how many turns the sessions of others before it have is not known here
            _ if !self.limits.shard.is_whole() => UNMADE.saturating_add(session),
            Some((of, next)) if of == phase => next,
            _ => 0,
        };
        state.next_request = Some((phase, index + 1));
        let request = PreparedRequest {
            index,
            ..PreparedRequest::default()
        };
        Some(Unsent {
            request,
            session,
            phase,
            due,
            why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants three sessions at once and has room for the second only.
    #[derive(Debug, Default)]
    struct OneOfThree(u64);

    impl LoadModel for OneOfThree {
        fn next(&mut self, now: Timestamp) -> Next {
            self.0 += 1;
            match self.0 {
                2 => Next::Start {
                    due: now,
                    could_start: now,
                },
                1 | 3 => Next::Refuse { due: now },
                _ => Next::Over,
            }
        }

        fn ended(&mut self, _: SessionEnd) {}

        fn unsent(&mut self, _: Timestamp) -> Option<Timestamp> {
            None
        }
    }

    /// Wants a session every 100 ms.
    #[derive(Debug, Default)]
    struct Even(u64);

    impl LoadModel for Even {
        fn next(&mut self, now: Timestamp) -> Next {
            let due = Timestamp::from_nanos(self.0 * 100_000_000);
            if due > now {
                return Next::At(due);
            }
            self.0 += 1;
            Next::Start {
                due,
                could_start: due,
            }
        }

        fn ended(&mut self, _: SessionEnd) {}

        fn unsent(&mut self, _: Timestamp) -> Option<Timestamp> {
            None
        }
    }

    fn job(index: u64) -> Job {
        Job {
            request: PreparedRequest {
                index,
                ..PreparedRequest::default()
            },
            session: index,
            phase: Phase::Measured,
            round: 0,
            held: Held::default(),
        }
    }

    /// What was due within the time starts even if the thread wakes after it; nothing that is due later
    /// does.
    #[test]
    fn the_end_of_the_time_takes_nothing_that_was_due() {
        let (ready, requests) = async_channel::bounded(20);
        for index in 0..20 {
            ready.try_send(job(index)).unwrap();
        }
        let limits = Limits {
            warmup: 0,
            measured: 20,
            shard: Shard::WHOLE,
            converse: false,
            duration: Some(Duration::from_secs(1)),
        };
        let gate = Gate::new(Box::new(Even::default()), limits, requests);
        let mut dues = Vec::new();
        for now_ms in [0, 750, 1250] {
            let now = Timestamp::from_nanos(now_ms * 1_000_000);
            loop {
                match gate.deal(now) {
                    Turn::Start(start) => {
                        assert!(start.until.is_none());
                        dues.push(start.due.as_nanos() / 1_000_000);
                    }
                    Turn::Wait(Wait::Until(_)) if now_ms < 1000 => break,
                    Turn::Over if now_ms > 1000 => break,
                    other => panic!("{other:?} at {now_ms} ms"),
                }
            }
        }
        assert_eq!(dues, (0..10).map(|k| k * 100).collect::<Vec<u64>>());
    }

    /// A session that is refused takes its request along, so that the next one gets its own; while
    /// none is ready nothing is decided twice.
    #[test]
    fn requests_go_to_their_sessions_in_order() {
        let (ready, requests) = async_channel::bounded(3);
        let limits = Limits {
            warmup: 0,
            measured: 9,
            shard: Shard::WHOLE,
            converse: false,
            duration: None,
        };
        let gate = Gate::new(Box::new(OneOfThree::default()), limits, requests);
        let now = Timestamp::from_nanos(5);
        assert!(matches!(gate.deal(now), Turn::Wait(Wait::ForRequest)));
        // the thread that deals out starts is first to take a request
        let end = SessionEnd {
            due: now,
            at: now,
            succeeded: true,
        };
        assert!(matches!(gate.ended(end, now), Turn::Wait(Wait::ForRequest)));
        for index in 0..3 {
            let job = job(index);
            ready.try_send(job).unwrap();
        }
        let turns = [gate.deal(now), gate.deal(now), gate.deal(now)];
        let indices = turns.map(|turn| match turn {
            Turn::Refused(left) => (false, left.request.index),
            Turn::Start(start) => (true, start.job.request.index),
            other => panic!("{other:?}"),
        });
        assert_eq!(indices, [(false, 0), (true, 1), (false, 2)]);
        assert!(matches!(gate.deal(now), Turn::Over));
    }
}
