//! Owns how the figures of a load, of its segments and of the plateau stand in `result.json`.
//!
//! It must not know how they were computed.

use std::collections::BTreeMap;

use evalscope_model::metrics::{
    Distribution, Goodput, Interval, LoadVerdict, Metric, PercentilesWithFailures, Plateau,
    Saturation, Undecided,
};
use evalscope_model::plan::{StoppedBy, WhenFull};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
#[cfg(test)]
use serde_json::Value;

use crate::figures::{InFlight, LoadFigures, PlateauFigures, SegmentFigures, SentInSecond};
use crate::report::{Intervals, RunReport};

/// The load a run was asked for, and with `--rate` what became of it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Load {
    /// The most requests in flight at a time; `null`: an open loop.
    pub concurrency: Option<u64>,
    /// Measured requests; `null`: as many as there was time for.
    pub requests: Option<u64>,
    /// Mean arrivals per second; `null`: a slot sends its next when its last has ended.
    pub rate_per_s: Option<f64>,
    /// The profile of the rate, as `--rate` reads it; `null` without one, and for a plain rate.
    pub profile: Option<String>,
    /// The gaps between arrivals, as `--arrivals` reads them; `null` without a rate.
    pub arrivals: Option<String>,
    /// Requests sent first and left out of every figure.
    pub warmup_requests: u64,
    /// Dispatching stops this long after the first dispatch, seconds.
    pub duration_s: Option<f64>,
    /// How long requests may go on after the last dispatch, seconds; `null`: as long as they take.
    pub drain_timeout_s: Option<f64>,
    /// Open loop: the most requests in flight that were asked for; `null`: as many as the machine can
    /// hold.
    pub max_in_flight: Option<u64>,
    /// Open loop: what happens to requests that are due then: `wait`, `drop` or `stop`; `null` in
    /// closed loops.
    pub when_full: Option<String>,
    /// Root of every random draw.
    pub seed: u64,
    /// Prompts of the dataset that earlier runs of the command used.
    pub dataset_offset: u64,
    /// Arrivals per second that the schedule asks for over its length; this and the following keys
    /// are `null` without `--rate`.
    pub asked_rate_per_s: Option<f64>,
    /// Arrivals per second as they were drawn.
    pub drawn_rate_per_s: Option<f64>,
    /// Sends per second.
    pub sent_rate_per_s: Option<f64>,
    /// How far the sends of a second were from what was due in it, over whole seconds.
    pub sent_in_second: Option<SentInSecond>,
    /// Successes per second that ended while requests were due: what the server serves, without the
    /// drain.
    pub completed_per_s: Option<f64>,
    /// Requests in flight while requests were due.
    pub in_flight: Option<InFlight>,
    /// From the last moment at which a request was due to the last end, seconds.
    pub drain_s: Option<f64>,
    /// Open loop: did the server keep up?
    pub verdict: Option<LoadVerdict>,
    /// Why the verdict is undecided.
    pub undecided: Option<Undecided>,
    /// Which segment of the profile the verdict is about, from 0; `null` where only one has a constant
    /// rate.
    pub verdict_segment: Option<u64>,
    /// Share of the arrivals that was not served; chance may make it negative.
    pub excess: Option<f64>,
    /// 95 % interval of the excess. Unless the server kept up, it allows for a backlog that is never
    /// empty, a random walk.
    pub excess_ci: Option<Interval>,
    /// Since when the backlog has only been above where it began, seconds after the start of this
    /// rate; only when saturated.
    pub since_s: Option<f64>,
    /// What the server can serve, requests per second; only when saturated.
    pub capacity_per_s: Option<f64>,
    /// Where the start was taken to be over, seconds after the start of this rate.
    pub steady_from_s: Option<f64>,
    /// Open loop: when a request first found as many in flight as may be, seconds after the start of
    /// the schedule; `null`: never.
    pub cap_reached_s: Option<f64>,
    /// Requests that waited for room.
    pub waited: Option<u64>,
    /// Requests that were due while as many were in flight as may be, and were not sent.
    pub shed: Option<u64>,
    /// Requests that were given up: by the end of the drain timeout, or by the stop of the run.
    pub unfinished: Option<u64>,
    /// What ended the run before its number, its time and its profile: `in_flight_cap` or
    /// `saturated`.
    pub stopped_by: Option<&'static str>,
}

