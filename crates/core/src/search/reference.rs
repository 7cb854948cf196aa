//! Owns the search as EvalScope 1.14.1 does it: doubling and halving to a bracket and bisection of
//! its whole numbers, or a hill climb to the best figure.
//!
//! It must not know limits or figures: a measurement says which groups of limits it met.

use std::collections::BTreeMap;

use super::action::Action;

/// What one value came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The value.
    pub value: u64,
    /// Whether it met each group of limits, in order.
    pub met: Vec<bool>,
    /// The figure that a climb is about; `None` where it is missing or a request failed.
    pub figure: Option<f64>,
}

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The largest value that meets the limits, for each of so many groups on its own.
    Limits(usize),
    /// The value with the greatest figure.
    Greatest,
    /// The value with the smallest figure.
    Smallest,
}

/// The values that were found, one for each group of limits; `None`: no value will do.
pub type Found = Vec<Option<u64>>;

/// EvalScope's search.
#[derive(Clone, Debug)]
pub struct ReferenceSearch {
    start: i64,
    lower: i64,
    upper: i64,
    goal: Goal,
}

/// A value that has to be measured first.
type Missing = i64;

/// What a climb sees of a value; `None`: it is not valid.
type Score = Option<f64>;

impl ReferenceSearch {
    /// A search that begins at `start`, which is moved into `lower..=upper`.
    #[must_use]
    pub fn new(start: u64, lower: u64, upper: u64, goal: Goal) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Self {
            start: signed(start.clamp(lower, upper)),
            lower: signed(lower),
            upper: signed(upper),
            goal,
        }
    }

    /// What to do next, given all values that were measured.
    #[must_use]
    pub fn next(&self, observed: &[Observed]) -> Action<u64, Found> {
        let known: BTreeMap<i64, &Observed> = observed
            .iter()
            .map(|one| (i64::try_from(one.value).unwrap_or(i64::MAX), one))
            .collect();
        let run = match self.goal {
            Goal::Limits(groups) => (0..groups)
                .map(|group| self.largest(|value| Ok(known.get(&value).ok_or(value)?.met[group])))
                .collect(),
            Goal::Greatest | Goal::Smallest => {
                let climb = Climb {
                    search: self,
                    known: &known,
                };
                climb.best().map(|best| vec![best])
            }
        };
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        let run: Result<Vec<Option<i64>>, Missing> = run;
        run.map(|found| found.into_iter().map(|best| best.map(unsigned)).collect())
            .map_err(unsigned)
            .into()
    }

    /// The largest value that passes, if every value above a failing one fails.
    fn largest(
        &self,
        passes: impl Fn(i64) -> Result<bool, Missing>,
    ) -> Result<Option<i64>, Missing> {
        let (mut lower, mut upper) = (self.start, self.start);
        let mut best = None;
        if passes(self.start)? {
            best = Some(self.start);
            upper = self.upper.min(self.start.saturating_mul(2));
            while passes(upper)? {
                best = best.max(Some(upper));
                lower = upper;
                if upper == self.upper {
                    break;
                }
                upper = self.upper.min(upper.saturating_mul(2));
            }
        } else {
            lower = self.lower.max(self.start / 2);
            while !passes(lower)? {
                upper = lower;
                if lower == self.lower {
                    return Ok(None);
                }
                lower = self.lower.max(lower / 2);
            }
            best = best.max(Some(lower));
        }
        let (mut left, mut right) = (lower + 1, upper - 1);
        if passes(upper)? {
            return Ok(best.max(Some(upper)));
        }
        while left <= right {
            let middle = i64::midpoint(left, right);
            if passes(middle)? {
                best = best.max(Some(middle));
                left = middle + 1;
            } else {
                right = middle - 1;
            }
        }
        Ok(best)
    }
}

/// A hill climb: it supposes one peak, within a beginning of values that are all valid.
struct Climb<'a> {
    search: &'a ReferenceSearch,
    known: &'a BTreeMap<i64, &'a Observed>,
}

