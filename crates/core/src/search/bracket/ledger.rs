//! Owns what is known of each value: its last verdict, how much of the limits it used over all of its
//! measurements, and where the two contradict the order of the values.
//!
//! It must not know which value comes next.

use super::super::isotonic::{Measured, isotonic};

/// A value that fails counts at least this much in the fit, where 1 is at the limit: it may have failed for
/// what is no share of a limit, such as a server that does not keep up.
const FAILS_FROM: f64 = 1.25;

/// What one measurement says of its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) value: f64,
    pub(super) passes: bool,
    /// Its verdict rests on where the figures lie, not on what their intervals prove.
    pub(super) weak: bool,
    /// How much of what the limits allow was used; 1 is at the limit.
    pub(super) used: f64,
    /// As many independent requests.
    pub(super) weight: f64,
}

/// All measurements.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By value; several measurements of one are in their order.
    entries: Vec<Entry>,
}

impl Ledger {
    pub(super) fn note(&mut self, entry: Entry) {
        let at = self
            .entries
            .partition_point(|other| other.value <= entry.value);
        self.entries.insert(at, entry);
    }

    pub(super) fn has_passed(&self) -> bool {
        self.entries.iter().any(|entry| entry.passes)
    }

    /// The measurements of each value, by value.
    fn by_value(&self) -> impl Iterator<Item = &[Entry]> {
        let is_same = |a: &Entry, b: &Entry| a.value.total_cmp(&b.value).is_eq();
        self.entries.chunk_by(is_same)
    }

    /// The last measurement of each value, by value.
    fn last(&self) -> impl Iterator<Item = &Entry> {
        self.by_value().filter_map(<[_]>::last)
    }

    /// A value that fails below one that passes: the lowest such, and the lowest above it that passes.
    pub(super) fn out_of_order(&self) -> Option<(f64, f64)> {
        let mut last = self.last().skip_while(|entry| entry.passes);
        let fails = last.next()?;
        Some((fails.value, last.find(|entry| entry.passes)?.value))
    }

    /// Where the fit of what was used crosses the limit: the highest value that does not exceed it, and the
    /// lowest that does.
    pub(super) fn bracket(&self) -> (Option<f64>, Option<f64>) {
        let measured: Vec<Measured> = self.by_value().map(Entry::together).collect();
        let values = self.last().map(|entry| entry.value);
        let fitted = values.zip(isotonic(&measured));
        let (within, beyond): (Vec<_>, Vec<_>) = fitted.partition(|(_, level)| *level <= 1.0);
        let value = |one: &(f64, f64)| one.0;
        (within.last().map(value), beyond.first().map(value))
    }

    /// The best value: the highest that passes where the fit is within the limit.
    pub(super) fn best(&self) -> Option<&Entry> {
        let (low, _) = self.bracket();
        let within = |entry: &&Entry| low.is_some_and(|low| entry.value <= low);
        self.last()
            .filter(within)
            .filter(|entry| entry.passes)
            .last()
    }

    /// The lowest value above another that failed for certain.
    pub(super) fn fails_above(&self, value: Option<f64>) -> Option<f64> {
        let above = |entry: &&Entry| value.is_none_or(|value| entry.value > value);
        let mut sure = self
            .entries
            .iter()
            .filter(|entry| !entry.passes && !entry.weak);
        sure.find(above).map(|entry| entry.value)
    }
}

impl Entry {
    /// Measurements of one value as one.
    fn together(entries: &[Self]) -> Measured {
        let weight: f64 = entries.iter().map(Self::weight).sum();
        let levels = entries.iter().map(|entry| entry.level() * entry.weight());
        Measured {
            level: levels.sum::<f64>() / weight,
            weight,
        }
    }

    fn level(&self) -> f64 {
        if self.passes {
            self.used.min(1.0)
        } else {
            self.used.max(FAILS_FROM)
        }
    }

    fn weight(&self) -> f64 {
        self.weight.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value, whether it passed, what was used, and of how many requests.
    fn ledger(entries: &[(f64, bool, f64, f64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (value, passes, used, weight) in entries.iter().copied() {
            ledger.note(Entry {
                value,
                passes,
                weak: false,
                used,
                weight,
            });
        }
        ledger
    }

    #[test]
    fn in_order_the_fit_crosses_between_pass_and_fail() {
        let ledger = ledger(&[
            (4.0, true, 0.0, 400.0),
            (8.0, true, 0.3, 400.0),
            (16.0, false, 9.0, 400.0),
            (11.0, true, 0.2, 400.0),
            (13.0, false, 0.9, 400.0),
        ]);
        assert_eq!(ledger.out_of_order(), None);
        assert_eq!(ledger.bracket(), (Some(11.0), Some(13.0)));
        assert_eq!(ledger.best().map(|best| best.value), Some(11.0));
        assert_eq!(ledger.fails_above(Some(11.0)), Some(13.0));
    }

    #[test]
    fn out_of_order_the_heavier_measurements_decide() {
        let order = |fails_used, fails_weight| {
            ledger(&[
                (8.0, true, 0.1, 1000.0),
                (10.0, false, fails_used, fails_weight),
                (11.0, true, 0.5, 1000.0),
                (12.0, false, 4.0, 1000.0),
            ])
        };
        let light = order(1.4, 500.0);
        assert_eq!(light.out_of_order(), Some((10.0, 11.0)));
        assert_eq!(light.bracket(), (Some(11.0), Some(12.0)));
        assert_eq!(light.best().map(|best| best.value), Some(11.0));
        assert_eq!(light.fails_above(Some(11.0)), Some(12.0));
        let heavy = order(3.0, 1000.0);
        assert_eq!(heavy.bracket(), (Some(8.0), Some(10.0)));
        assert_eq!(heavy.best().map(|best| best.value), Some(8.0));
    }

    #[test]
    fn the_last_verdict_on_a_value_counts() {
        let ledger = ledger(&[
            (8.0, true, 0.1, 1000.0),
            (10.0, true, 0.2, 1000.0),
            (10.0, false, 1.2, 1000.0),
        ]);
        assert_eq!(ledger.out_of_order(), None);
        // the fit would let it pass, but it was not confirmed
        assert_eq!(ledger.bracket(), (Some(10.0), None));
        assert_eq!(ledger.best().map(|best| best.value), Some(8.0));
    }

    #[test]
    fn without_a_pass_nothing_is_best() {
        let ledger = ledger(&[(8.0, false, 5.0, 100.0), (4.0, false, 0.0, 100.0)]);
        assert_eq!(ledger.best(), None);
        assert_eq!(ledger.bracket(), (None, Some(4.0)));
        assert_eq!(ledger.fails_above(None), Some(4.0));
    }
}
