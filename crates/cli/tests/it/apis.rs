//! `--api dashscope` and `--api zhipu`: what is sent, how answers and errors are understood, and
//! that a key that signs shows nowhere. Of APIs that a file declares, which files and paths are.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};
use serde_json::{Value, json};

use crate::context::{Context, FILTERS, Outcome, no_secret_like, perf_snapshot};
use crate::server::{Recorder, Request, reply};

const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";
const COMPATIBLE: &str = "/compatible-mode/v1/chat/completions";
const ZHIPU: &str = "/api/paas/v4/chat/completions";

/// Every path of the two APIs.
const PATHS: [(&str, &str); 4] = [
    ("dashscope", TEXT),
    ("dashscope", MULTIMODAL),
    ("dashscope", COMPATIBLE),
    ("zhipu", ZHIPU),
];

fn simulator(faults: Vec<FaultRule>) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        faults,
        ..SimConfig::default()
    })
    .unwrap()
}

fn perf(
    context: &Context,
    simulator: &Simulator,
    (api, path): (&str, &str),
    more: &[&str],
) -> Outcome {
    let url = format!("http://{}{path}", simulator.addr());
    let base = [
        "--api",
        api,
        "--url",
        &url,
        "--model",
        "m",
        "--number",
        "4",
        "--max-tokens",
        "12",
    ];
    context.perf(&[base.as_slice(), more].concat())
}

fn measured(place: (&str, &str), faults: Vec<FaultRule>, more: &[&str]) -> Context {
    let context = Context::new();
    let simulator = simulator(faults);
    let outcome = perf(&context, &simulator, place, more);
    assert_eq!(outcome.code, Some(0), "{place:?}: {outcome:#?}");
    context
}

#[test]
fn streams_and_whole_answers_are_measured() {
    for place in PATHS {
        let context = measured(place, Vec::new(), &["--prompt", "hello there"]);
        let run = &context.result()["runs"][0];
        let metrics = &run["metrics"];
        for (metric, count) in [("ttft_ms", 4), ("latency_s", 4), ("itl_ms", 4 * 11)] {
            assert_eq!(metrics[metric]["count"], count, "{place:?} {metric}");
        }
        assert_eq!(metrics["output_tokens"]["mean"], 12.0, "{place:?}");
        // four characters are a token
        assert_eq!(metrics["input_tokens"]["mean"], 3.0, "{place:?}");
        let told = "SELECT DISTINCT token_source || ' ' || finish_reason || ' ' || is_stream \
                    FROM result WHERE request_id <> ''";
        assert_eq!(context.column::<String>(told), ["server_usage length 1"]);

        let context = measured(
            place,
            Vec::new(),
            &["--prompt", "hello there", "--no-stream"],
        );
        let metrics = &context.result()["runs"][0]["metrics"];
        assert_eq!(metrics["ttft_ms"]["count"], 0, "{place:?}");
        assert_eq!(metrics["output_tokens"]["mean"], 12.0, "{place:?}");
        assert_eq!(
            context.column::<String>(told),
            ["server_usage length 0"],
            "{place:?}"
        );
    }
}

#[test]
fn thinking_is_told_from_answering() {
    for place in PATHS {
        let reasoning = FaultRule::always(Fault::ReasoningContent);
        let context = measured(place, vec![reasoning], &["--prompt", "p"]);
        let run = &context.result()["runs"][0];
        assert_eq!(run["counts"]["succeeded"], 4);
        let mean = |metric: &str| run["metrics"][metric]["mean"].as_f64().unwrap();
        // a third of twelve tokens, a millisecond each, comes before the answer
        assert!(mean("ttfat_ms") > mean("ttft_ms"), "{place:?}");
        assert_eq!(run["metrics"]["output_tokens"]["mean"], 12.0, "{place:?}");
    }
}

/// A stream that repeats the text so far, as models without the short form send it.
#[test]
fn repeated_text_is_not_counted_again() {
    let args = [
        "--prompt",
        "p",
        "--extra-args",
        r#"{"incremental_output": false}"#,
    ];
    let context = measured(("dashscope", TEXT), Vec::new(), &args);
    assert_eq!(
        context.bodies()[0]["parameters"]["incremental_output"],
        false
    );
    let metrics = &context.result()["runs"][0]["metrics"];
    assert_eq!(metrics["itl_ms"]["count"], 4 * 11);
    assert_eq!(metrics["output_tokens"]["mean"], 12.0);
}

