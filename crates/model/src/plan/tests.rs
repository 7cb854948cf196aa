//! Tests of sweeps and of what files keep of runs.

use super::*;
use crate::point::is_run_name;

fn sweep(parallel: &[usize], number: Option<&[u64]>) -> Sweep {
    Sweep {
        parallel: Some(
            parallel
                .iter()
                .map(|&p| NonZeroUsize::new(p).unwrap())
                .collect(),
        ),
        number: number.map(<[u64]>::to_vec),
        whole: None,
        rate: vec![None],
        gaps: Gaps::Poisson,
        open_loop: OpenLoop::default(),
        drain_timeout_s: None,
        warmup: Warmup::Count(0),
        duration_s: None,
        sleep_interval_s: 5.0,
        seed: 0,
        dataset_offset: 0,
        repeat_prompts: false,
        conversations: None,
        connections: KeepConnection::Keep,
        recording: None,
        repeats: NonZeroU32::MIN,
        shard: Shard::WHOLE,
    }
}

/// A rate without an end.
fn rate(rate_per_s: f64) -> Option<Profile> {
    rate_per_s.to_string().parse().ok()
}

fn names(sweep: Sweep) -> Vec<String> {
    let plan = sweep.expand().unwrap();
    plan.runs()
        .iter()
        .map(|run| run.point.label.clone())
        .collect()
}

#[test]
fn a_single_value_holds_for_every_point() {
    assert_eq!(
        names(sweep(&[1, 2], Some(&[9]))),
        ["parallel_1_number_9", "parallel_2_number_9"]
    );
    let numbers = sweep(&[4], Some(&[5, 6]));
    assert_eq!(
        names(numbers),
        ["parallel_4_number_5", "parallel_4_number_6"]
    );
    let mut rates = sweep(&[4], Some(&[5]));
    rates.rate = vec![rate(0.5), rate(20.0), None];
    assert_eq!(
        names(rates),
        [
            "parallel_4_number_5_rate_0.5",
            "parallel_4_number_5_rate_20.0",
            "parallel_4_number_5"
        ]
    );
}

#[test]
fn names_of_runs_are_known_again() {
    for parallel in [None, Some(vec![NonZeroUsize::MIN; 3])] {
        for (number, duration_s) in [(Some(vec![7]), None), (None, Some(0.5))] {
            let mut sweep = sweep(&[1], None);
            sweep.rate = vec![rate(2.5), rate(1e-7), "1..5@9".parse().ok()];
            (sweep.parallel, sweep.number) = (parallel.clone(), number);
            sweep.duration_s = duration_s;
            for run in sweep.expand().unwrap().runs() {
                let folder = run.point.folder();
                assert!(is_run_name(&folder), "{folder}");
            }
        }
    }
    for no in [
        "parallel_1",
        "parallel__number_2",
        "parallel_1_number_x",
        "x_parallel_1_number_2",
        "parallel_1_number_2_old",
        "rate_5_number_2_rate_5",
    ] {
        assert!(!is_run_name(no), "{no}");
    }
}

#[test]
fn a_point_can_be_repeated() {
    assert_eq!(
        names(sweep(&[2, 2, 2], Some(&[9]))),
        [
            "parallel_2_number_9",
            "parallel_2_number_9_2",
            "parallel_2_number_9_3"
        ]
    );
}

#[test]
fn a_rate_alone_is_not_capped() {
    let mut sweep = sweep(&[1], Some(&[50]));
    sweep.parallel = None;
    assert_eq!(
        sweep.clone().expand().unwrap().runs()[0].concurrency,
        Some(NonZeroUsize::MIN)
    );
    sweep.rate = vec![rate(5.0), rate(2.5)];
    let plan = sweep.clone().expand().unwrap();
    assert!(plan.runs().iter().all(|run| run.concurrency.is_none()));
    assert_eq!(names(sweep), ["rate_5.0_number_50", "rate_2.5_number_50"]);
}

