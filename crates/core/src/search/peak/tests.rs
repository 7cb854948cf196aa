//! Tests of the search on curves that are known.

use proptest::prelude::*;

use super::*;

/// Runs a search to its end. Returns the values that were measured, and the answer. `width`: of the interval
/// to either side, a share.
fn run(search: &PeakSearch, width: f64, figure: impl Fn(f64) -> f64) -> (Vec<f64>, Peak) {
    let mut observed = Vec::new();
    loop {
        match search.next(&observed, false) {
            Action::Done(peak) => {
                let values = observed.iter().map(|one: &Observation| one.wanted.value);
                return (values.collect(), peak);
            }
            Action::Measure(wanted) => {
                assert!(observed.len() < 60, "{observed:?}");
                let figure = figure(wanted.value);
                observed.push(Observation {
                    wanted,
                    figure,
                    low: figure * (1.0 - width),
                    high: figure * (1.0 + width),
                    succeeded: true,
                    client_limited: false,
                });
            }
        }
    }
}

fn whole(start: f64) -> PeakSearch {
    PeakSearch::new(start, (1.0, 65536.0), Values::Whole, 0.05)
}

fn real(start: f64) -> PeakSearch {
    PeakSearch::new(start, (1.0, 65536.0), Values::Real, 0.05)
}

/// Goodput of a server that keeps its objective up to a load, and loses more and more beyond.
fn goodput(most: f64) -> impl Fn(f64) -> f64 {
    move |value| {
        if value <= most {
            value
        } else {
            most * (most / value).powi(3)
        }
    }
}

#[test]
fn it_doubles_until_the_figure_fell_twice_and_sections_beside_the_best() {
    let (values, peak) = run(&real(4.0), 0.01, goodput(20.0));
    assert_eq!(values[..5], [4.0, 8.0, 16.0, 32.0, 64.0]);
    let best = peak.best.unwrap();
    assert!((19.0..=21.0).contains(&best), "{best} {values:?}");
    assert!(peak.confirmed && peak.end == SearchEnd::Found);
    assert!(values.len() <= 14, "{values:?}");
    assert_eq!(values.last(), Some(&best));
}

#[test]
fn a_start_beyond_the_peak_is_halved() {
    let (values, peak) = run(&real(64.0), 0.01, goodput(20.0));
    assert_eq!(values[..5], [64.0, 128.0, 256.0, 32.0, 16.0]);
    assert!((19.0..=21.0).contains(&peak.best.unwrap()));
    // nothing is good where it begins
    let step = |value: f64| if value <= 3.0 { value } else { 0.0 };
    let (_, peak) = run(&whole(64.0), 0.01, step);
    assert_eq!(peak.best, Some(3.0));
}

