//! Tests of the search against tables of outcomes, and against random curves with noise.

use evalscope_model::metrics::{normal_quantile, wilson};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution as _};

use super::*;

const EVERY: (f64, f64) = (1.0, 65536.0);

fn real(start: f64) -> BracketSearch {
    BracketSearch::new(start, EVERY, Values::Real, 0.05)
}

fn whole(start: f64) -> BracketSearch {
    BracketSearch::new(start, EVERY, Values::Whole, 0.05)
}

/// Runs a search to its end. Returns what was measured, and the answer.
fn run(search: &BracketSearch, mut judge: impl FnMut(Wanted) -> Judged) -> (Vec<Probed>, Answer) {
    run_with(search, |wanted| {
        let judged = judge(wanted);
        let used = match judged {
            Judged::Passed => 0.2,
            Judged::Undecided => 0.9,
            Judged::Failed | Judged::ClientLimited => 3.0,
        };
        (judged, used, 1000.0)
    })
}

/// The same, where it is known what was used of the limits, by how many requests.
fn run_with(
    search: &BracketSearch,
    mut judge: impl FnMut(Wanted) -> (Judged, f64, f64),
) -> (Vec<Probed>, Answer) {
    let mut probed = Vec::new();
    loop {
        match search.next(&probed, false) {
            Action::Done(answer) => return (probed, answer),
            Action::Measure(wanted) => {
                assert!(probed.len() < 60, "{probed:?}");
                let (judged, used, weight) = judge(wanted);
                probed.push(Probed {
                    wanted,
                    judged,
                    used,
                    weight,
                    succeeded: true,
                });
            }
        }
    }
}

fn up_to(most: f64) -> impl Fn(Wanted) -> Judged {
    move |wanted| {
        if wanted.value <= most {
            Judged::Passed
        } else {
            Judged::Failed
        }
    }
}

fn values(probed: &[Probed]) -> Vec<f64> {
    probed.iter().map(|one| one.wanted.value).collect()
}

#[test]
fn it_doubles_and_takes_the_geometric_middle() {
    let (probed, answer) = run(&real(4.0), up_to(26.7));
    assert_eq!(
        values(&probed),
        [4.0, 8.0, 16.0, 32.0, 22.6, 26.9, 24.7, 25.8, 25.8]
    );
    assert_eq!(probed.last().unwrap().wanted.purpose, Purpose::Confirmation);
    let want = Answer {
        best: Some(25.8),
        confirmed: true,
        weak: false,
        fails_at: Some(26.9),
        unstable: false,
        end: SearchEnd::Found,
    };
    assert_eq!(answer, want);
}

#[test]
fn whole_numbers_end_at_neighbours() {
    let (probed, answer) = run(&whole(40.0), up_to(6.0));
    assert_eq!(values(&probed), [40.0, 20.0, 10.0, 5.0, 7.0, 6.0, 6.0]);
    assert_eq!((answer.best, answer.fails_at), (Some(6.0), Some(7.0)));
}

#[test]
fn bounds_are_answers_too() {
    let search = BracketSearch::new(3.0, (1.0, 20.0), Values::Real, 0.05);
    let (probed, answer) = run(&search, up_to(100.0));
    assert_eq!(values(&probed), [3.0, 6.0, 12.0, 20.0, 20.0]);
    assert_eq!(answer.end, SearchEnd::AtBound);
    assert_eq!((answer.best, answer.fails_at), (Some(20.0), None));
    let (probed, answer) = run(&search, up_to(0.5));
    assert_eq!(values(&probed), [3.0, 1.5, 1.0]);
    assert_eq!(answer.end, SearchEnd::NoneMeets);
    assert_eq!((answer.best, answer.fails_at), (None, Some(1.0)));
}

