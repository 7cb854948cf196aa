//! Owns the metrics of runs under way for Prometheus: what is counted, under which names, and the text.
//!
//! It must not know who asks for them, nor how. Percentiles from these buckets are estimates: what a
//! finished run shows is never taken from here, but from its database.

mod buckets;
mod page;

use evalscope_model::events::RunEvent;
use evalscope_model::metrics::{
    ClientReport, ClientSnapshot, DenseHistogram, Distribution, HANDLING_BITS, Metric, RunTotals,
    Verdict,
};
use evalscope_model::record::{Phase, RequestRecord};

use self::buckets::{Buckets, LAG_S, LATENCY_S};
use self::page::{Family, Kind, Page};
use crate::model::RunState;

pub use self::page::Format;

/// Which run a series is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Its name.
    pub run: String,
    /// The model, as it may be shown.
    pub model: String,
    /// Which part of the run this process measures, if it is one of several.
    pub shard: Option<String>,
}

/// What does not change while a run is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFacts {
    /// Which run it is.
    pub labels: Labels,
    /// Requests in flight at a time, as asked for; `None` in an open loop without a limit.
    pub concurrency: Option<u64>,
    /// When it started, Unix time.
    pub started_unix_s: f64,
}

/// A metric that has a histogram.
struct Timed {
    metric: Metric,
    family: Family,
    bounds_s: &'static [f64],
}

/// The metrics that have histograms.
const TIMED: [Timed; 6] = [
    Timed {
        metric: Metric::Ttft,
        family: Family::seconds(
            "evalscope_time_to_first_token_seconds",
            "Time from the send to the first token.",
        ),
        bounds_s: &LATENCY_S,
    },
    Timed {
        metric: Metric::Tpot,
        family: Family::seconds(
            "evalscope_time_per_output_token_seconds",
            "Time per output token after the first, a value for each request.",
        ),
        bounds_s: &LATENCY_S,
    },
    Timed {
        metric: Metric::Latency,
        family: Family::seconds(
            "evalscope_request_duration_seconds",
            "Time from the send to the end of the response.",
        ),
        bounds_s: &LATENCY_S,
    },
    Timed {
        metric: Metric::LatencyFromSchedule,
        family: Family::seconds(
            "evalscope_request_duration_from_schedule_seconds",
            "Time from the scheduled moment to the end of the response.",
        ),
        bounds_s: &LATENCY_S,
    },
    Timed {
        metric: Metric::DispatchLag,
        family: Family::seconds(
            "evalscope_dispatch_lag_seconds",
            "How late requests were sent, for any reason.",
        ),
        bounds_s: &LAG_S,
    },
    Timed {
        metric: Metric::ClientLag,
        family: Family::seconds(
            "evalscope_client_lag_seconds",
            "How late requests were sent because of this client.",
        ),
        bounds_s: &LAG_S,
    },
];

/// States that a run which is measured here can be in.
const STATES: [RunState; 5] = [
    RunState::Running,
    RunState::Finished,
    RunState::Interrupted,
    RunState::GaveUp,
    RunState::Aborted,
];

/// The metrics of a run.
#[derive(Clone, Debug)]
pub struct RunMetrics {
    facts: RunFacts,
    state: RunState,
    done_ratio: f64,
    in_flight: u64,
    totals: RunTotals,
    client: Option<ClientSnapshot>,
    /// For the verdict, which needs more than the buckets tell.
    client_lag_ns: DenseHistogram,
    histograms: [Buckets; TIMED.len()],
}

impl RunMetrics {
    /// Those of a run that begins.
    #[must_use]
    pub fn new(facts: RunFacts) -> Self {
        Self {
            facts,
            state: RunState::Running,
            done_ratio: 0.0,
            in_flight: 0,
            totals: RunTotals::default(),
            client: None,
            client_lag_ns: DenseHistogram::new(HANDLING_BITS),
            histograms: TIMED.map(|timed| Buckets::new(timed.bounds_s)),
        }
    }

    /// Count an event of the run. Requests of the warm-up are left out.
    pub fn on(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Exchange(exchange) if exchange.record.phase == Phase::Measured => {
                self.push(&exchange.record);
            }
            RunEvent::Snapshot(snapshot) => {
                self.in_flight = snapshot.load.in_flight;
                self.client = Some(snapshot.client.clone());
            }
            RunEvent::Exchange(_)
            | RunEvent::Conversation(_)
            | RunEvent::Warning(_)
            | RunEvent::Began(_)
            | RunEvent::Model(_) => {}
        }
    }

    fn push(&mut self, record: &RequestRecord) {
        self.totals.push(record);
        for (timed, buckets) in TIMED.iter().zip(&mut self.histograms) {
            timed.metric.samples(record, |ns| buckets.record(ns / 1e9));
        }
        let lag_ns = &mut self.client_lag_ns;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time in nanoseconds, which is never negative"
        )]
        Metric::ClientLag.samples(record, |ns| lag_ns.record(ns as u64));
    }

    /// How much of the run is done, 0 to 1.
    pub fn set_done(&mut self, ratio: f64) {
        self.done_ratio = ratio;
    }

    /// The run is over.
    pub fn end(&mut self, state: RunState) {
        self.state = state;
    }

    fn is_client_limited(&self) -> bool {
        let lag_p99 = self.client_lag_ns.snapshot().quantile(0.99);
        let lag_ms = Distribution {
            p99: lag_p99.map(|ns| ns / 1e6),
            ..Distribution::default()
        };
        let client = ClientReport::judge(self.client.as_ref(), &self.totals, &lag_ms);
        client.verdict == Verdict::ClientLimited
    }

    /// CPU time over the time of the run: 1 is one core without a pause.
    fn cpu_ratio(&self) -> Option<f64> {
        let client = self.client.as_ref()?;
        (client.elapsed_s > 0.0).then(|| client.cpu_s / client.elapsed_s)
    }
}

