//! Objectives on made-up requests.

use proptest::prelude::*;

use super::*;
use crate::metrics::tests::streamed;
use crate::record::Failure;

fn ms(n: u64) -> Timestamp {
    Timestamp::from_nanos(n * 1_000_000)
}

/// Scheduled at 2 ms, sent at 10 ms, tokens at these milliseconds.
fn success(tokens: &[u64]) -> RequestRecord {
    let events: Vec<_> = tokens.iter().map(|at| (*at, true, true)).collect();
    streamed(&events, Some(tokens.len() as u64))
}

fn failed(kind: FailureKind, tokens: &[u64], ended: u64) -> RequestRecord {
    let mut record = success(tokens);
    record.failure = Some(Failure::new(kind, ""));
    record.times.ended = ms(ended);
    record
}

fn judge(slo: &str, from: SloFrom) -> Judge {
    Judge::new(slo.parse().unwrap(), from, Delivery::Stream)
}

fn standings(slo: &str, record: &RequestRecord) -> (Outcome, Vec<Standing>) {
    let judged = judge(slo, SloFrom::Send).judge(record);
    (judged.outcome, judged.standings().to_vec())
}

const ALL: &str = "ttft<=100ms ttfat<=100ms tpot<=20ms itl_max<=50ms latency<=1s decode>=50tok/s";

#[test]
fn a_success_meets_or_misses_each_condition() {
    use Standing::{Met, Missed, NotApplicable};
    let (outcome, all) = standings(ALL, &success(&[110, 130, 150]));
    assert_eq!((outcome, all), (Outcome::Good, vec![Met; 6]));
    // one late token
    let (outcome, all) = standings(ALL, &success(&[110, 130, 200]));
    assert_eq!(outcome, Outcome::Bad);
    assert_eq!(all, [Met, Met, Missed, Missed, Met, Missed]);
    // exactly at the limit
    let (outcome, _) = standings("ttft<100ms", &success(&[110, 120]));
    assert_eq!(outcome, Outcome::Bad);
    // one token has no time per token
    let (outcome, all) = standings(ALL, &success(&[110]));
    assert_eq!(outcome, Outcome::Good);
    assert_eq!(
        all,
        [Met, Met, NotApplicable, NotApplicable, Met, NotApplicable]
    );
    // reasoning only: the answer never began
    let reasoning = streamed(&[(20, true, false), (30, true, false)], Some(2));
    let (outcome, all) = standings("ttft<=100ms ttfat<=100ms", &reasoning);
    assert_eq!((outcome, all), (Outcome::Bad, vec![Met, Missed]));
}

#[test]
fn a_stream_that_did_not_come_is_a_fault() {
    use Standing::{Met, Missed, NotApplicable};
    let mut whole = success(&[]);
    whole.streamed = false;
    whole.usage.completion_tokens = Some(20);
    whole.times.last_data = Some(ms(60));
    let (outcome, all) = standings(ALL, &whole);
    assert_eq!(outcome, Outcome::Bad);
    assert_eq!(all, [Missed, Missed, Missed, Missed, Met, Missed]);
    // unless none was asked for
    let slo: Slo = ALL.parse().unwrap();
    let judged = Judge::new(slo, SloFrom::Send, Delivery::Whole).judge(&whole);
    assert_eq!(judged.outcome, Outcome::Good);
    let n = NotApplicable;
    assert_eq!(judged.standings(), [n, n, n, n, Met, n]);
}

#[test]
fn waiting_for_a_turn_counts_from_the_schedule() {
    // 95 ms after the send, 103 ms after it was due
    let record = success(&[105, 106]);
    let outcome = |from| judge("ttft<=100ms", from).judge(&record).outcome;
    assert_eq!(outcome(SloFrom::Send), Outcome::Good);
    assert_eq!(outcome(SloFrom::Schedule), Outcome::Bad);
    assert_eq!(SloFrom::of_load(true), SloFrom::Schedule);
}

