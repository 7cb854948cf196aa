//! `evalscope export --as evalscope`: what was measured again, as EvalScope 1.14.1 has it. The files
//! themselves are snapshots of the report crate; `ci/reference-commands export` has the real package
//! read them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use evalscope_sim::{Profile, SimConfig, Simulator};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::context::{Context, NAME, open, perf_snapshot};

/// `sqlite_master` of a database that EvalScope 1.14.1 has made.
const SCHEMA: &str = "CREATE TABLE result(
                      request TEXT,
                      start_time REAL,
                      inter_token_latencies TEXT,
                      success INTEGER,
                      response_messages TEXT,
                      completed_time REAL,
                      latency REAL,
                      first_chunk_latency REAL,
                      prompt_tokens INTEGER,
                      completion_tokens INTEGER,
                      max_gpu_memory_cost REAL,
                      time_per_output_token REAL,
                      request_id TEXT,
                      is_stream INTEGER
                   )";

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

/// Measure, and export from the command's folder.
fn exported(context: &Context, simulator: &Simulator, flags: &[&str]) -> PathBuf {
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
    ];
    context.perf(&[&fixed, flags].concat());
    let before = context.files();
    let outcome = context.run(&[
        "export",
        &format!("outputs/{NAME}"),
        "--as",
        "evalscope",
        "-o",
        "out",
    ]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(outcome.stdout, "");
    let mut after = context.files();
    after.retain(|(name, _)| !name.starts_with("out/"));
    assert!(before == after, "the export wrote where it reads");
    only_folder(&only_folder(&context.path().join("out")))
}

