//! Comparisons of made-up runs: verdicts, rules, and a golden file of every format.

mod sources;

use std::collections::BTreeMap;

use evalscope_model::metrics::normal_quantile;
use serde_json::{Map, json};

use super::*;
use crate::console::{Confidence, Ink, Screen};
use crate::json as files;
use crate::names::{Better, FigureKey};
use crate::rules::{Gate, PointPlace};
use crate::samples;

/// Uniform draws from (0, 1), always the same.
fn draws(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    })
}

/// A run with these figures, in percent of usual ones.
pub(super) fn run(parallel: u64, percent: &[(&str, f64)]) -> Run {
    let usual = [
        ("requests_per_s", 10.0),
        ("output_tokens_per_s", 1280.0),
        ("ttft_mean", 150.0),
        ("ttft_p50", 140.0),
        ("ttft_p99", 300.0),
        ("tpot_p50", 12.0),
        ("latency_p99", 2.5),
        ("input_tokens_mean", 512.0),
        ("output_tokens_mean", 128.0),
    ];
    let figures = usual.iter().map(|(name, value)| {
        let own = percent.iter().find(|(other, _)| other == name);
        let value = value * own.map_or(1.0, |(_, percent)| percent / 100.0);
        let measured = Measured {
            value,
            ln_variance: Some(0.0001),
        };
        (name.parse().unwrap(), measured)
    });
    let mut run = Run {
        place: PointPlace {
            name: format!("parallel_{parallel}_number_1000"),
            parallel: Some(parallel),
            rate: None,
            number: Some(1000),
            duration_s: None,
        },
        origin: "run".to_owned(),
        tool: "evalscope 0.1.0".to_owned(),
        settings: Map::from_iter([("model".to_owned(), json!("m"))]),
        figures: figures.collect(),
        blocks: AllBlocks::new(),
        without_intervals: None,
        is_short: false,
        lost: None,
        good: None,
        finish_reasons: BTreeMap::new(),
        unusable: None,
        client_limited: false,
        warnings: Vec::new(),
    };
    set_lost(&mut run, 2);
    run
}

fn set_lost(run: &mut Run, count: u64) {
    run.lost = Some(Trials {
        count,
        of: 1000,
        inflation: 1.0,
    });
    let value = count as f64 / 1000.0;
    let rate = "error_rate".parse().unwrap();
    run.figures.insert(
        rate,
        Measured {
            value,
            ln_variance: None,
        },
    );
}

fn options(rules: &[&str]) -> Options {
    Options {
        figures: FigureKey::PRIMARY.to_vec(),
        gates: rules
            .iter()
            .map(|rule| Gate::from(rule.parse::<crate::rules::Rule>().unwrap()))
            .collect(),
        ..Options::default()
    }
}

/// Five runs a side; of the new ones at 8, TTFT is 23 % longer and the tail unclear.
fn sides() -> (Vec<Run>, Vec<Run>) {
    let mut base = Vec::new();
    let mut new = Vec::new();
    for parallel in [1, 8] {
        for scatter in [-1.0, -0.5, 0.0, 0.5, 1.0] {
            let at = 100.0 + scatter;
            base.push(run(
                parallel,
                &[("ttft_p50", at), ("ttft_p99", at), ("tpot_p50", at)],
            ));
            let slower = if parallel == 8 { 1.23 } else { 1.0 };
            let tail = 100.0 + 12.0 * scatter + 9.0;
            new.push(run(
                parallel,
                &[
                    ("ttft_p50", at * slower),
                    ("ttft_p99", tail),
                    ("tpot_p50", 2.0 * at - 100.0),
                ],
            ));
        }
    }
    set_lost(&mut new[9], 40);
    (base, new)
}

const RULES: [&str; 4] = [
    "ttft_p50>+5% and ttft_p50>+20ms",
    "ttft_p99>+5%",
    "error_rate>1%",
    "output_tokens_per_s<-3%",
];

fn compared() -> Vec<Comparison> {
    let (base, new) = sides();
    vec![compare(&base, &new, &options(&RULES)).unwrap()]
}

fn verdict_of(comparison: &Comparison, point: usize, figure: &str) -> Verdict {
    let figure: FigureKey = figure.parse().unwrap();
    let cells = &comparison.points[point].cells;
    cells
        .iter()
        .find(|cell| cell.figure == figure)
        .unwrap()
        .verdict
}

