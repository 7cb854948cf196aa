//! Owns the figures of a run with a schedule: what was asked for, what was sent, what the server
//! served, and whether it kept up.
//!
//! It must not know how a verdict is found ([`evalscope_model::metrics::LoadWindow`]).

use std::collections::HashMap;

use evalscope_model::metrics::{LoadVerdict, Saturation};
use evalscope_model::plan::StoppedBy;
use evalscope_model::profile::{Gaps, Profile, Schedule, Segment};
use evalscope_model::record::{FailureKind, Phase, RequestRecord};
use evalscope_model::time::Timestamp;
use serde::Serialize;

/// How far the sends of a second were from what was due in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct SentInSecond {
    /// The largest difference, requests.
    pub max: u64,
    /// The root of the mean square of the differences, requests.
    pub rms: f64,
}

/// Requests in flight, those that waited for room and the warm-up included, while requests were due.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct InFlight {
    /// The mean over time.
    pub mean: f64,
    /// The most.
    pub max: u64,
    /// When the last request was due, that one included.
    pub end: u64,
}

/// The verdict on a load: that on its constant rate, or on the worst of the constant rates of its
/// profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Which segment of the profile it is about, from 0; `None` where there is only one rate.
    pub segment: Option<usize>,
    /// The verdict, and what it rests on.
    pub saturation: Saturation,
}

/// The figures of a run with a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadFigures {
    /// Arrivals that the schedule asks for over its length; `None` for a single moment.
    pub asked_rate_per_s: Option<f64>,
    /// Arrivals as they were drawn.
    pub drawn_rate_per_s: Option<f64>,
    /// Sends.
    pub sent_rate_per_s: Option<f64>,
    /// How far sends were from the schedule, in whole seconds; `None` in shorter runs.
    pub sent_in_second: Option<SentInSecond>,
    /// Successes that ended while requests were due.
    pub completed_per_s: Option<f64>,
    /// Requests in flight; `None` without requests.
    pub in_flight: Option<InFlight>,
    /// From the last moment at which a request was due to the last end.
    pub drain_s: Option<f64>,
    /// Did the server keep up? `None` where `--parallel` limits the load, and where no rate is
    /// constant.
    pub judged: Option<Judged>,
    /// When a request first found as many in flight as may be, after the schedule's start; `None`:
    /// never, or `--parallel` limits the load.
    pub cap_reached_s: Option<f64>,
    /// Requests that waited for room.
    pub waited: u64,
    /// What ended the run before its number, its time and its profile.
    pub stopped_by: Option<StoppedBy>,
}

impl LoadFigures {
    /// The verdict.
    #[must_use]
    pub fn verdict(&self) -> Option<LoadVerdict> {
        self.judged.map(|judged| judged.saturation.verdict)
    }
}

/// When a schedule began whose first request was due at `first`, which is so many nanoseconds after
/// its start. Where that is not known it is taken to be as long as the profile takes to make the
/// arrival that gaps make first, on average.
pub(crate) fn start_of(
    schedule: &Schedule,
    first: Timestamp,
    first_arrival_ns: Option<u64>,
) -> Timestamp {
    let offset_ns = first_arrival_ns.unwrap_or_else(|| {
        let amount = match schedule.gaps {
            Gaps::Constant => 0.0,
            Gaps::Poisson | Gaps::Gamma { .. } => 1.0,
        };
        nanos(seconds_at(&schedule.profile, amount))
    });
    Timestamp::from_nanos(first.as_nanos().saturating_sub(offset_ns))
}

/// When a profile has made so many arrivals.
fn seconds_at(profile: &Profile, amount: f64) -> f64 {
    let segments = match profile {
        Profile::Constant { rate_per_s } => return amount / rate_per_s,
        Profile::Segments(segments) => segments,
    };
    let (mut at_s, mut left) = (0.0, amount);
    for segment in segments {
        let makes = match segment {
            Segment::Burst { requests } => *requests as f64,
            rate @ Segment::Rate { .. } => rate.amount(),
        };
        if makes > 0.0 && left <= makes {
            return at_s + segment.seconds_at(left);
        }
        left -= makes;
        at_s += segment.span_s();
    }
    at_s
}

/// Seconds as whole nanoseconds.
pub(crate) fn nanos(seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "such a cast saturates, and times are not negative"
    )]
    let nanos = (seconds * 1e9).round() as u64;
    nanos
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.nanos_since(from) as f64 / 1e9
}

