//! Owns arrivals at moments of their own, with or without a limit on sessions at a time.

use std::num::NonZeroUsize;

use super::model::{LoadModel, Next, SessionEnd};
use super::places::Places;
use super::timetable::Timetable;
use crate::schedule::Offsets;
use evalscope_model::time::Timestamp;

/// Sessions that are due at the moments of a schedule. Where a limit holds one back, it starts as
/// soon as there is room, in order; the moments after it do not move.
#[derive(Clone, Debug)]
pub struct Paced {
    timetable: Timetable,
    places: Places,
}

impl Paced {
    /// Arrivals from the first question on, at most `concurrency` of them under way at a time;
    /// `None`: without a limit.
    #[must_use]
    pub fn new(arrivals: impl Into<Offsets>, concurrency: Option<NonZeroUsize>) -> Self {
        Self {
            timetable: Timetable::new(arrivals),
            places: Places::new(concurrency),
        }
    }
}

impl LoadModel for Paced {
    fn next(&mut self, now: Timestamp) -> Next {
        let Some(due) = self.timetable.coming(now) else {
            return Next::Over;
        };
        let Some(since) = self.places.free_since() else {
            return Next::OnEnd;
        };
        if due > now {
            return Next::At(due);
        }
        self.timetable.take();
        self.places.take();
        Next::Start {
            due,
            could_start: due.max(since),
        }
    }

    fn ended(&mut self, end: SessionEnd) {
        self.places.free(end.at);
    }

    fn unsent(&mut self, end: Timestamp) -> Option<Timestamp> {
        self.timetable.take_by(end)
    }
}
