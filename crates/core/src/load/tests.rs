//! Load models under a virtual clock: no task, no channel, no waiting.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use evalscope_model::plan::{OpenLoop, Recording, StoppedBy};
use evalscope_model::point::PointId;
use evalscope_model::profile::Schedule;
use evalscope_model::shard::Shard;
use evalscope_model::time::Timestamp;

/// A session as it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    due: Timestamp,
    could_start: Timestamp,
    started: Timestamp,
    ended: Timestamp,
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

/// Run a model against sessions that take so long each. Besides the moments at which the model
/// asks to be asked, it is asked at those in `extra`.
fn play(model: &mut dyn LoadModel, service: &[Duration], extra: &[Timestamp]) -> Vec<Session> {
    let mut extra: BinaryHeap<_> = extra.iter().copied().map(Reverse).collect();
    let mut running: BinaryHeap<Reverse<(Timestamp, Timestamp)>> = BinaryHeap::new();
    let mut sessions: Vec<Session> = Vec::new();
    let mut now = Timestamp::ZERO;
    let mut asked = 0;
    while sessions.len() < service.len() {
        asked += 1;
        assert!(asked < 100_000, "the model does not get on");
        let wake = match model.next(now) {
            Next::Start { due, could_start } => {
                assert!(due <= could_start && could_start <= now);
                let ended = now.after(service[sessions.len()]);
                running.push(Reverse((ended, due)));
                sessions.push(Session {
                    due,
                    could_start,
                    started: now,
                    ended,
                });
                continue;
            }
            Next::Refuse { due } => {
                assert!(due <= now);
                continue;
            }
            Next::At(at) => {
                assert!(at > now, "{at:?} is not in the future of {now:?}");
                Some(at)
            }
            Next::OnEnd => {
                assert!(!running.is_empty(), "nothing is left that could end");
                None
            }
            Next::Over | Next::Stop(_) => break,
        };
        let first = [
            wake,
            running.peek().map(|Reverse((at, _))| *at),
            extra.peek().map(|at| at.0),
        ];
        now = first.into_iter().flatten().min().unwrap().max(now);
        while extra.peek().is_some_and(|at| at.0 <= now) {
            extra.pop();
        }
        while running.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, due))) = running.pop() {
                model.ended(SessionEnd {
                    due,
                    at: now,
                    succeeded: true,
                });
            }
        }
    }
    sessions
}

/// The most sessions that were under way at a time.
fn most_at_a_time(sessions: &[Session]) -> usize {
    let mut changes: Vec<_> = sessions
        .iter()
        .flat_map(|s| [(s.started, 1), (s.ended, 0)])
        .collect();
    changes.sort_unstable();
    let mut now = 0_usize;
    changes.into_iter().fold(0, |most, (_, starts)| {
        now = if starts == 1 { now + 1 } else { now - 1 };
        most.max(now)
    })
}

fn service() -> impl Strategy<Value = Vec<Duration>> {
    prop::collection::vec((1u64..500).prop_map(Duration::from_millis), 1..60)
}

fn moments() -> impl Strategy<Value = Vec<Timestamp>> {
    prop::collection::vec((0u64..20_000).prop_map(ms), 0..40)
}

fn places() -> impl Strategy<Value = NonZeroUsize> {
    (1usize..9).prop_map(|n| NonZeroUsize::new(n).unwrap())
}

/// When each session of a closed loop starts and ends: the user who is free first takes the next.
fn greedy(places: usize, service: &[Duration]) -> Vec<(Timestamp, Timestamp)> {
    let mut free = BinaryHeap::from(vec![Reverse(Timestamp::ZERO); places]);
    service
        .iter()
        .map(|time| {
            let Reverse(at) = free.pop().unwrap();
            free.push(Reverse(at.after(*time)));
            (at, at.after(*time))
        })
        .collect()
}

fn arrivals(rate_per_s: f64, seed: u64) -> Arrivals {
    Arrivals::new(Schedule::poisson(rate_per_s), seed)
}

