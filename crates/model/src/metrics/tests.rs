//! Formulas of metrics on made-up records.

use proptest::prelude::*;

use super::*;
use crate::record::{
    ArrivalClock, ConnectCost, CountedTokens, Ending, EventLog, EventStamp, Failure, Phase,
    PluginTokens, RequestTimes, Usage,
};

fn ms(n: u64) -> Timestamp {
    Timestamp::from_nanos(n * 1_000_000)
}

/// A streamed success: sent at 10 ms, events at the given milliseconds.
pub(crate) fn streamed(events: &[(u64, bool, bool)], completion: Option<u64>) -> RequestRecord {
    let mut log = EventLog::default();
    for (at, token, answer) in events {
        log.push(EventStamp {
            at: ms(*at),
            token: *token,
            answer: *answer,
            finish: false,
            coalesced: false,
            choice: 0,
            continued: false,
        });
    }
    let last = events.last().map(|(at, ..)| ms(*at));
    RequestRecord {
        index: 0,
        phase: Phase::Measured,
        failure: None,
        streamed: true,
        times: RequestTimes {
            scheduled: ms(2),
            slot_free: ms(5),
            dispatched: ms(8),
            connected: Some(ms(9)),
            write_begun: Some(ms(10)),
            write_done: Some(ms(11)),
            first_byte: last,
            headers: last,
            last_data: last,
            ended: last.unwrap_or(ms(12)),
        },
        connect: ConnectCost::default(),
        clock: ArrivalClock::Kernel,
        events: log,
        http_status: Some(200),
        usage: Usage {
            prompt_tokens: Some(7),
            completion_tokens: completion,
            ..Usage::default()
        },
        plugin: PluginTokens::default(),
        asked_prompt_tokens: None,
        asked_output_tokens: None,
        inputs: None,
        turn: None,
        trace: None,
        counted: CountedTokens::default(),
        finish_reason: Some("stop".to_owned()),
        response_id: None,
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        asked_model: None,
        url: None,
        peer: None,
    }
}

/// Uniform draws from (0, 1), always the same for a seed (splitmix64, Steele et al. 2014).
pub(crate) fn draws(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 4.0
    })
}

fn millis(metric: Metric, record: &RequestRecord) -> Option<f64> {
    metric.of_request(record).map(|ns| ns / 1e6)
}

#[test]
fn a_role_event_stops_no_clock() {
    // role at 20, reasoning at 110 and 120, answer at 140, usage at 150
    let record = streamed(
        &[
            (20, false, false),
            (110, true, false),
            (120, true, false),
            (140, true, true),
            (150, false, false),
        ],
        Some(3),
    );
    assert_eq!(millis(Metric::Ttft, &record), Some(100.0));
    assert_eq!(millis(Metric::Ttfat, &record), Some(130.0));
    assert_eq!(millis(Metric::Tpot, &record), Some(15.0));
    assert_eq!(millis(Metric::Latency, &record), Some(140.0));
    assert_eq!(millis(Metric::LatencyFromSchedule, &record), Some(148.0));
    assert_eq!(millis(Metric::DispatchLag, &record), Some(6.0));
    assert_eq!(millis(Metric::ClientLag, &record), Some(3.0));
    let mut itl = Vec::new();
    Metric::Itl.samples(&record, |v| itl.push(v / 1e6));
    assert_eq!(itl, [10.0, 20.0]);
    let mut gaps = Vec::new();
    Metric::EventGap.samples(&record, |v| gaps.push(v / 1e6));
    assert_eq!(gaps, [90.0, 10.0, 20.0, 10.0]);
}

#[test]
fn one_token_has_no_tpot_and_a_whole_answer_has_no_ttft() {
    let record = streamed(&[(20, true, true)], Some(1));
    assert_eq!(Metric::Tpot.of_request(&record), None);
    assert_eq!(Metric::DecodeTokPerS.of_request(&record), None);
    let mut whole = streamed(&[], Some(20));
    whole.streamed = false;
    whole.times.last_data = Some(ms(60));
    for metric in [
        Metric::Ttft,
        Metric::Ttfat,
        Metric::Tpot,
        Metric::EventsPerRequest,
    ] {
        assert_eq!(metric.of_request(&whole), None, "{metric:?}");
    }
    assert_eq!(millis(Metric::Latency, &whole), Some(50.0));
    assert_eq!(Metric::OutputTokPerS.of_request(&whole), Some(400.0));
}

#[test]
fn a_cached_share_needs_both_counts() {
    let mut record = streamed(&[(20, true, true)], Some(1));
    let share = |record: &RequestRecord| Metric::CachedShare.of_request(record);
    assert_eq!(share(&record), None, "nothing is known of the cache");
    for (cached, prompt, want) in [
        (Some(0), Some(40), Some(0.0)),
        (Some(10), Some(40), Some(0.25)),
        (Some(40), Some(40), Some(1.0)),
        (Some(10), None, None),
        (None, Some(40), None),
    ] {
        record.usage.cached_tokens = cached;
        record.usage.prompt_tokens = prompt;
        assert_eq!(share(&record), want, "{cached:?} {prompt:?}");
    }
}

#[test]
fn failures_count_but_make_no_latency() {
    let good = streamed(&[(20, true, true), (30, true, true)], None);
    let mut bad = good.clone();
    bad.failure = Some(Failure::new(FailureKind::Truncated, "cut"));
    bad.times.ended = ms(500);
    let mut accumulator = Accumulator::new(&Metric::ALL);
    let mut totals = RunTotals::default();
    for record in [&good, &bad] {
        accumulator.push(record);
        totals.push(record);
    }
    let metrics = accumulator.finish();
    assert_eq!(metrics[&Metric::Latency].count, 1);
    assert_eq!(metrics[&Metric::DispatchLag].count, 2);
    assert_eq!((totals.total, totals.succeeded, totals.failed()), (2, 1, 1));
    assert_eq!(totals.output_tokens, 2);
    assert_eq!(totals.token_sources["event_count"], 1);
    assert_eq!(totals.failed_token_events, 2);
    // the failure's end counts towards the duration
    assert!((totals.duration_s() - 0.492).abs() < 1e-9);
}

#[test]
fn a_run_of_failures_has_no_throughput() {
    let mut bad = streamed(&[], None);
    bad.failure = Some(Failure::new(FailureKind::Status(500), "no"));
    let mut totals = RunTotals::default();
    totals.push(&bad);
    assert_eq!(totals.rate_per_s(totals.succeeded), None);
}

proptest! {
    /// TTFT plus the gaps is the time to the last token, and TPOT is the mean gap.
    #[test]
    fn parts_add_up(gaps in prop::collection::vec(1u64..1000, 2..50)) {
        let mut at = 10;
        let events: Vec<_> = gaps.iter().map(|gap| { at += gap; (at, true, true) }).collect();
        let n = events.len() as u64;
        let record = streamed(&events, Some(n));
        let ttft = Metric::Ttft.of_request(&record).unwrap();
        let mut sum = ttft;
        Metric::Itl.samples(&record, |gap| sum += gap);
        let latency = Metric::Latency.of_request(&record).unwrap();
        prop_assert!((sum - latency).abs() < 1.0);
        prop_assert!(ttft <= latency);
        let tpot = Metric::Tpot.of_request(&record).unwrap();
        prop_assert!((ttft + tpot * (n - 1) as f64 - latency).abs() < 1.0);
    }
}
