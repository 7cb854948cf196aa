//! Owns what is summed up while the records of a run are read, pass by pass.
//!
//! It must not know where records come from, nor how many passes there are.

use std::collections::BTreeMap;

use evalscope_model::metrics::{
    Accumulator, Delivery, Distribution, FailureAdjusted, FoundPlateau, Goodput,
    GoodputAccumulator, Interval, Judge, LoadWindows, Metric, PercentilesWithFailures, Plateau,
    PlateauAccumulator, PlateauSearch, PlateauTotals, Saturation, Series,
};
use evalscope_model::profile::Schedule;
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::Timestamp;
use serde::Serialize;

use super::passes::{Wanted, Work};
use crate::figures::{
    DueSpan, LoadSums, MixFigures, MixSums, PlateauFigures, SegmentFigures, SegmentSums, Segments,
    WithoutPlateau, start_of,
};
use crate::model::RunMeta;

/// 95 % intervals of percentiles within a run, in the unit of the metric; `null` if there are too
/// few requests, or if the server did not keep up with an open loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Intervals {
    /// Of the median.
    pub p50_ci: Option<Interval>,
    /// Of the 90th percentile.
    pub p90_ci: Option<Interval>,
    /// Of the 95th percentile.
    pub p95_ci: Option<Interval>,
    /// Of the 99th percentile.
    pub p99_ci: Option<Interval>,
}

/// The schedule of a run, and when it was.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    pub(super) span: DueSpan,
    pub(super) start: Timestamp,
}

/// What the passes find, each after those before it.
#[derive(Debug)]
pub(super) struct Found {
    meta: RunMeta,
    /// When measured requests were due.
    span: Option<DueSpan>,
    /// When any request was due, the warm-up included.
    first_due: Option<Timestamp>,
    pub(super) metrics: BTreeMap<Metric, Distribution>,
    pub(super) intervals: BTreeMap<Metric, Intervals>,
    pub(super) with_failures: BTreeMap<Metric, PercentilesWithFailures>,
    good: Option<GoodputAccumulator>,
    pub(super) load: Option<LoadSums>,
    pub(super) segments: Vec<SegmentFigures>,
    pub(super) saturations: Vec<(usize, Saturation)>,
    /// The steady part of an open loop with one constant rate.
    steady: Option<(Timestamp, Timestamp)>,
    place: Result<FoundPlateau, WithoutPlateau>,
    /// Those of the constant segments of a profile that has several.
    segment_places: Vec<(usize, FoundPlateau)>,
    /// The names of models, if there are several.
    models: Vec<String>,
    pub(super) by_model: Vec<MixFigures>,
    pub(super) by_url: Vec<MixFigures>,
    pub(super) segment_plateaus: BTreeMap<usize, Plateau>,
    plateau: Option<(Plateau, Option<Goodput>)>,
    plateau_metrics: BTreeMap<Metric, Distribution>,
}

impl Found {
    /// `models`: their names, by their numbers.
    pub(super) fn new(meta: &RunMeta, models: Vec<String>) -> Self {
        Self {
            meta: meta.clone(),
            span: None,
            first_due: None,
            metrics: BTreeMap::new(),
            intervals: BTreeMap::new(),
            with_failures: BTreeMap::new(),
            good: None,
            load: None,
            segments: Vec::new(),
            saturations: Vec::new(),
            steady: None,
            place: Err(WithoutPlateau::TooFewRequests),
            segment_places: Vec::new(),
            models: Some(models)
                .filter(|models| models.len() > 1)
                .unwrap_or_default(),
            by_model: Vec::new(),
            by_url: Vec::new(),
            segment_plateaus: BTreeMap::new(),
            plateau: None,
            plateau_metrics: BTreeMap::new(),
        }
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            paced: self.schedule().is_some(),
            objective: self.meta.objective.is_some(),
            segments: self
                .schedule()
                .is_some_and(|schedule| Segments::of(&schedule.profile, Timestamp::ZERO).is_some()),
            handoff: self.meta.reports_handoff(),
            mixed: !self.models.is_empty() || !self.urls().is_empty(),
        }
    }

    /// The URLs, if there are several.
    fn urls(&self) -> &[String] {
        match &self.meta.urls[..] {
            [] | [_] => &[],
            several => several,
        }
    }

    fn schedule(&self) -> Option<&Schedule> {
        self.meta.load.pacing.schedule()
    }

    /// A request of any phase was due: what the first pass learns of the schedule.
    pub(super) fn was_due(&mut self, record: &RequestRecord) {
        if !record.starts_session() {
            return;
        }
        let at = record.times.scheduled;
        if record.phase == Phase::Measured {
            self.span = Some(DueSpan::with(self.span, at));
        }
        self.first_due = Some(self.first_due.map_or(at, |first| first.min(at)));
    }

    /// When the schedule was; `None` without one, or without requests.
    pub(super) fn timing(&self) -> Option<Timing> {
        Some(Timing {
            span: self.span?,
            start: start_of(
                self.schedule()?,
                self.first_due?,
                self.meta.first_arrival_ns,
            ),
        })
    }

    fn judge(&self) -> Option<Judge> {
        let objective = self.meta.objective.as_ref()?;
        Some(Judge::new(
            objective.slo.clone(),
            objective.from,
            self.delivery(),
        ))
    }

    fn delivery(&self) -> Delivery {
        if self.meta.stream {
            Delivery::Stream
        } else {
            Delivery::Whole
        }
    }

    fn windows(&self) -> Option<LoadWindows> {
        let start = self.timing()?.start;
        let schedule = self.schedule().filter(|_| self.meta.load.is_open_loop())?;
        Some(LoadWindows::new(start, &schedule.profile, schedule.gaps))
    }

    /// Good requests, for a run of this length.
    pub(super) fn goodput(&mut self, duration_s: f64) -> Option<Goodput> {
        Some(self.good.take()?.finish(duration_s))
    }

    /// The figures of the plateau.
    pub(super) fn plateau(&mut self) -> Result<PlateauFigures, WithoutPlateau> {
        self.place?;
        let (totals, goodput) = self.plateau.take().ok_or(WithoutPlateau::TooFewRequests)?;
        Ok(PlateauFigures {
            totals,
            goodput,
            metrics: std::mem::take(&mut self.plateau_metrics),
        })
    }

    /// Where the plateau is, from what the passes so far have found.
    fn place_of(&self, search: &PlateauSearch) -> Result<FoundPlateau, WithoutPlateau> {
        if !self.meta.load.is_open_loop() {
            return search.closed_loop().map_err(Into::into);
        }
        if self.saturations.len() != 1 {
            return Err(WithoutPlateau::RateChanges);
        }
        search.open_loop(self.steady).map_err(Into::into)
    }
}

