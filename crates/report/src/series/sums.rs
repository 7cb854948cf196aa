//! Owns how the records of a run become its [`RunSeries`]: read once, the warm-up twice.
//!
//! It must not know what the sums of a chart are made of. Memory: about 20 kilobytes for each bin of time
//! and metric, 40 bytes for each request, and the requests that are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use evalscope_model::metrics::{Metric, token_neighbours};
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::{RunClock, Timestamp};

use super::axis::{Bounds, Clock, TimeAxis, Walk};
use super::curve::{Curve, OverTime};
use super::decode::FirstTokens;
use super::density::DensitySums;
use super::flow::FlowSums;
use super::gaps::Stalls;
use super::in_flight::{InFlight, Spans};
use super::kept::{Keeper, KeptRequests};
use super::lag::Lags;
use super::lengths::LengthSums;
use super::missing::Missing;
use super::spread::Spread;
use super::{KEPT_IN_PAGE, OVER_TIME, RunSeries, WITH_CURVES};
use crate::report::RunReport;
use crate::source::RecordSource;
use crate::sqlite::{Reader, StoreError};

/// Room for the starts and ends of so many requests is made at first.
const MOST_AT_FIRST: u64 = 1 << 20;

impl RunSeries {
    /// What the charts of a run show, from the database that its report was made from. All requests are
    /// kept that a page may keep one by one: see [`Self::with_at_most`]. There are so many bins of time at
    /// most.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn load(report: &RunReport, most_bins: u64) -> Result<Self, StoreError> {
        let reader = Reader::open(&report.database)?;
        Self::of(&[&reader], report, most_bins)
    }

    /// The same with so many requests kept one by one: the run's part of [`super::KEPT_IN_PAGE`].
    #[must_use]
    pub fn with_at_most(&self, requests: usize) -> Self {
        Self {
            kept: self.kept.at_most(requests),
            ..self.clone()
        }
    }

    /// The same of the parts of one run.
    ///
    /// # Errors
    /// If a part cannot be read.
    pub fn of(
        parts: &[&dyn RecordSource],
        report: &RunReport,
        most_bins: u64,
    ) -> Result<Self, StoreError> {
        let mut warmup_from: Option<Timestamp> = None;
        let clock = &report.meta.clock;
        each_for_charts(parts, clock, Phase::Warmup, &mut |record| {
            if record.dispatched() {
                let at = record.times.dispatched;
                warmup_from = Some(warmup_from.map_or(at, |first| first.min(at)));
            }
        })?;
        let mut requests = 0;
        for part in parts {
            requests += part.count(Phase::Measured)?;
        }
        let Some(mut builder) = SeriesBuilder::new(report, warmup_from, requests, most_bins) else {
            return Ok(Self::without_requests(report));
        };
        for phase in [Phase::Warmup, Phase::Measured] {
            each_for_charts(parts, clock, phase, &mut |record| builder.push(record))?;
        }
        Ok(builder.finish(report))
    }

    fn without_requests(report: &RunReport) -> Self {
        let totals = &report.totals;
        let none = Missing::NoRequests;
        Self {
            axis: TimeAxis {
                t0_unix_ns: 0,
                width_ns: 0,
                warmup_bins: 0,
                measured_bins: 0,
                length_ns: 0,
            },
            bounds: Bounds::default(),
            curves: WITH_CURVES.map(|metric| (metric, Err(none))).into(),
            over_time: OVER_TIME.map(|metric| (metric, Err(none))).into(),
            flow: Err(none),
            in_flight: Err(none),
            client: Err(none),
            kept: KeptRequests {
                total: totals.not_sent + totals.shed,
                ..KeptRequests::default()
            },
            ttft_by_input: Err(none),
            gaps: Err(none),
            output_lengths: Err(none),
            decode_by_load: Err(none),
        }
    }
}