#[test]
fn what_did_not_end_is_judged_by_what_is_known() {
    use Standing::{Met, Missed, Open};
    let slo = "ttft<=100ms tpot<=20ms itl_max<=50ms latency<=1s";
    // a token came in time, and it was cut before a second
    let early = failed(FailureKind::Unfinished, &[60, 80], 500);
    assert_eq!(
        standings(slo, &early),
        (Outcome::Bad, vec![Met, Open, Open, Open])
    );
    let late = failed(FailureKind::Unfinished, &[60, 200], 1500);
    assert_eq!(
        standings(slo, &late),
        (Outcome::Bad, vec![Met, Open, Missed, Missed])
    );
    // our own stop
    let early = failed(FailureKind::Cancelled, &[60, 80], 500);
    assert_eq!(standings(slo, &early).0, Outcome::LeftOut);
    let waited = failed(FailureKind::Cancelled, &[], 500);
    assert_eq!(
        standings(slo, &waited),
        (Outcome::Bad, vec![Missed, Open, Open, Open])
    );
    // not sent, and cut before: nothing was broken yet
    let mut unsent = failed(FailureKind::Cancelled, &[], 50);
    unsent.times.write_begun = None;
    assert_eq!(standings(slo, &unsent).0, Outcome::LeftOut);
    for kind in [
        FailureKind::Shed,
        FailureKind::NotSent,
        FailureKind::Status(500),
        FailureKind::TotalTimeout,
    ] {
        let record = failed(kind, &[60, 80], 90);
        assert_eq!(
            standings(slo, &record),
            (Outcome::Bad, vec![Missed; 4]),
            "{kind}"
        );
    }
}

#[test]
fn counts_add_up() {
    let mut goodput =
        GoodputAccumulator::new(judge("ttft<=100ms tpot<=20ms latency<=1s", SloFrom::Send));
    let requests = [
        success(&[60, 70]),
        success(&[60]),
        // only its first token is late
        success(&[200, 210]),
        // the first and the others are
        success(&[200, 300]),
        failed(FailureKind::Shed, &[], 5),
        failed(FailureKind::Unfinished, &[60, 70], 600),
        failed(FailureKind::Cancelled, &[60], 70),
        failed(FailureKind::Reset, &[60], 70),
    ];
    for record in &requests {
        goodput.push(record);
    }
    let found = goodput.finish(2.0);
    assert_eq!((found.due, found.good, found.left_out), (7, 2, 1));
    assert_eq!(found.share, Some(2.0 / 7.0));
    assert_eq!(found.requests_per_s, Some(1.0));
    // 2 and 1 tokens
    assert_eq!(found.output_tokens_per_s, Some(1.5));
    insta::assert_snapshot!(serde_json::to_string_pretty(&found).unwrap());
}

#[test]
fn nothing_due_has_no_share() {
    let empty = || GoodputAccumulator::new(judge("ttft<=1s", SloFrom::Send));
    let found = empty().finish(0.0);
    assert_eq!((found.due, found.share, found.share_ci), (0, None, None));
    assert_eq!(
        (found.requests_per_s, found.output_tokens_per_s),
        (None, None)
    );
    let mut bad = empty();
    bad.push(&failed(FailureKind::Reset, &[], 20));
    let found = bad.finish(1.0);
    assert_eq!((found.share, found.requests_per_s), (Some(0.0), Some(0.0)));
    assert_eq!(found.output_tokens_per_s, Some(0.0));
    // it is not the condition that makes it bad
    assert_eq!(found.conditions[0].only_failed_by, 0);
}

fn request() -> impl Strategy<Value = RequestRecord> {
    let kind = prop::sample::select(vec![
        None,
        Some(FailureKind::Unfinished),
        Some(FailureKind::Cancelled),
        Some(FailureKind::Shed),
        Some(FailureKind::Status(503)),
    ]);
    let tokens = prop::collection::vec(11u64..400, 0..6);
    (kind, tokens, 10u64..1000).prop_map(|(kind, mut tokens, ended)| {
        tokens.sort_unstable();
        match kind {
            None => success(&tokens),
            Some(kind) => failed(
                kind,
                &tokens,
                ended.max(tokens.last().copied().unwrap_or(0)),
            ),
        }
    })
}

proptest! {
    /// Every request is counted once, for the whole and for each condition; the order changes
    /// nothing; a looser objective never has fewer good requests.
    #[test]
    fn every_request_is_counted_once(mut requests in prop::collection::vec(request(), 0..60)) {
        let count = |slo: &str, requests: &[RequestRecord]| {
            let mut goodput = GoodputAccumulator::new(judge(slo, SloFrom::Schedule));
            for record in requests {
                goodput.push(record);
            }
            goodput.finish(10.0)
        };
        let found = count(ALL, &requests);
        prop_assert_eq!(found.due + found.left_out, requests.len() as u64);
        let mut only = 0;
        for condition in &found.conditions {
            prop_assert_eq!(condition.applied + condition.not_applicable, found.due);
            prop_assert!(condition.met + condition.open <= condition.applied);
            only += condition.only_failed_by;
        }
        prop_assert!(only + found.good <= found.due);
        let loose = ALL.replace("100ms", "300ms").replace("<=20ms", "<=200ms");
        prop_assert!(count(&loose, &requests).good >= found.good);
        requests.reverse();
        let again = count(ALL, &requests);
        prop_assert_eq!((again.due, again.good, again.share), (found.due, found.good, found.share));
    }
}
