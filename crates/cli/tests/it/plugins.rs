//! Data sets and APIs that are programs of their own, and APIs that a file declares.

use std::path::{Path, PathBuf};

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator, When};
use serde_json::{Value, json};

use crate::context::{Context, Outcome, json as read_json};
use crate::server::{Recorder, Request, good, reply};

/// A plugin of both kinds; what it does is its first argument.
const STANDIN: &str = r#"
import json, os, sys, time
how = sys.argv[1]
at = calls = 0
print("loaded", file=sys.stderr)
if how == "tells_environment":
    print([name for name in os.environ if name.startswith("EVALSCOPE_")], file=sys.stderr)
for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request["params"]
    calls += method in ("next", "build", "parse")
    error = None
    result = {}
    if method == "hello":
        with open("hello.json", "w") as file:
            json.dump(params, file)
        if how == "paints":
            error = {"message": "\x1b[2Jno\rerror: \x9b31mforged\x07", "traceback": None}
            print("\x1b]0;title\x07 on stderr", file=sys.stderr, flush=True)
        if how == "refuses":
            error = {"message": "this needs a GPU", "traceback": None}
        result = {"protocol": 1, "name": "stand-in"}
        if how.startswith("tells"):
            result["answers"] = {"stream": {"text": "/t", "error": "/oops"}}
    elif method == "rewind":
        at = 0
    elif method == "next":
        if how == "dies" and calls > 5:
            print("Segmentation fault", file=sys.stderr, flush=True)
            os._exit(9)
        if how == "raises" and calls > 5:
            error = {"message": "ValueError: row 99", "traceback": "Traceback:\n  in row 99"}
        result = {"items": [{"text": f"prompt {at + i}"} for i in range(params["max"])], "end": False}
        at += params["max"]
    elif method == "build":
        if how == "slow":
            time.sleep(0.02 * len(params["prompts"]))
        bodies = []
        for prompt in params["prompts"]:
            body = {"model": "m", "stream": how != "whole", "max_tokens": 3, "own": "field"}
            body.update({"messages": prompt["messages"]} if "messages" in prompt else {"prompt": prompt["text"]})
            bodies.append(body)
        result = {"bodies": bodies}
    elif method == "parse":
        if how == "no_counts":
            os._exit(5)
        counts = []
        for answer in params["answers"]:
            if how == "tells_failures":
                counts.append({"failed": f"too short: {len(answer['responses'])} events"})
            elif how == "bad_counts":
                counts.append({"error": "KeyError: 'usage'", "traceback": "in line 3"})
            else:
                counts.append({"prompt_tokens": 1000, "completion_tokens": len(answer["responses"])})
        result = {"counts": counts}
    answer = {"id": request["id"], **({"error": error} if error else {"result": result})}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    if method == "bye":
        break
"#;

fn context() -> Context {
    let context = Context::new().with_env("PATH", "/usr/local/bin:/usr/bin:/bin");
    context.write("standin.py", STANDIN);
    context
}

fn exec(how: &str) -> String {
    format!("exec:python3 -u standin.py {how}")
}

fn perf(context: &Context, server: &Recorder, flags: &[&str]) -> Outcome {
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--number",
        "20",
        "--parallel",
        "2",
    ];
    let sampled = ["--dataset", "sample"];
    let sampled = if flags.contains(&"--dataset") {
        &[][..]
    } else {
        &sampled
    };
    context.perf(&[&base, sampled, flags].concat())
}

/// What the server was sent, without the test request.
fn sent(server: &Recorder) -> Vec<Value> {
    server
        .requests()
        .iter()
        .skip(1)
        .map(Request::json)
        .collect()
}

fn warnings(context: &Context) -> Vec<String> {
    let result = context.result();
    let warnings = result["runs"][0]["warnings"].as_array().unwrap();
    let texts = warnings
        .iter()
        .map(|warning| warning["text"].as_str().unwrap().to_owned());
    texts.collect()
}

#[test]
fn prompts_of_a_plugin_are_sent_in_order_by_one_run_after_another() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "m",
        "--api-key",
        "sk-secret-1",
        "--dataset",
        &exec("fine"),
        "--parallel",
        "1",
        "1",
        "--number",
        "70",
        "30",
        "--sleep-interval",
        "0",
        "--temperature",
        "0.5",
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let texts: Vec<String> = sent(&server)
        .iter()
        .map(|body| body["messages"][0]["content"].as_str().unwrap().to_owned())
        .collect();
    let want: Vec<String> = (0..100).map(|n| format!("prompt {n}")).collect();
    assert_eq!(texts, want);
    assert!(
        outcome.stderr.contains("[plugin] loaded"),
        "{}",
        outcome.stderr
    );
    let hello = read_json(&context.path().join("hello.json"));
    assert_eq!(hello["role"], "dataset");
    assert_eq!(hello["options"]["temperature"], 0.5);
    assert_eq!(hello["options"]["api_key"], "***");
    assert_eq!(
        context.result()["runs"][0]["dataset"],
        exec("fine").as_str()
    );
}