/// Throughput stays as it is beyond its peak: the lowest load that has it is the answer.
#[test]
fn on_a_plateau_the_lowest_value_is_the_answer() {
    let (values, peak) = run(&whole(2.0), 0.03, |value| value.min(10.0));
    assert_eq!(values[..7], [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);
    assert_eq!(peak.best, Some(10.0), "{values:?}");
    let (values, peak) = run(&whole(64.0), 0.03, |value| value.min(10.0));
    assert_eq!(values[..7], [64.0, 128.0, 256.0, 512.0, 32.0, 16.0, 8.0]);
    assert_eq!(peak.best, Some(10.0), "{values:?}");
}

#[test]
fn bounds_are_answers_too() {
    let search = PeakSearch::new(2.0, (1.0, 20.0), Values::Whole, 0.05);
    let (values, peak) = run(&search, 0.01, |value| value);
    assert_eq!(values[..5], [2.0, 4.0, 8.0, 16.0, 20.0]);
    assert_eq!((peak.best, peak.end), (Some(20.0), SearchEnd::AtBound));
    let (_, peak) = run(&search, 0.01, |value| 1.0 / value);
    assert_eq!((peak.best, peak.end), (Some(1.0), SearchEnd::Found));
    let (_, peak) = run(&search, 0.01, |_| 0.0);
    assert_eq!((peak.best, peak.end), (None, SearchEnd::NoneMeets));
}

fn observed(values: &[f64], change: impl Fn(&mut Observation)) -> Vec<Observation> {
    let observed = values.iter().map(|value| {
        let mut one = Observation {
            wanted: Wanted {
                value: *value,
                purpose: Purpose::Search,
            },
            figure: *value,
            low: *value,
            high: *value,
            succeeded: true,
            client_limited: false,
        };
        change(&mut one);
        one
    });
    observed.collect()
}

#[test]
fn a_server_that_is_gone_and_time_that_is_up_end_the_search() {
    let dead = observed(&[4.0, 8.0, 16.0], |one| {
        (one.succeeded, one.figure) = (false, 0.0);
    });
    let Action::Done(peak) = real(4.0).next(&dead, false) else {
        panic!("it goes on");
    };
    assert_eq!((peak.best, peak.end), (None, SearchEnd::NoSuccess));
    let rising = observed(&[4.0, 8.0, 16.0], |_| {});
    let Action::Done(peak) = real(4.0).next(&rising, true) else {
        panic!("it goes on");
    };
    assert_eq!((peak.best, peak.end), (Some(16.0), SearchEnd::OutOfTime));
    assert_eq!(real(4.0).so_far(&rising).end, SearchEnd::Interrupted);
}

/// Rising figures; above a value this program is the limit, the second time as well.
fn twice_where_limited(values: &[f64], most: f64) -> Vec<Observation> {
    let all = observed(values, |one| one.client_limited = one.wanted.value > most);
    let again = |one: &Observation| Observation {
        wanted: Wanted {
            purpose: Purpose::Again,
            ..one.wanted
        },
        ..*one
    };
    let both = all
        .iter()
        .flat_map(|one| [Some(*one), one.client_limited.then(|| again(one))]);
    both.flatten().collect()
}

/// Figures beyond what this program can send are not those of the server.
#[test]
fn what_this_program_limits_is_no_answer() {
    let limited = twice_where_limited(&[4.0, 8.0, 16.0], 10.0);
    // nothing above is tried
    let Action::Measure(wanted) = real(4.0).next(&limited, false) else {
        panic!("it is at its end");
    };
    assert!(8.0 < wanted.value && wanted.value < 16.0);
    assert_eq!(real(4.0).so_far(&limited).best, Some(8.0));
    let all = twice_where_limited(&[2.0, 1.0], 0.0);
    let Action::Done(peak) = real(2.0).next(&all, false) else {
        panic!("it goes on");
    };
    assert_eq!((peak.best, peak.end), (None, SearchEnd::ClientLimited));
}

/// A figure that is lower the second time is not confirmed.
#[test]
fn a_confirmation_that_is_lower_is_said() {
    let mut measured = Vec::new();
    let search = PeakSearch::new(2.0, (2.0, 4.0), Values::Whole, 0.05);
    let peak = loop {
        match search.next(&measured, false) {
            Action::Done(peak) => break peak,
            Action::Measure(wanted) => {
                let mut one = observed(&[wanted.value], |_| {}).remove(0);
                one.wanted = wanted;
                if wanted.purpose == Purpose::Confirmation {
                    (one.figure, one.high) = (1.0, 1.1);
                }
                measured.push(one);
            }
        }
    };
    assert_eq!((peak.best, peak.confirmed), (Some(4.0), false));
    assert_eq!(peak.end, SearchEnd::NotConfirmed);
}

proptest! {
    /// One peak is found as precisely as was asked for, wherever the search begins.
    #[test]
    fn a_single_peak_is_found(
        start in 1.0f64..3000.0, at in 2.0f64..20000.0, up in 0.3f64..1.0, down in 0.3f64..4.0,
    ) {
        let peaked = |value: f64| {
            if value <= at { 100.0 * (value / at).powf(up) } else { 100.0 * (at / value).powf(down) }
        };
        let (_, peak) = run(&real(start), 0.0, peaked);
        let best = peak.best.unwrap();
        prop_assert!((best / at).ln().abs() <= 0.06, "{} is not {}", best, at);
        let search = PeakSearch::new(start.round(), (1.0, 65536.0), Values::Whole, 1e-9);
        let (_, peak) = run(&search, 0.0, peaked);
        let best = peak.best.unwrap();
        prop_assert!(peaked(best) >= peaked(at.floor()).max(peaked(at.ceil())) - 1e-9, "{} is not {}", best, at);
    }
}
