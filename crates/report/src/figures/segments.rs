//! Owns the figures of the segments of a profile: those of the requests that were due in each.
//!
//! It must not know how they are shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evalscope_model::metrics::{Accumulator, Distribution, Metric, Plateau, RunTotals, Saturation};
use evalscope_model::profile::{Profile, Segment};
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::Timestamp;

use super::load::nanos;

/// Profiles of more segments than this have no figures for each.
const MOST_SEGMENTS: usize = 200;

/// The main figures of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentFigures {
    /// Its position in the profile, from 0.
    pub position: usize,
    /// As `--rate` reads it, with the bursts at its start, and after the last segment.
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
    /// Successes that ended in it, per second; they may have been due before. `None` where the run was
    /// over before it.
    pub completed_per_s: Option<f64>,
    /// Distributions of the main metrics.
    pub metrics: BTreeMap<Metric, Distribution>,
    /// Whether the server kept up; `None` where the rate is not constant, or `--parallel` limits the
    /// load.
    pub saturation: Option<Saturation>,
    /// Its own plateau, where the profile has several constant rates.
    pub plateau: Option<Plateau>,
}

/// Where the segments of a profile with a length are in a run. Bursts have none: their requests are
/// due at the start of the segment that follows.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    list: Vec<(usize, Segment)>,
    /// What each is called, with the bursts whose requests it has.
    texts: Vec<String>,
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
        let (mut list, mut texts) = (Vec::new(), Vec::new());
        let mut bursts = String::new();
        for (position, segment) in all.iter().enumerate() {
            if segment.span_s() > 0.0 {
                texts.push(format!("{}{segment}", std::mem::take(&mut bursts)));
                list.push((position, *segment));
            } else {
                let _infallible = write!(bursts, "{segment},");
            }
        }
        if let (Some(last), Some(late)) = (texts.last_mut(), bursts.strip_suffix(',')) {
            let _infallible = write!(last, ",{late}");
        }
        if list.is_empty() || list.len() > MOST_SEGMENTS {
            return None;
        }
        let ends = list
            .iter()
            .scan(0.0, |end_s, (_, segment)| {
                *end_s += segment.span_s();
                Some(Timestamp::from_nanos(
                    start.as_nanos().saturating_add(nanos(*end_s)),
                ))
            })
            .collect();
        Some(Self {
            list,
            texts,
            ends,
            start,
        })
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
    /// The last moment at which a request was due.
    last_due: Option<Timestamp>,
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
            last_due: None,
        }
    }

    /// Add a record, measured or not, in any order.
    pub(crate) fn push(&mut self, record: &RequestRecord) {
        self.last_due = self.last_due.max(Some(record.times.scheduled));
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
        let Self {
            segments,
            sums,
            last_due,
        } = self;
        if figures.is_empty() {
            for (at, (position, segment)) in segments.list.iter().enumerate() {
                let start_s = segments.start_of(at).nanos_since(segments.start) as f64 / 1e9;
                figures.push(SegmentFigures {
                    position: *position,
                    text: segments.texts[at].clone(),
                    start_s,
                    end_s: start_s + segment.span_s(),
                    asked_rate_per_s: segment.amount() / segment.span_s(),
                    due: 0,
                    totals: RunTotals::default(),
                    completed_per_s: None,
                    metrics: BTreeMap::new(),
                    saturation: None,
                    plateau: None,
                });
            }
        }
        let mut was_reached = false;
        for (at, (figures, sum)) in figures.iter_mut().zip(sums).enumerate() {
            let is_pause = segments.list[at].1.amount() <= 0.0;
            was_reached = last_due.is_some_and(|last| segments.start_of(at) <= last)
                || was_reached && is_pause;
            figures.due = sum.due;
            figures.totals = sum.totals;
            figures.completed_per_s =
                was_reached.then(|| sum.completed as f64 / (figures.end_s - figures.start_s));
            figures.metrics.extend(sum.metrics.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_nanos(at * 1_000_000)
    }

    fn request(due: u64, ended: u64) -> RequestRecord {
        let mut record = samples::success(0).record;
        record.times.scheduled = ms(due);
        record.times.ended = ms(ended);
        record
    }

    #[test]
    fn requests_belong_to_the_segment_in_which_they_were_due() {
        let profile: Profile = "2@1,+2,0..4@2,+1".parse().unwrap();
        let segments = Segments::of(&profile, ms(100)).unwrap();
        let mut sums = SegmentSums::new(segments, &[Metric::Latency]);
        for (due, ended) in [
            (100, 300),
            (1099, 1500),
            // a burst is due at the start of what follows
            (1100, 1400),
            (3099, 3200),
            // later than the profile is long: a late arrival of its last segment
            (3200, 3300),
        ] {
            sums.push(&request(due, ended));
        }
        let mut figures = Vec::new();
        sums.finish_into(&mut figures);
        let [first, second] = &figures[..] else {
            panic!("{figures:?}");
        };
        assert_eq!((first.position, second.position), (0, 2));
        assert_eq!((&*first.text, &*second.text), ("2@1", "+2,0..4@2,+1"));
        assert_eq!((first.start_s, first.end_s, second.end_s), (0.0, 1.0, 3.0));
        assert_eq!(
            (first.asked_rate_per_s, second.asked_rate_per_s),
            (2.0, 2.0)
        );
        assert_eq!((first.due, second.due), (2, 3));
        assert_eq!((first.totals.succeeded, second.totals.succeeded), (2, 3));
        // one ended in the first second, two in the two that follow, two after the profile
        assert_eq!(
            (first.completed_per_s, second.completed_per_s),
            (Some(1.0), Some(1.0))
        );
        assert_eq!(second.metrics[&Metric::Latency].count, 3);
    }

    /// A run that ended in its first segment: what still ended later is not the work of a load that
    /// never came. In a pause, the server works off what came before.
    #[test]
    fn segments_that_were_not_reached_have_completed_nothing() {
        let profile: Profile = "2@1,0@1,4@1,0@1,4@1".parse().unwrap();
        let mut sums = SegmentSums::new(Segments::of(&profile, ms(0)).unwrap(), &[]);
        for (due, ended) in [(0, 100), (500, 1200), (900, 2300)] {
            sums.push(&request(due, ended));
        }
        let mut figures = Vec::new();
        sums.finish_into(&mut figures);
        let completed: Vec<_> = figures.iter().map(|f| f.completed_per_s).collect();
        assert_eq!(completed, [Some(1.0), Some(1.0), None, None, None]);
    }

    #[test]
    fn a_plain_rate_and_a_long_profile_have_no_segments() {
        let plain = Profile::Constant { rate_per_s: 1.0 };
        assert!(Segments::of(&plain, ms(0)).is_none());
        let of = |n: usize| {
            let profile: Profile = vec!["1@1"; n].join(",").parse().unwrap();
            Segments::of(&profile, ms(0))
        };
        assert!(of(MOST_SEGMENTS).is_some());
        assert!(of(MOST_SEGMENTS + 1).is_none());
    }
}
