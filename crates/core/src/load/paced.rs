//! Owns arrivals at moments of their own, with or without a limit on sessions at a time.

use std::num::NonZeroUsize;

use super::model::{LoadModel, Next};
use super::places::Places;
use crate::schedule::Arrivals;
use evalscope_model::time::Timestamp;

/// Sessions that are due at the moments of a schedule. Where a limit holds one back, it starts as
/// soon as there is room, in order; the moments after it do not move.
#[derive(Clone, Debug)]
pub struct Paced {
    arrivals: Arrivals,
    places: Places,
    /// When it was first asked: offsets count from here.
    began: Option<Timestamp>,
    /// The next arrival; `None`: not drawn yet, or there are no more.
    coming: Option<Timestamp>,
}

impl Paced {
    /// Arrivals from the first question on, at most `concurrency` of them under way at a time;
    /// `None`: without a limit.
    #[must_use]
    pub fn new(arrivals: Arrivals, concurrency: Option<NonZeroUsize>) -> Self {
        Self {
            arrivals,
            places: Places::new(concurrency),
            began: None,
            coming: None,
        }
    }

    /// The arrival that comes next. It stays the next one until it is taken.
    fn coming(&mut self, now: Timestamp) -> Option<Timestamp> {
        let began = *self.began.get_or_insert(now);
        if self.coming.is_none() {
            self.coming = self
                .arrivals
                .next_offset()
                .map(|offset| began.after(offset));
        }
        self.coming
    }
}

impl LoadModel for Paced {
    fn next(&mut self, now: Timestamp) -> Next {
        let Some(due) = self.coming(now) else {
            return Next::Over;
        };
        let Some(since) = self.places.free_since() else {
            return Next::OnEnd;
        };
        if due > now {
            return Next::At(due);
        }
        self.coming = None;
        self.places.take();
        Next::Start {
            due,
            could_start: due.max(since),
        }
    }

    fn ended(&mut self, at: Timestamp) {
        self.places.free(at);
    }

    fn unsent(&mut self, end: Timestamp) -> Option<Timestamp> {
        let due = self.coming(end).filter(|due| *due <= end)?;
        self.coming = None;
        Some(due)
    }
}
