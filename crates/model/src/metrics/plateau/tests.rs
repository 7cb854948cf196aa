//! The plateau of a server whose steady state is known.

use std::collections::VecDeque;

use super::*;
use crate::metrics::tests::{draws, streamed};
use crate::record::{EventLog, EventStamp, Failure};

fn ms(n: u64) -> Timestamp {
    Timestamp::from_nanos(n * 1_000_000)
}

fn places(n: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(n)
}

/// A success: sent, then tokens at these moments.
fn request(sent: Timestamp, tokens: &[Timestamp]) -> RequestRecord {
    let mut log = EventLog::with_capacity(tokens.len());
    for at in tokens {
        log.push(EventStamp {
            token: true,
            answer: true,
            ..EventStamp::empty(*at)
        });
    }
    let mut record = streamed(&[], Some(tokens.len() as u64));
    let last = tokens.last().copied();
    record.events = log;
    record.times.scheduled = sent;
    record.times.slot_free = sent;
    record.times.dispatched = sent;
    record.times.write_begun = Some(sent);
    record.times.last_data = last;
    record.times.ended = last.unwrap_or(sent);
    record
}

/// A server with continuous batching, prefill first, in a closed loop: a step reads one waiting
/// prompt (50 ms), and gives one token to everyone (12 ms and 0.2 ms for each). Outputs have 50 to
/// 400 tokens.
fn batch_server(places: usize, requests: usize, seed: u64) -> Vec<RequestRecord> {
    struct Running {
        left: u64,
        sent: Timestamp,
        tokens: Vec<Timestamp>,
    }
    let mut draws = draws(seed);
    let mut waiting: VecDeque<Timestamp> = vec![Timestamp::ZERO; places].into();
    let mut running: Vec<Running> = Vec::new();
    let mut sent = places;
    let mut now = 0u64;
    let mut records = Vec::new();
    while !waiting.is_empty() || !running.is_empty() {
        if let Some(sent) = waiting.pop_front() {
            now += 50_000_000;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small and positive"
            )]
            let left = 50 + (draws.next().unwrap() * 351.0) as u64;
            running.push(Running {
                left,
                sent,
                tokens: Vec::new(),
            });
        }
        now += 12_000_000 + 200_000 * running.len() as u64;
        let at = Timestamp::from_nanos(now);
        for request in &mut running {
            request.left -= 1;
            request.tokens.push(at);
        }
        running.retain_mut(|running| {
            if running.left == 0 {
                records.push(request(running.sent, &running.tokens));
                if sent < requests {
                    waiting.push_back(at);
                    sent += 1;
                }
            }
            running.left > 0
        });
    }
    records
}

struct Seen {
    plateau: Result<Plateau, NoPlateau>,
    metrics: BTreeMap<Metric, Distribution>,
}

fn seen(records: &[RequestRecord], places: Option<NonZeroUsize>) -> Seen {
    let mut search = PlateauSearch::new(places);
    for record in records {
        search.push(record);
    }
    let found = match search.closed_loop() {
        Ok(found) => found,
        Err(why) => {
            return Seen {
                plateau: Err(why),
                metrics: BTreeMap::new(),
            };
        }
    };
    let mut totals = PlateauTotals::new(found);
    let mut metrics = PlateauAccumulator::new(found.window, &[Metric::Ttft, Metric::Itl]);
    for record in records {
        totals.push(record);
        metrics.push(record);
    }
    Seen {
        plateau: totals.finish(),
        metrics: metrics.finish(),
    }
}

