//! Owns whether the responses of two sides ended for other reasons.
//!
//! It must not know where runs are read from, nor formats.

use std::collections::{BTreeMap, BTreeSet};

use evalscope_model::metrics::{Share, holm, newcombe_p_value};

use super::run::Run;
use crate::console::percent;

/// A difference that chance makes less often than this is one, if any of the reasons has it.
const CHANCE: f64 = 0.05;

/// Smaller differences do not matter, however sure they are.
const LEAST: f64 = 0.01;

/// Successes by finish reason.
fn of_side<'a>(runs: &[&'a Run]) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    for (reason, n) in runs.iter().flat_map(|run| &run.finish_reasons) {
        *counts.entry(reason.as_str()).or_insert(0) += n;
    }
    counts
}

/// The shares of finish reasons in words, where those of the two sides differ; `None` where they do not,
/// and where one side does not know them.
pub(super) fn difference(base: &[&Run], new: &[&Run]) -> Option<String> {
    let sides = [of_side(base), of_side(new)];
    let [all_base, all_new] = sides.each_ref().map(|side| side.values().sum::<u64>());
    if all_base == 0 || all_new == 0 {
        return None;
    }
    let share = |side: &BTreeMap<&str, u64>, reason: &str| {
        let of: u64 = side.values().sum();
        Share {
            share: side.get(reason).copied().unwrap_or(0) as f64 / of as f64,
            trials: of as f64,
        }
    };
    let reasons: BTreeSet<&str> = sides.iter().flat_map(BTreeMap::keys).copied().collect();
    let pairs: Vec<_> = reasons
        .iter()
        .map(|reason| sides.each_ref().map(|side| share(side, reason)))
        .collect();
    let chances: Vec<f64> = pairs
        .iter()
        .map(|[base, new]| newcombe_p_value(*base, *new))
        .collect();
    let mut pairs = pairs.iter().zip(holm(&chances));
    pairs.find(|([base, new], chance)| {
        *chance < CHANCE && (new.share - base.share).abs() >= LEAST
    })?;
    let words = |side: &BTreeMap<&str, u64>| {
        let mut counts: Vec<(&str, u64)> = side.iter().map(|(reason, n)| (*reason, *n)).collect();
        counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let of =
            |(reason, _): (&str, u64)| format!("{reason} {}", percent(share(side, reason).share));
        counts.into_iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let [base, new] = sides.each_ref().map(words);
    Some(format!("{base} in the base, {new} in the new runs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::run;

    fn with(reasons: &[(&str, u64)]) -> Run {
        let reasons = reasons.iter().map(|(reason, n)| ((*reason).to_owned(), *n));
        Run {
            finish_reasons: reasons.collect(),
            ..run(8, &[])
        }
    }

    #[test]
    fn only_what_chance_does_not_explain_is_a_difference() {
        let base = with(&[("stop", 900), ("length", 100)]);
        let says = |new: Run| difference(&[&base], &[&new]);
        assert_eq!(says(base.clone()), None);
        assert_eq!(says(with(&[("stop", 890), ("length", 110)])), None);
        assert_eq!(says(with(&[("stop", 4), ("length", 1)])), None, "few");
        assert_eq!(says(with(&[])), None, "unknown");
        assert_eq!(
            says(with(&[("stop", 250), ("length", 750)])).as_deref(),
            Some("stop 90%, length 10% in the base, length 75%, stop 25% in the new runs")
        );
        assert!(says(with(&[("stop", 900), ("content_filter", 100)])).is_some());
    }

    #[test]
    fn the_runs_of_a_side_count_together() {
        let few = with(&[("stop", 7), ("length", 3)]);
        let other = with(&[("stop", 4), ("length", 6)]);
        assert_eq!(difference(&[&few], &[&other]), None);
        assert!(difference(&[&few; 4], &[&other; 4]).is_some());
    }
}
