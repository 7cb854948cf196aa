//! Bodies, events and non-streaming responses of the Responses API, valid and unusual.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::super::{BodyBuilder, BodyRules, Endpoint, MaxTokens};
use super::*;
use evalscope_model::prompt::Prompt;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("not an object")
    };
    map
}

/// Rules as the command line makes them, with what was lost on the way.
fn rules(typed: Value) -> (BodyRules, Vec<String>) {
    let rules = BodyRules {
        api: Arc::new(Responses),
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
    rules.with_api(Arc::new(Responses))
}

fn body(rules: BodyRules, prompt: Prompt) -> String {
    String::from_utf8(BodyBuilder::new(rules).prepare(0, prompt).unwrap().body).unwrap()
}

#[test]
fn a_body() {
    let (rules, lost) = rules(json!({"top_p": 0.9, "seed": 1, "stop": ["x"]}));
    assert_eq!(lost, ["seed", "stop"]);
    insta::assert_snapshot!(body(rules, Prompt::Text("hi".to_owned())), @r#"{"model":"m","input":[{"role":"user","content":"hi"}],"top_p":0.9,"temperature":0.0,"stream":true,"store":false,"max_output_tokens":64}"#);
}

#[test]
fn what_is_typed_as_extra_is_sent() {
    let (mut rules, _) = rules(json!({}));
    rules.extra = object(json!({
        "max_output_tokens": 5, "store": null, "ignore_eos": true, "instructions": "be brief",
    }));
    insta::assert_snapshot!(body(rules, Prompt::Text("hi".to_owned())), @r#"{"model":"m","input":[{"role":"user","content":"hi"}],"temperature":0.0,"stream":true,"max_output_tokens":5,"ignore_eos":true,"instructions":"be brief"}"#);
}

#[test]
fn messages_become_items() {
    let messages = json!([
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        ]},
        {"role": "assistant", "content": null, "reasoning_content": "so", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "assistant", "content": [{"type": "text", "text": "four"}]},
    ]);
    let Value::Array(messages) = messages else {
        panic!("a list")
    };
    insta::assert_snapshot!(body(rules(json!({})).0, Prompt::Messages(messages)), @r#"{"model":"m","input":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"input_text","text":"what is this?"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"}]},{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"4"},{"role":"assistant","content":[{"type":"output_text","text":"four"}]}],"temperature":0.0,"stream":true,"store":false,"max_output_tokens":64}"#);
}

#[test]
fn tools_are_flat() {
    let own = json!({
        "model": "m", "messages": [], "max_completion_tokens": 3,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}, {"type": "web_search"}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    });
    let sent = Value::Object(Responses.body(object(own)));
    assert_eq!(
        sent,
        json!({
            "model": "m", "input": [], "max_output_tokens": 3,
            "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "web_search"}],
            "tool_choice": {"type": "function", "name": "f"},
        })
    );
}

#[test]
fn a_body_in_its_own_format_stays_the_same() {
    for own in [
        json!({"model": "m", "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "http://x"},
        ]}, {"type": "item_reference", "id": "x"}], "max_output_tokens": 3, "store": true}),
        json!({"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]}),
    ] {
        let there = Responses.fields(object(own.clone()));
        assert_eq!(Value::Object(Responses.body(there)), own);
    }
    let text = Responses.fields(object(json!({"input": "hi"})));
    assert_eq!(
        Value::Object(text),
        json!({"messages": [{"role": "user", "content": "hi"}]})
    );
}

#[test]
fn whole_responses() {
    let whole = |body: Value| {
        let mut reader = ResponsesReader::default();
        let meaning = reader.whole(body.to_string().as_bytes());
        (
            meaning.has_token(),
            meaning.has_answer(),
            AnswerReader::take(&mut reader),
        )
    };
    let (token, answer, state) = whole(json!({
        "id": "r", "object": "response", "status": "completed", "model": "m", "error": null,
        "output": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]}],
        "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 8},
    }));
    assert!(token && !answer && state.done && state.failure.is_none());
    assert_eq!(state.finish_reason.as_deref(), Some("stop"));
    let usage = state.usage;
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens,
            usage.reasoning_tokens
        ),
        (Some(3), Some(2), Some(5), Some(4))
    );
    let (token, _, state) = whole(json!({"status": "completed", "output": [],
        "usage": {"input_tokens": 3, "output_tokens": 0}}));
    assert!(!token && state.failure.is_none() && state.usage.completion_tokens == Some(0));
    for (body, message) in [
        (
            json!({"status": "failed", "output": [], "error": {"code": "server_error", "message": "no"}}),
            "no (server_error)",
        ),
        (
            json!({"status": "failed", "output": []}),
            "the server ended generation with finish_reason `failed`",
        ),
        (
            json!({"choices": [{"message": {"content": "hi"}}]}),
            "this is not a response of the Responses API: {\"choices\":[{\"message\":{\"content\":\"hi\"}}]}",
        ),
        (json!({"error": {"message": "gone"}}), "gone"),
    ] {
        assert_eq!(whole(body).2.failure.unwrap().message, message);
    }
}

