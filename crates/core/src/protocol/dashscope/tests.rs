//! Bodies, events and non-streaming responses of DashScope, valid and unusual.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{BodyBuilder, BodyRules, Endpoint, MaxTokens};
use super::*;
use evalscope_model::prompt::Prompt;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("not an object")
    };
    map
}

fn rules() -> BodyRules {
    BodyRules {
        api: Arc::new(Dashscope::default()),
        endpoint: Endpoint::Chat,
        template: None,
        model: "qwen-plus".to_owned(),
        mix: None,
        typed: Map::new(),
        defaults: object(json!({"temperature": 0.0, "stream": true})),
        max_tokens: MaxTokens::Fixed(64),
        max_tokens_typed: false,
        include_usage: true,
        extra: Map::new(),
        conversations: None,
        seed: 0,
    }
}

fn body(rules: BodyRules, prompt: Prompt) -> String {
    String::from_utf8(BodyBuilder::new(rules).prepare(0, prompt).unwrap().body).unwrap()
}

fn text() -> Prompt {
    Prompt::Text("hi \"you\"".to_owned())
}

#[test]
fn a_chat_body() {
    insta::assert_snapshot!(body(rules(), text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
    let messages = vec![
        json!({"role": "system", "content": "be brief"}),
        json!({"role": "user", "content": "hi"}),
    ];
    insta::assert_snapshot!(body(rules(), Prompt::Messages(messages)), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
}

#[test]
fn a_completions_body() {
    let mut rules = rules();
    rules.endpoint = Endpoint::Completions;
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"prompt":"hi \"you\""},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
}

#[test]
fn a_body_without_stream_says_nothing_of_increments() {
    let mut rules = rules();
    rules.typed = object(json!({"stream": false}));
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message"}}"#);
}

#[test]
fn a_stream_that_repeats_itself_is_asked_for() {
    let mut rules = rules();
    rules.api = Arc::new(Dashscope {
        incremental: false,
        form: Form::Text,
    });
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":false}}"#);
}

#[test]
fn names_that_both_share_and_names_that_only_one_has() {
    let mut rules = rules();
    rules.typed = object(json!({
        "top_p": 0.9, "top_k": 5, "seed": 1, "stop_token_ids": [108_386, 104_307],
        "repetition_penalty": 1.1, "frequency_penalty": 0.5, "n": 2, "logprobs": true,
    }));
    insta::assert_snapshot!(body(rules.clone(), text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"top_p":0.9,"top_k":5,"seed":1,"repetition_penalty":1.1,"frequency_penalty":0.5,"n":2,"logprobs":true,"temperature":0.0,"max_tokens":64,"stop":[108386,104307],"result_format":"message","incremental_output":true}}"#);
    rules.typed = object(json!({"stop": ["a"], "stop_token_ids": [1]}));
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"stop":["a"],"stop_token_ids":[1],"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
}

#[test]
fn templates_in_either_form() {
    let mut rules = rules();
    rules.typed = object(json!({"temperature": 0.2}));
    let native = r#"{"model":"%m","input":{"messages":[{"role":"user","content":"Q: %p"}]},"parameters":{"temperature":0.7,"result_format":"text","enable_search":true}}"#;
    rules.template = Some(BodyRules::parse_template(native).unwrap());
    insta::assert_snapshot!(body(rules.clone(), text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"Q: hi \"you\""}]},"parameters":{"temperature":0.2,"result_format":"text","enable_search":true,"max_tokens":64,"incremental_output":true}}"#);
    let flat = r#"{"model":"%m","messages":[{"role":"user","content":"Q: %p"}],"top_k":3,"stream_options":{"include_usage":true}}"#;
    rules.template = Some(BodyRules::parse_template(flat).unwrap());
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"Q: hi \"you\""}]},"parameters":{"top_k":3,"temperature":0.2,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
}

#[test]
fn a_template_without_a_prompt_gets_the_messages() {
    let mut rules = rules();
    let template = r#"{"model":"%m","input":{"messages":[]},"parameters":{"max_tokens":7}}"#;
    rules.template = Some(BodyRules::parse_template(template).unwrap());
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"max_tokens":7,"temperature":0.0,"result_format":"message","incremental_output":true}}"#);
}