/// Hand the records of a phase of all parts to `sink`, with all moments on the clock of the part that began
/// first.
fn each_for_charts(
    parts: &[&dyn RecordSource],
    first: &RunClock,
    phase: Phase,
    sink: &mut dyn FnMut(RequestRecord),
) -> Result<(), StoreError> {
    parts.iter().try_for_each(|part| {
        let later_ns = part.meta().clock.wall_start_ns - first.wall_start_ns;
        part.for_each_for_charts(phase, &mut |_, mut record| {
            if later_ns > 0 {
                record.rebase(Duration::from_nanos(later_ns));
            }
            sink(record);
            Ok(())
        })
    })
}

/// Sums up a [`RunSeries`] from records, one at a time, in any order.
#[derive(Debug)]
struct SeriesBuilder {
    clock: Clock,
    walk: Walk,
    bounds: Bounds,
    /// For each of [`OVER_TIME`], for each bin.
    over_time: Vec<(Metric, Vec<Spread>)>,
    from_schedule: Spread,
    flow: FlowSums,
    spans: Spans,
    due: Option<Vec<f64>>,
    lags: Lags,
    keeper: Keeper,
    density: DensitySums,
    stalls: Stalls,
    lengths: LengthSums,
    first_tokens: FirstTokens,
}

impl SeriesBuilder {
    /// `None` if the run has sent no measured request.
    fn new(
        report: &RunReport,
        warmup_from: Option<Timestamp>,
        requests: u64,
        most_bins: u64,
    ) -> Option<Self> {
        let totals = &report.totals;
        let (t0, end) = (totals.first_dispatch?, totals.last_end?);
        let unix_ns = report.meta.clock.unix_ns(t0);
        let clock = Clock::new(t0, end, warmup_from, unix_ns, most_bins);
        let plateau = report.plateau.as_ref().ok().map(|plateau| &plateau.totals);
        let t0_s = t0.as_nanos() as f64 / 1e9;
        let bounds = Bounds {
            warmup_start_s: warmup_from.map(|at| clock.seconds(at)),
            drain_start_s: 0.0,
            end_s: clock.seconds(end),
            plateau_s: plateau.map(|plateau| (plateau.start_s - t0_s, plateau.end_s - t0_s)),
        };
        let bins = clock.axis().len();
        let room = usize::try_from(requests.min(MOST_AT_FIRST)).expect("a million at most");
        Some(Self {
            clock,
            walk: Walk::new(clock),
            bounds,
            over_time: OVER_TIME
                .map(|metric| (metric, vec![Spread::default(); bins]))
                .to_vec(),
            from_schedule: Spread::default(),
            flow: FlowSums::new(clock),
            spans: Spans::with_capacity(room),
            due: report.is_paced().then(|| vec![0.0; bins]),
            lags: Lags::new(clock, report.is_paced()),
            keeper: Keeper::new(clock, KEPT_IN_PAGE),
            density: DensitySums::default(),
            stalls: Stalls::new(report.metric(Metric::Itl).p50.unwrap_or(0.0)),
            lengths: LengthSums::default(),
            first_tokens: FirstTokens::new(clock),
        })
    }

    fn push(&mut self, record: RequestRecord) {
        self.sum_up(&record);
        self.keeper.push(record);
    }

    fn sum_up(&mut self, record: &RequestRecord) {
        let times = &record.times;
        if record.dispatched() {
            let (start, end) = (
                self.clock.nanos(times.dispatched),
                self.clock.nanos(times.ended),
            );
            self.spans.push(start, end);
            self.push_over_time(record);
        }
        if record.phase == Phase::Warmup {
            return;
        }
        Metric::LatencyFromSchedule.samples(record, |value| self.from_schedule.push(value));
        if let Some(due) = &mut self.due {
            due[self.clock.measured_bin(times.scheduled)] += 1.0;
        }
        if !record.dispatched() {
            return;
        }
        self.bounds.drain_start_s = self
            .bounds
            .drain_start_s
            .max(self.clock.seconds(times.dispatched));
        self.flow.push(record);
        self.lags.push(record);
        self.density.push(record);
        self.lengths.push(record);
    }

