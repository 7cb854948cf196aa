//! OpenAI's Responses.

use evalscope_sim::{Fault, FaultRule, SimConfig, Simulator, ToolCalls};
use serde_json::{Value, json};

use crate::raw::{Answer, post};

const PATH: &str = "/v1/responses";

fn ask(config: SimConfig, body: &Value) -> Answer {
    let simulator = Simulator::start(config).unwrap();
    post(&simulator, PATH, "", body).unwrap()
}

fn body(stream: bool) -> Value {
    json!({
        "model": "m", "input": "12345", "max_output_tokens": 6, "stream": stream,
        "tools": [{"type": "function", "name": "search", "parameters": {}}],
    })
}

/// The types of the events, each repeated one once.
fn types(answer: &Answer) -> Vec<String> {
    let mut types: Vec<String> = answer
        .payloads()
        .iter()
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .collect();
    types.dedup();
    types
}

/// All pieces of the events of this type.
fn joined(answer: &Answer, kind: &str) -> String {
    let events = answer.payloads();
    let pieces = events.iter().filter(|event| event["type"] == kind);
    pieces
        .map(|event| event["delta"].as_str().unwrap())
        .collect()
}

#[test]
fn streams_have_named_and_numbered_events() {
    let answer = ask(SimConfig::default(), &body(true));
    assert_eq!(
        types(&answer),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete",
        ]
    );
    let events = answer.payloads();
    assert_eq!(events.len(), 8 + 6);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
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
    assert!(!answer.body.contains("[DONE]"));
    let text = joined(&answer, "response.output_text.delta");
    assert_eq!(events[10]["text"], text);
    let response = &events[13]["response"];
    assert_eq!(response["status"], "incomplete");
    assert_eq!(
        response["incomplete_details"]["reason"],
        "max_output_tokens"
    );
    assert_eq!(
        response["usage"],
        json!({
            "input_tokens": 2, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 6,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8,
        })
    );
    let whole = ask(SimConfig::default(), &body(false)).json();
    assert_eq!(whole["output"], response["output"]);
    assert_eq!(whole["output"][0]["content"][0]["text"], text);
}

#[test]
fn reasoning_and_calls_are_items_of_their_own() {
    let config = SimConfig {
        reasoning_tokens: 2,
        tool_calls: ToolCalls::Share(1.0),
        ..SimConfig::default()
    };
    let answer = ask(config.clone(), &body(true));
    let item = ["response.output_item.added", "response.content_part.added"];
    let ended = ["response.content_part.done", "response.output_item.done"];
    let expected: Vec<&str> = [
        &["response.created", "response.in_progress"][..],
        &item,
        &[
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
        ],
        &ended,
        &item[..1],
        &[
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
        ],
        &ended[1..],
        &["response.completed"],
    ]
    .concat();
    assert_eq!(types(&answer), expected);
    let arguments = joined(&answer, "response.function_call_arguments.delta");
    let parsed: Value = serde_json::from_str(&arguments).unwrap();
    assert!(parsed["text"].is_string());
    let events = answer.payloads();
    let response = &events.last().unwrap()["response"];
    let [reasoning, call] = &response["output"].as_array().unwrap()[..] else {
        panic!("{response}");
    };
    assert_eq!(reasoning["type"], "reasoning");
    assert_eq!(
        (&call["name"], &call["arguments"]),
        (&json!("search"), &json!(arguments))
    );
    assert_eq!(
        response["usage"]["output_tokens_details"]["reasoning_tokens"],
        2
    );

    // The items come back as input.
    let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "x"});
    let user = json!({"role": "user", "content": [{"type": "input_text", "text": "12345"}]});
    let next = |items: Value| ask(config.clone(), &json!({"model": "m", "input": items}));
    assert_eq!(
        next(json!([user, reasoning, call, result, user])).status,
        200
    );
    for (items, says) in [
        (
            json!([user, call]),
            "No tool output found for function call call_",
        ),
        (
            json!([user, result]),
            "No tool call found for function call output",
        ),
        (json!([{"content": "x"}]), "no role"),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
            "input_text",
        ),
        (json!([]), "non-empty list"),
        (Value::Null, "got none"),
    ] {
        let refused = next(items);
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(says), "{}", refused.body);
    }
    let chat = ask(config, &json!({"input": "x", "max_tokens": 5}));
    assert_eq!(
        (chat.status, &chat.json()["error"]["param"]),
        (400, &json!("max_tokens"))
    );
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
    assert_eq!(last(Fault::ErrorEvent)["type"], "error");
    assert_eq!(last(Fault::ErrorEvent)["code"], "server_error");
    for fault in [Fault::ErrorEventNamed, Fault::FinishError] {
        let event = last(fault);
        assert_eq!(event["type"], "response.failed", "{fault}");
        assert_eq!(event["response"]["status"], "failed");
        assert_eq!(event["response"]["error"]["code"], "server_error");
    }
    assert_eq!(last(Fault::Cut)["type"], "response.output_text.delta");
    assert_eq!(last(Fault::NoUsage)["response"]["usage"], Value::Null);
    let empty = last(Fault::Empty);
    assert_eq!(empty["response"]["output"], json!([]));
    assert_eq!(empty["response"]["status"], "completed");
    let refusal = faulty(Fault::Refusal);
    assert!(types(&refusal).contains(&"response.refusal.delta".to_owned()));
    let response = faulty(Fault::Http429);
    assert_eq!(
        (response.status, &response.json()["error"]["type"]),
        (429, &json!("rate_limit_error"))
    );
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
    let text = joined(&plain, "response.output_text.delta");
    let empty = odd(Fault::EmptyDeltas);
    assert_eq!(empty.payloads().len(), plain.payloads().len() + 6);
    assert_eq!(joined(&empty, "response.output_text.delta"), text);
    let unknown = odd(Fault::UnknownEvents);
    assert_eq!(unknown.payloads().len(), plain.payloads().len() * 2);
    assert_eq!(unknown.payloads()[0]["type"], "sim.unknown");
    assert_eq!(joined(&unknown, "response.output_text.delta"), text);
}

#[test]
fn a_response_that_was_kept_is_part_of_the_conversation() {
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let say = |input: &str, before: Option<&Value>, store: bool| {
        let mut body =
            json!({"model": "m", "input": input, "max_output_tokens": 6, "store": store});
        if let Some(before) = before {
            body["previous_response_id"] = before["id"].clone();
        }
        post(&simulator, PATH, "", &body).unwrap()
    };
    let tokens = |response: &Value| response["usage"]["input_tokens"].as_u64().unwrap();
    let first = say("12345678", None, true).json();
    let second = say("abcdefgh", Some(&first), true).json();
    let history = json!([
        {"role": "user", "content": "12345678"},
        first["output"][0],
        {"role": "user", "content": "abcdefgh"},
    ]);
    let whole = json!({"model": "m", "input": history, "max_output_tokens": 6});
    let whole = post(&simulator, PATH, "", &whole).unwrap().json();
    assert_eq!(tokens(&second), tokens(&whole));
    let third = say("abcdefgh", Some(&second), false).json();
    assert!(tokens(&third) > tokens(&second));
    // one that was not to be stored is not known
    let fourth = say("abcdefgh", Some(&third), false);
    assert_eq!(fourth.status, 404);
    let error = &fourth.json()["error"];
    assert_eq!(error["param"], "previous_response_id");
    let id = third["id"].as_str().unwrap();
    assert_eq!(
        error["message"],
        format!("Previous response with id '{id}' not found.")
    );
}
