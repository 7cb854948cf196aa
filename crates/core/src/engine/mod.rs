//! Owns the run loop: it composes a schedule, a stop condition and a transport,
//! and tells a sink what happened. There is one loop, for every kind of load.
//!
//! ```text
//! dataset ─► bodies (a thread, ahead of the clock) ─► gate: load model, number, time limit
//!            ─► lanes: receiving threads, a task for each session ─► transport ─► records ─► sink
//! ```
//!
//! It must not know which sinks or screens exist, nor the command line.

mod budget;
mod clock;
mod collect;
mod feed;
mod gate;
mod health;
mod http;
mod lane;
mod no_response;
mod run;
mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use clock::{Clock, SystemClock};
pub use collect::{Collector, Dispatch};
pub use feed::{Feed, FeedError};
pub use health::GaveUp;
pub use http::{HttpRequester, HttpTransport, Requester, Transport};
pub use run::{Fault, Probe, RunControl, RunEnd, RunOutcome, RunSetup, probe, run};

use evalscope_model::events::SinkMessage;
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::Timestamp;

/// How long requests in flight may go on after a stop.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// Counters of a run that is under way, for whoever wants to look.
#[derive(Debug, Default)]
pub struct Progress {
    /// The warm-up.
    pub warmup: Counts,
    /// The measurement, which begins while the last warm-up requests are still under way.
    pub measured: Counts,
}

/// Counters of one phase.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that a task has taken up.
    pub dispatched: AtomicU64,
    /// Requests that succeeded.
    pub succeeded: AtomicU64,
    /// Requests that failed.
    pub failed: AtomicU64,
    /// Output tokens of successes.
    pub output_tokens: AtomicU64,
    /// When the first was taken up, nanoseconds of the run's clock; 0: none was yet.
    pub begun_ns: AtomicU64,
}

impl Counts {
    /// Requests that have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// Requests under way.
    fn in_flight(&self) -> u64 {
        let dispatched = self.dispatched.load(Ordering::Relaxed);
        dispatched.saturating_sub(self.ended())
    }
}

impl Progress {
    /// Whether the measurement has begun.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.measured.begun_ns.load(Ordering::Relaxed) != 0
    }

    /// Whether any request has failed.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        [&self.warmup, &self.measured]
            .into_iter()
            .any(|counts| counts.failed.load(Ordering::Relaxed) > 0)
    }

    /// Requests under way, of both phases.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.warmup.in_flight() + self.measured.in_flight()
    }

    fn of(&self, phase: Phase) -> &Counts {
        match phase {
            Phase::Warmup => &self.warmup,
            Phase::Measured => &self.measured,
        }
    }

    /// A request is taken up.
    fn started(&self, phase: Phase, at: Timestamp) {
        let counts = self.of(phase);
        if counts.dispatched.fetch_add(1, Ordering::Relaxed) == 0 {
            counts
                .begun_ns
                .store(at.as_nanos().max(1), Ordering::Relaxed);
        }
    }

    /// A request has ended.
    fn ended(&self, record: &RequestRecord) {
        let counts = self.of(record.phase);
        if record.succeeded() {
            counts.succeeded.fetch_add(1, Ordering::Relaxed);
            let tokens = record.output_tokens().0.unwrap_or(0);
            counts.output_tokens.fetch_add(tokens, Ordering::Relaxed);
        } else {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
