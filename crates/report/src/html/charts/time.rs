//! Owns the time axis of charts: its unit, and the shades of warm-up and drain.
//!
//! It must not know what is drawn over time.

use std::ops::Range;

use super::context::Context;
use crate::html::scale::Scale;
use crate::html::svg::{Axis, Mark, Shade};
use crate::series::{RunSeries, TimeAxis};

/// Bins of a run, in the unit of its axis.
#[derive(Clone, Copy)]
pub(super) struct Time<'a> {
    pub(super) bins: &'a TimeAxis,
    series: &'a RunSeries,
    /// Seconds of a unit.
    unit_s: f64,
    unit: &'static str,
}

/// Whether charts show the warm-up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Warmup {
    Shown,
    Hidden,
}

impl<'a> Time<'a> {
    pub(super) fn of(series: &'a RunSeries) -> Self {
        let (unit_s, unit) = match series.bounds.end_s {
            end_s if end_s > 5.0 * 3600.0 => (3600.0, "h"),
            end_s if end_s > 300.0 => (60.0, "min"),
            _ => (1.0, "s"),
        };
        Self {
            bins: &series.axis,
            series,
            unit_s,
            unit,
        }
    }

    /// A moment in the unit of the axis.
    pub(super) fn of_s(&self, seconds: f64) -> f64 {
        seconds / self.unit_s
    }

    /// A moment as text.
    pub(super) fn text(&self, seconds: f64) -> String {
        format!("{} {}", self.number(seconds), self.unit)
    }

    /// A moment as text, without its unit.
    pub(super) fn number(&self, seconds: f64) -> String {
        // bins are tenths of a second or wider
        let rounded = (self.of_s(seconds) * 1e3).round() / 1e3;
        (rounded + 0.0).to_string()
    }

    /// What the axis is.
    pub(super) fn label(&self, context: &Context<'_>) -> String {
        context.text(&format!("axis.{}", self.unit))
    }

    /// The axis.
    pub(super) fn axis(&self, context: &Context<'_>, warmup: Warmup) -> Axis {
        let first = self.first(warmup);
        let low = self.of_s(self.bins.start_s(first));
        let high = self.of_s(self.series.bounds.end_s.max(self.bins.width_s()));
        self.axis_of(context, low, high)
    }

    /// An axis from one moment to another, in the unit of the axis.
    pub(super) fn axis_of(&self, context: &Context<'_>, low: f64, high: f64) -> Axis {
        Axis {
            unit_s: Some(self.unit_s),
            ..Axis::new(Scale::exact(low, high, 8), self.label(context))
        }
    }

    /// The first bin that is shown.
    pub(super) fn first(&self, warmup: Warmup) -> usize {
        match warmup {
            Warmup::Shown => 0,
            Warmup::Hidden => self.bins.warmup_bins,
        }
    }

    /// The middle of a bin.
    pub(super) fn middle(&self, bin: usize) -> f64 {
        self.of_s(f64::midpoint(self.bins.start_s(bin), self.bins.end_s(bin)))
    }

    /// Values of bins as a line through their middles.
    pub(super) fn line(
        &self,
        values: impl IntoIterator<Item = Option<f64>>,
        warmup: Warmup,
    ) -> Vec<(f64, Option<f64>)> {
        let values = values.into_iter().enumerate().skip(self.first(warmup));
        values
            .map(|(bin, value)| (self.middle(bin), value))
            .collect()
    }

    /// Values that so many bins have in common, as a line through the middles of these parts.
    pub(super) fn parts<T: Copy>(&self, values: &[T], together: usize) -> Vec<(f64, T)> {
        let together = together.max(1);
        let warmup = self.bins.warmup_bins;
        let first = (warmup % together).min(warmup);
        let starts = (first > 0).then_some(0).into_iter();
        let starts = starts.chain((first..values.len()).step_by(together));
        let part = |from: usize| {
            let next = if from < first { first } else { from + together };
            let last = next.min(values.len()) - 1;
            (self.middle_of(from..last + 1), values[from])
        };
        starts.map(part).collect()
    }

    fn middle_of(&self, bins: Range<usize>) -> f64 {
        let (start_s, end_s) = (self.bins.start_s(bins.start), self.bins.end_s(bins.end - 1));
        self.of_s(f64::midpoint(start_s, end_s))
    }

    /// Sums of measured bins as rates per second, a line through their middles. A last bin of less than half
    /// a width is taken together with the one before: a single request in it would be a spike.
    pub(super) fn rates(&self, sums: &[f64]) -> Vec<(f64, Option<f64>)> {
        let mut rates = self.bins.rates_per_s(sums);
        let last = rates.len().saturating_sub(1);
        let is_short = self.bins.length_s(last) < self.bins.width_s() / 2.0;
        if is_short && last > self.bins.warmup_bins {
            let length_s = self.bins.end_s(last) - self.bins.start_s(last - 1);
            rates[last - 1] = (sums[last - 1] + sums[last]) / length_s;
            rates.truncate(last);
        }
        self.line(rates.into_iter().map(Some), Warmup::Hidden)
    }

    /// The shades of warm-up and drain.
    pub(super) fn shades(&self, context: &Context<'_>, warmup: Warmup) -> Vec<Mark> {
        let bounds = &self.series.bounds;
        let mut shades = Vec::new();
        if warmup == Warmup::Shown && self.bins.warmup_bins > 0 {
            shades.push(Mark::Shade {
                kind: Shade::Excluded,
                from: self.of_s(self.bins.start_s(0)),
                to: 0.0,
                label: context.text("part.warmup"),
            });
        }
        if bounds.end_s > bounds.drain_start_s {
            shades.push(Mark::Shade {
                kind: Shade::Fading,
                from: self.of_s(bounds.drain_start_s),
                to: self.of_s(bounds.end_s),
                label: context.text("part.drain"),
            });
        }
        shades
    }

    /// Start of a bin as a cell of a table.
    pub(super) fn cell(&self, bin: usize) -> String {
        self.number(self.bins.start_s(bin))
    }
}
