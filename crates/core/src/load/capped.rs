//! Owns the open loop with a cap that is no queue: a session that is due while as many are under
//! way as may be is refused, or ends the run.

use std::num::NonZeroUsize;

use super::model::{LoadModel, Next, SessionEnd};
use super::timetable::Timetable;
use crate::schedule::Offsets;
use evalscope_model::plan::StoppedBy;
use evalscope_model::time::Timestamp;

/// What happens at the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCap {
    /// The session is refused.
    Refuse,
    /// The load is over.
    Stop,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Capped {
    timetable: Timetable,
    under_way: usize,
    cap: NonZeroUsize,
    at_cap: AtCap,
}

impl Capped {
    /// Arrivals from the first question on, never more than `cap` of them under way.
    #[must_use]
    pub fn new(arrivals: impl Into<Offsets>, cap: NonZeroUsize, at_cap: AtCap) -> Self {
        Self {
            timetable: Timetable::new(arrivals),
            under_way: 0,
            cap,
            at_cap,
        }
    }
}

impl LoadModel for Capped {
    fn next(&mut self, now: Timestamp) -> Next {
        let Some(due) = self.timetable.coming(now) else {
            return Next::Over;
        };
        if due > now {
            return Next::At(due);
        }
        if self.under_way < self.cap.get() {
            self.timetable.take();
            self.under_way += 1;
            return Next::Start {
                due,
                could_start: due,
            };
        }
        match self.at_cap {
            AtCap::Refuse => {
                self.timetable.take();
                Next::Refuse { due }
            }
            AtCap::Stop => Next::Stop(StoppedBy::InFlightCap),
        }
    }

    fn ended(&mut self, _: SessionEnd) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    fn unsent(&mut self, end: Timestamp) -> Option<Timestamp> {
        self.timetable.take_by(end)
    }
}