/// A value at exactly the limit does not tell, however long it is measured.
#[test]
fn what_does_not_tell_is_measured_once_more_for_longer() {
    let judge = |used: f64| {
        move |wanted: Wanted| match wanted.value {
            value if value < 8.0 => (Judged::Passed, 0.1, 1000.0),
            value if value > 8.0 => (Judged::Failed, 2.0, 1000.0),
            _ => (Judged::Undecided, used, 1000.0),
        }
    };
    let (probed, answer) = run_with(&whole(8.0), judge(0.7));
    let purposes: Vec<Purpose> = probed.iter().map(|one| one.wanted.purpose).collect();
    assert_eq!(purposes[..2], [Purpose::Search, Purpose::Again]);
    assert_eq!(answer.best, Some(8.0));
    assert!(answer.weak && answer.confirmed);
    let (_, answer) = run_with(&whole(8.0), judge(0.9));
    assert_eq!((answer.best, answer.fails_at), (Some(7.0), None));
}

#[test]
fn an_answer_that_is_not_confirmed_is_lowered() {
    let (probed, answer) = run(&real(10.0), |wanted| match wanted.purpose {
        Purpose::Confirmation if wanted.value > 9.2 => Judged::Failed,
        _ => up_to(10.0)(wanted),
    });
    let confirmed: Vec<f64> = probed
        .iter()
        .filter(|one| one.wanted.purpose == Purpose::Confirmation)
        .map(|one| one.wanted.value)
        .collect();
    assert_eq!(confirmed, [10.0, 9.5, 9.03]);
    assert_eq!((answer.best, answer.confirmed), (Some(9.03), true));
    assert_eq!((answer.fails_at, answer.unstable), (Some(9.5), false));
    let (_, never) = run(&real(10.0), |wanted| match wanted.purpose {
        Purpose::Confirmation => Judged::Failed,
        _ => up_to(10.0)(wanted),
    });
    assert_eq!(never.end, SearchEnd::NotConfirmed);
    assert_eq!((never.best, never.confirmed), (None, false));
    assert!(never.unstable);
}

/// 24.7 and 25.8 pass; what follows is scripted by purpose and value.
fn after_a_bracket(script: &[(Purpose, f64, Judged)]) -> Answer {
    let mut script = script.iter();
    let mut has_begun = false;
    let (_, answer) = run(&real(4.0), |wanted| {
        has_begun |= wanted.purpose == Purpose::Confirmation;
        if !has_begun {
            return up_to(26.7)(wanted);
        }
        let (purpose, value, judged) = *script.next().expect("nothing more is measured");
        assert_eq!((wanted.purpose, wanted.value), (purpose, value));
        judged
    });
    assert!(script.next().is_none());
    answer
}

#[test]
fn a_pass_above_a_fail_is_measured_again_with_it() {
    use Judged::{Failed, Passed};
    use Purpose::{Again, Confirmation, Search};
    let refused = [(Confirmation, 25.8, Failed), (Confirmation, 24.5, Failed)];
    // both fail: the answer is below
    let answer = after_a_bracket(&[
        refused[0],
        refused[1],
        (Again, 24.5, Failed),
        (Again, 24.7, Failed),
        (Search, 23.5, Passed),
        (Confirmation, 23.5, Passed),
    ]);
    assert_eq!((answer.best, answer.fails_at), (Some(23.5), Some(24.5)));
    assert!(answer.confirmed && !answer.unstable);
    // both pass: the fit of all that was measured crosses the limit above them
    let answer = after_a_bracket(&[
        refused[0],
        refused[1],
        (Again, 24.5, Passed),
        (Again, 24.7, Passed),
        (Confirmation, 24.7, Passed),
    ]);
    assert_eq!((answer.best, answer.fails_at), (Some(24.7), Some(25.8)));
    assert!(answer.confirmed && !answer.unstable);
    // the same again: the server is not the same twice
    let answer = after_a_bracket(&[
        refused[0],
        refused[1],
        (Again, 24.5, Failed),
        (Again, 24.7, Passed),
        (Search, 23.5, Passed),
        (Confirmation, 23.5, Passed),
    ]);
    assert_eq!((answer.best, answer.fails_at), (Some(23.5), Some(24.5)));
    assert!(answer.confirmed && answer.unstable);
}