/// Sums up one pass.
#[derive(Debug)]
pub(super) struct Pass {
    metrics: Accumulator,
    intervals: Vec<(Metric, Series)>,
    with_failures: Vec<(Metric, FailureAdjusted)>,
    good: Option<GoodputAccumulator>,
    load: Option<LoadSums>,
    segments: Option<SegmentSums>,
    mix: Option<[MixSums; 2]>,
    windows: Option<LoadWindows>,
    search: Option<PlateauSearch>,
    plateau: Option<(FoundPlateau, PlateauTotals, Option<GoodputAccumulator>)>,
    segment_plateaus: Vec<(usize, FoundPlateau, PlateauTotals)>,
    plateau_metrics: Option<PlateauAccumulator>,
}

impl Pass {
    /// A pass for this work, after what earlier ones have found.
    pub(super) fn new(works: &[Work], found: &Found) -> Self {
        let delivery = found.delivery();
        let load = &found.meta.load;
        let (mut whole, mut of_segments, mut of_plateau) = (Vec::new(), Vec::new(), Vec::new());
        let mut of_mix = Vec::new();
        let mut pass = Self {
            metrics: Accumulator::new(&[]),
            intervals: Vec::new(),
            with_failures: Vec::new(),
            good: None,
            load: None,
            segments: None,
            mix: None,
            windows: None,
            search: None,
            plateau: None,
            segment_plateaus: Vec::new(),
            plateau_metrics: None,
        };
        for work in works {
            match *work {
                Work::Metric(metric) => whole.push(metric),
                Work::WithIntervals(metric) => pass.intervals.push((metric, Series::default())),
                Work::WithFailures(metric) => pass
                    .with_failures
                    .push((metric, FailureAdjusted::new(metric, delivery))),
                Work::Goodput => pass.good = found.judge().map(GoodputAccumulator::new),
                Work::Load => {
                    let open_loop = load.is_open_loop();
                    let timing = found.timing();
                    pass.load = timing.map(|timing| LoadSums::new(timing.span, open_loop));
                }
                Work::Segments(metric) => of_segments.push(metric),
                Work::Mix(metric) => of_mix.push(metric),
                Work::PlateauSearch => {
                    pass.windows = found.windows();
                    pass.search = Some(PlateauSearch::new(load.concurrency));
                }
                Work::PlateauTotals => {
                    pass.plateau = found.place.ok().map(|place| {
                        let good = found.judge().map(GoodputAccumulator::new);
                        (place, PlateauTotals::new(place), good)
                    });
                    let places = found.segment_places.iter();
                    pass.segment_plateaus = places
                        .map(|(segment, place)| (*segment, *place, PlateauTotals::new(*place)))
                        .collect();
                }
                Work::PlateauMetric(metric) => of_plateau.push(metric),
            }
        }
        pass.metrics = Accumulator::new(&whole);
        pass.mix = (!of_mix.is_empty()).then(|| {
            [
                MixSums::new(
                    |record| Some(record.asked_model?.index()),
                    &found.models,
                    &of_mix,
                ),
                MixSums::new(|record| Some(record.url?.index()), found.urls(), &of_mix),
            ]
        });
        pass.segments = found
            .timing()
            .and_then(|timing| Segments::of(&found.schedule()?.profile, timing.start))
            .filter(|_| !of_segments.is_empty())
            .map(|segments| SegmentSums::new(segments, &of_segments));
        pass.plateau_metrics = found
            .place
            .ok()
            .filter(|_| !of_plateau.is_empty())
            .map(|place| PlateauAccumulator::new(place.window, &of_plateau));
        pass
    }

