//! The prefix cache.

use std::io::Write;
use std::net::TcpStream;

use evalscope_sim::{CacheBlocks, Profile, SimConfig, Simulator, Truth};
use serde_json::{Value, json};

use crate::client::{Response, ask, exchange, post, post_chat, start, text_of};

fn cached(blocks: &str) -> SimConfig {
    SimConfig {
        cache_blocks: blocks.parse().expect("a size"),
        keeps_truth: true,
        ..SimConfig::default()
    }
}

fn hits(truth: &Truth) -> Vec<u64> {
    let requests = truth.requests.iter();
    requests.map(|request| request.hit_blocks).collect()
}

/// Turns of one conversation with the replies that the server gave; returns the usage of each.
fn converse(simulator: &Simulator, turns: usize, stream: bool) -> Vec<Value> {
    let mut messages = vec![json!({"role": "system", "content": "be brief".repeat(5)})];
    let mut usages = Vec::new();
    for turn in 0..turns {
        messages.push(json!({"role": "user", "content": format!("question {turn}? ").repeat(3)}));
        let response = ask(
            simulator,
            &json!({
                "messages": messages, "max_tokens": 10 + 7 * turn, "stream": stream,
                "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null },
            }),
        );
        let content = if stream {
            let events = response.events();
            usages.push(events.last().expect("events")["usage"].clone());
            text_of(&events)
        } else {
            let document = response.json();
            usages.push(document["usage"].clone());
            let content = &document["choices"][0]["message"]["content"];
            content.as_str().expect("text").to_owned()
        };
        messages.push(json!({"role": "assistant", "content": content}));
    }
    usages
}

#[test]
fn each_turn_finds_the_prompt_and_the_response_of_the_one_before() {
    for stream in [true, false] {
        let simulator = start(cached("inf"));
        let usages = converse(&simulator, 6, stream);
        let truth = simulator.stop().expect("nothing to write");
        let number = |usage: &Value, key: &str| usage[key].as_u64().expect("a number");
        assert_eq!(
            number(&usages[0]["prompt_tokens_details"], "cached_tokens"),
            0
        );
        for (turn, pair) in usages.windows(2).enumerate() {
            let [before, after] = pair else {
                unreachable!("pairs")
            };
            let prompt = number(before, "prompt_tokens");
            let sequence = prompt + number(before, "completion_tokens");
            // Exactly the response and the next question, of 33 characters.
            assert_eq!(number(after, "prompt_tokens"), sequence + 9);
            // The last token of a response has been sampled but not computed.
            let blocks = (sequence - 1) / 16;
            let seen = number(&after["prompt_tokens_details"], "cached_tokens");
            assert_eq!(seen, blocks * 16, "turn {}", turn + 2);
            let logged = &truth.requests[turn + 1];
            assert_eq!((logged.hit_blocks, logged.cached_tokens), (blocks, seen));
            assert_eq!(logged.messages, Some(2 * (turn as u64 + 1) + 2));
        }
        assert!(truth.cached_tokens() > 0);
        let prompts = usages.iter().map(|usage| number(usage, "prompt_tokens"));
        assert_eq!(truth.prompt_tokens(), prompts.sum::<u64>());
    }
}

#[test]
fn without_a_cache_nothing_is_cached() {
    let simulator = start(SimConfig {
        keeps_truth: true,
        ..SimConfig::default()
    });
    for usage in converse(&simulator, 3, false) {
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
    }
    let truth = simulator.stop().expect("nothing to write");
    assert_eq!(hits(&truth), [0, 0, 0]);
}

/// The reasoning is not in the history, so that nothing after the prompt is found again.
#[test]
fn reasoning_is_not_found_again() {
    let simulator = start(SimConfig {
        reasoning_tokens: 5,
        ..cached("inf")
    });
    let usages = converse(&simulator, 2, true);
    let prompt = usages[0]["prompt_tokens"].as_u64().expect("a number");
    let content = usages[0]["completion_tokens"].as_u64().expect("a number") - 5;
    assert_eq!(usages[1]["prompt_tokens"], prompt + content + 9);
    let truth = simulator.stop().expect("nothing to write");
    assert_eq!(hits(&truth), [0, prompt / 16]);
}

