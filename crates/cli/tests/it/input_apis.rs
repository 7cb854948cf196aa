//! Embeddings and reranking: what is sent, what is measured, and what does not go with them.

use std::fmt::Write as _;

use evalscope_sim::{Fault, FaultRule, Profile, SimConfig, Simulator};
use serde_json::{Value, json};

use crate::context::{Context, Outcome, perf_snapshot};
use crate::server::{Recorder, reply};

fn simulator(fault: Option<Fault>) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            ..Profile::default()
        },
        faults: fault.map(FaultRule::always).into_iter().collect(),
        ..SimConfig::default()
    })
    .unwrap()
}

fn perf(context: &Context, simulator: &Simulator, path: &str, more: &[&str]) -> Outcome {
    let url = format!("http://{}{path}", simulator.addr());
    let base = ["--url", &url, "--model", "m", "--number", "4"];
    context.perf(&[base.as_slice(), more].concat())
}

fn texts(context: &Context) -> String {
    let lines = "{\"text\": \"12345678\"}\n\"1234\"\n{\"input\": \"123456789012\"}\n";
    context.write("texts.jsonl", lines).display().to_string()
}

fn rankings(context: &Context) -> String {
    let lines = "{\"query\": \"1234\", \"documents\": [\"12345678\", \"1234\"]}\n\
                 {\"query\": \"1234\", \"passages\": [\"12345678\", \"1234\"]}\n";
    context.write("rankings.jsonl", lines).display().to_string()
}

#[test]
fn embeddings_are_measured_by_inputs() {
    let context = Context::new();
    let file = texts(&context);
    let outcome = perf(
        &context,
        &simulator(None),
        "/v1/embeddings",
        &[
            "--dataset",
            "embedding_batch",
            "--dataset-path",
            &file,
            "--dataset-args",
            r#"{"batch_size": 2}"#,
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let run = context.result()["runs"][0].clone();
    let metrics = &run["metrics"];
    for gone in [
        "ttft_ms",
        "tpot_ms",
        "itl_ms",
        "output_tokens",
        "output_tok_per_s",
        "total_tok_per_s",
    ] {
        assert_eq!(metrics[gone]["count"], 0, "{gone}");
        assert_eq!(metrics[gone]["mean"], Value::Null, "{gone}");
    }
    for here in [
        "latency_s",
        "latency_per_input_ms",
        "input_tokens",
        "input_tok_per_s",
    ] {
        assert_eq!(metrics[here]["count"], 4, "{here}");
    }
    // three texts in requests of two: two, one, two, one; four characters are a token
    assert_eq!(metrics["input_tokens"]["mean"], 3.0);
    let throughput = &run["throughput"];
    let per_s = |name: &str| throughput[name].as_f64().unwrap();
    let duration = run["duration_s"].as_f64().unwrap();
    assert!((per_s("inputs_per_s") * duration - 6.0).abs() < 1e-6);
    assert!((per_s("input_tokens_per_s") * duration - 12.0).abs() < 1e-6);
    assert_eq!(throughput["output_tokens_per_s"], Value::Null);
    assert_eq!(throughput["total_tokens_per_s"], Value::Null);
    assert_eq!(run["tokens"]["output"], Value::Null);
    let about = run["warnings"].to_string();
    assert!(
        !["TTFT", "TPOT", "utput"]
            .iter()
            .any(|word| about.contains(word)),
        "{about}"
    );
    assert_eq!(
        context.column::<i64>("SELECT inputs FROM requests ORDER BY idx"),
        [2, 1, 2, 1]
    );
    assert_eq!(
        context.bodies()[0],
        json!({"model": "m", "input": ["12345678", "1234"]})
    );
    // vectors are large: only the first bytes are kept
    let longest = "SELECT max(length(response_messages)) FROM result";
    assert!(context.column::<i64>(longest)[0] < 8192);
    let summary = crate::context::json(&context.run_folder().join("benchmark_summary.json"));
    let keys: Vec<&String> = summary.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "Test Duration (s)",
            "Concurrency",
            "Request Rate (req/s)",
            "Total Requests",
            "Success Requests",
            "Failed Requests",
            "Stream Requests",
            "Non-Stream Requests",
            "Req Throughput (req/s)",
            "Avg Latency (s)",
            "Avg Input Tokens",
            "Input Throughput (tok/s)"
        ]
    );
    let rows = crate::context::json(&context.run_folder().join("benchmark_percentile.json"));
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "Percentiles",
            "Latency (s)",
            "Latency Per Input (ms)",
            "Input tokens",
            "Input (tok/s)"
        ]
    );
    perf_snapshot!("embeddings", outcome);
}

