//! What a search for the greatest figure says of a server that is known.

use std::num::NonZeroUsize;

use evalscope_model::conversation::KeepConnection;
use evalscope_model::plan::{OpenLoop, Pacing, RunSpec};
use evalscope_model::point::PointId;
use evalscope_model::profile::Gaps;
use evalscope_model::search::{ProbeJudgement, ProbeVerdict, Variable};
use evalscope_model::sla::groups;

use super::*;

fn search() -> GreatestSearch {
    let plan = SearchPlan {
        variable: Variable::Parallel,
        groups: groups(r#"{"goodput": "max"}"#).unwrap(),
        start: 2.0,
        lower: 1.0,
        upper: 64.0,
        fixed_parallel: None,
        gaps: Gaps::Poisson,
        from: None,
        slo: Some("latency<=1s".parse().unwrap()),
        delivery: Delivery::Whole,
        template: RunSpec {
            point: PointId::first("template"),
            concurrency: NonZeroUsize::new(1),
            open_loop: OpenLoop::default(),
            requests: None,
            conversations: None,
            connections: KeepConnection::Keep,
            pacing: Pacing::Unpaced,
            warmup_requests: 0,
            duration_s: None,
            drain_timeout_s: None,
            seed: 7,
            dataset_offset: 0,
            shard: evalscope_model::shard::Shard::WHOLE,
        },
        repeat_prompts: false,
    };
    let way = Statistics {
        precision: 0.05,
        confidence: 0.95,
        time: ProbeTime {
            least_s: 20.0,
            most_s: 120.0,
        },
        most_s: None,
    };
    GreatestSearch::new(plan, way, SlaFigure::Goodput)
}

/// Slots for eight; ten per second and slot. Up to twelve in flight are served in time.
fn result(point: Point) -> PointResult {
    let probe = point.probe.unwrap();
    assert!((probe.greatest.unwrap().precision - 0.025).abs() < 1e-9);
    let value = point.spec.concurrency.unwrap().get() as f64;
    let output = 10.0 * value.min(8.0);
    let goodput = if value <= 12.0 { output } else { 0.0 };
    let latency = SlaFigure::Percentile(Rank::P99, SloFigure::Latency);
    PointResult {
        judgements: vec![ProbeJudgement {
            verdict: ProbeVerdict::Passed,
            load: None,
            begins_after_s: 1.0,
            judged_s: 20.0,
            requests: 1000,
            limits: vec![LimitJudgement {
                figure: SlaFigure::Goodput,
                target: "max".to_owned(),
                value: Some(goodput),
                value_ci: Some(Interval::new(goodput * 0.98, goodput * 1.02)),
                requests: 1000,
                violations: 0,
                violation_share: None,
                violation_share_ci: None,
                independent_requests: None,
                allowed_share: None,
                not_applicable: 0,
                used: None,
                verdict: ProbeVerdict::Passed,
            }],
        }],
        spec: point.spec,
        measured_requests: 1000,
        sent: 1000,
        succeeded: 1000,
        failures: BTreeMap::new(),
        figures: BTreeMap::from([
            (SlaFigure::OutputTokensPerS, output),
            (latency, (value / 8.0).max(1.0)),
        ]),
        cached_share: None,
        client_limited: false,
        took_s: 60.0,
    }
}

#[test]
fn the_answer_is_the_lowest_load_with_the_greatest_figure() {
    let mut search = search();
    let mut done = Vec::new();
    while let Some(point) = search.next(&done) {
        done.push(result(point));
    }
    let record = search.search(&done).unwrap();
    let answer = &record.selections[0];
    assert_eq!(
        answer.sentences,
        [
            "Greatest goodput: 80 req/s [78.4, 81.6] at a concurrency of 8 (confirmed).",
            "At 9 it is 80 req/s [78.4, 81.6].",
        ]
    );
    assert_eq!(
        (answer.selected_value, answer.end),
        (Some(8.0), SearchEnd::Found)
    );
    assert_eq!(
        search.remarks(&done),
        ["[parallel=8] goodput of 80 req/s [78.4, 81.6] after 20 s"]
    );
    // more output than a lower load, or less time than a higher one
    let dominated = |value: f64| {
        let mut probes = record.probes.iter();
        probes
            .find(|probe| probe.value.total_cmp(&value).is_eq())
            .unwrap()
            .dominated
    };
    assert_eq!((dominated(2.0), dominated(8.0)), (Some(true), Some(false)));
    assert_eq!((dominated(16.0), dominated(32.0)), (Some(true), Some(true)));
    let last = done.last().unwrap();
    assert_eq!(last.spec.point.label, "sla_parallel_8_run_1");
}

/// A cache that fills up is named.
#[test]
fn a_cache_that_became_warmer_is_named() {
    let mut search = search();
    let mut done = Vec::new();
    while let Some(point) = search.next(&done) {
        let cached_share = Some(0.05 * done.len() as f64);
        let result = result(point);
        done.push(PointResult {
            cached_share,
            ..result
        });
    }
    let sentences = &search.search(&done).unwrap().selections[0].sentences;
    let last = 5 * (done.len() - 1);
    assert_eq!(
        sentences.last().unwrap(),
        &format!(
            "0 % of the first probe's prompt tokens came from the server's prefix cache and {last} % of the last \
             one's, which makes later loads look faster."
        )
    );
}

#[test]
fn before_its_end_a_search_says_what_it_knows() {
    let mut search = search();
    let point = search.next(&[]).unwrap();
    let done = [result(point)];
    let answer = search.search(&done).unwrap().selections.remove(0);
    assert_eq!(
        answer.sentences,
        [
            "Greatest goodput: 20 req/s [19.6, 20.4] at a concurrency of 2 (not confirmed).",
            "The search was stopped.",
        ]
    );
}
