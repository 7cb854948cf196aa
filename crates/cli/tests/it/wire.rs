//! What arrives at the server: bodies, headers, the request line.

use serde_json::{Value, json};

use crate::context::Context;
use crate::server::{Recorder, Request, good, refusal};

/// The requests of a run with these further arguments; the test request is left out.
fn sent(context: &Context, args: &[&str]) -> Vec<Request> {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let mut all = vec!["--url", &url, "--model", "m", "--no-test-connection"];
    all.extend(args);
    context.measure(&all);
    server.requests()
}

/// The body of the only request of a run.
fn body(args: &[&str]) -> Value {
    let context = Context::new();
    let requests = sent(&context, &[args, &["--number", "1"]].concat());
    assert_eq!(requests.len(), 1);
    requests[0].json()
}

#[test]
fn a_plain_request() {
    let context = Context::new();
    let requests = sent(
        &context,
        &["--prompt", "Grüße \"und\" 你好\n", "--number", "1"],
    );
    assert_eq!(
        requests[0].json(),
        json!({
            "model": "m",
            "messages": [{"role": "user", "content": "Grüße \"und\" 你好\n"}],
            "stream": true,
            "temperature": 0.0,
            "max_tokens": 2048,
            "stream_options": {"include_usage": true},
        })
    );
    assert_eq!(requests[0].line, "POST /v1/chat/completions HTTP/1.1");
    let names: Vec<&str> = requests[0]
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    insta::assert_snapshot!("header_names", names.join("\n"));
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(
        requests[0].header("accept-encoding"),
        Some("identity"),
        "a gateway may choose any coding where none is named"
    );
}

#[test]
fn typed_flags_reach_the_body() {
    let body = body(&[
        "--prompt",
        "p",
        "--max-tokens",
        "9",
        "--min-tokens",
        "2",
        "--temperature",
        "0.7",
        "--top-p",
        "0.9",
        "--top-k",
        "40",
        "--frequency-penalty",
        "0.1",
        "--repetition-penalty",
        "1.1",
        "--logprobs",
        "--n-choices",
        "2",
        "--seed",
        "42",
        "--stop",
        "<|im_end|>",
        "###",
        "--stop-token-ids",
        "1",
        "2",
    ]);
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [{"role": "user", "content": "p"}],
            "min_tokens": 2,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 40,
            "frequency_penalty": 0.1,
            "repetition_penalty": 1.1,
            "logprobs": true,
            "n": 2,
            "seed": 42,
            "stop": ["<|im_end|>", "###"],
            "stop_token_ids": [1, 2],
            "stream": true,
            "max_tokens": 9,
            "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn without_streaming_no_stream_options() {
    let body = body(&["--prompt", "p", "--no-stream"]);
    assert_eq!(body["stream"], false);
    assert_eq!(body.get("stream_options"), None);
}

#[test]
fn templates_take_model_and_prompt() {
    let context = Context::new();
    context.write(
        "template.json",
        r#"{"model": "%m", "messages": [{"role": "system", "content": "for %m"}, {"role": "user", "content": "%p"}],
            "stream": true, "temperature": 0.3, "skip_special_tokens": false, "stop": ["<|im_end|>"], "max_tokens": 5}"#,
    );
    let template = [
        "--query-template",
        "@template.json",
        "--prompt",
        "say \"%m\" \\ 你好",
    ];
    let requests = sent(
        &context,
        &[&template, ["--number", "1"].as_slice()].concat(),
    );
    let body = requests[0].json();
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "for m"},
                {"role": "user", "content": "say \"%m\" \\ 你好"},
            ],
            "stream": true,
            // what is no more than a default does not override the template
            "temperature": 0.3,
            "skip_special_tokens": false,
            "stop": ["<|im_end|>"],
            "max_tokens": 5,
            "stream_options": {"include_usage": true},
        })
    );
}

#[test]
fn what_is_typed_overrides_the_template() {
    let template = r#"{"model": "other", "temperature": 0.3, "max_tokens": 5, "stream": false}"#;
    let typed = body(&[
        "--query-template",
        template,
        "--prompt",
        "p",
        "--temperature",
        "0",
        "--max-tokens",
        "8",
        "--stream",
    ]);
    assert_eq!(
        typed,
        json!({
            "model": "m",
            "temperature": 0.0,
            "max_tokens": 8,
            "stream": true,
            // without %p the prompt takes the place of `messages`
            "messages": [{"role": "user", "content": "p"}],
            "stream_options": {"include_usage": true},
        })
    );
    let untyped = body(&["--query-template", template, "--prompt", "p"]);
    assert_eq!(untyped["temperature"], 0.3);
    assert_eq!(untyped["max_tokens"], 5);
    assert_eq!(untyped["stream"], false);
}

#[test]
fn extra_args_add_replace_and_delete() {
    let body = body(&[
        "--prompt",
        "p",
        "--extra-args",
        r#"{"ignore_eos": true, "temperature": null, "stream_options": null, "max_tokens": 3, "nested": {"a": [1]}}"#,
    ]);
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [{"role": "user", "content": "p"}],
            "stream": true,
            "max_tokens": 3,
            "ignore_eos": true,
            "nested": {"a": [1]},
        })
    );
}

#[test]
fn a_range_of_max_tokens_is_drawn_from_the_seed() {
    let draw = |seed: &str| -> Vec<u64> {
        let args = [
            "--prompt",
            "p",
            "--max-tokens",
            "5",
            "9",
            "--number",
            "40",
            "--seed",
            seed,
        ];
        let requests = sent(&Context::new(), &args);
        let limits = requests
            .iter()
            .map(|r| r.json()["max_tokens"].as_u64().unwrap());
        limits.collect()
    };
    let limits = draw("1");
    assert_eq!(limits.iter().min(), Some(&5));
    assert_eq!(limits.iter().max(), Some(&9));
    assert_eq!(limits, draw("1"));
    assert_ne!(limits, draw("2"));
}

