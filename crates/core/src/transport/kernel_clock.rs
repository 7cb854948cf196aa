//! Owns the conversion of the kernel's receive times (wall clock) to the run's monotonic clock.
//!
//! The two clocks differ by an offset that changes only when the wall clock is stepped (slewing
//! affects both alike). The offset is sampled at every read, so that a step is detected before it
//! can distort an arrival.

use evalscope_model::record::ArrivalClock;
use evalscope_model::time::{RunClock, Timestamp, monotonic_ns, wall_ns};

/// When bytes arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The moment.
    pub at: Timestamp,
    /// The clock it is from.
    pub clock: ArrivalClock,
    /// How long the bytes then waited for user space, nanoseconds; `None` without a kernel
    /// timestamp.
    pub handling_ns: Option<u64>,
}

/// A sample whose two monotonic readings are further apart than this was interrupted.
const MAX_SAMPLE_GAP_NS: u64 = 20_000;

/// A larger change of the offset is a step: far above the error of a sample, far below any latency
/// that matters.
const STEP_NS: u64 = 50_000;

/// Bytes that waited in the kernel across a step have timestamps from before it. For this long
/// after a step, the user clock stamps arrivals.
const QUARANTINE_NS: u64 = 1_000_000_000;

/// A thread is rarely interrupted twice within a microsecond, and hardly ever this often.
const FIRST_SAMPLES: usize = 16;

/// The three clock readings of one sample, nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    before: u64,
    wall: u64,
    after: u64,
}

impl Sample {
    fn take() -> Self {
        Self {
            before: monotonic_ns(),
            wall: wall_ns(),
            after: monotonic_ns(),
        }
    }
}

/// The sample whose readings are closest together: it has the smallest error.
fn best_of(samples: impl Iterator<Item = Sample>) -> Option<Sample> {
    samples.min_by_key(|sample| sample.after - sample.before)
}

/// The offset between the wall clock and the monotonic clock, as last sampled.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    /// Wall minus monotonic, nanoseconds.
    offset_ns: Option<u64>,
    quarantine_until_ns: u64,
    steps: u64,
}

impl OffsetTracker {
    /// Create a tracker with an initial offset. The first sample has nothing to be compared with:
    /// taken while the thread was interrupted, it would make the next one look like a clock step.
    pub(crate) fn started() -> Self {
        let mut tracker = Self::default();
        if let Some(best) = best_of((0..FIRST_SAMPLES).map(|_| Sample::take())) {
            tracker.observe(best);
        }
        tracker
    }

    /// Convert the kernel's wall-clock time of a read that has just returned to a moment of the
    /// run; without one, use the current moment.
    pub(crate) fn stamp(&mut self, clock: &RunClock, kernel_wall_ns: Option<u64>) -> Arrival {
        let sample = Sample::take();
        let monotonic = self.convert(sample, kernel_wall_ns);
        match monotonic {
            Some(arrived_ns) => Arrival {
                at: clock.at_monotonic(arrived_ns),
                clock: ArrivalClock::Kernel,
                handling_ns: Some(sample.before.saturating_sub(arrived_ns)),
            },
            // the clock reading right after the read
            None => Arrival {
                at: clock.at_monotonic(sample.before),
                clock: ArrivalClock::User,
                handling_ns: None,
            },
        }
    }

    /// Number of wall-clock steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    fn convert(&mut self, sample: Sample, kernel_wall_ns: Option<u64>) -> Option<u64> {
        self.observe(sample);
        let arrived = kernel_wall_ns?.checked_sub(self.offset_ns?)?;
        if sample.before < self.quarantine_until_ns {
            return None;
        }
        // never later than now, despite the error of the sample
        Some(arrived.min(sample.before))
    }

    fn observe(&mut self, sample: Sample) {
        if sample.after - sample.before > MAX_SAMPLE_GAP_NS && self.offset_ns.is_some() {
            return;
        }
        let middle = sample.before + (sample.after - sample.before) / 2;
        // a wall clock from before the machine's boot gives no offset
        let Some(seen) = sample.wall.checked_sub(middle) else {
            self.offset_ns = None;
            return;
        };
        if self
            .offset_ns
            .is_some_and(|offset| offset.abs_diff(seen) > STEP_NS)
        {
            self.steps += 1;
            self.quarantine_until_ns = sample.after + QUARANTINE_NS;
        }
        self.offset_ns = Some(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_700_000_000_000_000_000;

    fn sample(at: u64, offset: u64) -> Sample {
        Sample {
            before: at,
            wall: at + 25 + offset,
            after: at + 50,
        }
    }

    #[test]
    fn a_late_reader_still_learns_the_arrival() {
        let mut tracker = OffsetTracker::default();
        // the bytes arrived at 1 ms; the read happens 10 ms later
        let arrived = tracker.convert(sample(11_000_000, WALL), Some(WALL + 1_000_000));
        assert_eq!(arrived, Some(1_000_000));
    }

    #[test]
    fn a_step_of_the_wall_clock_bends_nothing() {
        for step in [-3_600_000_000_000_i64, -60_000, 60_000, 86_400_000_000_000] {
            let mut tracker = OffsetTracker::default();
            tracker.convert(sample(1_000_000, WALL), Some(WALL + 900_000));
            let stepped = WALL.wrapping_add_signed(step);
            // read across the step: the timestamp from before it must not be used
            let late = tracker.convert(sample(2_000_000, stepped), Some(WALL + 1_900_000));
            assert_eq!((late, tracker.steps()), (None, 1), "{step}");
            let waited = tracker.convert(sample(2_100_000, stepped), Some(WALL + 1_950_000));
            assert_eq!(waited, None);
            let after = 2_000_000 + QUARANTINE_NS + 1_000_000;
            let good = tracker.convert(sample(after, stepped), Some(stepped + after - 7));
            assert_eq!(good, Some(after - 7));
        }
    }

    #[test]
    fn an_interrupted_first_sample_is_none() {
        let interrupted = Sample {
            before: 1_000,
            wall: WALL + 4_000_900,
            after: 4_001_000,
        };
        let samples = [interrupted, sample(5_000_000, WALL), interrupted];
        let mut tracker = OffsetTracker::default();
        tracker.observe(best_of(samples.into_iter()).unwrap());
        let arrived = tracker.convert(sample(6_000_000, WALL), Some(WALL + 5_500_000));
        assert_eq!((arrived, tracker.steps()), (Some(5_500_000), 0));
        assert!(OffsetTracker::started().offset_ns.is_some());
    }

    #[test]
    fn an_interrupted_sample_is_no_step() {
        let mut tracker = OffsetTracker::default();
        tracker.convert(sample(1_000, WALL), None);
        let interrupted = Sample {
            before: 10_000,
            wall: WALL + 5_010_000,
            after: 5_020_000,
        };
        assert_eq!(
            tracker.convert(interrupted, Some(WALL + 9_000)),
            Some(9_000)
        );
        assert_eq!(tracker.steps(), 0);
    }
}
