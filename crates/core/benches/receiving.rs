//! The cost of an event on its way from bytes to record, stage by stage, and of a turn of a
//! conversation.
//!
//! `cargo bench -p evalscope-core --bench receiving` prints events per second. Compare stages
//! within one run: machines are shared and noisy.

use std::sync::Arc;

use divan::counter::ItemsCount;
use evalscope_core::protocol::{
    Api, BodyBuilder, BodyRules, ConversationRules, Endpoint, MaxTokens, OpenAi, Reply,
};
use evalscope_model::conversation::Turn;
use evalscope_model::prompt::{Item, Prompt};
use serde_json::{Map, json};

mod stages;

fn main() {
    divan::main();
}

#[divan::bench(args = stages::STAGES)]
fn receiving(bencher: divan::Bencher<'_, '_>, name: &str) {
    let work = stages::stage(name);
    bencher
        .counter(ItemsCount::new(stages::EVENTS))
        .bench_local(work);
}

/// A turn that adds 100 tokens to the history, and a response of as many before it, without the kernel's
/// copy: what one turn costs behind so many bytes of history.
#[divan::bench(args = [0, 40_000, 400_000])]
fn next_turn(bencher: divan::Bencher<'_, '_>, history_bytes: usize) {
    let words = " token".repeat(100);
    let turn = || Turn {
        messages: vec![json!({"role": "user", "content": words})],
        ..Turn::default()
    };
    let mut reply = Reply::default();
    let event = json!({"choices": [{"message": {"content": words}}]}).to_string();
    OpenAi.read_reply(event.as_bytes(), &mut reply);
    let mut item = Item::from(Prompt::Text("x".repeat(history_bytes)));
    item.later = vec![turn(); 64];
    let mut bodies = BodyBuilder::new(conversations());
    let request = bodies.prepare(0, item).expect("an API with messages");
    // grown once, as in the middle of a conversation
    bencher
        .with_inputs(|| {
            let mut request = request.clone();
            for _ in 0..4 {
                request.note_reply(Some(reply.clone()), None);
                request.next_turn();
            }
            (request, Some(reply.clone()))
        })
        .bench_local_refs(|(request, reply)| {
            request.note_reply(reply.take(), None);
            request.next_turn()
        });
}

/// Making the bodies of conversations ahead of time, on the thread that feeds the run.
#[divan::bench]
fn turns_made(bencher: divan::Bencher<'_, '_>) {
    let turns = 16_u32;
    let turn = || Turn {
        messages: vec![json!({"role": "user", "content": " token".repeat(100)})],
        max_tokens: Some(64),
        ..Turn::default()
    };
    let mut item = Item::from(Prompt::Text(" token".repeat(100)));
    item.later = vec![turn(); turns as usize - 1];
    let mut bodies = BodyBuilder::new(conversations());
    bencher
        .counter(ItemsCount::new(turns))
        .with_inputs(|| item.clone())
        .bench_local_values(|item| bodies.prepare(0, item));
}

/// Rules for bodies of conversations.
fn conversations() -> BodyRules {
    BodyRules {
        api: Arc::new(OpenAi),
        endpoint: Endpoint::Chat,
        template: None,
        model: "m".to_owned(),
        mix: None,
        typed: Map::new(),
        defaults: Map::new(),
        max_tokens: MaxTokens::Fixed(100),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        conversations: Some(ConversationRules::default()),
        seed: 0,
    }
}
