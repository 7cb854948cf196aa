//! Owns the plateau: the part of a run in which the server was as loaded as it was meant to be,
//! without the opening wave and without the end, where the load runs dry.
//!
//! Pure. It must not know how results are shown. It needs two passes over the records:
//! [`PlateauSearch`] finds where the plateau is, [`PlateauTotals`] and [`PlateauAccumulator`] sum up
//! what is in it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::intervals::Interval;
use super::trend::Trend;
use super::{Distribution, Metric};
use crate::record::RequestRecord;
use crate::time::Timestamp;

/// Why there is no plateau.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NoPlateau {
    /// The first request of some place had not ended when the last one was dispatched, or in an
    /// open loop: the start took most of the time.
    NeverFull,
    /// Fewer than 100 requests were dispatched in it.
    TooFewRequests,
    /// It is shorter than three median latencies.
    TooShort,
}

/// From the start to the end of a plateau.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlateauWindow {
    /// Its start.
    pub start: Timestamp,
    /// Its end, after the start.
    pub end: Timestamp,
}

impl PlateauWindow {
    /// A request belongs to it: it is measured and was dispatched inside. It is followed to its
    /// end, also past the plateau's.
    #[must_use]
    pub fn holds(&self, record: &RequestRecord) -> bool {
        let _ = record;
        todo!()
    }

    /// A moment is inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    /// Its length, seconds.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.end.nanos_since(self.start) as f64 / 1e9
    }
}

/// A plateau that was found, before anything in it is summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundPlateau {
    /// Where it is.
    pub window: PlateauWindow,
    /// By how much MSER-5 has moved the start to the right, seconds; 0: it has not.
    pub start_moved_s: f64,
    /// Output tokens by time; `None` below 400 token-bearing events.
    pub output: Option<Trend>,
    /// Requests in flight by time; `None` in closed loops.
    pub in_flight: Option<Trend>,
    /// 95 % interval of the output tokens per second within this run.
    pub output_tokens_per_s_ci: Option<Interval>,
}

/// Finds plateaus: the first pass. Memory is bounded by the concurrency of a closed loop, and about
/// 1 MB.
#[derive(Debug)]
pub struct PlateauSearch {
    places: Option<NonZeroUsize>,
}

impl PlateauSearch {
    /// For a closed loop of so many places; `None`: an open loop.
    #[must_use]
    pub fn new(places: Option<NonZeroUsize>) -> Self {
        Self { places }
    }

    /// Add a record, in any order: all of the run, warm-up included.
    pub fn push(&mut self, record: &RequestRecord) {
        let _ = record;
        todo!()
    }

    /// The plateau of a closed loop: from the moment when the first request of every place, warm-up
    /// counted, has ended, until the last dispatch.
    ///
    /// # Errors
    /// When there is none.
    pub fn closed_loop(&self) -> Result<FoundPlateau, NoPlateau> {
        let _ = self.places;
        todo!()
    }

    /// The plateau of an open loop, or of one constant segment of a profile, between the moments of
    /// [`super::LoadWindow::steady`].
    ///
    /// # Errors
    /// When there is none.
    pub fn open_loop(
        &self,
        steady: Option<(Timestamp, Timestamp)>,
    ) -> Result<FoundPlateau, NoPlateau> {
        let _ = steady;
        todo!()
    }
}

/// Sums up throughput on a plateau: the second pass.
#[derive(Clone, Debug)]
pub struct PlateauTotals {
    found: FoundPlateau,
}

impl PlateauTotals {
    /// An empty sum.
    #[must_use]
    pub fn new(found: FoundPlateau) -> Self {
        Self { found }
    }

    /// Add a record, in any order: all of the run, warm-up included, since their tokens are work
    /// that the server did.
    pub fn push(&mut self, record: &RequestRecord) {
        let _ = (self.found, record);
        todo!()
    }

    /// The figures.
    ///
    /// # Errors
    /// When the plateau has fewer than 100 requests, or is shorter than three median latencies.
    pub fn finish(self) -> Result<Plateau, NoPlateau> {
        todo!()
    }
}

/// Distributions of metrics on a plateau, in the second pass.
#[derive(Debug)]
pub struct PlateauAccumulator {
    window: PlateauWindow,
}

impl PlateauAccumulator {
    /// An empty summary of these metrics.
    #[must_use]
    pub fn new(window: PlateauWindow, metrics: &[Metric]) -> Self {
        let _ = metrics;
        Self { window }
    }

    /// Add a measured record: a request counts if it was dispatched inside, a gap between tokens if
    /// both its ends are.
    pub fn push(&mut self, record: &RequestRecord) {
        let _ = (self.window, record);
        todo!()
    }

    /// The distributions, each in the unit of its metric's key.
    #[must_use]
    pub fn finish(self) -> BTreeMap<Metric, Distribution> {
        todo!()
    }
}

/// The figures of a plateau, without its distributions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Plateau {
    /// Its start, seconds after the clock of the run began.
    pub start_s: f64,
    /// Its end, seconds after the clock of the run began.
    pub end_s: f64,
    /// By how much the start was moved to the right because the throughput had not settled, seconds.
    pub start_moved_s: f64,
    /// Measured requests dispatched in it.
    pub requests: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Measured and warm-up requests that succeeded and ended in it, per second.
    pub requests_per_s: f64,
    /// Output tokens that arrived in it, per second; missing if none are known.
    pub output_tokens_per_s: Option<f64>,
    /// 95 % interval of the output tokens per second within this run.
    pub output_tokens_per_s_ci: Option<Interval>,
    /// Prompt tokens of requests whose first token arrived in it, per second; missing if none are
    /// known.
    pub input_tokens_per_s: Option<f64>,
    /// Whether output tokens per second were steady; missing below 400 token-bearing events.
    pub output_trend: Option<Trend>,
    /// Whether the requests in flight were; missing in closed loops.
    pub in_flight_trend: Option<Trend>,
}