    /// Warm-up requests matter to it.
    pub(super) fn needs_warmup(&self) -> bool {
        self.load.is_some()
            || self.segments.is_some()
            || self.search.is_some()
            || self.plateau.is_some()
            || !self.segment_plateaus.is_empty()
    }

    /// Add a record, measured or not.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        // later turns come when the server has responded: they are not of the schedule
        if record.starts_session() {
            if let Some(load) = &mut self.load {
                load.push(record);
            }
            if let Some(segments) = &mut self.segments {
                segments.push(record);
            }
            if let Some(windows) = &mut self.windows {
                windows.push(record);
            }
        }
        if let Some(search) = &mut self.search {
            search.push(record);
        }
        if let Some((_, totals, _)) = &mut self.plateau {
            totals.push(record);
        }
        let times = &record.times;
        for (_, place, totals) in &mut self.segment_plateaus {
            if place.window.start <= times.ended && times.dispatched <= place.window.end {
                totals.push(record);
            }
        }
        if record.phase == Phase::Measured {
            self.push_measured(record);
        }
    }

    fn push_measured(&mut self, record: &RequestRecord) {
        self.metrics.push(record);
        for mix in self.mix.iter_mut().flatten() {
            mix.push(record);
        }
        for (metric, series) in &mut self.intervals {
            metric.samples(record, |value| series.push(record.times.dispatched, value));
        }
        for (_, failures) in &mut self.with_failures {
            failures.push(record);
        }
        if let Some(good) = &mut self.good {
            good.push(record);
        }
        if let Some((place, _, Some(good))) = &mut self.plateau
            && place.window.holds(record)
        {
            good.push(record);
        }
        if let Some(metrics) = &mut self.plateau_metrics {
            metrics.push(record);
        }
    }

    /// Add what the pass has summed up to what is known.
    pub(super) fn finish(self, found: &mut Found) {
        found.metrics.extend(self.metrics.finish());
        for (metric, series) in self.intervals {
            let ordered = series.finish();
            let at = |p| Some(ordered.percentile(p)?.scaled(metric.scale()));
            let intervals = Intervals {
                p50_ci: at(0.50),
                p90_ci: at(0.90),
                p95_ci: at(0.95),
                p99_ci: at(0.99),
            };
            found.intervals.insert(metric, intervals);
            let distribution = ordered.distribution(metric.scale());
            found.metrics.insert(metric, distribution);
        }
        let with_failures = self.with_failures.into_iter();
        found
            .with_failures
            .extend(with_failures.map(|(metric, failures)| (metric, failures.finish())));
        found.good = self.good.or(found.good.take());
        found.load = self.load.or(found.load.take());
        if let Some(segments) = self.segments {
            segments.finish_into(&mut found.segments);
        }
        if let Some([by_model, by_url]) = self.mix {
            by_model.finish_into(&mut found.by_model);
            by_url.finish_into(&mut found.by_url);
        }
        for (window, load) in self.windows.iter().flat_map(LoadWindows::iter) {
            found.saturations.push((window.segment, load.verdict()));
            found.steady = load.steady();
        }
        if let Some(search) = &self.search {
            found.place = found.place_of(search);
            let windows = self.windows.iter().flat_map(LoadWindows::iter);
            let several = found.saturations.len() > 1 && found.wanted().segments;
            found.segment_places = windows
                .filter(|_| several)
                .filter_map(|(window, load)| {
                    Some((window.segment, search.open_loop(load.steady()).ok()?))
                })
                .collect();
        }
        let of_segments = self.segment_plateaus.into_iter();
        found.segment_plateaus.extend(
            of_segments.filter_map(|(segment, _, totals)| Some((segment, totals.finish().ok()?))),
        );
        if let Some((place, totals, good)) = self.plateau {
            match totals.finish() {
                Ok(totals) => {
                    let length_s = place.window.length_s();
                    let good = good.map(|good| good.finish(length_s));
                    found.plateau = Some((totals, good));
                }
                Err(why) => found.place = Err(why.into()),
            }
        }
        if let Some(metrics) = self.plateau_metrics {
            found.plateau_metrics.extend(metrics.finish());
        }
    }
}
