//! The verdict on queues whose load is known.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;
use crate::metrics::tests::{draws, streamed};
use crate::metrics::{LoadWindows, Look, SaturationWatch, constant_windows};
use crate::profile::Profile;
use crate::record::{EventLog, Failure};

pub(crate) fn at(seconds: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "test moments are small and positive"
    )]
    Timestamp::from_nanos((seconds * 1e9) as u64)
}

/// A queue of Poisson arrivals, `servers` of them serving one request at a time, first come first
/// served.
#[derive(Clone, Copy)]
struct Queue {
    servers: usize,
    mean_service_s: f64,
    /// Of the service times, which are log-normal.
    cv: f64,
}

const SMALL: Queue = Queue {
    servers: 1,
    mean_service_s: 0.2,
    cv: 0.7,
};
const LARGE: Queue = Queue {
    servers: 16,
    mean_service_s: 2.0,
    cv: 0.7,
};
const HEAVY: Queue = Queue {
    servers: 64,
    mean_service_s: 5.0,
    cv: 1.8,
};

impl Queue {
    /// (due, ended), seconds, with the load `rho` for `span_s`.
    fn requests(self, rho: f64, span_s: f64, seed: u64) -> Vec<(f64, f64)> {
        let rate_per_s = rho * self.servers as f64 / self.mean_service_s;
        let squared_sigma = (1.0 + self.cv * self.cv).ln();
        let mut draws = draws(seed);
        let mut free: BinaryHeap<Reverse<Timestamp>> = vec![Reverse(at(0.0)); self.servers].into();
        let mut requests = Vec::new();
        let mut due_s = 0.0;
        loop {
            due_s -= draws.next().unwrap().ln() / rate_per_s;
            if due_s >= span_s {
                return requests;
            }
            let z = normal_quantile(draws.next().unwrap());
            let service = squared_sigma.sqrt() * z - squared_sigma / 2.0;
            let Reverse(free_at) = free.pop().unwrap();
            let begun_s = due_s.max(free_at.as_nanos() as f64 / 1e9);
            let ended_s = begun_s + self.mean_service_s * service.exp();
            free.push(Reverse(at(ended_s)));
            requests.push((due_s, ended_s));
        }
    }

    fn verdict(self, rho: f64, span_s: f64, seed: u64) -> Saturation {
        let mut load = LoadWindow::new(at(0.0), None, Gaps::Poisson);
        for (due_s, ended_s) in self.requests(rho, span_s, seed) {
            load.push(&record(due_s, ended_s));
        }
        load.verdict()
    }
}

/// A success that was due and ended then.
fn record(due_s: f64, ended_s: f64) -> RequestRecord {
    let mut record = streamed(&[], None);
    record.events = EventLog::default();
    record.times.scheduled = at(due_s);
    record.times.dispatched = at(due_s);
    record.times.last_data = Some(at(ended_s));
    record.times.ended = at(ended_s);
    record
}

#[test]
fn a_server_below_its_capacity_is_never_called_saturated() {
    for queue in [SMALL, LARGE, HEAVY] {
        for rho in [0.7, 0.9] {
            let verdicts = (0..8).map(|seed| queue.verdict(rho, 600.0, seed).verdict);
            let verdicts: Vec<LoadVerdict> = verdicts.collect();
            assert!(
                !verdicts.contains(&LoadVerdict::Saturated),
                "{rho} {verdicts:?}"
            );
            let kept_up = verdicts
                .iter()
                .filter(|v| **v == LoadVerdict::KeptUp)
                .count();
            assert!(kept_up >= 7, "{rho} {verdicts:?}");
        }
    }
}

#[test]
fn a_server_above_its_capacity_is_always_called_saturated() {
    for queue in [SMALL, LARGE, HEAVY] {
        let rho = 1.3;
        let mut excess = Vec::new();
        for seed in 0..8 {
            let found = queue.verdict(rho, 600.0, seed);
            assert_eq!(found.verdict, LoadVerdict::Saturated, "{found:?}");
            assert_eq!(found.undecided, None);
            let capacity = queue.servers as f64 / queue.mean_service_s;
            let share = found.capacity_per_s.unwrap() / capacity;
            assert!((share - 1.0).abs() < 0.15, "{found:?}");
            assert!(found.since_s >= found.steady_from_s, "{found:?}");
            excess.push(found.excess.unwrap());
        }
        let mean = excess.iter().sum::<f64>() / excess.len() as f64;
        // 1 − 1/ρ
        assert!((mean - 0.231).abs() < 0.03, "{excess:?}");
    }
}