/// What is sent for the same flags, at each path.
#[test]
fn bodies_have_the_form_of_their_path() {
    let mut told = String::new();
    for place in PATHS {
        for more in [
            &["--prompt", "hello"] as &[&str],
            &[
                "--prompt",
                "hello",
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
                "--stop",
                "###",
                "--extra-args",
                r#"{"enable_thinking": false, "temperature": null}"#,
            ],
        ] {
            let context = measured(place, Vec::new(), more);
            writeln!(told, "{} {}\n{:#}\n", place.0, place.1, context.bodies()[0]).unwrap();
        }
    }
    insta::assert_snapshot!("bodies", told);
}

#[test]
fn images_go_to_the_paths_that_take_them() {
    for place in PATHS {
        let context = Context::new();
        let folder = crate::tokenizer::in_folder(&context);
        let simulator = simulator(Vec::new());
        let outcome = perf(
            &context,
            &simulator,
            place,
            &[
                "--dataset",
                "random_vl",
                "--tokenizer-path",
                &folder,
                "--min-prompt-length",
                "20",
                "--max-prompt-length",
                "20",
                "--image-num",
                "2",
                "--image-width",
                "8",
                "--image-height",
                "8",
            ],
        );
        if place.1 == TEXT {
            // its contents are texts; nothing is sent there
            assert_eq!(outcome.code, Some(2), "{outcome:#?}");
            assert!(
                outcome.stderr.contains("does not accept images"),
                "{outcome:#?}"
            );
            continue;
        }
        let counts = context.result()["runs"][0]["counts"].clone();
        assert_eq!(outcome.code, Some(0), "{place:?}: {outcome:#?}");
        assert_eq!(counts["succeeded"], 4, "{place:?}");
        let body = &context.bodies()[0];
        if place.1 == MULTIMODAL {
            let parts = body["input"]["messages"][0]["content"].as_array().unwrap();
            assert_eq!(parts.len(), 3);
            assert!(parts[0]["text"].is_string());
            for part in &parts[1..] {
                let fields: Vec<&String> = part.as_object().unwrap().keys().collect();
                assert_eq!(fields, ["image"]);
                assert!(
                    part["image"]
                        .as_str()
                        .unwrap()
                        .starts_with("data:image/png;base64,")
                );
            }
        } else {
            let parts = &body["messages"][0]["content"];
            assert_eq!(parts[1]["type"], "image_url", "{place:?}");
        }
    }
}

/// A good answer of DashScope's own, as a stream or whole, as the header asks.
fn answer(request: &Request) -> Vec<u8> {
    let event = json!({
        "output": {"choices": [{"message": {"role": "assistant", "content": "ab"}, "finish_reason": "stop"}]},
        "usage": {"input_tokens": 1, "output_tokens": 1},
        "request_id": "r",
    });
    if request.header("x-dashscope-sse") == Some("enable") {
        let stream = format!("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{event}\n\n");
        return reply("200 OK", "text/event-stream", &stream);
    }
    reply("200 OK", "application/json", &event.to_string())
}

#[test]
fn the_header_says_whether_a_stream_is_wanted() {
    for (flag, wanted, accepted) in [
        ("--stream", "enable", "text/event-stream"),
        ("--no-stream", "disable", "application/json"),
    ] {
        let server = Recorder::start(|request, _| answer(request));
        let url = format!("http://{}", server.address());
        let context = Context::new();
        let outcome = context.measure(&[
            "--api",
            "dashscope",
            "--url",
            &url,
            "--model",
            "m",
            "--prompt",
            "p",
            "--number",
            "2",
            "--api-key",
            "sk-dashscope",
            flag,
        ]);
        let said = format!("the URL was completed to {url}{TEXT}");
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
        let requests = server.requests();
        // the test request is no other
        assert_eq!(requests.len(), 3);
        for request in requests {
            assert_eq!(request.line, format!("POST {TEXT} HTTP/1.1"));
            assert_eq!(request.header("x-dashscope-sse"), Some(wanted));
            assert_eq!(request.header("accept"), Some(accepted));
            assert_eq!(request.header("authorization"), Some("Bearer sk-dashscope"));
            let body = request.json();
            assert_eq!(body.get("stream"), None, "{body}");
            assert_eq!(body.get("stream_options"), None, "{body}");
        }
    }
}

