use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::protocol::PreparedRequest;
use crate::protocol::ToolCall;
use crate::protocol::{
    Api, BodyBuilder, BodyRules, ConversationRules, Dashscope, Endpoint, MaxTokens, OpenAi,
    Responses, SessionHeader,
};
use evalscope_model::conversation::Turn;
use evalscope_model::prompt::{Item, Overrides, Prompt};

fn rules(conversations: ConversationRules) -> BodyRules {
    BodyRules {
        api: Arc::new(OpenAi),
        endpoint: Endpoint::Chat,
        template: None,
        model: "m".to_owned(),
        mix: None,
        typed: Map::new(),
        defaults: Map::from_iter([("stream".to_owned(), true.into())]),
        max_tokens: MaxTokens::Fixed(9),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        conversations: Some(conversations),
        seed: 7,
    }
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn talk(texts: &[&str]) -> Item {
    let mut item = Item::from(Prompt::Text(texts[0].to_owned()));
    item.later = texts[1..]
        .iter()
        .map(|text| Turn {
            recorded_reply: Some(json!({"role": "assistant", "content": format!("re {text}")})),
            messages: vec![user(text)],
            ..Turn::default()
        })
        .collect();
    item
}

fn prepared(rules: BodyRules, item: Item) -> PreparedRequest {
    BodyBuilder::new(rules).prepare(3, item).unwrap()
}

fn sent(request: &PreparedRequest) -> String {
    String::from_utf8([&request.body[..], &request.tail].concat()).unwrap()
}

fn reply(text: &str) -> Reply {
    let mut reply = Reply::default();
    let event = json!({"choices": [{"message": {"content": text, "reasoning_content": "hm"}}]});
    OpenAi.read_reply(event.to_string().as_bytes(), &mut reply);
    reply
}

fn next(request: &mut PreparedRequest, said: &str) -> String {
    request.note_reply(Some(reply(said)), None);
    request.next_turn().unwrap();
    sent(request)
}

#[test]
fn the_limit_of_the_first_turn_is_its_own() {
    let mut item = talk(&["a", "b", "c"]);
    item.with.max_tokens = Some(64);
    item.later[1].max_tokens = Some(5);
    let mut request = prepared(rules(ConversationRules::default()), item);
    let limit = |body: &str| serde_json::from_str::<Value>(body).unwrap()["max_tokens"].clone();
    assert_eq!(limit(&sent(&request)), 64);
    assert_eq!(limit(&next(&mut request, "A")), 9);
    assert_eq!(limit(&next(&mut request, "B")), 5);
}

#[test]
fn a_body_grows_at_its_end() {
    let mut request = prepared(rules(ConversationRules::default()), talk(&["a", "b"]));
    insta::assert_snapshot!(sent(&request), @r#"{"messages":[{"role":"user","content":"a"}],"model":"m","stream":true,"max_tokens":9,"stream_options":{"include_usage":true}}"#);
    insta::assert_snapshot!(next(&mut request, "A\n"), @r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"A\n"},{"role":"user","content":"b"}],"model":"m","stream":true,"max_tokens":9,"stream_options":{"include_usage":true}}"#);
    assert!(request.next_turn().is_none());
}

#[test]
fn the_history_is_what_was_asked_for() {
    let second = |history| {
        let rules = rules(ConversationRules {
            history,
            ..ConversationRules::default()
        });
        let body = next(&mut prepared(rules, talk(&["a", "b"])), "A");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["messages"][1].clone()
    };
    assert_eq!(
        second(History::Real),
        json!({"role": "assistant", "content": "A"})
    );
    assert_eq!(
        second(History::RealWithReasoning),
        json!({"role": "assistant", "content": "A", "reasoning_content": "hm"})
    );
    assert_eq!(
        second(History::Recorded),
        json!({"role": "assistant", "content": "re b"})
    );
    assert_eq!(second(History::None), user("b"));
}