#[test]
fn a_server_that_is_gone_ends_the_search() {
    let search = real(8.0);
    let mut probed = Vec::new();
    let dead = |value| Probed {
        wanted: Wanted {
            value,
            purpose: Purpose::Search,
        },
        judged: Judged::Failed,
        used: 100.0,
        weight: 100.0,
        succeeded: false,
    };
    for value in [8.0, 4.0, 2.0] {
        assert!(matches!(search.next(&probed, false), Action::Measure(_)));
        probed.push(dead(value));
    }
    let Action::Done(answer) = search.next(&probed, false) else {
        panic!("it goes on");
    };
    assert_eq!((answer.end, answer.best), (SearchEnd::NoSuccess, None));
}

#[test]
fn no_answer_is_above_what_this_program_can_send() {
    let (probed, answer) = run(&real(8.0), |wanted| {
        if wanted.value > 20.0 {
            Judged::ClientLimited
        } else {
            Judged::Passed
        }
    });
    // it is measured twice: the first time something else may have slowed this program down
    assert_eq!(values(&probed), [8.0, 16.0, 32.0, 32.0]);
    assert_eq!(answer.end, SearchEnd::ClientLimited);
    assert_eq!((answer.best, answer.confirmed), (Some(16.0), false));
    let (probed, answer) = run(&real(8.0), |wanted| match (wanted.value, wanted.purpose) {
        (16.0, Purpose::Search) => Judged::ClientLimited,
        _ => up_to(26.7)(wanted),
    });
    assert_eq!(values(&probed)[..4], [8.0, 16.0, 16.0, 32.0]);
    assert_eq!((answer.best, answer.end), (Some(25.8), SearchEnd::Found));
    // where it begins beyond that, it does not say that the server fails there
    let (_, answer) = run(&whole(32.0), |wanted| match wanted.value {
        20.0.. => Judged::ClientLimited,
        value => up_to(10.0)(Wanted { value, ..wanted }),
    });
    assert_eq!((answer.best, answer.fails_at), (Some(10.0), Some(11.0)));
    let (probed, answer) = run(&whole(4.0), |_| Judged::ClientLimited);
    assert_eq!(values(&probed), [4.0, 4.0, 2.0, 2.0, 1.0, 1.0]);
    assert_eq!((answer.best, answer.fails_at), (None, None));
    assert_eq!(answer.end, SearchEnd::ClientLimited);
}

#[test]
fn when_time_is_up_the_best_so_far_is_the_answer() {
    let search = real(4.0);
    let (probed, _) = run(&search, up_to(26.7));
    let Action::Done(answer) = search.next(&probed[..3], true) else {
        panic!("it goes on");
    };
    assert_eq!(
        (answer.end, answer.best, answer.confirmed),
        (SearchEnd::OutOfTime, Some(16.0), false)
    );
    assert_eq!(search.so_far(&probed[..3]).end, SearchEnd::Interrupted);
    assert_eq!(search.so_far(&probed).end, SearchEnd::Found);
}

proptest! {
    /// Whatever the truth, the bracket is around it and as narrow as asked for.
    #[test]
    fn the_bracket_is_around_the_truth(
        start in 1.0f64..3000.0, most in 1.0f64..60000.0, precision in 0.01f64..0.3,
    ) {
        let search = BracketSearch::new(start, EVERY, Values::Real, precision);
        let (_, answer) = run(&search, up_to(most));
        let (best, fails_at) = (answer.best.unwrap(), answer.fails_at.unwrap());
        prop_assert!(best <= most && most < fails_at);
        prop_assert!(fails_at / best <= 1.0 + precision + 1e-9, "{best} {fails_at}");
        let search = BracketSearch::new(start.round(), EVERY, Values::Whole, 1e-9);
        let (_, answer) = run(&search, up_to(most));
        prop_assert_eq!(answer.best, Some(most.floor()));
    }
}