/// Statuses and errors in the middle, as each protocol writes them.
#[test]
fn errors_are_told_in_the_servers_words() {
    let mut told = String::new();
    for place in PATHS {
        writeln!(told, "{} {}", place.0, place.1).unwrap();
        for fault in [
            Fault::Http400,
            Fault::Http401,
            Fault::Http404,
            Fault::Http429,
            Fault::Http500,
            Fault::Http503,
            Fault::ErrorBody,
            Fault::ErrorEvent,
            Fault::ErrorEventNamed,
            Fault::ErrorString,
            Fault::Empty,
            Fault::Cut,
        ] {
            let context = Context::new();
            let simulator = simulator(vec![FaultRule::always(fault)]);
            let outcome = perf(
                &context,
                &simulator,
                place,
                &["--prompt", "p", "--no-test-connection"],
            );
            assert_eq!(outcome.code, Some(1), "{place:?} {fault}: {outcome:#?}");
            let counts = &context.result()["runs"][0]["counts"];
            let kinds: Vec<&String> = counts["by_kind"].as_object().unwrap().keys().collect();
            let [kind] = kinds.as_slice() else {
                panic!("{place:?} {fault}: {kinds:?}");
            };
            let text = "SELECT error_text FROM result ORDER BY idx LIMIT 1";
            let text = context.column::<String>(text);
            writeln!(told, "  {:<18} {kind:<14} {}", fault.name(), text[0]).unwrap();
        }
    }
    insta::with_settings!({
        filters => vec![
            (r"column \d+", "column [N]"),
            (r"(dashscope|zhipu|chatcmpl)-sim-\d+", "[ID]"),
            (r#""created":\d+"#, r#""created":[TIME]"#),
        ],
    }, {
        insta::assert_snapshot!("errors", told);
    });
}

#[test]
fn no_oddity_is_an_error_here_either() {
    let oddities: Vec<Fault> = Fault::ALL
        .iter()
        .copied()
        .filter(|f| f.is_oddity())
        .collect();
    // the other two paths are the same but for the contents
    std::thread::scope(|scope| {
        for place in [("dashscope", TEXT), ("zhipu", ZHIPU)] {
            let oddities = &oddities;
            scope.spawn(move || {
                for fault in oddities {
                    let every_other = FaultRule {
                        fault: *fault,
                        when: When::Every(2),
                    };
                    let args = ["--prompt", "p", "--no-test-connection"];
                    let context = measured(place, vec![every_other], &args);
                    let counts = context.result()["runs"][0]["counts"].clone();
                    assert_eq!(counts["succeeded"], 4, "{place:?} {fault}: {counts}");
                    let tokens = "SELECT DISTINCT completion_tokens FROM result";
                    assert_eq!(context.column::<i64>(tokens), [12], "{place:?} {fault}");
                }
            });
        }
    });
}

/// The error of a refused test request.
fn refused(context: &Context, key: Option<&str>, wanted: &str, place: (&str, &str)) -> Outcome {
    let simulator = Simulator::start(SimConfig {
        api_key: Some(wanted.to_owned()),
        ..SimConfig::default()
    })
    .unwrap();
    let mut args = vec!["--prompt", "p"];
    if let Some(key) = key {
        args.extend(["--api-key", key]);
    }
    let outcome = perf(context, &simulator, place, &args);
    assert_eq!(outcome.code, Some(2), "{place:?}: {outcome:#?}");
    assert!(!context.top().join("result.json").exists());
    outcome
}

#[test]
fn a_wrong_key_ends_it_at_the_test_request() {
    let mut told = String::new();
    for place in PATHS {
        for key in [None, Some("sk-wrong")] {
            let outcome = refused(&Context::new(), key, "sk-right", place);
            let error = outcome
                .stderr
                .find("error: ")
                .map(|at| &outcome.stderr[at..]);
            let key = key.unwrap_or("none");
            writeln!(
                told,
                "{} {}, key {key}\n{}",
                place.0,
                place.1,
                error.unwrap()
            )
            .unwrap();
        }
    }
    insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
        insta::assert_snapshot!("wrong_keys", told);
    });
    for place in PATHS {
        let simulator = Simulator::start(SimConfig {
            api_key: Some("sk-right".to_owned()),
            ..SimConfig::default()
        })
        .unwrap();
        let context = Context::new();
        let args = ["--prompt", "p", "--api-key", "sk-right"];
        let outcome = perf(&context, &simulator, place, &args);
        assert_eq!(outcome.code, Some(0), "{place:?}: {outcome:#?}");
    }
}

