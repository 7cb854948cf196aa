//! Anthropic's Messages.

use evalscope_sim::{CacheBlocks, Fault, FaultRule, SimConfig, Simulator, ToolCalls};
use serde_json::{Value, json};

use crate::raw::{Answer, post};

const PATH: &str = "/v1/messages";

fn ask(config: SimConfig, body: &Value) -> Answer {
    let simulator = Simulator::start(config).unwrap();
    post(&simulator, PATH, "", body).unwrap()
}

fn body(stream: bool) -> Value {
    json!({
        "model": "m", "max_tokens": 6, "stream": stream,
        "messages": [{"role": "user", "content": "12345"}],
        "tools": [{"name": "search", "input_schema": {}}],
    })
}

/// The types of the events, those of deltas with theirs, each repeated one once.
fn types(answer: &Answer) -> Vec<String> {
    let mut types: Vec<String> = answer
        .payloads()
        .iter()
        .map(|event| {
            let delta = event["delta"]["type"].as_str();
            delta.or(event["type"].as_str()).unwrap().to_owned()
        })
        .collect();
    types.dedup();
    types
}

fn joined(answer: &Answer, field: &str) -> String {
    let events = answer.payloads();
    let pieces = events
        .iter()
        .filter_map(|event| event["delta"][field].as_str());
    pieces.collect()
}