fn complete(simulator: &Simulator, fields: &Value) -> Value {
    let mut body = json!({"max_tokens": 1});
    let object = body.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    let request = post(
        "/v1/completions",
        "connection: close\r\n",
        &body.to_string(),
    );
    Response::parse(&exchange(simulator.addr(), &request).0).json()
}

#[test]
fn token_ids_share_exactly_what_they_share() {
    let simulator = start(cached("inf"));
    let prompt = |ids: Vec<u64>| json!({"prompt": ids});
    let first: Vec<u64> = (1000..1100).collect();
    complete(&simulator, &prompt(first.clone()));
    for shared in [0_usize, 15, 16, 17, 47, 64, 99] {
        let mut ids = first[..shared].to_vec();
        ids.extend((0..50).map(|at| 5000 + 100 * shared as u64 + at));
        let usage = &complete(&simulator, &prompt(ids))["usage"];
        let expected = shared / 16 * 16;
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], expected);
    }
    // Both prompts of one request count, and a prompt may find the one before it.
    let both = json!({"prompt": [first, first, [1, 2]], "n": 2});
    complete(&simulator, &both);
    let truth = simulator.stop().expect("nothing to write");
    assert_eq!(hits(&truth), [0, 0, 0, 1, 1, 2, 4, 6, 12]);
}

#[test]
fn a_small_cache_forgets_and_failures_are_not_cached() {
    let simulator = start(SimConfig {
        faults: vec!["http-500:every=5".parse().expect("a rule")],
        ..cached("4")
    });
    let ids = |start: u64| json!({"prompt": (start..start + 40).collect::<Vec<_>>()});
    for start in [0, 0, 100, 0, 200, 200, 100, 0] {
        complete(&simulator, &ids(start));
    }
    let truth = simulator.stop().expect("nothing to write");
    // The fifth fails; the sixth takes the place of 100, the seventh that of 0.
    assert_eq!(hits(&truth), [0, 2, 0, 2, 0, 0, 0, 0]);
}

/// Without the cache, the second request would take as long as the first: a quarter of an hour.
#[test]
fn cached_tokens_need_no_prefill() {
    let simulator = start(SimConfig {
        profile: Profile {
            prefill_tokens_per_s: 1.0,
            ..Profile::default()
        },
        ..cached("inf")
    });
    let fields = json!({"messages": [{"role": "user", "content": "x".repeat(4 * 961)}],
                        "max_tokens": 1, "stream": true});
    let mut first = TcpStream::connect(simulator.addr()).expect("the server listens");
    first
        .write_all(post_chat(&fields).as_bytes())
        .expect("the server reads");
    while simulator.requests() == 0 {
        std::thread::yield_now();
    }
    // Its prompt is cached already, although nobody waits for the response.
    drop(first);
    let events = ask(&simulator, &fields).events();
    assert_eq!(events.len(), 3);
    let truth = simulator.stop().expect("nothing to write");
    let second = &truth.requests[1];
    assert_eq!((second.prompt_tokens, second.cached_tokens), (961, 960));
    let waited_ns = second.tokens[0].0 - second.request_read_ns;
    // One token is left to compute, in one second.
    assert!(waited_ns >= 1_000_000_000, "{waited_ns}");
}

#[test]
fn prompts_with_images_are_not_cached() {
    let simulator = start(cached("inf"));
    let parts = json!([
        {"type": "text", "text": "x".repeat(400)},
        {"type": "image_url", "image_url": {"url": "https://example.invalid/x.png"}},
    ]);
    for content in [parts.clone(), parts, "x".repeat(400).into()] {
        ask(
            &simulator,
            &json!({"messages": [{"role": "user", "content": content}], "max_tokens": 1}),
        );
    }
    let truth = simulator.stop().expect("nothing to write");
    assert_eq!(hits(&truth), [0, 0, 0]);
    assert_eq!(CacheBlocks::default(), CacheBlocks::None);
}
