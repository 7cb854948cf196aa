//! Tests of the judgement on records made by hand.

use std::num::NonZeroUsize;

use evalscope_model::conversation::KeepConnection;
use evalscope_model::metrics::Delivery;
use evalscope_model::plan::{OpenLoop, Pacing};
use evalscope_model::point::PointId;
use evalscope_model::profile::{Gaps, Profile, Schedule};
use evalscope_model::record::{
    ArrivalClock, ConnectCost, CountedTokens, Ending, EventLog, Failure, PluginTokens,
    RequestTimes, Usage,
};
use evalscope_model::search::{Greatest, ProbeTime};
use evalscope_model::sla::{Criterion, groups};
use evalscope_model::slo::SloFrom;

use super::start::after_s;
use super::*;

fn spec(concurrency: usize, rate_per_s: Option<f64>) -> RunSpec {
    RunSpec {
        point: PointId::first("probe"),
        concurrency: NonZeroUsize::new(concurrency),
        open_loop: OpenLoop::default(),
        requests: None,
        conversations: None,
        connections: KeepConnection::Keep,
        pacing: match rate_per_s {
            None => Pacing::Unpaced,
            Some(rate_per_s) => Pacing::Arrivals(Schedule {
                profile: Profile::Constant { rate_per_s },
                gaps: Gaps::Constant,
            }),
        },
        warmup_requests: 0,
        duration_s: None,
        drain_timeout_s: None,
        seed: 1,
        dataset_offset: 0,
        shard: evalscope_model::shard::Shard::WHOLE,
    }
}

fn judge(params: &str, spec: &RunSpec, least_s: f64, most_s: f64) -> ProbeJudge {
    let limits = groups(params).unwrap().remove(0).into_iter();
    let limits = limits.filter_map(|criterion| match criterion {
        Criterion::Limit(limit) => Some(limit),
        _ => None,
    });
    let plan = ProbePlan {
        limits: limits.collect(),
        guards: Vec::new(),
        others: Vec::new(),
        greatest: None,
        from: SloFrom::Schedule,
        delivery: Delivery::Whole,
        time: ProbeTime { least_s, most_s },
        confidence: 0.95,
    };
    ProbeJudge::new(plan, spec)
}

fn at(seconds: f64) -> Timestamp {
    after_s(Timestamp::ZERO, seconds)
}

fn record(index: u64, due_s: f64, latency_s: f64, failure: Option<FailureKind>) -> RequestRecord {
    let (due, ended) = (at(due_s), at(due_s + latency_s));
    RequestRecord {
        index,
        phase: Phase::Measured,
        failure: failure.map(|kind| Failure {
            kind,
            message: String::new(),
        }),
        streamed: false,
        times: RequestTimes {
            scheduled: due,
            slot_free: due,
            dispatched: due,
            connected: Some(due),
            write_begun: Some(due),
            write_done: Some(due),
            first_byte: Some(ended),
            headers: Some(ended),
            last_data: Some(ended),
            ended,
        },
        connect: ConnectCost::default(),
        clock: ArrivalClock::User,
        events: EventLog::default(),
        http_status: Some(200),
        usage: Usage::default(),
        plugin: PluginTokens::default(),
        asked_prompt_tokens: None,
        asked_output_tokens: None,
        counted: CountedTokens::default(),
        finish_reason: None,
        response_id: None,
        model: None,
        ending: Ending::Marked,
        skipped_events: 0,
        compressed: false,
        asked_model: None,
        url: None,
        inputs: None,
        peer: None,
        turn: None,
        trace: None,
    }
}

/// Plays a load of ten requests a second until the judge knows enough, or 100 s. Says when that was.
fn play(
    judge: &mut ProbeJudge,
    latency_s: impl Fn(u64) -> f64,
    failure: impl Fn(u64) -> Option<FailureKind>,
) -> f64 {
    let rate = 10.0;
    let all: Vec<RequestRecord> = (0..1000)
        .map(|nth| record(nth, (nth + 1) as f64 / rate, latency_s(nth), failure(nth)))
        .collect();
    let mut by_end: Vec<&RequestRecord> = all.iter().collect();
    by_end.sort_by_key(|record| record.times.ended);
    let mut ended = by_end.into_iter().peekable();
    for tick in 1..200 {
        let now = at(f64::from(tick) / 2.0);
        while let Some(record) = ended.next_if(|record| record.times.ended <= now) {
            judge.ended(record);
        }
        let begun = all.iter().filter(|record| record.times.scheduled <= now);
        let open = begun.filter(|record| record.times.ended > now).count() as u64;
        if judge.look(now, open) {
            for record in ended {
                if record.times.scheduled <= now {
                    judge.ended(record);
                }
            }
            return now.as_nanos() as f64 / 1e9;
        }
    }
    panic!("it is never enough");
}

const P90: &str = r#"{"p90_latency": "<=1s"}"#;

