//! Runs that are measured more than once: `--repeats`.

use evalscope_sim::{Profile, SimConfig, Simulator};
use serde_json::Value;

use crate::context::{Context, json};

/// Each load has its median, range and interval, and the files are the same when they are made again.
#[test]
fn runs_of_a_sweep_are_repeated_in_turn() {
    let server = Simulator::start(SimConfig {
        profile: Profile {
            ttft_ms: 2.0,
            itl_ms: 1.0,
            ..Profile::default()
        },
        ..SimConfig::default()
    })
    .unwrap();
    let context = Context::new();
    let url = server.url();
    let outcome = context.measure(&[
        &url,
        "--model=m",
        "--dataset=sample",
        "--parallel=1,2",
        "--number=12",
        "--repeats=3",
        "--sleep-interval=0",
        "--max-tokens=8",
    ]);
    let result = context.result();
    let runs = result["runs"].as_array().unwrap();
    let names: Vec<&str> = runs
        .iter()
        .map(|run| run["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "parallel_1_number_12",
            "parallel_2_number_12",
            "parallel_1_number_12_rep2",
            "parallel_2_number_12_rep2",
            "parallel_1_number_12_rep3",
            "parallel_2_number_12_rep3",
        ]
    );
    for name in &names {
        assert!(context.top().join(name).join("benchmark_data.db").is_file());
    }
    let repeats = result["repeats"].as_array().unwrap();
    assert_eq!(repeats.len(), 2);
    assert_eq!(repeats[1]["load"], "parallel_2_number_12");
    assert_eq!(repeats[1]["pooled"]["ttft_ms"]["count"], 36);
    let figure = |key: &str| {
        let all = repeats[1]["figures"].as_array().unwrap();
        all.iter().find(|figure| figure["key"] == key).unwrap()
    };
    let number = |value: &Value| value.as_f64().unwrap();
    let speed = figure("requests_per_s");
    let (low, high) = (number(&speed["lowest"]), number(&speed["highest"]));
    assert!(low <= number(&speed["median"]) && number(&speed["median"]) <= high);
    assert_eq!(speed["values"].as_array().unwrap().len(), 3);
    let interval = speed["interval"].as_array().unwrap();
    assert!(number(&interval[0]) < high && low < number(&interval[1]));
    // a success share does not vary
    assert_eq!(
        number(&figure("success_share")["highest"]).to_bits(),
        1f64.to_bits()
    );
    assert!(
        outcome.stdout.contains("Repeated runs:"),
        "{}",
        outcome.stdout
    );
    let page = std::fs::read_to_string(context.top().join("perf_report.html")).unwrap();
    assert!(page.contains("Repeated runs"));
    let again = context.run(&["report", "outputs/run"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(json(&context.top().join("result.json")), result);
}

/// Once is no repeat: nothing is called one, and nothing is said of it.
#[test]
fn a_single_measurement_has_no_repeats() {
    let server = Simulator::start(SimConfig::default()).unwrap();
    let context = Context::new();
    let url = server.url();
    let outcome = context.measure(&[
        &url,
        "--model=m",
        "--dataset=sample",
        "--number=3",
        "--repeats=1",
    ]);
    assert!(!outcome.stdout.contains("Repeated runs"));
    assert_eq!(context.result()["repeats"], serde_json::json!([]));
    let outcome = context.perf(&[&url, "--model=m", "--dataset=sample", "--repeats=0"]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome
            .stderr
            .contains("`--repeats 0`: expected a whole number from 1 to 1000"),
        "{}",
        outcome.stderr
    );
}
