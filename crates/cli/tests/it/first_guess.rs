//! What a person types at the first guess: a rate or a time alone, sweeps with one value for all
//! points, no model, text on stdin; and small flags of scripts for EvalScope.

use std::io::Write as _;
use std::process::Stdio;

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, Outcome, json as json_of};
use crate::server::{Recorder, Request, good, reply};
use crate::tokenizer;

const SAMPLE: [&str; 4] = ["--model", "m", "--dataset", "sample"];

/// A server whose answers take this long.
fn slow(ttft_ms: f64) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms,
            itl_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap()
}

fn names(context: &Context) -> Vec<String> {
    let runs = context.result()["runs"].as_array().unwrap().clone();
    let name = |run: &Value| run["name"].as_str().unwrap().to_owned();
    runs.iter().map(name).collect()
}

/// With one slot, 20 answers of 300 ms would take 6 s.
#[test]
fn a_rate_alone_is_not_capped() {
    let simulator = slow(300.0);
    let context = Context::new();
    let url = simulator.url();
    let line = [
        "--url",
        &url,
        "--rate",
        "50",
        "--number",
        "20",
        "--max-tokens",
        "2",
    ];
    let outcome = context.measure(&[&SAMPLE, &line[..]].concat());
    let run = &context.result()["runs"][0];
    assert_eq!(run["load"]["concurrency"], json!(null));
    assert_eq!(run["load"]["requests"], 20);
    assert!(run["duration_s"].as_f64().unwrap() < 3.0, "{run}");
    assert_eq!(run["counts"]["succeeded"], 20);
    assert_eq!(names(&context), ["rate_50.0_number_20"]);
    assert!(outcome.stdout.contains("not limited"), "{}", outcome.stdout);
    assert!(
        outcome
            .stderr
            .contains("20 requests, Poisson arrivals at 50/s, no limit in flight\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(context.result()["settings"]["parallel"], json!(null));
    let summary = json_of(&context.run_folder().join("benchmark_summary.json"));
    assert_eq!(summary["Concurrency"], -1);
}

#[test]
fn a_rate_with_a_concurrency_is_capped() {
    let simulator = slow(100.0);
    let context = Context::new();
    let url = simulator.url();
    let line = [
        "--url",
        &url,
        "--rate",
        "50",
        "--parallel",
        "1",
        "--number",
        "10",
        "--max-tokens",
        "2",
    ];
    context.measure(&[&SAMPLE, &line[..]].concat());
    let run = &context.result()["runs"][0];
    assert_eq!(run["load"]["concurrency"], 1);
    assert!(run["duration_s"].as_f64().unwrap() > 1.0, "{run}");
    assert_eq!(names(&context), ["parallel_1_number_10"]);
}

/// More than the 1000 requests that are the default without a time.
#[test]
fn a_duration_alone_has_no_number() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let url = server.url();
    let line = [
        "--url",
        &url,
        "--duration",
        "1500ms",
        "--parallel",
        "8",
        "--no-test-connection",
    ];
    let outcome = context.measure(&[&SAMPLE, &line[..]].concat());
    let run = &context.result()["runs"][0];
    assert_eq!(run["load"]["requests"], json!(null));
    assert_eq!(run["load"]["duration_s"], 1.5);
    assert_eq!(run["state"], "finished");
    let seconds = run["duration_s"].as_f64().unwrap();
    assert!((1.3..5.0).contains(&seconds), "{run}");
    assert_eq!(names(&context), ["parallel_8_duration_1.5s"]);
    assert!(
        outcome.stderr.contains(": requests for 1.5 s, 8 in flight"),
        "{}",
        outcome.stderr
    );
    assert_eq!(context.result()["settings"]["number"], json!(null));
    // what was written is read again
    let again = context.run(&["report", context.top().to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{again:#?}");
}

#[test]
fn one_value_holds_for_every_point_and_points_may_repeat() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--no-test-connection",
        "--sleep-interval",
        "0",
    ];
    for (line, wanted) in [
        (
            "--parallel 1,2 --number 3",
            vec!["parallel_1_number_3", "parallel_2_number_3"],
        ),
        (
            "--rate 200,12000/m --parallel 4 --number 5",
            vec![
                "parallel_4_number_5_rate_200.0",
                "parallel_4_number_5_rate_200.0_2",
            ],
        ),
        (
            "--rate 100 200 --number 5",
            vec!["rate_100.0_number_5", "rate_200.0_number_5"],
        ),
        (
            "--parallel 2 2 --number 3,4",
            vec!["parallel_2_number_3", "parallel_2_number_4"],
        ),
        (
            "--parallel 2 2 --number 3",
            vec!["parallel_2_number_3", "parallel_2_number_3_2"],
        ),
    ] {
        let context = Context::new();
        let words: Vec<&str> = line.split(' ').collect();
        context.measure(&[&SAMPLE[..], &base, &words].concat());
        assert_eq!(names(&context), wanted, "{line}");
        for name in wanted {
            assert!(
                context.top().join(name).join("benchmark_data.db").exists(),
                "{name}"
            );
        }
    }
}

/// A server that lists these models.
fn listing(names: &'static [&'static str]) -> Recorder {
    Recorder::start(move |request, _| answer(request, names))
}

fn answer(request: &Request, names: &[&str]) -> Vec<u8> {
    if !request.line.starts_with("GET /v1/models ") {
        return good(request);
    }
    let models: Vec<Value> = names.iter().map(|name| json!({"id": name})).collect();
    let list = json!({"object": "list", "data": models}).to_string();
    reply("200 OK", "application/json", &list)
}

fn without_model(server: &Recorder, more: &[&str]) -> (Context, Outcome) {
    let context = Context::new();
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--dataset",
        "sample",
        "--number",
        "1",
        "--api-key",
        "sk-secret-key",
    ];
    let outcome = context.perf(&[&base, more].concat());
    (context, outcome)
}