impl Load {
    pub(super) fn of(report: &RunReport) -> Self {
        let spec = &report.meta.load;
        let schedule = spec.pacing.schedule();
        let figures = report.load.as_ref();
        let judged = figures.and_then(|figures| figures.judged);
        let saturation = judged.map(|judged| judged.saturation);
        let of = |get: fn(&LoadFigures) -> Option<f64>| figures.and_then(get);
        let judged_by = |get: fn(&Saturation) -> Option<f64>| saturation.as_ref().and_then(get);
        Self {
            concurrency: spec.concurrency.map(|slots| slots.get() as u64),
            requests: spec.requests,
            rate_per_s: report.rate_per_s(),
            profile: schedule
                .filter(|schedule| schedule.profile.constant_per_s().is_none())
                .map(|schedule| schedule.profile.to_string()),
            arrivals: schedule.map(|schedule| schedule.gaps.to_string()),
            warmup_requests: spec.warmup_requests,
            duration_s: spec.duration_s,
            drain_timeout_s: spec.drain_timeout_s,
            max_in_flight: spec.open_loop.max_in_flight.map(|most| most.get() as u64),
            when_full: spec.is_open_loop().then(|| {
                match spec.open_loop.when_full {
                    WhenFull::Wait => "wait",
                    WhenFull::Drop => "drop",
                    WhenFull::Stop => "stop",
                }
                .to_owned()
            }),
            seed: spec.seed,
            dataset_offset: spec.dataset_offset,
            asked_rate_per_s: of(|figures| figures.asked_rate_per_s),
            drawn_rate_per_s: of(|figures| figures.drawn_rate_per_s),
            sent_rate_per_s: of(|figures| figures.sent_rate_per_s),
            sent_in_second: figures.and_then(|figures| figures.sent_in_second),
            completed_per_s: of(|figures| figures.completed_per_s),
            in_flight: figures.and_then(|figures| figures.in_flight),
            drain_s: of(|figures| figures.drain_s),
            verdict: saturation.map(|saturation| saturation.verdict),
            undecided: saturation.and_then(|saturation| saturation.undecided),
            verdict_segment: judged.and_then(|judged| Some(judged.segment? as u64)),
            excess: judged_by(|saturation| saturation.excess),
            excess_ci: saturation.and_then(|saturation| saturation.excess_ci),
            since_s: judged_by(|saturation| saturation.since_s),
            capacity_per_s: judged_by(|saturation| saturation.capacity_per_s),
            steady_from_s: judged_by(|saturation| saturation.steady_from_s),
            cap_reached_s: of(|figures| figures.cap_reached_s),
            waited: figures.map(|figures| figures.waited),
            shed: figures.map(|_| report.totals.shed),
            unfinished: figures.map(|_| report.totals.unfinished),
            stopped_by: figures
                .and_then(|figures| figures.stopped_by)
                .map(StoppedBy::as_str),
        }
    }
}

/// The requests that were due in a segment of a profile.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Segment<'a> {
    /// Its position in the profile, from 0.
    pub position: u64,
    /// As `--rate` reads it, with the bursts at its start, and after the last segment.
    pub segment: &'a str,
    /// Its start, seconds after the schedule's.
    pub start_s: f64,
    /// Its end, seconds after the schedule's start.
    pub end_s: f64,
    /// Mean arrivals per second that it asks for, without a burst at its start.
    pub asked_rate_per_s: f64,
    /// Requests that were due in it.
    pub due: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were never sent, since the run ended before.
    pub not_sent: u64,
    /// Those that were not sent, since as many were in flight as may be.
    pub shed: u64,
    /// Those that were given up.
    pub unfinished: u64,
    /// Successes per second that ended in it, whenever they were due; `null` where the run was over
    /// before it.
    pub completed_per_s: Option<f64>,
    /// Whether the server kept up; `null` where the rate is not constant, or `--parallel` limits the
    /// load.
    pub saturation: Option<Saturation>,
    /// Its own plateau, where the profile has several constant rates; `null` elsewhere, and if there is
    /// none.
    pub plateau: Option<&'a Plateau>,
    /// Distributions of the main metrics.
    pub metrics: SomeMetrics<'a>,
}

