//! Owns the time axis of a run: its bins, time 0, and the boundaries between its phases.
//!
//! It must not know what is counted in the bins.

use evalscope_model::time::Timestamp;

/// Widths of bins, tenths of a second: the smallest one with few enough bins is taken.
const WIDTHS_DS: [u64; 16] = [
    1, 2, 5, 10, 20, 50, 100, 150, 300, 600, 1200, 3000, 6000, 9000, 18_000, 36_000,
];
/// Bins of a run that is alone on its page: two pixels of a chart each.
pub const MOST_BINS: u64 = 300;
/// Bins of each of several runs. With more, the page of five of them would be above 600 KB.
pub const MOST_BINS_BESIDE_OTHERS: u64 = 150;
const TENTH_NS: u64 = 100_000_000;

/// Bins of equal width, except the last, which ends with the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeAxis {
    /// Time 0 as Unix time, nanoseconds; 0 if no measured request was sent.
    pub t0_unix_ns: u64,
    /// Width of a bin, nanoseconds.
    pub width_ns: u64,
    /// Bins left of time 0. All series over time begin with them.
    pub warmup_bins: usize,
    /// Bins from time 0 on. 0: no measured request was sent.
    pub measured_bins: usize,
    /// From time 0 to the end of the last measured request, nanoseconds.
    pub length_ns: u64,
}

/// Boundaries between the phases of a run, seconds from time 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The first dispatch of the warm-up, below 0; `None` without one. It may lie left of the axis,
    /// which never shows more warm-up than measured time.
    pub warmup_start_s: Option<f64>,
    /// The last dispatch of a measured request: the drain begins.
    pub drain_start_s: f64,
    /// The last end of a measured request.
    pub end_s: f64,
    /// The plateau, as in `RunReport::plateau`; `None` without one.
    pub plateau_s: Option<(f64, f64)>,
}

impl TimeAxis {
    /// Number of bins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.warmup_bins + self.measured_bins
    }

    /// There is no bin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Width of a bin, seconds.
    #[must_use]
    pub fn width_s(&self) -> f64 {
        self.width_ns as f64 / 1e9
    }

    /// Start of a bin, seconds; below 0 in the warm-up.
    #[must_use]
    pub fn start_s(&self, bin: usize) -> f64 {
        (bin as f64 - self.warmup_bins as f64) * self.width_s()
    }

    /// True length of a bin, seconds: the last one ends with the run. Above 0.
    #[must_use]
    pub fn length_s(&self, bin: usize) -> f64 {
        if bin + 1 < self.len() || self.measured_bins == 0 {
            return self.width_s();
        }
        let before = self.width_ns * (self.measured_bins as u64 - 1);
        self.length_ns.saturating_sub(before).max(1) as f64 / 1e9
    }

    /// End of a bin, seconds.
    #[must_use]
    pub fn end_s(&self, bin: usize) -> f64 {
        self.start_s(bin) + self.length_s(bin)
    }

    /// Sums of the bins, from the first one on, as rates per second.
    #[must_use]
    pub fn rates_per_s(&self, sums: &[f64]) -> Vec<f64> {
        let rate = |(bin, sum): (usize, &f64)| sum / self.length_s(bin);
        sums.iter().enumerate().map(rate).collect()
    }
}

/// What the axis of a run is made from, and moments on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    axis: TimeAxis,
    /// Time 0.
    t0: Timestamp,
}

impl Clock {
    /// For a run from `t0` to `end` with a warm-up from `warmup` on, in so many bins at most.
    pub(super) fn new(
        t0: Timestamp,
        end: Timestamp,
        warmup: Option<Timestamp>,
        unix_ns: u64,
        most_bins: u64,
    ) -> Self {
        let length_ns = end.nanos_since(t0).max(1);
        let warmup_ns = warmup.map_or(0, |at| t0.nanos_since(at)).min(length_ns);
        let bins = |width_ns: u64| (warmup_ns.div_ceil(width_ns), length_ns.div_ceil(width_ns));
        let fits = |width_ns: &u64| {
            let (warmup, measured) = bins(*width_ns);
            warmup + measured <= most_bins
        };
        let mut widths = WIDTHS_DS.iter().map(|tenths| tenths * TENTH_NS);
        // half of the bins suffice for each part then
        let widest = warmup_ns.max(length_ns).div_ceil(most_bins / 2);
        let width_ns = widths.find(fits).unwrap_or(widest);
        let (warmup_bins, measured_bins) = bins(width_ns);
        let count = |bins: u64| usize::try_from(bins).expect("300 at most");
        let axis = TimeAxis {
            t0_unix_ns: unix_ns,
            width_ns,
            warmup_bins: count(warmup_bins),
            measured_bins: count(measured_bins),
            length_ns,
        };
        Self { axis, t0 }
    }

    pub(super) fn axis(&self) -> &TimeAxis {
        &self.axis
    }