    fn push_over_time(&mut self, record: &RequestRecord) {
        let (clock, walk) = (self.clock, &mut self.walk);
        // what is of the warm-up never counts from time 0 on
        let mut bin_at = |at: Timestamp| match record.phase {
            Phase::Measured => Some(walk.bin(at)),
            Phase::Warmup => clock.bin(at).filter(|bin| *bin < clock.axis().warmup_bins),
        };
        for (metric, bins) in &mut self.over_time {
            if *metric == Metric::Itl {
                if record.succeeded() {
                    token_neighbours(&record.events, |from, to| {
                        let gap_ns = to.nanos_since(from) as f64;
                        if let Some(bin) = bin_at(to) {
                            bins[bin].push(gap_ns);
                        }
                        if record.phase == Phase::Measured {
                            self.stalls.push(gap_ns);
                        }
                    });
                }
            } else if let Some(bin) = bin_at(record.times.dispatched) {
                metric.samples(record, |value| {
                    bins[bin].push(value);
                    if *metric == Metric::Tpot && record.phase == Phase::Measured {
                        self.first_tokens.push(record, value);
                    }
                });
            }
        }
    }

    fn finish(self, report: &RunReport) -> RunSeries {
        let axis = *self.clock.axis();
        let itl = report.metric(Metric::Itl);
        let spans = self.spans.finish();
        let (mean, max) = spans.by_bin(&self.clock);
        let sent = self.due.is_some().then(|| spans.starts_by_bin(&self.clock));
        let missing = |metric| why_missing(report, metric);
        let mut curves = BTreeMap::new();
        let mut over_time = BTreeMap::new();
        let mut gaps = Spread::default();
        for (metric, bins) in self.over_time {
            let measured = Spread::sum(&bins[axis.warmup_bins..]);
            let curve = Curve::of(&measured, metric.scale());
            curves.insert(metric, curve.map_err(|why| missing(metric).unwrap_or(why)));
            let series = OverTime::of(&bins, &measured, &axis, metric.scale());
            over_time.insert(metric, series.map_err(|why| missing(metric).unwrap_or(why)));
            if metric == Metric::Itl {
                gaps = measured;
            }
        }
        let metric = Metric::LatencyFromSchedule;
        let from_schedule = if report.is_paced() {
            Curve::of(&self.from_schedule, metric.scale())
                .map_err(|why| missing(metric).unwrap_or(why))
        } else {
            Err(Missing::NoSchedule)
        };
        curves.insert(metric, from_schedule);
        let concurrency = report.meta.load.concurrency;
        RunSeries {
            axis,
            bounds: self.bounds,
            curves,
            over_time,
            flow: Ok(self.flow.finish()),
            in_flight: Ok(InFlight {
                asked: concurrency.map(|places| places.get() as u64),
                sent_per_s: sent.map(|sent| axis.rates_per_s(&sent)),
                due_per_s: self.due.map(|due| axis.rates_per_s(&due)),
                max,
                mean: mean.clone(),
            }),
            client: Ok(self.lags.finish()),
            kept: self.keeper.finish(&mean, itl.p50),
            ttft_by_input: self
                .density
                .finish()
                .map_err(|why| missing(Metric::Ttft).unwrap_or(why)),
            gaps: self
                .stalls
                .finish(&gaps, itl.p50, itl.p99)
                .map_err(|why| missing(Metric::Itl).unwrap_or(why)),
            output_lengths: self
                .lengths
                .finish(&report.meta.settings)
                .map_err(|why| missing(Metric::OutputTokens).unwrap_or(why)),
            decode_by_load: self
                .first_tokens
                .finish(&spans)
                .map_err(|why| missing(Metric::Tpot).unwrap_or(why)),
        }
    }
}

/// Why a run has no sample of a metric; `None` if it has some.
fn why_missing(report: &RunReport, metric: Metric) -> Option<Missing> {
    if report.metric(metric).count > 0 {
        return None;
    }
    let of_streams = matches!(metric, Metric::Ttft | Metric::Tpot | Metric::Itl);
    Some(if report.totals.succeeded == 0 {
        Missing::NoSuccess
    } else if of_streams && report.totals.streamed == 0 {
        Missing::NotStreamed
    } else if metric == Metric::OutputTokens {
        Missing::NoTokenCounts
    } else {
        Missing::TooFewSamples
    })
}
