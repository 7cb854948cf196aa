//! Datasets of conversations as a person uses them: what reaches the server, what is said about options
//! and files, and plugins that give conversations.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use evalscope_sim::{SimConfig, Simulator, Truth};
use serde_json::{Value, json};

use crate::context::{Context, Outcome};
use crate::tokenizer;

const SESSION: &str = "x-session";

/// A file that EvalScope's own plugins have read too.
fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../workload/src/dataset/fixtures/conversations");
    folder.join(name).display().to_string()
}

/// Measure against a simulator that knows the conversation of a request by a header.
fn measured(context: &Context, config: SimConfig, args: &[&str]) -> (Outcome, Truth) {
    let server = Simulator::start(SimConfig {
        keeps_truth: true,
        conversation_header: Some(SESSION.to_owned()),
        ..config
    })
    .unwrap();
    let url = server.url();
    let base = [
        "--url",
        &url,
        "--model",
        "sim",
        "--no-test-connection",
        "--session-header",
        SESSION,
    ];
    let outcome = context.measure(&[&base[..], args].concat());
    (outcome, server.stop().unwrap())
}

/// The numbers of messages that the turns of each conversation had.
fn messages(truth: &Truth) -> BTreeMap<&str, Vec<u64>> {
    let mut all: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for request in &truth.requests {
        let name = request.conversation.as_deref().unwrap();
        let turns = all.entry(name).or_default();
        turns.push(request.messages.unwrap());
    }
    all
}

/// A command that does not measure.
fn refused(context: &Context, args: &[&str]) -> String {
    let base = ["--url", "http://127.0.0.1:9", "--model", "sim"];
    let outcome = context.perf(&[&base[..], args].concat());
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let errors = outcome.stderr.find("error: ").unwrap();
    let folder = context.path().display().to_string();
    outcome.stderr[errors..].replace(&folder, "FOLDER")
}

#[test]
fn each_dataset_sends_its_turns() {
    for (dataset, file, numbers) in [
        (
            "share_gpt_en_multi_turn",
            "share_gpt.jsonl",
            [vec![1, 3, 5], vec![1], vec![1, 3]].to_vec(),
        ),
        (
            "swe_smith",
            "swe_prebuilt.json",
            [vec![1, 4], vec![1]].to_vec(),
        ),
    ] {
        let context = Context::new();
        let number = numbers.len().to_string();
        let args = [
            "--dataset",
            dataset,
            "--dataset-path",
            &fixture(file),
            "--number",
            &number,
            "--max-tokens",
            "3",
        ];
        let (outcome, truth) = measured(&context, SimConfig::default(), &args);
        assert!(outcome.stderr.contains(&format!(
            "the dataset `{dataset}` has conversations: `--multi-turn` is on"
        )));
        let mut seen: Vec<Vec<u64>> = messages(&truth).into_values().collect();
        let mut wanted = numbers;
        seen.sort();
        wanted.sort();
        assert_eq!(seen, wanted, "{dataset}");
    }
}

#[test]
fn random_turns_are_as_long_as_the_server_counts() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let config = SimConfig {
        tokenizer: Some(folder.clone().into()),
        ..SimConfig::default()
    };
    let args = [
        "--dataset",
        "random_multi_turn",
        "--tokenizer-path",
        &folder,
        "--min-turns",
        "3",
        "--max-turns",
        "3",
        "--min-prompt-length",
        "40",
        "--max-prompt-length",
        "60",
        "--number",
        "5",
        "--max-tokens",
        "7",
        "--history",
        "recorded",
        "--extra-args",
        r#"{"ignore_eos": true}"#,
    ];
    let (_, truth) = measured(&context, config, &args);
    assert_eq!(truth.requests.len(), 15);
    for numbers in messages(&truth).values() {
        assert_eq!(numbers, &[1, 3, 5]);
    }
    let asked: Vec<i64> = context.column("SELECT asked_increment_tokens FROM record ORDER BY idx");
    let prompts: Vec<i64> = context.column("SELECT prompt_tokens FROM record ORDER BY idx");
    for (asked, prompts) in asked.chunks(3).zip(prompts.chunks(3)) {
        assert_eq!(asked[0], prompts[0]);
        for turn in 1..3 {
            // a recorded response has 7 tokens
            assert_eq!(asked[turn] + 7, prompts[turn] - prompts[turn - 1]);
        }
    }
}