#[test]
fn a_body_of_its_own_gets_only_what_it_lacks() {
    let mut rules = rules();
    rules.typed = object(json!({"model": "other", "temperature": 0.9}));
    let own = json!({
        "model": "qwen-max",
        "input": {"prompt": "hi", "history": []},
        "parameters": {"incremental_output": false, "temperature": 0.1, "max_tokens": 5},
    });
    insta::assert_snapshot!(body(rules, Prompt::Body(object(own))), @r#"{"model":"qwen-max","input":{"prompt":"hi","history":[]},"parameters":{"incremental_output":false,"temperature":0.1,"max_tokens":5,"result_format":"message"}}"#);
}

#[test]
fn extra_args_win_in_either_form_and_null_deletes() {
    let mut rules = rules();
    rules.extra = object(json!({
        "parameters": {"temperature": null, "result_format": "text", "enable_thinking": true},
        "max_tokens": 3,
    }));
    insta::assert_snapshot!(body(rules, text()), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"user","content":"hi \"you\""}]},"parameters":{"max_tokens":3,"result_format":"text","enable_thinking":true,"incremental_output":true}}"#);
}

#[test]
fn parts_where_the_endpoint_takes_several_kinds() {
    let mut rules = rules();
    rules.api = Arc::new(Dashscope {
        incremental: true,
        form: Form::of_path(MULTIMODAL_PATH),
    });
    let messages = vec![
        json!({"role": "system", "content": "be brief"}),
        json!({"role": "user", "content": [
            {"type": "text", "text": "what is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAA"}},
            {"type": "image_url", "image_url": "https://example.org/a.png", "min_pixels": 4},
            {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
            {"type": "video", "video": ["https://example.org/1.png"]},
            {"type": "input_audio", "input_audio": {"data": "data:;base64,BBB", "format": "wav"}},
            {"image": "https://example.org/own.png"},
            {"type": "unheard_of", "x": 1},
            7,
        ]}),
        json!({"role": "assistant", "content": null}),
    ];
    insta::assert_snapshot!(body(rules, Prompt::Messages(messages)), @r#"{"model":"qwen-plus","input":{"messages":[{"role":"system","content":[{"text":"be brief"}]},{"role":"user","content":[{"text":"what is this?"},{"image":"data:image/png;base64,AAA"},{"min_pixels":4,"image":"https://example.org/a.png"},{"video":"https://example.org/a.mp4"},{"video":["https://example.org/1.png"]},{"audio":"data:;base64,BBB"},{"image":"https://example.org/own.png"},{"type":"unheard_of","x":1},7]},{"role":"assistant","content":null}]},"parameters":{"temperature":0.0,"max_tokens":64,"result_format":"message","incremental_output":true}}"#);
    assert_eq!(Form::of_path(TEXT_PATH), Form::Text);
    assert!(DEFAULT_URL.ends_with(TEXT_PATH));
}

#[test]
fn headers_say_whether_a_stream_is_wanted() {
    let api = Dashscope::default();
    assert_eq!(
        api.headers(true),
        [
            ("X-DashScope-SSE", "enable"),
            ("Accept", "text/event-stream")
        ]
    );
    assert_eq!(
        api.headers(false),
        [
            ("X-DashScope-SSE", "disable"),
            ("Accept", "application/json")
        ]
    );
    assert!(!api.takes_stream_options());
    assert_eq!(api.name(), "dashscope");
}

fn any_fields(keys: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let value = prop_oneof![
        Just(Value::Null),
        Just(Value::Bool(true)),
        Just(json!(0.5)),
        Just(json!("text")),
        Just(json!([1, 2])),
        Just(json!({})),
        Just(
            json!([{"role": "user", "content": "x"}, {"content": [{"type": "text", "text": "y"}]}])
        ),
    ];
    prop::collection::vec((prop::sample::select(keys), value), 0..6)
        .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

const INNER: &[&str] = &[
    "messages",
    "prompt",
    "history",
    "model",
    "input",
    "parameters",
    "temperature",
    "stop",
    "stop_token_ids",
    "result_format",
    "incremental_output",
    "stream",
    "stream_options",
];

fn any_body() -> impl Strategy<Value = Map<String, Value>> {
    let nested = || prop::option::of(any_fields(INNER));
    (any_fields(INNER), nested(), nested()).prop_map(|(mut body, input, parameters)| {
        for (key, nested) in [("input", input), ("parameters", parameters)] {
            if let Some(nested) = nested {
                body.insert(key.to_owned(), nested.into());
            }
        }
        body
    })
}

proptest! {
    #[test]
    fn what_has_been_translated_stays(body in any_body(), incremental: bool, multimodal: bool) {
        let form = if multimodal { Form::Multimodal } else { Form::Text };
        let api = Dashscope { incremental, form };
        let once = api.body(api.fields(body));
        prop_assert_eq!(api.body(api.fields(once.clone())), once);
    }

    #[test]
    fn a_native_body_comes_back_with_what_was_missing(
        input in any_fields(&["messages", "prompt", "history", "model"]),
        parameters in any_fields(&["temperature", "stop", "input", "n", "result_format"]),
    ) {
        let api = Dashscope::default();
        let mut body = object(json!({"model": "m", "input": input, "parameters": parameters}));
        let back = api.body(api.fields(body.clone()));
        let parameters = body["parameters"].as_object_mut().unwrap();
        if !parameters.contains_key("result_format") {
            parameters.insert("result_format".to_owned(), "message".into());
        }
        prop_assert_eq!(back, body);
    }

    #[test]
    fn no_event_makes_it_panic(name in "(error|done|result)?", event in "\\PC*", body in any_body()) {
        for incremental in [true, false] {
            let mut reader = DashscopeReader::new(incremental);
            reader.event(name.as_bytes(), event.as_bytes());
            for body in [json!({"output": body}), json!({"output": {"choices": [body]}}), json!(body)] {
                let body = serde_json::to_vec(&body).unwrap();
                let meaning = reader.whole(&body);
                prop_assert!(meaning.has_token() || !meaning.has_answer());
                let mut text = AnswerText::default();
                Dashscope { incremental, form: Form::Text }.read_text(&body, &mut text);
            }
        }
    }
}

fn meaning(output: &str) -> (bool, bool) {
    let mut reader = DashscopeReader::new(true);
    let event = format!(r#"{{"output":{output},"request_id":"r"}}"#);
    let meaning = reader.event(b"result", event.as_bytes()).unwrap();
    assert_eq!(reader.state.failure, None, "{output}");
    (meaning.has_token(), meaning.has_answer())
}

#[test]
fn what_is_a_token_and_what_is_not() {
    const NO: (bool, bool) = (false, false);
    const THOUGHT: (bool, bool) = (true, false);
    const ANSWER: (bool, bool) = (true, true);
    for (message, want) in [
        (r#"{"content":"a"}"#, ANSWER),
        (r#"{"content":"","role":"assistant"}"#, NO),
        (r#"{"content":[{"text":"a"}]}"#, ANSWER),
        (r#"{"content":[{"text":""}]}"#, NO),
        (r#"{"content":[]}"#, NO),
        (r#"{"content":null,"name":"x"}"#, NO),
        (r#"{"content":[{"image":"https://example.org"}]}"#, ANSWER),
        (r#"{"content":[{"image":""}]}"#, NO),
        (r#"{"content":"","reasoning_content":"a"}"#, THOUGHT),
        (r#"{"content":"b","reasoning_content":""}"#, ANSWER),
        (r#"{"content":[],"reasoning_content":"a"}"#, THOUGHT),
        (
            r#"{"content":"","tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
            ANSWER,
        ),
        (
            r#"{"content":"","tool_calls":[{"index":0,"id":"","type":"function","function":{"arguments":""}}]}"#,
            NO,
        ),
        ("null", NO),
        ("7", NO),
        (r#""text""#, NO),
    ] {
        let choices = format!(r#"{{"choices":[{{"message":{message},"finish_reason":"null"}}]}}"#);
        assert_eq!(meaning(&choices), want, "{message}");
    }
    assert_eq!(meaning(r#"{"text":"a","finish_reason":"null"}"#), ANSWER);
    assert_eq!(meaning(r#"{"text":"","finish_reason":"stop"}"#), NO);
    assert_eq!(meaning(r#"{"text":null,"choices":[]}"#), NO);
    assert_eq!(meaning(r#"{"choices":{},"text":{}}"#), NO);
    assert_eq!(meaning(r#"{"choices":["a",[1]],"text":1.5}"#), NO);
    assert_eq!(meaning("[]"), NO);
}

#[test]
fn only_what_is_new_is_a_token_where_events_repeat_themselves() {
    let mut reader = DashscopeReader::new(false);
    let mut tokens = |output: &str| {
        let meaning = reader
            .event(b"result", format!(r#"{{"output":{output}}}"#).as_bytes())
            .unwrap();
        (meaning.has_token(), meaning.has_answer())
    };
    let thinking = |thought: &str, content: &str| {
        format!(
            r#"{{"choices":[{{"message":{{"reasoning_content":"{thought}","content":"{content}"}}}}]}}"#
        )
    };
    assert_eq!(tokens(&thinking("so", "")), (true, false));
    assert_eq!(tokens(&thinking("so", "")), (false, false));
    assert_eq!(tokens(&thinking("so it", "")), (true, false));
    assert_eq!(tokens(&thinking("so it", "a")), (true, true));
    assert_eq!(tokens(&thinking("", "ab")), (true, true));
    assert_eq!(tokens(&thinking("", "")), (false, false));
    assert_eq!(tokens(&thinking("so it", "ab")), (false, false));
}

#[test]
fn choices_that_take_turns_repeat_only_their_own_text() {
    let mut reader = DashscopeReader::new(false);
    let mut token = |index: usize, content: &str| {
        let event = format!(
            r#"{{"output":{{"choices":[{{"index":{index},"message":{{"content":"{content}"}}}}]}}}}"#
        );
        reader
            .event(b"result", event.as_bytes())
            .unwrap()
            .has_token()
    };
    assert!(token(0, "long enough"));
    assert!(token(1, "a"));
    assert!(!token(0, "long enough"));
    assert!(token(1, "ab"));
    assert!(token(99, "x"));
}

#[test]
fn reasons_to_end_are_not_null() {
    let mut reader = DashscopeReader::new(true);
    for (reason, want) in [
        (r#""null""#, None),
        (r#""""#, None),
        ("null", None),
        ("{}", None),
        (r#""stop""#, Some("stop")),
        (r#""null""#, Some("stop")),
    ] {
        let event = format!(r#"{{"output":{{"choices":[{{"finish_reason":{reason}}}]}}}}"#);
        reader.event(b"result", event.as_bytes());
        assert_eq!(reader.state.finish_reason.as_deref(), want, "{reason}");
    }
    assert_eq!(reader.state.failure, None);
}

fn failure(name: &str, data: &str) -> Option<String> {
    let mut reader = DashscopeReader::new(true);
    reader.event(name.as_bytes(), data.as_bytes());
    let failure = reader.state.failure?;
    Some(format!("{}: {}", failure.kind, failure.message))
}

#[test]
fn errors_in_answers_of_status_200() {
    for (name, data, want) in [
        (
            "error",
            r#"{"code":"InvalidParameter","message":"bad","request_id":"r"}"#,
            Some("server_error: bad (InvalidParameter)"),
        ),
        (
            "",
            r#"{"code":"Throttling","message":"slow down","request_id":"r","output":null}"#,
            Some("server_error: slow down (Throttling)"),
        ),
        (
            "result",
            r#"{"code":"Throttling","message":"slow down","output":{}}"#,
            Some("server_error: slow down (Throttling)"),
        ),
        ("error", "plain text", Some("server_error: plain text")),
        (
            "",
            r#"{"error":{"message":"no key","code":"invalid_api_key"}}"#,
            Some("server_error: no key (invalid_api_key)"),
        ),
        (
            "",
            r#"{"code":"","message":"","output":{"text":"a"}}"#,
            None,
        ),
        ("", r#"{"code":null,"message":null}"#, None),
        ("", r#"{"code":"Success","output":{"text":""}}"#, None),
        ("", r#"{"status_code":200,"code":200,"error":null}"#, None),
    ] {
        assert_eq!(failure(name, data).as_deref(), want, "{data}");
    }
    for reason in ["abort", "network_error", "insufficient_system_resource"] {
        let data = format!(r#"{{"output":{{"choices":[{{"finish_reason":"{reason}"}}]}}}}"#);
        let text =
            format!("server_error: the server ended generation with finish_reason `{reason}`");
        assert_eq!(failure("result", &data), Some(text));
    }
    for broken in ["{", "[]", "123", "", "\u{fffd}"] {
        let mut reader = DashscopeReader::new(true);
        assert_eq!(reader.event(b"result", broken.as_bytes()), None);
        assert_eq!(reader.aside().unwrap().kind, FailureKind::Malformed);
        assert_eq!(reader.take().skipped_events, 1);
    }
    let mut reader = DashscopeReader::new(true);
    reader.event(
        b"error",
        br#"{"code":"A","message":"b","request_id":"r-1"}"#,
    );
    assert_eq!(reader.take().response_id.as_deref(), Some("r-1"));
}

#[test]
fn odd_usage_costs_no_answer() {
    for (usage, want) in [
        (
            r#"{"input_tokens":11,"output_tokens":3,"total_tokens":14}"#,
            (Some(11), Some(3)),
        ),
        (r#"{"input_tokens":2.0}"#, (Some(2), None)),
        (
            r#"{"input_tokens":-1,"output_tokens":"3"}"#,
            (None, Some(3)),
        ),
        (
            r#"{"input_tokens":1e400,"output_tokens":1}"#,
            (None, Some(1)),
        ),
        (
            r#"{"output_tokens":1,"output_tokens_details":[1,2]}"#,
            (None, Some(1)),
        ),
        ("[1,2,3,4,5]", (None, None)),
        (r#""lots""#, (None, None)),
        ("null", (None, None)),
    ] {
        let mut reader = DashscopeReader::new(true);
        reader.event(
            b"",
            format!(r#"{{"output":{{}},"usage":{usage}}}"#).as_bytes(),
        );
        assert_eq!(reader.state.failure, None, "{usage}");
        let got = &reader.state.usage;
        assert_eq!((got.prompt_tokens, got.completion_tokens), want, "{usage}");
    }
}

#[test]
fn the_last_usage_that_says_something_wins() {
    let mut reader = DashscopeReader::new(true);
    for usage in [
        r#"{"input_tokens":7,"output_tokens":1,"prompt_tokens_details":{"cached_tokens":4}}"#,
        r#"{"input_tokens":7,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":2}}"#,
        r#"{"output_tokens":null}"#,
    ] {
        reader.event(b"", format!(r#"{{"usage":{usage}}}"#).as_bytes());
    }
    assert_eq!(
        reader.state.usage,
        Usage {
            prompt_tokens: Some(7),
            completion_tokens: Some(3),
            cached_tokens: Some(4),
            reasoning_tokens: Some(2),
            reasoning_from_total: false,
        }
    );
}

#[test]
fn ends_and_spoilt_characters() {
    let mut reader = DashscopeReader::new(true);
    let spoilt = b"{\"output\":{\"text\":\"\xff\xe4\"}}";
    assert!(reader.event(b"", spoilt).unwrap().has_token());
    assert_eq!(reader.event(b"", b" [DONE] "), None);
    assert_eq!(reader.event(b"", b"{broken"), None);
    assert_eq!(reader.state.failure, None);
    assert!(reader.take().done);
    assert_eq!(reader.event(b"done", b""), None);
    assert!(reader.state().done);
}

#[test]
fn a_reader_is_new_after_its_state_was_taken() {
    let mut reader = DashscopeReader::new(false);
    let event = br#"{"output":{"text":"abc"}}"#;
    assert!(reader.event(b"", event).unwrap().has_token());
    assert!(!reader.event(b"", event).unwrap().has_token());
    reader.take();
    assert!(reader.event(b"", event).unwrap().has_token());
}

#[test]
fn a_whole_answer() {
    let answer = br#"{"status_code":200,"request_id":"r","code":"","message":"","output":{"text":null,"finish_reason":null,"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"hi","reasoning_content":"so"}}]},"usage":{"input_tokens":3,"output_tokens":16,"total_tokens":19}}"#;
    let mut reader = DashscopeReader::new(true);
    let meaning = reader.whole(answer);
    assert!(meaning.has_token() && meaning.has_answer());
    let state = reader.take();
    assert_eq!(state.failure, None);
    assert_eq!(state.finish_reason.as_deref(), Some("stop"));
    assert_eq!(state.response_id.as_deref(), Some("r"));
    assert_eq!(state.usage.completion_tokens, Some(16));
    assert!(state.done);
    for incremental in [true, false] {
        let api = Dashscope {
            incremental,
            form: Form::Text,
        };
        let mut text = AnswerText::default();
        api.read_text(answer, &mut text);
        assert_eq!(text.choices[0].content, "hi");
        assert_eq!(text.choices[0].reasoning, "so");
    }
}

#[test]
fn texts_are_joined_or_replaced() {
    let events = [
        r#"{"output":{"choices":[{"message":{"content":[{"text":"a"}],"reasoning_content":"so"}},{"message":{"content":"x"}}]}}"#,
        r#"{"output":{"choices":[{"index":0,"message":{"content":"ab","reasoning_content":""}}]}}"#,
        r#"{"output":{"choices":[{"index":1,"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}}"#,
        r#"{"output":{"text":""},"usage":{}}"#,
        "rubbish",
    ];
    let read = |incremental| {
        let api = Dashscope {
            incremental,
            form: Form::Text,
        };
        let mut text = AnswerText::default();
        for event in events {
            api.read_text(event.as_bytes(), &mut text);
        }
        let of = |choice: &crate::protocol::ChoiceText| {
            format!("{}|{}", choice.reasoning, choice.content)
        };
        text.choices.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(read(true), ["so|aab", "|xf{}"]);
    assert_eq!(read(false), ["so|ab", "|f{}"]);
}
