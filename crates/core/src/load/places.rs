//! Owns places: how many sessions may run at a time, and since when each place is free.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use evalscope_model::time::Timestamp;

/// Places for sessions. One that was never used costs nothing.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Places never used so far; `None`: there is no limit.
    unused: Option<usize>,
    /// When each used place became free, oldest first.
    freed: VecDeque<Timestamp>,
}

impl Places {
    /// Room for so many sessions; `None`: for any number.
    pub(super) fn new(limit: Option<NonZeroUsize>) -> Self {
        Self {
            unused: limit.map(NonZeroUsize::get),
            freed: VecDeque::new(),
        }
    }

    /// Since when there has been room; [`Timestamp::ZERO`] for always, `None` for no room.
    pub(super) fn free_since(&self) -> Option<Timestamp> {
        match self.unused {
            None | Some(1..) => Some(Timestamp::ZERO),
            Some(0) => self.freed.front().copied(),
        }
    }

    /// Take the place that has been free the longest, if there is one.
    pub(super) fn take(&mut self) {
        match &mut self.unused {
            None => {}
            Some(0) => {
                self.freed.pop_front();
            }
            Some(unused) => *unused -= 1,
        }
    }

    /// A session has left its place.
    pub(super) fn free(&mut self, at: Timestamp) {
        if self.unused.is_some() {
            self.freed.push_back(at);
        }
    }
}
