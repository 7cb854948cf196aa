//! What runs say by themselves: percentiles beyond those of a report, histograms, intervals of single runs.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::sqlite::FILE_NAME;

fn figures(names: &[&str]) -> Vec<FigureKey> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A run of so many requests in a folder of its own, and its database.
fn measured(folder: &Path, requests: u64) -> std::path::PathBuf {
    let own = folder.join(format!("run_{requests}"));
    std::fs::create_dir(&own).unwrap();
    samples::finished(&own, &samples::meta("m"), samples::mixed(requests))
}

fn baseline_of(runs: &[Run]) -> Value {
    serde_json::from_str(&Baseline::of(runs).text().unwrap()).unwrap()
}

fn read_text(folder: &Path, text: &str, further: &[FigureKey]) -> Result<Vec<Run>, ReadError> {
    let file = folder.join("file.json");
    std::fs::write(&file, text).unwrap();
    read_side(&text_of(&file), further)
}

#[test]
fn percentiles_beyond_those_of_a_report_come_from_databases_and_baselines() {
    let folder = tempfile::tempdir().unwrap();
    let database = text_of(&measured(folder.path(), 400));
    let wanted = figures(&["ttft_p99.9", "latency_p97.5", "dispatch_lag_p42"]);
    let of = |runs: &[Run], name: &str| runs[0].figures.get(&name.parse().unwrap()).copied();
    assert_eq!(of(&read_side(&database, &[]).unwrap(), "ttft_p99.9"), None);
    let exact = read_side(&database, &wanted).unwrap();
    let p999 = of(&exact, "ttft_p99.9").unwrap();
    assert!(p999.value > of(&exact, "ttft_p99").unwrap().value);
    assert_eq!(p999.ln_variance, None, "no request need lie above it");
    assert!(of(&exact, "latency_p97.5").unwrap().ln_variance.is_some());

    // a baseline keeps p99.9, and has others from its histograms
    let kept = read_side(&database, &Baseline::further()).unwrap();
    let text = Baseline::of(&kept).text().unwrap();
    let back = read_text(folder.path(), &text, &wanted).unwrap();
    let near = |name: &str, error: f64| {
        let (a, b) = (
            of(&back, name).unwrap().value,
            of(&exact, name).unwrap().value,
        );
        assert!((a - b).abs() <= error * b, "{name}: {a} {b}");
    };
    near("ttft_p99.9", 1e-7);
    near("latency_p97.5", 0.005);
    assert!(of(&back, "latency_p97.5").unwrap().ln_variance.is_some());
    assert_eq!(of(&back, "dispatch_lag_p42"), None, "it has no histogram");

    let mut options = options(&["latency_p97.5>+5%"]);
    assert_eq!(
        compare(&exact, &back, &options).unwrap().ending,
        Ending::Passed
    );
    options.gates = self::options(&["dispatch_lag_p42>+5%"]).gates;
    let error = compare(&exact, &back, &options).unwrap_err().to_string();
    assert!(
        error.contains("has no dispatch_lag_p42\nhint: percentiles other than p1, p5, p10"),
        "{error}"
    );
}