#[test]
fn recorded_lengths_are_kept_on_both_sides() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let config = SimConfig {
        tokenizer: Some(folder.clone().into()),
        ..SimConfig::default()
    };
    let line = json!({
        "input_prompt_length": 64, "num_turns": 2, "assistant_response_length": [16, 24],
        "tool_call_output_length": [32, 40], "tool_call_latency": [0.02, 0],
        "final_assistant_response_length": 8,
    });
    let file = context.write("agents.jsonl", &format!("{line}\n"));
    let file = file.display().to_string();
    let args = [
        "--dataset",
        "trie_code_qa",
        "--dataset-path",
        &file,
        "--tokenizer-path",
        &folder,
        "--number",
        "2",
    ];
    let (outcome, _) = measured(&context, config, &args);
    assert!(
        outcome
            .stderr
            .contains("requests ask for it with `ignore_eos`")
    );
    let outputs: Vec<i64> = context.column("SELECT completion_tokens FROM record ORDER BY idx");
    assert_eq!(outputs, [16, 24, 8, 16, 24, 8]);
    let asked: Vec<i64> = context.column("SELECT asked_increment_tokens FROM record ORDER BY idx");
    assert_eq!(asked[..3], [64, 32, 40]);
    let bodies = context.bodies();
    assert_eq!(
        (&bodies[0]["ignore_eos"], &bodies[0]["min_tokens"]),
        (&json!(true), &json!(16))
    );
}

