//! Owns what a load model is asked, and what it may say.

use std::fmt::Debug;

use evalscope_model::plan::StoppedBy;
use evalscope_model::time::Timestamp;

/// Decides when sessions start.
///
/// The run asks [`next`](Self::next) until the answer is to wait, and asks again when the wait is
/// over. To ask more often than needed changes nothing. Moments that are passed in never decrease.
pub trait LoadModel: Send + Debug {
    /// What to do at a moment. [`Next::Start`] and [`Next::Refuse`] have happened once they are
    /// returned.
    fn next(&mut self, now: Timestamp) -> Next;

    /// A session has ended: after its last turn, whether it succeeded or not.
    fn ended(&mut self, end: SessionEnd);

    /// Whether sessions are due at moments of their own. One that was due and never started is then
    /// a record; in a closed loop nothing is due before there is room for it.
    fn has_schedule(&self) -> bool {
        true
    }

    /// Once nothing more is started: a session that was due by `end` and has not been started, or
    /// `None` when there are no more. Each call returns another one.
    fn unsent(&mut self, end: Timestamp) -> Option<Timestamp>;
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// When the load wanted it to start.
    pub due: Timestamp,
    /// When its place became free. The moment may have passed: bytes are read a little after they
    /// arrive.
    pub at: Timestamp,
    /// It succeeded.
    pub succeeded: bool,
}

/// What a load wants at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start a session, and ask again.
    Start {
        /// When the load wanted it to start.
        due: Timestamp,
        /// When it was due and the load had room for it; not before `due`.
        could_start: Timestamp,
    },
    /// A session was due, but the load has no room for it. Ask again.
    Refuse {
        /// When the load wanted it to start.
        due: Timestamp,
    },
    /// Nothing before this moment, which is in the future.
    At(Timestamp),
    /// Nothing until a session ends.
    OnEnd,
    /// Nothing more.
    Over,
    /// Nothing more, for this reason.
    Stop(StoppedBy),
}