#[test]
fn baselines_of_version_1_are_read_and_unknown_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let old = json!({
        "kind": "evalscope-baseline", "format_version": 1, "tool": {"name": "evalscope", "version": "0.1.0"},
        "runs": [{
            "place": {"name": "p", "parallel": 8, "rate": null, "number": 1000, "duration_s": null},
            "origin": "base", "tool": "evalscope 0.1.0", "settings": {"model": "m"},
            "figures": {
                "ttft_p50": {"value": 140.0, "ln_variance": 0.0001},
                "ttft_max": {"value": 900.0}
            },
            "lost": {"count": 2, "of": 1000, "inflation": 1.0}, "good": null
        }]
    });
    let runs = read_text(folder.path(), &old.to_string(), &[]).unwrap();
    let figure = |name: &str| runs[0].figures[&name.parse().unwrap()];
    assert_eq!(figure("ttft_p50").ln_variance, Some(0.0001));
    assert_eq!(
        (figure("ttft_max").value, figure("ttft_max").ln_variance),
        (900.0, None)
    );
    for (key, value, why) in [
        (
            "format_version",
            json!(3),
            "it is a baseline of format version 3, and this program reads 1 to 2",
        ),
        (
            "format_version",
            json!(0),
            "it is a baseline of format version 0",
        ),
        (
            "runs",
            json!([{"origin": "x"}]),
            "it is not a baseline: missing field `place`",
        ),
    ] {
        let mut file = old.clone();
        file[key] = value;
        let error = read_text(folder.path(), &file.to_string(), &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
    let mut broken = baseline_of(&[run(8, &[])]);
    broken["runs"][0]["blocks"] = json!({"ttft": {"bits": 7, "parts": ["//8="]}});
    let error = read_text(folder.path(), &broken.to_string(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("part 1 of a histogram cannot be read"),
        "{error}"
    );
}

#[test]
fn five_runs_of_a_load_are_a_small_baseline() {
    let folder = tempfile::tempdir().unwrap();
    let database = text_of(&measured(folder.path(), 1000));
    let one = read_side(&database, &Baseline::further()).unwrap();
    let runs: Vec<Run> = one.iter().cycle().take(5).cloned().collect();
    let text = Baseline::of(&runs).text().unwrap();
    assert!(text.len() < 61_000, "{}", text.len());
    assert_eq!(text.lines().count(), 7, "a line for each run");
    let back = read_text(folder.path(), &text, &[]).unwrap();
    let count = |runs: &[Run], of: Timed| runs[4].blocks[&of].together().count();
    assert_eq!(count(&back, Timed::Ttft), count(&runs, Timed::Ttft));
    assert_eq!(back[0].settings, runs[0].settings);
}

#[test]
fn the_schema_of_baselines_is_in_the_documentation() {
    let schema = schemars::schema_for!(Baseline).to_value();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/baseline.schema.json"
    );
    samples::assert_documented(path, &files::text(&schema).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let runs = read_side(&text_of(&measured(folder.path(), 60)), &[]).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&baseline_of(&runs))
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

/// The cell of a figure, of one run a side.
fn cell_of(base: &[Run], new: &[Run], figure: &str) -> (Cell, Vec<String>) {
    let options = Options {
        figures: figures(&[figure]),
        ..Options::default()
    };
    let mut comparison = compare(base, new, &options).unwrap();
    let mut point = comparison.points.remove(0);
    (point.cells.remove(0), point.without_intervals)
}

#[test]
fn a_result_has_the_intervals_that_it_holds_and_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let database = measured(folder.path(), 1000);
    let reports = [crate::RunReport::load(&database).unwrap()];
    let together = crate::together::Together::default();
    let result = files::ResultFile::new(&reports, &together).unwrap();
    let mut result: Value = serde_json::from_str(&files::text(&result).unwrap()).unwrap();
    let ttft = &mut result["runs"][0]["metrics"]["ttft_ms"];
    let p50 = ttft["p50"].as_f64().unwrap();
    ttft["p50_ci"] = json!([0.97 * p50, 1.03 * p50]);
    let text = result.to_string();
    let from_result = read_text(folder.path(), &text, &[]).unwrap();
    let (cell, why) = cell_of(&from_result, &from_result, "ttft_p50");
    assert_eq!((cell.method, why), (Method::FewRuns, Vec::new()));
    // wider than what is assumed between runs
    assert!(cell.change_ci.unwrap().high() > 1.96 * 0.03 * std::f64::consts::SQRT_2);
    let (cell, why) = cell_of(&from_result, &from_result, "ttft_mean");
    assert_eq!(cell.method, Method::Unknown);
    assert_eq!(why.len(), 1);
    assert!(
        why[0].starts_with(
            "no interval for ttft_mean: a result.json has an interval only of p50, p90, p95 and p99"
        ),
        "{why:?}"
    );
    // beside it, the database says what it can
    let from_database = read_side(&text_of(&database), &[]).unwrap();
    let (cell, _) = cell_of(&from_database, &from_database, "ttft_mean");
    assert_eq!(cell.method, Method::FewRuns);
    let (_, why) = cell_of(&from_database, &from_database, "ttft_max");
    assert!(
        why[0].contains("no interval for ttft_max: with fewer than three runs a side"),
        "{why:?}"
    );
    let wanted = figures(&["ttft_p99.9"]);
    let with_p999 = read_side(&text_of(&database), &wanted).unwrap();
    let (_, why) = cell_of(&with_p999, &with_p999, "ttft_p99.9");
    let expected = "no interval for ttft_p99.9: it takes 3,700 requests a run to say how much it varies, or three runs a side";
    assert_eq!(why, [expected]);
}

#[test]
fn a_run_of_few_latencies_says_nothing_by_itself() {
    let of = |is_short: bool| {
        let mut run = run(8, &[]);
        run.is_short = is_short;
        run.without_intervals = is_short.then(|| "the run lasted 5 median latencies".to_owned());
        [run]
    };
    let (cell, why) = cell_of(&of(false), &of(false), "ttft_p50");
    assert_eq!((cell.method, why.len()), (Method::FewRuns, 0));
    let (cell, why) = cell_of(&of(false), &of(true), "ttft_p50");
    assert_eq!(cell.method, Method::Unknown);
    assert_eq!(
        why,
        ["no interval for ttft_p50: the run lasted 5 median latencies"]
    );
    // three runs a side say it together
    let three = vec![of(true)[0].clone(); 3];
    assert_eq!(
        cell_of(&three, &three, "ttft_p50").0.method,
        Method::Repeats
    );
}

/// A result of vLLM's bench with lists of 200 requests, the last of which failed.
fn vllm(with_lists: bool, with_starts: bool) -> Value {
    let mut result = json!({
        "model_id": "m", "num_prompts": 200, "request_rate": "inf", "max_concurrency": 4, "completed": 199,
        "total_input_tokens": 2000, "total_output_tokens": 1000, "request_throughput": 9.8,
        "output_throughput": 196.0, "total_token_throughput": 294.0,
        "mean_ttft_ms": 30.0, "median_ttft_ms": 30.0, "p99_ttft_ms": 39.8, "median_e2el_ms": 70.0,
    });
    if !with_lists {
        return result;
    }
    let nths = 0..200_u32;
    let ttft = |nth: u32| {
        if nth == 199 {
            0.0
        } else {
            0.02 + f64::from(nth * 79 % 200) * 1e-4
        }
    };
    let gaps = |nth: u32| {
        if nth == 199 {
            json!([])
        } else {
            json!([0.01, 0.01, 0.01, 0.01])
        }
    };
    result["ttfts"] = nths.clone().map(ttft).collect();
    result["itls"] = nths.clone().map(gaps).collect();
    result["input_lens"] = nths.clone().map(|_| json!(10)).collect();
    result["output_lens"] = nths
        .clone()
        .map(|nth| json!(if nth == 199 { 0 } else { 5 }))
        .collect();
    result["errors"] = nths
        .clone()
        .map(|nth| json!(if nth == 199 { "reset" } else { "" }))
        .collect();
    if with_starts {
        result["start_times"] = nths
            .map(|nth| json!(1000.0 + 0.02 * f64::from(nth)))
            .collect();
    }
    result
}

#[test]
fn the_lists_of_vllm_say_how_much_figures_vary() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = figures(&["ttft_p97.5"]);
    let read = |lists, starts| {
        read_text(folder.path(), &vllm(lists, starts).to_string(), &wanted).unwrap()
    };
    let bare = read(false, false);
    let (cell, why) = cell_of(&bare, &bare, "ttft_p50");
    assert_eq!(cell.method, Method::Unknown);
    assert!(
        why[0].ends_with("a result of vLLM has intervals only with the lists of `--save-detailed`")
    );

    let detailed = read(true, true);
    for figure in [
        "ttft_p50",
        "ttft_p97.5",
        "tpot_p50",
        "itl_p90",
        "latency_p99",
        "output_tokens_per_s",
    ] {
        let (cell, why) = cell_of(&detailed, &detailed, figure);
        assert_eq!(
            (cell.method, why),
            (Method::FewRuns, Vec::new()),
            "{figure}"
        );
    }
    let value = |name: &str| detailed[0].value(name.parse().unwrap()).unwrap();
    // what the result says itself stays
    assert!((value("ttft_p99") - 39.8).abs() < 1e-9);
    assert!(
        (value("tpot_p50") - 10.0).abs() < 1e-9,
        "without the request that failed"
    );
    assert!(
        (value("latency_p99") - 0.0798).abs() < 0.001,
        "{}",
        value("latency_p99")
    );

    let (cell, why) = cell_of(
        &read(true, false),
        &read(true, false),
        "output_tokens_per_s",
    );
    assert_eq!(cell.method, Method::Unknown);
    assert!(why[0].contains("have no `start_times`"), "{why:?}");
    assert_eq!(
        cell_of(&read(true, false), &read(true, false), "ttft_p50")
            .0
            .method,
        Method::FewRuns
    );
    // lists of other lengths, or of other things, are no reason to panic
    for (key, list) in [
        ("itls", json!([1])),
        ("ttfts", json!(["a"])),
        ("errors", json!(3)),
    ] {
        let mut odd = vllm(true, true);
        odd[key] = list;
        read_text(folder.path(), &odd.to_string(), &wanted).unwrap();
    }
}

#[test]
fn a_half_written_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let database = measured(folder.path(), 60);
    let bytes = std::fs::read(&database).unwrap();
    for part in [0, 10, 100, 5000, bytes.len() / 2] {
        let own = folder.path().join(format!("cut_{part}"));
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join(FILE_NAME), &bytes[..part]).unwrap();
        let error = read_side(&text_of(&own), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("cut_{part}")), "{error}");
    }
}
