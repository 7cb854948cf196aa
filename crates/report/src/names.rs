//! Owns the names of figures: what the reference tool's files call them, what
//! its first tables called them, and what our tables do. Nowhere else does a
//! key or label of a figure stand.
//!
//! It must not know how a figure was computed, nor the format around a name.

mod columns;
mod key;
mod percentile;

use evalscope_model::metrics::{Distribution, Metric};

use crate::report::RunReport;

pub use columns::{PERCENTILE_COLUMNS, PERCENTILES, PercentileColumn, percentile_columns};
pub use key::{
    Better, FigureKey, METRICS, Rate, Stat, Unit, UnknownFigure, UnknownStat, metric_name,
    percentiles,
};
pub use percentile::{NotAPercentile, Percentile};

/// A figure's value, before any format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Not available.
    Missing,
    /// A whole number.
    Count(u64),
    /// Any other number.
    Number(f64),
    /// A mean over this many samples.
    Mean(f64, u64),
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Missing, Self::Number)
    }
}

impl From<&Distribution> for Value {
    fn from(distribution: &Distribution) -> Self {
        distribution
            .mean
            .map_or(Self::Missing, |mean| Self::Mean(mean, distribution.count))
    }
}

/// A figure of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// First dispatch to last end.
    Duration,
    /// Slots.
    Concurrency,
    /// The rate asked for.
    Rate,
    /// Arrivals that the schedule of an open loop asks for.
    AskedRate,
    /// Sends of an open loop.
    SentRate,
    /// Successes of an open loop that ended while requests were due.
    CompletedRate,
    /// Requests in flight in an open loop, on average.
    InFlight,
    /// The most of them.
    MostInFlight,
    /// Requests asked for.
    Expected,
    /// Requests sent.
    Total,
    /// Those that succeeded.
    Succeeded,
    /// Those that failed.
    Failed,
    /// Requests that were due and never sent.
    NotSent,
    /// Requests that were not sent because as many were in flight as may be.
    Shed,
    /// Requests that were given up.
    Unfinished,
    /// The largest number of choices in a response.
    Choices,
    /// Successes that came as streams.
    Streamed,
    /// Successes that came whole.
    Whole,
    /// Successes per second.
    RequestThroughput,
    /// Output tokens per second.
    OutputThroughput,
    /// Prompt tokens per second.
    InputThroughput,
    /// Both per second.
    TotalThroughput,
    /// Texts or documents per second.
    InputRate,
    /// Share of prompt tokens that came from the server's cache.
    CacheHits,
    /// Share of drafted tokens that were accepted, if several tokens in an event come from
    /// speculative decoding.
    Acceptance,
    /// The mean of a metric.
    Mean(Metric),
}

/// A row of the names table.
struct Names {
    figure: Figure,
    /// Key in the reference tool's `benchmark_summary.json`.
    key: Option<&'static str>,
    /// Row of the reference tool's first summary tables.
    first: Option<&'static str>,
    /// Row of our summary table.
    label: &'static str,
}

const fn names(
    figure: Figure,
    key: Option<&'static str>,
    first: Option<&'static str>,
    label: &'static str,
) -> Names {
    Names {
        figure,
        key,
        first,
        label,
    }
}

