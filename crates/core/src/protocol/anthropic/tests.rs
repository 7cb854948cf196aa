//! Bodies, events and non-streaming responses of the Messages API, valid and unusual.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::super::{BodyBuilder, BodyRules, ConversationRules, Endpoint, MaxTokens, ToolCall};
use super::*;
use evalscope_model::conversation::Turn;
use evalscope_model::prompt::{Item, Prompt};
use evalscope_model::record::Failure;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("not an object")
    };
    map
}

fn list(value: Value) -> Vec<Value> {
    let Value::Array(list) = value else {
        panic!("not a list")
    };
    list
}

/// Rules as the command line makes them, with what was lost on the way.
fn rules(typed: Value) -> (BodyRules, Vec<String>) {
    let rules = BodyRules {
        api: Arc::new(Anthropic),
        endpoint: Endpoint::Chat,
        template: None,
        model: "m".to_owned(),
        mix: None,
        typed: object(typed),
        defaults: object(json!({"temperature": 0.0, "stream": true})),
        max_tokens: MaxTokens::Fixed(64),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        conversations: None,
        seed: 0,
    };
    rules.with_api(Arc::new(Anthropic))
}

fn body(rules: BodyRules, prompt: Prompt) -> String {
    String::from_utf8(BodyBuilder::new(rules).prepare(0, prompt).unwrap().body).unwrap()
}

#[test]
fn a_body_has_no_temperature_unless_one_was_typed() {
    let text = || Prompt::Text("hi".to_owned());
    insta::assert_snapshot!(body(rules(json!({})).0, text()), @r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":64}"#);
    let (rules, lost) =
        rules(json!({"temperature": 0.5, "stop": "x", "seed": 1, "n": 2, "top_k": 3}));
    assert_eq!(lost, ["seed", "n"]);
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.5,"stop_sequences":["x"],"top_k":3,"stream":true,"max_tokens":64}"#);
}

/// A history as chat completions have it.
fn history() -> Vec<Value> {
    list(json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
        ]},
        {"role": "assistant", "content": "let me look", "reasoning_content": "so", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "5"}]},
        {"role": "assistant", "content": ""},
        {"role": "developer", "content": "and clear"},
        {"role": "user", "content": "go on"},
    ]))
}

#[test]
fn messages_become_blocks() {
    insta::assert_snapshot!(body(rules(json!({})).0, Prompt::Messages(history())), @r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},{"type":"image","source":{"type":"url","url":"http://x/y.png"}}]},{"role":"assistant","content":[{"type":"text","text":"let me look"},{"type":"tool_use","id":"c1","name":"f","input":{"a":1}},{"type":"tool_use","id":"c2","name":"g","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"4"},{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"5"}]}]},{"role":"user","content":"go on"}],"stream":true,"max_tokens":64,"system":"be brief\n\nand clear"}"#);
}

#[test]
fn tools_have_schemas() {
    let own = json!({
        "messages": [], "max_completion_tokens": 3,
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": "required",
    });
    let sent = Value::Object(Anthropic.body(object(own)));
    assert_eq!(
        sent,
        json!({
            "messages": [], "max_tokens": 3,
            "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}},
                {"type": "web_search_20250305", "name": "web_search"}],
            "tool_choice": {"type": "any"},
        })
    );
    for (choice, want) in [
        (json!("auto"), json!({"type": "auto"})),
        (
            json!({"type": "function", "function": {"name": "f"}}),
            json!({"type": "tool", "name": "f"}),
        ),
        (
            json!({"type": "tool", "name": "f"}),
            json!({"type": "tool", "name": "f"}),
        ),
    ] {
        let sent = Anthropic.body(object(json!({"tool_choice": choice})));
        assert_eq!(sent["tool_choice"], want);
    }
}

#[test]
fn a_body_in_its_own_format_stays_the_same() {
    for own in [
        json!({"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}], "system": "s",
            "stop_sequences": ["x"]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}],
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]}),
    ] {
        let there = Anthropic.fields(object(own.clone()));
        assert_eq!(Value::Object(Anthropic.body(there)), own);
    }
}

#[test]
fn a_conversation_goes_on_in_the_format_of_the_api() {
    let (rules, _) = rules(json!({}));
    let mut builder = BodyBuilder::new(BodyRules {
        conversations: Some(ConversationRules {
            salt: Some("s".to_owned()),
            ..ConversationRules::default()
        }),
        ..rules
    });
    let item = Item {
        later: vec![Turn {
            messages: list(json!([
                {"role": "tool", "content": "4"}, {"role": "tool", "content": "5"},
                {"role": "user", "content": "more"},
            ])),
            ..Turn::default()
        }],
        ..Item::from(Prompt::Messages(list(json!([
            {"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"},
        ]))))
    };
    let mut request = builder.prepare(7, item).unwrap();
    let sent = |request: &super::super::PreparedRequest| {
        String::from_utf8([&request.body[..], &request.tail].concat()).unwrap()
    };
    insta::assert_snapshot!(sent(&request), @r#"{"messages":[{"role":"user","content":"hi"}],"model":"m","stream":true,"max_tokens":64,"system":"[s-7]\nbe brief"}"#);
    let call = |id: &str| ToolCall {
        id: id.to_owned(),
        name: "f".to_owned(),
        arguments: "{}".to_owned(),
    };
    let reply = Reply {
        calls: vec![call("c1"), call("c2")],
        ..Reply::default()
    };
    request.note_reply(Some(reply), None);
    request.next_turn().unwrap();
    insta::assert_snapshot!(sent(&request), @r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{}},{"type":"tool_use","id":"c2","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":"4"},{"type":"tool_result","tool_use_id":"c2","content":"5"}]},{"role":"user","content":"more"}],"model":"m","stream":true,"max_tokens":64,"system":"[s-7]\nbe brief"}"#);
}