#[test]
fn bodies_of_a_plugin_go_over_the_wire_and_its_counts_into_the_results() {
    for (how, whole) in [("fine", false), ("whole", true)] {
        let context = context();
        let server = Recorder::start(|request, _| good(request));
        let outcome = perf(&context, &server, &["--api", &exec(how)]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let requests = server.requests();
        // the test request is the plugin's too
        assert_eq!(requests[0].json()["messages"][0]["content"], "hello");
        assert_eq!(requests.len(), 21);
        for request in &requests {
            assert_eq!(request.json()["own"], "field");
            assert_eq!(request.json()["max_tokens"], 3);
        }
        // two events with text and the one with the usage, or the whole answer
        let tokens: u64 = if whole { 1 } else { 3 };
        assert_eq!(
            context.column::<String>(
                "SELECT DISTINCT token_source || ' ' || prompt_token_source || ' ' \
                 || completion_tokens || ' ' || prompt_tokens FROM result"
            ),
            [format!("plugin plugin {tokens} 1000")]
        );
        let result = context.result();
        let run = &result["runs"][0];
        assert_eq!(run["tokens"]["sources"]["plugin"], 20);
        assert_eq!(run["tokens"]["output"], 20 * tokens);
        assert_eq!(run["api"], exec(how).as_str());
    }
}

#[test]
fn a_plain_endpoint_gets_plain_prompts_from_a_plugin() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    let url = format!("http://{}/v1/completions", server.address());
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "m",
        "--number",
        "3",
        "--dataset",
        &exec("fine"),
        "--api",
        &exec("fine"),
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(sent(&server)[2]["prompt"], "prompt 2");
}

/// Events of no known form.
fn foreign(body: &str) -> Vec<u8> {
    reply("200 OK", "text/event-stream", body)
}

#[test]
fn events_of_any_form_are_tokens_for_a_plugin() {
    let context = context();
    let server = Recorder::start(|_, _| foreign("data: {\"t\":\"a\"}\n\ndata: b\n\n"));
    let url = format!("http://{}/generate?x=1", server.address());
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "m",
        "--number",
        "5",
        "--dataset",
        "sample",
        "--api",
        &exec("fine"),
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(server.requests()[0].line.starts_with("POST /generate?x=1 "));
    assert_eq!(
        context.column::<i64>("SELECT DISTINCT completion_tokens FROM result"),
        [2]
    );
    assert_eq!(
        context.column::<i64>("SELECT DISTINCT n_chunks FROM result"),
        [2]
    );

    // and that is said
    let told = warnings(&context);
    assert!(
        told.iter()
            .any(|text| text.contains("which events of a stream carry tokens")),
        "{told:?}"
    );

    let context = self::context();
    let failing = Recorder::start(|_, _| foreign("data: a\n\ndata: {\"error\":\"no memory\"}\n\n"));
    let outcome = perf(&context, &failing, &["--api", &exec("fine")]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("no memory"), "{}", outcome.stderr);
}

/// A made-up protocol: a start without a token, one event for each, and an end.
const MADE_UP: &str =
    "data: {\"start\":1}\n\ndata: {\"t\":\"a\"}\n\ndata: {\"t\":\"b\"}\n\ndata: {\"fin\":2}\n\n";