/// When the requests of a run were due, the measured ones first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueSpan {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl DueSpan {
    pub(crate) fn with(span: Option<Self>, at: Timestamp) -> Self {
        span.map_or(
            Self {
                first: at,
                last: at,
            },
            |span| Self {
                first: span.first.min(at),
                last: span.last.max(at),
            },
        )
    }
}

/// Sums up the load of a run with a schedule. Takes 16 bytes a request.
#[derive(Debug)]
pub(crate) struct LoadSums {
    span: DueSpan,
    /// Nothing limits the requests in flight but the safety of the machine.
    open_loop: bool,
    due: u64,
    sent: u64,
    sent_span: Option<DueSpan>,
    /// Requests due and sent, by the second of the run.
    by_second: HashMap<u64, (u64, u64)>,
    completed: u64,
    in_flight_ns: u128,
    in_flight_at_end: u64,
    begins: Vec<Timestamp>,
    ends: Vec<Timestamp>,
    last_end: Timestamp,
    waited: u64,
    cap_reached: Option<Timestamp>,
}

impl LoadSums {
    pub(crate) fn new(span: DueSpan, open_loop: bool) -> Self {
        Self {
            span,
            open_loop,
            due: 0,
            sent: 0,
            sent_span: None,
            by_second: HashMap::new(),
            completed: 0,
            in_flight_ns: 0,
            in_flight_at_end: 0,
            begins: Vec::new(),
            ends: Vec::new(),
            last_end: span.last,
            waited: 0,
            cap_reached: None,
        }
    }

    /// Add a record, measured or not, in any order.
    pub(crate) fn push(&mut self, record: &RequestRecord) {
        let times = &record.times;
        let shed = record
            .failure
            .as_ref()
            .is_some_and(|failure| failure.kind == FailureKind::Shed);
        let waited = !shed && times.slot_free > times.scheduled;
        if shed || waited && self.open_loop {
            let at = times.scheduled;
            self.cap_reached = Some(self.cap_reached.map_or(at, |first| first.min(at)));
        }
        if !shed {
            self.push_in_flight(times.scheduled, times.ended);
        }
        let inside = self.span.first <= times.ended && times.ended <= self.span.last;
        self.completed += u64::from(record.succeeded() && inside);
        if record.phase != Phase::Measured {
            return;
        }
        self.due += 1;
        self.waited += u64::from(waited);
        self.by_second.entry(second(times.scheduled)).or_default().0 += 1;
        if !record.dispatched() {
            return;
        }
        self.last_end = self.last_end.max(times.ended);
        if let Some(sent) = times.write_begun {
            self.sent += 1;
            self.sent_span = Some(DueSpan::with(self.sent_span, sent));
            self.by_second.entry(second(sent)).or_default().1 += 1;
        }
    }

    fn push_in_flight(&mut self, begin: Timestamp, end: Timestamp) {
        let DueSpan { first, last } = self.span;
        if begin > last || end <= first {
            return;
        }
        let begin = begin.max(first);
        self.in_flight_ns += u128::from(end.min(last).nanos_since(begin));
        self.in_flight_at_end += u64::from(end > last);
        self.begins.push(begin);
        self.ends.push(end);
    }

    /// The most at one time: a request that ends at a moment makes room for one that begins at it.
    fn most_in_flight(&mut self) -> u64 {
        self.begins.sort_unstable();
        self.ends.sort_unstable();
        let (mut ended, mut most) = (0, 0);
        for (begun, at) in self.begins.iter().enumerate() {
            while self.ends.get(ended).is_some_and(|end| end <= at) {
                ended += 1;
            }
            most = most.max(begun + 1 - ended.min(begun + 1));
        }
        most as u64
    }

    fn sent_in_second(&self) -> Option<SentInSecond> {
        let DueSpan { first, last } = self.span;
        let whole = first.as_nanos().div_ceil(1_000_000_000)..second(last);
        let n = whole.end.checked_sub(whole.start).filter(|n| *n > 0)?;
        let (mut max, mut squares) = (0, 0.0);
        for second in whole {
            let (due, sent) = self.by_second.get(&second).copied().unwrap_or_default();
            let apart = due.abs_diff(sent);
            max = max.max(apart);
            squares += apart as f64 * apart as f64;
        }
        Some(SentInSecond {
            max,
            rms: (squares / n as f64).sqrt(),
        })
    }

