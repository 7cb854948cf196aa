//! Owns the times of a profile during which its rate is constant, and the verdict on each.
//!
//! Pure. It must not know how a verdict is reached.

use super::saturation::{LoadWindow, MOST_TIME_BINS};
use crate::profile::{Gaps, Profile};
use crate::record::RequestRecord;
use crate::time::Timestamp;

/// Bins of time for all windows of a profile together.
const TIME_BINS: usize = 1 << 16;

/// The fewest bins of a window: a dozen for each bin of a verdict.
const LEAST_TIME_BINS: usize = 1 << 8;

/// A time during which the rate of arrivals does not change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConstantWindow {
    /// Position of the segment in its profile, from 0.
    pub segment: usize,
    /// Its start, seconds after the schedule's.
    pub start_s: f64,
    /// Its end; `None`: the rate never changes.
    pub end_s: Option<f64>,
    /// Mean arrivals per second.
    pub rate_per_s: f64,
}

/// The times of a profile during which its rate does not change and is not 0, in order.
#[must_use]
pub fn constant_windows(profile: &Profile) -> Vec<ConstantWindow> {
    let segments = match profile {
        Profile::Constant { rate_per_s } => {
            return vec![ConstantWindow {
                segment: 0,
                start_s: 0.0,
                end_s: None,
                rate_per_s: *rate_per_s,
            }];
        }
        Profile::Segments(segments) => segments,
    };
    let mut start_s = 0.0;
    let mut windows = Vec::new();
    for (segment, piece) in segments.iter().enumerate() {
        let end_s = start_s + piece.span_s();
        if let Some(rate_per_s) = piece.constant_per_s() {
            windows.push(ConstantWindow {
                segment,
                start_s,
                end_s: Some(end_s),
                rate_per_s,
            });
        }
        start_s = end_s;
    }
    windows
}

/// Collects requests for the verdicts on all constant rates of a profile. Memory is bounded by the
/// number of these rates: about 600 kB for each up to 16, and less with more.
#[derive(Clone, Debug)]
pub struct LoadWindows {
    windows: Vec<(ConstantWindow, LoadWindow)>,
}

impl LoadWindows {
    /// For a schedule that began at `start`.
    #[must_use]
    pub fn new(start: Timestamp, profile: &Profile, gaps: Gaps) -> Self {
        let windows = constant_windows(profile);
        let most = (TIME_BINS / windows.len().max(1)).clamp(LEAST_TIME_BINS, MOST_TIME_BINS);
        let load = |window: ConstantWindow| {
            let (start, end) = moments(&window, start);
            (window, LoadWindow::in_bins(start, end, gaps, most))
        };
        Self {
            windows: windows.into_iter().map(load).collect(),
        }
    }

    /// Add the record of a request, in any order: all of the run, warm-up included. It goes to the
    /// windows in which it was due or in flight.
    pub fn push(&mut self, record: &RequestRecord) {
        let (due, ended) = (record.times.scheduled, record.times.ended);
        // windows are in order, so those after its end and those before it was due are left out
        let from = self.windows.partition_point(|(_, load)| load.is_past(due));
        for (_, load) in &mut self.windows[from..] {
            if !load.has_begun(ended) {
                break;
            }
            load.push(record);
        }
    }

    /// The windows, in order, each with what its verdict rests on.
    pub fn iter(&self) -> impl Iterator<Item = (&ConstantWindow, &LoadWindow)> {
        self.windows.iter().map(|(window, load)| (window, load))
    }
}

/// The moment so many seconds later.
pub(super) fn after_s(start: Timestamp, seconds: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive; what is too large becomes the largest value"
    )]
    let nanos = (seconds * 1e9) as u64;
    Timestamp::from_nanos(start.as_nanos().saturating_add(nanos))
}

/// Start and end of a window of a schedule that began at `schedule`.
pub(super) fn moments(
    window: &ConstantWindow,
    schedule: Timestamp,
) -> (Timestamp, Option<Timestamp>) {
    (
        after_s(schedule, window.start_s),
        window.end_s.map(|end_s| after_s(schedule, end_s)),
    )
}