#[test]
fn figures_are_worse_same_or_unclear() {
    let comparison = compared().remove(0);
    assert_eq!(verdict_of(&comparison, 0, "ttft_p50"), Verdict::Same);
    assert_eq!(verdict_of(&comparison, 1, "ttft_p50"), Verdict::Worse);
    assert_eq!(verdict_of(&comparison, 1, "ttft_p99"), Verdict::Unclear);
    assert_eq!(
        verdict_of(&comparison, 1, "output_tokens_per_s"),
        Verdict::Same
    );
    assert_eq!(verdict_of(&comparison, 1, "error_rate"), Verdict::Unclear);
    let (base, new) = sides();
    let back = compare(&new, &base, &options(&[])).unwrap();
    assert_eq!(verdict_of(&back, 1, "ttft_p50"), Verdict::Better);
    assert_eq!(back.ending, Ending::Passed);
}

#[test]
fn rules_fail_pass_and_are_unclear() {
    let comparison = compared().remove(0);
    let outcomes: Vec<(&str, &str, RuleOutcome)> = comparison
        .rules
        .iter()
        .map(|rule| (rule.rule.as_str(), rule.point.as_str(), rule.outcome))
        .collect();
    let (one, eight) = ("parallel=1 number=1000", "parallel=8 number=1000");
    assert_eq!(
        outcomes,
        [
            (RULES[0], one, RuleOutcome::Passed),
            (RULES[0], eight, RuleOutcome::Failed),
            (RULES[1], one, RuleOutcome::Unclear),
            (RULES[1], eight, RuleOutcome::Unclear),
            (RULES[2], one, RuleOutcome::Passed),
            (RULES[2], eight, RuleOutcome::Passed),
            (RULES[3], one, RuleOutcome::Passed),
            (RULES[3], eight, RuleOutcome::Passed),
        ]
    );
    assert_eq!(comparison.ending, Ending::RuleFailed);
    let (base, new) = sides();
    let unclear = compare(&base, &new, &options(&RULES[1..])).unwrap();
    assert_eq!(unclear.ending, Ending::Unclear);
    // a warning says so and fails nothing
    let mut warned = options(&RULES[..1]);
    warned.gates[0].severity = crate::rules::Severity::Warning;
    assert_eq!(
        compare(&base, &new, &warned).unwrap().ending,
        Ending::Passed
    );
}