    /// The figures of a schedule that began at `start`. `profile_ended`: nothing cut it short.
    pub(crate) fn finish(
        mut self,
        schedule: &Schedule,
        start: Timestamp,
        profile_ended: bool,
        stopped_by: Option<StoppedBy>,
    ) -> LoadFigures {
        let DueSpan { first, last } = self.span;
        let length_s = seconds(first, last);
        let rate = |n: u64, over_s: f64| (n > 0 && over_s > 0.0).then(|| n as f64 / over_s);
        let asked_for_s = match schedule.profile.span_s().filter(|_| profile_ended) {
            Some(span_s) => span_s,
            None => seconds(start, last),
        };
        let asked = match schedule.profile.constant_per_s() {
            Some(rate_per_s) => Some(rate_per_s),
            None => (asked_for_s > 0.0)
                .then(|| schedule.profile.expected_within(asked_for_s) / asked_for_s),
        };
        let stopped_at_cap = stopped_by == Some(StoppedBy::InFlightCap);
        let cap_reached = self
            .cap_reached
            .or(stopped_at_cap.then_some(last))
            .filter(|_| self.open_loop);
        let most = self.most_in_flight();
        LoadFigures {
            asked_rate_per_s: asked,
            drawn_rate_per_s: rate(self.due.saturating_sub(1), length_s),
            sent_rate_per_s: self
                .sent_span
                .and_then(|sent| rate(self.sent.saturating_sub(1), seconds(sent.first, sent.last))),
            sent_in_second: self.sent_in_second(),
            completed_per_s: (length_s > 0.0).then(|| self.completed as f64 / length_s),
            in_flight: (length_s > 0.0).then(|| InFlight {
                mean: self.in_flight_ns as f64 / 1e9 / length_s,
                max: most,
                end: self.in_flight_at_end,
            }),
            drain_s: Some(seconds(last, self.last_end)),
            judged: None,
            cap_reached_s: cap_reached.map(|at| seconds(start, at)),
            waited: self.waited,
            stopped_by,
        }
    }
}

fn second(at: Timestamp) -> u64 {
    at.as_nanos() / 1_000_000_000
}

