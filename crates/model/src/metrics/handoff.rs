//! Owns the hand-off from prefill to decode, as the client sees it: the first gap between the tokens
//! of a choice, how much longer it is than the gaps after it, and those gaps.
//!
//! Pure. It must not know which requests count, or units.

use std::collections::BTreeMap;

use super::choices::neighbours_of_choices;
use super::quantile;
use crate::record::EventLog;

/// Gaps between the token-bearing events of one choice, nanoseconds.
struct Gaps {
    first: f64,
    later: Vec<f64>,
}

fn of_choices(events: &EventLog) -> BTreeMap<u8, Gaps> {
    let mut choices = BTreeMap::<u8, Gaps>::new();
    neighbours_of_choices(events, |choice, from, to| {
        let gap = to.nanos_since(from) as f64;
        let own = choices.entry(choice);
        own.and_modify(|gaps| gaps.later.push(gap))
            .or_insert_with(|| Gaps {
                first: gap,
                later: Vec::new(),
            });
    });
    choices
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// The first gap, nanoseconds: the mean over the choices that have one.
pub(super) fn latency(events: &EventLog) -> Option<f64> {
    mean(of_choices(events).into_values().map(|gaps| gaps.first))
}

/// By how much the first gap is longer than the median of the gaps after it, nanoseconds, and 0 where
/// it is shorter: the mean over the choices that have two gaps.
pub(super) fn overhead(events: &EventLog) -> Option<f64> {
    mean(of_choices(events).into_values().filter_map(|mut gaps| {
        if gaps.later.is_empty() {
            return None;
        }
        gaps.later.sort_unstable_by(f64::total_cmp);
        Some((gaps.first - quantile(&gaps.later, 0.5)).max(0.0))
    }))
}

/// All gaps but the first of each choice, nanoseconds, in the order in which they end.
pub(super) fn steady_gaps(events: &EventLog, mut sink: impl FnMut(f64)) {
    let mut handed_over = 0u64;
    neighbours_of_choices(events, |choice, from, to| {
        let own = 1 << choice;
        if handed_over & own != 0 {
            sink(to.nanos_since(from) as f64);
        }
        handed_over |= own;
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventStamp;
    use crate::time::Timestamp;
    use proptest::prelude::*;

    fn log(stamps: &[(u64, u8, bool)]) -> EventLog {
        let mut log = EventLog::default();
        for (at, choice, token) in stamps {
            log.push(EventStamp {
                token: *token,
                choice: *choice,
                ..EventStamp::empty(Timestamp::from_nanos(*at))
            });
        }
        log
    }

    fn steady(log: &EventLog) -> Vec<f64> {
        let mut gaps = Vec::new();
        steady_gaps(log, |gap| gaps.push(gap));
        gaps
    }

    #[test]
    fn the_first_gap_is_the_hand_off() {
        let tokens = |at: &[u64]| log(&at.iter().map(|at| (*at, 0, true)).collect::<Vec<_>>());
        for (at, first, over, later) in [
            (&[][..], None, None, &[][..]),
            (&[10], None, None, &[]),
            (&[10, 90], Some(80.0), None, &[]),
            (&[10, 90, 100, 120], Some(80.0), Some(65.0), &[10.0, 20.0]),
            // shorter than the others
            (&[10, 12, 22], Some(2.0), Some(0.0), &[10.0]),
            // the first two came in one read
            (&[10, 10, 20, 40], Some(0.0), Some(0.0), &[10.0, 20.0]),
        ] {
            let log = tokens(at);
            assert_eq!((latency(&log), overhead(&log)), (first, over), "{at:?}");
            assert_eq!(steady(&log), later, "{at:?}");
        }
        // neither a role before the first token nor usage after the last is a token
        let with_others = log(&[
            (1, 0, false),
            (10, 0, true),
            (40, 0, true),
            (45, 0, false),
            (50, 0, true),
            (70, 0, false),
        ]);
        assert_eq!(overhead(&with_others), Some(20.0));
    }

    #[test]
    fn each_choice_is_handed_over() {
        let log = log(&[
            (10, 0, true),
            (20, 1, true),
            (50, 0, true),
            (60, 0, true),
            (80, 1, true),
            (100, 1, true),
            (105, 2, true),
        ]);
        assert_eq!(latency(&log), Some(50.0));
        assert_eq!(overhead(&log), Some(35.0));
        assert_eq!(steady(&log), [10.0, 20.0]);
    }

    /// The same, computed choice by choice from the list of moments.
    fn by_hand(stamps: &[(u64, u8, bool)]) -> (Option<f64>, Option<f64>, Vec<f64>) {
        let (mut firsts, mut overs, mut steady) = (Vec::new(), Vec::new(), Vec::new());
        for own in 0..=u8::MAX {
            let at: Vec<u64> = stamps
                .iter()
                .filter(|(_, choice, token)| *choice == own && *token)
                .map(|(at, ..)| *at)
                .collect();
            let mut gaps: Vec<f64> = at.windows(2).map(|two| (two[1] - two[0]) as f64).collect();
            if gaps.is_empty() {
                continue;
            }
            let first = gaps.remove(0);
            firsts.push(first);
            steady.extend(&gaps);
            gaps.sort_by(f64::total_cmp);
            if !gaps.is_empty() {
                let median = f64::midpoint(gaps[(gaps.len() - 1) / 2], gaps[gaps.len() / 2]);
                overs.push(if first > median { first - median } else { 0.0 });
            }
        }
        let mean = |of: &[f64]| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        steady.sort_by(f64::total_cmp);
        (mean(&firsts), mean(&overs), steady)
    }

    proptest! {
        #[test]
        fn the_figures_are_those_of_a_brute_force(
            steps in prop::collection::vec((0u64..1_000_000_000, 0u8..4, prop::bool::weighted(0.8)), 0..60),
            choices in 1u8..5,
        ) {
            let mut at = 0;
            let stamps: Vec<_> = steps
                .into_iter()
                .map(|(step, choice, token)| {
                    // some came in one read
                    at += if step % 4 == 0 { 0 } else { step };
                    (at, choice % choices, token)
                })
                .collect();
            let log = log(&stamps);
            let (first, over, later) = by_hand(&stamps);
            let close = |got: Option<f64>, want: Option<f64>| match (got, want) {
                (Some(got), Some(want)) => (got - want).abs() <= 1e-6 * want.max(1.0),
                (got, want) => got == want,
            };
            prop_assert!(close(latency(&log), first), "{:?} {:?}", latency(&log), first);
            prop_assert!(close(overhead(&log), over), "{:?} {:?}", overhead(&log), over);
            let mut got = steady(&log);
            got.sort_by(f64::total_cmp);
            prop_assert_eq!(got, later);
        }
    }
}