#[test]
fn a_plugin_tells_which_events_bear_tokens_and_which_are_errors() {
    let context = context();
    let server = Recorder::start(|_, _| foreign(MADE_UP));
    let outcome = perf(&context, &server, &["--api", &exec("tells")]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = warnings(&context);
    assert!(
        !told.iter().any(|text| text.contains("bear tokens")),
        "{told:?}"
    );
    let gaps = &context.result()["runs"][0]["metrics"]["itl_ms"]["count"];
    assert_eq!(*gaps, 20, "one gap of two tokens in each");
    // it is given the others too, to count by
    let counted = "SELECT DISTINCT completion_tokens FROM result";
    assert_eq!(context.column::<i64>(counted), [4]);

    let context = self::context();
    let failing = Recorder::start(|_, n| {
        foreign(if n == 0 {
            MADE_UP
        } else {
            "data: {\"oops\":\"I exploded\"}\n\n"
        })
    });
    let outcome = perf(&context, &failing, &["--api", &exec("tells")]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    assert!(outcome.stdout.contains("I exploded"), "{}", outcome.stdout);
}

#[test]
fn what_the_caller_of_the_tool_wants_is_not_passed_on() {
    let context = context();
    let files = ["EVALSCOPE_ERROR_FILE", "EVALSCOPE_RESULT_PATH_FILE"];
    let [error, path] = files.map(|name| context.path().join(name).display().to_string());
    let context = context.with_env(files[0], &error).with_env(files[1], &path);
    let server = Recorder::start(|_, _| foreign(MADE_UP));
    let outcome = perf(&context, &server, &["--api", &exec("tells_environment")]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(
        outcome.stderr.contains("[plugin] ['EVALSCOPE_CACHE']"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_plugin_may_call_an_answer_a_failure() {
    let context = context();
    let server = Recorder::start(|_, _| foreign(MADE_UP));
    let outcome = perf(&context, &server, &["--api", &exec("tells_failures")]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let counts = &context.result()["runs"][0]["counts"];
    assert_eq!(counts["failed"], 20);
    assert!(
        outcome.stdout.contains("too short: 4 events"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_plugin_that_fails_in_the_run_ends_it_and_keeps_what_was_measured() {
    for (how, words) in [
        (
            "dies",
            [
                "failed in `next`: it ended before it responded (exit status: 9)",
                "| Segmentation fault",
            ],
        ),
        (
            "raises",
            ["failed in `next`: ValueError: row 99", "|   in row 99"],
        ),
    ] {
        let context = context();
        let server = Recorder::start(|request, _| good(request));
        let url = server.url();
        let outcome = context.perf(&[
            "--url",
            &url,
            "--model",
            "m",
            "--dataset",
            &exec(how),
            "--number",
            "5000",
        ]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        for word in words {
            assert!(outcome.stderr.contains(word), "{word}: {}", outcome.stderr);
        }
        assert!(
            outcome
                .stderr
                .contains("the dataset failed: the run was stopped")
        );
        assert_eq!(context.result()["runs"][0]["state"], "interrupted");
        // whoever reads the results alone learns it too
        let told = warnings(&context);
        let reason = format!("no more requests could be made: the plugin `{}`", exec(how));
        assert!(
            told.iter().any(|text| text.starts_with(&reason)),
            "{told:?}"
        );
    }
}

#[test]
fn a_plugin_that_does_not_start_is_told_before_any_load() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    for (flags, words) in [
        (
            ["--dataset", "exec:python3 -u standin.py refuses"],
            "failed in `hello`: this needs a GPU",
        ),
        (
            ["--api", "exec:no-such-program"],
            "cannot start `no-such-program`",
        ),
        (
            ["--api", "missing.py"],
            "the plugin missing.py does not exist",
        ),
        (["--api", "unix:/no/such"], "no connection to the socket"),
    ] {
        let outcome = perf(&context, &server, &flags);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(
            outcome.stderr.contains(words),
            "{words}: {}",
            outcome.stderr
        );
    }
    assert!(server.requests().is_empty());
    // the file is there, its interpreter is not
    context.write("mine.py", "");
    let context = context.with_env("EVALSCOPE_PYTHON", "/no/such/python");
    let outcome = perf(&context, &server, &["--dataset", "mine.py:rows"]);
    assert!(
        outcome.stderr.contains("cannot start `/no/such/python`"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("EVALSCOPE_PYTHON"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn counts_that_fail_cost_a_warning_and_not_the_run() {
    for (how, words) in [
        (
            "bad_counts",
            "the plugin does not count the tokens of every response: KeyError: 'usage'",
        ),
        (
            "no_counts",
            "failed in `parse`: it ended before it responded",
        ),
    ] {
        let context = context();
        let server = Recorder::start(|request, _| good(request));
        // all is built before the first answer is counted
        let outcome = perf(&context, &server, &["--api", &exec(how)]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let told: Vec<String> = warnings(&context);
        assert_eq!(
            told.iter().filter(|text| text.contains(words)).count(),
            1,
            "{told:?}"
        );
        // the server's own counts are still there
        assert_eq!(
            context.column::<String>("SELECT DISTINCT token_source FROM result"),
            ["server_usage"]
        );
    }
}

#[test]
fn a_slow_plugin_shows_as_such_and_not_as_latency() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    let outcome = perf(
        &context,
        &server,
        &["--api", &exec("slow"), "--number", "200"],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = warnings(&context);
    let named = told
        .iter()
        .any(|text| text.contains("the dataset cannot keep up"));
    assert!(named, "{told:?}");
    let result = context.result();
    let run = &result["runs"][0];
    assert!(
        run["client"]["feed_wait_s"].as_f64().unwrap() > 1.0,
        "{}",
        run["client"]
    );
    let p50 = run["metrics"]["latency_s"]["p50"].as_f64().unwrap();
    assert!(p50 < 0.02, "{p50}");
}

#[test]
fn nothing_of_a_plugin_is_left_behind() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    let marker = format!("marker-{}", std::process::id());
    let fine = format!("{} {marker}", exec("fine"));
    let outcome = perf(&context, &server, &["--dataset", &fine, "--api", &fine]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&line).contains(&marker),
            "it runs on"
        );
    }
}

#[test]
fn a_stop_does_not_wait_for_a_plugin() {
    let context = context();
    context.write("hangs.py", "import time\ntime.sleep(1000)\n");
    let mut running = context.start(&[
        "--url",
        "http://127.0.0.1:9",
        "--model",
        "m",
        "--dataset",
        "exec:python3 hangs.py",
    ]);
    running.wait_for_stderr("waiting for the plugin");
    running.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
}

/// The file in the documentation that declares OpenAI's API.
fn openai_toml() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/openai.toml");
    path.canonicalize().unwrap().display().to_string()
}

/// What an answer was understood to be, request by request.
fn understood(context: &Context) -> Vec<String> {
    context.column(
        "SELECT idx || ' ' || success || ' ' || n_chunks || ' ' || coalesce(prompt_tokens, '-') || ' ' \
         || coalesce(completion_tokens, '-') || ' ' || token_source || ' ' || coalesce(finish_reason, '-') || ' ' \
         || coalesce(error_kind, '-') || ' ' || coalesce(error_text, '-') FROM result ORDER BY idx",
    )
}

#[test]
fn the_declared_api_measures_what_the_built_in_one_does() {
    for fault in [
        None,
        Some(Fault::NoUsage),
        Some(Fault::ReasoningContent),
        Some(Fault::ErrorEvent),
        Some(Fault::Cut),
        Some(Fault::ToolCalls),
    ] {
        for stream in ["--stream", "--no-stream"] {
            let run = |api: &str| {
                let rule = |fault| FaultRule {
                    fault,
                    when: When::Every(3),
                };
                let simulator = Simulator::start(SimConfig {
                    profile: Profile::default(),
                    faults: fault.map(rule).into_iter().collect(),
                    fault_after: 1,
                    api_key: Some("sk-right".to_owned()),
                    ..SimConfig::default()
                })
                .unwrap();
                let context = Context::new().with_env("EVALSCOPE_API_KEY", "sk-right");
                let url = simulator.url();
                let url = url.split("/v1").next().unwrap();
                let outcome = context.perf(&[
                    "--url",
                    url,
                    "--model",
                    "sim",
                    "--api",
                    api,
                    "--dataset",
                    "sample",
                    "--number",
                    "12",
                    "--max-tokens",
                    "7",
                    "--top-k",
                    "3",
                    stream,
                ]);
                assert!(matches!(outcome.code, Some(0)), "{outcome:#?}");
                let mut bodies: Vec<Value> = context.bodies();
                for body in &mut bodies {
                    // the order of fields is the declaration's
                    body.sort_all_objects();
                }
                let result = context.result();
                (
                    understood(&context),
                    bodies,
                    result["runs"][0]["tokens"].clone(),
                )
            };
            assert_eq!(run(&openai_toml()), run("openai"), "{fault:?} {stream}");
        }
    }
}

#[test]
fn a_declared_api_says_where_things_are() {
    let context = Context::new();
    context.write(
        "mine.toml",
        r#"
path = "/generate"
[headers]
X-Key = "k %{api_key}"
X-Client = "perf"
[request]
template = { inputs = "Q: %p", parameters = { limit = "%{max_tokens}", seed = "%{seed}" }, model = "%m" }
[stream]
ends_with_body = true
text = "/token"
completion_tokens = "/count"
"#,
    );
    let server = Recorder::start(|_, _| {
        foreign("data: {\"token\":\"a\"}\n\ndata: {\"token\":\"b\",\"count\":2}\n\n")
    });
    let url = format!("http://{}", server.address());
    let flags = [
        "--url",
        &url,
        "--model",
        "m",
        "--api",
        "mine.toml",
        "--prompt",
        "why?",
        "--max-tokens",
        "9",
        "--number",
        "2",
        "--api-key",
        "sk-1234",
        "--headers",
        "x-client=me",
        "--top-k",
        "3",
    ];
    let outcome = context.perf(&flags);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let request = &server.requests()[1];
    assert!(
        request.line.starts_with("POST /generate "),
        "{}",
        request.line
    );
    assert_eq!(request.header("x-key"), Some("k sk-1234"));
    assert_eq!(request.header("x-client"), Some("me"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(
        request.json(),
        json!({"inputs": "Q: why?", "parameters": {"limit": 9}, "model": "m"})
    );
    assert_eq!(
        context.column::<i64>("SELECT completion_tokens FROM result"),
        [2, 2]
    );
    assert!(
        outcome.stderr.contains("no field for `top_k`"),
        "{}",
        outcome.stderr
    );
    for (_, bytes) in context.files() {
        assert!(!String::from_utf8_lossy(&bytes).contains("sk-1234"));
    }
}

#[test]
fn the_example_of_the_documentation_works() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/custom-api.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let answer = |request: &Request| {
        if request.json()["stream"] == true {
            let last = json!({"token": {"text": "b"}, "details": {"generated_tokens": 2, "finish_reason": "length"}});
            foreign(&format!(
                "data:{}\n\ndata:{last}\n\n",
                json!({"token": {"text": "a"}})
            ))
        } else {
            reply(
                "200 OK",
                "application/json",
                &json!([{"generated_text": "ab"}]).to_string(),
            )
        }
    };
    for stream in ["--stream", "--no-stream"] {
        let context = Context::new();
        context.write("mine.toml", example);
        let server = Recorder::start(move |request, _| answer(request));
        let url = format!("http://{}", server.address());
        let outcome = context.perf(&[
            "--url",
            &url,
            "--model",
            "m",
            "--api",
            "mine.toml",
            "--prompt",
            "why?",
            "--number",
            "2",
            stream,
        ]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(server.requests()[1].line.starts_with("POST /generate "));
    }
}

#[test]
fn mistakes_in_a_declaration_and_in_names_are_told() {
    let context = Context::new();
    let told = |text: &str| {
        context.write("mine.toml", text);
        let outcome = context.perf(&["--url", "h:1", "--model", "m", "--api", "mine.toml"]);
        assert_eq!(outcome.code, Some(2));
        outcome.stderr
    };
    let request = "[request]\ntemplate = { a = \"%p\" }\n";
    let all = [
        told(&format!("{request}[stream]\ntxt = \"/a\"\n")),
        told(&format!("{request}[stream]\ntext = \"a\"\nend = \"x\"\n")),
        told(&format!("{request}[stream]\ntext = \"/a\"\n")),
        told("[request]\ntemplate = \"{}\"\n"),
        told(request),
        context
            .perf(&["--model", "m", "--api", "no/such.toml"])
            .stderr,
        context.perf(&["--model", "m", "--api", "openia"]).stderr,
        context.perf(&["--model", "m", "--dataset", "opnqa"]).stderr,
        context
            .perf(&["--model", "m", "--dataset", "x.jsonl"])
            .stderr,
        context.perf(&["--model", "m", "--dataset", "exec:"]).stderr,
    ];
    insta::assert_snapshot!(all.join("---\n"));
}

#[test]
fn folder_and_runs_are_written_where_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results");
    let context =
        Context::new().with_env("EVALSCOPE_RESULT_PATH_FILE", &file.display().to_string());
    let server = Recorder::start(|request, _| good(request));
    perf(&context, &server, &[]);
    let written = crate::context::json(&file);
    assert_eq!(
        Path::new(written["folder"].as_str().unwrap())
            .canonicalize()
            .unwrap(),
        context.top().canonicalize().unwrap()
    );
    let run = context.run_folder();
    let name = run.file_name().unwrap().to_str().unwrap();
    assert_eq!(written["runs"], serde_json::json!([name]));
}

#[test]
fn the_documents_example_is_a_data_set() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/numbers.py");
    let dataset = format!("exec:python3 '{}'", example.display());
    let outcome = perf(&context, &server, &["--dataset", &dataset]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let last = &sent(&server)[19]["messages"][0]["content"];
    assert!(last.as_str().unwrap().starts_with("Write 1"), "{last}");
}

#[test]
fn words_of_a_plugin_do_nothing_to_a_terminal() {
    let context = context();
    let server = Recorder::start(|request, _| good(request));
    let dataset = exec("paints");
    let outcome = perf(&context, &server, &["--dataset", &dataset]);
    assert_eq!(outcome.code, Some(2));
    let wild = |c: char| c.is_control() && c != '\n';
    assert!(!outcome.stderr.contains(wild), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains(r"\u{1b}[2Jno\u{d}error: \u{9b}31mforged\u{7}"),
        "{}",
        outcome.stderr
    );
}