#[test]
fn the_opening_wave_is_not_part_of_the_plateau() {
    const PLACES: usize = 32;
    // what a run without a beginning or an end would show: the middle of a long one
    let long = batch_server(PLACES, PLACES * 60, 1);
    let last = long.iter().map(|r| r.times.ended).max().unwrap();
    let middle = PlateauWindow {
        start: Timestamp::from_nanos(last.as_nanos() / 5),
        end: Timestamp::from_nanos(last.as_nanos() / 5 * 4),
    };
    let mut truth = PlateauAccumulator::new(middle, &[Metric::Ttft]);
    let mut tokens = 0;
    for record in &long {
        truth.push(record);
        let inside = record.events.tokens().filter(|t| middle.contains(t.at));
        tokens += inside.count();
    }
    let truth = truth.finish();
    let true_p99 = truth[&Metric::Ttft].p99.unwrap();
    let true_rate = tokens as f64 / middle.length_s();
    for seed in 2..5 {
        let short = batch_server(PLACES, PLACES * 20, seed);
        let seen = seen(&short, places(PLACES));
        let plateau = seen.plateau.unwrap();
        let ttft = &seen.metrics[&Metric::Ttft];
        assert_eq!(plateau.succeeded, ttft.count);
        assert_eq!(plateau.output_trend, Some(Trend::Steady));
        assert_eq!(plateau.in_flight_trend, None);
        let p99 = ttft.p99.unwrap() / true_p99;
        assert!((p99 - 1.0).abs() < 0.1, "{p99}");
        let rate = plateau.output_tokens_per_s.unwrap() / true_rate;
        assert!((rate - 1.0).abs() < 0.03, "{rate}");
        let interval = plateau.output_tokens_per_s_ci.unwrap();
        assert!(interval.low() < interval.high());
        assert!(
            (0.95..1.05).contains(&(interval.low() / true_rate)),
            "{interval:?}"
        );
        // the whole run shows how the server begins
        let mut whole = Accumulator::new(&[Metric::Ttft]);
        for record in &short {
            whole.push(record);
        }
        let whole = whole.finish()[&Metric::Ttft].p99.unwrap() / true_p99;
        assert!(whole > 5.0, "{whole}");
    }
}

#[test]
fn a_run_of_two_waves_has_no_plateau() {
    let short = batch_server(64, 128, 1);
    let plateau = seen(&short, places(64)).plateau;
    assert!(plateau.is_err(), "{plateau:?}");
}

/// Two places, each busy all the time with requests of 1 s: from the end of both first requests,
/// one of the warm-up, to the last dispatch.
fn two_places(requests: u64) -> Vec<RequestRecord> {
    let mut records: Vec<RequestRecord> = (0..requests)
        .map(|nth| {
            let sent = nth / 2 * 1000 + nth % 2 * 300;
            let tokens: Vec<Timestamp> = (1..=10).map(|t| ms(sent + t * 100)).collect();
            let mut record = request(ms(sent), &tokens);
            record.usage.prompt_tokens = Some(50);
            record
        })
        .collect();
    records[0].phase = Phase::Warmup;
    records
}

#[test]
fn start_and_end_are_as_defined() {
    let mut records = two_places(300);
    records.reverse();
    let plateau = seen(&records, places(2)).plateau.unwrap();
    assert!((plateau.start_s - 1.3).abs() < 1e-9, "{plateau:?}");
    assert!((plateau.end_s - 149.3).abs() < 1e-9, "{plateau:?}");
    assert!(plateau.start_moved_s.abs() < 1e-9);
    // dispatched at 1.3, 2.0, …, 149.3
    assert_eq!((plateau.requests, plateau.succeeded), (297, 297));
    let near = |got: f64, want: f64| (got / want - 1.0).abs() < 0.01;
    assert!(
        near(plateau.output_tokens_per_s.unwrap(), 20.0),
        "{plateau:?}"
    );
    assert!(
        near(plateau.input_tokens_per_s.unwrap(), 100.0),
        "{plateau:?}"
    );
    assert!(near(plateau.requests_per_s, 2.0), "{plateau:?}");
}

