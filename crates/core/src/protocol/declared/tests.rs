//! Responses and declarations, valid and invalid.

use serde_json::json;

use super::*;

fn declared(value: Value) -> Declared {
    Declared::new(serde_json::from_value(value).unwrap())
}

fn small() -> Value {
    json!({
        "request": {"template": {"inputs": "%p", "n": "%{max_tokens}"}},
        "stream": {"ends_with_body": true, "text": "/token/text", "completion_tokens": "/details/count",
            "finish_reason": ["/details/reason"], "failed_finish_reasons": ["broken"], "error": "/error"},
        "whole": {"text": "/generated_text", "error": "/error"},
    })
}

#[test]
fn a_stream_that_ends_with_its_body() {
    let mut reader = declared(small()).reader();
    let mut event = |data: &str| reader.event(b"", data.as_bytes()).unwrap();
    assert!(event(r#"{"token":{"text":"a"},"error":null}"#).has_answer());
    assert!(!event(r#"{"token":{"text":""}}"#).has_token());
    assert!(!event(r#"{"details":{"count":2.0,"reason":"length"}}"#).has_token());
    assert!(!reader.state().done);
    reader.body_ended();
    let state = reader.take();
    assert!(state.done && state.failure.is_none());
    assert_eq!(state.usage.completion_tokens, Some(2));
    assert_eq!(state.finish_reason.as_deref(), Some("length"));
}

#[test]
fn errors_are_failures() {
    for (name, data, want) in [
        ("", r#"{"error":"overloaded"}"#, "overloaded"),
        ("error", "gone", "gone"),
        (
            "",
            r#"{"details":{"reason":"broken"}}"#,
            "the server ended generation with finish_reason `broken`",
        ),
    ] {
        let mut reader = declared(small()).reader();
        reader.event(name.as_bytes(), data.as_bytes());
        assert_eq!(reader.take().failure.unwrap().message, want);
    }
}

#[test]
fn what_is_no_json_is_passed_over() {
    let mut reader = declared(small()).reader();
    assert_eq!(reader.event(b"ping", b"12:00"), None);
    assert!(reader.aside().is_none());
    assert_eq!(reader.event(b"", b"{"), None);
    let aside = reader.aside().unwrap().message.clone();
    assert_eq!(
        aside,
        "an event is not a JSON object: EOF while parsing an object at line 1 column 1: {"
    );
    let state = reader.take();
    assert_eq!((state.skipped_events, state.failure), (2, None));
    assert!(reader.aside().is_none());
}

#[test]
fn ends_are_markers_or_names_of_events() {
    let mut shape = small();
    shape["stream"]["end"] = json!("[END]");
    shape["stream"]["end_event"] = json!("message_stop");
    for (name, data) in [("", " [END] 7"), ("message_stop", "{}")] {
        let mut reader = declared(shape.clone()).reader();
        assert_eq!(reader.event(name.as_bytes(), data.as_bytes()), None);
        assert_eq!(reader.event(b"", b"rubbish"), None);
        assert!(reader.state().done);
    }
}

#[test]
fn whole_answers_and_text_for_a_tokenizer() {
    let api = declared(small());
    let mut reader = api.reader();
    assert!(reader.whole(br#"{"generated_text":"a"}"#).has_answer());
    assert!(reader.state().done);
    let mut text = AnswerText::default();
    api.read_text(br#"{"token":{"text":"a"}}"#, &mut text);
    api.read_text(br#"{"token":{"text":"b"}}"#, &mut text);
    api.read_text(
        br#"{"generated_text":[{"text":"c"},{"text":"d"}]}"#,
        &mut text,
    );
    assert_eq!(text.choices[0].content, "abcd");
}

#[test]
fn a_declaration_that_cannot_be_read_by_is_refused() {
    let check = |change: &dyn Fn(&mut Value), stream| {
        let mut shape = small();
        change(&mut shape);
        let declaration: Declaration = serde_json::from_value(shape).unwrap();
        declaration.check(stream).unwrap_err().to_string()
    };
    let cut = |section: &'static str, key: &'static str| {
        move |shape: &mut Value| {
            shape[section].as_object_mut().unwrap().shift_remove(key);
        }
    };
    insta::assert_snapshot!(check(&cut("stream", "text"), true), @r#"`[stream]` has no `text`, which says where generated text is, for example text = "/text""#);
    insta::assert_snapshot!(check(&cut("whole", "text"), false), @r#"`[whole]` has no `text`, which says where generated text is, for example text = "/text""#);
    let endless = |shape: &mut Value| {
        cut("stream", "ends_with_body")(shape);
        cut("stream", "finish_reason")(shape);
    };
    insta::assert_snapshot!(check(&endless, true), @r#"`[stream]` does not say how a stream ends: give `end` (its last data, such as "[DONE]"), `end_event`, `finish_reason`, or ends_with_body = true"#);
    insta::assert_snapshot!(check(&|shape| shape["headers"] = json!({"x": 1}), true), @"`[headers]`: the value of `x` is not a string");
}

#[test]
fn a_path_is_a_path_and_nothing_else() {
    let read = |path: Value| {
        let mut shape = small();
        shape["path"] = path;
        serde_json::from_value::<Declaration>(shape).map_err(|error| error.to_string())
    };
    for path in ["/", "/generate", "/v1/models/a:generate", "/a%20b/"] {
        assert_eq!(read(json!(path)).unwrap().path.as_deref(), Some(path));
    }
    let error = |path: Value| read(path).unwrap_err();
    insta::assert_snapshot!(error(json!("generate")), @r#"`generate` does not start with `/`; write it as "/v1/generate""#);
    insta::assert_snapshot!(error(json!("")), @r#"`` does not start with `/`; write it as "/v1/generate""#);
    insta::assert_snapshot!(error(json!("https://example.org/generate")), @r#"`https://example.org/generate` is a whole URL: host and port belong to `--url`, and `path` is the rest; write it as "/v1/generate""#);
    insta::assert_snapshot!(error(json!("/generate?stream=1")), @r#"`/generate?stream=1` is more than a path: the rest belongs to `--url`; write it as "/v1/generate""#);
    insta::assert_snapshot!(error(json!("/generate ")), @r#"`/generate ` contains white space; write it as "/v1/generate""#);
    insta::assert_snapshot!(error(json!(5)), @"invalid type: integer `5`, expected a string");
}