/// The verdict on a whole load, from those on its constant rates: the first of the worst.
pub(crate) fn worst(of_segments: &[(usize, Saturation)]) -> Option<Judged> {
    let badness = |saturation: &Saturation| match saturation.verdict {
        LoadVerdict::Saturated => 2,
        LoadVerdict::Undecided => 1,
        LoadVerdict::KeptUp => 0,
    };
    let (segment, saturation) = of_segments
        .iter()
        .rev()
        .max_by_key(|(_, saturation)| badness(saturation))?;
    Some(Judged {
        segment: (of_segments.len() > 1).then_some(*segment),
        saturation: *saturation,
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::metrics::LoadVerdict::{KeptUp, Saturated, Undecided as Open};
    use evalscope_model::metrics::Undecided;

    use super::*;
    use crate::samples;

    fn ms(at: u64) -> Timestamp {
        Timestamp::from_nanos(at * 1_000_000)
    }

    /// Due, sent and ended at these milliseconds.
    fn request(due: u64, sent: u64, ended: u64) -> RequestRecord {
        let mut record = samples::success(0).record;
        let times = &mut record.times;
        times.scheduled = ms(due);
        times.slot_free = ms(due);
        times.dispatched = ms(sent);
        times.write_begun = Some(ms(sent));
        times.ended = ms(ended);
        record
    }

    fn failed(mut record: RequestRecord, kind: FailureKind) -> RequestRecord {
        record.failure = Some(evalscope_model::record::Failure::new(kind, "no"));
        record
    }

    fn figures(schedule: &Schedule, records: &[RequestRecord], ended: bool) -> LoadFigures {
        let measured = records.iter().filter(|one| one.phase == Phase::Measured);
        let span = measured.fold(None, |span, record| {
            Some(DueSpan::with(span, record.times.scheduled))
        });
        let mut sums = LoadSums::new(span.unwrap(), true);
        for record in records {
            sums.push(record);
        }
        sums.finish(schedule, ms(0), ended, None)
    }

    #[test]
    fn figures_of_a_few_requests() {
        let mut warmup = request(0, 0, 1500);
        warmup.phase = Phase::Warmup;
        let figures = figures(
            &Schedule::poisson(1.0),
            &[
                warmup,
                request(1000, 1000, 2000),
                request(2000, 3100, 3500),
                failed(request(2500, 2500, 4000), FailureKind::Reset),
                failed(request(2600, 2600, 2600), FailureKind::Shed),
                request(5000, 5000, 8000),
            ],
            true,
        );
        let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
        close(figures.asked_rate_per_s, 1.0);
        // five were due in four seconds
        close(figures.drawn_rate_per_s, 4.0 / 4.0);
        // the first write at 1 s, the last at 5 s; what was shed was never sent
        close(figures.sent_rate_per_s, 3.0 / 4.0);
        // the warm-up's too, but not what failed or ended later
        close(figures.completed_per_s, 3.0 / 4.0);
        let in_flight = figures.in_flight.unwrap();
        // 0.5 s of the warm-up, 1 s, 1.5 s and 1.5 s, in four seconds
        close(Some(in_flight.mean), 4.5 / 4.0);
        assert_eq!((in_flight.max, in_flight.end), (2, 1));
        close(figures.drain_s, 3.0);
        // second 2: three were due, one was sent; second 3: none was due, one was sent
        let sent = figures.sent_in_second.unwrap();
        assert_eq!(sent.max, 2);
        close(Some(sent.rms), (5.0_f64 / 4.0).sqrt());
        close(figures.cap_reached_s, 2.6);
        assert_eq!(figures.waited, 0);
    }

    #[test]
    fn a_request_that_ends_makes_room_at_once() {
        let requests = [
            request(0, 0, 100),
            request(100, 100, 200),
            request(200, 200, 300),
        ];
        let figures = figures(&Schedule::poisson(10.0), &requests, true);
        assert_eq!(figures.in_flight.unwrap().max, 1);
    }

    #[test]
    fn a_single_request_has_no_rates() {
        let figures = figures(&Schedule::poisson(10.0), &[request(5, 5, 100)], true);
        assert_eq!(figures.drawn_rate_per_s, None);
        assert_eq!(figures.sent_rate_per_s, None);
        assert_eq!(figures.completed_per_s, None);
        assert_eq!(figures.in_flight, None);
    }

    #[test]
    fn a_request_that_waited_for_room_reached_the_cap() {
        let mut waited = request(1500, 2000, 3000);
        waited.times.slot_free = ms(1900);
        let figures = figures(
            &Schedule::poisson(1.0),
            &[request(0, 0, 1900), waited, request(3000, 3000, 3100)],
            true,
        );
        assert_eq!((figures.waited, figures.cap_reached_s), (1, Some(1.5)));
    }

    #[test]
    fn the_asked_rate_is_that_of_the_time_that_passed() {
        let schedule = |text: &str| Schedule {
            profile: text.parse().unwrap(),
            gaps: Gaps::Poisson,
        };
        let asked = |text, ended| {
            let requests = [request(0, 0, 10), request(10_000, 10_000, 10_010)];
            figures(&schedule(text), &requests, ended).asked_rate_per_s
        };
        assert_eq!(asked("1@10,3@10", true), Some(2.0));
        assert_eq!(asked("1@10,3@10", false), Some(1.0));
        assert_eq!(asked("0..2@20", false), Some(0.5));
    }

    #[test]
    fn a_schedule_begins_before_its_first_request() {
        for (profile, gaps, first, want) in [
            ("2@10", Gaps::Constant, 700, 700),
            ("2@10", Gaps::Poisson, 700, 200),
            ("0@3,2@10", Gaps::Constant, 3100, 100),
            ("0@3,2@10", Gaps::Poisson, 3700, 200),
            ("+5,1@10", Gaps::Poisson, 40, 40),
            // never before the run
            ("1@10", Gaps::Poisson, 300, 0),
        ] {
            let schedule = Schedule {
                profile: profile.parse().unwrap(),
                gaps,
            };
            let start = start_of(&schedule, ms(first), None);
            assert_eq!(start, ms(want), "{profile} {gaps}");
            assert_eq!(start_of(&schedule, ms(first), Some(0)), ms(first));
        }
    }

    #[test]
    fn the_worst_verdict_is_that_of_the_load() {
        let of = |verdict| Saturation {
            verdict,
            undecided: (verdict == LoadVerdict::Undecided).then_some(Undecided::NearCapacity),
            excess: None,
            excess_ci: None,
            since_s: None,
            capacity_per_s: None,
            steady_from_s: None,
            requests: 0,
        };
        for (verdicts, want) in [
            (&[KeptUp][..], Some((None, KeptUp))),
            (&[KeptUp, KeptUp], Some((Some(0), KeptUp))),
            (&[KeptUp, Open, Open], Some((Some(1), Open))),
            (&[Open, Saturated, Saturated], Some((Some(1), Saturated))),
            (&[], None),
        ] {
            let list: Vec<_> = verdicts
                .iter()
                .map(|verdict| of(*verdict))
                .enumerate()
                .collect();
            let judged = worst(&list).map(|judged| (judged.segment, judged.saturation.verdict));
            assert_eq!(judged, want);
        }
    }
}
