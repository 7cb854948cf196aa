//! The APIs that files in `docs/examples` declare, against what their servers send.

use serde_json::{Value, json};

use crate::context::{Context, Outcome};
use crate::server::{Recorder, Request, reply};

/// A declaration of `docs/examples`.
fn example(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    folder.join(name).display().to_string()
}

fn perf(context: &Context, server: &Recorder, api: &str, more: &[&str]) -> Outcome {
    let (api, url) = (example(api), format!("http://{}", server.address()));
    let base = [
        "--api",
        &api,
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "hi",
        "--number",
        "2",
        "--max-tokens",
        "9",
    ];
    context.perf(&[&base[..], more].concat())
}

/// The lines of a stream of Ollama's.
fn ollama_lines() -> Vec<Value> {
    let piece = |message: Value| json!({"model": "m", "created_at": "t", "message": message, "done": false});
    vec![
        piece(json!({"role": "assistant", "content": "", "thinking": "so"})),
        piece(json!({"role": "assistant", "content": "Red"})),
        piece(json!({"role": "assistant", "content": ","})),
        piece(
            json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}),
        ),
        json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop",
            "total_duration": 5_000_000, "prompt_eval_count": 11, "eval_count": 4}),
    ]
}

fn ndjson(lines: &[Value]) -> Vec<u8> {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    let text = lines.concat();
    reply("200 OK", "application/x-ndjson", &text)
}

fn ollama(request: &Request) -> Vec<u8> {
    if request.json()["stream"] == true {
        return ndjson(&ollama_lines());
    }
    let mut whole = ollama_lines().pop().unwrap();
    whole["message"]["content"] = "Red".into();
    reply("200 OK", "application/json", &whole.to_string())
}

#[test]
fn streams_of_ollama_are_measured_line_by_line() {
    let server = Recorder::start(|request, _| ollama(request));
    let context = Context::new();
    let outcome = perf(&context, &server, "ollama.toml", &["--seed", "3"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let metrics = context.result()["runs"][0]["metrics"].clone();
    // thinking, two pieces of content, and a call
    assert_eq!(metrics["ttft_ms"]["count"], 2);
    assert_eq!(metrics["itl_ms"]["count"], 2 * 3);
    assert_eq!(metrics["input_tokens"]["mean"], 11.0);
    assert_eq!(metrics["output_tokens"]["mean"], 4.0);
    let told =
        "SELECT DISTINCT finish_reason || ' ' || token_source || ' ' || is_stream FROM result";
    assert_eq!(context.column::<String>(told), ["stop server_usage 1"]);
    let request = &server.requests()[1];
    assert_eq!(request.line, "POST /api/chat HTTP/1.1");
    assert_eq!(
        request.json(),
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "options": {"num_predict": 9, "temperature": 0.0, "seed": 3}})
    );
    let context = Context::new();
    let outcome = perf(&context, &server, "ollama.toml", &["--no-stream"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(
        context.result()["runs"][0]["metrics"]["output_tokens"]["mean"],
        4.0
    );
}

#[test]
fn errors_and_cuts_in_json_lines_are_failures() {
    let error = json!({"error": "model runner has unexpectedly stopped"});
    for (lines, text) in [
        (
            &[ollama_lines()[1].clone(), error][..],
            "server_error model runner has unexpectedly stopped",
        ),
        (
            &ollama_lines()[..3],
            "truncated the stream ended without a line with a finish_reason",
        ),
    ] {
        let body = ndjson(lines);
        let server = Recorder::start(move |_, _| body.clone());
        let context = Context::new();
        let outcome = perf(&context, &server, "ollama.toml", &["--no-test-connection"]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        let told = "SELECT DISTINCT error_kind || ' ' || error_text FROM result";
        let told = context.column::<String>(told);
        assert!(told[0].starts_with(text), "{told:?}");
    }
}

/// A stream of Text Generation Inference's, without a space behind `data:`.
fn tgi(with_error: bool) -> Vec<u8> {
    let token = |id: u64, text: &str, special: bool| {
        json!({"index": id, "token": {"id": id, "text": text, "logprob": -0.1, "special": special},
            "generated_text": null, "details": null})
    };
    let mut last = token(3, "", true);
    last["generated_text"] = "a b".into();
    last["details"] = json!({"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 7, "seed": null});
    if with_error {
        last = json!({"error": "Request failed during generation", "error_type": "generation"});
    }
    let events = [token(1, "a", false), token(2, " b", false), last];
    let events = events.map(|event| format!("data:{event}\n\n"));
    reply("200 OK", "text/event-stream", &events.concat())
}

#[test]
fn streams_of_tgi_are_measured() {
    let server = Recorder::start(|_, _| tgi(false));
    let context = Context::new();
    let outcome = perf(&context, &server, "tgi.toml", &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let metrics = context.result()["runs"][0]["metrics"].clone();
    assert_eq!(metrics["itl_ms"]["count"], 2);
    assert_eq!(metrics["input_tokens"]["mean"], 7.0);
    assert_eq!(metrics["output_tokens"]["mean"], 3.0);
    let request = &server.requests()[1];
    assert_eq!(request.line, "POST /generate_stream HTTP/1.1");
    let sent = json!({"inputs": "hi", "parameters": {"max_new_tokens": 9, "details": true}});
    assert_eq!(request.json(), sent);
    let server = Recorder::start(|_, _| tgi(true));
    let context = Context::new();
    let outcome = perf(&context, &server, "tgi.toml", &["--no-test-connection"]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let told = "SELECT DISTINCT error_kind || ' ' || error_text FROM result";
    let told = context.column::<String>(told);
    assert_eq!(told, ["server_error Request failed during generation"]);
}