    /// Nanoseconds from time 0.
    pub(super) fn nanos(&self, at: Timestamp) -> i64 {
        let nanos = i128::from(at.as_nanos()) - i128::from(self.t0.as_nanos());
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    pub(super) fn seconds(&self, at: Timestamp) -> f64 {
        self.nanos(at) as f64 / 1e9
    }

    /// The start of a bin, or the end of the last one, nanoseconds from time 0.
    pub(super) fn edge_ns(&self, nth: usize) -> i64 {
        let axis = &self.axis;
        if nth >= axis.len() {
            return i64::try_from(axis.length_ns).unwrap_or(i64::MAX);
        }
        let bins = nth as i128 - axis.warmup_bins as i128;
        i64::try_from(bins * i128::from(axis.width_ns)).unwrap_or(i64::MAX)
    }

    /// The bin of a moment; `None` left of the axis. What is right of it is in the last bin.
    pub(super) fn bin(&self, at: Timestamp) -> Option<usize> {
        let axis = &self.axis;
        let width = i64::try_from(axis.width_ns).unwrap_or(i64::MAX);
        let bins = self.nanos(at).div_euclid(width);
        let nth = usize::try_from(i128::from(bins) + axis.warmup_bins as i128).ok()?;
        Some(nth.min(axis.len() - 1))
    }

    /// The bin of a moment of a measured request, which is never left of time 0.
    pub(super) fn measured_bin(&self, at: Timestamp) -> usize {
        // for each event of a run: as little as possible
        let nth = at.nanos_since(self.t0) / self.axis.width_ns;
        let nth = usize::try_from(nth).unwrap_or(usize::MAX);
        nth.min(self.axis.measured_bins - 1) + self.axis.warmup_bins
    }
}

/// Bins of moments of measured requests that mostly come in order: most of them are in the bin of the one
/// before, which is known without a division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    clock: Clock,
    bin: usize,
    /// From the start of the bin to before its end, nanoseconds of the run's clock.
    from: u64,
    to: u64,
}

impl Walk {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            bin: 0,
            from: 0,
            to: 0,
        }
    }

    /// As [`Clock::measured_bin`].
    pub(super) fn bin(&mut self, at: Timestamp) -> usize {
        let nanos = at.as_nanos();
        if nanos < self.from || self.to <= nanos {
            let axis = &self.clock.axis;
            self.bin = self.clock.measured_bin(at);
            let nth = (self.bin - axis.warmup_bins) as u64;
            self.from = self.clock.t0.as_nanos() + nth * axis.width_ns;
            self.to = self.from + axis.width_ns;
        }
        self.bin
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn clock(warmup_ns: u64, length_ns: u64) -> Clock {
        let t0 = Timestamp::from_nanos(warmup_ns + 5);
        let end = Timestamp::from_nanos(warmup_ns + 5 + length_ns);
        Clock::new(t0, end, Some(Timestamp::from_nanos(5)), 0, 600)
    }

    proptest! {
        #[test]
        fn bins_cover_the_run_and_each_holds_its_moments(
            warmup_ns in 0u64..1 << 50,
            length_ns in prop_oneof![0u64..1_000_000_000, 0u64..1 << 42, 0u64..1 << 55],
            part in 0u64..=1000,
        ) {
            let clock = clock(warmup_ns, length_ns);
            let axis = clock.axis();
            prop_assert!(axis.len() <= 600 && axis.measured_bins >= 1);
            let lengths: f64 = (axis.warmup_bins..axis.len()).map(|bin| axis.length_s(bin)).sum();
            let length_s = length_ns.max(1) as f64 / 1e9;
            prop_assert!((lengths - length_s).abs() <= 1e-9 * length_s, "{} {}", lengths, length_s);
            let at = Timestamp::from_nanos(5 + warmup_ns + length_ns / 1000 * part);
            let bin = clock.bin(at).unwrap();
            prop_assert!(clock.edge_ns(bin) <= clock.nanos(at));
            prop_assert!(clock.nanos(at) <= clock.edge_ns(bin + 1));
            prop_assert_eq!(clock.measured_bin(at), bin);
            let mut walk = Walk::new(clock);
            for at in [at, Timestamp::ZERO, at, at.after(Duration::from_secs(3)), at] {
                prop_assert_eq!(walk.bin(at), clock.measured_bin(at));
            }
        }
    }

    #[test]
    fn the_width_is_the_smallest_of_the_list_that_fits() {
        const SECOND: u64 = 1_000_000_000;
        for (length_ns, width_s, bins) in [
            (1, 0.1, 1),
            (60 * SECOND, 0.1, 600),
            (60 * SECOND + 1, 0.2, 301),
            (3600 * SECOND, 10.0, 360),
            (86_400 * SECOND, 300.0, 288),
            (600 * 3600 * SECOND, 3600.0, 600),
        ] {
            let clock = clock(0, length_ns);
            assert_eq!(clock.axis().measured_bins, bins, "{length_ns}");
            assert!(
                (clock.axis().width_s() - width_s).abs() < 1e-12,
                "{length_ns}"
            );
        }
        let with_warmup = clock(30 * SECOND, 60 * SECOND);
        assert_eq!(with_warmup.axis().warmup_bins, 150);
        assert_eq!(with_warmup.axis().measured_bins, 300);
        // a warm-up that is longer than the run is cut
        let long = clock(600 * SECOND, 10 * SECOND);
        assert_eq!(long.axis().warmup_bins, long.axis().measured_bins);
        assert_eq!(long.bin(Timestamp::from_nanos(5)), None);
    }
}
