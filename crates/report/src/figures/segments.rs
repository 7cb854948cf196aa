//! Owns the figures of the segments of a profile: those of the requests that were due in each.
//!
//! It must not know how they are shown.

use std::collections::BTreeMap;

use evalscope_model::metrics::{Accumulator, Distribution, Metric, RunTotals, Saturation};
use evalscope_model::profile::{Profile, Segment};
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::Timestamp;

use super::load::nanos;

/// Profiles of more segments than this have no figures for each.
pub(crate) const MOST_SEGMENTS: usize = 200;

/// The main figures of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentFigures {
    /// Its position in the profile, from 0.
    pub position: usize,
    /// As `--rate` reads it.
    pub text: String,
    /// Its start, seconds after the schedule's.
    pub start_s: f64,
    /// Its end.
    pub end_s: f64,
    /// Mean arrivals that were asked for, per second; those of a burst at its start are not in it.
    pub asked_rate_per_s: f64,
    /// Requests that were due in it.
    pub due: u64,
    /// Sums over them.
    pub totals: RunTotals,
    /// Successes that ended in it, per second; they may have been due before.
    pub completed_per_s: f64,
    /// Distributions of the main metrics.
    pub metrics: BTreeMap<Metric, Distribution>,
    /// Whether the server kept up; `None` where the rate is not constant, or `--parallel` limits the
    /// load.
    pub saturation: Option<Saturation>,
}

/// Where the segments of a profile with a length are in a run. Bursts have none: their requests are
/// due at the start of the segment that follows.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    list: Vec<(usize, Segment)>,
    /// The end of each; each begins where the last one ends.
    ends: Vec<Timestamp>,
    start: Timestamp,
}

impl Segments {
    /// The segments of a profile that began at `start`; `None` for a plain rate, and for more than
    /// [`MOST_SEGMENTS`].
    pub(crate) fn of(profile: &Profile, start: Timestamp) -> Option<Self> {
        let Profile::Segments(all) = profile else {
            return None;
        };
        let long = all.iter().enumerate();
        let list: Vec<_> = long
            .filter(|(_, segment)| segment.span_s() > 0.0)
            .map(|(position, segment)| (position, *segment))
            .collect();
        if list.is_empty() || list.len() > MOST_SEGMENTS {
            return None;
        }
        let ends = list
            .iter()
            .scan(0.0, |end_s, (_, segment)| {
                *end_s += segment.span_s();
                Some(Timestamp::from_nanos(start.as_nanos() + nanos(*end_s)))
            })
            .collect();
        Some(Self { list, ends, start })
    }

    /// The one in which a moment is; what is after the last belongs to it.
    fn at(&self, moment: Timestamp) -> usize {
        let at = self.ends.partition_point(|end| *end <= moment);
        at.min(self.ends.len() - 1)
    }

    fn start_of(&self, at: usize) -> Timestamp {
        match at.checked_sub(1) {
            Some(before) => self.ends[before],
            None => self.start,
        }
    }
}

/// Sums up some metrics for each segment.
#[derive(Debug)]
pub(crate) struct SegmentSums {
    segments: Segments,
    sums: Vec<Sum>,
}

#[derive(Debug)]
struct Sum {
    due: u64,
    totals: RunTotals,
    completed: u64,
    metrics: Accumulator,
}

impl SegmentSums {
    pub(crate) fn new(segments: Segments, metrics: &[Metric]) -> Self {
        let sums = segments.list.iter().map(|_| Sum {
            due: 0,
            totals: RunTotals::default(),
            completed: 0,
            metrics: Accumulator::new(metrics),
        });
        Self {
            sums: sums.collect(),
            segments,
        }
    }

    /// Add a record, measured or not, in any order.
    pub(crate) fn push(&mut self, record: &RequestRecord) {
        let ended = record.times.ended;
        let last = *self.segments.ends.last().expect("there is a segment");
        if record.succeeded() && self.segments.start <= ended && ended <= last {
            let at = self.segments.at(ended);
            self.sums[at].completed += 1;
        }
        if record.phase == Phase::Measured {
            let at = self.segments.at(record.times.scheduled);
            let sum = &mut self.sums[at];
            sum.due += 1;
            sum.totals.push(record);
            sum.metrics.push(record);
        }
    }

    /// The figures, or the metrics that an earlier pass has not summed up.
    pub(crate) fn finish_into(self, figures: &mut Vec<SegmentFigures>) {
        let Self { segments, sums } = self;
        if figures.is_empty() {
            for (at, (position, segment)) in segments.list.iter().enumerate() {
                let start_s = segments.start_of(at).nanos_since(segments.start) as f64 / 1e9;
                figures.push(SegmentFigures {
                    position: *position,
                    text: segment.to_string(),
                    start_s,
                    end_s: start_s + segment.span_s(),
                    asked_rate_per_s: segment.amount() / segment.span_s(),
                    due: 0,
                    totals: RunTotals::default(),
                    completed_per_s: 0.0,
                    metrics: BTreeMap::new(),
                    saturation: None,
                });
            }
        }
        for (figures, sum) in figures.iter_mut().zip(sums) {
            figures.due = sum.due;
            figures.totals = sum.totals;
            figures.completed_per_s = sum.completed as f64 / (figures.end_s - figures.start_s);
            figures.metrics.extend(sum.metrics.finish());
        }
    }
}