/// In the order of our summary table.
const TABLE: [Names; 42] = [
    names(
        Figure::Duration,
        Some("Test Duration (s)"),
        Some("Time taken for tests (senconds)"),
        "Time taken for tests (s)",
    ),
    names(
        Figure::Concurrency,
        Some("Concurrency"),
        Some("Number of concurrency"),
        "Number of concurrency",
    ),
    names(
        Figure::Rate,
        Some("Request Rate (req/s)"),
        None,
        "Request rate (req/s)",
    ),
    names(Figure::AskedRate, None, None, "Asked rate (req/s)"),
    names(Figure::SentRate, None, None, "Sent rate (req/s)"),
    names(Figure::CompletedRate, None, None, "Completed rate (req/s)"),
    names(
        Figure::InFlight,
        None,
        None,
        "Average requests in flight or waiting",
    ),
    names(
        Figure::MostInFlight,
        None,
        None,
        "Most requests in flight or waiting",
    ),
    names(
        Figure::Expected,
        None,
        Some("Expected number of requests"),
        "Expected number of requests",
    ),
    names(
        Figure::Total,
        Some("Total Requests"),
        Some("Total requests"),
        "Total requests",
    ),
    names(
        Figure::Succeeded,
        Some("Success Requests"),
        Some("Succeed requests"),
        "Succeeded requests",
    ),
    names(
        Figure::Failed,
        Some("Failed Requests"),
        Some("Failed requests"),
        "Failed requests",
    ),
    names(Figure::NotSent, None, None, "Requests due but never sent"),
    names(Figure::Shed, None, None, "Requests shed at the cap"),
    names(Figure::Unfinished, None, None, "Unfinished requests"),
    names(Figure::Choices, None, None, "Choices per request"),
    names(
        Figure::Streamed,
        Some("Stream Requests"),
        None,
        "Streamed answers",
    ),
    names(
        Figure::Whole,
        Some("Non-Stream Requests"),
        None,
        "Whole answers",
    ),
    names(
        Figure::RequestThroughput,
        Some("Req Throughput (req/s)"),
        Some("Average QPS"),
        "Average QPS (req/s)",
    ),
    names(
        Figure::OutputThroughput,
        Some("Output Throughput (tok/s)"),
        Some("Throughput(average output tokens per second)"),
        "Output token throughput (tok/s)",
    ),
    names(
        Figure::TotalThroughput,
        Some("Total Throughput (tok/s)"),
        None,
        "Total token throughput (tok/s)",
    ),
    names(
        Figure::InputThroughput,
        Some("Input Throughput (tok/s)"),
        None,
        "Input token throughput (tok/s)",
    ),
    names(
        Figure::InputRate,
        None,
        None,
        "Inputs per second (texts or documents)",
    ),
    names(
        Figure::Mean(Metric::LatencyFromSchedule),
        Some("Avg Latency From Schedule (s)"),
        None,
        "Average latency from schedule (s)",
    ),
    names(
        Figure::Mean(Metric::TtftFromSchedule),
        Some("Avg TTFT From Schedule (ms)"),
        None,
        "Average time to first token from schedule (ms)",
    ),
    names(
        Figure::Mean(Metric::Latency),
        Some("Avg Latency (s)"),
        Some("Average latency"),
        "Average latency (s)",
    ),
    names(
        Figure::Mean(Metric::LatencyPerInput),
        None,
        None,
        "Average latency per input (ms)",
    ),
    names(
        Figure::Mean(Metric::Ttft),
        Some("Avg TTFT (ms)"),
        Some("Average time to first token"),
        "Average time to first token (ms)",
    ),
    names(
        Figure::Mean(Metric::Ttfat),
        None,
        None,
        "Average time to first answer token (ms)",
    ),
    names(
        Figure::Mean(Metric::Tpot),
        Some("Avg TPOT (ms)"),
        Some("Average time per output token"),
        "Average time per output token (ms)",
    ),
    names(
        Figure::Mean(Metric::Itl),
        Some("Avg ITL (ms)"),
        None,
        "Average inter-token latency (ms)",
    ),
    names(
        Figure::Mean(Metric::SteadyItl),
        Some("Avg Steady ITL (ms)"),
        None,
        "Average steady ITL (ms)",
    ),
    names(
        Figure::Mean(Metric::PdHandoffLatency),
        Some("Avg PD Handoff Latency (ms)"),
        None,
        "Average PD hand-off latency (ms)",
    ),
    names(
        Figure::Mean(Metric::PdHandoffOverhead),
        Some("Avg PD Handoff Overhead (ms)"),
        None,
        "Average PD hand-off overhead (ms)",
    ),
    names(
        Figure::Mean(Metric::EventsPerRequest),
        None,
        Some("Average package per request"),
        "Average packages per request",
    ),
    names(
        Figure::Mean(Metric::EventGap),
        None,
        Some("Average package latency"),
        "Average package latency (ms)",
    ),
    names(
        Figure::Mean(Metric::InputTokens),
        Some("Avg Input Tokens"),
        Some("Average input tokens per request"),
        "Average input tokens per request",
    ),
    names(
        Figure::Mean(Metric::OutputTokens),
        Some("Avg Output Tokens"),
        Some("Average output tokens per request"),
        "Average output tokens per request",
    ),
    names(
        Figure::Mean(Metric::TokensPerEvent),
        None,
        None,
        "Average tokens per event",
    ),
    names(
        Figure::Mean(Metric::DecodedTokensPerEvent),
        Some("Avg Decoded Tok/Iter"),
        None,
        "Average tokens decoded per event",
    ),
    names(
        Figure::Acceptance,
        Some("Spec. Accept Rate"),
        None,
        "Speculative acceptance, estimated (%)",
    ),
    names(
        Figure::CacheHits,
        Some("KV Cache Hit Rate (%)"),
        None,
        "Prompt tokens from cache (%)",
    ),
];