#[test]
fn errors_and_strangers() {
    let read = |name: &str, data: &str| {
        let mut reader = ResponsesReader::default();
        reader.event(name.as_bytes(), data.as_bytes());
        AnswerReader::take(&mut reader)
    };
    let message = |name: &str, data: &str| read(name, data).failure.unwrap().message;
    assert_eq!(message("", r#"{"error":"gone"}"#), "gone");
    assert_eq!(message("error", "gone"), "gone");
    assert_eq!(
        message(
            "",
            r#"{"id":"x","object":"chat.completion.chunk","choices":[]}"#
        ),
        "the server sent a chat completion, not a response of the Responses API"
    );
    let state = read(
        "",
        r#"{"type":"response.never_heard_of.delta","delta":"a"}"#,
    );
    assert_eq!((state.skipped_events, state.failure), (1, None));
}

fn replies(events: &[&str]) -> Reply {
    let mut reply = Reply::default();
    for event in events {
        Responses.read_reply(event.as_bytes(), &mut reply);
    }
    reply
}

#[test]
fn a_reply_has_the_text_once_and_the_ids_of_calls() {
    let call = r#"{"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"}"#;
    let done = format!(r#"{{"type":"response.output_item.done","item":{call}}}"#);
    let message = r#"{"type":"message","content":[{"type":"output_text","text":"ab"}]}"#;
    let end =
        format!(r#"{{"type":"response.completed","response":{{"output":[{message},{call}]}}}}"#);
    let whole = format!(r#"{{"status":"completed","output":[{message},{call}]}}"#);
    let pieces = replies(&[
        r#"{"type":"response.output_text.delta","delta":"a"}"#,
        r#"{"type":"response.output_text.delta","delta":"b"}"#,
        r#"{"type":"response.output_text.done","text":"ab"}"#,
        r#"{"type":"response.function_call_arguments.delta","delta":"{\"a\":1}"}"#,
        &done,
        &end,
    ]);
    for reply in [pieces, replies(&[&end]), replies(&[&whole])] {
        assert_eq!(reply.text.choices[0].content, "ab");
        assert_eq!(
            reply.calls,
            [super::super::ToolCall {
                id: "c1".to_owned(),
                name: "f".to_owned(),
                arguments: "{\"a\":1}".to_owned(),
            }]
        );
    }
}

proptest! {
    /// What counts as a token has text for a tokenizer, and nothing else has.
    #[test]
    fn both_readers_see_the_same(
        events in prop::collection::vec(
            (0..CHANNELS.len(), any::<bool>(), 0usize..3, "[a-c\"é]{0,3}"),
            1..12,
        ),
    ) {
        let mut reader = ResponsesReader::default();
        for (at, is_done, item, text) in events {
            let channel = CHANNELS[at];
            let (kind, field) = if is_done { ("done", channel.whole) } else { ("delta", "delta") };
            let event = json!({
                "type": format!("response.{}.{kind}", channel.name), "output_index": item, field: text,
            });
            let event = event.to_string();
            let meaning = reader.event(b"", event.as_bytes()).unwrap();
            let mut read = AnswerText::default();
            Responses.read_text(event.as_bytes(), &mut read);
            let said = read.choices.first().cloned().unwrap_or_default();
            prop_assert!(!meaning.has_token() || !text.is_empty());
            prop_assert!(is_done || meaning.has_token() != text.is_empty());
            if meaning.has_token() {
                prop_assert_eq!(&format!("{}{}", said.reasoning, said.content), &text);
                prop_assert_eq!(meaning.has_answer(), said.reasoning.is_empty());
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, name in "(error)?") {
        let mut reader = ResponsesReader::default();
        let _ = reader.event(name.as_bytes(), &bytes);
        let _ = ResponsesReader::default().whole(&bytes);
        Responses.read_reply(&bytes, &mut Reply::default());
    }
}