#[test]
fn a_dataset_without_conversations_says_which_have_some() {
    let context = Context::new();
    insta::assert_snapshot!(refused(&context, &["--multi-turn", "--dataset", "sample"]), @r"
    error: `--multi-turn` needs conversations, but the dataset `sample` has single requests
      hint: these datasets have conversations: random_multi_turn, share_gpt_zh_multi_turn, share_gpt_en_multi_turn, custom_multi_turn, swe_smith, trie_agentic_coding, trie_code_qa, trie_office_work, dag_jsonl; or leave out `--multi-turn`
    ");
    insta::assert_snapshot!(refused(&context, &["--dataset", "weka_trace"]), @r"
    error: `--dataset weka_trace` is not built yet: traces of sessions with agents
      hint: AIPerf has it
    ");
}

#[test]
fn options_of_a_dataset_are_checked() {
    let context = Context::new();
    let error = |dataset: &str, args: &str| {
        refused(&context, &["--dataset", dataset, "--dataset-args", args])
    };
    insta::assert_snapshot!(error("swe_smith", r#"{"first_turn_lenght": 5}"#), @r"
    error: unknown key `first_turn_lenght` in `--dataset-args`: the dataset `swe_smith` knows first_turn_length, subsequent_turn_length, chars_per_token; did you mean `first_turn_length`?
      hint: docs/datasets.md lists the options of each dataset
    ");
    insta::assert_snapshot!(error("swe_smith", r#"{"subsequent_turn_length": [9, 5]}"#), @r"
    error: `--dataset-args`: `subsequent_turn_length` must be a number of tokens, or a list of the smallest and the greatest, but is [9,5]
      hint: docs/datasets.md lists the options of each dataset
    ");
    insta::assert_snapshot!(error("sample", r#"{"target_input_len": 5}"#), @r"
    error: the dataset `sample` has no options, but `--dataset-args` has `target_input_len`
      hint: leave out `--dataset-args`
    ");
    insta::assert_snapshot!(error("openqa", r#"{"target_input_len": 5}"#), @r"
    error: `target_input_len` needs `--tokenizer-path`: it is in tokens
      hint: give the model's tokenizer: a folder, a tokenizer.json or a hub id
    ");
    insta::assert_snapshot!(error("openqa", "[5]"), @r#"
    error: `--dataset-args` is not a JSON object
      hint: give one JSON object, for example '{"target_input_len": 2048}'
    "#);
    insta::assert_snapshot!(error("openqa", "{"), @r#"
    error: `--dataset-args` is not JSON: EOF while parsing an object at line 1 column 1
      hint: give one JSON object, for example '{"target_input_len": 2048}'
    "#);
    let old = [
        "--dataset",
        "swe_smith",
        "--multi-turn-args",
        r#"{"chars_per_token": 0}"#,
    ];
    insta::assert_snapshot!(refused(&context, &old), @r"
    error: `--dataset-args`: `chars_per_token` must be a number above 0, but is 0
      hint: docs/datasets.md lists the options of each dataset
    ");
    let both = [&old[..], &["--dataset-args", r#"{"chars_per_token": -1}"#]].concat();
    insta::assert_snapshot!(refused(&context, &both), @r"
    error: `--dataset-args`: `chars_per_token` must be a number above 0, but is -1
      hint: docs/datasets.md lists the options of each dataset
    ");
}

#[test]
fn turns_need_what_they_are_made_of() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    insta::assert_snapshot!(refused(&context, &["--dataset", "random_multi_turn"]), @r"
    error: the dataset `random_multi_turn` needs `--tokenizer-path`: the length of its prompts is in tokens
      hint: give the model's tokenizer: a folder, a tokenizer.json or a hub id
    ");
    let random = [
        "--dataset",
        "random_multi_turn",
        "--tokenizer-path",
        &folder,
    ];
    insta::assert_snapshot!(refused(&context, &random), @r"
    error: the dataset `random_multi_turn` needs `--max-turns`
      hint: each conversation has between `--min-turns` and `--max-turns` turns
    ");
    insta::assert_snapshot!(refused(&context, &[&random[..], &["--min-turns", "4", "--max-turns", "2"]].concat()), @r"
    error: `--min-turns 4` is above `--max-turns 2`
      hint: lower the minimum or raise the maximum
    ");
    let swe = fixture("swe_prebuilt.json");
    insta::assert_snapshot!(refused(&context, &["--dataset", "swe_smith", "--dataset-path", &swe, "--history", "recorded"]), @r"
    error: the dataset swe_smith has no recorded responses, which `--history recorded` sends
      hint: use `--history real`, or another dataset
    ");
    let lines = fixture("swe_trajectories.jsonl");
    insta::assert_snapshot!(refused(&context, &["--dataset", "swe_smith", "--dataset-path", &lines]), @r"
    error: the dataset `swe_smith` needs `--tokenizer-path` to make conversations of trajectories
      hint: give the model's tokenizer, or a prebuilt file with `--dataset-path`
    ");
}

#[test]
fn bad_lines_are_found_before_the_load() {
    let context = Context::new();
    let good = r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"yes"},{"role":"user","content":"a"}]"#;
    let mut text = String::new();
    for n in 0..30 {
        let line = if n % 10 == 0 {
            good
        } else {
            r#"[{"role":"user","content":null}]"#
        };
        writeln!(text, "{line}").unwrap();
    }
    let file = context.write("talks.jsonl", &text).display().to_string();
    let args = ["--dataset", "custom_multi_turn", "--dataset-path", &file];
    let error = refused(&context, &args);
    assert!(error.starts_with("error: 27 items of the dataset custom_multi_turn cannot be used:\n  FOLDER/talks.jsonl, line 2: message 1 has no `content` and no `tool_calls`\n"), "{error}");
    assert!(error.contains("line 23: message 1"), "{error}");
    assert!(!error.contains("line 24: message 1"), "{error}");
    assert!(
        error.ends_with(
            "  and 7 more\n  hint: correct the file, or skip such lines with `--skip-bad-lines`\n"
        ),
        "{error}"
    );
    let skipping = [
        &args[..],
        &["--skip-bad-lines", "--number", "3", "--max-tokens", "2"],
    ]
    .concat();
    let (outcome, truth) = measured(&context, SimConfig::default(), &skipping);
    assert_eq!(truth.requests.len(), 6);
    assert!(
        outcome.stderr.contains(
            "the dataset `custom_multi_turn` has 3 conversations; left out: 27 unreadable"
        ),
        "{}",
        outcome.stderr
    );
    let warnings = context.result()["runs"][0]["warnings"].to_string();
    assert!(
        warnings.contains("`--skip-bad-lines` skipped 27 items"),
        "{warnings}"
    );
}

#[test]
fn graphs_of_agents_are_not_built_yet() {
    let context = Context::new();
    let turn = |more: &str| {
        format!(
            r#"{{"session_id":"a","turns":[{{"messages":[{{"role":"user","content":"x"}}]{more}}}]}}"#
        )
    };
    let lines = [
        turn(""),
        turn(r#","spawns":[]"#),
        turn(r#","spawns":["b"]"#),
    ]
    .join("\n");
    let file = context.write("agents.jsonl", &lines).display().to_string();
    for dataset in ["dag_jsonl", "custom_multi_turn"] {
        let error = refused(&context, &["--dataset", dataset, "--dataset-path", &file]);
        assert_eq!(
            error.lines().next(),
            Some("error: FOLDER/agents.jsonl, line 3: 'spawns' is not built yet")
        );
    }
}

/// A program that gives one conversation of two turns.
const PLUGIN: &str = r#"
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    result = {}
    if request["method"] == "hello":
        with open("hello.json", "w") as file:
            json.dump(request["params"]["options"]["dataset_args"], file)
        result = {"protocol": 1, "name": "talks"}
    elif request["method"] == "next":
        turns = [{"messages": [{"role": "user", "content": "a"}], "max_tokens": 3},
                 {"messages": [{"role": "user", "content": "b"}], "delay_s": 0.01, "max_tokens": 2}]
        result = {"items": [{"turns": turns, "session": "s1", "rid": "r1"}], "end": True}
    print(json.dumps({"id": request["id"], "result": result}), flush=True)
    if request["method"] == "bye":
        break
"#;

#[test]
fn a_plugin_gives_conversations() {
    let context = Context::new();
    let program = context.write("plugin.py", PLUGIN).display().to_string();
    let dataset = format!("exec:python3 {program}");
    let args = ["--dataset", &dataset, "--dataset-args", r#"{"own": 1}"#];
    let (_, truth) = measured(
        &context,
        SimConfig::default(),
        &[&args[..], &["--multi-turn", "--number", "1"]].concat(),
    );
    assert_eq!(messages(&truth), BTreeMap::from([("s1", vec![1, 3])]));
    let bodies = context.bodies();
    let rids: Vec<&Value> = bodies.iter().map(|body| &body["rid"]).collect();
    assert_eq!(rids, ["r1_t1", "r1_t2"]);
    let limits: Vec<&Value> = bodies.iter().map(|body| &body["max_tokens"]).collect();
    assert_eq!(limits, [3, 2]);
    let options = std::fs::read_to_string(context.path().join("hello.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&options).unwrap(),
        json!({"own": 1})
    );
}

#[test]
fn a_plugin_with_conversations_needs_the_flag() {
    let context = Context::new();
    let program = context.write("plugin.py", PLUGIN).display().to_string();
    let dataset = format!("exec:python3 {program}");
    let server = Simulator::start(SimConfig::default()).unwrap();
    let url = server.url();
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        &dataset,
        "--number",
        "1",
    ]);
    assert_ne!(outcome.code, Some(0));
    assert!(
        outcome
            .stderr
            .contains("has conversations, but `--multi-turn` is not given"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn prompts_are_given_the_length_that_the_server_counts() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let config = SimConfig {
        tokenizer: Some(folder.clone().into()),
        ..SimConfig::default()
    };
    let lines = format!(
        "short\n{}\n",
        "what is a token and why are there so many of them ".repeat(20)
    );
    let file = context.write("prompts.txt", &lines).display().to_string();
    context.write(
        "book.txt",
        "It was the best of times, it was the worst of times. ",
    );
    let server = Simulator::start(config).unwrap();
    let url = server.url();
    let options = r#"{"target_input_len": 200, "prefix_file": "book.txt"}"#;
    context.measure(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--tokenizer-path",
        &folder,
        "--dataset",
        "line_by_line",
        "--dataset-path",
        &file,
        "--number",
        "4",
        "--max-tokens",
        "2",
        "--dataset-args",
        options,
    ]);
    let prompts: Vec<i64> = context.column("SELECT prompt_tokens FROM record ORDER BY idx");
    assert_eq!(prompts, [200; 4]);
    let bodies = context.bodies();
    let first = &bodies[0]["messages"][0];
    assert_eq!(first["role"], "system");
    assert!(
        first["content"]
            .as_str()
            .unwrap()
            .starts_with("It was the best of times")
    );
}