#[test]
fn results_of_tools_go_with_the_calls_of_the_server() {
    let tools = |calls: usize, results: usize| {
        let mut item = talk(&["a", "b"]);
        let result =
            |n| json!({"role": "tool", "tool_call_id": "recorded", "content": format!("r{n}")});
        item.later[0].messages = (0..results).map(result).collect();
        let mut request = prepared(rules(ConversationRules::default()), item);
        let calls = (0..calls).map(|n| ToolCall {
            id: format!("call_{n}"),
            ..ToolCall::default()
        });
        let said = Reply {
            calls: calls.collect(),
            ..Reply::default()
        };
        request.note_reply(Some(said), None);
        request.next_turn().unwrap();
        let body: Value = serde_json::from_str(&sent(&request)).unwrap();
        let messages = body["messages"].as_array().unwrap()[2..].iter();
        let messages: Vec<String> = messages
            .map(|m| format!("{} {} {}", m["role"], m["tool_call_id"], m["content"]))
            .collect();
        (
            messages.join("; "),
            request.conversing.unwrap().tools_unmatched,
        )
    };
    insta::assert_debug_snapshot!([tools(2, 2), tools(1, 2), tools(2, 1), tools(0, 1)], @r#"
    [
        (
            "\"tool\" \"call_0\" \"r0\"; \"tool\" \"call_1\" \"r1\"",
            0,
        ),
        (
            "\"tool\" \"call_0\" \"r0\"; \"user\" null \"r1\"",
            1,
        ),
        (
            "\"tool\" \"call_0\" \"r0\"; \"tool\" \"call_1\" \"\"",
            1,
        ),
        (
            "\"user\" null \"r0\"",
            1,
        ),
    ]
    "#);
}

#[test]
fn what_differs_between_turns_is_in_the_tail() {
    let mut item = talk(&["a", "b", "c"]);
    item.with = Overrides {
        max_tokens: Some(5),
        rid: Some("r".to_owned()),
        exact_output: true,
        ..Overrides::default()
    };
    item.later[0].max_tokens = Some(6);
    let mut request = prepared(rules(ConversationRules::default()), item);
    let tail = |request: &PreparedRequest| String::from_utf8(request.tail.clone()).unwrap();
    insta::assert_snapshot!(tail(&request), @r#"],"model":"m","stream":true,"max_tokens":5,"stream_options":{"include_usage":true},"ignore_eos":true,"min_tokens":5,"rid":"r_t1"}"#);
    next(&mut request, "A");
    insta::assert_snapshot!(tail(&request), @r#"],"model":"m","stream":true,"max_tokens":6,"stream_options":{"include_usage":true},"ignore_eos":true,"min_tokens":6,"rid":"r_t2"}"#);
    assert_eq!((request.index, request.asked_output_tokens), (4, Some(6)));
    next(&mut request, "B");
    // a turn without a limit of its own has that of the command
    assert!(tail(&request).contains(r#""max_tokens":9"#));
    assert_eq!(request.index, 5);
}

#[test]
fn a_turn_may_add_nothing() {
    let mut item = talk(&["a", "b"]);
    item.later[0].messages.clear();
    let rules = rules(ConversationRules {
        history: History::None,
        ..ConversationRules::default()
    });
    let mut request = prepared(rules, item);
    let first = sent(&request);
    assert_eq!(next(&mut request, "A"), first);
    let stored = String::from_utf8(request.take_recorded()).unwrap();
    assert!(stored.starts_with(r#"{"messages":[],"#), "{stored}");
}

#[test]
fn each_turn_has_the_limit_that_was_typed_for_it() {
    let mut item = talk(&["a", "b", "c"]);
    item.later[1].max_tokens = Some(5);
    let rules = ConversationRules {
        max_turn_tokens: vec![150, 1000],
        ..ConversationRules::default()
    };
    let mut request = prepared(self::rules(rules), item);
    let mut limits = Vec::new();
    for turn in 0..3 {
        if turn > 0 {
            next(&mut request, "A");
        }
        let body: Value = serde_json::from_str(&sent(&request)).unwrap();
        limits.push((body["max_tokens"].as_u64(), request.asked_output_tokens));
    }
    let limit = |n| (Some(n), Some(n));
    assert_eq!(limits, [limit(150), limit(1000), limit(1000)]);
}

#[test]
fn sessions_are_named_salted_and_cut() {
    let rules = rules(ConversationRules {
        max_turns: Some(2),
        session_header: Some(SessionHeader {
            name: "X-Session".to_owned(),
            prefix: "run".to_owned(),
        }),
        token_header: Some("X-Token".to_owned()),
        salt: Some("run".to_owned()),
        ..ConversationRules::default()
    });
    let mut request = prepared(rules.clone(), talk(&["a", "b", "c"]));
    assert_eq!(request.turns(), 2);
    assert!(request.conversing.as_ref().unwrap().is_cut);
    assert!(sent(&request).starts_with(r#"{"messages":[{"role":"user","content":"[run-3]\na"}]"#));
    assert_eq!(
        request.headers.fields(),
        [("X-Session".to_owned(), "run-3".to_owned())]
    );
    request.note_reply(Some(reply("A")), Some("t1".to_owned()));
    request.note_reply(Some(reply("A")), None);
    assert_eq!(
        request.headers.fields()[1],
        ("X-Token".to_owned(), "t1".to_owned())
    );
    let mut named = talk(&["a"]);
    named.with.session = Some("own".to_owned());
    let named = prepared(rules, named);
    assert_eq!(named.headers.fields()[0].1, "own");
    assert!(!named.conversing.unwrap().is_cut);
}

#[test]
fn messages_are_found_wherever_an_api_puts_them() {
    let rules = BodyRules {
        api: Arc::new(Dashscope::default()),
        ..rules(ConversationRules::default())
    };
    let mut request = prepared(rules, talk(&["a", "b"]));
    let body = next(&mut request, "A");
    assert!(
        body.starts_with(r#"{"input":{"messages":[{"role":"user","content":"a"},"#),
        "{body}"
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["input"]["messages"][2], user("b"));
    assert_eq!(body["parameters"]["max_tokens"], 9);
}

proptest! {
    /// Every body is the JSON that a client would have made of the whole history, and every body
    /// follows from what is stored: the rule of the docs, applied here to the text alone.
    #[test]
    fn bodies_are_whole_and_follow_from_what_is_stored(
        texts in prop::collection::vec(".{0,20}", 1..6),
        replies in prop::collection::vec(".{0,20}", 6),
        has_system in any::<bool>(),
    ) {
        let words: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut item = talk(&words);
        let mut history = vec![user(words[0])];
        if has_system {
            history.insert(0, json!({"role": "system", "content": "be \"brief\""}));
            item.prompt = Prompt::Messages(history.clone());
        }
        let mut request = prepared(rules(ConversationRules::default()), item);
        let mut stored: Vec<String> = Vec::new();
        for turn in 0..words.len() {
            if turn > 0 {
                let said = &replies[turn];
                history.push(json!({"role": "assistant", "content": said}));
                history.push(user(words[turn]));
                next(&mut request, said);
            }
            let body = sent(&request);
            let parsed: Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(&parsed["messages"], &Value::Array(history.clone()));
            stored.push(String::from_utf8(request.take_recorded()).unwrap());
            prop_assert_eq!(rebuilt(&stored), body);
        }
    }
}

/// The body of the last turn from what is stored of all turns up to it.
fn rebuilt(stored: &[String]) -> String {
    let opening = r#"{"messages":["#;
    let mut messages = Vec::new();
    let mut tail = "";
    for text in stored {
        let rest = text.strip_prefix(opening).unwrap();
        // where the list of messages ends
        let mut values = serde_json::Deserializer::from_str(&text[opening.len() - 1..])
            .into_iter::<Vec<Value>>();
        values.next().unwrap().unwrap();
        let end = values.byte_offset() - 2;
        messages.push(&rest[..end]);
        tail = &rest[end..];
    }
    format!("{opening}{}{tail}", messages.join(","))
}

#[test]
fn a_server_that_keeps_the_history_is_sent_the_new_messages_only() {
    let (rules, _) = rules(ConversationRules {
        history: History::KeptByServer,
        ..ConversationRules::default()
    })
    .with_api(Arc::new(Responses));
    let mut request = prepared(rules, talk(&["a", "b", "c"]));
    insta::assert_snapshot!(sent(&request), @r#"{"input":[{"role":"user","content":"a"}],"model":"m","stream":true,"store":true,"max_output_tokens":9}"#);
    let mut next = |event: Value| {
        let mut reply = Reply::default();
        Responses.read_reply(event.to_string().as_bytes(), &mut reply);
        assert!(request.wants_reply());
        request.note_reply(Some(reply), None);
        request.next_turn().unwrap();
        let recorded = String::from_utf8(request.take_recorded()).unwrap();
        assert_eq!(recorded, sent(&request));
        recorded
    };
    let begun = json!({"type": "response.created", "response": {"id": "resp_1"}});
    insta::assert_snapshot!(next(begun), @r#"{"input":[{"role":"user","content":"b"}],"model":"m","stream":true,"store":true,"max_output_tokens":9,"previous_response_id":"resp_1"}"#);
    let whole = json!({"id": "resp_2", "output": []});
    insta::assert_snapshot!(next(whole), @r#"{"input":[{"role":"user","content":"c"}],"model":"m","stream":true,"store":true,"max_output_tokens":9,"previous_response_id":"resp_2"}"#);
}