/// At exactly full load the backlog wanders by chance, which is not a fault of the server.
#[test]
fn a_short_run_at_full_load_is_hardly_ever_called_saturated() {
    let verdicts: Vec<LoadVerdict> = (0..40)
        .map(|seed| LARGE.verdict(1.0, 60.0, seed).verdict)
        .collect();
    let saturated = verdicts.iter().filter(|v| **v == LoadVerdict::Saturated);
    assert!(saturated.count() <= 4, "{verdicts:?}");
}

/// Many requests in little time: 16 servers that take 0.1 s, for 20 s.
const QUICK: Queue = Queue {
    servers: 16,
    mean_service_s: 0.1,
    cv: 0.7,
};

/// Above capacity the backlog is never empty, so it is a random walk and not a line with a little
/// noise around it. (1 − 1/ρ is the excess in the long run; that of a run is beside it by chance.)
#[test]
fn above_capacity_the_excess_in_the_long_run_is_in_the_interval() {
    for (queue, span_s) in [(QUICK, 20.0), (LARGE, 60.0), (SMALL, 200.0)] {
        let rho = 1.3;
        let intervals: Vec<Interval> = (0..60)
            .filter_map(|seed| queue.verdict(rho, span_s, seed).excess_ci)
            .collect();
        assert_eq!(intervals.len(), 60);
        let in_the_long_run = 1.0 - 1.0 / rho;
        let missed = |ci: &&Interval| in_the_long_run < ci.low() || ci.high() < in_the_long_run;
        let missed = intervals.iter().filter(missed).count();
        // 3 of 60 are to be expected; 8 or more have a chance of 1 %
        assert!(missed <= 7, "{missed} of 60: {intervals:?}");
        // and it is not wide to be safe
        let widths = intervals.iter().map(|ci| ci.high() - ci.low());
        let mean = widths.sum::<f64>() / 60.0;
        assert!(mean < 0.25, "{mean} {intervals:?}");
    }
}

/// The verdict looks for a load above capacity, so exactly full load is what it must not be called
/// saturated at. Whether it is called kept up or undecided depends on the requests: many of them
/// show that less than 5 % can have been left over, few do not.
#[test]
fn at_full_load_requests_decide_between_kept_up_and_undecided() {
    let shares = |queue: Queue, span_s: f64| {
        let mut counts = [0; 3];
        for seed in 0..40 {
            let found = queue.verdict(1.0, span_s, seed);
            counts[match found.verdict {
                LoadVerdict::KeptUp => 0,
                LoadVerdict::Undecided => 1,
                LoadVerdict::Saturated => 2,
            }] += 1;
        }
        counts
    };
    // some 3,200 requests, 160, and 100
    let (many, few, one_by_one) = (
        shares(QUICK, 20.0),
        shares(LARGE, 20.0),
        shares(SMALL, 20.0),
    );
    for counts in [many, few, one_by_one] {
        assert!(counts[2] <= 4, "{counts:?}");
    }
    assert!(many[0] >= 30, "{many:?}");
    assert!(
        few[1] >= 27 && one_by_one[1] >= 27,
        "{few:?} {one_by_one:?}"
    );
}

#[test]
fn too_little_is_undecided_and_says_what_would_do() {
    let empty = LoadWindow::new(at(0.0), None, Gaps::Poisson);
    assert_eq!(empty.verdict().undecided, Some(Undecided::NoLatency));
    assert_eq!(empty.steady(), None);
    // responses of 10 s in a run of 30 s
    let mut short = LoadWindow::new(at(0.0), None, Gaps::Constant);
    for nth in 0..300 {
        let due_s = f64::from(nth) / 10.0;
        short.push(&record(due_s, due_s + 10.0));
    }
    let Some(Undecided::TooShort { needs_s }) = short.verdict().undecided else {
        panic!("{:?}", short.verdict());
    };
    assert!((needs_s - 50.0).abs() < 1e-6);
    assert_eq!(short.steady(), None);
    // 1,540·(ca² + cs²), with a ca² of 1
    let found = LARGE.verdict(0.7, 10.0, 3);
    assert_eq!(found.verdict, LoadVerdict::Undecided, "{found:?}");
    let few = SMALL.verdict(0.9, 20.0, 1);
    let Some(Undecided::TooFew { needs_requests }) = few.undecided else {
        panic!("{few:?}");
    };
    assert!((1500..6000).contains(&needs_requests), "{few:?}");
    let limited = SMALL.verdict(1.3, 600.0, 1).client_limited();
    assert_eq!(limited.verdict, LoadVerdict::Undecided);
    assert_eq!(limited.capacity_per_s, None);
}

