//! EvalScope's values, numbers of requests and folders, and its words.

use std::num::NonZeroUsize;

use evalscope_model::conversation::KeepConnection;
use evalscope_model::metrics::Delivery;
use evalscope_model::plan::{OpenLoop, Pacing, RunSpec};
use evalscope_model::point::PointId;
use evalscope_model::profile::Gaps;
use evalscope_model::search::Variable;
use evalscope_model::sla::groups;

use super::*;

fn plan(variable: Variable, start: f64, upper: f64, params: &str) -> SearchPlan {
    SearchPlan {
        variable,
        groups: groups(params).unwrap(),
        start,
        lower: 1.0,
        upper,
        fixed_parallel: NonZeroUsize::new(8),
        gaps: Gaps::Poisson,
        from: None,
        slo: None,
        delivery: Delivery::Stream,
        template: RunSpec {
            point: PointId::first("template"),
            concurrency: None,
            open_loop: OpenLoop::default(),
            requests: None,
            conversations: None,
            connections: KeepConnection::Keep,
            pacing: Pacing::Unpaced,
            warmup_requests: 0,
            duration_s: None,
            drain_timeout_s: None,
            seed: 7,
            dataset_offset: 100,
            shard: evalscope_model::shard::Shard::WHOLE,
        },
        repeat_prompts: false,
    }
}

fn result(spec: RunSpec, succeeded: u64, figures: &[(SlaFigure, f64)]) -> PointResult {
    let sent = spec.requests.unwrap();
    PointResult {
        spec,
        measured_requests: sent,
        sent,
        succeeded: succeeded.min(sent),
        failures: BTreeMap::new(),
        figures: figures.iter().copied().collect(),
        cached_share: None,
        judgements: Vec::new(),
        client_limited: false,
        took_s: 1.0,
    }
}

const P99: &str = r#"{"p99_latency": "<=2s"}"#;

fn figure(name: &str) -> SlaFigure {
    SlaFigure::from_name(name).unwrap()
}

/// A search in which the 99th percentile of a value is this many seconds.
fn searched(search: &mut EvalscopeSearch, p99: impl Fn(f64) -> f64) -> Vec<PointResult> {
    let mut done = Vec::new();
    while let Some(Point { spec, .. }) = search.next(&done) {
        let parallel = spec.concurrency.unwrap().get() as f64;
        done.push(result(
            spec,
            u64::MAX,
            &[(figure("p99_latency"), p99(parallel))],
        ));
    }
    done
}

#[test]
fn each_value_is_measured_some_times_with_its_number_of_requests() {
    let way = Reference {
        runs: 2,
        multiplier: 1.5,
    };
    let mut search = EvalscopeSearch::new(plan(Variable::Parallel, 2.0, 64.0, P99), way);
    let done = searched(&mut search, |parallel| parallel / 2.0);
    let folders: Vec<String> = done.iter().map(|run| run.spec.point.folder()).collect();
    assert_eq!(
        folders[..3],
        [
            "sla_tuning/sla_parallel_2_run_0",
            "sla_tuning/sla_parallel_2_run_1",
            "sla_tuning/sla_parallel_4_run_0",
        ]
    );
    let numbers: Vec<u64> = done.iter().map(|run| run.spec.requests.unwrap()).collect();
    // 4.5 is not more than 4 requests in Python, and 7.5 is 8
    assert_eq!(numbers, [3, 3, 6, 6, 12, 12, 9, 9, 8, 8]);
    let offsets: Vec<u64> = done.iter().map(|run| run.spec.dataset_offset).collect();
    assert_eq!(offsets[..4], [100, 103, 106, 112]);
    assert_eq!(done[0].spec.seed, 7);
    assert!(
        done.windows(2)
            .all(|two| two[0].spec.seed != two[1].spec.seed)
    );
    let record = search.search(&done).unwrap();
    let values: Vec<f64> = record.probes.iter().map(|probe| probe.value).collect();
    assert_eq!(values, [2.0, 4.0, 8.0, 6.0, 5.0]);
    let selection = &record.selections[0];
    assert_eq!(selection.selected_value, Some(4.0));
    assert_eq!(selection.fails_at, Some(5.0));
    assert_eq!(
        selection.reason,
        "Satisfied at the selected tested pressure"
    );
    assert_eq!(selection.end, SearchEnd::Found);
}

