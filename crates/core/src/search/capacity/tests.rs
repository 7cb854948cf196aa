//! Which probes several searches measure, and which they share.

use std::num::NonZeroUsize;

use evalscope_model::conversation::KeepConnection;
use evalscope_model::metrics::{Delivery, Interval};
use evalscope_model::plan::{OpenLoop, Pacing, RunSpec};
use evalscope_model::point::PointId;
use evalscope_model::profile::Gaps;
use evalscope_model::search::LimitJudgement;
use evalscope_model::sla::groups;

use super::*;

fn search(params: &str) -> CapacitySearch {
    let plan = SearchPlan {
        variable: Variable::Parallel,
        groups: groups(params).unwrap(),
        start: 4.0,
        lower: 1.0,
        upper: 64.0,
        fixed_parallel: None,
        gaps: Gaps::Poisson,
        from: None,
        slo: None,
        delivery: Delivery::Stream,
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
    CapacitySearch::new(plan, way)
}

fn judgement(limit: &SlaLimit, verdict: ProbeVerdict) -> ProbeJudgement {
    let used = match verdict {
        ProbeVerdict::Passed => 0.1,
        ProbeVerdict::Undecided => 1.0,
        ProbeVerdict::Failed => 5.0,
    };
    ProbeJudgement {
        verdict,
        load: None,
        begins_after_s: 1.0,
        judged_s: 20.0,
        requests: 1000,
        limits: vec![LimitJudgement {
            figure: limit.figure,
            target: limit.target(),
            value: Some(1.0),
            value_ci: None,
            requests: 1000,
            violations: 10,
            violation_share: Some(0.01 * used),
            violation_share_ci: Some(Interval::new(0.0, 1.0)),
            independent_requests: Some(900.0),
            allowed_share: Some(0.01),
            not_applicable: 0,
            used: Some(used),
            verdict,
        }],
    }
}

/// Measures until nothing more is asked for. `judge`: of a value, on the limits of each search.
fn run(
    search: &mut CapacitySearch,
    judge: impl Fn(f64, &SlaLimit) -> ProbeVerdict,
) -> (Vec<f64>, SearchRecord) {
    let mut done: Vec<PointResult> = Vec::new();
    while let Some(point) = search.next(&done) {
        let probe = point.probe.unwrap();
        let value = point.spec.concurrency.unwrap().get() as f64;
        let others = probe.others.iter().map(|other| &other.limits);
        let limits = std::iter::once(&probe.limits).chain(others);
        let judgements = limits.map(|limits| judgement(&limits[0], judge(value, &limits[0])));
        done.push(PointResult {
            judgements: judgements.collect(),
            spec: point.spec,
            measured_requests: 1000,
            sent: 1000,
            succeeded: 1000,
            failures: BTreeMap::new(),
            figures: BTreeMap::new(),
            cached_share: None,
            client_limited: false,
            took_s: 60.0,
        });
    }
    let values = done
        .iter()
        .map(|one| one.spec.concurrency.unwrap().get() as f64);
    (values.collect(), search.search(&done).unwrap())
}

const TWO: &str = r#"[{"p99_latency": "<=1s"}, {"p99_latency": "<=2s"}]"#;

#[test]
fn a_search_uses_what_the_ones_before_have_measured() {
    let mut search = search(TWO);
    // up to 10 within a second, up to 20 within two
    let (values, record) = run(&mut search, |value, limit| {
        if value <= 10.0 * limit.limit {
            ProbeVerdict::Passed
        } else {
            ProbeVerdict::Failed
        }
    });
    assert_eq!(
        values,
        [
            4.0, 8.0, 16.0, 11.0, 9.0, 10.0, 10.0, 32.0, 23.0, 19.0, 21.0, 20.0, 20.0
        ]
    );
    let answers: Vec<Option<f64>> = record
        .selections
        .iter()
        .map(|one| one.selected_value)
        .collect();
    assert_eq!(answers, [Some(10.0), Some(20.0)]);
    assert!(record.selections.iter().all(|one| one.confirmed));
    let second = record.probes.iter().filter(|one| one.group == Some(2));
    let shared: Vec<f64> = second
        .filter(|one| one.purpose == Purpose::OtherSearch)
        .map(|one| one.value)
        .collect();
    assert_eq!(shared, [4.0, 8.0, 16.0]);
}

/// Where the requests of the earlier search do not tell, the value is measured again, and that stays so.
#[test]
fn what_does_not_tell_is_measured_for_each_search() {
    let mut search = search(TWO);
    let (values, record) = run(&mut search, |value, limit| match (value, limit.limit) {
        (8.0, 2.0) => ProbeVerdict::Undecided,
        (_, most) if value <= 10.0 * most => ProbeVerdict::Passed,
        _ => ProbeVerdict::Failed,
    });
    let eights = values
        .iter()
        .filter(|value| value.total_cmp(&8.0).is_eq())
        .count();
    // for the first, and for the second with its repetition
    assert_eq!(eights, 3, "{values:?}");
    let second = record.probes.iter().filter(|one| one.group == Some(2));
    let shared: Vec<(f64, bool)> = second
        .map(|one| (one.value, one.purpose == Purpose::OtherSearch))
        .take(3)
        .collect();
    assert_eq!(shared, [(4.0, true), (8.0, false), (8.0, false)]);
}