/// The figures that the tables of open loops begin with; the verdict on the server follows them.
const OPEN_LOOP: [Figure; 5] = [
    Figure::AskedRate,
    Figure::SentRate,
    Figure::CompletedRate,
    Figure::InFlight,
    Figure::MostInFlight,
];

/// The figures that come next in open loops, and later in other paced runs.
const FROM_SCHEDULE: [Figure; 2] = [
    Figure::Mean(Metric::LatencyFromSchedule),
    Figure::Mean(Metric::TtftFromSchedule),
];

/// Row of the summary table: did the server keep up with an open loop?
pub const VERDICT: &str = "Did the server keep up?";

/// Row of the summary table: how the cached share of single requests is distributed.
pub const CACHED_PER_REQUEST: &str = "Cached share of a request (%)";

/// Rows of the summary table about an objective: share, requests and tokens per second.
pub const GOOD: [&str; 3] = [
    "Good requests",
    "Good requests per second (req/s)",
    "Output tokens of good requests (tok/s)",
];

/// Rows of the summary table with percentiles in which failures count.
pub const WITH_FAILURES: [(Metric, &str); 4] = [
    (Metric::Ttft, "TTFT with failures (ms)"),
    (Metric::Latency, "Latency with failures (s)"),
    (
        Metric::TtftFromSchedule,
        "TTFT from schedule with failures (ms)",
    ),
    (
        Metric::LatencyFromSchedule,
        "Latency from schedule with failures (s)",
    ),
];

/// Last row of the summary table: not a figure, but where the database is.
pub const DATABASE: &str = "Result DB path";

/// The figures of `benchmark_summary.json`, in the reference tool's order.
pub const SUMMARY_KEYS: [Figure; 26] = [
    Figure::Duration,
    Figure::Concurrency,
    Figure::Rate,
    Figure::Total,
    Figure::Succeeded,
    Figure::Failed,
    Figure::Streamed,
    Figure::Whole,
    Figure::RequestThroughput,
    Figure::Mean(Metric::LatencyFromSchedule),
    Figure::Mean(Metric::TtftFromSchedule),
    Figure::Mean(Metric::Latency),
    Figure::Mean(Metric::InputTokens),
    Figure::OutputThroughput,
    Figure::TotalThroughput,
    Figure::Mean(Metric::Ttft),
    Figure::Mean(Metric::Tpot),
    Figure::Mean(Metric::Itl),
    Figure::Mean(Metric::SteadyItl),
    Figure::Mean(Metric::PdHandoffLatency),
    Figure::Mean(Metric::PdHandoffOverhead),
    Figure::Mean(Metric::OutputTokens),
    Figure::InputThroughput,
    Figure::CacheHits,
    Figure::Mean(Metric::DecodedTokensPerEvent),
    Figure::Acceptance,
];

