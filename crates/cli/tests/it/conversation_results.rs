//! What is stored and shown of conversations and traces is what the simulator saw of them.

use std::process::Command;

use evalscope_sim::{CacheBlocks, Profile, SimConfig, Simulator};
use serde_json::Value;

use crate::context::{Context, Outcome, json};
use crate::tokenizer;

fn simulator(max_model_len: Option<u64>) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 0.0,
            ..Profile::default()
        },
        keeps_truth: true,
        truth_bodies: true,
        cache_blocks: CacheBlocks::Unlimited,
        max_model_len,
        ..SimConfig::default()
    })
    .unwrap()
}

/// Conversations of two, three and four turns, with characters that JSON escapes.
const CONVERSATIONS: &str = r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"Say \"hi\" \u0001 你好"},{"role":"assistant","content":"x"},{"role":"user","content":"And\nnow?"}]
[{"role":"user","content":"One"},{"role":"assistant","content":"x"},{"role":"user","content":"Two"},{"role":"assistant","content":"x"},{"role":"user","content":"Three"}]
[{"role":"user","content":"A"},{"role":"assistant","content":"x"},{"role":"user","content":"B"},{"role":"assistant","content":"x"},{"role":"user","content":"C"},{"role":"assistant","content":"x"},{"role":"user","content":"D"}]
"#;

fn converse(context: &Context, simulator: &Simulator, flags: &[&str]) -> Outcome {
    context.write("conversations.jsonl", CONVERSATIONS);
    let url = simulator.url();
    let args = [
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "custom_multi_turn",
        "--dataset-path",
        "conversations.jsonl",
        "--multi-turn",
        "--number",
        "3",
        "--parallel",
        "2",
        "--max-tokens",
        "40",
        "--no-test-connection",
    ];
    context.perf(&[&args, flags].concat())
}

