//! OpenAI's Responses API and Anthropic's Messages API: what is sent, how streams and errors are
//! understood, and which API a URL is of.

use std::fmt::Write as _;

use evalscope_model::record::{EventLog, EventLogFormat};
use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, Outcome, no_secret_like};
use crate::server::{Recorder, reply};

/// The APIs and their paths.
const APIS: [(&str, &str); 2] = [
    ("openai_responses", "/v1/responses"),
    ("anthropic", "/v1/messages"),
];

fn simulator(fault: Option<Fault>, key: Option<&str>) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        faults: fault.map(FaultRule::always).into_iter().collect(),
        api_key: key.map(str::to_owned),
        ..SimConfig::default()
    })
    .unwrap()
}

/// Four requests of twelve tokens each; the URL says which API it is of.
fn perf(context: &Context, simulator: &Simulator, path: &str, more: &[&str]) -> Outcome {
    let url = format!("http://{}{path}", simulator.addr());
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "hello there",
        "--number",
        "4",
        "--max-tokens",
        "12",
    ];
    context.perf(&[base.as_slice(), more].concat())
}

fn measured(path: &str, fault: Option<Fault>, more: &[&str]) -> Context {
    let context = Context::new();
    let outcome = perf(&context, &simulator(fault, None), path, more);
    assert_eq!(outcome.code, Some(0), "{path} {fault:?}: {outcome:#?}");
    context
}

fn metrics(context: &Context) -> Value {
    context.result()["runs"][0]["metrics"].clone()
}

const TOLD: &str = "SELECT DISTINCT token_source || ' ' || finish_reason || ' ' || is_stream \
                    FROM result WHERE request_id <> ''";

#[test]
fn streams_and_whole_responses_are_measured() {
    for (api, path) in APIS {
        let reason = if api == "anthropic" {
            "max_tokens"
        } else {
            "length"
        };
        let context = measured(path, None, &[]);
        let of = metrics(&context);
        for (metric, count) in [("ttft_ms", 4), ("latency_s", 4), ("itl_ms", 4 * 11)] {
            assert_eq!(of[metric]["count"], count, "{path} {metric}");
        }
        assert_eq!(of["output_tokens"]["mean"], 12.0, "{path}");
        // four characters are a token
        assert_eq!(of["input_tokens"]["mean"], 3.0, "{path}");
        assert_eq!(
            context.column::<String>(TOLD),
            [format!("server_usage {reason} 1")]
        );
        let settings = &context.result()["settings"];
        assert_eq!(settings["api"], api);

        let context = measured(path, None, &["--no-stream", "--api", api]);
        let of = metrics(&context);
        assert_eq!(of["ttft_ms"]["count"], 0, "{path}");
        assert_eq!(of["output_tokens"]["mean"], 12.0, "{path}");
        assert_eq!(
            context.column::<String>(TOLD),
            [format!("server_usage {reason} 0")]
        );
    }
}

#[test]
fn oddities_change_nothing_that_is_measured() {
    for (_, path) in APIS {
        for fault in [
            Fault::EmptyDeltas,
            Fault::UnknownEvents,
            Fault::Crlf,
            Fault::NoSpace,
            Fault::Comments,
            Fault::SplitBytes,
            Fault::NoBlankEnd,
            Fault::ToolCalls,
            Fault::Refusal,
            Fault::Gzip,
        ] {
            let of = metrics(&measured(path, Some(fault), &[]));
            assert_eq!(of["output_tokens"]["mean"], 12.0, "{path} {fault}");
            assert_eq!(of["itl_ms"]["count"], 4 * 11, "{path} {fault}");
        }
    }
}

#[test]
fn without_usage_events_are_counted() {
    for (_, path) in APIS {
        let context = measured(path, Some(Fault::NoUsage), &[]);
        assert_eq!(metrics(&context)["output_tokens"]["mean"], 12.0, "{path}");
        let sources = context.column::<String>("SELECT DISTINCT token_source FROM result");
        assert_eq!(sources, ["event_count"], "{path}");
    }
}