#[test]
fn a_duration_alone_has_no_number() {
    let mut sweep = sweep(&[4], None);
    sweep.duration_s = Some(1.5);
    let run = sweep.clone().expand().unwrap().runs()[0].clone();
    assert_eq!(
        (run.requests, run.point.label.as_str()),
        (None, "parallel_4_duration_1.5s")
    );
    sweep.whole = Some(8);
    assert_eq!(names(sweep.clone()), ["parallel_4_number_8"]);
    sweep.whole = None;
    sweep.warmup = Warmup::Share(0.1);
    insta::assert_snapshot!(sweep.expand().unwrap_err(), @"`--warmup-num 0.1` is a share of `--number`, which is not given");
}

/// Databases of earlier versions say a number for both.
#[test]
fn a_run_of_an_earlier_version_is_read() {
    let text = r#"{"name": "parallel_2_number_9", "concurrency": 2, "requests": 9, "pacing": {"kind": "poisson", "rate_per_s": 2.5},
        "warmup_requests": 0, "duration_s": null, "seed": 0, "dataset_offset": 0}"#;
    let run: RunSpec = serde_json::from_str(text).unwrap();
    assert_eq!(
        (run.concurrency, run.requests),
        (NonZeroUsize::new(2), Some(9))
    );
    assert_eq!(run.pacing, Pacing::Arrivals(Schedule::poisson(2.5)));
    assert_eq!(
        (run.point.ordinal, run.point.folder()),
        (None, "parallel_2_number_9".to_owned())
    );
}

#[test]
fn points_of_a_sweep_share_no_prompt() {
    let plan = sweep(&[1, 10, 50], Some(&[10, 20, 100])).expand().unwrap();
    let offsets: Vec<_> = plan.runs().iter().map(|r| r.dataset_offset).collect();
    assert_eq!(offsets, [0, 10, 30]);
    let ordinals = plan.runs().iter().filter_map(|run| run.point.ordinal);
    assert!(ordinals.map(usize::from).eq(1..=3));
    assert_eq!(plan.runs()[1].point.label, "parallel_10_number_20");
}

#[test]
fn unless_they_are_to_repeat_them() {
    let mut sweep = sweep(&[1, 10], Some(&[10, 20]));
    sweep.repeat_prompts = true;
    let plan = sweep.expand().unwrap();
    assert!(plan.runs().iter().all(|run| run.dataset_offset == 0));
}

#[test]
fn lists_of_different_lengths_show_both() {
    let error = sweep(&[1, 10, 50], Some(&[10, 20])).expand().unwrap_err();
    insta::assert_snapshot!(error, @"`--parallel` has 3 values (1 10 50) but `--number` has 2 (10 20)");
    let mut sweep = sweep(&[1], Some(&[10, 20]));
    sweep.rate = vec![rate(1.0), rate(2.0), rate(3.5)];
    insta::assert_snapshot!(sweep.expand().unwrap_err(), @"`--number` has 2 values (10 20) but `--rate` has 3 (1 2 3.5)");
}

#[test]
fn a_default_number_serves_every_point() {
    let plan = sweep(&[1, 2], None).expand().unwrap();
    assert!(
        plan.runs()
            .iter()
            .all(|r| r.requests == Some(DEFAULT_REQUESTS))
    );
}

#[test]
fn a_profile_that_ends_needs_no_number() {
    let mut sweep = sweep(&[1], None);
    sweep.parallel = None;
    sweep.rate = vec!["5@10".parse().ok(), "1..9@10".parse().ok(), rate(5.0)];
    let plan = sweep.clone().expand().unwrap();
    let numbers: Vec<_> = plan.runs().iter().map(|run| run.requests).collect();
    assert_eq!(numbers, [None, None, Some(DEFAULT_REQUESTS)]);
    assert_eq!(
        names(sweep),
        [
            "rate_profile1_number_all",
            "rate_profile2_number_all",
            "rate_5.0_number_1000"
        ]
    );
}

