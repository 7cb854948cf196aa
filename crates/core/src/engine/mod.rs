//! Owns the run loop: it composes a schedule, a stop condition and a transport,
//! and tells a sink what happened. There is one loop, for every kind of load.
//!
//! ```text
//! data set ─► bodies (a thread, ahead of the clock) ─► [pacer: waits for each
//! arrival] ─► slots, spread over threads ─► transport ─► records ─► sink
//! ```
//!
//! It must not know which sinks or screens exist, nor the command line.

mod budget;
mod collect;
mod feed;
mod health;
mod pace;
mod phase;
mod run;
mod slot;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use collect::{Collector, Dispatch};
pub use feed::{Feed, FeedError};
pub use health::GaveUp;
pub use pace::{Clock, SystemClock};
pub use run::{Fault, Probe, RunControl, RunEnd, RunOutcome, RunSetup, probe, run};
pub use slot::{HttpSlot, HttpTransport, Slot, Transport};

use crate::metrics::ClientSnapshot;
use crate::record::Exchange;
use crate::time::Timestamp;

/// What a run tells its sink, in order.
#[derive(Debug)]
pub enum SinkMessage {
    /// A request has ended.
    Exchange(Box<Exchange>),
    /// The client's own figures so far, twice a second: also the sink's tick.
    Client(Box<ClientSnapshot>),
    /// Something a reader of the figures must know.
    Warning {
        /// Which warning it is, in the sink's own terms.
        id: &'static str,
        /// The warning in words.
        text: String,
    },
}

/// How long requests in flight may go on after a stop.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// Counters of a run that is under way, for whoever wants to look.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests taken up by a slot, in the present phase.
    pub dispatched: AtomicU64,
    /// Requests that succeeded.
    pub succeeded: AtomicU64,
    /// Requests that failed.
    pub failed: AtomicU64,
    /// Output tokens of successes.
    pub output_tokens: AtomicU64,
    /// 0 before the measured phase, 1 in it.
    pub measuring: AtomicU64,
    /// When the first of the phase was taken up, nanoseconds of the run's clock; 0: none was yet.
    pub begun_ns: AtomicU64,
}

impl Progress {
    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let ended = self.succeeded.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed);
        self.dispatched
            .load(Ordering::Relaxed)
            .saturating_sub(ended)
    }

    fn reset(&self) {
        for counter in [
            &self.dispatched,
            &self.succeeded,
            &self.failed,
            &self.output_tokens,
            &self.begun_ns,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// A request is taken up.
    fn taken_up(&self, at: Timestamp) {
        if self.dispatched.fetch_add(1, Ordering::Relaxed) == 0 {
            self.begun_ns.store(at.as_nanos().max(1), Ordering::Relaxed);
        }
    }
}
