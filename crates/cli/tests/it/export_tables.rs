//! `evalscope export`: tables for analysis, and vLLM's form. What stands in them are snapshots of the
//! report crate.

use std::path::Path;

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::Value;

use crate::context::{Context, NAME, Outcome, json, open, perf_snapshot, wait_for};

fn simulator(faults: &[&str]) -> Simulator {
    Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        faults: faults.iter().map(|rule| rule.parse().unwrap()).collect(),
        ..SimConfig::default()
    })
    .unwrap()
}

/// Two runs of nine requests each, every third of which fails.
fn measured(flags: &[&str]) -> (Context, String) {
    let context = Context::new();
    let simulator = simulator(&["http-503:every=3"]);
    let url = simulator.url();
    let fixed = [
        "--url",
        &url,
        "--model",
        "org/m",
        "--dataset",
        "sample",
        "--no-test-connection",
        "--sleep-interval",
        "0",
        "--parallel",
        "1",
        "2",
        "--number",
        "9",
        "9",
        "--max-tokens",
        "4",
    ];
    context.perf(&[&fixed, flags].concat());
    (context, format!("outputs/{NAME}"))
}

fn exported(context: &Context, words: &[&str]) -> Outcome {
    let outcome = context.run(&[&["export"], words].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    outcome
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

fn bytes(context: &Context, path: &str) -> Vec<u8> {
    std::fs::read(context.path().join(path)).unwrap()
}

#[test]
fn a_table_is_put_beside_the_runs_and_replaced() {
    let (context, top) = measured(&[]);
    let file = format!("{top}/export/requests.parquet");
    for _ in 0..2 {
        let outcome = exported(&context, &[&top]);
        assert_eq!(outcome.stdout, "");
        let said = format!("exported 18 requests of 2 runs to {file}\n");
        assert_eq!(outcome.stderr, said);
        let written = bytes(&context, &file);
        assert!(written.starts_with(b"PAR1") && written.ends_with(b"PAR1"));
    }
    let one = exported(&context, &[&top, "--run", "parallel_2_number_9"]);
    assert!(
        one.stderr.contains("exported 9 requests of 1 run to"),
        "{}",
        one.stderr
    );
    let folder = std::fs::read_dir(context.path().join(&top).join("export")).unwrap();
    assert_eq!(folder.count(), 1, "something else was left");
    // an export is no run
    assert_eq!(context.run(&["report", &top]).code, Some(0));
}

#[test]
fn all_tables_go_to_a_folder() {
    let (context, top) = measured(&[]);
    let run = format!("{top}/parallel_1_number_9");
    let flags = ["--what", "all", "--format", "csv", "-o", "tables"];
    let outcome = exported(&context, &[&[run.as_str()], &flags[..]].concat());
    for name in ["requests", "events", "series"] {
        let said = format!("tables/{name}.csv");
        assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
        assert!(bytes(&context, &said).starts_with(b"run,"), "{name}");
    }
}

#[test]
fn stdout_takes_what_a_filter_leaves() {
    let (context, top) = measured(&["--warmup-num", "2"]);
    let to_stdout = |flags: &[&str]| {
        let fixed = [top.as_str(), "--format", "jsonl", "-o", "-"];
        lines(&exported(&context, &[&fixed, flags].concat()).stdout)
    };
    assert_eq!(to_stdout(&[]).len(), 18);
    let failed = to_stdout(&["--where", "failed"]);
    assert!(
        failed
            .iter()
            .all(|row| row["error_kind"] == "http_503" && row["succeeded"] == false)
    );
    let succeeded = to_stdout(&["--where", "succeeded"]);
    assert!(
        succeeded
            .iter()
            .all(|row| row["output_tokens"] == 4 && row.get("error_kind").is_none())
    );
    assert_eq!(failed.len() + succeeded.len(), 18);
    let with_warmup = to_stdout(&["--warmup"]);
    let warmup = with_warmup.iter().filter(|row| row["phase"] == "warmup");
    assert_eq!((with_warmup.len(), warmup.count()), (22, 4));
    let two = to_stdout(&["--idx", "3", "5", "--run", "parallel_1_number_9"]);
    let indexes: Vec<i64> = two.iter().map(|row| row["idx"].as_i64().unwrap()).collect();
    assert_eq!(indexes, [3, 5]);
    let events = to_stdout(&["--what", "events"]);
    let tokens = events.iter().filter(|row| row["token"] == true).count();
    assert_eq!(tokens, 4 * succeeded.len());
}

#[test]
fn bodies_have_the_text_of_the_response() {
    let (context, top) = measured(&[]);
    let flags = [
        "--bodies",
        "--format",
        "jsonl",
        "-o",
        "-",
        "--where",
        "succeeded",
    ];
    let rows = lines(&exported(&context, &[&[top.as_str()], &flags[..]].concat()).stdout);
    for row in &rows {
        let sent: Value = serde_json::from_str(row["request"].as_str().unwrap()).unwrap();
        assert_eq!(sent["model"], "org/m");
        assert!(!row["answer"].as_str().unwrap().is_empty());
    }
}

/// The database is written to all the while.
#[test]
fn a_run_under_way_is_exported() {
    let simulator = simulator(&[]);
    let context = Context::new();
    let url = simulator.url();
    let running = context.start(&[
        "--url",
        &url,
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "1000000",
        "--parallel",
        "4",
        "--max-tokens",
        "8",
    ]);
    let path = context
        .top()
        .join("parallel_4_number_1000000/benchmark_data.db");
    wait_for("the first rows", || {
        let rows = |path: &Path| -> i64 {
            let sql = "SELECT count(*) FROM result";
            open(path).query_row(sql, [], |row| row.get(0)).unwrap_or(0)
        };
        (path.is_file() && rows(&path) > 20).then_some(())
    });
    let top = format!("outputs/{NAME}");
    let rows = lines(&exported(&context, &[&top, "--format", "jsonl", "-o", "-"]).stdout);
    drop(running);
    assert!(rows.len() > 20);
    assert!(rows.iter().all(|row| row["output_tokens"] == 8));
}

#[test]
fn vllm_has_a_file_for_each_run() {
    let (context, top) = measured(&["--metadata", "gpu=none"]);
    let outcome = exported(&context, &[&top, "--as", "vllm"]);
    let said = format!("exported 2 runs to {top}/export/vllm\n");
    assert_eq!(outcome.stderr, said);
    for (at, parallel) in [(0, 1), (1, 2)] {
        let name = format!("{top}/export/vllm/parallel_{parallel}_number_9.json");
        let file = json(&context.path().join(name));
        let own = &context.result()["runs"][at];
        assert_eq!(file["max_concurrency"], parallel);
        assert_eq!(file["completed"], own["counts"]["succeeded"]);
        assert_eq!(
            file["request_throughput"],
            own["throughput"]["requests_per_s"]
        );
        assert_eq!(
            file["output_throughput"],
            own["throughput"]["output_tokens_per_s"]
        );
        assert_eq!(file["p99_ttft_ms"], own["metrics"]["ttft_ms"]["p99"]);
        assert_eq!(file["gpu"], "none");
        assert_eq!(file["backend"], "openai-chat");
        assert!(file.get("ttfts").is_none());
    }
    let flags = [
        "--as",
        "vllm",
        "--detailed",
        "--run",
        "parallel_2_number_9",
        "-o",
        "-",
    ];
    let stdout = exported(&context, &[&[top.as_str()], &flags[..]].concat()).stdout;
    let file: Value = serde_json::from_str(&stdout).unwrap();
    let failed = file["failed"].as_u64().unwrap();
    let texts = file["generated_texts"].as_array().unwrap();
    assert_eq!(texts.len(), 9);
    assert_eq!(
        texts.iter().filter(|text| text.is_null()).count() as u64,
        failed
    );
    assert_eq!(file["start_times"].as_array().unwrap().len(), 9);
}

#[test]
fn what_no_table_can_be_made_of() {
    let (context, top) = measured(&["--record-bodies", "none"]);
    let refused = |name: &str, words: &[&str]| {
        let outcome = context.run(&[&["export"], words].concat());
        assert_eq!(outcome.code, Some(2), "{words:?} {outcome:#?}");
        perf_snapshot!(name, outcome);
    };
    refused("table_of_nothing", &["nowhere"]);
    refused(
        "table_of_a_run_with_another_name",
        &[&top, "--run", "parallel_2_number_8"],
    );
    refused("table_of_a_run_with_no_such_name", &[&top, "--run", "x"]);
    refused("table_with_an_unknown_index", &[&top, "--idx", "3", "99"]);
    refused("table_of_bodies_without_bodies", &[&top, "--bodies"]);
    refused("table_of_the_server", &[&top, "--what", "server"]);
    refused(
        "table_of_series_of_the_warmup",
        &[&top, "--what", "series", "--warmup"],
    );
    refused("table_for_excel", &[&top, "--excel"]);
    refused(
        "table_of_all_to_stdout",
        &[&top, "--what", "all", "-o", "-"],
    );
    refused("table_in_detail", &[&top, "--detailed"]);
    refused("table_as_aiperf", &[&top, "--as", "aiperf"]);
    refused(
        "table_as_vllm_in_csv",
        &[&top, "--as", "vllm", "--format", "csv"],
    );
    refused(
        "two_runs_as_vllm_in_a_file",
        &[&top, "--as", "vllm", "-o", "x.json"],
    );
    let database = context
        .path()
        .join(&top)
        .join("parallel_1_number_9/benchmark_data.db");
    std::fs::write(database, "no database").unwrap();
    refused("table_of_a_broken_database", &[&top]);
    assert!(!context.path().join(&top).join("export").exists());
}