#[test]
fn a_trace_has_the_name_that_evalscope_gives_it() {
    let mut sweep = sweep(&[1], None);
    sweep.parallel = None;
    sweep.whole = Some(12);
    sweep.recording = Some(Recording::default());
    assert_eq!(names(sweep.clone()), ["rate_-1.0_number_12"]);
    let plan = sweep.expand().unwrap();
    assert!(plan.runs()[0].is_open_loop());
}

#[test]
fn requests_of_an_open_loop_end_in_time() {
    let mut sweep = sweep(&[1], None);
    sweep.rate = vec![rate(1.0)];
    let drain = |sweep: &Sweep| sweep.clone().expand().unwrap().runs()[0].drain_timeout_s;
    assert_eq!(drain(&sweep), None);
    sweep.parallel = None;
    assert_eq!(drain(&sweep), Some(OPEN_LOOP_DRAIN_S));
    sweep.drain_timeout_s = Some(7.0);
    assert_eq!(drain(&sweep), Some(7.0));
}

#[test]
fn a_plan_survives_json() {
    let plan = sweep(&[1, 2], Some(&[3, 4])).expand().unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<RunPlan>(&text).unwrap(), plan);
}

#[test]
fn sub_seeds_differ_by_purpose_and_seed() {
    assert_ne!(sub_seed(0, "arrivals"), sub_seed(0, "max_tokens"));
    assert_ne!(sub_seed(0, "arrivals"), sub_seed(1, "arrivals"));
    assert_eq!(sub_seed(7, "arrivals"), sub_seed(7, "arrivals"));
}

/// Warm-up requests are the first of the profile.
#[test]
fn a_profile_that_is_all_warm_up_is_refused() {
    let expand = |rate: &str, warmup| {
        let mut sweep = sweep(&[], None);
        sweep.parallel = None;
        sweep.rate = vec![Some(rate.parse().unwrap())];
        sweep.warmup = Warmup::Count(warmup);
        sweep.expand()
    };
    let why = expand("10@1", 50).unwrap_err();
    assert_eq!(
        why.to_string(),
        "`--warmup-num 50` leaves nothing to measure: `--rate 10@1` sends 10 requests on average, the \
         warm-up included"
    );
    assert!(expand("+10", 10).is_err());
    assert!(expand("10@1", 9).is_ok());
    assert!(expand("10", 5000).is_ok());
}

/// All points in turn, each time with prompts and arrivals of its own; the first time is what it would
/// be without repeats.
#[test]
fn points_are_repeated_in_turn() {
    let mut once = sweep(&[1, 2], Some(&[9]));
    once.seed = 7;
    once.warmup = Warmup::Count(1);
    let mut thrice = once.clone();
    thrice.repeats = NonZeroU32::new(3).unwrap();
    let (once, thrice) = (once.expand().unwrap(), thrice.expand().unwrap());
    let labels: Vec<&str> = thrice.runs().iter().map(|run| &*run.point.label).collect();
    assert_eq!(
        labels,
        [
            "parallel_1_number_9",
            "parallel_2_number_9",
            "parallel_1_number_9_rep2",
            "parallel_2_number_9_rep2",
            "parallel_1_number_9_rep3",
            "parallel_2_number_9_rep3",
        ]
    );
    assert!(labels.iter().all(|label| is_run_name(label)));
    let loads: Vec<&str> = thrice
        .runs()
        .iter()
        .map(|run| run.point.load_label())
        .collect();
    assert_eq!(loads[4], "parallel_1_number_9");
    let ordinals = thrice.runs().iter().map(|run| run.point.ordinal);
    assert!(ordinals.eq((1..=6).map(NonZeroUsize::new)));
    let offsets: Vec<u64> = thrice.runs().iter().map(|run| run.dataset_offset).collect();
    assert_eq!(offsets, [0, 10, 20, 30, 40, 50]);
    let seeds: Vec<u64> = thrice.runs().iter().map(|run| run.seed).collect();
    assert_eq!(seeds[..2], [7, 7]);
    assert!(seeds[2] == seeds[3] && seeds[4] == seeds[5] && seeds[2] != seeds[4]);
    for (first, only) in thrice.runs().iter().zip(once.runs()) {
        let mut first = first.clone();
        first.point.repetition = None;
        assert_eq!(first, *only);
    }
}

