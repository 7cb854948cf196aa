//! Arrivals of open loops, whatever their sessions do.

use super::*;

/// What a session does.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It ends after so many milliseconds.
    Ends(u64),
    /// Its task panics at once.
    Panics,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => (1u64..5000).prop_map(Fate::Ends),
        1 => Just(Fate::Panics),
    ];
    prop::collection::vec(fate, 20)
}

/// The records of an open loop without a limit, in order.
fn run(schedule: &Schedule, fates: Vec<Fate>, warmup: u64) -> Vec<RequestRecord> {
    let requests = fates.len() as u64 - warmup;
    let mut case = Case::new(1, requests, move |index| {
        match fates[usize::try_from(index).unwrap()] {
            Fate::Ends(after_ms) => Duration::from_millis(after_ms),
            Fate::Panics => panic!("the test's session panics"),
        }
    });
    case.spec.concurrency = None;
    case.spec.warmup_requests = warmup;
    case.spec.pacing = Pacing::Arrivals(schedule.clone());
    let mut records = case.run();
    records.sort_by_key(|record| record.times.scheduled);
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each arrival is when the seed says, is sent then, and makes one record: slow sessions and
    /// sessions that panic change nothing for the others.
    #[test]
    fn arrivals_do_not_depend_on_sessions_that_are_slow_or_panic(
        fates in fates(),
        rate_per_s in 1.0f64..200.0,
        is_gamma in any::<bool>(),
        warmup in 0u64..5,
    ) {
        let schedule = Schedule {
            gaps: if is_gamma { Gaps::Gamma { shape: 0.5 } } else { Gaps::Poisson },
            ..Schedule::poisson(rate_per_s)
        };
        let got = run(&schedule, fates.clone(), warmup);
        let smooth = run(&schedule, vec![Fate::Ends(1); fates.len()], warmup);
        prop_assert_eq!(got.len(), fates.len());
        let mut arrivals = Arrivals::new(schedule, 7);
        for (record, undisturbed) in got.iter().zip(&smooth) {
            let due = Timestamp::ZERO.after(arrivals.next_offset().unwrap());
            prop_assert_eq!(record.times.scheduled, due);
            prop_assert_eq!(record.times.dispatched, undisturbed.times.dispatched);
            let fate = fates[usize::try_from(record.index).unwrap()];
            match fate {
                Fate::Ends(_) => prop_assert!(record.succeeded()),
                Fate::Panics => {
                    let kind = record.failure.as_ref().map(|failure| failure.kind);
                    prop_assert_eq!(kind, Some(FailureKind::Internal));
                }
            }
        }
    }
}
