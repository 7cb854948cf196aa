//! Owns TPOT by the load inside the run (R11).
//!
//! It must not know how it is shown.

/// Successes that had this many requests in flight when their first token arrived, themselves included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadLevel {
    /// Fewest in flight.
    pub least_in_flight: u64,
    /// Most in flight.
    pub most_in_flight: u64,
    /// Requests, at least 5.
    pub requests: u64,
    /// Median TPOT, milliseconds.
    pub tpot_p50_ms: f64,
    /// 90th percentile of TPOT, milliseconds.
    pub tpot_p90_ms: f64,
}
