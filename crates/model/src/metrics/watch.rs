//! Owns the watch over an open loop while it runs: when to look, and when to stop.
//!
//! Pure. It must not know clocks, or how a verdict is reached.

use super::saturation::{Ended, LoadVerdict, LoadWindow, Saturation};
use super::windows::{ConstantWindow, after_s, constant_windows, moments};
use crate::profile::{Gaps, Profile};
use crate::time::Timestamp;

/// The first look, seconds after the start of a rate, and by how much later each further one is.
const FIRST_LOOK_S: f64 = 30.0;
const LATER_BY: f64 = 1.5;

/// One look with such an excess is enough to stop.
const CERTAIN_EXCESS: f64 = 0.3;

/// Watches an open loop while it runs. It looks 30, 45, 68, 101 … s after the start of each constant
/// rate; few looks keep the share of false alarms small. Memory is bounded, as in [`LoadWindow`].
#[derive(Clone, Debug)]
pub struct SaturationWatch {
    start: Timestamp,
    gaps: Gaps,
    /// Constant rates that have not begun, the next one last.
    later: Vec<ConstantWindow>,
    current: Option<Watched>,
    in_flight: u64,
}

/// The rate that is being watched.
#[derive(Clone, Debug)]
struct Watched {
    load: LoadWindow,
    start: Timestamp,
    end: Option<Timestamp>,
    look_after_s: f64,
    was_saturated: bool,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// The verdict on the current rate so far.
    pub saturation: Saturation,
    /// The server is over its limit: saturated at two looks in a row, or at one with an excess of
    /// 0.3.
    pub stop: bool,
}

impl SaturationWatch {
    /// Watch a schedule that begins at `start`.
    #[must_use]
    pub fn new(start: Timestamp, profile: &Profile, gaps: Gaps) -> Self {
        let mut later = constant_windows(profile);
        later.reverse();
        Self {
            start,
            gaps,
            later,
            current: None,
            in_flight: 0,
        }
    }

    /// A request is due at this moment, sent or not. Moments do not go back.
    pub fn due(&mut self, at: Timestamp) {
        self.advance(at);
        self.in_flight += 1;
        if let Some(current) = &mut self.current {
            current.load.due(at);
        }
    }

    /// The request that was due then has ended, at `at`. Those that were shed end here, too, as
    /// [`Ended::NeverSent`]: otherwise they would seem to be waiting for a response.
    pub fn ended(&mut self, due: Timestamp, at: Timestamp, how: Ended) {
        if how != Ended::NeverSent {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if let Some(current) = &mut self.current {
            current.load.ended(due, at, how);
        }
    }

    /// When to look next; `None` when no constant rate is left that lasts until then.
    #[must_use]
    pub fn next_look(&self) -> Option<Timestamp> {
        let current = self.current.as_ref().and_then(Watched::next_look);
        current.or_else(|| {
            let mut later = self.later.iter().rev();
            later.find_map(|window| {
                let (start, end) = moments(window, self.start);
                look_at(start, end, FIRST_LOOK_S)
            })
        })
    }

    /// Look, if it is time to.
    pub fn look(&mut self, now: Timestamp) -> Option<Look> {
        self.advance(now);
        let current = self.current.as_mut()?;
        if current.next_look().is_none_or(|look| now < look) {
            return None;
        }
        while current.next_look().is_some_and(|look| look <= now) {
            current.look_after_s *= LATER_BY;
        }
        let saturation = current.load.verdict_at(now).0;
        let is_saturated = saturation.verdict == LoadVerdict::Saturated;
        let is_certain = saturation.excess >= Some(CERTAIN_EXCESS);
        let stop = is_saturated && (is_certain || current.was_saturated);
        current.was_saturated = is_saturated;
        Some(Look { saturation, stop })
    }

    /// Go on to the rate at `now`.
    fn advance(&mut self, now: Timestamp) {
        let is_over = |end: Option<Timestamp>| end.is_some_and(|end| end <= now);
        if self
            .current
            .as_ref()
            .is_some_and(|current| is_over(current.end))
        {
            self.current = None;
        }
        while let Some(window) = self.later.last() {
            let (start, end) = moments(window, self.start);
            if now < start {
                break;
            }
            if !is_over(end) {
                self.current = Some(Watched::of(window, self.start, self.gaps, self.in_flight));
            }
            self.later.pop();
        }
    }
}

impl Watched {
    fn of(window: &ConstantWindow, schedule: Timestamp, gaps: Gaps, in_flight: u64) -> Self {
        let (start, end) = moments(window, schedule);
        Self {
            load: LoadWindow::new(start, end, gaps).with_in_flight(in_flight),
            start,
            end,
            look_after_s: FIRST_LOOK_S,
            was_saturated: false,
        }
    }

    fn next_look(&self) -> Option<Timestamp> {
        look_at(self.start, self.end, self.look_after_s)
    }
}

/// The look so long after a start, unless the rate has ended by then.
fn look_at(start: Timestamp, end: Option<Timestamp>, seconds: f64) -> Option<Timestamp> {
    let look = after_s(start, seconds);
    end.is_none_or(|end| look < end).then_some(look)
}
