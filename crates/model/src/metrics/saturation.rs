//! Owns the verdict on an open loop: did the server keep up with what came?
//!
//! Pure. It must not know clocks, or what is done about a verdict. Whether the client itself was the
//! limit is the caller's to know: then nothing is said about the server
//! ([`Saturation::client_limited`]).
//!
//! N(t), the requests due by t less those ended by t, is averaged over 20 equal bins of time after
//! the start. The slope of a line through them, over the arrival rate, is the *excess* e: the share
//! of arrivals that was not served. Above capacity it tends to 1 − 1/ρ. A queue at exactly full load
//! wanders too, by about √((ca² + cs²)·n) requests (reflected Brownian motion), so a verdict needs
//! more than that.

use serde::{Deserialize, Serialize};

use super::intervals::Interval;
use crate::profile::{Gaps, Profile};
use crate::time::Timestamp;

/// A time during which the rate of arrivals does not change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstantWindow {
    /// Position of the segment in its profile, from 0.
    pub segment: usize,
    /// Its start, seconds after the schedule's.
    pub start_s: f64,
    /// Its end; `None`: the rate never changes.
    pub end_s: Option<f64>,
    /// Mean arrivals per second.
    pub rate_per_s: f64,
}

/// The times of a profile during which its rate does not change and is not 0, in order.
#[must_use]
pub fn constant_windows(profile: &Profile) -> Vec<ConstantWindow> {
    let _ = profile;
    todo!()
}

/// Did the server keep up?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoadVerdict {
    /// Yes: at most 5 % of the arrivals can have been left over.
    KeptUp,
    /// No: the backlog grew by more than chance, all the time.
    Saturated,
    /// The requests do not tell.
    Undecided,
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Undecided {
    /// Latencies are so long that the start took most of the time.
    TooShort {
        /// Arrivals have to last this long.
        needs_s: f64,
    },
    /// There are too few requests to tell a small excess from chance.
    TooFew {
        /// This many requests after the start would tell.
        needs_requests: u64,
    },
    /// The load is so close to the capacity that more requests need not help.
    NearCapacity,
    /// No request has a latency.
    NoLatency,
    /// The client was the limit, so nothing is known about the server.
    ClientLimited,
}

/// The verdict on a time of constant rate, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Saturation {
    /// The verdict.
    pub verdict: LoadVerdict,
    /// Why it is undecided; missing otherwise.
    pub undecided: Option<Undecided>,
    /// Share of the arrivals that was not served. Chance may make it negative.
    pub excess: Option<f64>,
    /// 95 % interval of the excess within this run.
    pub excess_ci: Option<Interval>,
    /// Since when the backlog has only been above where it began, seconds after the start of this
    /// rate; only when saturated.
    pub since_s: Option<f64>,
    /// What the server can serve, requests per second; only when saturated.
    pub capacity_per_s: Option<f64>,
    /// Where the start was taken to be over, seconds after the start of this rate: t0.
    pub steady_from_s: Option<f64>,
    /// Requests that were due after that.
    pub requests: u64,
}

impl Saturation {
    /// The verdict where the client was the limit.
    #[must_use]
    pub fn client_limited(self) -> Self {
        Self {
            verdict: LoadVerdict::Undecided,
            undecided: Some(Undecided::ClientLimited),
            excess: None,
            excess_ci: None,
            since_s: None,
            capacity_per_s: None,
            ..self
        }
    }
}

/// When a request ended, for a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It got a response after this latency from its scheduled moment, or was given up on then:
    /// its latency would have been longer.
    After {
        /// Nanoseconds.
        latency_ns: u64,
    },
    /// It failed: it is no longer in flight, and has no latency.
    Failed,
}

/// Collects requests for the verdict on one time of constant rate. Memory is bounded (about 1 MB):
/// counts in bins of time whose width grows, and latencies of at most 16,384 requests, drawn
/// evenly.
#[derive(Clone, Debug)]
pub struct LoadWindow {
    start: Timestamp,
}

impl LoadWindow {
    /// From `start` until `end`, or for as long as requests are due. A rate has to be constant in
    /// between.
    #[must_use]
    pub fn new(start: Timestamp, end: Option<Timestamp>, gaps: Gaps) -> Self {
        let _ = (end, gaps);
        Self { start }
    }

    /// Add the record of a request, in any order: all of the run, warm-up included, since what is
    /// still in flight from before is load, too. Requests that were never sent count as never
    /// served.
    pub fn push(&mut self, record: &crate::record::RequestRecord) {
        let _ = (self.start, record);
        todo!()
    }

    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Saturation {
        todo!()
    }

    /// From where the start is over until the last moment at which a request was due: what the
    /// plateau of an open loop is. `None` if the start took most of the time.
    #[must_use]
    pub fn steady(&self) -> Option<(Timestamp, Timestamp)> {
        todo!()
    }
}

/// Watches an open loop while it runs. It looks 30, 45, 68, 101 … s after the start of each constant
/// rate; few looks keep the share of false alarms small. Memory is bounded, as in [`LoadWindow`].
#[derive(Clone, Debug)]
pub struct SaturationWatch {
    next_look: Timestamp,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// The verdict on the current rate so far.
    pub saturation: Saturation,
    /// The server is over its limit: saturated at two looks in a row, or with an excess of 0.3.
    pub stop: bool,
}

impl SaturationWatch {
    /// Watch a schedule that begins at `start`.
    #[must_use]
    pub fn new(start: Timestamp, profile: &Profile, gaps: Gaps) -> Self {
        let _ = (profile, gaps);
        Self { next_look: start }
    }

    /// A request is due at this moment, sent or not. Moments do not go back.
    pub fn due(&mut self, at: Timestamp) {
        let _ = at;
        todo!()
    }

    /// The request that was due then has ended, at `at`. A request that is never sent (`Shed`) does
    /// not end.
    pub fn ended(&mut self, due: Timestamp, at: Timestamp, how: Ended) {
        let _ = (due, at, how);
        todo!()
    }

    /// When to look next; `None` when no constant rate is left.
    #[must_use]
    pub fn next_look(&self) -> Option<Timestamp> {
        Some(self.next_look)
    }

    /// Look, if it is time to.
    pub fn look(&mut self, now: Timestamp) -> Option<Look> {
        let _ = now;
        todo!()
    }
}
