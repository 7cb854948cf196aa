//! Lengths and counts of tokens: what the length filters measure, what is counted where the server
//! tells nothing, and what is said when both count.

use base64::Engine as _;
use evalscope_sim::{Fault, FaultRule, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, bodies, open};
use crate::server::{Recorder, good};
use crate::tokenizer;

/// Of these, tokens and characters choose different ones.
const QUESTIONS: [&str; 5] = [
    "hi",
    "the the the the",
    "qzxjk",
    "what is the",
    "答答答答答答答",
];

fn questions(context: &Context) {
    let lines = QUESTIONS.map(|text| json!({"question": text}).to_string());
    context.write("qa.jsonl", &lines.join("\n"));
}

/// The questions that a run sends, and what it says.
fn taken(more: &[&str], path: &str) -> (Vec<String>, String) {
    let context = Context::new();
    questions(&context);
    let folder = tokenizer::in_folder(&context);
    let more: Vec<&str> = more
        .iter()
        .map(|arg| if *arg == "TOKENIZER" { &folder } else { *arg })
        .collect();
    let server = Recorder::start(|request, _| good(request));
    let url = format!("http://{}{path}", server.address());
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "openqa",
        "--dataset-path",
        "qa.jsonl",
        "--number",
        "10",
    ];
    let outcome = context.measure(&[base.as_slice(), &more].concat());
    let mut texts: Vec<String> = context
        .bodies()
        .iter()
        .map(|body| {
            let text = body["prompt"].as_str();
            let text = text.or_else(|| body["messages"][0]["content"].as_str());
            text.unwrap().to_owned()
        })
        .collect();
    texts.sort();
    texts.dedup();
    (texts, outcome.stderr)
}

/// The questions for which this holds, sorted.
fn those(keep: impl Fn(&str) -> bool) -> Vec<String> {
    let mut kept: Vec<String> = QUESTIONS.map(str::to_owned).into();
    kept.retain(|text| keep(text));
    kept.sort();
    assert!(!kept.is_empty() && kept.len() < QUESTIONS.len(), "{kept:?}");
    kept
}

#[test]
fn lengths_are_tokens_with_a_tokenizer_and_characters_without() {
    let chat = "/v1/chat/completions";
    let around = tokenizer::chat_ids("").len();
    let limits = |low: usize, high: usize| [low.to_string(), high.to_string()];
    let args = |limits: &[String; 2]| {
        let [low, high] = limits.clone();
        ["--min-prompt-length", "LOW", "--max-prompt-length", "HIGH"].map(|arg| match arg {
            "LOW" => low.clone(),
            "HIGH" => high.clone(),
            arg => arg.to_owned(),
        })
    };
    let run = |low, high, path, tokens: bool| {
        let args = args(&limits(low, high));
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        if tokens {
            args.extend(["--tokenizer-path", "TOKENIZER"]);
        }
        taken(&args, path)
    };

    let (texts, said) = run(3, 7, chat, false);
    assert_eq!(texts, those(|text| (3..=7).contains(&text.chars().count())));
    assert!(
        said.contains("only prompts of 3 to 7 characters are used"),
        "{said}"
    );

    // what the server counts is counted: with the template
    let (low, high) = (around + 3, around + 7);
    let (texts, said) = run(low, high, chat, true);
    let chosen = those(|text| (low..=high).contains(&tokenizer::chat_ids(text).len()));
    assert_eq!(texts, chosen);
    assert_ne!(
        chosen,
        those(|text| (3..=7).contains(&text.chars().count()))
    );
    let tokens = format!("only prompts of {low} to {high} tokens are used");
    assert!(said.contains(&tokens), "{said}");

    // and without one, where the server applies none
    let (texts, _) = run(4, 8, "/v1/completions", true);
    assert_eq!(
        texts,
        those(|text| (4..=8).contains(&tokenizer::plain_ids(text).len()))
    );
}

#[test]
fn lengths_that_nothing_has_are_told_with_counts() {
    let context = Context::new();
    questions(&context);
    let folder = tokenizer::in_folder(&context);
    let run = |more: &[&str]| {
        let base = [
            "--model",
            "m",
            "--dataset",
            "openqa",
            "--dataset-path",
            "qa.jsonl",
        ];
        let outcome = context.perf(&[&base, more].concat());
        assert_eq!(outcome.code, Some(2), "{outcome:#?}");
        outcome.stderr
    };
    insta::assert_snapshot!(
        run(&["--min-prompt-length", "8", "--max-prompt-length", "10"]),
        @"
    error: no prompt of the dataset openqa is between 8 and 10 characters long: 3 are shorter, 2 are longer
      hint: see `--min-prompt-length` and `--max-prompt-length`
    "
    );
    let tokens = run(&["--max-prompt-length", "3", "--tokenizer-path", &folder]);
    insta::assert_snapshot!(
        tokens,
        @"
    error: no prompt of the dataset openqa is between 0 and 3 tokens long: 0 are shorter, 5 are longer
      hint: see `--min-prompt-length` and `--max-prompt-length`
    "
    );
}