impl<'a> Segment<'a> {
    pub(super) fn of(figures: &'a SegmentFigures) -> Self {
        let totals = &figures.totals;
        Self {
            position: figures.position as u64,
            segment: &figures.text,
            start_s: figures.start_s,
            end_s: figures.end_s,
            asked_rate_per_s: figures.asked_rate_per_s,
            due: figures.due,
            succeeded: totals.succeeded,
            failed: totals.failed(),
            not_sent: totals.not_sent,
            shed: totals.shed,
            unfinished: totals.unfinished,
            completed_per_s: figures.completed_per_s,
            saturation: figures.saturation,
            plateau: figures.plateau.as_ref(),
            metrics: SomeMetrics(&figures.metrics),
        }
    }
}

/// The part of a run in which the server was as loaded as it was meant to be.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlateauResult<'a> {
    /// Where it is, and throughput.
    #[serde(flatten)]
    pub totals: &'a Plateau,
    /// How many of its requests met the objective; `null` without one.
    pub goodput: Option<&'a Goodput>,
    /// Distributions of the main metrics.
    pub metrics: SomeMetrics<'a>,
}

impl<'a> PlateauResult<'a> {
    pub(super) fn of(figures: &'a PlateauFigures) -> Self {
        Self {
            totals: &figures.totals,
            goodput: figures.goodput.as_ref(),
            metrics: SomeMetrics(&figures.metrics),
        }
    }
}

/// Distributions of some metrics by their key, in the order of [`Metric::ALL`].
#[derive(Debug)]
pub struct SomeMetrics<'a>(pub(super) &'a BTreeMap<Metric, Distribution>);

impl Serialize for SomeMetrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (metric, distribution) in self.0 {
            map.serialize_entry(metric.key(), distribution)?;
        }
        map.end()
    }
}

#[cfg(test)]
impl schemars::JsonSchema for SomeMetrics<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SomeMetrics".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Distribution>();
        schemars::json_schema!({
            "type": "object",
            "description": "Distributions of the main metrics; the ending of a key is the unit.",
            "properties": properties(&one),
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
fn properties(one: &schemars::Schema) -> serde_json::Map<String, Value> {
    Metric::ALL
        .iter()
        .map(|metric| (metric.key().to_owned(), one.clone().to_value()))
        .collect()
}

/// The distribution of a metric, how sure its percentiles are, and what failures make of them.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MetricResult<'a> {
    /// The distribution.
    #[serde(flatten)]
    pub distribution: &'a Distribution,
    /// Intervals of percentiles within this run.
    #[serde(flatten)]
    pub intervals: Intervals,
    /// Percentiles in which requests that failed take endlessly long; `failed` where the percentile
    /// is one of these, `null` for metrics that have none.
    #[serde(flatten)]
    pub with_failures: PercentilesWithFailures,
}

/// Distributions by the key of their metric, in the order of [`Metric::ALL`]. Those of the hand-off
/// from prefill to decode are left out where there is none.
#[derive(Debug)]
pub struct Metrics<'a>(pub(super) &'a RunReport);

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(report) = self;
        let mut map = serializer.serialize_map(None)?;
        let has_place =
            |metric: &Metric| !metric.is_of_handoff() || report.metric(*metric).count > 0;
        for metric in Metric::ALL.into_iter().filter(has_place) {
            let result = MetricResult {
                distribution: report.metric(metric),
                intervals: report.intervals.get(&metric).copied().unwrap_or_default(),
                with_failures: report
                    .with_failures
                    .get(&metric)
                    .copied()
                    .unwrap_or_default(),
            };
            map.serialize_entry(metric.key(), &result)?;
        }
        map.end()
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Metrics<'_> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Metrics".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<MetricResult<'_>>();
        let always = Metric::ALL.into_iter().filter(|one| !one.is_of_handoff());
        let keys: Vec<_> = always.map(Metric::key).collect();
        schemars::json_schema!({
            "type": "object",
            "description": "Distributions by metric; the ending of a key is the unit.",
            "properties": properties(&one),
            "required": keys,
            "additionalProperties": false,
        })
    }
}