#[test]
fn a_load_far_within_its_limit_passes_at_the_first_look() {
    let mut judge = judge(P90, &spec(0, Some(10.0)), 10.0, 40.0);
    let took = play(&mut judge, |_| 0.2, |_| None);
    assert!((10.0..12.0).contains(&took), "{took}");
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Passed);
    let limit = &judged.limits[0];
    assert_eq!((limit.violations, limit.not_applicable), (0, 0));
    assert_eq!(limit.value, Some(0.2));
    assert!(limit.requests >= 95 && limit.requests == judged.requests);
    // the start: twice the latency
    assert!((judged.begins_after_s - 0.4).abs() < 1e-6);
}

#[test]
fn a_load_beyond_its_limit_fails_at_the_first_look() {
    let mut judge = judge(P90, &spec(0, Some(10.0)), 10.0, 40.0);
    let slow = |nth: u64| if nth.is_multiple_of(2) { 2.0 } else { 0.2 };
    let took = play(&mut judge, slow, |_| None);
    assert!(took < 16.0, "{took}");
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Failed);
    let limit = &judged.limits[0];
    assert!((limit.used.unwrap() - 5.0).abs() < 0.3, "{limit:?}");
    assert!(limit.violation_share_ci.unwrap().low() > 0.1);
}

/// One in ten at a limit of one in ten.
#[test]
fn at_the_limit_requests_do_not_tell() {
    let mut judge = judge(P90, &spec(0, Some(10.0)), 10.0, 40.0);
    let slow = |nth: u64| if nth.is_multiple_of(10) { 2.0 } else { 0.2 };
    let took = play(&mut judge, slow, |_| None);
    assert!((40.0..43.0).contains(&took), "{took}");
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Undecided);
    assert!((judged.used() - 1.0).abs() < 0.05);
}

#[test]
fn failures_break_every_limit_on_requests() {
    let params = r#"{"p90_latency": "<=1s", "success_rate": ">=99%"}"#;
    let mut judge = judge(params, &spec(0, Some(10.0)), 10.0, 40.0);
    let fails = |nth: u64| nth.is_multiple_of(3).then_some(FailureKind::Status(500));
    play(&mut judge, |_| 0.2, fails);
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Failed);
    assert!(
        judged
            .limits
            .iter()
            .all(|limit| limit.verdict == ProbeVerdict::Failed)
    );
    let success = &judged.limits[1];
    assert!((success.value.unwrap() - 66.7).abs() < 2.0);
}

/// What is in flight at a look cannot pass the load, and does not fail it.
#[test]
fn requests_in_flight_decide_nothing_by_themselves() {
    let mut judge = judge(
        r#"{"p90_latency": "<=10s"}"#,
        &spec(0, Some(10.0)),
        10.0,
        60.0,
    );
    // 40 are in flight all the time, and end long before their limit
    let took = play(&mut judge, |_| 4.0, |_| None);
    assert!(took > 20.0, "{took}");
    assert_eq!(judge.finish()[0].verdict, ProbeVerdict::Passed);
}

/// The backlog grows all the time, though no request has broken its limit yet.
#[test]
fn a_server_that_does_not_keep_up_fails() {
    let mut judge = judge(
        r#"{"p90_latency": "<=1000s"}"#,
        &spec(0, Some(10.0)),
        20.0,
        60.0,
    );
    // it serves half of what comes
    let took = play(&mut judge, |nth| 0.1 + nth as f64 / 10.0, |_| None);
    assert!(took < 60.0, "{took}");
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Failed);
    assert_eq!(judged.load.unwrap().verdict, LoadVerdict::Saturated);
}

/// In a closed loop the opening wave is not judged.
#[test]
fn a_closed_loop_is_judged_from_when_every_slot_has_ended_a_request() {
    let mut judge = judge(r#"{"p50_latency": "<=1s"}"#, &spec(4, None), 5.0, 20.0);
    for nth in 0..4 {
        judge.ended(&record(nth, 0.0, 5.0, None));
        assert!(!judge.look(at(3.0), 4));
    }
    for nth in 4..120 {
        judge.ended(&record(nth, 5.0 + nth as f64 / 20.0, 0.2, None));
    }
    assert!(judge.look(at(11.5), 0));
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Passed);
    assert_eq!(judged.requests, 116);
    assert!((judged.begins_after_s - 5.0).abs() < 1e-6);
    assert!(judged.load.is_none());
}

#[test]
fn means_and_throughput_have_intervals_from_batches() {
    let params = r#"{"avg_latency": "<=0.5s", "rps": ">=8"}"#;
    let mut judge = judge(params, &spec(0, Some(10.0)), 10.0, 40.0);
    play(&mut judge, |nth| 0.3 + (nth % 7) as f64 / 100.0, |_| None);
    let judged = judge.finish().remove(0);
    assert_eq!(judged.verdict, ProbeVerdict::Passed, "{judged:#?}");
    let mean = &judged.limits[0];
    assert!(mean.value_ci.unwrap().high() < 0.4 && mean.violation_share.is_none());
    let rps = &judged.limits[1];
    assert!((rps.value.unwrap() - 10.0).abs() < 0.7, "{rps:?}");
}