impl Climb<'_> {
    fn score(&self, value: i64) -> Result<Score, Missing> {
        Ok(self.known.get(&value).ok_or(value)?.figure)
    }

    fn is_better(&self, candidate: Score, than: Score) -> bool {
        match (candidate, than) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(candidate), Some(than)) => match self.search.goal {
                Goal::Smallest => candidate < than,
                _ => candidate > than,
            },
        }
    }

    fn is_not_worse(&self, candidate: Score, than: Score) -> bool {
        candidate.is_some() && (candidate == than || self.is_better(candidate, than))
    }

    /// The best of all that was measured by the end of the climb; the smallest of several.
    fn best(&self) -> Result<Option<i64>, Missing> {
        if let Some(bracket) = self.bracket()? {
            self.narrow(bracket)?;
        }
        let mut best: Option<(i64, Score)> = None;
        for (value, observed) in self.known {
            if self.is_better(observed.figure, best.and_then(|(_, score)| score)) {
                best = Some((*value, observed.figure));
            }
        }
        Ok(best.map(|(value, _)| value))
    }

    /// Values between which the peak lies.
    fn bracket(&self) -> Result<Option<(i64, i64)>, Missing> {
        let ReferenceSearch {
            start,
            lower,
            upper,
            ..
        } = *self.search;
        let score = self.score(start)?;
        if score.is_none() {
            return self.valid_below(start);
        }
        let beside = |value: i64| -> Result<Score, Missing> {
            if (lower..=upper).contains(&value) {
                self.score(value)
            } else {
                Ok(None)
            }
        };
        let (below, above) = (beside(start - 1)?, beside(start + 1)?);
        let direction = if self.is_better(below, score) {
            -1
        } else if self.is_better(above, score) {
            1
        } else {
            let (left, right) = self.plateau(start, start, (lower, upper))?;
            if left > lower && self.is_better(self.score(left - 1)?, score) {
                -1
            } else if right < upper && self.is_better(self.score(right + 1)?, score) {
                1
            } else {
                return Ok(Some((start, start)));
            }
        };
        self.climb(start, direction).map(Some)
    }

    /// Where the start is not valid: from the lower bound to the largest valid value below it.
    fn valid_below(&self, start: i64) -> Result<Option<(i64, i64)>, Missing> {
        let lower = self.search.lower;
        if self.score(lower)?.is_none() {
            return Ok(None);
        }
        let (mut left, mut right) = (lower, start - 1);
        while left < right {
            let middle = left + (right - left + 1) / 2;
            if self.score(middle)?.is_some() {
                left = middle;
            } else {
                right = middle - 1;
            }
        }
        Ok(Some((lower, left)))
    }

    /// Steps of 1, 2, 4 … in one direction while they do not get worse.
    fn climb(&self, start: i64, direction: i64) -> Result<(i64, i64), Missing> {
        let (lower, upper) = (self.search.lower, self.search.upper);
        let sorted = |a: i64, b: i64| (a.min(b), a.max(b));
        let (mut previous, mut current, mut step) = (start, start + direction, 1);
        let mut bracket = sorted(previous, current);
        loop {
            let candidate = current + direction * step;
            if !(lower..=upper).contains(&candidate) {
                let edge = if direction > 0 { upper } else { lower };
                if current != edge {
                    self.score(edge)?;
                    bracket = sorted(previous, edge);
                }
                return Ok(bracket);
            }
            let reached = self.score(candidate)?;
            let here = self.score(current)?;
            if reached == here && reached.is_some() {
                // between equal ends there may be a narrow peak
                let (from, to) = sorted(previous, candidate);
                for value in from + 1..to {
                    if self.is_better(self.score(value)?, reached) {
                        return Ok((from, to));
                    }
                }
            }
            if !self.is_not_worse(reached, here) {
                return Ok(sorted(previous, candidate));
            }
            (previous, current) = (current, candidate);
            bracket = sorted(previous, current);
            step *= 2;
        }
    }

    /// Bisect a bracket by comparing neighbours.
    fn narrow(&self, (mut left, mut right): (i64, i64)) -> Result<(), Missing> {
        while left < right {
            let middle = i64::midpoint(left, right);
            let (here, next) = (self.score(middle)?, self.score(middle + 1)?);
            if here.is_none() {
                if next.is_none() {
                    right = middle;
                } else {
                    left = middle + 1;
                }
            } else if next.is_some() && !self.is_not_worse(here, next) {
                left = middle + 1;
            } else if next != here {
                right = middle;
            } else {
                let (from, to) = self.plateau(middle, middle + 1, (left, right))?;
                if from > left && self.is_better(self.score(from - 1)?, here) {
                    right = from - 1;
                } else if to < right && self.is_better(self.score(to + 1)?, here) {
                    left = to + 1;
                } else {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// As far as all values are equal, to both sides within limits.
    fn plateau(
        &self,
        mut left: i64,
        mut right: i64,
        (lower, upper): (i64, i64),
    ) -> Result<(i64, i64), Missing> {
        let score = self.score(left)?;
        while left > lower && self.score(left - 1)? == score {
            left -= 1;
        }
        while right < upper && self.score(right + 1)? == score {
            right += 1;
        }
        Ok((left, right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values that are measured, and what is found.
    fn probes(
        search: &ReferenceSearch,
        measure: impl Fn(u64) -> (Vec<bool>, Option<f64>),
    ) -> (Vec<u64>, Found) {
        let mut observed: Vec<Observed> = Vec::new();
        loop {
            match search.next(&observed) {
                Action::Done(found) => {
                    return (observed.iter().map(|one| one.value).collect(), found);
                }
                Action::Measure(value) => {
                    assert!(observed.iter().all(|one| one.value != value), "{value}");
                    let (met, figure) = measure(value);
                    observed.push(Observed { value, met, figure });
                }
            }
        }
    }

    /// `limits`: the largest values that meet each group.
    fn limits(start: u64, lower: u64, upper: u64, limits: &[u64]) -> (Vec<u64>, Found) {
        let search = ReferenceSearch::new(start, lower, upper, Goal::Limits(limits.len()));
        probes(&search, |value| {
            (limits.iter().map(|most| value <= *most).collect(), None)
        })
    }

    fn climb(
        start: u64,
        upper: u64,
        goal: Goal,
        figure: impl Fn(u64) -> Option<f64>,
    ) -> (Vec<u64>, Found) {
        let search = ReferenceSearch::new(start, 1, upper, goal);
        probes(&search, |value| {
            let figure = figure(value);
            (vec![figure.is_some()], figure)
        })
    }

    fn peak(at: u64) -> impl Fn(u64) -> Option<f64> {
        move |value| Some(-(value.abs_diff(at) as f64))
    }

    /// The sequences of EvalScope 1.14.1 for scripted servers: cases A to F.
    #[test]
    fn limits_are_searched_in_evalscopes_order() {
        let cases = [
            (
                limits(2, 1, 64, &[37]),
                vec![2, 4, 8, 16, 32, 64, 48, 40, 36, 38, 37],
                vec![Some(37)],
            ),
            (
                limits(40, 1, 65536, &[5]),
                vec![40, 20, 10, 5, 7, 6],
                vec![Some(5)],
            ),
            (
                limits(1, 1, 100, &[1000]),
                vec![1, 2, 4, 8, 16, 32, 64, 100],
                vec![Some(100)],
            ),
            (limits(8, 2, 64, &[0]), vec![8, 4, 2], vec![None]),
            (
                limits(2, 1, 65536, &[10, 20]),
                vec![2, 4, 8, 16, 12, 10, 11, 32, 24, 20, 22, 21],
                vec![Some(10), Some(20)],
            ),
            (
                limits(1, 1, 65536, &[5]),
                vec![1, 2, 4, 8, 6, 5],
                vec![Some(5)],
            ),
        ];
        for (searched, values, found) in cases {
            assert_eq!(searched, (values, found));
        }
    }

    /// Cases G, H, I, L and N.
    #[test]
    fn a_climb_takes_evalscopes_steps() {
        let rising = |value| Some(value as f64);
        let from_6 = |value: u64| Some(value.abs_diff(6) as f64);
        let until_24 = |value: u64| (value <= 24).then_some(value as f64);
        let cases = [
            (
                climb(4, 64, Goal::Greatest, peak(20)),
                vec![4, 3, 5, 6, 8, 12, 20, 36, 24, 25, 18, 19, 21, 22],
                20,
            ),
            (
                climb(16, 65536, Goal::Greatest, peak(3)),
                vec![16, 15, 17, 14, 12, 8, 1, 6, 7, 3, 4, 2],
                3,
            ),
            (
                climb(4, 64, Goal::Greatest, rising),
                vec![
                    4, 3, 5, 6, 8, 12, 20, 36, 64, 42, 43, 53, 54, 59, 60, 62, 63,
                ],
                64,
            ),
            (
                climb(2, 65536, Goal::Smallest, from_6),
                vec![2, 1, 3, 4, 6, 10, 7, 8, 5],
                6,
            ),
            (
                climb(48, 65536, Goal::Greatest, until_24),
                vec![48, 1, 24, 36, 30, 27, 25, 12, 13, 18, 19, 21, 22, 23],
                24,
            ),
        ];
        for (searched, values, best) in cases {
            assert_eq!(searched, (values, vec![Some(best)]));
        }
    }

    /// Cases J and K: a plateau costs a measurement for each whole number on it.
    #[test]
    fn plateaus_are_walked_one_by_one() {
        let flat = |value: u64| Some(value.min(10) as f64);
        let j = climb(2, 64, Goal::Greatest, flat);
        assert_eq!((j.0.len(), j.1), (63, vec![Some(10)]));
        let k = climb(20, 40, Goal::Greatest, flat);
        assert_eq!((k.0.len(), k.1), (32, vec![Some(10)]));
    }

    #[test]
    fn a_climb_without_a_valid_value_finds_nothing() {
        let none = climb(8, 64, Goal::Greatest, |_| None);
        assert_eq!((none.0, none.1), (vec![8, 1], vec![None]));
    }

    proptest! {
        /// Where meeting the limits ends once and for all, the answer is where it ends.
        #[test]
        fn the_largest_value_is_found(
            lower in 1u64..50, width in 0u64..5000, start in 1u64..6000, most in 0u64..6000,
        ) {
            let upper = lower + width;
            let (values, found) = limits(start, lower, upper, &[most]);
            prop_assert_eq!(found, vec![(most >= lower).then_some(most.min(upper))]);
            prop_assert!(values.iter().all(|value| (lower..=upper).contains(value)));
            prop_assert!(values.len() < 32);
        }

        /// One peak is always found.
        #[test]
        fn a_single_peak_is_found(upper in 1u64..3000, start in 1u64..3000, at in 1u64..3000) {
            let (_, found) = climb(start, upper, Goal::Greatest, peak(at));
            prop_assert_eq!(found, vec![Some(at.min(upper))]);
        }
    }
}
