//! Owns the time axis of a run: its bins, time 0, and the boundaries between its phases.
//!
//! It must not know what is counted in the bins.

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