#[test]
fn a_rule_without_its_figure_or_point_never_passes() {
    let (base, new) = sides();
    let fails = |rule: &str| {
        compare(&base, &new, &options(&[rule]))
            .unwrap_err()
            .to_string()
    };
    assert!(fails("goodput<95%").contains("has no goodput\nhint: goodput needs an objective"));
    assert!(
        fails("itl_p99>+5%").contains("the comparison at parallel=1 number=1000 has no itl_p99")
    );
    assert!(
        fails("ttft_p99@parallel=3>+5%")
            .contains("about none of the points: parallel=1 number=1000; parallel=8")
    );
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (base, mut new) = sides();
    let reason = |new: &[Run], allow: &[&str]| {
        let mut options = options(&["ttft_p99>+50%"]);
        options.allow_different = allow.iter().map(|key| (*key).to_owned()).collect();
        let comparison = compare(&base, new, &options).unwrap();
        (
            comparison.ending,
            comparison.points[0].not_comparable.join("; "),
        )
    };
    assert_eq!(reason(&new, &[]), (Ending::Passed, String::new()));
    new[0].settings.insert("model".to_owned(), json!("n"));
    let model = "model: `m` in the base, `n` in the new runs".to_owned();
    assert_eq!(reason(&new, &[]), (Ending::NotComparable, model));
    assert_eq!(reason(&new, &["model"]), (Ending::Passed, String::new()));
    let tokens: FigureKey = "input_tokens_mean".parse().unwrap();
    let mut longer = |by: f64| {
        for run in &mut new {
            run.figures.insert(
                tokens,
                Measured {
                    value: 512.0 * by,
                    ln_variance: None,
                },
            );
        }
        new.clone()
    };
    // by less than 2 %
    assert_eq!(reason(&longer(1.019), &["model"]).0, Ending::Passed);
    let mut new = longer(2.0);
    // both sides had other prompts in their second run
    let mut other = base.clone();
    for nth in [1, 6] {
        other[nth].figures.insert(
            tokens,
            Measured {
                value: 1024.0,
                ln_variance: None,
            },
        );
    }
    let both = compare(&other, &other, &options(&[])).unwrap();
    assert_eq!(both.ending, Ending::Passed);
    let workload = "workload differs: 512 vs 1,024 input tokens".to_owned();
    assert_eq!(reason(&new, &["model"]), (Ending::NotComparable, workload));
    assert_eq!(reason(&new, &["model", "workload"]).0, Ending::Passed);
    new[2].client_limited = true;
    let limited = "run: the client was limited, so its figures may show the client".to_owned();
    assert_eq!(reason(&new, &["model", "workload"]).1, limited);
    assert_eq!(
        reason(&new, &["model", "workload", "client"]).0,
        Ending::Passed
    );
    new[2].unusable = Some("it was stopped".to_owned());
    assert_eq!(
        reason(&new, &["model", "workload", "client"]).1,
        "run: it was stopped"
    );
    let other = [run(3, &[])];
    let error = compare(&base, &other, &options(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the base has: parallel=1 number=1000; parallel=8 number=1000\n"),
        "{error}"
    );
}

#[test]
fn few_runs_are_indicative_and_rest_on_the_scatter() {
    let of = |percent: f64| [run(8, &[("ttft_p50", percent)])];
    let single = |percent: f64, scatter: f64| {
        let mut options = options(&[]);
        options.limits.run_scatter = scatter;
        let comparison = compare(&of(100.0), &of(percent), &options).unwrap();
        assert!(comparison.points[0].is_indicative);
        verdict_of(&comparison, 0, "ttft_p50")
    };
    assert_eq!(single(108.0, 0.03), Verdict::Unclear);
    assert_eq!(single(108.0, 0.001), Verdict::Worse);
    assert_eq!(single(130.0, 0.03), Verdict::Worse);
    let to_decide = |scatter: f64| {
        let mut options = options(&[]);
        options.limits.run_scatter = scatter;
        let comparison = compare(&of(100.0), &of(108.0), &options).unwrap();
        let text = table(&[comparison], Order::Figures, screen());
        let line = text
            .lines()
            .find(|line| line.contains("would decide"))
            .unwrap();
        line.trim_start_matches("runs a side that would decide: ")
            .to_owned()
    };
    assert!(to_decide(0.03).starts_with("13 for output_tokens_per_s, 13 for ttft_p50"));
    assert_eq!(to_decide(0.5), "more than 100");
    // nothing says how much the figures of a `result.json` vary
    let mut bare = of(130.0);
    for measured in bare[0].figures.values_mut() {
        measured.ln_variance = None;
    }
    let comparison = compare(&of(100.0), &bare, &options(&["ttft_p50>+5%"])).unwrap();
    assert_eq!(comparison.points[0].cells[2].method, Method::Unknown);
    assert_eq!(comparison.ending, Ending::Unclear);
}

/// Servers whose figures scatter by 2 % from run to run: three repeats a side never call equal ones
/// worse more often than 2 times in 40, and five find 10 %.
#[test]
fn equal_servers_are_equal_and_ten_percent_are_found() {
    let mut z = draws(4).map(normal_quantile);
    let mut side = |runs: usize, percent: f64| -> Vec<Run> {
        (0..runs)
            .map(|_| {
                let names = [
                    "output_tokens_per_s",
                    "ttft_p50",
                    "ttft_p99",
                    "tpot_p50",
                    "latency_p99",
                ];
                let all = names.map(|name| {
                    let of = if name == "tpot_p50" { percent } else { 100.0 };
                    (name, of * (0.02 * z.next().unwrap()).exp())
                });
                run(8, &all)
            })
            .collect()
    };
    let is_worse = |base: &[Run], new: &[Run]| -> Vec<FigureKey> {
        let comparison = compare(base, new, &options(&[])).unwrap();
        let cells = comparison.points[0].cells.iter();
        cells
            .filter(|cell| cell.verdict == Verdict::Worse)
            .map(|cell| cell.figure)
            .collect()
    };
    let alarms = (0..40).filter(|_| !is_worse(&side(3, 100.0), &side(3, 100.0)).is_empty());
    assert!(alarms.count() <= 2);
    let tpot: FigureKey = "tpot_p50".parse().unwrap();
    let found = (0..40)
        .filter(|_| is_worse(&side(5, 100.0), &side(5, 110.0)) == [tpot])
        .count();
    assert!(found >= 38, "{found}");
}

#[test]
fn databases_results_and_baselines_give_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("parallel_5_number_30");
    std::fs::create_dir(&own).unwrap();
    let database = samples::finished(&own, &samples::meta("m"), samples::mixed(60));
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let from_database = read_side(&path(&database), &[]).unwrap();
    let from_folder = read_side(&path(&own), &[]).unwrap();
    assert_eq!(from_database, from_folder);
    // of a command, and as commands leave it below a date
    let parent = folder.path().join("outputs");
    let deep = parent
        .join("20260131_120000")
        .join("m")
        .join("parallel_5_number_30");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::copy(&database, deep.join("benchmark_data.db")).unwrap();
    let from_parent = read_side(&path(&parent), &[]).unwrap();
    assert_eq!(from_parent[0].figures, from_database[0].figures);
    let within = from_database[0]
        .figures
        .values()
        .filter(|own| own.ln_variance.is_some());
    assert!(within.count() > 50);

    let reports = [crate::RunReport::load(&database).unwrap()];
    let together = crate::together::Together::default();
    let result = files::ResultFile::new(&reports, &together).unwrap();
    let file = folder.path().join("result.json");
    std::fs::write(&file, files::text(&result).unwrap()).unwrap();
    let from_result = read_side(&path(&file), &[]).unwrap();
    assert_eq!(from_result[0].place, from_database[0].place);
    assert_eq!(from_result[0].settings, from_database[0].settings);
    let cached = "cached_share".parse().unwrap();
    for (figure, measured) in from_database[0]
        .figures
        .iter()
        .filter(|(key, _)| **key != cached)
    {
        let own = from_result[0].figures[figure].value;
        assert!(
            (own - measured.value).abs() <= 1e-12 * own.abs(),
            "{figure}"
        );
    }

    let baseline = folder.path().join("base.json");
    std::fs::write(&baseline, Baseline::of(&from_database).text().unwrap()).unwrap();
    let size = std::fs::metadata(&baseline).unwrap().len();
    assert!(size < 60_000, "{size}");
    let from_baseline = read_side(&path(&baseline), &[]).unwrap();
    assert_eq!(from_baseline[0].place, from_database[0].place);
    assert_eq!(
        from_baseline[0].figures.len(),
        from_database[0].figures.len()
    );
    let repeats = read_side(&format!("{},{}", path(&own), path(&baseline)), &[]).unwrap();
    assert_eq!(repeats.len(), 2);
    let comparison = compare(&from_database, &repeats, &options(&["ttft_p99>+5%"])).unwrap();
    assert_eq!(comparison.ending, Ending::Passed);
}

