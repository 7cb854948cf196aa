//! Owns what a run tells the outside, and the roles of those that listen.
//!
//! It must not know who listens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metrics::ClientSnapshot;
use crate::mix::ModelId;
use crate::record::{ConversationRecord, Exchange};
use crate::time::Timestamp;

/// What a run tells, in order.
#[derive(Debug)]
pub enum RunEvent {
    /// A request has ended.
    Exchange(Box<Exchange>),
    /// A conversation has ended, after the exchange of its last turn.
    Conversation(Box<ConversationRecord>),
    /// How the run stands, twice a second and at its end.
    Snapshot(Box<Snapshot>),
    /// A reader of the figures must know this.
    Warning(Warning),
    /// The load begins at its common start, or has begun.
    Began(Began),
    /// A model that requests ask for, before the first exchange with one that does.
    Model(NamedModel),
}

/// The name of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// Its number in records.
    pub id: ModelId,
    /// As bodies name it.
    pub name: String,
}

/// The moment that the load of a process counts from, on both of its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// Since the start of the run's clock, nanoseconds.
    #[serde(rename = "at_ns")]
    pub at: Timestamp,
    /// In Unix time, nanoseconds.
    pub unix_ns: u64,
}

/// How a run stands.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The client's own figures so far.
    pub client: ClientSnapshot,
    /// The load so far.
    pub load: LoadSnapshot,
}

/// How far the load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadSnapshot {
    /// When the first warm-up request was sent.
    pub warmup_begun: Option<Timestamp>,
    /// When the first measured request was sent. Warm-up requests may still be in flight then.
    pub measured_begun: Option<Timestamp>,
    /// Requests in flight, those of the warm-up included.
    pub in_flight: u64,
    /// How late requests were sent since the last snapshot, at most, for whatever reason.
    pub lag: Duration,
}

/// A warning about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which warning it is, in the listener's terms.
    pub id: &'static str,
    /// The warning in words.
    pub text: String,
}

/// Changes exchanges before they are stored: counts tokens, masks secrets.
pub trait Stage: Send {
    /// What it is, for a message about its panic.
    fn name(&self) -> &'static str;

    /// Change some exchanges, which came one after the other. Returns what a reader of the figures
    /// must know.
    fn apply(&mut self, exchanges: &mut [&mut Exchange]) -> Vec<Warning>;
}

/// Looks at events on their way to the store and changes nothing. It holds the run back for as long
/// as it takes: one that may take long, or wait, passes on what it can to a thread of its own and
/// drops the rest.
pub trait Observer: Send {
    /// What it is, for a message about its panic.
    fn name(&self) -> &'static str;

    /// An event, as it will be stored.
    fn on(&mut self, event: &RunEvent);
}