#[test]
fn streams_have_blocks() {
    let answer = ask(SimConfig::default(), &body(true));
    assert_eq!(
        types(&answer),
        [
            "message_start",
            "ping",
            "content_block_start",
            "text_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let events = answer.payloads();
    let names: Vec<&str> = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(names, kinds);
    let usage = &events[0]["message"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"]),
        (&json!(2), &json!(1))
    );
    let end = &events[events.len() - 2];
    assert_eq!(end["delta"]["stop_reason"], "max_tokens");
    assert_eq!(end["usage"], json!({"output_tokens": 6}));
    let whole = ask(SimConfig::default(), &body(false)).json();
    let text = json!([{"type": "text", "text": joined(&answer, "text")}]);
    assert_eq!(whole["content"], text);
    assert_eq!(whole["usage"]["output_tokens"], 6);
}

#[test]
fn cached_tokens_are_not_among_the_input_tokens() {
    let simulator = Simulator::start(SimConfig {
        cache_blocks: CacheBlocks::Unlimited,
        ..SimConfig::default()
    })
    .unwrap();
    let long = json!({
        "model": "m", "max_tokens": 1, "system": [{"type": "text", "text": "x".repeat(400)}],
        "messages": [{"role": "user", "content": "12345"}],
    });
    let usage = || post(&simulator, PATH, "", &long).unwrap().json()["usage"].clone();
    assert_eq!(usage()["input_tokens"], 102);
    let second = usage();
    assert_eq!(
        (&second["input_tokens"], &second["cache_read_input_tokens"]),
        (&json!(6), &json!(96))
    );
}

#[test]
fn thinking_and_tools_are_blocks_of_their_own() {
    let config = SimConfig {
        reasoning_tokens: 2,
        tool_calls: ToolCalls::Share(1.0),
        ..SimConfig::default()
    };
    let answer = ask(config.clone(), &body(true));
    assert_eq!(
        types(&answer),
        [
            "message_start",
            "ping",
            "content_block_start",
            "thinking_delta",
            "signature_delta",
            "content_block_stop",
            "content_block_start",
            "input_json_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let input: Value = serde_json::from_str(&joined(&answer, "partial_json")).unwrap();
    let whole = ask(config.clone(), &body(false)).json();
    let [thinking, tool] = &whole["content"].as_array().unwrap()[..] else {
        panic!("{whole}");
    };
    assert_eq!(thinking["thinking"], joined(&answer, "thinking"));
    assert_eq!((&tool["name"], &tool["input"]), (&json!("search"), &input));
    assert_eq!(whole["stop_reason"], "tool_use");

    let turn = |messages: Value| {
        ask(
            config.clone(),
            &json!({"model": "m", "max_tokens": 1, "messages": messages}),
        )
    };
    let user = json!({"role": "user", "content": "x"});
    let assistant = json!({"role": "assistant", "content": whole["content"]});
    let result = json!({"type": "tool_result", "tool_use_id": tool["id"], "content": "found"});
    let results = json!({"role": "user", "content": [result]});
    assert_eq!(turn(json!([user, assistant, results])).status, 200);
    for messages in [json!([user, assistant, user]), json!([user, assistant])] {
        let refused = turn(messages);
        assert_eq!(refused.status, 400);
        assert!(
            refused.body.contains("`tool_use` ids were found without"),
            "{}",
            refused.body
        );
    }
}

#[test]
fn bad_requests_and_keys_have_its_errors() {
    for (field, value) in [
        ("model", Value::Null),
        ("max_tokens", Value::Null),
        ("messages", json!([])),
        ("messages", json!([{"role": "system", "content": "x"}])),
        ("messages", json!([{"role": "user", "content": 1}])),
    ] {
        let mut body = body(false);
        body[field] = value;
        let refused = ask(SimConfig::default(), &body);
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
    }
    let simulator = Simulator::start(SimConfig {
        api_key: Some("k".to_owned()),
        ..SimConfig::default()
    })
    .unwrap();
    let status = |headers: &str| {
        post(&simulator, PATH, headers, &body(false))
            .unwrap()
            .status
    };
    assert_eq!(status("x-api-key: k\r\n"), 200);
    assert_eq!(status("authorization: Bearer k\r\n"), 401);
    assert_eq!(status("x-api-key: x\r\n"), 401);
}

#[test]
fn failures_are_events_and_statuses() {
    let faulty = |fault| {
        let config = SimConfig {
            faults: vec![FaultRule::always(fault)],
            ..SimConfig::default()
        };
        ask(config, &body(true))
    };
    let last = |fault| faulty(fault).payloads().last().unwrap().clone();
    for (fault, kind) in [
        (Fault::ErrorEvent, "api_error"),
        (Fault::ErrorEventNamed, "overloaded_error"),
        (Fault::FinishError, "api_error"),
    ] {
        let event = last(fault);
        assert_eq!(event["type"], "error", "{fault}");
        assert_eq!(event["error"]["type"], kind, "{fault}");
    }
    assert_eq!(last(Fault::Cut)["type"], "content_block_delta");
    let silent = faulty(Fault::NoUsage);
    assert!(!silent.body.contains("usage"), "{}", silent.body);
    let refusal = faulty(Fault::Refusal).payloads();
    assert_eq!(
        refusal[refusal.len() - 2]["delta"]["stop_reason"],
        "refusal"
    );
    let empty = faulty(Fault::Empty);
    let expected = ["message_start", "ping", "message_delta", "message_stop"];
    assert_eq!(types(&empty), expected);
    for (fault, status, kind) in [
        (Fault::Http429, 429, "rate_limit_error"),
        (Fault::Http503, 503, "overloaded_error"),
    ] {
        let response = faulty(fault);
        assert_eq!(
            (response.status, &response.json()["error"]["type"]),
            (status, &json!(kind))
        );
    }
}

#[test]
fn oddities_add_events_that_say_nothing() {
    let odd = |fault| {
        let config = SimConfig {
            faults: vec![FaultRule::always(fault)],
            ..SimConfig::default()
        };
        ask(config, &body(true))
    };
    let plain = ask(SimConfig::default(), &body(true));
    let text = joined(&plain, "text");
    let empty = odd(Fault::EmptyDeltas);
    assert_eq!(empty.payloads().len(), plain.payloads().len() + 6);
    assert_eq!(joined(&empty, "text"), text);
    let unknown = odd(Fault::UnknownEvents);
    assert_eq!(unknown.payloads().len(), plain.payloads().len() * 2);
    assert_eq!(unknown.payloads()[0]["type"], "sim.unknown");
    assert_eq!(joined(&unknown, "text"), text);
}
