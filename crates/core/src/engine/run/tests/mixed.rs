//! Several models and URLs under a paused clock.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use super::*;
use crate::protocol::ConversationRules;
use evalscope_model::conversation::{Conversations, Turn};
use evalscope_model::mix::{ModelMix, UrlId, UrlStrategy};

const WEIGHTS: [f64; 3] = [3.0, 1.0, 1.0];

fn mix() -> ModelMix {
    let names = ["a", "b", "c"].map(str::to_owned).into();
    ModelMix::new(names, Some(&WEIGHTS), rules().seed).unwrap()
}

fn mixed_feed() -> Feed {
    let rules = BodyRules {
        mix: Some(mix()),
        ..rules()
    };
    Feed {
        prompts: Box::new(OnePrompt),
        bodies: Box::new(BodyBuilder::new(rules)),
    }
}

fn spread(urls: u16, strategy: UrlStrategy) -> Spread {
    Spread {
        urls: NonZeroU16::new(urls).unwrap(),
        strategy,
    }
}

/// URL and model follow from the position in the phase, whatever ends first and however long the
/// warm-up is.
#[test]
fn position_decides() {
    for warmup in [0, 7] {
        let mut case = Case::new(4, 40, |k| Duration::from_millis(1 + k * 7 % 5));
        case.spec.warmup_requests = warmup;
        case.spread = spread(3, UrlStrategy::RoundRobin);
        case.feed = mixed_feed();
        let records = case.run();
        assert_eq!(records.len() as u64, 40 + warmup);
        for record in &records {
            assert_eq!(
                record.url.map(|url| u64::from(url.0)),
                Some(record.index % 3)
            );
            assert_eq!(record.asked_model, Some(mix().of(record.index)));
        }
    }
}

/// A server that takes ten times as long gets fewer sessions, and never more of them at a time than
/// another one.
#[test]
fn the_least_loaded_url_is_taken() {
    let mut case = Case::new(4, 60, |_| Duration::from_millis(10));
    case.at_url = Arc::new(|url| Duration::from_millis(if url == UrlId(1) { 100 } else { 10 }));
    case.spread = spread(2, UrlStrategy::LeastInFlight);
    let records = case.run();
    let of = |url: u16| records.iter().filter(|r| r.url == Some(UrlId(url))).count();
    assert_eq!(of(0) + of(1), 60);
    assert!(of(0) > 3 * of(1), "{} {}", of(0), of(1));
    assert!(of(1) > 2, "{}", of(1));
}

/// The turns of a conversation go to one URL and ask for one model.
#[test]
fn a_conversation_keeps_url_and_model() {
    #[derive(Debug)]
    struct ThreeTurns;
    impl Workload for ThreeTurns {
        fn next_item(&mut self) -> Result<Item, Box<dyn std::error::Error + Send + Sync>> {
            let mut item = Item::from(Prompt::Text("hello".to_owned()));
            let more = serde_json::json!({"role": "user", "content": "more"});
            item.later = vec![
                Turn {
                    messages: vec![more],
                    ..Turn::default()
                };
                2
            ];
            Ok(item)
        }

        fn rounds(&self) -> u64 {
            0
        }
    }
    for strategy in [UrlStrategy::RoundRobin, UrlStrategy::LeastInFlight] {
        let mut case = Case::new(3, 12, |k| Duration::from_millis(1 + k * 7 % 5));
        case.spec.conversations = Some(Conversations::default());
        case.spread = spread(2, strategy);
        let rules = BodyRules {
            mix: Some(mix()),
            conversations: Some(ConversationRules::default()),
            ..rules()
        };
        case.feed = Feed {
            prompts: Box::new(ThreeTurns),
            bodies: Box::new(BodyBuilder::new(rules)),
        };
        let mut of = BTreeMap::new();
        for record in case.run() {
            let place = record.turn.unwrap();
            assert_eq!(record.asked_model, Some(mix().of(place.conversation)));
            let seen = of.entry(place.conversation).or_insert((record.url, 0));
            assert_eq!(seen.0, record.url);
            seen.1 += 1;
        }
        assert!(
            of.len() == 12 && of.values().all(|(_, turns)| *turns == 3),
            "{of:?}"
        );
        let urls: BTreeSet<_> = of.values().map(|(url, _)| url.map(|url| url.0)).collect();
        assert_eq!(urls.len(), 2);
    }
}
