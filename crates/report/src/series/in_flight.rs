//! Owns the requests in flight over time (R5).
//!
//! It must not know why they were sent.

/// Requests in flight for each bin of the axis, from dispatch to end, warm-up included. Exact: from
/// all starts and ends in order.
#[derive(Clone, Debug, PartialEq)]
pub struct InFlight {
    /// Mean over the time of each bin.
    pub mean: Vec<f64>,
    /// Maximum in each bin.
    pub max: Vec<u64>,
    /// Concurrency that was asked for; `None` in open loops.
    pub asked: Option<u64>,
    /// Arrivals that were due in each bin, per second, sent or not; `None` without a schedule.
    pub due_per_s: Option<Vec<f64>>,
}