#[test]
fn the_only_model_of_a_server_is_taken() {
    let server = listing(&["org/only-one"]);
    let (context, outcome) = without_model(&server, &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let requests = server.requests();
    assert_eq!(requests[0].line, "GET /v1/models HTTP/1.1");
    assert_eq!(
        requests[0].header("authorization"),
        Some("Bearer sk-secret-key")
    );
    assert_eq!(requests[1].json()["model"], "org/only-one");
    assert_eq!(context.result()["settings"]["model"], "org/only-one");
    assert!(
        outcome
            .stderr
            .contains("the server has one model: org/only-one"),
        "{outcome:#?}"
    );
}

#[test]
fn of_several_models_one_has_to_be_named() {
    for (server, said) in [
        (
            listing(&["a", "b"]),
            "error: `--model` is missing, and the server has 2: a, b\n  hint: name one of them: `--model NAME`\n",
        ),
        (listing(&[]), "lists no model\n"),
        (
            Recorder::start(|_, _| reply("404 Not Found", "text/plain", "no")),
            "gave no list of models: status 404",
        ),
    ] {
        let (context, outcome) = without_model(&server, &[]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert!(outcome.stderr.contains(said), "{said}: {outcome:#?}");
        assert!(!context.path().join("outputs").exists());
        assert_eq!(server.requests().len(), 1);
    }
}

/// The server refuses its first requests as one that still loads.
#[test]
fn a_server_that_still_starts_is_waited_for() {
    for (flags, said) in [
        (&["--wait-for-server", "1m"][..], "retrying for 60 s"),
        (&[], "retrying for 15 s"),
    ] {
        let server = Recorder::start(|request, number| match number {
            0..2 => reply("503 Service Unavailable", "text/plain", "loading"),
            _ => answer(request, &["m"]),
        });
        let (_, outcome) = without_model(&server, flags);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(outcome.stderr.contains(said), "{outcome:#?}");
    }
    // and no longer than asked for
    let context = Context::new();
    let line = ["--url", "http://127.0.0.1:1", "--wait-for-server", "1"];
    let outcome = context.perf(&[&SAMPLE, &line[..]].concat());
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("(retried for 1 s)"), "{outcome:#?}");
    let outcome = context.perf(&[&line[..], &["--dataset", "sample"]].concat());
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(
        outcome.stderr.contains(
            "`--model` is missing, and http://127.0.0.1:1/v1/models gave no list of models: "
        ) && outcome.stderr.contains("(retried for 1 s)"),
        "{outcome:#?}"
    );
    assert!(
        context.files().is_empty(),
        "a failed start leaves nothing behind"
    );
}

#[test]
fn a_text_comes_on_stdin() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let url = server.url();
    let sent = |prompt: &str, stdin: &str| {
        let args = [
            "perf", "--url", &url, "--model", "m", "--prompt", prompt, "-n", "1",
        ];
        let mut command = context.command(&args);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(stdin.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let body = server.requests().last().unwrap().json();
        body["messages"][0]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(sent("@-", "of stdin\n").trim_end(), "of stdin");
    assert_eq!(sent("@-", "@home"), "@home");
    assert_eq!(sent("@@home", ""), "@home");
    context.write("extra.json", r#"{"top_a": 5}"#);
    let line = [
        "--url",
        &url,
        "--extra-args",
        "@extra.json",
        "--number",
        "1",
    ];
    context.measure(&[&SAMPLE, &line[..]].concat());
    assert_eq!(server.requests().last().unwrap().json()["top_a"], 5);
    assert_eq!(context.result()["settings"]["extra_args"]["top_a"], 5);
}

#[test]
fn prompts_at_the_start_are_skipped() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    context.write("lines.txt", "one\ntwo\nthree\nfour\nfive\n");
    let url = server.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "lines.txt",
        "--dataset-offset",
        "2",
        "--parallel",
        "1,1",
        "--number",
        "1",
        "--no-test-connection",
        "--sleep-interval",
        "0",
    ]);
    let prompts: Vec<Value> = server
        .requests()
        .iter()
        .map(|request| request.json()["messages"][0]["content"].clone())
        .collect();
    assert_eq!(prompts, ["three", "four"]);
}