/// The text of an answer, whichever form its parts have.
fn text_of(column: &str) -> String {
    let pickled = base64::engine::general_purpose::STANDARD.decode(column);
    let options = serde_pickle::DeOptions::new();
    let parts: Vec<String> = serde_pickle::from_slice(&pickled.unwrap(), options).unwrap();
    let mut text = String::new();
    for part in parts {
        let part: Value = serde_json::from_str(&part).unwrap();
        let choice = part
            .pointer("/choices/0")
            .or(part.pointer("/output/choices/0"));
        let choice = choice.unwrap_or_else(|| panic!("{part}"));
        let message = choice
            .get("delta")
            .or(choice.get("message"))
            .unwrap_or(choice);
        let content = &message[if message.get("text").is_some() {
            "text"
        } else {
            "content"
        }];
        match content {
            Value::Array(parts) => {
                for part in parts {
                    text.push_str(part["text"].as_str().unwrap());
                }
            }
            content => text.push_str(content.as_str().unwrap_or_default()),
        }
    }
    text
}

#[test]
fn what_the_server_does_not_tell_is_counted_here() {
    let text = "/api/v1/services/aigc/text-generation/generation";
    let multimodal = "/api/v1/services/aigc/multimodal-generation/generation";
    for (api, path, form) in [
        ("openai", "/v1/chat/completions", "--apply-chat-template"),
        ("openai", "/v1/completions", "--no-apply-chat-template"),
        (
            "dashscope",
            "/compatible-mode/v1/chat/completions",
            "--apply-chat-template",
        ),
        ("dashscope", text, "--apply-chat-template"),
        // a plain prompt that the server makes a message of
        ("dashscope", text, "--no-apply-chat-template"),
        ("dashscope", multimodal, "--apply-chat-template"),
        (
            "zhipu",
            "/api/paas/v4/chat/completions",
            "--apply-chat-template",
        ),
    ] {
        for stream in ["--stream", "--no-stream"] {
            let what = format!("{api} {path} {stream} {form}");
            let context = Context::new();
            let folder = tokenizer::in_folder(&context);
            let simulator = Simulator::start(SimConfig {
                faults: vec![FaultRule::always(Fault::NoUsage)],
                ..SimConfig::default()
            })
            .unwrap();
            let url = format!("http://{}{path}", simulator.addr());
            let args = [
                "--api",
                api,
                "--url",
                &url,
                "--model",
                "sim",
                "--tokenizer-path",
                &folder,
                "--prompt",
                "how long is this?",
                "--number",
                "3",
                "--max-tokens",
                "20",
                stream,
                form,
            ];
            context.measure(&args);
            let sources = "SELECT DISTINCT token_source || ' ' || prompt_token_source FROM result";
            assert_eq!(
                context.column::<String>(sources),
                ["local_tokenizer local_tokenizer"],
                "{what}"
            );
            let tokens = context.column::<u32>("SELECT completion_tokens FROM result ORDER BY idx");
            let answers =
                context.column::<String>("SELECT response_messages FROM result ORDER BY idx");
            for (tokens, answer) in tokens.iter().zip(&answers) {
                let text = text_of(answer);
                assert!(text.len() > 20, "{what}: {text}");
                assert_eq!(
                    tokenizer::ids(&text).len(),
                    *tokens as usize,
                    "{what}: {text}"
                );
            }
            let prompt = if path == "/v1/completions" {
                tokenizer::plain_ids("how long is this?")
            } else {
                tokenizer::chat_ids("how long is this?")
            };
            let counted = context.column::<u32>("SELECT DISTINCT prompt_tokens FROM result");
            assert_eq!(counted, [u32::try_from(prompt.len()).unwrap()], "{what}");
            let tokens = &context.result()["runs"][0]["tokens"];
            assert_eq!(
                tokens["counted_output"],
                Value::Null,
                "{what}: nothing to compare"
            );
        }
    }
}