#[test]
fn percentiles_need_enough_requests_to_pass() {
    let limits = |params: &str| {
        let group = groups(params).unwrap().remove(0).into_iter();
        let limits = group.filter_map(|criterion| match criterion {
            Criterion::Limit(limit) => Some(limit),
            _ => None,
        });
        limits.collect::<Vec<SlaLimit>>()
    };
    assert_eq!(least_requests(&limits(r#"{"p99_ttft": "<1s"}"#), 0.95), 381);
    assert_eq!(least_requests(&limits(r#"{"p99_ttft": "<1s"}"#), 0.99), 657);
    assert_eq!(
        least_requests(&limits(r#"{"p99.9_tpot": "<1s"}"#), 0.95),
        3838
    );
    assert_eq!(least_requests(&limits(r#"{"avg_ttft": "<1s"}"#), 0.95), 0);
}

#[test]
fn looks_are_those_of_the_plan() {
    assert_eq!(looks(20.0, 120.0), [20.0, 40.0, 60.0, 90.0, 120.0]);
    assert_eq!(looks(20.0, 60.0), [20.0, 40.0, 60.0]);
    assert_eq!(
        looks(20.0, 400.0),
        [20.0, 40.0, 60.0, 90.0, 120.0, 180.0, 270.0, 400.0]
    );
    assert_eq!(looks(30.0, 30.0), [30.0]);
}

/// A guard fails a load, and does not have to be shown to hold.
#[test]
fn a_guard_only_fails_a_load() {
    let guarded = |failure: fn(u64) -> Option<FailureKind>| {
        let mut judge = judge(P90, &spec(0, Some(10.0)), 10.0, 40.0);
        judge.plan.guards = match groups(r#"{"success_rate": ">=99%"}"#).unwrap()[0][0] {
            Criterion::Limit(limit) => vec![limit],
            _ => Vec::new(),
        };
        play(&mut judge, |_| 0.2, failure);
        judge.finish().remove(0)
    };
    let judged = guarded(|_| None);
    assert_eq!(judged.verdict, ProbeVerdict::Passed);
    assert!(judged.limits[1].violation_share_ci.unwrap().high() > 0.01);
    let judged = guarded(|nth| nth.is_multiple_of(12).then_some(FailureKind::Reset));
    assert_eq!(judged.verdict, ProbeVerdict::Failed);
    assert_eq!(judged.limits[0].verdict, ProbeVerdict::Undecided);
}

/// A load that fails the limits of its search at the first look is known to meet those of another that it is
/// far within, and does not tell of one that is close.
#[test]
fn the_limits_of_other_searches_are_judged_too() {
    use ProbeVerdict::{Failed, Passed, Undecided};
    let spec = spec(0, Some(10.0));
    let mut judge = judge(P90, &spec, 10.0, 40.0);
    let limits = |params: &str| OtherLimits {
        limits: match groups(params).unwrap()[0][0] {
            Criterion::Limit(limit) => vec![limit],
            _ => Vec::new(),
        },
        guards: Vec::new(),
    };
    judge.plan.others = vec![
        limits(r#"{"p50_latency": "<=5s"}"#),
        limits(r#"{"p50_latency": "<=1s"}"#),
        limits(r#"{"rps": ">=5"}"#),
    ];
    let mut judge = ProbeJudge::new(judge.plan, &spec);
    let slow = |nth: u64| if nth.is_multiple_of(2) { 2.0 } else { 0.2 };
    play(&mut judge, slow, |_| None);
    let judged = judge.finish();
    let verdicts: Vec<ProbeVerdict> = judged.iter().map(|one| one.verdict).collect();
    assert_eq!(verdicts, [Failed, Passed, Undecided, Passed]);
    assert_eq!(judged[1].limits[0].violations, 0);
    assert!((judged[2].limits[0].used.unwrap() - 1.0).abs() < 0.1);
}

/// Two of three requests are in time. The start is twice the latency of those that are not.
#[test]
fn goodput_is_measured_until_its_interval_is_narrow() {
    let spec = spec(0, Some(10.0));
    let mut plan = judge(P90, &spec, 10.0, 40.0).plan;
    plan.limits.clear();
    let goodput = |precision| Greatest {
        figure: SlaFigure::Goodput,
        slo: Some("latency<=1s".parse().unwrap()),
        precision,
    };
    let slow = |nth: u64| if nth.is_multiple_of(3) { 2.0 } else { 0.2 };
    for (precision, least_s, most_s) in [(0.3, 14.0, 17.0), (0.001, 44.0, 47.0)] {
        plan.greatest = Some(goodput(precision));
        let mut judge = ProbeJudge::new(plan.clone(), &spec);
        let took = play(&mut judge, slow, |_| None);
        assert!((least_s..most_s).contains(&took), "{took}");
        let judged = judge.finish().remove(0);
        let figure = &judged.limits[0];
        let value = figure.value.unwrap();
        assert!((value - 10.0 * 2.0 / 3.0).abs() < 0.3, "{value}");
        let interval = figure.value_ci.unwrap();
        assert!(interval.low() < value && value < interval.high());
    }
}