fn only_folder(folder: &Path) -> PathBuf {
    let mut inside = std::fs::read_dir(folder).unwrap();
    let only = inside.next().unwrap().unwrap().path();
    assert!(inside.next().is_none(), "{}", folder.display());
    only
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn column<T: rusqlite::types::FromSql>(database: &Connection, query: &str) -> Vec<T> {
    let mut statement = database.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn json_of(run: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(run.join(name)).unwrap();
    assert!(!text.ends_with('\n'), "{name}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn streamed_and_failed_requests() {
    let context = Context::new();
    let simulator = simulator(&["http-503:every=3"]);
    let flags = ["--number", "9", "--parallel", "2", "--max-tokens", "5"];
    let top = exported(&context, &simulator, &flags);
    assert!(top.ends_with(NAME), "{}", top.display());
    assert_eq!(names(&top), ["parallel_2_number_9"]);
    let run = top.join("parallel_2_number_9");
    assert_eq!(
        names(&run),
        [
            "benchmark_args.json",
            "benchmark_data.db",
            "benchmark_percentile.json",
            "benchmark_summary.json",
            "workload_throughput.json",
            "workload_timeline.json",
        ]
    );

    let database = open(&run.join("benchmark_data.db"));
    let schema = "SELECT sql FROM sqlite_master";
    assert_eq!(column::<String>(&database, schema), [SCHEMA]);
    let count = |condition: &str| {
        let query = format!("SELECT count(*) FROM result WHERE {condition}");
        column::<i64>(&database, &query)[0]
    };
    assert_eq!(count("success = 1 AND is_stream = 1"), 6);
    assert_eq!(
        count(
            "success = 0 AND is_stream = 1 AND latency IS NULL AND first_chunk_latency IS NULL \
             AND prompt_tokens IS NULL AND completion_tokens IS NULL AND time_per_output_token IS NULL \
             AND max_gpu_memory_cost IS NULL AND inter_token_latencies = '[]' \
             AND response_messages = 'gAJdLg==' AND json_extract(request, '$.model') = 'org/m' \
             AND completed_time >= start_time"
        ),
        3
    );
    assert_eq!(
        count(
            "success = 1 AND completion_tokens = 5 AND json_array_length(inter_token_latencies) = 4 \
             AND 0 < first_chunk_latency AND first_chunk_latency <= latency \
             AND abs(completed_time - start_time - latency) < 2e-6 \
             AND max_gpu_memory_cost = 0.0 AND request_id IS NULL \
             AND json_extract(request, '$.stream_options.include_usage')"
        ),
        6
    );
    // 0.0 where all tokens came in one read
    assert_eq!(count("success = 1 AND time_per_output_token >= 0.0"), 6);
    assert_eq!(
        column::<i64>(
            &database,
            "SELECT rowid FROM result ORDER BY completed_time, rowid"
        ),
        (1..=9).collect::<Vec<_>>()
    );

    let summary = json_of(&run, "benchmark_summary.json");
    assert_eq!(
        [
            &summary["Success Requests"],
            &summary["Failed Requests"],
            &summary["Stream Requests"],
            &summary["Avg Output Tokens"],
            &summary["Request Rate (req/s)"],
        ],
        [&json!(6), &json!(3), &json!(9), &json!(5.0), &json!(-1.0)]
    );
    let rows = json_of(&run, "benchmark_percentile.json");
    let labels: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Percentiles"].as_str().unwrap())
        .collect();
    assert_eq!(
        labels,
        [
            "min", "1%", "5%", "10%", "25%", "50%", "75%", "90%", "95%", "99%", "max"
        ]
    );
    assert_eq!(json_of(&run, "workload_throughput.json")["n_samples"], 6);
}

#[test]
fn responses_that_came_whole() {
    let context = Context::new();
    let flags = ["--number", "2", "--no-stream", "--max-tokens", "5"];
    let run = only_folder(&exported(&context, &simulator(&[]), &flags));
    let database = open(&run.join("benchmark_data.db"));
    let query = "SELECT count(*) FROM result WHERE success = 1 AND is_stream = 0 \
                 AND first_chunk_latency = latency AND time_per_output_token = 0.0 \
                 AND inter_token_latencies = '[]'";
    assert_eq!(column::<i64>(&database, query), [2]);
    // the last bytes of a pickled list with a dict in it
    let query = "SELECT response_messages FROM result";
    for messages in column::<String>(&database, query) {
        let pickle = base64::engine::general_purpose::STANDARD.decode(messages);
        let pickle = pickle.unwrap();
        assert!(
            pickle.starts_with(b"\x80\x02](}(X\x02\0\0\0idX"),
            "{pickle:?}"
        );
        assert!(pickle.ends_with(b"uue."), "{pickle:?}");
    }
    let summary = json_of(&run, "benchmark_summary.json");
    let latency_s = summary["Avg Latency (s)"].as_f64().unwrap();
    let ttft_ms = summary["Avg TTFT (ms)"].as_f64().unwrap();
    assert!((ttft_ms / 1e3 - latency_s).abs() < 1e-4);
    assert_eq!(
        [
            &summary["Avg TPOT (ms)"],
            &summary["Avg ITL (ms)"],
            &summary["Non-Stream Requests"],
        ],
        [&json!(0.0), &json!(0.0), &json!(2)]
    );
    let row = &json_of(&run, "benchmark_percentile.json")[5];
    assert_eq!(
        [&row["ITL (ms)"], &row["TPOT (ms)"]],
        [&Value::Null, &json!(0.0)]
    );
}

#[test]
fn every_point_of_a_sweep_has_its_own_values() {
    let context = Context::new();
    let flags = [
        "--parallel",
        "1",
        "2",
        "--number",
        "2",
        "4",
        "--max-tokens",
        "3",
        "--api-key",
        "sk-12345678",
    ];
    let top = exported(&context, &simulator(&[]), &flags);
    let points = names(&top);
    assert_eq!(points, ["parallel_1_number_2", "parallel_2_number_4"]);
    for (point, parallel, number, offset) in [(0, 1, 2, 0), (1, 2, 4, 2)] {
        let run = top.join(&points[point]);
        let args = json_of(&run, "benchmark_args.json");
        assert_eq!(args.as_object().unwrap().len(), 81);
        let values = ["parallel", "number", "dataset_offset", "max_tokens", "rate"];
        let values = values.map(|key| args[key].clone());
        let want = [
            json!(parallel),
            json!(number),
            json!(offset),
            json!(3),
            json!(-1.0),
        ];
        assert_eq!(values, want);
        assert_eq!(args["api_key"], "**********");
        assert_eq!(args["headers"]["Authorization"], "**********");
        let folder = args["outputs_dir"].as_str().unwrap();
        assert_eq!(context.path().join(folder), run);
    }
}

#[test]
fn requests_without_bodies_are_told_of() {
    let context = Context::new();
    let flags = [
        "--number",
        "3",
        "--max-tokens",
        "3",
        "--record-bodies",
        "none",
        "--warmup-num",
        "1",
    ];
    let run = only_folder(&exported(&context, &simulator(&[]), &flags));
    let database = open(&run.join("benchmark_data.db"));
    let query =
        "SELECT count(*) FROM result WHERE request IS NULL AND response_messages = 'gAJdLg=='";
    assert_eq!(column::<i64>(&database, query), [3]);
    let outcome = context.run(&["export", "outputs", "--as", "evalscope", "-o", "again"]);
    let said = "the bodies of 3 of 3 requests were not recorded: their `request` is NULL";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("exported 1 run to again"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_cannot_be_exported() {
    let context = Context::new();
    let url = simulator(&[]);
    context.measure(&[
        "--url",
        &url.url(),
        "--model",
        "m",
        "--prompt",
        "p",
        "--number",
        "1",
        "--max-tokens",
        "2",
    ]);
    std::fs::create_dir(context.path().join("empty")).unwrap();
    context.write("file", "");
    let source = format!("outputs/{NAME}");
    let inside = format!("outputs/{NAME}/export");
    let to = |dir: &str, out: &str| context.run(&["export", dir, "--as", "evalscope", "-o", out]);
    perf_snapshot!("export_of_no_run", to("empty", "out"));
    perf_snapshot!("export_of_nothing", to("nowhere", "out"));
    perf_snapshot!("export_into_what_is_read", to(&source, &inside));
    perf_snapshot!("export_into_a_full_folder", to(&source, "outputs"));
    perf_snapshot!("export_into_a_file", to(&source, "file"));
    perf_snapshot!(
        "export_in_an_unknown_form",
        context.run(&["export", &source, "--as", "parquet", "-o", "out"])
    );
    perf_snapshot!(
        "export_without_a_folder",
        context.run(&["export", &source, "--as", "evalscope"])
    );
    assert!(!context.path().join("out").exists());
}

/// What an export writes is no run of this program.
#[test]
fn an_export_is_not_read_as_a_run() {
    let context = Context::new();
    let flags = ["--number", "1", "--max-tokens", "3"];
    let top = exported(&context, &simulator(&[]), &flags);
    let top = top.to_str().unwrap();
    for words in [
        &["report", top][..],
        &["export", top, "--as", "evalscope", "-o", "new"],
    ] {
        let outcome = context.run(words);
        assert_eq!(outcome.code, Some(2));
        assert!(
            outcome.stderr.contains("another program wrote it"),
            "{}",
            outcome.stderr
        );
    }
}
