//! The main job on the built-in simulated server: what is shown, what is written, that nothing is
//! ever overwritten.

use serde_json::{Value, json};

use crate::context::{Context, no_secret_like, perf_snapshot};
use crate::server::{Recorder, good};

const SIM: [&str; 8] = [
    "--api",
    "local_sim",
    "--dataset",
    "sample",
    "--max-tokens",
    "32",
    "--sleep-interval",
    "0",
];

fn sim(more: &[&'static str]) -> Vec<&'static str> {
    [&SIM, more].concat()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn one_run_end_to_end() {
    let context = Context::new();
    let outcome = context.measure(&sim(&["--parallel", "4", "--number", "12"]));
    perf_snapshot!("one_run", outcome);

    let names: Vec<String> = context.files().into_iter().map(|(name, _)| name).collect();
    insta::assert_snapshot!("files", names.join("\n"));

    let result = context.result();
    let run = &result["runs"][0];
    assert_eq!(
        run["counts"],
        serde_json::json!({"total": 12, "succeeded": 12, "failed": 0, "not_sent": 0, "shed": 0,
                           "unfinished": 0, "context_limit": 0, "by_kind": {}})
    );
    assert_eq!(run["state"], "finished");
    for (metric, count) in [
        ("ttft_ms", 12),
        ("ttfat_ms", 12),
        ("tpot_ms", 12),
        ("latency_s", 12),
        ("output_tokens", 12),
        ("itl_ms", 12 * 31),
        ("event_gap_ms", 12 * 34),
        ("connect_ms", 4),
    ] {
        assert_eq!(run["metrics"][metric]["count"], count, "{metric}");
    }
    assert_eq!(run["metrics"]["output_tokens"]["mean"], 32.0);
    assert_eq!(run["metrics"]["events_per_request"]["mean"], 35.0);
    // 50 ms to the first token, 10 ms between two: nothing can be quicker
    assert!(run["metrics"]["ttft_ms"]["min"].as_f64() >= Some(50.0));
    assert!(run["metrics"]["latency_s"]["min"].as_f64() >= Some(0.35));

    assert_eq!(context.column::<i64>("SELECT count(*) FROM result"), [12]);
    let tokens = context.column::<i64>("SELECT sum(output_tokens) FROM requests WHERE succeeded");
    assert_eq!(tokens, [12 * 32]);
    let log = std::fs::read_to_string(context.top().join("benchmark.log")).unwrap();
    assert!(log.contains("parallel_4_number_12: 12 requests"), "{log}");
}

#[test]
fn result_json_has_the_keys_of_its_schema() {
    let context = Context::new();
    context.measure(&sim(&["--number", "2"]));
    let schema = crate::context::json(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/result.schema.json"),
    );
    let mut compared = 0;
    same_keys(
        &schema,
        &schema,
        &context.result(),
        "result.json",
        &mut compared,
    );
    assert!(compared > 200, "only {compared} keys were compared");
}

/// Every required key is there, and every key that is there is described.
fn same_keys(root: &Value, schema: &Value, value: &Value, place: &str, compared: &mut usize) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    if let (Some(described), Some(map)) = (schema["properties"].as_object(), value.as_object()) {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(
                map.contains_key(required.as_str().unwrap()),
                "{place} lacks {required}"
            );
        }
        for (key, value) in map {
            *compared += 1;
            let place = format!("{place}.{key}");
            let below = described.get(key);
            let below = below.unwrap_or_else(|| panic!("{place} is not in the schema"));
            same_keys(root, below, value, &place, compared);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        same_keys(root, &schema["items"], item, place, compared);
    }
}

#[test]
fn a_sweep_has_an_overview() {
    let context = Context::new();
    let outcome = context.measure(&sim(&["--parallel", "2", "8", "--number", "4", "16"]));
    perf_snapshot!("sweep", outcome);

    let result = context.result();
    let runs: Vec<(&str, i64)> = result["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            (
                run["name"].as_str().unwrap(),
                run["counts"]["succeeded"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        runs,
        [("parallel_2_number_4", 4), ("parallel_8_number_16", 16)]
    );
    let text = std::fs::read_to_string(context.top().join("performance_summary.txt")).unwrap();
    assert!(text.contains("Sweep overview"), "{text}");
    for run in ["parallel_2_number_4", "parallel_8_number_16"] {
        let folder = context.top().join(run);
        let percentiles = crate::context::json(&folder.join("benchmark_percentile.json"));
        assert_eq!(percentiles.as_array().unwrap().len(), 14);
        assert_eq!(
            keys(&percentiles[0]),
            [
                "Percentiles",
                "Latency (s)",
                "TTFT (ms)",
                "ITL (ms)",
                "TPOT (ms)",
                "Input tokens",
                "Output tokens",
                "Output (tok/s)",
                "Total (tok/s)",
                "Decode (tok/s)"
            ]
        );
        let summary = crate::context::json(&folder.join("benchmark_summary.json"));
        assert!(keys(&summary).len() >= 19, "{summary}");
    }
}

#[test]
fn results_are_never_overwritten() {
    let context = Context::new();
    let args = sim(&["--number", "2"]);
    context.measure(&args);
    let before = context.files();
    let again = context.perf(&args);
    perf_snapshot!("existing_results", again);
    assert!(
        before == context.files(),
        "a refused command must change nothing"
    );
}

/// `--no-timestamp` into the folder of another command: other points are added.
#[test]
fn points_are_added_to_a_folder_and_nothing_is_replaced() {
    let context = Context::new();
    context.measure(&sim(&["--number", "2", "--metadata", "try=first"]));
    let first = context.top().join("parallel_1_number_2");
    let measured = std::fs::read(first.join("benchmark_data.db")).unwrap();
    let outcome = context.measure(&sim(&["--number", "3", "--metadata", "try=second"]));
    let said = "outputs/run already holds parallel_1_number_2: the runs of this command are added";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(measured == std::fs::read(first.join("benchmark_data.db")).unwrap());
    let result = context.result();
    let runs: Vec<_> = result["runs"].as_array().unwrap().iter().collect();
    let named = |key: &str| runs.iter().map(|run| run[key].clone()).collect::<Vec<_>>();
    assert_eq!(
        named("name"),
        ["parallel_1_number_2", "parallel_1_number_3"]
    );
    assert_eq!(
        named("metadata"),
        [json!({"try": "first"}), json!({"try": "second"})]
    );
    assert_eq!(result["advice"], json!([]));
    let text = std::fs::read_to_string(context.top().join("performance_summary.txt")).unwrap();
    assert!(text.contains("parallel_1_number_2") && text.contains("parallel_1_number_3"));
    let before = context.files();
    assert_eq!(context.run(&["report", "outputs/run"]).code, Some(0));
    assert!(
        before == context.files(),
        "rebuilt files are the same files"
    );
}

/// Models of the same name by different owners have the same folder.
#[test]
fn nothing_is_added_beside_runs_of_another_model() {
    let context = Context::new();
    let line = |model, number| {
        let common = ["perf", "--api", "local_sim", "--dataset", "sample"];
        let own = ["--no-timestamp", "--model", model, "--number", number];
        context.run(&[&common[..], &own[..]].concat())
    };
    assert_eq!(line("org-a/x", "2").code, Some(0));
    let before = context.files();
    let outcome = line("org-b/x", "3");
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    insta::assert_snapshot!(outcome.stderr, @"
    error: outputs/x already holds runs of another model, `org-a/x`; this command measures `org-b/x`
      hint: choose another `--name` or `--outputs-dir`, or leave out `--no-timestamp`
    ");
    assert!(before == context.files());
}

#[test]
fn nothing_is_added_beside_results_that_cannot_be_read() {
    let context = Context::new();
    let other = context.top().join("parallel_9_number_9");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::write(other.join("benchmark_data.db"), "precious").unwrap();
    let before = context.files();
    let outcome = context.perf(&sim(&["--number", "2"]));
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    let said = "no runs can be added to outputs/run: ";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(before == context.files());
}

/// What is known of a command besides its figures.
#[test]
fn the_result_tells_where_and_how_it_was_made() {
    let context = Context::new();
    let args = [
        "--number",
        "2",
        "--api-key",
        "sk-1234",
        "--headers",
        "X-Team=violet",
        "--metadata",
        "gpu=H100",
        "note=a b",
        "--metadata",
        "gpu=H200",
    ];
    let outcome = context.measure(&sim(&args));
    no_secret_like(&context, &outcome, &["sk-1234", "violet"]);
    let result = context.result();
    let line = result["command_line"].as_str().unwrap();
    assert!(line.starts_with("evalscope perf "), "{line}");
    for part in [
        "--api-key '***'",
        "'X-Team=***'",
        "'note=a b'",
        "--no-timestamp",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(result["metadata"], json!({"gpu": "H200", "note": "a b"}));
    assert_eq!(result["settings"]["metadata"], result["metadata"]);
    assert!(
        result["host"]["cpus"].as_u64() > Some(0),
        "{}",
        result["host"]
    );
    assert!(result["host"]["name"].is_string(), "{}", result["host"]);
    let moment = |key: &str| {
        let text = result[key].as_str().unwrap();
        text.parse::<jiff::Timestamp>().unwrap()
    };
    assert!(moment("started_at") < moment("ended_at"));
    assert_eq!(result["ended_at"], result["runs"][0]["ended_at"]);
    let bad = context.run(&[&["perf", "--metadata", "gpu"], SIM.as_slice()].concat());
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.contains("KEY=VALUE"), "{}", bad.stderr);
}

/// More than a gigabyte is told before the load.
#[test]
fn results_that_will_be_large_are_announced() {
    let server = Recorder::start(|request, _| good(request));
    let url = server.url();
    let announced = |more: &[&'static str]| {
        let base = ["--url", &url, "--model", "m", "--prompt", "p"];
        let load = ["--duration", "0.2", "--number", "10000"];
        let outcome = Context::new().measure(&[base.as_slice(), &load, more].concat());
        let lines = outcome.stderr.lines();
        let mut lines = lines.filter(|line| line.contains("on disk"));
        lines.next().map(str::to_owned)
    };
    let said = announced(&[]).unwrap();
    let (needed, rest) = said.split_once(", where ").unwrap();
    let (free, less) = rest.split_once(" are free, ").unwrap();
    assert_eq!(
        (needed, less),
        (
            "the results will take up to about 5.1 GB on disk",
            "without the prompts; about 100 MB with `--record-bodies none`"
        )
    );
    // any amount: it is that of this machine
    let (amount, unit) = free.split_once(' ').unwrap();
    assert!(
        amount.parse::<f64>().is_ok() && ["MB", "GB"].contains(&unit),
        "{free}"
    );
    assert_eq!(announced(&["--record-bodies", "none"]), None);
    assert_eq!(announced(&["--no-stream"]), None);
}

/// `benchmark_args.json` is of one point, in EvalScope's order.
#[test]
fn arguments_of_a_point_are_its_own() {
    let context = Context::new();
    context.measure(&sim(&["--parallel", "1", "2", "--number", "2", "4"]));
    let folder = context.top().join("parallel_2_number_4");
    let args = crate::context::json(&folder.join("benchmark_args.json"));
    let keys: Vec<&String> = args.as_object().unwrap().keys().collect();
    assert_eq!(
        keys[..4],
        ["model", "model_id", "attn_implementation", "api"]
    );
    assert_eq!(keys[80], "multi_turn_args");
    assert!(keys[81..].iter().any(|key| *key == "record_bodies"));
    for (key, want) in [
        ("parallel", json!(2)),
        ("number", json!(4)),
        ("rate", json!(-1.0)),
        ("max_tokens", json!(32)),
        ("dataset_offset", json!(2)),
        ("apply_chat_template", json!(true)),
        ("model_id", json!("sim")),
        ("outputs_dir", json!("outputs/run/parallel_2_number_4")),
        ("logprobs", Value::Null),
    ] {
        assert_eq!(args[key], want, "{key}");
    }
}

#[test]
fn the_time_is_in_the_folder_unless_told_otherwise() {
    let context = Context::new();
    let outcome = context.run(&[&["perf", "--number", "1"], SIM.as_slice()].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let files = context.files();
    let result = files
        .iter()
        .find(|(name, _)| name.ends_with("/result.json"));
    let parts: Vec<&str> = result.unwrap().0.split('/').collect();
    let [outputs, time, model, _] = parts.as_slice() else {
        panic!("{parts:?}");
    };
    assert_eq!((*outputs, *model), ("outputs", "sim"));
    let shape: String = time
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "00000000_000000");
}