/// The metrics of the runs of a command, those that are over too.
#[must_use]
pub fn text(runs: &[RunMetrics], format: Format) -> String {
    let mut page = Page::new(format);
    page.family(&Family::new(
        "evalscope_build_info",
        Kind::Info,
        "The version of the program.",
    ));
    page.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    counters(&mut page, runs);
    gauges(&mut page, runs);
    for (nth, timed) in TIMED.iter().enumerate() {
        page.family(&timed.family);
        for run in runs {
            run.histograms[nth].write(&mut page, &labels(run));
        }
    }
    page.finish()
}

fn counters(page: &mut Page, runs: &[RunMetrics]) {
    page.family(&Family::new(
        "evalscope_requests_total",
        Kind::Counter,
        "Measured requests that have ended, by result and kind of failure.",
    ));
    for run in runs {
        let mut sample = |result, kind: &str, count: u64| {
            let mut labels = labels(run);
            labels.extend([("result", result), ("kind", kind)]);
            page.sample("", &labels, count);
        };
        sample("success", "", run.totals.succeeded);
        for (kind, count) in &run.totals.failed_by_kind {
            sample("failure", &kind.to_string(), *count);
        }
    }
    for (name, help, count) in TOKENS {
        page.family(&Family::new(name, Kind::Counter, help));
        for run in runs {
            page.sample("", &labels(run), count(&run.totals));
        }
    }
}

/// A counter of tokens: its name, its help, and its value.
type Tokens = (&'static str, &'static str, fn(&RunTotals) -> u64);

const TOKENS: [Tokens; 2] = [
    (
        "evalscope_input_tokens_total",
        "Prompt tokens of measured requests that succeeded.",
        |totals| totals.input_tokens,
    ),
    (
        "evalscope_output_tokens_total",
        "Output tokens of measured requests that succeeded.",
        |totals| totals.output_tokens,
    ),
];

/// A gauge: its name, its help, and its value, if it has one.
type Gauge = (&'static str, &'static str, fn(&RunMetrics) -> Option<f64>);

const GAUGES: [Gauge; 6] = [
    (
        "evalscope_requests_in_flight",
        "Requests in flight, those of the warm-up included.",
        |run| Some(run.in_flight as f64),
    ),
    (
        "evalscope_concurrency",
        "Requests in flight at a time, as asked for.",
        |run| run.facts.concurrency.map(|places| places as f64),
    ),
    (
        "evalscope_run_progress_ratio",
        "How much of the run is done, 0 to 1.",
        |run| Some(run.done_ratio),
    ),
    (
        "evalscope_run_start_time_seconds",
        "When the run started, Unix time.",
        |run| Some(run.facts.started_unix_s),
    ),
    (
        "evalscope_client_limited",
        "1 if some figures may show the client rather than the server.",
        |run| Some(f64::from(u8::from(run.is_client_limited()))),
    ),
    (
        "evalscope_client_cpu_ratio",
        "CPU time of the client over the time of the run; 1 is one core without a pause.",
        RunMetrics::cpu_ratio,
    ),
];

fn gauges(page: &mut Page, runs: &[RunMetrics]) {
    for (name, help, value) in GAUGES {
        page.family(&Family::new(name, Kind::Gauge, help));
        for run in runs {
            if let Some(value) = value(run) {
                page.sample("", &labels(run), value);
            }
        }
    }
    page.family(&Family::new(
        "evalscope_run_state",
        Kind::Gauge,
        "1 for the state that the run is in.",
    ));
    for run in runs {
        for state in STATES {
            let mut labels = labels(run);
            labels.push(("state", state.as_str()));
            page.sample("", &labels, u64::from(run.state == state));
        }
    }
}

fn labels(run: &RunMetrics) -> Vec<(&'static str, &str)> {
    let Labels { run, model, shard } = &run.facts.labels;
    let shard = shard.as_deref().map(|shard| ("shard", shard));
    let mut labels = vec![("run", run.as_str()), ("model", model.as_str())];
    labels.extend(shard);
    labels
}

#[cfg(test)]
mod tests;
