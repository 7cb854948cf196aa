//! Owns arrivals as moments of a run: when the next session is due.
//!
//! It must not know whether there is room for it.

use crate::schedule::Offsets;
use evalscope_model::time::Timestamp;

/// The moments at which sessions are due, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Timetable {
    arrivals: Offsets,
    /// When it was first asked: offsets count from here.
    began: Option<Timestamp>,
    /// The next arrival; `None`: not drawn yet, or there are no more.
    coming: Option<Timestamp>,
}

impl Timetable {
    pub(super) fn new(arrivals: impl Into<Offsets>) -> Self {
        Self {
            arrivals: arrivals.into(),
            began: None,
            coming: None,
        }
    }

    /// When the next session is due; `None` when there are no more. It stays the next one until it
    /// is taken.
    pub(super) fn coming(&mut self, now: Timestamp) -> Option<Timestamp> {
        let began = *self.began.get_or_insert(now);
        if self.coming.is_none() {
            self.coming = self
                .arrivals
                .next_offset()
                .map(|offset| began.after(offset));
        }
        self.coming
    }

    /// The next one has been seen to.
    pub(super) fn take(&mut self) {
        self.coming = None;
    }

    /// Take the next one if it is due by `end`.
    pub(super) fn take_by(&mut self, end: Timestamp) -> Option<Timestamp> {
        let due = self.coming(end).filter(|due| *due <= end)?;
        self.take();
        Some(due)
    }
}