/// Requests that were not sent since there was no room have not been served.
#[test]
fn shed_requests_are_a_backlog_that_stays() {
    let mut load = LoadWindow::new(at(0.0), None, Gaps::Constant);
    for nth in 0..6000u32 {
        let due_s = f64::from(nth) / 10.0;
        let mut request = record(due_s, due_s + 1.0);
        if nth % 4 == 3 {
            request.times.ended = at(due_s);
            request.failure = Some(Failure::new(FailureKind::Shed, "no room"));
        }
        load.push(&request);
    }
    let found = load.verdict();
    assert_eq!(found.verdict, LoadVerdict::Saturated);
    assert!((found.excess.unwrap() - 0.25).abs() < 1e-3, "{found:?}");
    assert!(
        (found.capacity_per_s.unwrap() - 7.5).abs() < 0.02,
        "{found:?}"
    );
}

#[test]
fn each_constant_rate_of_a_profile_has_a_window() {
    let profile: Profile = "1..20@60,20@300,+200,0@30,20@10,5@10".parse().unwrap();
    let windows: Vec<_> = constant_windows(&profile)
        .iter()
        .map(|w| (w.segment, w.start_s, w.end_s, w.rate_per_s))
        .collect();
    assert_eq!(
        windows,
        [
            (1, 60.0, Some(360.0), 20.0),
            (4, 390.0, Some(400.0), 20.0),
            (5, 400.0, Some(410.0), 5.0)
        ]
    );
    let endless = constant_windows(&Profile::Constant { rate_per_s: 3.0 });
    assert_eq!((endless.len(), endless[0].end_s), (1, None));
}

/// Handing a record only to the windows that it concerns changes no verdict.
#[test]
fn windows_are_judged_as_if_each_saw_every_record() {
    let profile: Profile = "12@100,0@20,4@200,7@100".parse().unwrap();
    let mut windows = LoadWindows::new(at(5.0), &profile, Gaps::Constant);
    let mut alone = LoadWindow::new(at(125.0), Some(at(325.0)), Gaps::Constant);
    let mut free_s = 0.0_f64;
    let first = (0..1200).map(|nth| 5.0 + f64::from(nth) / 12.0);
    let second = (0..800).map(|nth| 125.0 + f64::from(nth) / 4.0);
    let third = (0..700).map(|nth| 325.0 + f64::from(nth) / 7.0);
    for due_s in first.chain(second).chain(third) {
        free_s = free_s.max(due_s) + 1.0 / 8.0;
        let request = record(due_s, free_s);
        windows.push(&request);
        alone.push(&request);
    }
    let found: Vec<(usize, Saturation)> = windows
        .iter()
        .map(|(window, load)| (window.segment, load.verdict()))
        .collect();
    let verdicts: Vec<_> = found.iter().map(|(nth, s)| (*nth, s.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            (0, LoadVerdict::Saturated),
            (2, LoadVerdict::KeptUp),
            (3, LoadVerdict::KeptUp)
        ]
    );
    let (here, there) = (found[1].1, alone.verdict());
    assert!((here.excess.unwrap() - there.excess.unwrap()).abs() < 1e-6);
    assert_eq!(here.requests, there.requests);
}