#[test]
fn too_little_is_no_plateau() {
    let why = |records: &[RequestRecord], n| seen(records, places(n)).plateau.unwrap_err();
    assert_eq!(why(&[], 2), NoPlateau::NeverFull);
    assert_eq!(why(&two_places(2), 2), NoPlateau::NeverFull);
    assert_eq!(why(&two_places(300), 301), NoPlateau::NeverFull);
    assert_eq!(why(&two_places(100), 2), NoPlateau::TooFewRequests);
    // 200 requests, of which those dispatched inside take 10 s each
    let slow: Vec<RequestRecord> = (0..250u64)
        .map(|nth| {
            let long = if nth < 50 { 100 } else { 10_000 };
            request(ms(nth * 10), &[ms(nth * 10 + long)])
        })
        .collect();
    assert_eq!(why(&slow, 50), NoPlateau::TooShort);
}

#[test]
fn failures_are_counted_and_do_no_work() {
    let mut records = two_places(300);
    for record in records.iter_mut().skip(2).step_by(2) {
        record.failure = Some(Failure::new(FailureKind::Status(500), "no"));
    }
    let plateau = seen(&records, places(2)).plateau.unwrap();
    assert_eq!((plateau.requests, plateau.succeeded), (297, 149));
    assert!(
        (plateau.output_tokens_per_s.unwrap() - 10.0).abs() < 0.2,
        "{plateau:?}"
    );
    // what we ended ourselves was work
    for record in &mut records {
        if let Some(failure) = &mut record.failure {
            failure.kind = FailureKind::Unfinished;
        }
    }
    let plateau = seen(&records, places(2)).plateau.unwrap();
    assert!(
        (plateau.output_tokens_per_s.unwrap() - 20.0).abs() < 0.2,
        "{plateau:?}"
    );
}

#[test]
fn responses_that_are_not_streamed_arrive_at_their_end() {
    let mut records = two_places(300);
    for record in &mut records {
        record.events = EventLog::default();
        record.streamed = false;
    }
    let plateau = seen(&records, places(2)).plateau.unwrap();
    assert!(
        (plateau.output_tokens_per_s.unwrap() - 20.0).abs() < 0.2,
        "{plateau:?}"
    );
    assert!(
        (plateau.input_tokens_per_s.unwrap() - 100.0).abs() < 1.0,
        "{plateau:?}"
    );
}

#[test]
fn gaps_count_with_both_ends_inside() {
    let window = PlateauWindow {
        start: ms(1000),
        end: ms(2000),
    };
    let mut metrics = PlateauAccumulator::new(window, &[Metric::Itl, Metric::Latency]);
    // dispatched outside: its gaps inside count, itself does not
    metrics.push(&request(ms(0), &[ms(900), ms(1000), ms(1200), ms(2100)]));
    metrics.push(&request(ms(1500), &[ms(1900), ms(1930), ms(5000)]));
    let metrics = metrics.finish();
    let itl = &metrics[&Metric::Itl];
    assert_eq!((itl.count, itl.min, itl.max), (2, Some(30.0), Some(200.0)));
    assert_eq!(metrics[&Metric::Latency].count, 1);
    assert_eq!(metrics[&Metric::Latency].p50, Some(3.5));
}

#[test]
fn a_backlog_that_grows_drifts() {
    let mut search = PlateauSearch::new(None);
    for nth in 0..2000u64 {
        let due = nth * 100;
        // each takes 0.1 s longer than ten before it
        search.push(&request(ms(due), &[ms(due + 1000 + nth * 10)]));
    }
    let steady = Some((ms(20_000), ms(200_000)));
    let found = search.open_loop(steady).unwrap();
    assert_eq!(found.in_flight, Some(Trend::DriftingUp));
    assert_eq!(search.open_loop(None), Err(NoPlateau::NeverFull));
}

#[test]
fn a_start_that_has_not_settled_is_moved() {
    // a server that speeds up: half as many tokens in the first fifth
    let mut records = two_places(400);
    for record in &mut records {
        let slow = record.times.dispatched < ms(40_000);
        record.usage.completion_tokens = Some(if slow { 5 } else { 10 });
    }
    let plateau = seen(&records, places(2)).plateau.unwrap();
    assert!((38.0..70.0).contains(&plateau.start_s), "{plateau:?}");
    assert!(
        (plateau.start_s - plateau.start_moved_s - 1.3).abs() < 1e-6,
        "{plateau:?}"
    );
}
