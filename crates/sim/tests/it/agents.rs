//! Tool calls, reasoning, and the limits of a response.

use evalscope_sim::{SimConfig, ToolCalls};
use serde_json::{Value, json};

use crate::client::{ask, start, text_of};

fn tools() -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    json!([tool("search"), tool("open \"it\"")])
}

/// The call of a response, streamed or whole.
fn call_of(events: &[Value]) -> Option<(String, String, String)> {
    let pieces: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"][0])
        .filter(|piece| !piece.is_null())
        .collect();
    let first = pieces.first()?;
    assert_eq!(
        (&first["index"], &first["type"]),
        (&json!(0), &json!("function"))
    );
    let arguments = pieces.iter().map(|piece| {
        let text = piece["function"]["arguments"].as_str();
        text.expect("a piece of the arguments")
    });
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    Some((
        text(&first["id"]),
        text(&first["function"]["name"]),
        arguments.collect(),
    ))
}

#[test]
fn tools_are_called_streaming_and_whole() {
    let simulator = start(SimConfig {
        tool_calls: ToolCalls::Share(1.0),
        reasoning_tokens: 2,
        ..SimConfig::default()
    });
    let mut ids = Vec::new();
    for round in 0..20 {
        let fields = json!({"tools": tools(), "max_tokens": 5, "stream": true});
        let response = ask(&simulator, &fields);
        let events = response.events();
        assert_eq!(events.len(), 1 + 5 + 1, "role, tokens, finish");
        let (id, name, arguments) = call_of(&events).expect("a call");
        assert!(id.starts_with("call_"), "{id}");
        assert!(["search", "open \"it\""].contains(&name.as_str()), "{name}");
        let arguments: Value = serde_json::from_str(&arguments).expect("JSON");
        assert!(arguments["text"].is_string());
        assert_eq!(text_of(&events), "");
        assert_eq!(response.finish_reasons(), ["tool_calls"]);
        ids.push(id.clone());

        let document = ask(&simulator, &json!({"tools": tools(), "max_tokens": 5})).json();
        let choice = &document["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        let message = &choice["message"];
        assert_eq!(message["content"], Value::Null);
        assert!(message["reasoning_content"].is_string());
        let call = &message["tool_calls"][0];
        ids.push(call["id"].as_str().expect("text").to_owned());
        let arguments = call["function"]["arguments"].as_str().expect("text");
        let arguments: Value = serde_json::from_str(arguments).expect("JSON");
        assert!(arguments["text"].is_string(), "{round}");

        // The next turn, with the result of the call.
        let user = json!({"role": "user", "content": "x"});
        let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "found"});
        let history = json!([user, message, result]);
        let next = ask(&simulator, &json!({"messages": history, "max_tokens": 1}));
        assert_eq!(next.status, 200, "{}", next.text());
        let open = ask(
            &simulator,
            &json!({"messages": [user, message], "max_tokens": 1}),
        );
        assert_eq!(open.status, 400);
        let error = open.json()["error"].clone();
        assert_eq!(error["param"], "messages");
        assert!(
            error["message"]
                .as_str()
                .expect("text")
                .contains(ids.last().expect("one"))
        );
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "each call has its own id");
}

#[test]
fn a_share_of_the_requests_with_tools_get_a_call() {
    let calls = |share: ToolCalls, fields: &Value| {
        let simulator = start(SimConfig {
            tool_calls: share,
            ..SimConfig::default()
        });
        let calls = (0..40).filter(|_| {
            let document = ask(&simulator, fields).json();
            document["choices"][0]["finish_reason"] == "tool_calls"
        });
        calls.count()
    };
    let with = json!({"tools": tools(), "max_tokens": 1});
    let without = json!({"max_tokens": 1});
    let none = json!({"tools": tools(), "tool_choice": "none", "max_tokens": 1});
    let half = ToolCalls::Share(0.5);
    assert!((10..=30).contains(&calls(half, &with)));
    assert_eq!(calls(half, &with), calls(half, &with), "by the seed");
    assert_eq!(calls(half, &without), 0);
    assert_eq!(calls(ToolCalls::Share(1.0), &none), 0);
    assert_eq!(calls(ToolCalls::default(), &with), 0);
    assert_eq!(calls(ToolCalls::Always, &without), 40);
}

#[test]
fn reasoning_comes_first_and_counts() {
    let simulator = start(SimConfig {
        reasoning_tokens: 4,
        ..SimConfig::default()
    });
    for (max_tokens, reasoning) in [(10, 4), (5, 4), (3, 2), (1, 0)] {
        let fields = json!({"max_tokens": max_tokens, "stream": true, "stream_options": {"include_usage": true}});
        let events = ask(&simulator, &fields).events();
        let is_reasoning: Vec<bool> = events[1..=max_tokens]
            .iter()
            .map(|event| event["choices"][0]["delta"]["reasoning_content"].is_string())
            .collect();
        let expected: Vec<bool> = (0..max_tokens).map(|at| at < reasoning).collect();
        assert_eq!(is_reasoning, expected);
        let usage = &events.last().expect("events")["usage"];
        assert_eq!(usage["completion_tokens"], max_tokens);
    }
}

#[test]
fn min_tokens_are_generated() {
    let simulator = start(SimConfig::default());
    let tokens =
        |fields: Value| ask(&simulator, &fields).json()["usage"]["completion_tokens"].clone();
    assert_eq!(tokens(json!({"min_tokens": 200})), 200);
    assert_eq!(tokens(json!({"min_tokens": 0})), 128);
    assert_eq!(tokens(json!({"min_tokens": 5})), 128);
    assert_eq!(tokens(json!({"min_tokens": 5, "max_tokens": 5})), 5);
    let refused = ask(&simulator, &json!({"min_tokens": 6, "max_tokens": 5}));
    assert_eq!(
        (refused.status, &refused.json()["error"]["message"]),
        (
            400,
            &json!("min_tokens must be less than or equal to max_tokens=5, got 6.")
        )
    );
    assert_eq!(ask(&simulator, &json!({"min_tokens": -1})).status, 400);
}

#[test]
fn the_context_window_is_a_limit() {
    let simulator = start(SimConfig {
        max_model_len: Some(100),
        ..SimConfig::default()
    });
    let fields = |chars: usize, max_tokens: Value| json!({"messages": [{"role": "user", "content": "x".repeat(chars)}], "max_tokens": max_tokens});
    assert_eq!(ask(&simulator, &fields(4 * 60, json!(40))).status, 200);
    let refused = ask(&simulator, &fields(4 * 60, json!(41)));
    assert_eq!(
        (refused.status, &refused.json()["error"]["message"]),
        (
            400,
            &json!(
                "This model's maximum context length is 100 tokens. However, you requested 101 tokens \
                 (60 in the messages, 41 in the completion). Please reduce the length of the messages or \
                 completion."
            )
        )
    );
    // Without a limit of its own, the window ends the response.
    let document = ask(&simulator, &fields(4 * 60, Value::Null)).json();
    assert_eq!(document["usage"]["completion_tokens"], 40);
    assert_eq!(document["choices"][0]["finish_reason"], "length");
    let refused = ask(&simulator, &fields(4 * 100, Value::Null));
    let message = refused.json()["error"]["message"].clone();
    let message = message.as_str().expect("text");
    assert!(
        message.contains("you requested 100 tokens in the messages"),
        "{message}"
    );
    assert_eq!(simulator.requests(), 2, "refused requests are not counted");
}