#[test]
fn nothing_on_the_page_is_about_output() {
    let context = Context::new();
    let file = rankings(&context);
    let outcome = perf(
        &context,
        &simulator(None),
        "/v1/rerank",
        &[
            "--dataset",
            "rerank",
            "--dataset-path",
            &file,
            "--parallel",
            "1",
            "2",
        ],
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let tables = crate::tables::settled(&outcome.stdout);
    let tables = tables.lines().filter(|line| line.starts_with(['+', '|']));
    insta::assert_snapshot!("rerank_sweep", tables.collect::<Vec<_>>().join("\n"));
    let pages = context.files();
    let page = pages
        .iter()
        .find(|(name, _)| name.ends_with("perf_report.html"));
    let page = String::from_utf8(page.unwrap().1.clone()).unwrap();
    // what is shown, without scripts and the texts that they may show
    let shown = page.split("<script").next().unwrap();
    let about_output = |line: &&str| {
        let words = ["TTFT", "TPOT", "ITL", "utput tok"];
        words.iter().any(|word| line.contains(word))
    };
    let lines: Vec<&str> = shown.split('>').filter(about_output).collect();
    assert_eq!(lines, [""; 0]);
    assert!(shown.contains("Inputs per second"));
}

/// Every form of reranking, by the end of the URL.
#[test]
fn the_form_of_a_request_follows_the_path() {
    let results =
        |name: &str| json!({name: [{"index": 0}, {"index": 1}], "usage": {"total_tokens": 9}});
    let mut told = String::new();
    for (path, body) in [
        ("/v1/rerank", results("results")),
        ("/v2/rerank", results("results")),
        ("/v1/reranks", results("results")),
        ("/v1/ranking", results("rankings")),
        (
            "/rerank",
            json!([{"index": 0, "score": 0.1}, {"index": 1, "score": 0.1}]),
        ),
        (
            "/v1/embeddings",
            json!({"data": [{"embedding": [0.1]}], "usage": {"total_tokens": 9}}),
        ),
        ("/embed", json!([[0.1, 0.2]])),
    ] {
        let context = Context::new();
        let (set, file) = if path.contains("rank") {
            ("rerank", rankings(&context))
        } else {
            ("embed", texts(&context))
        };
        let server = Recorder::start(move |_, _| {
            let bytes = reply("200 OK", "application/json", &body.to_string());
            let text = String::from_utf8(bytes).unwrap();
            // Text Embeddings Inference counts tokens there
            text.replacen("\r\n", "\r\nX-Compute-Tokens: 9\r\n", 1)
                .into_bytes()
        });
        let url = format!("http://{}{path}", server.address());
        context.measure(&[
            "--url",
            &url,
            "--model",
            "m",
            "--number",
            "2",
            "--dataset",
            set,
            "--dataset-path",
            &file,
            "--no-test-connection",
        ]);
        let tokens = context.column::<Option<i64>>("SELECT DISTINCT prompt_tokens FROM result");
        writeln!(told, "{path} {} {tokens:?}", server.requests()[0].json()).unwrap();
    }
    insta::assert_snapshot!("forms", told);
}

#[test]
fn a_response_without_a_result_for_each_input_is_a_failure() {
    let mut told = String::new();
    let missing =
        json!({"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 1}}).to_string();
    let refused = json!({"error": {"message": "no model", "code": 7}}).to_string();
    for body in [
        missing.as_str(),
        &refused,
        "{\"data\":[{\"embedding\":[0.1",
        "<html>",
    ] {
        let context = Context::new();
        let file = texts(&context);
        let body = body.to_owned();
        let server = Recorder::start(move |_, _| reply("200 OK", "application/json", &body));
        let url = format!("http://{}/v1/embeddings", server.address());
        let outcome = context.perf(&[
            "--url",
            &url,
            "--model",
            "m",
            "--number",
            "1",
            "--dataset",
            "embedding_batch",
            "--dataset-path",
            &file,
            "--no-test-connection",
        ]);
        assert_eq!(outcome.code, Some(1), "{outcome:#?}");
        let text = "SELECT error_kind || ' ' || error_text FROM result";
        writeln!(told, "{}", context.column::<String>(text)[0]).unwrap();
    }
    for path in ["/v1/embeddings", "/v1/rerank"] {
        for fault in [Fault::Empty, Fault::ErrorBody, Fault::Http503] {
            let context = Context::new();
            let (set, file) = if path == "/v1/rerank" {
                ("rerank", rankings(&context))
            } else {
                ("embed", texts(&context))
            };
            let more = [
                "--dataset",
                set,
                "--dataset-path",
                &file,
                "--no-test-connection",
            ];
            let outcome = perf(&context, &simulator(Some(fault)), path, &more);
            assert_eq!(outcome.code, Some(1), "{outcome:#?}");
            let text = "SELECT DISTINCT error_kind || ' ' || error_text FROM result";
            writeln!(
                told,
                "{path} {fault}: {}",
                context.column::<String>(text)[0]
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!("failures", told);
}

#[test]
fn random_texts_have_the_length_that_was_asked_for() {
    let context = Context::new();
    let folder = crate::tokenizer::in_folder(&context);
    let length = [
        "--tokenizer-path",
        &folder,
        "--min-prompt-length",
        "20",
        "--max-prompt-length",
        "20",
    ];
    let server = simulator(None);
    let set = ["--dataset", "random_embedding_batch"];
    let old = ["--extra-args", r#"{"batch_size": 3, "dimensions": 8}"#];
    let outcome = perf(
        &context,
        &server,
        "/v1/embeddings",
        &[&set, &length[..], &old].concat(),
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let note = "`batch_size` in `--extra-args` is an option of the dataset and is not sent";
    assert!(outcome.stderr.contains(note), "{}", outcome.stderr);
    for body in context.bodies() {
        assert_eq!(body["input"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&body["dimensions"], body.get("batch_size")),
            (&json!(8), None)
        );
    }
    let asked = context.column::<i64>("SELECT DISTINCT asked_prompt_tokens FROM result");
    assert_eq!(asked, [60]);
    std::fs::remove_dir_all(context.top()).unwrap();

    let set = ["--dataset", "random_rerank", "--dataset-args"];
    let args = [r#"{"num_documents": 3, "document_length_ratio": 2}"#];
    let outcome = perf(
        &context,
        &server,
        "/v1/rerank",
        &[&set[..], &args, &length[..]].concat(),
    );
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    for body in context.bodies() {
        assert_eq!(body["documents"].as_array().unwrap().len(), 3);
        assert_eq!(body["return_documents"], false);
    }
    assert_eq!(
        context.column::<i64>("SELECT DISTINCT inputs FROM result"),
        [3]
    );
}

/// Flags, datasets and files that do not go with an API.
const MISTAKES: [&str; 15] = [
    "--api embedding --dataset sample --stream",
    "--api embedding --dataset sample --max-tokens 5",
    "--api openai_rerank --dataset random_rerank --multi-turn",
    "--api embedding --dataset sample --slo ttft<=1s",
    "--api rerank",
    "--api rerank --prompt p",
    "--api rerank --dataset random_embedding --tokenizer-path t",
    "--api embedding --dataset rerank --dataset-path x",
    "--api embedding --dataset random_vl --tokenizer-path t",
    "--api embedding --dataset random_multi_turn --tokenizer-path t",
    "--dataset embedding --dataset-path x",
    "--api embedding --dataset embedding",
    "--api embedding --dataset embedding_batch --dataset-path x --dataset-args {\"batch_size\":0}",
    "--api rerank --dataset rerank --dataset-path bad.jsonl",
    "--api embedding --dataset embedding --dataset-path bad.json",
];

#[test]
fn what_does_not_go_with_them_is_refused() {
    let context = Context::new();
    let lines = "{\"query\": \"q\", \"documents\": [\"a\"]}\n{\"query\": \"q\"}\n";
    context.write("bad.jsonl", lines);
    context.write("bad.json", "[\"a\", {\"title\": \"b\"}]");
    let mut told = String::new();
    for line in MISTAKES {
        let args: Vec<&str> = line.split(' ').collect();
        let outcome =
            context.perf(&[&args[..], &["--model", "m", "--no-test-connection"]].concat());
        assert_eq!(outcome.code, Some(2), "{line}: {outcome:#?}");
        let error = outcome.stderr.find("error:").unwrap();
        writeln!(told, "$ {line}\n{}", &outcome.stderr[error..]).unwrap();
    }
    insta::assert_snapshot!("refused", told);
}