const ID: &str = "0123456789abcdef";
const SECRET: &str = "secretOfTheTest";
const KEY: &str = "0123456789abcdef.secretOfTheTest";

/// The second part of every token that was signed for the id: `{"api_key":"0123`.
const SIGNED: &str = "eyJhcGlfa2V5IjoiMDEy";

/// What must stand nowhere: the secret, the whole key, and a token that was signed with it.
fn nothing_secret(context: &Context, outcome: &Outcome) {
    no_secret_like(context, outcome, &[SECRET, KEY, SIGNED]);
}

#[test]
fn a_key_of_two_parts_signs_and_is_never_sent_or_shown() {
    let simulator = Simulator::start(SimConfig {
        api_key: Some(KEY.to_owned()),
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let args = ["--prompt", "p", "--api-key", KEY, "--debug"];
    let outcome = perf(&context, &simulator, ("zhipu", ZHIPU), &args);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(context.result()["runs"][0]["counts"]["succeeded"], 4);
    nothing_secret(&context, &outcome);

    // the simulator would take the bare key too: what is really sent
    let server = Recorder::start(|request, _| crate::server::good(request));
    let url = format!("http://{}{ZHIPU}", server.address());
    let context = Context::new();
    context.measure(&[
        "--api",
        "zhipu",
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "2",
        "--api-key",
        KEY,
    ]);
    for request in server.requests() {
        let sent = request.header("authorization").unwrap();
        let token = sent.strip_prefix("Bearer ").unwrap();
        let parts: Vec<Value> = token.split('.').take(2).map(decoded).collect();
        assert_eq!(parts[0], json!({"alg": "HS256", "sign_type": "SIGN"}));
        assert_eq!(parts[1]["api_key"], ID);
        let [from, until] = ["timestamp", "exp"].map(|name| parts[1][name].as_u64().unwrap());
        assert!(until > from && from > 1_700_000_000_000, "in milliseconds");
        assert_eq!(token.split('.').count(), 3);
        let signed = token.split('.').nth(1).unwrap();
        assert!(
            signed.starts_with(SIGNED),
            "what the other tests look for: {signed}"
        );
        assert!(!format!("{request:?}").contains(SECRET));
    }
}

fn decoded(part: &str) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[test]
fn a_wrong_secret_is_refused_in_the_servers_words() {
    let context = Context::new();
    let wrong = format!("{ID}.anotherSecret");
    let outcome = refused(&context, Some(KEY), &wrong, ("zhipu", ZHIPU));
    perf_snapshot!("wrong_secret", outcome);
    nothing_secret(&context, &outcome);
}

/// A server, or something in front of it, that repeats what it was sent.
#[test]
fn a_token_that_comes_back_is_masked() {
    for whole in [true, false] {
        let server = Recorder::start(move |request, _| {
            let said = format!("I do not like {:?}", request.headers);
            if whole {
                return crate::server::refusal("401 Unauthorized", &said);
            }
            let first = json!({"choices": [{"index": 0, "delta": {"content": "a"}}]});
            let error = json!({"error": {"code": "1000", "message": said}});
            let stream = format!("data: {first}\n\ndata: {error}\n\n");
            reply("200 OK", "text/event-stream", &stream)
        });
        let url = format!("http://{}{ZHIPU}", server.address());
        for more in [&["--no-test-connection"] as &[&str], &[]] {
            let context = Context::new();
            let base = [
                "--api",
                "zhipu",
                "--url",
                &url,
                "--model",
                "m",
                "--prompt",
                "p",
                "--number",
                "2",
                "--api-key",
                KEY,
                "--debug",
            ];
            let outcome = context.perf(&[base.as_slice(), more].concat());
            assert_ne!(outcome.code, Some(0), "{outcome:#?}");
            nothing_secret(&context, &outcome);
        }
    }
}

/// The smallest declaration, without a path.
const DECLARED: &str = "[request]\ntemplate = { inputs = \"%p\" }\n[stream]\ntext = \"/token\"\nends_with_body = true\n";

/// A path that cannot be one is found when the file is read, not by a server that knows no such
/// address.
#[test]
fn a_declared_path_that_is_none_is_refused() {
    let context = Context::new();
    let told = |path: &str| {
        context.write("mine.toml", &format!("path = \"{path}\"\n{DECLARED}"));
        let outcome = context.perf(&["--url", "h:1", "--model", "m", "--api", "mine.toml"]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        outcome.stderr
    };
    let all = [
        told("generate"),
        told("http://example.org/generate"),
        told("/generate?version=2"),
    ];
    insta::assert_snapshot!("declared_paths", all.join("---\n"));
}

/// Without a path in the file or in the URL it is the root, and that is said.
#[test]
fn a_declaration_without_a_path_goes_where_the_note_says() {
    let server =
        Recorder::start(|_, _| reply("200 OK", "text/event-stream", "data: {\"token\":\"a\"}\n\n"));
    for (path, line, noted) in [
        ("", "POST / HTTP/1.1", true),
        ("/ask", "POST /ask HTTP/1.1", false),
    ] {
        let context = Context::new();
        context.write("mine.toml", DECLARED);
        let url = format!("http://{}{path}", server.address());
        let outcome = context.measure(&[
            "--url",
            &url,
            "--model",
            "m",
            "--api",
            "mine.toml",
            "--prompt",
            "p",
            "--number",
            "1",
        ]);
        assert_eq!(server.requests().last().unwrap().line, line);
        let note = format!("the URL was completed to {url}/\n");
        assert_eq!(outcome.stderr.contains(&note), noted, "{}", outcome.stderr);
    }
}

/// What a declaration has no place for is not lost without a word, from wherever it comes.
#[test]
fn extra_fields_without_a_place_are_named() {
    let server =
        Recorder::start(|_, _| reply("200 OK", "text/event-stream", "data: {\"token\":\"a\"}\n\n"));
    let told = |other_fields: &str| {
        let context = Context::new();
        let request = "[request]\n";
        let declared = DECLARED.replace(request, &format!("{request}{other_fields}"));
        context.write("mine.toml", &declared);
        let outcome = context.measure(&[
            "--url",
            &format!("http://{}/ask", server.address()),
            "--model",
            "m",
            "--api",
            "mine.toml",
            "--prompt",
            "p",
            "--number",
            "1",
            "--top-k",
            "5",
            "--extra-args",
            r#"{"a": 1, "top_p": 0.5, "temperature": null, "messages": []}"#,
        ]);
        let notes = outcome.stderr.lines().filter_map(|line| {
            let at = line.find("the declared API")?;
            Some(line[at..].to_owned())
        });
        (notes.collect::<Vec<_>>(), server.requests().pop().unwrap())
    };
    let (notes, request) = told("");
    assert_eq!(request.json(), json!({"inputs": ""}));
    insta::assert_snapshot!(notes.join("\n"), @r"
    the declared API has no field for `top_k`: it is not sent
    the declared API has no field for `a` in `--extra-args`: it is not sent (`other_fields = true` in `[request]` sends it)
    the declared API has no field for `top_p` in `--extra-args`: it is not sent (`other_fields = true` in `[request]` sends it)
    ");
    let (notes, request) = told("other_fields = true\n");
    assert_eq!(request.json()["a"], 1);
    assert_eq!(notes, Vec::<String>::new());
}

/// The declaration, and an event stream to each request of one command.
fn answered(declaration: &str, body: &str, more: &[&str]) -> (Context, Outcome) {
    let kind = if body.starts_with('{') {
        "application/json"
    } else {
        "text/event-stream"
    };
    let body = body.to_owned();
    let server = Recorder::start(move |_, _| reply("200 OK", kind, &body));
    let context = Context::new();
    context.write("mine.toml", declaration);
    let url = format!("http://{}/ask", server.address());
    let base = ["--url", &url, "--model", "m", "--api", "mine.toml"];
    let load = ["--prompt", "p", "--number", "2"];
    let outcome = context.perf(&[base.as_slice(), &load, more].concat());
    (context, outcome)
}

/// One that says where text stands, and how many tokens there were.
fn pointing(text: &str) -> String {
    format!(
        "[request]\ntemplate = {{ inputs = \"%p\" }}\n\
         [stream]\n{text}completion_tokens = \"/count\"\nreasoning_tokens = \"/thought\"\nends_with_body = true\n\
         [whole]\n{text}completion_tokens = \"/count\"\n"
    )
}

/// Two tokens: what every server of a made-up API says.
const TWO: &str = "data: {\"tok\":\"a\"}\n\ndata: {\"tok\":\"b\"}\n\ndata: {\"count\":2}\n\n";

/// A pointer with a slip in it finds no text; token counts alone would make a success of it.
#[test]
fn text_that_stands_elsewhere_is_found_by_the_test_request() {
    let lists = "text = [\"/tokk\", \"/a/0\"]\nreasoning = \"/thought/text\"\n";
    let long = format!(
        "data: {{\"tok\":\"{}\"}}\n\ndata: {{\"count\":4}}\n\n",
        "x".repeat(500)
    );
    let whole = "{\"tok\":\"ab\",\"count\":2}";
    let mut told = String::new();
    for (text, body, more) in [
        ("text = \"/tokk\"\n", TWO, &[][..]),
        (lists, &long, &[]),
        ("text = \"/tokk\"\n", whole, &["--no-stream"]),
        (
            "text = \"/delta\"\n",
            "data: {\"delta\":{\"tok\":\"a\"},\"count\":1}\n\n",
            &[],
        ),
        (
            "text = \"/tokk\"\n",
            "data: {\"tok\":\"sk-1234\",\"count\":1}\n\n",
            &["--api-key", "sk-1234"],
        ),
    ] {
        let (_, outcome) = answered(&pointing(text), body, more);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let error = outcome.stderr.find("error: ");
        writeln!(told, "{}", &outcome.stderr[error.unwrap()..]).unwrap();
    }
    insta::assert_snapshot!("text_elsewhere", told);
}

/// What four tokens can leave empty: the place is there, or nothing was to stand in it.
#[test]
fn an_answer_that_is_short_of_text_is_no_slip() {
    for (text, body) in [
        (
            "text = \"/tok\"\n",
            "data: {\"tok\":\"\"}\n\ndata: {\"count\":1}\n\n",
        ),
        ("text = \"/tok\"\n", "data: {\"tok\":null,\"count\":4}\n\n"),
        (
            "text = \"/tok\"\nreasoning = \"/why\"\n",
            "data: {\"why\":\"a\",\"count\":4}\n\n",
        ),
        // all of it was reasoning, which the server keeps to itself
        ("text = \"/tok\"\n", "data: {\"thought\":4,\"count\":4}\n\n"),
        ("text = \"/tok\"\n", "data: {\"count\":0}\n\n"),
        ("text = \"/tok\"\n", ": nothing at all\n\n"),
    ] {
        let (_, outcome) = answered(&pointing(text), body, &[]);
        // the load may fail for it
        assert_ne!(outcome.code, Some(2), "{body}: {outcome:#?}");
    }
}

/// Without the test, a report without times says why.
#[test]
fn tokens_that_no_event_held_are_told_in_the_report() {
    let declaration = pointing("text = \"/tokk\"\n");
    let (context, _) = answered(&declaration, TWO, &["--no-test-connection"]);
    let warnings = context.result()["runs"][0]["warnings"].to_string();
    let said = "2 of 2 successful streams reported tokens that no event held: they have no TTFT, TPOT or ITL";
    assert!(warnings.contains(said), "{warnings}");
    let (context, _) = answered(&pointing("text = \"/tok\"\n"), TWO, &[]);
    let warnings = context.result()["runs"][0]["warnings"].to_string();
    assert!(!warnings.contains("no event held"), "{warnings}");
}

/// A pipe that nobody writes to would be waited for without end.
#[test]
fn only_a_file_of_bounded_length_declares_an_api() {
    let context = Context::new();
    let folder = context.path();
    let pipe = folder.join("fifo.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", folder.join("device.toml")).unwrap();
    symlink("loop.toml", folder.join("loop.toml")).unwrap();
    std::fs::create_dir(folder.join("folder.toml")).unwrap();
    std::fs::write(folder.join("latin.toml"), b"name = \"\xe9\"").unwrap();
    let comment = "#".repeat((1 << 20) - DECLARED.len());
    let longest = format!("{DECLARED}{comment}");
    context.write("long.toml", &format!("{longest}#"));
    context.write("longest.toml", &longest);
    symlink("longest.toml", folder.join("link.toml")).unwrap();
    let told = |name: &str| {
        let outcome = context.perf(&["--url", "h:1", "--model", "m", "--api", name]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        outcome.stderr
    };
    let names = ["fifo", "device", "loop", "folder", "latin", "long"];
    let all = names.map(|name| told(&format!("{name}.toml")));
    insta::assert_snapshot!("declared_files", all.join("---\n"));
    // as long as may be, and by way of a link: it is another thing that does not work
    let outcome = told("link.toml");
    assert!(!outcome.contains("declare"), "{outcome}");
}