#[test]
fn random_prompts_take_turns_with_their_prefixes() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let url = format!("http://{}/v1/completions", server.address());
    context.measure(&[
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "random",
        "--tokenizer-path",
        &folder,
        "--prefix-length",
        "30",
        "--prefix-count",
        "3",
        "--min-prompt-length",
        "10",
        "--max-prompt-length",
        "10",
        "--number",
        "6",
        "--no-test-connection",
    ]);
    let prompts: Vec<Vec<u32>> = server
        .requests()
        .iter()
        .map(|request| tokenizer::ids(request.json()["prompt"].as_str().unwrap()))
        .collect();
    let prefix = |i: usize| &prompts[i][..28];
    for i in 0..3 {
        assert_eq!(prefix(i), prefix(i + 3));
        assert_ne!(prefix(i), prefix((i + 1) % 3));
    }
}

#[test]
fn progress_is_told_in_a_file() {
    let simulator = slow(700.0);
    let context = Context::new();
    let url = simulator.url();
    let line = [
        "--url",
        &url,
        "--parallel",
        "1,2",
        "--number",
        "3",
        "--max-tokens",
        "2",
        "--sleep-interval",
        "0",
        "--enable-progress-tracker",
    ];
    let running = context.start(&[&SAMPLE, &line[..]].concat());
    let path = context.top().join("progress.json");
    let seen = crate::context::wait_for("a part of the requests", || {
        let text = std::fs::read_to_string(&path).ok()?;
        let seen: Value = serde_json::from_str(&text).unwrap();
        (seen["processed_count"].as_u64()? > 0).then_some(seen)
    });
    assert_eq!(seen["status"], "running");
    assert_eq!(seen["pipeline"], "perf");
    assert_eq!(seen["total_count"], 6);
    let outcome = running.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let seen = json_of(&path);
    assert_eq!(seen["status"], "completed");
    assert_eq!(seen["processed_count"], 6);
    assert_eq!(seen["percent"], 100.0);
    assert_eq!(
        seen["updated_at"].as_str().unwrap().len(),
        "2026-11-25T16:15:44.731310".len()
    );
}

/// One sentence and one cause, before anybody is told that the server listens.
#[test]
fn a_simulator_that_cannot_start_says_so_once() {
    let context = Context::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (line, said) in [
        (["sim", "--port", &port], "Address already in use"),
        (
            ["sim", "--truth-log", "none/x"],
            "No such file or directory",
        ),
    ] {
        let outcome = context.run(&line);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        assert_eq!(outcome.stderr.matches(said).count(), 1, "{outcome:#?}");
        assert_eq!(outcome.stdout, "");
    }
}

/// What a folder cannot be called is not its name.
#[test]
fn a_name_that_is_none_is_that_of_the_model() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let url = server.url();
    for name in ["", ".."] {
        let outcome = context.run(&[
            "perf",
            "--url",
            &url,
            "--model",
            "org/mine",
            "--dataset",
            "sample",
            "-n",
            "1",
            "--name",
            name,
        ]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(outcome.stderr.contains("/mine\n"), "{}", outcome.stderr);
    }
}