/// Cases O and P of EvalScope's own: a rate without `--sla-fixed-parallel`, and its rounding.
#[test]
fn rates_and_numbers_are_evalscopes() {
    let way = Reference {
        runs: 1,
        multiplier: 2.0,
    };
    let mut search = EvalscopeSearch::new(plan(Variable::Rate, 2.0, 8.0, P99), way);
    let spec = search.next(&[]).unwrap().spec;
    assert_eq!(spec.concurrency.map(NonZeroUsize::get), Some(8));
    assert_eq!(spec.pacing.rate_per_s(), Some(2.0));
    assert_eq!(spec.requests, Some(4));
    assert_eq!(spec.point.folder(), "sla_tuning/sla_rate_2_run_0");
    for (value, multiplier, number) in [(3.0, 1.5, 4), (5.0, 1.5, 8), (1.0, 0.1, 1)] {
        let way = Reference {
            runs: 1,
            multiplier,
        };
        assert_eq!(way.requests(value), number);
    }
}

#[test]
fn a_failed_request_fails_a_probe() {
    let way = Reference {
        runs: 2,
        multiplier: 2.0,
    };
    let mut search = EvalscopeSearch::new(plan(Variable::Parallel, 4.0, 64.0, P99), way);
    let mut done = Vec::new();
    for succeeded in [8, 7] {
        let spec = search.next(&done).unwrap().spec;
        done.push(result(spec, succeeded, &[(figure("p99_latency"), 0.0595)]));
    }
    assert_eq!(
        search.remarks(&done),
        ["[parallel=4] SLA Check: run 2: 7/8 requests succeeded | FAILED"]
    );
    assert_eq!(
        search.next(&done).unwrap().spec.point.label,
        "sla_parallel_2_run_0"
    );
}

#[test]
fn remarks_are_evalscopes() {
    let params = r#"[{"p99_latency": "<=2s"}, {"p99_ttft": "<0.5s", "rps": ">=5"}]"#;
    let way = Reference {
        runs: 2,
        multiplier: 2.0,
    };
    let mut search = EvalscopeSearch::new(plan(Variable::Parallel, 4.0, 64.0, params), way);
    let mut done = Vec::new();
    for ttft in [450.0, 550.5] {
        let spec = search.next(&done).unwrap().spec;
        let figures = [(figure("p99_latency"), 0.0595), (figure("p99_ttft"), ttft)];
        done.push(result(spec, u64::MAX, &figures));
        if done.len() == 1 {
            assert_eq!(search.remarks(&done), Vec::<String>::new());
        }
    }
    assert_eq!(
        search.remarks(&done),
        [
            "[parallel=4] SLA Rule 1 Check: p99_latency = 0.0595 s | Expect <= 2 s | PASSED",
            "[parallel=4] SLA Rule 2 Check: p99_ttft = 500.25 ms | Expect < 500 ms | FAILED",
            "[parallel=4] Metric rps not found in results.",
        ]
    );
    let record = search.search(&done).unwrap();
    assert_eq!(
        record.probes[0].reasons,
        [
            "run 1: missing or non-finite rps",
            "run 2: missing or non-finite rps"
        ]
    );
    let ends: Vec<SearchEnd> = record.selections.iter().map(|one| one.end).collect();
    assert_eq!(ends, [SearchEnd::Interrupted; 2]);
    assert_eq!(record.selections[0].selected_value, Some(4.0));
}

#[test]
fn the_greatest_figure_is_climbed_to() {
    let way = Reference {
        runs: 1,
        multiplier: 2.0,
    };
    let mut search = EvalscopeSearch::new(
        plan(Variable::Parallel, 4.0, 64.0, r#"{"tps": "max"}"#),
        way,
    );
    let mut done = Vec::new();
    while let Some(Point { spec, .. }) = search.next(&done) {
        let parallel = spec.concurrency.unwrap().get() as f64;
        let tps = 100.0 - (parallel - 20.0).abs();
        done.push(result(spec, u64::MAX, &[(figure("tps"), tps)]));
    }
    let selection = search.search(&done).unwrap().selections.remove(0);
    assert_eq!(selection.selected_value, Some(20.0));
    assert_eq!(selection.observed_metric, Some(100.0));
    assert_eq!(selection.reason, "Best observed tps: 100 tok/s");
}