#[test]
fn thinking_is_told_from_answering() {
    for (_, path) in APIS {
        let context = measured(path, Some(Fault::ReasoningContent), &[]);
        assert_eq!(metrics(&context)["output_tokens"]["mean"], 12.0, "{path}");
        for log in context.column::<Vec<u8>>("SELECT events FROM result") {
            let log = EventLog::from_bytes(&log, EventLogFormat::V2).unwrap();
            // a third of twelve tokens comes before the answer
            let answer = log.tokens().position(|event| event.answer);
            assert_eq!((log.tokens().count(), answer), (12, Some(4)), "{path}");
        }
    }
}

#[test]
fn errors_are_told_in_the_servers_words() {
    let mut told = String::new();
    for (_, path) in APIS {
        writeln!(told, "{path}").unwrap();
        for fault in [
            Fault::Http401,
            Fault::Http429,
            Fault::Http503,
            Fault::ErrorBody,
            Fault::ErrorEvent,
            Fault::ErrorEventNamed,
            Fault::ErrorString,
            Fault::FinishError,
            Fault::BrokenJson,
            Fault::Empty,
            Fault::NoDone,
            Fault::Cut,
            Fault::CutChunked,
        ] {
            let context = Context::new();
            let simulator = simulator(Some(fault), None);
            let outcome = perf(&context, &simulator, path, &["--no-test-connection"]);
            let counts = &context.result()["runs"][0]["counts"];
            let kinds: Vec<&String> = counts["by_kind"].as_object().unwrap().keys().collect();
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            let text = "SELECT coalesce(error_text, '-') FROM result ORDER BY idx LIMIT 1";
            let text = context.column::<String>(text);
            let (name, kinds) = (fault.name(), kinds.join(" "));
            writeln!(
                told,
                "  {name:<18} {:?} {kinds:<14} {}",
                outcome.code, text[0]
            )
            .unwrap();
        }
    }
    insta::with_settings!({
        filters => vec![(r"column \d+", "column [N]"), (r"(resp|msg)-sim-\d+", "[ID]")],
    }, {
        insta::assert_snapshot!("errors", told);
    });
}

/// What is sent for the same flags.
#[test]
fn bodies_and_notes() {
    let mut told = String::new();
    for (_, path) in APIS {
        for more in [
            &[] as &[&str],
            &[
                "--no-stream",
                "--top-p",
                "0.9",
                "--top-k",
                "40",
                "--seed",
                "7",
                "--temperature",
                "0.5",
                "--repetition-penalty",
                "1.1",
                "--n-choices",
                "1",
                "--min-tokens",
                "12",
                "--stop",
                "###",
                "--extra-args",
                r#"{"metadata": {"a": "b"}}"#,
            ],
        ] {
            let context = Context::new();
            let outcome = perf(&context, &simulator(None, None), path, more);
            assert_eq!(outcome.code, Some(0), "{outcome:#?}");
            writeln!(told, "{path}\n{:#}", context.bodies()[0]).unwrap();
            for line in outcome
                .stderr
                .lines()
                .filter(|line| line.contains("not sent"))
            {
                writeln!(told, "{line}").unwrap();
            }
        }
    }
    insta::assert_snapshot!("bodies", told);
}

