//! Owns how late the client was over time (R6).
//!
//! It must not know limits or verdicts.

use evalscope_model::metrics::Metric;
use evalscope_model::record::RequestRecord;

use super::axis::Clock;
use super::spread::Spread;

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

/// Sums up [`ClientHealth`].
#[derive(Debug)]
pub(super) struct Lags {
    clock: Clock,
    client: Vec<Spread>,
    /// `None` without a schedule.
    dispatch: Option<Vec<Spread>>,
}

impl Lags {
    pub(super) fn new(clock: Clock, has_schedule: bool) -> Self {
        let empty = || vec![Spread::default(); clock.axis().len()];
        Self {
            clock,
            client: empty(),
            dispatch: has_schedule.then(empty),
        }
    }

    /// Add a measured request that was sent.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        let bin = self.clock.measured_bin(record.times.dispatched);
        Metric::ClientLag.samples(record, |lag| self.client[bin].push(lag));
        if let Some(dispatch) = &mut self.dispatch {
            Metric::DispatchLag.samples(record, |lag| dispatch[bin].push(lag));
        }
    }

    pub(super) fn finish(self) -> ClientHealth {
        ClientHealth {
            client_lag: LagOverTime::of(&self.client, Metric::ClientLag.scale()),
            dispatch_lag: self
                .dispatch
                .map(|bins| LagOverTime::of(&bins, Metric::DispatchLag.scale())),
        }
    }
}

impl LagOverTime {
    fn of(bins: &[Spread], scale: f64) -> Self {
        let scaled = |value: Option<f64>| value.map(|value| value * scale);
        Self {
            p99_ms: bins
                .iter()
                .map(|bin| scaled(bin.percentile(0.99)))
                .collect(),
            max_ms: bins.iter().map(|bin| scaled(bin.max())).collect(),
        }
    }
}