#[test]
fn what_cannot_be_read_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_side(path.to_str().unwrap(), &[])
            .unwrap_err()
            .to_string()
    };
    assert!(file("a.json", "no").contains("it is not JSON"));
    assert!(file("b.json", "{}").contains("it has no runs\nhint: give a folder"));
    assert!(
        file("c.json", r#"{"kind": "evalscope-baseline"}"#)
            .contains("it is not a baseline: missing field `format_version`")
    );
    assert!(
        read_side(",", &[])
            .unwrap_err()
            .to_string()
            .contains("names no folder or file")
    );
    assert!(
        read_side("no/such", &[])
            .unwrap_err()
            .to_string()
            .contains("no/such")
    );
}

fn page_of(comparisons: &[Comparison]) -> String {
    let (base, new) = sides();
    html(comparisons, &Limits::default(), &base, &[new]).unwrap()
}

fn screen() -> Screen {
    Screen {
        width: 110,
        ink: Ink::Plain,
        confidence: Confidence::Hidden,
    }
}

#[test]
fn every_format_has_its_file() {
    let comparisons = compared();
    insta::assert_snapshot!("table", table(&comparisons, Order::Figures, screen()));
    insta::assert_snapshot!("markdown", markdown(&comparisons));
    let page = page_of(&comparisons);
    let (_, body) = page.split_once("<body>").unwrap();
    insta::assert_snapshot!("html", body);
    insta::assert_snapshot!("json", ComparisonFile::of(&comparisons).text().unwrap());
    insta::assert_snapshot!("junit", junit(&comparisons));
    insta::assert_snapshot!("github", annotations(&comparisons));
    insta::assert_snapshot!("openmetrics", openmetrics(&comparisons));
    insta::assert_snapshot!(
        "github_benchmark",
        github_benchmark(&comparisons, Better::Lower).unwrap()
    );
    assert!(
        github_benchmark(&comparisons, Better::Higher)
            .unwrap()
            .contains("output_tokens_per_s")
    );
}

#[test]
fn formats_say_what_is_not_comparable_and_indicative() {
    let mut new = run(8, &[("ttft_p50", 130.0)]);
    new.settings.insert("model".to_owned(), json!("n <b>|"));
    let base = [run(8, &[]), run(1, &[])];
    let comparisons = [compare(&base, &[new], &options(&[])).unwrap()];
    insta::assert_snapshot!(
        "not_comparable_table",
        table(&comparisons, Order::Change, screen())
    );
    let page = page_of(&comparisons);
    assert!(
        page.contains("n &lt;b&gt;|") && page.contains("Only the base measured: parallel=1"),
        "{page}"
    );
    let text = markdown(&comparisons);
    assert!(
        text.contains("n &lt;b&gt;\\|") && text.contains("_indicative"),
        "{text}"
    );
    assert!(
        junit(&comparisons).contains("<error message=\"model: `m` in the base, `n &lt;b&gt;|`")
    );
    assert!(
        annotations(&comparisons)
            .starts_with("::error title=not comparable at parallel=8 number=1000::model")
    );
}

fn schema() -> serde_json::Value {
    schemars::schema_for!(ComparisonFile<'_>).to_value()
}

#[test]
fn the_schema_in_the_documentation_is_this_one() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/compare.schema.json"
    );
    samples::assert_documented(path, &files::text(&schema()).unwrap());
}

#[test]
fn comparisons_match_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let value = serde_json::to_value(ComparisonFile::of(&compared())).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}