impl Figure {
    /// All figures, in the order of our summary table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.figure)
    }

    /// The figures that the summary table of a run begins with: those of an open loop.
    pub fn first_of(report: &RunReport) -> impl Iterator<Item = Self> {
        let open_loop = report.is_open_loop();
        OPEN_LOOP.into_iter().filter(move |_| open_loop)
    }

    /// All others, in order.
    pub fn others_of(report: &RunReport) -> impl Iterator<Item = Self> {
        let open_loop = report.is_open_loop();
        let has_asked_rate = open_loop && report.load.is_some();
        let from_schedule = FROM_SCHEDULE.into_iter().filter(move |_| open_loop);
        let comes_first = move |figure: &Self| {
            OPEN_LOOP.contains(figure) || open_loop && FROM_SCHEDULE.contains(figure)
        };
        // the asked rate says it
        let is_said = move |figure: &Self| has_asked_rate && *figure == Self::Rate;
        let rest = Self::all().filter(move |figure| !comes_first(figure) && !is_said(figure));
        from_schedule.chain(rest)
    }

    fn names(self) -> &'static Names {
        TABLE
            .iter()
            .find(|row| row.figure == self)
            .expect("every figure in use has its row in the table")
    }

    /// Row of our summary table; the unit stands in brackets.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.names().label
    }

    /// Key in the reference tool's `benchmark_summary.json`.
    #[must_use]
    pub fn key(self) -> Option<&'static str> {
        self.names().key
    }

    /// Row of the reference tool's first summary tables.
    #[must_use]
    pub fn first_label(self) -> Option<&'static str> {
        self.names().first
    }

    /// Whether only a run without output has it.
    const fn is_of_inputs(self) -> bool {
        matches!(self, Self::InputRate | Self::Mean(Metric::LatencyPerInput))
    }

    /// Whether only a run with output has it.
    const fn is_of_output(self) -> bool {
        match self {
            Self::OutputThroughput | Self::TotalThroughput => true,
            Self::Mean(metric) => metric.is_of_output(),
            _ => false,
        }
    }

    /// Whether a figure only says something in some runs: elsewhere it is in no table and in no
    /// file.
    #[must_use]
    pub fn is_left_out(self, report: &RunReport) -> bool {
        let generates = report.generates();
        if generates && self.is_of_inputs() || !generates && self.is_of_output() {
            return true;
        }
        match self {
            Self::Mean(Metric::LatencyFromSchedule | Metric::TtftFromSchedule) => {
                !report.is_paced()
            }
            Self::AskedRate
            | Self::SentRate
            | Self::CompletedRate
            | Self::InFlight
            | Self::MostInFlight => report.load.is_none(),
            Self::NotSent => report.totals.not_sent == 0,
            Self::Shed => report.totals.shed == 0,
            Self::Unfinished => report.totals.unfinished == 0,
            Self::Choices => report.totals.most_choices < 2,
            Self::Mean(Metric::TokensPerEvent) => {
                report.metric(Metric::DecodedTokensPerEvent).mean.is_none()
            }
            Self::Mean(metric) if metric.is_of_handoff() => self.value(report) == Value::Missing,
            Self::CacheHits | Self::Acceptance | Self::Mean(Metric::DecodedTokensPerEvent) => {
                self.value(report) == Value::Missing
            }
            _ => false,
        }
    }

    /// The value in a report.
    #[must_use]
    pub fn value(self, report: &RunReport) -> Value {
        let totals = &report.totals;
        let load = report.load.as_ref();
        match self {
            Self::AskedRate => load.and_then(|load| load.asked_rate_per_s).into(),
            Self::SentRate => load.and_then(|load| load.sent_rate_per_s).into(),
            Self::CompletedRate => load.and_then(|load| load.completed_per_s).into(),
            Self::InFlight => load.and_then(|load| Some(load.in_flight?.mean)).into(),
            Self::MostInFlight => match load.and_then(|load| load.in_flight) {
                Some(in_flight) => Value::Count(in_flight.max),
                None => Value::Missing,
            },
            Self::Duration => Some(totals.duration_s())
                .filter(|_| totals.total > 0)
                .into(),
            Self::Concurrency => match report.meta.load.concurrency {
                Some(slots) => Value::Count(slots.get() as u64),
                None => Value::Missing,
            },
            Self::Rate => report.rate_per_s().into(),
            Self::Expected => report
                .meta
                .load
                .requests
                .map_or(Value::Missing, Value::Count),
            Self::Total => Value::Count(totals.total),
            Self::Succeeded => Value::Count(totals.succeeded),
            Self::Failed => Value::Count(totals.failed()),
            Self::NotSent => Value::Count(totals.not_sent),
            Self::Shed => Value::Count(totals.shed),
            Self::Unfinished => Value::Count(totals.unfinished),
            Self::Choices => Value::Count(totals.most_choices),
            Self::Acceptance => report
                .metric(Metric::DecodedTokensPerEvent)
                .mean
                .map(|tokens| 100.0 * (1.0 - 1.0 / tokens).clamp(0.0, 1.0))
                .into(),
            Self::Streamed => Value::Count(totals.streamed),
            Self::Whole => Value::Count(totals.succeeded - totals.streamed),
            Self::RequestThroughput => report.requests_per_s().into(),
            Self::OutputThroughput => report.output_tokens_per_s().into(),
            Self::InputThroughput => report.input_tokens_per_s().into(),
            Self::TotalThroughput => report.total_tokens_per_s().into(),
            Self::InputRate => report.inputs_per_s().into(),
            Self::CacheHits => report.cached_share().map(|share| 100.0 * share).into(),
            Self::Mean(metric) => report.metric(metric).into(),
        }
    }
}

#[cfg(test)]
mod tests;
