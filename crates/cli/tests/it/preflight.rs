//! The test request before the load: what it finds, how long it tries, and that a key shows
//! nowhere.

use std::fmt::Write as _;
use std::net::TcpListener;

use evalscope_sim::{SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, Outcome, no_secret_like, perf_snapshot};
use crate::server::{Recorder, Request, good, refusal, reply};

fn args(url: &str) -> Vec<&str> {
    vec![
        "--url", url, "--model", "m", "--prompt", "p", "--number", "3",
    ]
}

/// A port on which nobody listens yet, and nobody else will.
struct Reserved {
    socket: std::os::fd::OwnedFd,
    port: u16,
}

impl Reserved {
    fn new() -> Self {
        use nix::sys::socket::{
            AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket,
        };
        use std::os::fd::AsRawFd;
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )
        .unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        let address: SockaddrIn = getsockname(socket.as_raw_fd()).unwrap();
        Self {
            port: address.port(),
            socket,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/chat/completions", self.port)
    }

    fn listen(self) -> TcpListener {
        nix::sys::socket::listen(&self.socket, nix::sys::socket::Backlog::new(64).unwrap())
            .unwrap();
        TcpListener::from(self.socket)
    }
}

#[test]
fn a_refused_key_ends_it_at_once() {
    let simulator = Simulator::start(SimConfig {
        api_key: Some("sk-right".to_owned()),
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let context = Context::new();
    let outcome = context.perf(&[args(&url), vec!["--api-key", "sk-wrong"]].concat());
    perf_snapshot!("wrong_key", outcome);
    assert_eq!(outcome.code, Some(2));
    assert!(!context.top().join("result.json").exists());

    let outcome = context.perf(&[args(&url), vec!["--api-key", "sk-right"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

/// What servers answer instead, and what is then said.
#[test]
fn every_refusal_shows_status_and_body() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not_found", refusal("404 Not Found", "no model `m`")),
        ("bad_field", refusal("400 Bad Request", "top_k is unknown")),
        (
            "html",
            reply("502 Bad Gateway", "text/html", "<h1>Bad\n Gateway</h1>"),
        ),
        ("busy", refusal("429 Too Many Requests", "slow down")),
        ("no_words", reply("500 Internal Server Error", "text/plain", "")),
        ("no_api", reply("200 OK", "text/html", "<h1>It works</h1>")),
        (
            "elsewhere",
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere.invalid/\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
        ("not_http", b"220 mail.invalid ESMTP\r\n".to_vec()),
        ("error_in_200", refusal("200 OK", "the engine is dead")),
    ];
    let mut told = String::new();
    for (name, answer) in cases {
        let server = Recorder::start(move |_, _| answer.clone());
        let context = Context::new();
        let mut args = args("");
        let url = server.url();
        args[1] = &url;
        args.extend(["--total-timeout", "1"]);
        let Outcome { code, stderr, .. } = context.perf(&args);
        assert_eq!(code, Some(2), "{name}: {stderr}");
        let error = stderr.find("error: ").map(|at| &stderr[at..]);
        writeln!(told, "{name}\n{}", error.unwrap()).unwrap();
        assert!(
            server.requests().len() <= 3,
            "{name}: a refusal is not load"
        );
    }
    insta::with_settings!({ filters => crate::context::FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("refusals", told);
    });
}

#[test]
fn a_server_that_is_not_there_is_waited_for_a_little() {
    let reserved = Reserved::new();
    let url = reserved.url();
    let context = Context::new();
    let outcome = context.perf(&[args(&url), vec!["--total-timeout", "1.5"]].concat());
    assert_eq!(outcome.code, Some(2));
    let address = url.split('/').nth(2).unwrap();
    let countdown = format!(
        "cannot connect to {address}: connection refused; the server may still be starting: retrying for 1 s more"
    );
    assert!(outcome.stderr.contains(&countdown), "{}", outcome.stderr);
    let error = format!(
        "error: the test request failed: cannot connect to {address}: connection refused (retried for 1 s)\n  \
         hint: check the host and port in `--url`, and that the server is running; `--wait-for-server 5m` \
         waits for a server that is still starting\n"
    );
    assert!(outcome.stderr.ends_with(&error), "{}", outcome.stderr);
}

#[test]
fn a_server_that_comes_up_late_is_measured() {
    let reserved = Reserved::new();
    let url = reserved.url();
    let context = Context::new();
    let mut running = context.start(&args(&url));
    running.wait_for_stderr("the server may still be starting");
    let server = Recorder::on(
        reserved.listen(),
        |stream| Box::new(stream),
        |request, _| good(request),
    );
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_server_that_is_loading_its_model_is_waited_for() {
    let server = Recorder::start(|request, number| {
        if number == 0 {
            refusal("503 Service Unavailable", "loading model")
        } else {
            good(request)
        }
    });
    let url = server.url();
    let outcome = Context::new().measure(&args(&url));
    assert!(
        outcome.stderr.contains("loading model"),
        "{}",
        outcome.stderr
    );
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn stream_options_are_left_out_where_the_server_refuses_them() {
    let simulator = Simulator::start(SimConfig {
        reject_stream_options: true,
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    let context = Context::new();
    let outcome = context.measure(&[args(&url), vec!["--max-tokens", "5"]].concat());
    assert!(
        outcome.stderr.contains("`stream_options`"),
        "{}",
        outcome.stderr
    );
    let sources = context.column::<String>("SELECT DISTINCT token_source FROM result");
    assert_eq!(sources, ["event_count"]);
    let tokens = context.column::<i64>("SELECT DISTINCT completion_tokens FROM result");
    assert_eq!(tokens, [5]);
    assert!(
        outcome.stdout.contains("output tokens are estimated"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_redirect_on_the_same_host_is_followed_before_the_load() {
    let server = Recorder::start(|request, _| {
        if request.line.starts_with("POST /new/") {
            good(request)
        } else {
            b"HTTP/1.1 308 Permanent Redirect\r\nlocation: /new/chat/completions\r\ncontent-length: 0\r\n\r\n"
                .to_vec()
        }
    });
    let url = server.url();
    let outcome = Context::new().measure(&args(&url));
    let said = format!(
        "the server redirects to http://{}/new/chat/completions",
        server.address()
    );
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    let lines: Vec<String> = server.requests().into_iter().map(|r| r.line).collect();
    assert_eq!(lines[0], "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(
        lines[1..],
        ["POST /new/chat/completions HTTP/1.1"; 4],
        "no request of the load is redirected"
    );
}

/// Another port, scheme or host may be somebody else's.
#[test]
fn a_redirect_to_another_origin_gets_neither_key_nor_load() {
    let other = Recorder::start(|request, _| good(request));
    let port = other.address().port();
    for to in [
        format!("http://127.0.0.1:{port}/v1/chat/completions"),
        format!("http://localhost:{port}/v1/chat/completions"),
        format!("https://127.0.0.1:{port}/v1/chat/completions"),
        format!("//127.0.0.1:{port}/v1/chat/completions"),
    ] {
        let place = to.clone();
        let server = Recorder::start(move |_, _| {
            format!("HTTP/1.1 307 T\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n").into_bytes()
        });
        let url = server.url();
        let context = Context::new();
        let key = [
            "--api-key",
            "sk-secret-of-flag",
            "--headers",
            "X-Pin=secret-of-header",
        ];
        let outcome = context.perf(&[args(&url), key.to_vec()].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let to = if to.starts_with("//") {
            format!("http:{to}")
        } else {
            to
        };
        let hint = format!("hint: if it is the right server, give `--url {to}`");
        assert!(outcome.stderr.contains(&hint), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("another origin"),
            "{}",
            outcome.stderr
        );
        assert!(other.requests().is_empty(), "{to}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn redirects_in_a_circle_are_called_so() {
    for places in [
        ["/v1/chat/completions", "/b"],
        ["/a", "/v1/chat/completions"],
    ] {
        let server = Recorder::start(move |_, number| {
            let place = places[number % 2];
            format!("HTTP/1.1 307 T\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n").into_bytes()
        });
        let url = server.url();
        let outcome = Context::new().perf(&args(&url));
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(
            outcome.stderr.contains("redirects in a circle"),
            "{}",
            outcome.stderr
        );
        assert!(server.requests().len() <= 2);
    }
}

#[test]
fn a_refused_model_is_told_from_a_refused_field() {
    for (said, hint) in [
        (
            "Invalid model name passed in model=m",
            "hint: check the name in `--model`",
        ),
        (
            "The model `m` does not exist",
            "hint: check the name in `--model`",
        ),
        ("Model Not Exist", "hint: check the name in `--model`"),
        (
            "模型不存在，请检查模型代码。",
            "hint: check the name in `--model`",
        ),
        (
            "top_k is not for this model",
            "hint: check the name in `--model`; if the server rejects a field",
        ),
        ("top_k is unknown", "hint: the server rejects a field"),
    ] {
        let server = Recorder::start(move |_, _| refusal("400 Bad Request", said));
        let url = server.url();
        let outcome = Context::new().perf(&args(&url));
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(hint), "{said}: {}", outcome.stderr);
    }
}

/// The test request has to see that something is generated: gateways refuse keys by a status of
/// 200 too.
#[test]
fn an_answer_without_any_output_is_refused() {
    let whole = |body: Value| reply("200 OK", "application/json", &body.to_string());
    let stream = |text: &str| reply("200 OK", "text/event-stream", text);
    let login =
        json!({"choices": null, "base_resp": {"status_code": 1004, "status_msg": "login fail"}});
    for (answer, words) in [
        (whole(json!({})), "{}"),
        (
            whole(json!({"object": "list", "data": []})),
            "\"object\":\"list\"",
        ),
        (whole(json!({"choices": []})), "\"choices\":[]"),
        (whole(login), "login fail"),
        (
            stream("data: {\"id\":\"x\",\"choices\":[]}\n\ndata: [DONE]\n\n"),
            "\"id\":\"x\"",
        ),
        (
            stream("data: [DONE]\n\n"),
            "error: the test request failed: ",
        ),
    ] {
        let server = Recorder::start(move |_, _| answer.clone());
        let url = server.url();
        let outcome = Context::new().perf(&args(&url));
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(
            outcome.stderr.contains(words),
            "{words}: {}",
            outcome.stderr
        );
        assert_eq!(server.requests().len(), 1, "no load is sent");
    }
    // an answer may be empty, if it says that it has ended, or counts
    let ended = json!({"choices": [{"message": {"content": ""}, "finish_reason": "length"}]});
    let counted = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}});
    for first in [whole(ended), whole(counted)] {
        let server = Recorder::start(move |request, number| {
            if number == 0 {
                first.clone()
            } else {
                good(request)
            }
        });
        let url = server.url();
        Context::new().measure(&args(&url));
    }
}

/// What a stream begins with is not what went wrong.
#[test]
fn an_error_after_tokens_shows_its_own_words() {
    let server = Recorder::start(|_, _| {
        let first = json!({"id": "noise", "choices": [{"index": 0, "delta": {"content": "a"}}]});
        let error = json!({"error": {"message": "the engine is dead"}});
        reply(
            "200 OK",
            "text/event-stream",
            &format!("data: {first}\n\ndata: {error}\n\n"),
        )
    });
    let url = server.url();
    let outcome = Context::new().perf(&args(&url));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("the engine is dead"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains("noise"), "{}", outcome.stderr);

    let outcome = Context::new().perf(&[args(&url), vec!["--no-test-connection"]].concat());
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(
        outcome.stdout.contains("the engine is dead"),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stdout.contains("noise"), "{}", outcome.stdout);
}

#[test]
fn redirects_without_end_are_given_up() {
    let server = Recorder::start(|_, number| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: /{number}\r\ncontent-length: 0\r\n\r\n"
        )
        .into_bytes()
    });
    let url = server.url();
    let outcome = Context::new().perf(&args(&url));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("redirected 5 times"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_test_request_is_small_and_can_be_left_out() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    Context::new().measure(&[args(&url), vec!["--min-tokens", "9"]].concat());
    let test = server.requests()[0].json();
    assert_eq!(
        test["messages"],
        json!([{"role": "user", "content": "hello"}])
    );
    assert_eq!(test["model"], "m");
    assert!(test["max_tokens"].as_u64() <= Some(16), "{test}");
    assert_eq!(test.get("min_tokens"), None, "{test}");

    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    Context::new().measure(&[args(&url), vec!["--no-test-connection"]].concat());
    assert_eq!(server.requests().len(), 3);
}

/// What Ollama's own API sends: an object a line, and no event.
const JSON_LINES: &str = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"message\":{\"content\":\"\"},\"done\":true}\n";

/// Streams of another kind are known for what they are, by whatever name they go.
#[test]
fn a_stream_of_json_lines_is_told_from_a_broken_answer() {
    let mut told = String::new();
    for kind in ["application/x-ndjson", "application/json"] {
        let server = Recorder::start(move |_, _| reply("200 OK", kind, JSON_LINES));
        let url = server.url();
        let outcome = Context::new().perf(&args(&url));
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let error = outcome.stderr.find("error: ");
        writeln!(told, "{}", &outcome.stderr[error.unwrap()..]).unwrap();
    }
    insta::assert_snapshot!(told, @r#"
    error: the test request failed: the response is a stream of JSON lines (NDJSON), not of server-sent events (text/event-stream)
      its first line: {"message":{"content":"a"},"done":false}
      hint: use an endpoint that sends server-sent events, such as /v1/chat/completions of Ollama; or declare the API in a file with framing = "ndjson" (docs/examples/ollama.toml); or use `--no-stream`

    error: the test request failed: the response is a stream of JSON lines (NDJSON), not of server-sent events (text/event-stream)
      its first line: {"message":{"content":"a"},"done":false}
      hint: use an endpoint that sends server-sent events, such as /v1/chat/completions of Ollama; or declare the API in a file with framing = "ndjson" (docs/examples/ollama.toml); or use `--no-stream`
    "#);
}

/// A plugin that asks for a stream, and counts nothing.
const ASKS_FOR_STREAMS: &str = r#"
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request["params"]
    result = {}
    if method == "hello":
        result = {"protocol": 1, "name": "asks"}
    elif method == "build":
        result = {"bodies": [{"stream": True} for _ in params["prompts"]]}
    elif method == "parse":
        result = {"counts": [{} for _ in params["answers"]]}
    print(json.dumps({"id": request["id"], "result": result}), flush=True)
"#;

/// Answers to a plugin may be of any form: they are measured as whole ones, and that is said.
#[test]
fn a_plugin_is_told_that_json_lines_are_no_stream() {
    let server = Recorder::start(|_, _| reply("200 OK", "application/x-ndjson", JSON_LINES));
    let url = server.url();
    let context = Context::new().with_env("PATH", "/usr/local/bin:/usr/bin:/bin");
    context.write("asks.py", ASKS_FOR_STREAMS);
    let api = ["--api", "exec:python3 asks.py"];
    let outcome = context.measure(&[args(&url), api.to_vec()].concat());
    let said = "(text/event-stream): there is no TTFT, TPOT or ITL";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
}

/// Where whole answers were asked for, they are answers that cannot be read, and no more.
#[test]
fn json_lines_are_no_stream_where_none_was_asked_for() {
    let server = Recorder::start(|_, _| reply("200 OK", "application/x-ndjson", JSON_LINES));
    let url = server.url();
    let outcome = Context::new().perf(&[args(&url), vec!["--no-stream"]].concat());
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(!outcome.stderr.contains("NDJSON"), "{}", outcome.stderr);
}

const SECRETS: [&str; 4] = [
    "sk-secret-of-flag",
    "secret-of-header",
    "secret-of-url",
    "secret-of-body",
];

/// That no secret stands in anything shown or written, in plain or inside a pickled column.
fn no_secret(context: &Context, outcome: &Outcome) {
    no_secret_like(context, outcome, &SECRETS);
}

/// Everything of a request that is secret, sent back.
fn echo(request: &Request) -> String {
    format!("I do not like {:?}, {:?}", request.line, request.headers)
}

fn secret_args(url: &str, more: &[&'static str]) -> Vec<String> {
    let url = url.replace("http://", "http://user:") + "?api-key=secret-of-url";
    let mut args: Vec<String> = [
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "2",
        "--api-key",
        "sk-secret-of-flag",
        "--headers",
        "X-Api-Key=secret-of-header",
        "--debug",
        "--url",
    ]
    .map(str::to_owned)
    .into();
    args.push(url.replace("user:", ""));
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args
}

/// A name and what the server answers.
type Case = (&'static str, fn(&Request) -> Vec<u8>);

#[test]
fn keys_show_nowhere() {
    let refused = |request: &Request| refusal("401 Unauthorized", &echo(request));
    let event = |request: &Request| {
        let first = json!({"choices": [{"index": 0, "delta": {"content": "a"}}]});
        let error = json!({"error": {"message": echo(request)}});
        let stream = format!("data: {first}\n\ndata: {error}\n\n");
        reply("200 OK", "text/event-stream", &stream)
    };
    let whole = |request: &Request| {
        let error = json!({"error": {"message": echo(request)}});
        reply("200 OK", "application/json", &error.to_string())
    };
    let page = |request: &Request| {
        reply(
            "403 Forbidden",
            "text/html",
            &format!("<p>{}</p>", echo(request)),
        )
    };
    let cases: [Case; 5] = [
        ("success", good),
        ("401", refused),
        ("error event", event),
        ("error body", whole),
        ("page", page),
    ];
    for (name, answer) in cases {
        let server = Recorder::start(move |request, _| answer(request));
        for (more, good_code, bad_code) in
            [(["--no-test-connection"].as_slice(), 0, 1), (&[], 0, 2)]
        {
            let context = Context::new();
            let args = secret_args(&server.url(), more);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let outcome = context.perf(&args);
            let code = if name == "success" {
                good_code
            } else {
                bad_code
            };
            assert_eq!(outcome.code, Some(code), "{name}: {outcome:#?}");
            no_secret(&context, &outcome);
        }
        let request = &server.requests()[0];
        assert_eq!(request.header("x-api-key"), Some("secret-of-header"));
        assert!(
            request.line.contains("api-key=secret-of-url"),
            "{}",
            request.line
        );
    }
}

/// A message is shortened for people; that must not save a part of a key from being masked.
#[test]
fn a_key_at_the_end_of_a_shortened_message() {
    for before in [270, 285, 295, 4070, 4080, 4090] {
        let server = Recorder::start(move |_, _| {
            let body = format!("{} sk-secret-of-flag is bad", "x".repeat(before));
            reply("401 Unauthorized", "text/plain", &body)
        });
        let context = Context::new();
        let url = server.url();
        let outcome = context.perf(
            &[
                args(&url),
                vec!["--api-key", "sk-secret-of-flag", "--no-test-connection"],
            ]
            .concat(),
        );
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        no_secret_like(&context, &outcome, &["sk-sec"]);
    }
}

/// A password in the URL, and keys in wrong commands.
#[test]
fn keys_show_nowhere_in_notes_and_errors() {
    let server = Recorder::start(|request, _| refusal("401 Unauthorized", &echo(request)));
    let url = format!("http://me:secret-of-url@{}/v1", server.address());
    let lines: [&[&str]; 6] = [
        &["--model", "m", "--prompt", "p", "--url", &url],
        &[
            "--model",
            "m",
            "--prompt",
            "p",
            "--url",
            "http://me:secret-of-url@host:99999/",
        ],
        &[
            "--model",
            "m",
            "--prompt",
            "p",
            "--url",
            "http://me:secret-of-url/1@host/",
        ],
        &[
            "--model",
            "m",
            "--prompt",
            "p",
            "--url",
            "ftp://me:secret-of-url@host/",
        ],
        &[
            "--model",
            "m",
            "--prompt",
            "p",
            "--url",
            "http://me:secret-of-url@host/v1/embeddings",
        ],
        &[
            "--api",
            "local_sim",
            "--prompt",
            "p",
            "--number",
            "1",
            "--max-tokens",
            "4",
            "--url",
            &url,
        ],
    ];
    for line in lines {
        let context = Context::new();
        let outcome = context.perf(line);
        no_secret(&context, &outcome);
    }
    let authorization = server.requests()[0]
        .header("authorization")
        .map(str::to_owned);
    assert_eq!(
        authorization.as_deref(),
        Some("Basic bWU6c2VjcmV0LW9mLXVybA==")
    );
}