/// The lines of Python under this heading of a page.
fn documented_python(page: &str, heading: &str) -> String {
    let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split_once(heading).unwrap().1;
    let block = section.split_once("```python\n").unwrap().1;
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn whole_prompts_are_the_bytes_that_the_server_saw() {
    let simulator = simulator(None);
    let context = Context::new();
    let outcome = converse(&context, &simulator, &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let truth = simulator.stop().unwrap();
    let mut seen: Vec<String> = truth
        .requests
        .iter()
        .map(|request| request.body_sha256.clone().unwrap())
        .collect();
    seen.sort();
    assert_eq!(seen.len(), 9);
    // the documented lines, which show what they have put together
    let shown = "print(hashlib.sha256(sent).hexdigest(), sent.decode())";
    let python = documented_python("files.md", "### Whole prompts of conversations\n");
    let lines = python.lines().map(|line| match line.trim_start() {
        print if print.starts_with("print(") => line.replace(print, shown),
        _ => line.to_owned(),
    });
    let lines: Vec<String> = std::iter::once("import hashlib".to_owned())
        .chain(lines)
        .collect();
    let output = Command::new("python3")
        .args(["-X", "utf8", "-c", &lines.join("\n")])
        .current_dir(context.run_folder())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (mut hashes, bodies): (Vec<String>, Vec<String>) = said
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(hash, body)| (hash.to_owned(), body.to_owned()))
        .unzip();
    hashes.sort();
    assert_eq!(hashes, seen, "{}", String::from_utf8_lossy(&output.stderr));
    // the command that prints a body
    let numbers = "SELECT idx FROM result ORDER BY conversation, turn, idx";
    for (index, body) in context.column::<i64>(numbers).iter().zip(&bodies) {
        let top = context.top();
        let args = ["report", top.to_str().unwrap(), "--request"];
        let outcome = context.run(&[&args[..], &[&index.to_string()]].concat());
        assert_eq!(outcome.stdout.trim_end_matches('\n'), body);
    }
}

#[test]
fn cached_tokens_are_those_of_the_server() {
    let simulator = simulator(None);
    let context = Context::new();
    converse(&context, &simulator, &[]);
    let truth = simulator.stop().unwrap();
    let run = context.result()["runs"][0].clone();
    let figures = &run["conversations"];
    assert_eq!(figures["cached"]["cached_tokens"], truth.cached_tokens());
    assert_eq!(figures["cached"]["of_tokens"], truth.prompt_tokens());
    assert!(truth.cached_tokens() > 0);
    // what a turn before has left: its prompt and its response
    let tokens = |turn: usize| {
        let prompts = format!(
            "SELECT prompt_tokens + completion_tokens FROM result AS one WHERE EXISTS (SELECT 1 FROM result \
             AS next WHERE next.conversation = one.conversation AND next.turn = one.turn + 1) AND turn >= {turn}"
        );
        context.column::<i64>(&prompts).iter().sum::<i64>()
    };
    assert_eq!(figures["eligible"]["of_tokens"], tokens(0));
    assert_eq!(figures["eligible"]["requests"], 6);
    assert_eq!(
        (&figures["started"], &figures["whole"]),
        (&3.into(), &3.into())
    );
    assert_eq!(figures["in_flight_max"], 2);
    assert_eq!(figures["ended_by"]["completed"], 3);
    assert_eq!(run["turns"].as_array().unwrap().len(), 4);
    assert_eq!(run["trace"], Value::Null);
    let summary = json(&context.run_folder().join("trace_summary.json"));
    assert_eq!(summary["n_traces"], 3);
    let summary = json(&context.run_folder().join("benchmark_summary.json"));
    assert_eq!(summary["Avg Turns/Request"], 2.1111);
}

/// The sum of a prompt and its output is above what the server can hold.
#[test]
fn the_end_of_the_context_is_no_failure() {
    let simulator = simulator(Some(120));
    let context = Context::new();
    let outcome = converse(&context, &simulator, &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = context.result()["runs"][0].clone();
    let ended = &run["conversations"]["ended_by"];
    let context_limit = ended["context_limit"].as_u64().unwrap();
    assert!(context_limit > 0, "{ended}");
    assert_eq!(run["counts"]["failed"], 0);
    assert_eq!(run["counts"]["context_limit"], context_limit);
    assert_eq!(run["errors"], Value::Array(Vec::new()));
    let ids: Vec<&str> = run["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|warning| warning["id"].as_str())
        .collect();
    assert!(ids.contains(&"conversations_abandoned"), "{ids:?}");
}

#[test]
fn a_server_without_a_cache_is_not_given_one() {
    let simulator = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 0.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    converse(&context, &simulator, &[]);
    let reported = context.column::<i64>("SELECT count(cached_tokens) FROM result")[0];
    let run = context.result()["runs"][0].clone();
    let rates = json(&context.run_folder().join("workload_throughput.json"));
    if reported == 0 {
        assert_eq!(run["conversations"]["cached"]["share"], Value::Null);
        assert_eq!(rates["rows"][1]["overall"], Value::Null);
    } else {
        assert_eq!(run["conversations"]["cached"]["share"], 0.0);
    }
}

/// Every prompt but three begins with a block of an earlier one.
#[test]
fn a_replay_says_how_true_it_was() {
    let context = Context::new();
    let folder = tokenizer::in_folder(&context);
    let simulator = Simulator::start(SimConfig {
        tokenizer: Some((&folder).into()),
        cache_blocks: CacheBlocks::Unlimited,
        keeps_truth: true,
        ..SimConfig::default()
    })
    .unwrap();
    let lines = (0..60).map(|line| {
        let blocks = [line % 3, 100 + line];
        format!(
            "{{\"timestamp\": {}, \"input_length\": 600, \"output_length\": 4, \"hash_ids\": {blocks:?}}}\n",
            line * 30
        )
    });
    let lines: String = lines.collect();
    context.write("trace.jsonl", &lines);
    let url = simulator.url();
    let outcome = context.perf(&[
        "--url",
        &url,
        "--model",
        "sim",
        "--dataset",
        "mooncake_trace",
        "--dataset-path",
        "trace.jsonl",
        "--tokenizer-path",
        &folder,
        "--open-loop",
        "--no-test-connection",
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let truth = simulator.stop().unwrap();
    let trace = context.result()["runs"][0]["trace"].clone();
    assert_eq!(trace["requests"], 60, "{trace}");
    assert_eq!(trace["stamps"], 60);
    // 57 of 60 begin with a block that came before
    let possible = 57.0 * 512.0 / (60.0 * 600.0);
    let share = trace["possible_cached_share"].as_f64().unwrap();
    assert!((share - possible).abs() < 1e-9, "{share} {possible}");
    assert!(trace["faithful"].is_boolean());
    let seen = &trace["seen_cached"];
    assert_eq!(seen["cached_tokens"], truth.cached_tokens());
    assert_eq!(seen["of_tokens"], truth.prompt_tokens());
    assert_eq!(trace["input_error"]["total"], 0.0);
    assert_eq!(trace["output_error"]["total"], 0.0);
    let lines = context.column::<i64>("SELECT trace_line FROM requests ORDER BY idx");
    assert_eq!(lines, (1..=60).collect::<Vec<_>>());
    assert!(outcome.stdout.contains("possible."), "{}", outcome.stdout);
}