proptest! {
    /// However a server behaves, a search ends, within its bounds, and what it calls confirmed passed when
    /// it was measured last; `fails_at` is above the answer.
    #[test]
    fn whatever_a_server_does_the_search_ends(
        start in 1.0f64..3000.0, is_whole in any::<bool>(), outcomes in proptest::collection::vec(
            (0u8..8, 0.0f64..3.0, 1.0f64..5000.0), 60),
    ) {
        let values = if is_whole { Values::Whole } else { Values::Real };
        let start = if is_whole { start.round() } else { start };
        let search = BracketSearch::new(start, (1.0, 4096.0), values, 0.05);
        let mut outcomes = outcomes.into_iter();
        let (probed, answer) = run_with(&search, |_| {
            let (kind, used, weight) = outcomes.next().expect("60 measurements are enough");
            match kind {
                0..=3 => (Judged::Passed, used.min(1.0), weight),
                4..=6 => (Judged::Failed, used, weight),
                _ => (Judged::Undecided, used, weight),
            }
        });
        let last = |value: f64| probed.iter().rfind(|one| one.wanted.value.total_cmp(&value).is_eq());
        if answer.confirmed {
            let last = last(answer.best.unwrap()).unwrap();
            prop_assert_eq!(last.wanted.purpose, Purpose::Confirmation);
            prop_assert!(last.judged == Judged::Passed || last.used <= 1.0);
        }
        if let Some(best) = answer.best {
            prop_assert!((1.0..=4096.0).contains(&best));
            prop_assert!(answer.fails_at.is_none_or(|at| at > best));
        }
        let again = probed.iter().filter(|one| one.wanted.purpose == Purpose::Confirmation);
        prop_assert!(again.count() <= 1 + LOWERED);
    }
}

/// A probe of independent requests, judged as probes are: at five looks, with 99 % for all but the last.
fn noisy(
    rng: &mut ChaCha8Rng,
    share: f64,
    allowed: f64,
    per_look: u64,
    most_looks: u64,
) -> (Judged, f64, f64) {
    let (mut n, mut violations) = (0u64, 0u64);
    for look in 1..=most_looks {
        violations += Binomial::new(per_look, share).unwrap().sample(rng);
        n += per_look;
        let is_last = look == most_looks;
        let z = normal_quantile(if is_last { 0.975 } else { 0.995 });
        let seen = violations as f64 / n as f64;
        let interval = wilson(seen, n as f64, z);
        if interval.low() > allowed {
            return (Judged::Failed, seen / allowed, n as f64);
        }
        if interval.high() <= allowed && (is_last || seen <= allowed / 4.0) {
            return (Judged::Passed, seen / allowed, n as f64);
        }
    }
    let used = violations as f64 / n as f64 / allowed;
    (Judged::Undecided, used, n as f64)
}

/// 1,000 monotone curves of violations over load, with binomial noise: at the answer no more requests
/// break the limit than is allowed, and at the value that fails more do, in at least 95 %.
#[test]
fn noise_seldom_moves_the_answer_beyond_the_truth() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut held, mut near, mut unstable) = (0, 0, 0);
    for _ in 0..1000 {
        let allowed = [0.01, 0.05, 0.1][rng.random_range(0..3)];
        // the share that breaks the limit rises as a power of the load and meets what is allowed here
        let truth = 2f64.powf(rng.random_range(1.0..9.0));
        let steep = rng.random_range(4.0..40.0);
        let share = |value: f64| (allowed * (value / truth).powf(steep)).min(1.0);
        let start = 2f64.powf(rng.random_range(0.0..8.0));
        let search = BracketSearch::new(start, (0.5, 4096.0), Values::Real, 0.05);
        let (_, answer) = run_with(&search, |wanted| {
            let looks = match wanted.purpose {
                Purpose::Search | Purpose::OtherSearch => 5,
                Purpose::Again => 10,
                Purpose::Confirmation => 8,
            };
            noisy(&mut rng, share(wanted.value), allowed, 400, looks)
        });
        unstable += u32::from(answer.unstable);
        let best = answer.best.unwrap();
        // the precision of the search, and what binomial noise leaves open, in terms of load
        let open = 1.05 * 1.5f64.powf(1.0 / steep);
        held +=
            u32::from(best <= truth * open && answer.fails_at.is_none_or(|at| at >= truth / open));
        near += u32::from(best >= truth / open / 1.05 * 0.5f64.powf(1.0 / steep));
    }
    assert!(held >= 950, "{held} of 1000");
    assert!(near >= 950, "{near} of 1000");
    assert!(unstable <= 20, "{unstable} of 1000");
}
