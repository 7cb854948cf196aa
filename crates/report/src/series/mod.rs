//! Owns [`RunSeries`]: what the charts of a run show, summed up from its records.
//!
//! It must not know scales, colours or words. Times are seconds from time 0, the first dispatch of the
//! measured phase; the warm-up is left of it. Values of a metric are in the unit of its key
//! ([`evalscope_model::metrics::Metric::key`]).

mod axis;
mod curve;
mod decode;
mod density;
mod flow;
mod gaps;
mod hash;
mod in_flight;
mod kept;
mod lag;
mod lengths;
mod missing;
mod named;
mod packed;
mod page;
mod rows;
mod spread;
mod sums;

use std::collections::BTreeMap;

use evalscope_model::metrics::Metric;

pub use axis::{Bounds, MOST_BINS, MOST_BINS_BESIDE_OTHERS, TimeAxis};
pub use curve::{Curve, CurvePoint, Heatmap, OverTime};
pub use decode::LoadLevel;
pub use density::{Cell, Density, InputColumn, Slope};
pub use flow::{FailuresOverTime, Flow};
pub use gaps::{GapBin, GapHistogram};
pub use in_flight::InFlight;
pub use kept::{KEPT_IN_PAGE, KeptRequest, KeptRequests, LEAST_KEPT, RequestRow};
pub use lag::{ClientHealth, LagOverTime};
pub use lengths::{AskedOutput, OutputLengths};
pub use missing::Missing;
pub use named::{percentiles_over_time, values_over_time};
pub use page::{PageData, page_text};

/// Metrics of [`RunSeries::curves`].
pub const WITH_CURVES: [Metric; 5] = [
    Metric::Ttft,
    Metric::Tpot,
    Metric::Itl,
    Metric::Latency,
    Metric::LatencyFromSchedule,
];

/// Metrics of [`RunSeries::over_time`].
pub const OVER_TIME: [Metric; 4] = [Metric::Ttft, Metric::Tpot, Metric::Latency, Metric::Itl];

/// What the charts of one run show. Where something cannot be shown, the reason stands in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSeries {
    /// The bins of time. They hold the warm-up, too.
    pub axis: TimeAxis,
    /// Where the warm-up, the drain and the plateau begin and end.
    pub bounds: Bounds,
    /// R1: percentiles of the whole run, for each of [`WITH_CURVES`].
    pub curves: BTreeMap<Metric, Result<Curve, Missing>>,
    /// R2 and R3: values over time, for each of [`OVER_TIME`].
    pub over_time: BTreeMap<Metric, Result<OverTime, Missing>>,
    /// R4: tokens, requests and failures over time.
    pub flow: Result<Flow, Missing>,
    /// R5: requests in flight over time.
    pub in_flight: Result<InFlight, Missing>,
    /// R6: how late the client was, over time.
    pub client: Result<ClientHealth, Missing>,
    /// R7, and the table of requests.
    pub kept: KeptRequests,
    /// R8: TTFT by input tokens.
    pub ttft_by_input: Result<Density, Missing>,
    /// R9: gaps between token-bearing events.
    pub gaps: Result<GapHistogram, Missing>,
    /// R10: output tokens by finish reason.
    pub output_lengths: Result<OutputLengths, Missing>,
    /// R11: TPOT by the requests in flight at the first token, by rising load.
    pub decode_by_load: Result<Vec<LoadLevel>, Missing>,
}

impl RunSeries {
    /// The metric that charts of one metric over time show first: TTFT, or latency where nothing was streamed.
    #[must_use]
    pub fn heatmap_metric(&self) -> Metric {
        match self.over_time.get(&Metric::Ttft) {
            Some(Ok(_)) => Metric::Ttft,
            _ => Metric::Latency,
        }
    }
}

#[cfg(test)]
mod tests;
