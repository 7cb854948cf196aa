//! Sessions of several turns under a paused clock.

use super::*;
use crate::protocol::ConversationRules;
use evalscope_model::conversation::{Conversations, EndedBy, Turn};

/// Conversations of so many turns each, in turn, with this delay before each turn after the first.
#[derive(Debug)]
struct Talks {
    turns: Vec<usize>,
    delay: Duration,
    next: usize,
}

impl Workload for Talks {
    fn next_item(&mut self) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
        let turns = self.turns[self.next % self.turns.len()];
        self.next += 1;
        let mut item = Item::from(Prompt::Text("hello".to_owned()));
        item.later = vec![
            Turn {
                messages: vec![serde_json::json!({"role": "user", "content": "more"})],
                delay: Some(self.delay),
                ..Turn::default()
            };
            turns - 1
        ];
        Ok(item)
    }

    fn rounds(&self) -> u64 {
        0
    }
}

/// `n` conversations, so many at a time, with the given turns in turn.
fn case(
    places: usize,
    n: u64,
    turns: &[usize],
    delay_ms: u64,
    service: impl Fn(u64) -> Duration + Send + Sync + 'static,
) -> Case {
    let mut case = Case::new(places, n, service);
    case.spec.conversations = Some(Conversations::default());
    let rules = BodyRules {
        conversations: Some(ConversationRules::default()),
        ..rules()
    };
    case.feed = Feed {
        prompts: Box::new(Talks {
            turns: turns.to_vec(),
            delay: Duration::from_millis(delay_ms),
            next: 0,
        }),
        bodies: Box::new(BodyBuilder::new(rules)),
    };
    case
}

/// The turns of each conversation, in order: sent and ended, milliseconds.
fn by_conversation(records: &[RequestRecord]) -> BTreeMap<u64, Vec<(u64, u64)>> {
    let mut turns: BTreeMap<u64, Vec<(u32, u64, u64)>> = BTreeMap::new();
    for record in records {
        let place = record.turn.unwrap();
        turns.entry(place.conversation).or_default().push((
            place.turn,
            millis(record.times.dispatched),
            millis(record.times.ended),
        ));
    }
    turns
        .into_iter()
        .map(|(conversation, mut turns)| {
            turns.sort_unstable();
            let numbers: Vec<u32> = turns.iter().map(|(turn, ..)| *turn).collect();
            assert_eq!(numbers, (0..).take(turns.len()).collect::<Vec<_>>());
            let times = turns.into_iter().map(|(_, sent, ended)| (sent, ended));
            (conversation, times.collect())
        })
        .collect()
}

fn ended_by(conversations: &[ConversationRecord]) -> BTreeMap<&'static str, usize> {
    let mut ends = BTreeMap::new();
    for conversation in conversations {
        *ends.entry(conversation.ended_by.as_str()).or_insert(0) += 1;
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A place serves a conversation from its first turn to its last, think times included: it is
    /// the greedy schedule of whole conversations. Each turn waits for the one before and for its
    /// delay, and no longer.
    #[test]
    fn a_place_serves_a_conversation_to_its_end(
        places in 1usize..5,
        turns in prop::collection::vec(1usize..5, 1..12),
        delay in 0u64..300,
        service in 1u64..200,
    ) {
        let n = turns.len() as u64;
        let case = case(places, n, &turns, delay, move |_| Duration::from_millis(service));
        let (records, conversations) = case.run_whole();
        prop_assert_eq!(records.len(), turns.iter().sum::<usize>());
        let numbers: std::collections::BTreeSet<u64> = records.iter().map(|r| r.index).collect();
        prop_assert_eq!(numbers.len(), records.len());
        prop_assert_eq!(numbers.last().copied(), Some(records.len() as u64 - 1));
        let lengths: Vec<u64> = turns
            .iter()
            .map(|turns| *turns as u64 * service + (*turns as u64 - 1) * delay)
            .collect();
        let want = greedy(places, &lengths);
        let got = by_conversation(&records);
        for ((conversation, times), (began, ended)) in got.iter().zip(want) {
            prop_assert_eq!(times[0].0, began, "{}", conversation);
            prop_assert_eq!(times[times.len() - 1].1, ended);
            for pair in times.windows(2) {
                prop_assert_eq!(pair[1].0, pair[0].1 + delay);
            }
        }
        for record in &records {
            prop_assert_eq!(record.times.dispatched, record.times.scheduled);
        }
        prop_assert_eq!(conversations.len(), turns.len());
        for conversation in &conversations {
            let index = usize::try_from(conversation.index).unwrap();
            prop_assert_eq!(conversation.ended_by, EndedBy::Completed);
            prop_assert_eq!(conversation.turns_sent as usize, turns[index]);
            prop_assert_eq!(conversation.turns_planned as usize, turns[index]);
        }
    }
}

