//! Figures of made-up conversations.

use proptest::prelude::*;

use super::*;
use crate::metrics::tests::streamed;
use crate::record::{Failure, FailureKind, Phase};
use std::time::Duration;

fn ms(n: u64) -> Timestamp {
    Timestamp::from_nanos(n * 1_000_000)
}

/// A turn that is sent at a moment and takes 100 ms, with its first token after 20 and 11 tokens.
fn turn(conversation: u64, turn: u32, at: u64, prompt: u64, cached: Option<u64>) -> RequestRecord {
    let mut record = streamed(&[(at + 20, true, true), (at + 100, true, true)], Some(11));
    record.index = conversation * 10 + u64::from(turn);
    record.times.scheduled = ms(at - 1);
    record.times.dispatched = ms(at);
    record.times.write_begun = Some(ms(at));
    record.usage.prompt_tokens = Some(prompt);
    record.usage.cached_tokens = cached;
    record.turn = Some(TurnPlace {
        conversation,
        turn,
        delay: Duration::from_millis(if turn == 0 { 0 } else { 400 }),
        asked_increment: Some(30),
    });
    record
}

fn end(index: u64, ended_by: EndedBy) -> ConversationRecord {
    ConversationRecord {
        index,
        phase: Phase::Measured,
        session: None,
        turns_planned: 2,
        turns_sent: 2,
        ended_by,
        scheduled: ms(0),
        ended: ms(0),
        empty_replies: 1,
        tools_unmatched: 2,
    }
}

#[test]
fn a_conversation_is_measured_from_its_first_turn_to_its_last() {
    let mut sums = ConversationAccumulator::new(History::Real);
    sums.push_end(&end(0, EndedBy::Completed));
    sums.push_end(&end(1, EndedBy::Failed));
    sums.push(&turn(0, 0, 100, 50, Some(0)));
    // 50 + 11 could be cached, and 30 were to be added
    sums.push(&turn(0, 1, 600, 93, Some(48)));
    let mut failed = turn(1, 0, 300, 40, None);
    failed.failure = Some(Failure::new(FailureKind::Reset, "no"));
    sums.push(&failed);
    let (figures, rows) = sums.finish(2.0);
    assert_eq!((figures.started, figures.whole, figures.turns), (2, 1, 3));
    assert_eq!(figures.ended_by.failed, 1);
    assert_eq!((figures.empty_replies, figures.tools_unmatched), (2, 4));
    assert_eq!(figures.conversations_per_s, Some(0.5));
    assert_eq!(figures.turn_number_mean, Some(1.5));
    // 100 to 700 ms, and 300 to 400
    assert_eq!(figures.in_flight_max, 2);
    assert_eq!(figures.in_flight_mean, Some(0.35));
    assert_eq!(figures.thinking_share, Some(400.0 / 700.0));
    let each = &figures.per_conversation;
    let close = |distribution: &Distribution, want: f64| {
        assert_eq!(distribution.count, 1);
        let mean = distribution.mean.unwrap();
        assert!((mean - want).abs() < 1e-9, "{mean} {want}");
    };
    close(&each.latency_s, 0.6);
    close(&each.latency_from_schedule_s, 0.601);
    close(&each.busy_s, 0.2);
    close(&each.thinking_s, 0.4);
    close(&each.first_turn_ttft_ms, 20.0);
    close(&each.time_to_final_answer_s, 0.52);
    close(&each.decode_tok_per_s, 125.0);
    close(&each.cached_share, 48.0 / 143.0);
    close(&each.eligible_share, 48.0 / 61.0);
    assert_eq!(figures.eligible.requests, 1);
    assert_eq!(figures.new_input_tokens_per_s, Some(47.5));
    assert_eq!(figures.cached_input_tokens_per_s, Some(24.0));
    let increments = figures.increments.unwrap();
    assert_eq!(increments.requests, 1);
    assert!((increments.seen_mean_tokens - 32.0).abs() < 1e-9);
    assert_eq!(increments.difference_max_tokens, 2);
    assert_eq!(
        (figures.first_turn.requests, figures.first_turn.succeeded),
        (2, 1)
    );
    assert_eq!(figures.later_turns.input_tokens.mean, Some(93.0));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].cached_share, Some(48.0 / 93.0));
    assert_eq!(rows[1].new_input_tokens_mean, Some(45.0));
}

#[test]
fn what_no_server_reported_is_missing() {
    let mut sums = ConversationAccumulator::new(History::Real);
    sums.push(&turn(0, 0, 100, 50, None));
    sums.push(&turn(0, 1, 600, 93, None));
    let (figures, rows) = sums.finish(2.0);
    assert_eq!(figures.not_ended, 1);
    assert_eq!(figures.cached, CachedShare::default());
    assert_eq!(figures.new_input_tokens_per_s, None);
    assert_eq!(rows[1].cached_share, None);
    assert_eq!(figures.per_conversation.latency_s.count, 0);
    let (nothing, rows) = ConversationAccumulator::new(History::Real).finish(0.0);
    assert_eq!(nothing, ConversationFigures::default());
    assert_eq!(rows, []);
}

#[test]
fn the_end_of_the_context_is_no_failed_turn() {
    let mut sums = ConversationAccumulator::new(History::Real);
    sums.push(&turn(0, 0, 100, 50, None));
    let mut last = turn(0, 1, 600, 93, None);
    last.failure = Some(Failure::new(FailureKind::ContextLimit, "too long"));
    sums.push(&last);
    let (figures, rows) = sums.finish(2.0);
    assert_eq!((figures.turns, rows.len()), (2, 1));
    assert_eq!(figures.later_turns.requests, 0);
}

proptest! {
    #[test]
    fn no_more_are_under_way_than_there_are(
        spans in prop::collection::vec((0_u64..50, 0_u64..50), 0..20),
    ) {
        let moments = spans.iter().flat_map(|(at, length)| [at * 2 + 1, (at + length) * 2]);
        let most = most_under_way(moments.collect());
        prop_assert!(most <= spans.len() as u64);
        let at = |moment: u64| {
            let under_way = |(from, length): &&(u64, u64)| {
                (*from..from + length).contains(&moment)
            };
            spans.iter().filter(under_way).count() as u64
        };
        let want = (0..100).map(at).max().unwrap_or(0);
        prop_assert!(most >= want, "{} {}", most, want);
    }

    #[test]
    fn numbers_are_found_again(numbers in prop::collection::vec(any::<u64>(), 0..20), other: u64) {
        let mut set = Numbers::default();
        for number in &numbers {
            set.insert(*number);
        }
        prop_assert!(numbers.iter().all(|number| set.contains(*number)));
        prop_assert_eq!(set.contains(other), numbers.contains(&other));
    }
}
