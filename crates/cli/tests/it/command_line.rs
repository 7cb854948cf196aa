//! What is said to a wrong command, and the habits of argparse that scripts rely on.

use std::fmt::Write as _;

use serde_json::json;

use crate::context::{Context, FILTERS};
use crate::server::{Recorder, good};

/// Every command line with what it led to, as one text.
pub(crate) fn told(context: &Context, lines: &[&[&str]]) -> String {
    let mut text = String::new();
    for line in lines {
        let outcome = context.run(line);
        let quoted: Vec<String> = line
            .iter()
            .map(|arg| {
                if arg.is_empty() || arg.contains([' ', '"', '{', '[']) {
                    format!("'{arg}'")
                } else {
                    (*arg).to_owned()
                }
            })
            .collect();
        writeln!(text, "$ evalscope {}", quoted.join(" ")).unwrap();
        text.push_str(&outcome.stdout);
        text.push_str(&outcome.stderr);
        writeln!(text, "[exit code {}]\n", outcome.code.unwrap()).unwrap();
    }
    text
}

macro_rules! told_snapshot {
    ($name:expr, $context:expr, $lines:expr) => {
        insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true }, {
            insta::assert_snapshot!($name, told($context, $lines));
        })
    };
}

/// As that of the whole program.
#[test]
fn a_subcommand_has_a_version() {
    for command in ["perf", "sim", "report"] {
        let outcome = Context::new().run(&[command, "--version"]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        let version = env!("CARGO_PKG_VERSION");
        assert!(outcome.stdout.trim().ends_with(version), "{outcome:#?}");
        assert_eq!(outcome.stderr, "");
    }
}

#[test]
fn wrong_flags_are_explained() {
    // a data set that would have to be fetched ends at the place to put it
    let context = Context::new().with_env("EVALSCOPE_CACHE", "");
    told_snapshot!(
        "wrong_flags",
        &context,
        &[
            &["perf", "--modle", "m"],
            &["perf", "--paralel", "3"],
            &["perf", "--no_such_thing"],
            &["prf"],
            &[
                "perf",
                "--model",
                "m",
                "--parallel",
                "1",
                "10",
                "--number",
                "5",
                "6",
                "7"
            ],
            &[
                "perf",
                "--model",
                "m",
                "--parallel",
                "1",
                "2",
                "--rate",
                "1",
                "2",
                "3"
            ],
            &["perf", "--model", "m", "--parallel", "0"],
            &["perf", "--model", "m", "--parallel", "many"],
            &["perf", "--model", "m", "--rate", "0"],
            &["perf", "--model", "m", "--number", "-1"],
            &["perf", "--dataset", "sample", "--total-timeout", "1"],
            &["perf", "--model", "m"],
            &["perf", "--model", "m", "--dataset", "line_by_line"],
            &["perf", "--model", "m", "--dataset", "longalpaca"],
            &["perf", "--model", "m", "--dataset", "unknown"],
            &[
                "perf",
                "--model",
                "m",
                "--dataset",
                "sample",
                "--max-tokens",
                "9",
                "5"
            ],
            &[
                "perf",
                "--model",
                "m",
                "--dataset",
                "sample",
                "--read-timeout",
                "5 parsecs"
            ],
            &[
                "perf",
                "--model",
                "m",
                "--dataset",
                "sample",
                "--max-error-rate",
                "2"
            ],
            &[
                "perf",
                "--model",
                "m",
                "--dataset",
                "sample",
                "--log-every-n-query",
                "-1"
            ],
            &[
                "perf",
                "--model",
                "m",
                "--dataset",
                "sample",
                "--insecure",
                "--ca-cert",
                "x"
            ],
            &["perf", "--model", "m", "http://a:1", "--url", "http://b:2"],
            &["report"],
            &["report", "nowhere"],
            &["report", "."],
        ]
    );
    assert!(
        context.files().is_empty(),
        "a wrong command leaves nothing behind"
    );
}

#[test]
fn wrong_values_are_explained() {
    let context = Context::new();
    let with = |flag: &'static str, value: &'static str| {
        ["perf", "--model", "m", "--dataset", "sample", flag, value]
    };
    let lines = [
        with("--url", "ftp://host/v1"),
        with("--url", "http://"),
        with("--url", "http://host:99999"),
        with("--url=http://host/v1/embeddings", "--api=openai"),
        with("--query-template", "{bad"),
        with("--query-template", "[1]"),
        with("--query-template", "@missing.json"),
        with("--extra-args", "[1]"),
        with("--extra-args", "{\"a\":"),
        with("--prompt", "@missing.txt"),
        with("--headers", "Authorization: Bearer x"),
        with("--headers", "novalue"),
        with("--min-prompt-length", "200000"),
        with("--parallel", "1,,2"),
        with("--parallel=1", "--number=3,"),
        with("-n", "1,,2"),
        with("--number", ""),
    ];
    let mut lines: Vec<&[&str]> = lines.iter().map(<[&str; 7]>::as_slice).collect();
    let certificates = [
        "perf",
        "--model",
        "m",
        "--dataset",
        "sample",
        "--url",
        "https://127.0.0.1:1",
        "--ca-cert",
        "missing.pem",
    ];
    lines.push(&certificates);
    told_snapshot!("wrong_values", &context, &lines);
}

#[test]
fn wrong_data_is_found_before_anything_is_sent() {
    let context = Context::new();
    context.write(
        "open.jsonl",
        "{\"question\": \"ok\"}\n{\"query\": \"no\"}\n",
    );
    context.write("first.jsonl", "{\"query\": \"no\"}\n");
    context.write("broken.jsonl", "\n\n{\"question\": \"ok\n");
    context.write("alpaca.json", "[{\"output\": \"a\"}]");
    context.write("lines.txt", "[1, 2]\n");
    context.write(
        "bodies.txt",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"max_tokens\": 3,}\n",
    );
    context.write("asking_nothing.txt", "hi\n{\"n\": 2}\n");
    std::fs::write(
        context.path().join("utf16.txt"),
        "hi\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
    )
    .unwrap();
    context.write("blank.jsonl", "{\"question\": \" \"}\n");
    context.write("own.csv", "id,text\n1,a\n2,b,c\n");
    context.write("empty.txt", "\n \n");
    context.write("short.txt", "abc\nabcd\n");
    let with = |dataset: &'static str, path: &'static str, more: &[&'static str]| {
        let mut all = vec![
            "perf",
            "--model",
            "m",
            "--dataset",
            dataset,
            "--dataset-path",
            path,
        ];
        all.extend(more);
        all
    };
    let lines = [
        with("openqa", "first.jsonl", &[]),
        with("openqa", "broken.jsonl", &[]),
        with("openqa", "missing.jsonl", &[]),
        with("openqa", ".", &[]),
        with("longalpaca", "alpaca.json", &[]),
        with("line_by_line", "lines.txt", &[]),
        with("line_by_line", "bodies.txt", &[]),
        with("line_by_line", "asking_nothing.txt", &[]),
        with("line_by_line", "utf16.txt", &[]),
        with("openqa", "open.jsonl", &[]),
        with("openqa", "blank.jsonl", &[]),
        with("openqa", "broken.jsonl", &["--skip-bad-lines"]),
        with("custom", "own.csv", &["--prompt-field", "text"]),
        with("custom", "own.csv", &["--prompt-field", "question"]),
        with("share_gpt_en", "own.csv", &["--prompt-field", "text"]),
        vec!["perf", "--model", "m", "--prompt-field", "text"],
        vec!["perf", "--model", "m", "--dataset", "custom"],
        vec!["perf", "--model", "m", "--prompt", " "],
        with("line_by_line", "empty.txt", &[]),
        with("line_by_line", "short.txt", &["--min-prompt-length", "10"]),
        with(
            "line_by_line",
            "short.txt",
            &["--min-prompt-length", "4", "--max-prompt-length", "3"],
        ),
    ];
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    told_snapshot!("wrong_data", &context, &lines);
}

/// A file that is too large to be read through first: the bad line is found while the run is under
/// way. Whether the good one before it is still sent is left open.
#[test]
fn wrong_data_in_the_middle_ends_the_run() {
    let context = Context::new();
    let path = context.write(
        "open.jsonl",
        "{\"question\": \"ok\"}\n{\"query\": \"no\"}\n",
    );
    // a hole: nothing of it is on the disk
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(1 << 30).unwrap();
    let server = Recorder::start(|request, _| good(request));
    let outcome = context.perf(&[
        "--model",
        "m",
        "--url",
        &server.url(),
        "--dataset-path",
        "open.jsonl",
        "--number",
        "4",
    ]);
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    for said in [
        "open.jsonl, line 2: no string field `question`",
        "hint: correct the file, or skip such lines with `--skip-bad-lines`; the measurements are in",
    ] {
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
    let result = context.result();
    assert_eq!(result["runs"][0]["state"], "interrupted");
    assert_eq!(result["runs"][0]["counts"]["failed"], 0);
}

#[test]
fn help_and_version() {
    let context = Context::new();
    told_snapshot!(
        "version",
        &context,
        &[&["--version"], &["-V"], &["--help"], &[]]
    );
    for line in [["perf", "--help"], ["sim", "--help"], ["report", "--help"]] {
        let outcome = context.run(&line);
        assert_eq!(outcome.code, Some(0));
        assert!(
            outcome.stdout.contains("Usage: evalscope"),
            "{}",
            outcome.stdout
        );
        assert!(outcome.stderr.is_empty());
    }
}

/// It fits a terminal of 50 lines, and begins with what most people need.
#[test]
fn the_short_help_fits_one_screen() {
    let outcome = Context::new().run(&["perf", "-h"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(
        (24..=50).contains(&lines.len()),
        "{} lines: {}",
        lines.len(),
        outcome.stdout
    );
    assert!(
        lines.iter().all(|line| line.len() <= 80),
        "{}",
        outcome.stdout
    );
    assert_eq!(lines[0], "Examples:");
    assert!(
        lines[1..=3]
            .iter()
            .all(|line| line.starts_with("  evalscope perf http"))
    );
    told_snapshot!("short_help", &Context::new(), &[&["perf", "-h"]]);
}

#[test]
fn the_long_help_begins_with_six_examples() {
    let outcome = Context::new().run(&["perf", "--help"]);
    let examples = outcome.stdout.split("Usage: ").next().unwrap();
    assert!(examples.starts_with("Examples:\n"), "{examples}");
    assert_eq!(
        examples.matches("    evalscope perf http").count(),
        6,
        "{examples}"
    );
    assert!(examples.lines().all(|line| line.len() <= 80), "{examples}");
    for group in ["Server:", "Load:", "Prompts:", "Generation:", "Output:"] {
        assert!(outcome.stdout.contains(&format!("\n{group}\n")), "{group}");
    }
}

/// Flags of EvalScope 1.14 that are to come.
pub(crate) const LATER_FLAGS: [&str; 1] = ["--scenario=agentx"];

#[test]
fn later_flags_are_not_built_yet() {
    for flag in LATER_FLAGS {
        let outcome = Context::new().run(&["perf", "--model", "m", flag]);
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        let name = flag.split('=').next().unwrap();
        let said = format!("error: `{name}` is not ");
        assert!(outcome.stderr.starts_with(&said), "{outcome:#?}");
    }
}

#[test]
fn later_apis_and_datasets_are_not_built_yet() {
    for (flag, names) in [
        ("--api", &LATER_APIS[..]),
        ("--dataset", &LATER_DATASETS[..]),
    ] {
        for name in names {
            let outcome = Context::new().run(&["perf", "--model", "m", flag, name]);
            assert_eq!(outcome.code, Some(2), "{outcome:#?}");
            let said = format!("error: `{flag} {name}` is not built yet: ");
            assert!(outcome.stderr.starts_with(&said), "{outcome:#?}");
        }
    }
}

/// Values of `--api` in EvalScope 1.14 that are to come.
const LATER_APIS: [&str; 2] = ["systemone", "autotrust"];

/// The same of `--dataset`.
const LATER_DATASETS: [&str; 2] = ["weka_trace", "open_decisions"];

#[test]
fn mistakes_have_their_own_words() {
    let base = ["perf", "--model", "m", "--dataset", "sample"];
    let with = |more: &[&'static str]| [&base, more].concat();
    let lines = [
        vec!["-v"],
        vec!["eval", "--model", "m"],
        vec!["service"],
        vec!["app"],
        vec!["benchmark-info", "gsm8k"],
        vec!["compere"],
        vec!["__super"],
        with(&["--url", "http://127.0.0.1:1", "--max-tokens", "1", "2", "3"]),
        with(&["--url", "http://127.0.0.1:1", "3"]),
        with(&["http://127.0.0.1:2", "--url", "http://127.0.0.1:1"]),
        with(&["http://127.0.0.1:1", "--stream", "http://127.0.0.1:2"]),
        with(&["--stream=maybe"]),
        with(&["--multi"]),
        with(&["--sla"]),
        with(&["--n", "5"]),
        with(&["--scenario", "agentx"]),
        with(&["--xyzzy"]),
        with(&["--port", "0"]),
        with(&["--port", "1.5"]),
        with(&["--top-k", "x"]),
        with(&["--stop-token-ids", "1", "x"]),
        with(&["--min-prompt-length", "-1"]),
        with(&["--image-num", "2000"]),
        with(&["--image-width", "1.5"]),
        vec!["sim", "--port", "70000"],
        vec!["sim", "--ttft-ms", "fast"],
        vec!["sim", "--output-tokens", "0"],
        vec!["sim", "--service-dist", "exp"],
        vec!["sim", "--service-ms", "200", "--service-dist", "gamma"],
        vec!["sim", "--service-ms", "-1"],
        vec!["sim", "--batch-itl", "12"],
        vec!["sim", "--batch-itl", "12,0.2", "--itl-ms", "5"],
        vec!["sim", "--fault", "pause:2s"],
        vec!["sim", "--fault", "paws"],
        vec!["sim", "--drift", "10%"],
        vec!["sim", "--max-connections", "0"],
        with(&["--duration", "-1"]),
        with(&["--duration", "5 parsecs"]),
        with(&["--seed", "-1"]),
        with(&["--read-timeout", "-5"]),
        with(&["--sleep-interval", "-1"]),
        with(&["--max-error-rate", "-1"]),
        with(&["--number", "1.5"]),
        with(&["--number", "0"]),
        with(&["--parallel", "-1"]),
        with(&["--rate", "5/x"]),
        with(&["--warmup-num", "1.5"]),
        with(&["--duration", "9", "--warmup-num", "0.1"]),
        with(&["--min-tokens", "8", "--max-tokens", "5", "10"]),
        with(&["--prefix-count", "2"]),
        with(&["--url", "http://::1:8901"]),
        with(&["--url", "http://127.0.0.1:1/v1/rerank"]),
        with(&["--prompt", "@-", "--extra-args", "@-"]),
        with(&["--url"]),
        with(&["--visualizer", "nobody"]),
        with(&["--no-test-connection", "--wait-for-server", "5m"]),
    ];
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    let context = Context::new();
    told_snapshot!("mistakes", &context, &lines);
    assert!(
        context.files().is_empty(),
        "a wrong command leaves nothing behind"
    );
}

/// Values and flags of EvalScope's scripts that change nothing here, and those that mean "none".
#[test]
fn flags_of_the_python_tool_are_taken() {
    let server = Recorder::start(|request, _| good(request));
    let context = Context::new();
    let outcome = context.measure(&[
        "--url",
        &server.url(),
        "--model",
        "m",
        "--dataset",
        "sample",
        "--number",
        "2",
        "--db-commit-interval",
        "1000",
        "--queue-size-multiplier",
        "5",
        "--in-flight-task-multiplier",
        "2",
        "--num-workers",
        "0",
        "--visualizer",
        "None",
        "--alias",
        "nightly",
        "--total-timeout",
        "0",
        "--read-timeout",
        "0",
        "--connect-timeout",
        "0",
        "--duration",
        "0",
        "--log-every-n-query",
        "0",
        "--warmup-num",
        "-1",
        "--attn-implementation",
        "sdpa",
        "--port",
        "9",
        "--prefix-length",
        "5",
        "--image-width",
        "64",
        "--ca-cert",
        "/nowhere.pem",
        "--headers",
        "Content-Length=5",
    ]);
    for flag in [
        "num-workers",
        "db-commit-interval",
        "queue-size-multiplier",
        "in-flight-task-multiplier",
        "attn-implementation",
        "port",
        "prefix-length",
        "image-width",
        "ca-cert",
    ] {
        let note = format!("`--{flag}` has no effect: ");
        assert_eq!(
            outcome.stderr.matches(&note).count(),
            1,
            "{flag}: {}",
            outcome.stderr
        );
    }
    assert!(
        outcome
            .stderr
            .contains("the header `Content-Length` in `--headers` is ignored")
    );
    let settings = context.result()["settings"].clone();
    assert_eq!(settings["alias"], "nightly");
    assert!(outcome.stdout.contains("Alias") && outcome.stdout.contains("nightly"));
    assert_eq!(settings["visualizer"], json!(null));
    assert_eq!(settings["number"], json!([2]));
}

/// The ways in which existing scripts write their commands.
#[test]
fn habits_of_argparse() {
    let server = Recorder::start(|request, _| good(request));
    let base = format!("http://{}", server.address());
    let context = Context::new();
    let outcome = context.measure(&[
        &base,
        "--model=first",
        "--model=second",
        "--dataset=sample",
        "--max_tokens",
        "3",
        "4",
        "--max_tokens=7",
        "--number",
        "1",
        "2",
        "-n",
        "3",
        "--top_p",
        "0.5",
        "--parallel",
        "1",
        "--stream",
        "--no_stream",
        "--no-test-connection",
        "--temperature",
        "-0.5",
        "--log-every",
        "7",
    ]);
    assert!(
        outcome
            .stderr
            .contains("the URL was completed to http://127.0.0.1:"),
        "{}",
        outcome.stderr
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
        let body = request.json();
        assert_eq!(body["model"], "second");
        assert_eq!(body["max_tokens"], 7);
        assert_eq!(body["top_p"], 0.5);
        assert_eq!(body["temperature"], -0.5);
        assert_eq!(body["stream"], false);
        assert_eq!(body.get("stream_options"), None);
    }
    let settings = context.result()["settings"].clone();
    assert_eq!(settings["log_every_n_query"], 7);
    assert_eq!(settings["number"], json!([3]));
}