#[test]
fn the_time_ends_turns_and_not_their_conversations() {
    let run = |finish: bool| {
        let mut case = case(2, 60, &[5], 100, |_| Duration::from_millis(100));
        case.spec.duration_s = Some(1.25);
        case.spec.conversations = Some(Conversations {
            finish,
            ..Conversations::default()
        });
        let (records, conversations) = case.run_whole();
        let last = records
            .iter()
            .map(|record| millis(record.times.ended))
            .max();
        (ended_by(&conversations), last)
    };
    // a conversation takes 0.9 s; the second pair has begun at 0.9 s
    insta::assert_debug_snapshot!([run(false), run(true)], @r#"
    [
        (
            {
                "completed": 2,
                "duration": 2,
            },
            Some(
                1200,
            ),
        ),
        (
            {
                "completed": 4,
            },
            Some(
                1800,
            ),
        ),
    ]
    "#);
}

#[test]
fn a_turn_that_fails_ends_its_conversation() {
    let mut case = case(1, 3, &[4], 0, |_| Duration::from_millis(10));
    // the second turn of the second conversation
    case.fails_at = Some(5);
    let (records, conversations) = case.run_whole();
    let turns: Vec<usize> = by_conversation(&records).values().map(Vec::len).collect();
    assert_eq!(turns, [4, 2, 4]);
    let ends: Vec<_> = conversations
        .iter()
        .map(|c| (c.ended_by, c.turns_sent))
        .collect();
    let completed = (EndedBy::Completed, 4);
    assert_eq!(ends, [completed, (EndedBy::Failed, 2), completed]);
    // numbers of turns that were never reached stay unused
    let numbers: Vec<u64> = records.iter().map(|record| record.index).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]);
}

#[test]
fn a_turn_that_panics_costs_its_conversation_and_no_place() {
    let mut case = case(1, 3, &[2], 50, |_| Duration::from_millis(10));
    case.panics_at = Some(1);
    let (records, conversations) = case.run_whole();
    assert_eq!(
        ends(&records),
        BTreeMap::from([("internal".to_owned(), 1), ("success".to_owned(), 5)])
    );
    assert_eq!(
        ended_by(&conversations),
        BTreeMap::from([("completed", 2), ("failed", 1)])
    );
}

#[test]
fn a_stop_lets_turns_end_and_wakes_those_who_wait() {
    let mut case = case(2, 60, &[3], 10_000, |i| {
        Duration::from_millis(100 + 4000 * (i % 2))
    });
    case.stop_after = Some(Duration::from_secs(1));
    let (records, conversations) = case.run_whole();
    // one was waiting for its second turn; the other was in flight and might end
    assert_eq!(ended_by(&conversations), BTreeMap::from([("cancelled", 2)]));
    assert_eq!(
        records
            .iter()
            .map(|record| millis(record.times.ended))
            .max(),
        Some(4100)
    );
    assert!(records.iter().all(RequestRecord::succeeded));
}

/// The measurement begins on a busy server, and warm-up conversations go on beside it.
#[test]
fn the_warm_up_hands_its_places_over() {
    let mut case = case(2, 4, &[3], 10, |_| Duration::from_millis(30));
    case.spec.warmup_requests = 3;
    let (records, conversations) = case.run_whole();
    let of = |phase| records.iter().filter(move |record| record.phase == phase);
    assert_eq!(
        (of(Phase::Warmup).count(), of(Phase::Measured).count()),
        (9, 12)
    );
    let began = of(Phase::Measured)
        .map(|record| record.times.dispatched)
        .min();
    let warm_until = of(Phase::Warmup).map(|record| record.times.ended).max();
    assert!(began < warm_until);
    let indexes: Vec<_> = conversations
        .iter()
        .map(|c| (c.phase == Phase::Measured, c.index))
        .collect();
    assert_eq!(indexes.len(), 7);
    assert!(indexes.contains(&(true, 3)) && indexes.contains(&(false, 2)));
}

/// Conversations start at the moments of the schedule, however long they take.
#[test]
fn a_rate_starts_conversations() {
    let mut case = case(1, 10, &[3], 500, |_| Duration::from_millis(700));
    case.spec.concurrency = None;
    case.spec.pacing = Pacing::Arrivals(Schedule {
        profile: "4".parse().unwrap(),
        gaps: Gaps::Constant,
    });
    let (records, _) = case.run_whole();
    let starts: Vec<u64> = by_conversation(&records)
        .values()
        .map(|turns| turns[0].0)
        .collect();
    assert_eq!(starts, (0..10).map(|k| 250 * k).collect::<Vec<u64>>());
}
