//! The main job on the built-in simulated server: what is shown, what is written, that nothing is
//! ever overwritten.

use serde_json::Value;

use crate::context::{Context, perf_snapshot};

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
        serde_json::json!({"total": 12, "succeeded": 12, "failed": 0, "not_sent": 0, "by_kind": {}})
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