#[test]
fn a_prompt_from_a_file_and_an_empty_stop_list() {
    let context = Context::new();
    context.write("prompt.txt", "from\na file\n");
    let requests = sent(
        &context,
        &["--prompt", "@prompt.txt", "--number", "1", "--stop"],
    );
    let body = requests[0].json();
    assert_eq!(body["messages"][0]["content"], "from\na file\n");
    assert_eq!(body["stop"], json!([]));
}

#[test]
fn completions_get_a_prompt() {
    let server = Recorder::start(|request, _| good(request));
    let url = format!("http://{}/v1/completions", server.address());
    let context = Context::new();
    context.measure(&[
        "--url", &url, "--model", "m", "--prompt", "p", "--number", "1",
    ]);
    let requests = server.requests();
    // the test request has the same shape
    assert_eq!(requests.len(), 2);
    for (request, prompt) in requests.iter().zip(["hello", "p"]) {
        assert_eq!(request.line, "POST /v1/completions HTTP/1.1");
        assert_eq!(request.json()["prompt"], prompt);
        assert_eq!(request.json().get("messages"), None);
    }
    assert_eq!(
        context.result()["runs"][0]["metrics"]["ttft_ms"]["count"],
        1
    );
}

#[test]
fn line_by_line_takes_prompts_messages_and_bodies() {
    let context = Context::new();
    context.write(
        "lines.txt",
        "a plain prompt\n[{\"role\": \"user\", \"content\": \"q\"}]\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"own\"}], \"max_tokens\": 1, \"model\": \"theirs\"}\n",
    );
    let args = [
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "lines.txt",
        "--number",
        "3",
    ];
    let bodies: Vec<Value> = sent(&context, &args).iter().map(Request::json).collect();
    assert_eq!(bodies[0]["messages"][0]["content"], "a plain prompt");
    assert_eq!(
        bodies[1]["messages"],
        json!([{"role": "user", "content": "q"}])
    );
    assert_eq!(bodies[2]["messages"][0]["content"], "own");
    assert_eq!(bodies[2]["max_tokens"], 1);
    assert_eq!(bodies[2]["model"], "theirs");
    assert_eq!(bodies[2]["stream"], true);
}

#[test]
fn headers_and_key_are_sent() {
    let context = Context::new();
    let requests = sent(
        &context,
        &[
            "--prompt",
            "p",
            "--number",
            "1",
            "--api-key",
            "sk-abc",
            "--headers",
            "X-Trace=a=b",
            "X-Other=two words",
        ],
    );
    assert_eq!(requests[0].header("authorization"), Some("Bearer sk-abc"));
    assert_eq!(requests[0].header("x-trace"), Some("a=b"));
    assert_eq!(requests[0].header("x-other"), Some("two words"));
}

#[test]
fn a_header_of_ones_own_takes_the_place_of_ours() {
    let context = Context::new();
    let requests = sent(
        &context,
        &[
            "--prompt",
            "p",
            "--number",
            "1",
            "--headers",
            "Content-Type=application/vnd.test+json",
            "User-Agent=mine",
        ],
    );
    assert_eq!(
        requests[0].header("content-type"),
        Some("application/vnd.test+json")
    );
    assert_eq!(requests[0].header("user-agent"), Some("mine"));
}

#[test]
fn connections_are_kept_and_nothing_is_sent_again_behind_ones_back() {
    let server = Recorder::start(|request, number| {
        if number == 2 {
            refusal("500 Internal Server Error", "once")
        } else {
            good(request)
        }
    });
    let context = Context::new();
    context.measure(&[
        "--url",
        &server.url(),
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "6",
        "--no-test-connection",
    ]);
    assert_eq!(
        server.requests().len(),
        6,
        "a failed request is not repeated"
    );
    let reused = context.column::<i64>("SELECT connection_reused FROM requests ORDER BY idx");
    assert_eq!(reused[0], 0);
    assert_eq!(reused[1..3], [1, 1]);
    assert_eq!(
        context.result()["runs"][0]["counts"]["by_kind"],
        json!({"http_500": 1})
    );
}

#[test]
fn headers_of_the_environment_are_sent_and_flags_win() {
    let lines = "Authorization=Bearer sk-from-outside\nX-Team=red\n";
    let context = Context::new().with_env("EVALSCOPE_HEADERS", lines);
    let args = ["--prompt", "p", "--number", "1", "--headers", "x-team=blue"];
    let requests = sent(&context, &args);
    assert_eq!(
        requests[0].header("authorization"),
        Some("Bearer sk-from-outside")
    );
    assert_eq!(requests[0].header("x-team"), Some("blue"));
    let settings = context.result()["settings"].clone();
    assert_eq!(
        settings["headers"],
        json!({"x-team": "***", "Authorization": "***"})
    );
}

#[cfg(unix)]
#[test]
fn a_key_that_cannot_be_read_is_not_left_out() {
    use std::os::unix::ffi::OsStrExt as _;

    let context = Context::new();
    let server = Recorder::start(|request, _| good(request));
    for name in ["EVALSCOPE_API_KEY", "EVALSCOPE_HEADERS"] {
        let value = std::ffi::OsStr::from_bytes(b"X-Key=sk-\xff");
        let args = [
            "perf",
            "--url",
            &server.url(),
            "--model",
            "m",
            "--prompt",
            "p",
        ];
        let output = context.command(&args).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let want = format!("error: the environment variable {name} is not UTF-8\n");
        assert_eq!(stderr, want);
    }
    assert!(server.requests().is_empty());
}