/// What a watch has found: (seconds, look).
fn watched(watch: &mut SaturationWatch, requests: &[(f64, f64)]) -> Vec<(f64, Look)> {
    let mut events: Vec<(Timestamp, Option<Timestamp>)> = Vec::new();
    for (due_s, ended_s) in requests {
        events.push((at(*due_s), None));
        events.push((at(*ended_s), Some(at(*due_s))));
    }
    events.sort_unstable();
    let mut looks = Vec::new();
    for (now, ended) in events {
        while let Some(look_at) = watch.next_look().filter(|look_at| *look_at <= now) {
            let look = watch.look(look_at).unwrap();
            looks.push((look_at.as_nanos() as f64 / 1e9, look));
        }
        match ended {
            None => watch.due(now),
            Some(due) => {
                let latency_ns = now.nanos_since(due);
                watch.ended(due, now, Ended::After { latency_ns });
            }
        }
    }
    looks
}

#[test]
fn a_watch_stops_a_saturated_run_and_no_other() {
    let endless = |rate_per_s| Profile::Constant { rate_per_s };
    for seed in 0..10 {
        let mut watch = SaturationWatch::new(at(0.0), &endless(10.4), Gaps::Poisson);
        let looks = watched(&mut watch, &LARGE.requests(1.3, 600.0, seed));
        assert!(looks.iter().any(|(_, look)| look.stop), "{looks:?}");
        let moments: Vec<f64> = looks.iter().map(|(s, _)| s.round()).collect();
        assert_eq!(moments[..5], [30.0, 45.0, 68.0, 101.0, 152.0]);
        let mut watch = SaturationWatch::new(at(0.0), &endless(5.6), Gaps::Poisson);
        let looks = watched(&mut watch, &LARGE.requests(0.7, 600.0, seed));
        assert!(!looks.iter().any(|(_, look)| look.stop), "{looks:?}");
    }
}

#[test]
fn a_watch_judges_each_rate_by_itself() {
    // 100 s at 12 a second, then 200 s at 4, served 8 a second
    let profile: Profile = "12@100,0@20,4@200,4@10".parse().unwrap();
    let mut watch = SaturationWatch::new(at(5.0), &profile, Gaps::Constant);
    let mut requests = Vec::new();
    let mut free_s = 0.0_f64;
    let first = (0..1200).map(|nth| 5.0 + f64::from(nth) / 12.0);
    let second = (0..800).map(|nth| 125.0 + f64::from(nth) / 4.0);
    for due_s in first.chain(second) {
        free_s = free_s.max(due_s) + 1.0 / 8.0;
        requests.push((due_s, free_s));
    }
    let looks = watched(&mut watch, &requests);
    let found: Vec<(f64, LoadVerdict)> = looks
        .iter()
        .map(|(s, look)| (s.round(), look.saturation.verdict))
        .collect();
    assert_eq!(
        found[..3].iter().map(|f| f.0).collect::<Vec<_>>(),
        [35.0, 50.0, 73.0]
    );
    assert_eq!(found[2].1, LoadVerdict::Saturated, "{found:?}");
    assert!((found[3].0 - 155.0).abs() < 1e-9, "{found:?}");
    assert!(
        found[3..].iter().all(|f| f.1 != LoadVerdict::Saturated),
        "{found:?}"
    );
    assert_eq!(found.last().unwrap().1, LoadVerdict::KeptUp, "{found:?}");
    // no look fits into the last rate
    assert_eq!(watch.next_look(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The order in which records come changes nothing, nor does a later start of the clock.
    #[test]
    fn order_and_clock_change_nothing(seed in 0u64..1000, later_ms in 0u32..100_000) {
        let mut requests = SMALL.requests(0.8, 60.0, seed);
        let mut load = LoadWindow::new(at(0.0), None, Gaps::Poisson);
        for (due_s, ended_s) in &requests {
            load.push(&record(*due_s, *ended_s));
        }
        requests.reverse();
        let later_s = f64::from(later_ms) / 1e3;
        let mut moved = LoadWindow::new(at(later_s), None, Gaps::Poisson);
        for (due_s, ended_s) in &requests {
            moved.push(&record(due_s + later_s, ended_s + later_s));
        }
        let (here, there) = (load.verdict(), moved.verdict());
        prop_assert_eq!(here.verdict, there.verdict);
        let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 1e-4,
            (a, b) => a.is_none() && b.is_none(),
        };
        prop_assert!(close(here.excess, there.excess), "{:?} {:?}", here, there);
        prop_assert!(close(here.steady_from_s, there.steady_from_s), "{:?} {:?}", here, there);
    }
}