fn moments_of(rate_per_s: f64, seed: u64, n: usize) -> Vec<Timestamp> {
    let mut arrivals = arrivals(rate_per_s, seed);
    (0..n)
        .map(|_| Timestamp::ZERO.after(arrivals.next_offset().unwrap()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Never more sessions than places, and never a free place while there is work: it is the
    /// greedy schedule, to the nanosecond.
    #[test]
    fn a_closed_loop_is_the_greedy_schedule(
        places in places(), service in service(), extra in moments(),
    ) {
        let sessions = play(&mut Closed::new(places), &service, &extra);
        let want = greedy(places.get(), &service);
        prop_assert_eq!(sessions.len(), want.len());
        for (session, (started, ended)) in sessions.iter().zip(want) {
            prop_assert_eq!((session.started, session.ended), (started, ended));
            prop_assert_eq!((session.due, session.could_start), (started, started));
        }
    }

    /// Arrivals are those of the seed, in order, whatever the sessions do.
    #[test]
    fn arrivals_do_not_depend_on_sessions(
        limit in prop::option::of(places()), service in service(), seed: u64, extra in moments(),
    ) {
        let mut model = Paced::new(arrivals(5.0, seed), limit);
        let sessions = play(&mut model, &service, &extra);
        let due: Vec<_> = sessions.iter().map(|s| s.due).collect();
        prop_assert_eq!(due, moments_of(5.0, seed, service.len()));
    }

    /// Without a limit every session starts when it is due; with one it starts when it is due and
    /// there is room, and there is never more than the limit.
    #[test]
    fn a_limit_holds_sessions_back_and_no_longer_than_needed(
        limit in places(), service in service(), seed: u64, extra in moments(),
    ) {
        for session in play(&mut Paced::new(arrivals(5.0, seed), None), &service, &extra) {
            prop_assert_eq!(session.started, session.due);
            prop_assert_eq!(session.could_start, session.due);
        }
        let sessions = play(&mut Paced::new(arrivals(50.0, seed), Some(limit)), &service, &extra);
        prop_assert!(most_at_a_time(&sessions) <= limit.get());
        for (i, session) in sessions.iter().enumerate() {
            prop_assert_eq!(session.started, session.could_start);
            // who waited, waited for an end
            if session.started > session.due {
                prop_assert!(sessions[..i].iter().any(|s| s.ended == session.started));
            }
        }
    }

    /// At a cap sessions are refused or end the run; those that start, start when they are due.
    #[test]
    fn a_cap_is_never_passed_and_never_waits(
        cap in places(), service in service(), seed: u64, extra in moments(),
    ) {
        for at_cap in [AtCap::Refuse, AtCap::Stop] {
            let mut model = Capped::new(arrivals(50.0, seed), cap, at_cap);
            let sessions = play(&mut model, &service, &extra);
            prop_assert!(most_at_a_time(&sessions) <= cap.get());
            let all = moments_of(50.0, seed, 10_000);
            let mut of_all = all.iter().enumerate();
            for (i, session) in sessions.iter().enumerate() {
                prop_assert_eq!(session.started, session.due);
                let nth = of_all.find(|(_, due)| **due == session.due);
                prop_assert!(nth.is_some(), "{:?} is not of the schedule", session.due);
                if at_cap == AtCap::Stop {
                    prop_assert_eq!(nth.map(|(nth, _)| nth), Some(i));
                }
            }
        }
    }

    /// What is due by the end is started or unsent, once.
    #[test]
    fn nothing_that_was_due_goes_missing(
        limit in places(), service in service(), seed: u64, end_ms in 0u64..3000,
    ) {
        let mut model = Paced::new(arrivals(50.0, seed), Some(limit));
        let sessions = play(&mut model, &service, &[]);
        let last = sessions.last().map_or(Timestamp::ZERO, |s| s.started);
        let end = last.max(ms(end_ms));
        let unsent: Vec<_> = std::iter::from_fn(|| model.unsent(end)).collect();
        let mut all: Vec<_> = sessions.iter().map(|s| s.due).chain(unsent).collect();
        let mut want = moments_of(50.0, seed, all.len() + 1);
        prop_assert!(want.pop().unwrap() > end);
        prop_assert_eq!(&all, &want);
        all.dedup();
        prop_assert_eq!(all.len(), want.len());
    }
}

#[test]
fn places_that_are_not_used_cost_nothing() {
    let many = NonZeroUsize::new(usize::MAX).unwrap();
    let service = [Duration::from_secs(1); 10];
    let sessions = play(&mut Closed::new(many), &service, &[]);
    assert!(sessions.iter().all(|s| s.started == Timestamp::ZERO));
}

/// An open loop.
fn spec(pacing: Pacing, seed: u64) -> RunSpec {
    RunSpec {
        point: PointId::first("test"),
        concurrency: None,
        open_loop: OpenLoop::default(),
        requests: Some(1),
        conversations: None,
        connections: evalscope_model::conversation::KeepConnection::Keep,
        pacing,
        warmup_requests: 0,
        duration_s: None,
        drain_timeout_s: None,
        seed,
        dataset_offset: 0,
        shard: Shard::WHOLE,
    }
}

#[test]
fn the_model_of_a_plan_is_the_load_that_was_asked_for() {
    let mut spec = RunSpec {
        concurrency: NonZeroUsize::new(2),
        ..spec(Pacing::Unpaced, 3)
    };
    let service = [Duration::from_secs(1); 3];
    let starts = |spec: &RunSpec| -> Vec<Timestamp> {
        let sessions = play(
            &mut *model_of(spec, NonZeroUsize::new(2).unwrap()),
            &service,
            &[],
        );
        sessions.iter().map(|s| s.started).collect()
    };
    assert_eq!(starts(&spec), [ms(0), ms(0), ms(1000)]);
    spec.pacing = Pacing::Arrivals(Schedule::poisson(0.1));
    assert_eq!(starts(&spec), moments_of(0.1, 3, 3));
}

/// Play a model against a server that serves one session at a time, in order, for so long each.
/// Says when the load was over.
fn play_queue(model: &mut dyn LoadModel, service: Duration, most: u64) -> (Timestamp, Next) {
    let mut waiting: VecDeque<Timestamp> = VecDeque::new();
    let mut serving: Option<(Timestamp, Timestamp)> = None;
    let mut now = Timestamp::ZERO;
    let mut started = 0;
    loop {
        if serving.is_none() {
            serving = waiting.pop_front().map(|due| (due, now.after(service)));
        }
        let wake = match model.next(now) {
            Next::Start { due, .. } => {
                waiting.push_back(due);
                started += 1;
                if started == most {
                    return (now, Next::Over);
                }
                continue;
            }
            Next::Refuse { .. } => continue,
            Next::At(at) => Some(at),
            Next::OnEnd => None,
            over @ (Next::Over | Next::Stop(_)) => return (now, over),
        };
        let end = serving.map(|(_, end)| end);
        now = [wake, end].into_iter().flatten().min().unwrap();
        if let Some((due, at)) = serving.filter(|(_, end)| *end <= now) {
            serving = None;
            model.ended(SessionEnd {
                due,
                at,
                succeeded: true,
            });
        }
    }
}

/// One session takes 100 ms: 7 a second can be served, 15 cannot, also where a cap hides how many
/// wait.
#[test]
fn a_load_that_is_too_much_ends_early() {
    for cap in [NonZeroUsize::MAX, NonZeroUsize::new(8).unwrap()] {
        for (rate_per_s, is_too_much) in [(7.0, false), (15.0, true)] {
            let load = Paced::new(arrivals(rate_per_s, 1), Some(cap));
            let schedule = Schedule::poisson(rate_per_s);
            let mut model = UntilSaturated::new(Box::new(load), schedule, 1);
            let (at, over) = play_queue(&mut model, Duration::from_millis(100), 2000);
            let stopped = over == Next::Stop(StoppedBy::Saturated);
            assert_eq!(
                stopped, is_too_much,
                "{rate_per_s}/s, cap {cap}, after {at:?}"
            );
            if stopped {
                // the second look
                assert!(at <= ms(46_000), "{at:?}");
            }
        }
    }
}

/// Loads with moments of their own.
fn schedules() -> impl Strategy<Value = Pacing> {
    let profile = prop_oneof![
        (1.0f64..200.0).prop_map(|rate_per_s| rate_per_s.to_string()),
        (1u32..9, 10u32..90, 1u32..30).prop_map(|(low, high, burst)| format!(
            "{low}@2,{low}..{high}@3,+{burst},0@1,{high}@2"
        )),
    ];
    let gaps = prop_oneof![
        Just("poisson"),
        Just("constant"),
        Just("gamma:0.4"),
        Just("gamma:3")
    ];
    let drawn = (profile, gaps).prop_map(|(profile, gaps)| {
        Pacing::Arrivals(Schedule {
            profile: profile.parse().unwrap(),
            gaps: gaps.parse().unwrap(),
        })
    });
    let recorded = prop::collection::vec(0u64..1_000_000, 1..200).prop_map(|gaps| {
        let moments = gaps.iter().scan(0, |at, gap| {
            *at += gap;
            Some(*at)
        });
        Pacing::Recorded(Recording {
            speed: 1.0,
            span_s: 0.0,
            offsets_ns: moments.collect(),
        })
    });
    prop_oneof![3 => drawn, 1 => recorded]
}

/// When each session of an open loop is due that a shard has, until there are no more or it has
/// so many: position in its phase, and whether it is of the warm-up.
fn due_of(spec: &RunSpec) -> Vec<(bool, u64, Timestamp)> {
    let part = spec.part();
    let all = part.warmup_requests + part.requests.unwrap();
    let mut model = model_of(spec, NonZeroUsize::MAX);
    let end = Timestamp::ZERO.after(Duration::from_hours(1000));
    // the first question starts its clock
    let mut now = Timestamp::ZERO;
    let mut due = Vec::new();
    while (due.len() as u64) < all {
        match model.next(now) {
            Next::Start { due: at, .. } => {
                let nth = due.len() as u64;
                let session = match nth.checked_sub(part.warmup_requests) {
                    Some(nth) => (false, spec.shard.nth(nth), at),
                    None => (true, spec.shard.nth(nth), at),
                };
                due.push(session);
            }
            Next::At(at) if at < end => now = at,
            Next::At(_) | Next::Over => break,
            other => panic!("{other:?}"),
        }
    }
    due
}

proptest! {
    /// The arrivals of all shards are those of one run, to the nanosecond, with the warm-up and the
    /// measurement dealt apart.
    #[test]
    fn the_shards_have_the_arrivals_of_one_run(
        pacing in schedules(),
        seed: u64,
        of in 1u32..9,
        warmup in 0u64..20,
        requests in 9u64..150,
    ) {
        let mut spec = spec(pacing, seed);
        spec.warmup_requests = warmup;
        spec.requests = Some(requests);
        let whole = due_of(&spec);
        let mut all = Vec::new();
        for index in 0..of {
            spec.shard = Shard::new(index, of).unwrap();
            all.extend(due_of(&spec));
        }
        all.sort_by_key(|(is_warmup, session, _)| (!is_warmup, *session));
        prop_assert_eq!(all, whole);
    }
}