fn sharded(shard: &str, change: impl FnOnce(&mut Sweep)) -> Result<RunSpec, PlanError> {
    let mut sweep = sweep(&[10], Some(&[100]));
    sweep.shard = shard.parse().unwrap();
    change(&mut sweep);
    Ok(sweep.expand()?.runs()[0].clone())
}

/// The plan is that of the whole; the parts add up to it.
#[test]
fn a_shard_has_its_part_of_the_run() {
    let parts = |change: fn(&mut Sweep)| {
        let part = |shard| sharded(shard, change).unwrap().part();
        ["0/3", "1/3", "2/3"].map(part)
    };
    let closed = parts(|sweep| sweep.warmup = Warmup::Count(5));
    let places = closed.clone().map(|part| part.concurrency.unwrap().get());
    assert_eq!(places, [4, 3, 3]);
    let requests = closed.clone().map(|part| part.requests.unwrap());
    assert_eq!(requests, [34, 33, 33]);
    assert_eq!(closed.map(|part| part.warmup_requests), [2, 2, 1]);
    let open = parts(|sweep| {
        sweep.parallel = None;
        sweep.rate = vec![rate(30.0)];
        sweep.open_loop.max_in_flight = NonZeroUsize::new(7);
    });
    for (part, most) in open.into_iter().zip([3, 2, 2]) {
        assert_eq!(part.pacing.rate_per_s(), Some(10.0));
        assert_eq!(part.open_loop.max_in_flight.unwrap().get(), most);
        let gaps = part.pacing.schedule().unwrap().gaps;
        assert!((gaps.squared_cv() - 1.0 / 3.0).abs() < 1e-12);
    }
    let traced = parts(|sweep| {
        sweep.parallel = None;
        sweep.warmup = Warmup::Count(2);
        sweep.recording = Some(Recording {
            speed: 1.0,
            span_s: 0.0,
            offsets_ns: (0..8).collect(),
        });
    });
    let moments = traced.map(|part| match part.pacing {
        Pacing::Recorded(recording) => recording.offsets_ns.to_vec(),
        other => panic!("{other:?}"),
    });
    // two of the warm-up, then six that are counted anew
    assert_eq!(moments, [vec![0, 2, 5], vec![1, 3, 6], vec![4, 7]]);
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let refused = |change: fn(&mut Sweep)| sharded("0/11", change).unwrap_err().to_string();
    insta::assert_snapshot!(refused(|_| ()), @"
    `--parallel 10` is too few for 11 shards: each needs at least one
    hint: give `--parallel` 11 or more, or take fewer shards
    ");
    let open = |sweep: &mut Sweep| {
        sweep.parallel = None;
        sweep.rate = vec![rate(30.0)];
    };
    let error = sharded("0/101", open).unwrap_err().to_string();
    assert!(
        error.starts_with("`--number 100` is too few for 101 shards"),
        "{error}"
    );
    let stopping = |sweep: &mut Sweep| {
        open(sweep);
        sweep.open_loop.stop_when_saturated = true;
    };
    insta::assert_snapshot!(sharded("0/2", stopping).unwrap_err(), @"
    `--stop-when-saturated` would end one shard while the others go on: each sees only its part of the load
    hint: leave it out, or use one process
    ");
    let several = |sweep: &mut Sweep| sweep.number = Some(vec![100, 200]);
    insta::assert_snapshot!(sharded("0/2", several).unwrap_err(), @"
    `--shard` takes one run, but this command has 2
    hint: start the shards of each run on their own, with a `--run-id` of its own
    ");
    let repeated = |sweep: &mut Sweep| sweep.repeats = NonZeroU32::new(3).unwrap();
    let error = sharded("0/2", repeated).unwrap_err();
    assert_eq!(error, PlanError::SeveralPoints { points: 3 });
    // one shard is one process
    assert!(sharded("0/1", several).is_ok() && sharded("0/1", stopping).is_ok());
}
