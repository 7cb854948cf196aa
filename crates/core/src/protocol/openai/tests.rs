use super::*;

fn meaning(data: &str) -> (bool, bool) {
    let mut reader = OpenAiReader::default();
    let meaning = reader.event(b"", data.as_bytes()).unwrap();
    assert_eq!(reader.state.failure, None, "{data}");
    (meaning.has_token(), meaning.has_answer())
}

fn delta(delta: &str) -> (bool, bool) {
    meaning(&format!(
        r#"{{"id":"x","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
    ))
}

#[test]
fn what_is_a_token_and_what_is_not() {
    const NO: (bool, bool) = (false, false);
    const THOUGHT: (bool, bool) = (true, false);
    const ANSWER: (bool, bool) = (true, true);
    for (text, want) in [
        (r#"{"role":"assistant","content":""}"#, NO),
        (r#"{"role":"assistant"}"#, NO),
        (r#"{"content":null,"tool_calls":null}"#, NO),
        ("{}", NO),
        ("null", NO),
        (r#"{"content":"a"}"#, ANSWER),
        (r#"{"content":"\n"}"#, ANSWER),
        (r#"{"content":[{"type":"text","text":"a"}]}"#, ANSWER),
        (r#"{"reasoning_content":"a","content":null}"#, THOUGHT),
        (r#"{"reasoning":"a","content":""}"#, THOUGHT),
        (r#"{"reasoning":"","content":"b"}"#, ANSWER),
        (
            r#"{"reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#,
            THOUGHT,
        ),
        (
            r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"a"}]}"#,
            THOUGHT,
        ),
        (
            r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"Zm9v"}]}"#,
            NO,
        ),
        (r#"{"refusal":"no"}"#, ANSWER),
        (
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}"#,
            ANSWER,
        ),
        (
            r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
            ANSWER,
        ),
        (
            r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#,
            NO,
        ),
        (r#"{"tool_calls":[]}"#, NO),
        (r#"{"function_call":{"arguments":"x"}}"#, ANSWER),
    ] {
        assert_eq!(delta(text), want, "{text}");
    }
    assert_eq!(meaning(r#"{"choices":[{"text":"a"}]}"#), ANSWER);
    assert_eq!(meaning(r#"{"choices":[{"text":""}]}"#), NO);
    assert_eq!(meaning(r#"{"choices":[]}"#), NO);
    assert_eq!(meaning(r#"{"choices":null,"error":null}"#), NO);
    assert_eq!(
        meaning(r#"{"choices":[{"delta":{"content":""}},{"delta":{"content":"b"}}]}"#),
        ANSWER
    );
}

#[test]
fn the_last_usage_that_says_something_wins() {
    let mut reader = OpenAiReader::default();
    for data in [
        r#"{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#,
        r#"{"choices":[],"usage":null}"#,
        r#"{"usage":{"prompt_tokens":null,"completion_tokens":2.0,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens_details":null}}"#,
    ] {
        reader.event(b"", data.as_bytes());
    }
    assert_eq!(
        reader.state.usage,
        Usage {
            prompt_tokens: Some(7),
            completion_tokens: Some(2),
            cached_tokens: Some(4),
            reasoning_tokens: Some(1),
            reasoning_from_total: false,
        }
    );
}

fn failure(name: &str, data: &str) -> Option<String> {
    let mut reader = OpenAiReader::default();
    reader.event(name.as_bytes(), data.as_bytes());
    let failure = reader.state.failure?;
    Some(format!("{}: {}", failure.kind, failure.message))
}

#[test]
fn errors_in_a_stream_of_status_200() {
    for (name, data, want) in [
        (
            "",
            r#"{"error":{"message":"out of memory","type":"server_error","code":500}}"#,
            Some("server_error: out of memory (500)"),
        ),
        (
            "",
            r#"{"error":"overloaded"}"#,
            Some("server_error: overloaded"),
        ),
        (
            "",
            r#"{"object":"error","message":"bad","code":400}"#,
            Some("server_error: bad (400)"),
        ),
        ("error", r#"{"message":"bad"}"#, Some("server_error: bad")),
        ("error", "plain text", Some("server_error: plain text")),
        (
            "",
            r#"{"choices":[{"delta":{},"finish_reason":"error"}]}"#,
            Some("server_error: the server ended generation with finish_reason `error`"),
        ),
        ("", r#"{"error":null,"choices":[]}"#, None),
        ("", r#"{"error":"","choices":[]}"#, None),
        ("", r#"{"error":false,"choices":[]}"#, None),
        ("message", r#"{"choices":[]}"#, None),
    ] {
        assert_eq!(failure(name, data).as_deref(), want, "{data}");
    }
    for spoilt in [r#"{"choices":["#, "[]", "123", "\u{fffd}"] {
        let (_, reader) = read(&[spoilt]);
        assert_eq!(
            reader.aside().unwrap().kind,
            FailureKind::Malformed,
            "{spoilt}"
        );
    }
}

#[test]
fn odd_usage_costs_no_answer() {
    for (usage, want) in [
        (
            r#"{"prompt_tokens":11,"completion_tokens":3,"input_tokens":0,"output_tokens":0}"#,
            (Some(11), Some(3)),
        ),
        (
            r#"{"input_tokens":5,"output_tokens":6}"#,
            (Some(5), Some(6)),
        ),
        (
            r#"{"prompt_tokens":-1,"completion_tokens":"3"}"#,
            (None, Some(3)),
        ),
        (
            r#"{"prompt_tokens":7,"completion_tokens_details":"x"}"#,
            (Some(7), None),
        ),
        ("[1,2]", (None, None)),
        (r#""lots""#, (None, None)),
        (r#"{"prompt_tokens":1e400}"#, (None, None)),
    ] {
        let mut reader = OpenAiReader::default();
        reader.event(
            b"",
            format!(r#"{{"choices":[],"usage":{usage}}}"#).as_bytes(),
        );
        assert_eq!(reader.state.failure, None, "{usage}");
        let got = &reader.state.usage;
        assert_eq!((got.prompt_tokens, got.completion_tokens), want, "{usage}");
    }
}

#[test]
fn spoilt_characters_and_late_events_cost_no_answer() {
    let mut reader = OpenAiReader::default();
    let spoilt = b"{\"choices\":[{\"delta\":{\"content\":\"\xff\xe4\"}}]}";
    assert!(reader.event(b"", spoilt).unwrap().has_token());
    assert_eq!(reader.event(b"", b" [DONE] "), None);
    assert_eq!(reader.event(b"", b"{broken"), None);
    assert_eq!(reader.state.failure, None);
}

#[test]
fn a_count_beyond_all_reason_is_none() {
    for (count, want) in [
        ("1000000000000", Some(1_000_000_000_000)),
        ("1000000000001", None),
        ("18446744073709551615", None),
    ] {
        let mut reader = OpenAiReader::default();
        reader.whole(
            format!(r#"{{"choices":[],"usage":{{"completion_tokens":{count}}}}}"#).as_bytes(),
        );
        assert_eq!(reader.take().usage.completion_tokens, want, "{count}");
    }
}

#[test]
fn a_whole_answer() {
    let mut reader = OpenAiReader::default();
    let meaning = reader.whole(
        br#"{"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":"hi","finish_reason":"length"}],"usage":{"prompt_tokens":1,"total_tokens":17,"completion_tokens":16}}"#,
    );
    assert!(meaning.has_token());
    let state = reader.take();
    assert_eq!(state.finish_reason.as_deref(), Some("length"));
    assert_eq!(state.response_id.as_deref(), Some("cmpl-1"));
    assert_eq!(state.usage.completion_tokens, Some(16));
    assert!(state.done);
}

/// Events, and what became of them.
fn read(events: &[&str]) -> (Vec<bool>, OpenAiReader) {
    let mut reader = OpenAiReader::default();
    let tokens = events
        .iter()
        .filter_map(|data| reader.event(b"", data.as_bytes()))
        .map(|meaning| meaning.has_token())
        .collect();
    (tokens, reader)
}

#[test]
fn a_message_beside_or_after_deltas_bears_no_token() {
    let perplexity = [
        r#"{"choices":[{"delta":{"content":"The"},"message":{"content":"The"}}]}"#,
        r#"{"choices":[{"delta":{"content":" sky."},"message":{"content":"The sky."}}]}"#,
        r#"{"choices":[{"delta":{"content":""},"message":{"content":"The sky."},"finish_reason":"stop"}]}"#,
    ];
    assert_eq!(read(&perplexity).0, [true, true, false]);
    let minimax = [
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"Hm"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"Hi!"}}]}"#,
        r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi!"},"finish_reason":"stop"}]}"#,
        r#"{"object":"chat.completion","choices":[{"index":2,"message":{"content":"Hi!"}}]}"#,
    ];
    assert_eq!(read(&minimax).0, [true, true, false, true]);
}

#[test]
fn usage_is_found_where_servers_put_it() {
    for (event, want) in [
        // Groq
        (
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":{"prompt_tokens":23,"completion_tokens":19}}}"#,
            (Some(23), Some(19), None),
        ),
        // Moonshot
        (
            r#"{"choices":[{"delta":{},"usage":{"prompt_tokens":13,"completion_tokens":24,"cached_tokens":8}}]}"#,
            (Some(13), Some(24), Some(8)),
        ),
        (
            r#"{"choices":[{"usage":{"prompt_tokens":13,"completion_tokens":24}},{"usage":{"prompt_tokens":13,"completion_tokens":6}}]}"#,
            (Some(13), Some(30), None),
        ),
        (
            r#"{"choices":[{"usage":{"prompt_tokens":13,"completion_tokens":24}}],"usage":{"prompt_tokens":12,"completion_tokens":23}}"#,
            (Some(12), Some(23), None),
        ),
        // Anthropic, and Claude through a gateway
        (
            r#"{"message":{"usage":{"input_tokens":7,"cache_read_input_tokens":20,"output_tokens":1}}}"#,
            (Some(27), Some(1), Some(20)),
        ),
        (
            r#"{"usage":{"prompt_tokens":2095,"completion_tokens":503,"total_tokens":2598,"cache_read_input_tokens":1920}}"#,
            (Some(2095), Some(503), Some(1920)),
        ),
        // Gemini
        (
            r#"{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":9,"totalTokenCount":17}}"#,
            (Some(5), Some(12), None),
        ),
        (
            r#"{"usage":{"prompt_tokens":"11","completion_tokens":"9"}}"#,
            (Some(11), Some(9), None),
        ),
        (
            r#"{"usage":{"prompt_tokens":0,"completion_tokens":0,"input_tokens":11,"output_tokens":3}}"#,
            (Some(11), Some(3), None),
        ),
    ] {
        let usage = read(&[event]).1.take().usage;
        let got = (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
        );
        assert_eq!(got, want, "{event}");
    }
    let (_, mut reader) = read(&[
        r#"{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#,
    ]);
    let usage = reader.take().usage;
    assert_eq!(
        (usage.prompt_tokens, usage.completion_tokens),
        (Some(11), Some(3))
    );
}

#[test]
fn an_error_in_other_words_is_one() {
    for (data, want) in [
        (
            r#"{"choices":null,"base_resp":{"status_code":1004,"status_msg":"login fail: check your API key"}}"#,
            Some("server_error: login fail: check your API key (1004)"),
        ),
        (
            r#"{"choices":[{"delta":{"content":"a"}}],"base_resp":{"status_code":0,"status_msg":""}}"#,
            None,
        ),
        (
            r#"{"code":500,"msg":"boom"}"#,
            Some("server_error: boom (500)"),
        ),
        (
            r#"{"error_code":17,"error_msg":"limit"}"#,
            Some("server_error: limit (17)"),
        ),
        (
            r#"{"success":false,"message":"quota"}"#,
            Some("server_error: quota"),
        ),
        (r#"{"detail":"Not Found"}"#, Some("server_error: Not Found")),
        (
            r#"{"error":{"code":0,"message":""},"choices":[{"delta":{}}]}"#,
            None,
        ),
        (
            r#"{"code":200,"msg":"ok","choices":[{"delta":{"content":"a"}}]}"#,
            None,
        ),
        (r#"{"type":"ping"}"#, None),
        (
            r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#,
            Some("server_error: the server ended generation with finish_reason `abort`"),
        ),
        (
            r#"{"choices":[{"delta":{},"finish_reason":{"type":"abort","message":"x"}}]}"#,
            Some("server_error: the server ended generation with finish_reason `abort`"),
        ),
        (r#"{"choices":[{"delta":{},"finish_reason":"null"}]}"#, None),
    ] {
        assert_eq!(failure("", data).as_deref(), want, "{data}");
    }
    let (_, reader) = read(&[r#"{"status":"queued","message":"position 3"}"#]);
    assert_eq!(reader.state.failure, None);
    assert_eq!(reader.aside().unwrap().message, "position 3 (queued)");
}

#[test]
fn events_that_are_no_json_are_passed_over() {
    let mut reader = OpenAiReader::default();
    assert_eq!(reader.event(b"ping", b"2024-04-27 01:35:43.686476"), None);
    assert!(reader.aside().is_none(), "a heartbeat is not missing data");
    assert_eq!(reader.event(b"", br#"{"choices":["#), None);
    assert!(reader.event(b"", br#"{"id":"a","id":"b","choices":[{"delta":{"content":"x"}}],"usage":null,"usage":{"prompt_tokens":1}}"#).unwrap().has_token());
    assert!(reader.event(b"", br#"{"choices":[{"delta":{"content":"y"},"logprobs":{"content":[{"logprob":-Infinity,"x":NaN}]}}]}"#).unwrap().has_token());
    assert_eq!(reader.event(b"", b"\"[DONE]\""), None);
    let aside = reader.aside().unwrap().to_owned();
    assert_eq!(aside.kind, FailureKind::Malformed);
    assert!(
        aside
            .message
            .starts_with("an event is not a JSON object: EOF"),
        "{aside:?}"
    );
    let state = reader.take();
    assert_eq!(
        (state.failure, state.skipped_events, state.done),
        (None, 2, true)
    );
    assert_eq!(state.usage.prompt_tokens, Some(1));
    assert!(reader.aside().is_none());
}

#[test]
fn events_without_blank_lines_between_are_named() {
    let data = "{\"choices\":[]}\n{\"choices\":[]}\n[DONE]";
    let text = failure("", data).unwrap();
    assert!(
        text.starts_with(
            "malformed: several events arrived as one, without blank lines between them"
        ),
        "{text}"
    );
}

#[test]
fn names_are_clipped_and_the_first_counts() {
    let long = "x".repeat(10_000);
    let (_, mut reader) = read(&[
        r#"{"id":"","model":null,"choices":[]}"#,
        &format!(r#"{{"id":"{long}","model":"{long}","choices":[{{"finish_reason":"{long}"}}]}}"#),
        r#"{"id":"b","model":"m","choices":[]}"#,
    ]);
    let state = reader.take();
    for name in [state.response_id, state.model, state.finish_reason] {
        assert_eq!(name.unwrap(), long[..256]);
    }
}