#[test]
fn a_key_goes_where_the_api_wants_it_and_shows_nowhere() {
    const KEY: &str = "sk-ant-0123456789";
    for (api, path) in APIS {
        let context = Context::new();
        let simulator = simulator(None, Some(KEY));
        let outcome = perf(&context, &simulator, path, &["--api-key", KEY]);
        assert_eq!(outcome.code, Some(0), "{api}: {outcome:#?}");
        no_secret_like(&context, &outcome, &[KEY]);
    }
    let server = Recorder::start(|_, _| {
        let body = r#"{"type":"error","error":{"type":"authentication_error","message":"no: sk-ant-0123456789"}}"#;
        reply("401 Unauthorized", "application/json", body)
    });
    let url = format!("http://{}/v1/messages", server.address());
    let context = Context::new();
    let args = [
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "1",
        "--api-key",
        KEY,
    ];
    let outcome = context.perf(&args);
    assert_ne!(outcome.code, Some(0));
    no_secret_like(&context, &outcome, &[KEY]);
    let request = &server.requests()[0];
    assert_eq!(request.header("x-api-key"), Some(KEY));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
    let beta = [
        "--headers",
        "anthropic-version=2024-01-01",
        "anthropic-beta=x",
    ];
    context.perf(&[&args[..], &beta].concat());
    let request = server.requests().pop().unwrap();
    assert_eq!(request.header("anthropic-version"), Some("2024-01-01"));
    assert_eq!(request.header("anthropic-beta"), Some("x"));
}

/// The hint of a test request that failed.
fn hint(api: &str, path: &str, status: &str, kind: &str, body: &str) -> String {
    let (status, kind, body) = (status.to_owned(), kind.to_owned(), body.to_owned());
    let server = Recorder::start(move |_, _| reply(&status, &kind, &body));
    let url = format!("http://{}{path}", server.address());
    let outcome =
        Context::new().perf(&["--api", api, "--url", &url, "--model", "m", "--prompt", "p"]);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    outcome
        .stderr
        .lines()
        .skip_while(|line| !line.starts_with("error"))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_test_request_says_which_api_answered() {
    let chunk =
        json!({"object": "chat.completion.chunk", "choices": [{"delta": {"content": "a"}}]});
    let chat = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let begun = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
    let listed = json!({"detail": "Not Found", "paths": ["/health", "/v1/messages"]}).to_string();
    let mut told = String::new();
    for (api, path, status, kind, body) in [
        (
            "openai_responses",
            "/v1/responses",
            "200 OK",
            "text/event-stream",
            chat.as_str(),
        ),
        (
            "anthropic",
            "/v1/messages",
            "200 OK",
            "text/event-stream",
            &chat,
        ),
        (
            "openai",
            "/v1/chat/completions",
            "200 OK",
            "text/event-stream",
            begun,
        ),
        (
            "openai",
            "/v1/chat/completions",
            "404 Not Found",
            "application/json",
            &listed,
        ),
    ] {
        writeln!(told, "{}", hint(api, path, status, kind, body)).unwrap();
    }
    insta::with_settings!({filters => crate::context::FILTERS.to_vec()}, {
        insta::assert_snapshot!("which_api", told);
    });
}

#[test]
fn a_url_of_another_api_is_refused() {
    let refused = |args: &[&str]| {
        let outcome = Context::new().perf(&[args, &["--model", "m", "--prompt", "p"]].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        outcome.stderr
    };
    let args = ["--api", "openai", "--url", "http://h/v1/messages"];
    insta::assert_snapshot!(refused(&args), @r#"
    error: `--url http://h/v1/messages` ends in `/messages`, which is not an endpoint of `--api openai`
      hint: use `--api anthropic`, or give a URL that ends in /chat/completions or /completions
    "#);
    let args = ["--api", "anthropic", "--url", "http://h/v1/responses"];
    insta::assert_snapshot!(refused(&args), @r#"
    error: `--url http://h/v1/responses` ends in `/responses`, which is not an endpoint of `--api anthropic`
      hint: use `--api openai_responses`, or give a URL that ends in /messages
    "#);
    let args = [
        "--url",
        "http://h/v1/messages",
        "--tokenize-prompt",
        "--tokenizer-path",
        "t",
    ];
    insta::assert_snapshot!(refused(&args), @r#"
    error: `--tokenize-prompt` sends token ids, which `--api anthropic` does not accept
      hint: use `--api openai` with a URL that ends in /v1/completions
    "#);
}
