//! Owns how late the client was over time (R6).
//!
//! It must not know limits or verdicts.

/// Lags of the measured requests by the time of their dispatch. Databases hold the client's CPU time
/// and handling delay of the whole run only: these are in `RunReport::client`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientHealth {
    /// How late requests were dispatched although there was a slot: the client's own part.
    pub client_lag: LagOverTime,
    /// How late requests were dispatched for any reason; `None` without a schedule.
    pub dispatch_lag: Option<LagOverTime>,
}

/// A lag for each bin of the axis, milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct LagOverTime {
    /// 99th percentile; `None` below 5 samples.
    pub p99_ms: Vec<Option<f64>>,
    /// Maximum; `None` without a sample.
    pub max_ms: Vec<Option<f64>>,
}
