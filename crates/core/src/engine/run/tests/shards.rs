//! Several processes that carry out one run: their requests are those of one process.

use std::collections::BTreeSet;

use super::*;
use crate::protocol::ConversationRules;
use evalscope_model::conversation::{Conversations, Turn};
use evalscope_model::shard::Shard;

/// Numbered prompts, of so many turns each, in turn. The texts of those that are passed over are not
/// made.
#[derive(Debug)]
struct Numbered {
    turns: Vec<usize>,
    next: usize,
}

impl Numbered {
    fn item(&mut self, text: String) -> Item {
        let turns = self.turns[self.next % self.turns.len()];
        self.next += 1;
        let mut item = Item::from(Prompt::Text(text));
        item.later = vec![Turn::default(); turns - 1];
        item
    }
}

impl Workload for Numbered {
    fn next_item(&mut self) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
        let text = format!("prompt {}", self.next);
        Ok(self.item(text))
    }

    fn pass_item(&mut self) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.item(String::new()))
    }

    fn rounds(&self) -> u64 {
        (self.next / 7) as u64
    }
}

/// A request as it is sent: whether it is measured, its number, the session it belongs to, and its body.
type Sent = (bool, u64, u64, Vec<u8>);

#[derive(Clone, Debug)]
struct Plan {
    warmup: u64,
    measured: u64,
    /// Of conversations, if it has any.
    turns: Option<Vec<usize>>,
    max_turns: Option<u32>,
}

impl Plan {
    fn spec(&self, shard: Shard) -> RunSpec {
        RunSpec {
            requests: Some(self.measured),
            warmup_requests: self.warmup,
            conversations: self.turns.as_ref().map(|_| Conversations::default()),
            shard,
            ..Case::new(64, 1, |_| Duration::ZERO).spec
        }
    }

    fn feed(&self) -> Feed {
        let rules = BodyRules {
            max_tokens: MaxTokens::Uniform(1, 1 << 40),
            conversations: self.turns.as_ref().map(|_| ConversationRules {
                max_turns: self.max_turns,
                ..ConversationRules::default()
            }),
            ..rules()
        };
        Feed {
            prompts: Box::new(Numbered {
                turns: self.turns.clone().unwrap_or_else(|| vec![1]),
                next: 0,
            }),
            bodies: Box::new(BodyBuilder::new(rules)),
        }
    }

    /// What a shard has ready, in its order.
    fn made(&self, shard: Shard) -> Vec<(Sent, u64)> {
        let setup = setup(self.spec(shard), self.feed());
        let control = RunControl::default();
        let (sink, _records) = async_channel::bounded(1);
        let prepared = Prepared::new(&setup, 1, &control, &sink);
        let (ready, jobs) = async_channel::bounded(1024);
        let queue = Queue {
            ready,
            primed: CancellationToken::new(),
            budget: Budget::new(AHEAD_BYTES),
            events: async_channel::bounded(8).0,
        };
        let failed = feed_jobs(
            setup.feed,
            &queue,
            prepared.sessions,
            &control.stop,
            &setup.clock,
        );
        assert!(failed.is_none());
        std::iter::from_fn(|| jobs.try_recv().ok())
            .map(|job| {
                let body = [job.request.body, job.request.tail].concat();
                let is_measured = job.phase == Phase::Measured;
                (
                    (is_measured, job.request.index, job.session, body),
                    job.round,
                )
            })
            .collect()
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let turns = prop::option::of(prop::collection::vec(1usize..6, 1..8));
    (0u64..20, 0u64..60, turns, prop::option::of(1u32..5)).prop_map(
        |(warmup, measured, turns, max_turns)| Plan {
            warmup,
            measured,
            turns,
            max_turns,
        },
    )
}

fn shards(of: u32) -> impl Iterator<Item = Shard> {
    (0..of).map(move |index| Shard::new(index, of).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the plan and the number of shards, their requests are those of one run: number,
    /// session, body and round of the dataset, each once.
    #[test]
    fn the_shards_make_the_requests_of_one_run(plan in plans(), of in 1u32..9) {
        let whole = plan.made(Shard::WHOLE);
        let mut all: Vec<_> = shards(of).flat_map(|shard| plan.made(shard)).collect();
        all.sort();
        prop_assert_eq!(all, whole);
        for shard in shards(of) {
            for ((_, _, session, _), _) in plan.made(shard) {
                prop_assert!(shard.owns(session), "{}", session);
            }
        }
    }

    /// So are the records: an open loop sends each request at its moment, whoever sends it, and what
    /// is due and never sent has its number, too.
    #[test]
    fn the_shards_send_what_one_run_sends(
        measured in 6u64..40,
        warmup in 0u64..12,
        of in 1u32..7,
        seed: u64,
        closed: bool,
        stop_ms in prop::option::of(0u64..1500),
    ) {
        let run = |shard: Shard| {
            let mut case = Case::open_loop("30", |k| Duration::from_millis(k % 7 * 40));
            case.spec.seed = seed;
            case.spec.requests = Some(measured);
            case.spec.warmup_requests = warmup;
            case.spec.shard = shard;
            if closed {
                case.spec.concurrency = NonZeroUsize::new(8);
                case.spec.pacing = Pacing::Unpaced;
            } else {
                // between two arrivals
                case.stop_after = stop_ms.map(|ms| Duration::from_micros(ms * 1000 + 500));
            }
            let records = case.run();
            let seen = records.into_iter().map(|record| {
                // in a closed loop the moments are up to the server
                let due = (!closed).then_some(record.times.scheduled);
                (record.phase == Phase::Measured, record.index, due)
            });
            seen.collect::<BTreeSet<_>>()
        };
        let whole = run(Shard::WHOLE);
        let parts: Vec<_> = shards(of).map(run).collect();
        prop_assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), whole.len());
        prop_assert_eq!(parts.into_iter().flatten().collect::<BTreeSet<_>>(), whole);
    }
}

/// What a run waits for, with the moment that it is told.
fn barrier(begin: Option<Timestamp>) -> Barrier {
    let (told, start) = async_channel::bounded(1);
    if let Some(begin) = begin {
        told.try_send(begin).unwrap();
    }
    Barrier {
        ready: CancellationToken::new(),
        start,
    }
}

/// Moments count from the common start, not from when a process was ready or woke.
#[test]
fn the_load_counts_from_the_common_start() {
    let mut case = Case::open_loop("10", |_| Duration::ZERO);
    case.spec.requests = Some(3);
    case.barrier = Some(barrier(Some(Timestamp::from_nanos(2_000_000_000))));
    let records = case.run();
    let due: Vec<u64> = records.iter().map(|r| millis(r.times.scheduled)).collect();
    assert_eq!(due, [2000, 2100, 2200]);
    let mut case = Case::new(2, 2, |_| Duration::ZERO);
    case.barrier = Some(barrier(Some(Timestamp::from_nanos(5_000_000))));
    let records = case.run();
    assert!(
        records
            .iter()
            .all(|record| millis(record.times.scheduled) == 5)
    );
}

/// A start that never comes ends the run, and nothing is sent.
#[test]
fn nothing_is_sent_without_a_start() {
    let mut case = Case::new(2, 9, |_| Duration::ZERO);
    case.barrier = Some(barrier(None));
    assert!(case.run().is_empty());
}