#[test]
fn whole_responses() {
    let whole = |body: Value| {
        let mut reader = AnthropicReader::default();
        let meaning = reader.whole(body.to_string().as_bytes());
        (meaning.has_token(), meaning.has_answer(), reader.take())
    };
    let (token, answer, state) = whole(json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "max_tokens",
        "content": [{"type": "thinking", "thinking": "so", "signature": "x"}],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 100,
            "output_tokens": 5},
    }));
    assert!(token && !answer && state.done && state.failure.is_none());
    assert_eq!(state.finish_reason.as_deref(), Some("max_tokens"));
    let usage = state.usage;
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens
        ),
        (Some(123), Some(20), Some(5))
    );
    let (token, answer, _) = whole(json!({
        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
    }));
    assert!(token && answer);
    for (body, kind, message) in [
        (
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            FailureKind::Status(529),
            "Overloaded (overloaded_error)",
        ),
        (
            json!({"choices": []}),
            FailureKind::Malformed,
            "this is not a message of the Messages API: {\"choices\":[]}",
        ),
    ] {
        assert_eq!(whole(body).2.failure.unwrap(), Failure::new(kind, message));
    }
}

#[test]
fn errors_and_strangers() {
    let read = |name: &str, data: &str| {
        let mut reader = AnthropicReader::default();
        let meaning = reader.event(name.as_bytes(), data.as_bytes());
        (meaning.is_some(), reader.take())
    };
    let message = |name: &str, data: &str| read(name, data).1.failure.unwrap().message;
    assert_eq!(message("", r#"{"error":"gone"}"#), "gone");
    assert_eq!(message("error", "gone"), "gone");
    assert_eq!(
        message("error", r#"{"type":"error","error":"gone"}"#),
        "gone (error)"
    );
    assert_eq!(
        message("", r#"{"object":"chat.completion.chunk","choices":[]}"#),
        "the server sent a chat completion, not a message of the Messages API"
    );
    let (_, state) = read("", r#"{"type":"never_heard_of"}"#);
    assert_eq!((state.skipped_events, state.failure), (1, None));
    let (is_news, state) = read("ping", r#"{"type":"ping"}"#);
    assert_eq!((is_news, state.skipped_events), (false, 0));
}

#[test]
fn a_reply_has_its_calls_with_their_ids() {
    let reply = |events: &[&str]| {
        let mut reply = Reply::default();
        for event in events {
            Anthropic.read_reply(event.as_bytes(), &mut reply);
        }
        reply
    };
    let pieces = reply(&[
        r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
    ]);
    let whole = reply(&[
        r#"{"content":[{"type":"text","text":"a"},{"type":"tool_use","id":"t1","name":"f","input":{"a":1}}]}"#,
    ]);
    for reply in [pieces, whole] {
        assert_eq!(reply.text.choices[0].content, "a");
        assert_eq!(reply.calls[0].id, "t1");
        assert_eq!(reply.calls[0].arguments, "{\"a\":1}");
    }
}

proptest! {
    /// What counts as a token has text for a tokenizer, and nothing else has.
    #[test]
    fn both_readers_see_the_same(kind in 0usize..5, text in "[a-c\"é]{0,3}") {
        let (kind, field) = [
            ("text_delta", "text"),
            ("thinking_delta", "thinking"),
            ("input_json_delta", "partial_json"),
            ("signature_delta", "signature"),
            ("citations_delta", "citation"),
        ][kind];
        let event = json!({"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}});
        let event = event.to_string();
        let meaning = AnthropicReader::default().event(b"", event.as_bytes()).unwrap();
        let mut read = AnswerText::default();
        Anthropic.read_text(event.as_bytes(), &mut read);
        let said = read.choices.first().cloned().unwrap_or_default();
        prop_assert_eq!(meaning.has_answer(), !said.content.is_empty());
        prop_assert_eq!(meaning.has_token(), !said.content.is_empty() || !said.reasoning.is_empty());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, name in "(error)?") {
        let _ = AnthropicReader::default().event(name.as_bytes(), &bytes);
        let _ = AnthropicReader::default().whole(&bytes);
        Anthropic.read_reply(&bytes, &mut Reply::default());
    }
}