/// Counting needs the bodies, which need not be stored for that.
#[test]
fn bodies_that_are_not_kept_are_counted_all_the_same() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let simulator = Simulator::start(SimConfig {
        faults: vec![FaultRule::always(Fault::NoUsage)],
        ..SimConfig::default()
    })
    .unwrap();
    let url = simulator.url();
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--tokenizer-path",
        &folder,
        "--prompt",
        "p",
        "--number",
        "3",
        "--max-tokens",
        "9",
        "--record-bodies",
        "none",
    ]);
    let sources = context.column::<String>("SELECT DISTINCT token_source FROM result");
    assert_eq!(sources, ["local_tokenizer"]);
    let kept = "SELECT count(*) FROM result WHERE coalesce(request, '') <> '' \
                OR coalesce(response_messages, '') <> ''";
    assert_eq!(context.column::<i64>(kept), [0]);
}

#[test]
fn where_both_count_the_difference_is_shown() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let simulator = Simulator::start(SimConfig::default()).unwrap();
    let url = simulator.url();
    let outcome = context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--tokenizer-path",
        &folder,
        "--prompt",
        "p",
        "--number",
        "5",
        "--max-tokens",
        "50",
    ]);
    // the words of the simulator are tokens of its own
    let rows = context.column::<i64>("SELECT count(*) FROM result WHERE token_source = 'server_usage' AND completion_tokens = 50 AND counted_completion_tokens > 55");
    assert_eq!(rows, [5]);
    let counted = context.column::<i64>("SELECT sum(counted_completion_tokens) FROM result")[0];
    let output = &context.result()["runs"][0]["tokens"]["counted_output"];
    assert_eq!(output["requests"], 5);
    assert_eq!(output["server_mean_tokens"], 50.0);
    assert_eq!(output["ours_mean_tokens"], counted as f64 / 5.0);
    assert_eq!(output["equal_share"], 0.0);
    let said = outcome
        .stdout
        .replace("\n    ", " ")
        .replace("\ndiffer", " differ");
    let compared: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("counted here") || line.contains("the tokenizer here"))
        .collect();
    insta::assert_snapshot!(compared.join("\n"), @r"
    Output tokens: 77.60 counted here, 50 reported by the server on average; 5 of 5 differ
      - the tokenizer here counts 77.6 output tokens where the server reports 50.0, over 5 responses: `--tokenizer-path` is not the server's tokenizer, or the server counts tokens that have no text
    ");
}

/// A file of five lines, and runs that go through it, and over its end.
#[test]
fn a_sweep_goes_on_where_the_last_run_ended() {
    let context = Context::new();
    context.write("lines.txt", "one\ntwo\nthree\nfour\nfive\n");
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--model",
        "m",
        "--dataset",
        "line_by_line",
        "--dataset-path",
        "lines.txt",
        "--sleep-interval",
        "0",
        "--parallel",
        "1",
        "1",
    ];
    let runs = |context: &Context, numbers: [&str; 2], more: &[&str]| {
        let numbers_given = ["--number", numbers[0], numbers[1]];
        let outcome = context.measure(&[&base, numbers_given.as_slice(), more].concat());
        let result = context.result();
        let told = numbers.map(|number| {
            let folder = context.top().join(format!("parallel_1_number_{number}"));
            let sent = bodies(&open(&folder.join("benchmark_data.db")));
            let texts = sent
                .iter()
                .map(|body| body["messages"][0]["content"].to_string());
            let warnings = result["runs"]
                .as_array()
                .unwrap()
                .iter()
                .find(|run| run["name"] == format!("parallel_1_number_{number}"))
                .unwrap()["warnings"]
                .to_string();
            let warm = warnings.contains("prefix cache may be warm");
            (texts.collect::<Vec<_>>().join(" ").replace('"', ""), warm)
        });
        let said = outcome
            .stderr
            .matches("the server's prefix cache may be warm")
            .count();
        assert_eq!(said, told.iter().filter(|(_, warm)| *warm).count());
        told
    };
    let pair = |text: &str, warm| (text.to_owned(), warm);
    assert_eq!(
        runs(&context, ["3", "2"], &[]),
        [pair("one two three", false), pair("four five", false)],
        "the end alone is no beginning again"
    );
    let context = Context::new();
    context.write("lines.txt", "one\ntwo\nthree\nfour\nfive\n");
    assert_eq!(
        runs(&context, ["3", "4"], &[]),
        [
            pair("one two three", false),
            pair("four five one two", true)
        ]
    );
    let context = Context::new();
    context.write("lines.txt", "one\ntwo\nthree\nfour\nfive\n");
    assert_eq!(
        runs(&context, ["3", "4"], &["--repeat-prompts"]),
        [
            pair("one two three", false),
            pair("one two three four", false)
        ]
    );
}
