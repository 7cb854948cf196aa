//! Owns the ways in which a run can end.

use super::feed::FeedError;
use super::health::GaveUp;
use evalscope_model::plan::StoppedBy;

/// Why a run sent nothing more.
#[derive(Debug)]
pub enum RunEnd {
    /// Everything was sent, or the time was up.
    Complete,
    /// The load came to its end before its number, its time and its profile.
    Load(StoppedBy),
    /// It was stopped from outside.
    Stopped,
    /// There were no more requests.
    Feed(FeedError),
    /// The server was not there, or refused everything.
    GaveUp(GaveUp),
    /// The sink took no more records; why is known there.
    SinkGone,
    /// Something of this program failed.
    Fault(Fault),
}

/// What of this program failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refused something that a run cannot do without.
    #[error("cannot start {what}")]
    Start {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A thread panicked.
    #[error("{what} panicked: {message}; please report it")]
    Panic {
        /// Which.
        what: &'static str,
        /// What it said.
        message: String,
    },
}
