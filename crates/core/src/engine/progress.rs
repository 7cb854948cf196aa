//! Owns how far the load of a run is, in counters that its threads share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evalscope_model::events::LoadSnapshot;
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::Timestamp;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    warmup: Counts,
    measured: Counts,
    /// How late a request was sent since the last snapshot, at most, nanoseconds.
    lag_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    dispatched: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    /// When the first was sent, nanoseconds plus one; 0: none was yet.
    begun: AtomicU64,
}

impl Counts {
    fn in_flight(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.dispatched
            .load(Ordering::Relaxed)
            .saturating_sub(ended)
    }

    fn begun(&self) -> Option<Timestamp> {
        let begun = self.begun.load(Ordering::Relaxed);
        begun.checked_sub(1).map(Timestamp::from_nanos)
    }
}

impl Progress {
    fn of(&self, phase: Phase) -> &Counts {
        match phase {
            Phase::Warmup => &self.warmup,
            Phase::Measured => &self.measured,
        }
    }

    /// A request that was due at `due` is sent.
    pub(super) fn started(&self, phase: Phase, due: Timestamp, at: Timestamp) {
        self.lag_ns
            .fetch_max(at.nanos_since(due), Ordering::Relaxed);
        let counts = self.of(phase);
        if counts.dispatched.fetch_add(1, Ordering::Relaxed) == 0 {
            counts.begun.store(at.as_nanos() + 1, Ordering::Relaxed);
        }
    }

    /// A request that was sent has ended.
    pub(super) fn ended(&self, record: &RequestRecord) {
        let counts = self.of(record.phase);
        counts.ended.fetch_add(1, Ordering::Relaxed);
        if !record.succeeded() {
            counts.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Measured requests that have ended.
    pub(super) fn measured(&self) -> u64 {
        self.measured.ended.load(Ordering::Relaxed)
    }

    /// Requests that failed, in the warm-up too.
    pub(super) fn failed(&self) -> u64 {
        let failed = |counts: &Counts| counts.failed.load(Ordering::Relaxed);
        failed(&self.warmup) + failed(&self.measured)
    }

    /// How the load stands. The next one says how late requests were since this one.
    pub(super) fn snapshot(&self) -> LoadSnapshot {
        LoadSnapshot {
            warmup_begun: self.warmup.begun(),
            measured_begun: self.measured.begun(),
            in_flight: self.warmup.in_flight() + self.measured.in_flight(),
            lag: Duration::from_nanos(self.lag_ns.swap(0, Ordering::Relaxed)),
        }
    }
}
