//! Owns the closed loop: a fixed number of users, each of whom starts the next session when the
//! last one has ended.

use std::num::NonZeroUsize;

use super::model::{LoadModel, Next, SessionEnd};
use super::places::Places;
use evalscope_model::time::Timestamp;

/// A fixed number of sessions at a time.
#[derive(Clone, Debug)]
pub struct Closed {
    places: Places,
    /// When it was first asked.
    began: Option<Timestamp>,
}

impl Closed {
    /// So many sessions at a time.
    #[must_use]
    pub fn new(concurrency: NonZeroUsize) -> Self {
        Self {
            places: Places::new(Some(concurrency)),
            began: None,
        }
    }
}

impl LoadModel for Closed {
    fn next(&mut self, now: Timestamp) -> Next {
        let began = *self.began.get_or_insert(now);
        let Some(since) = self.places.free_since() else {
            return Next::OnEnd;
        };
        self.places.take();
        // a session is due as soon as there is room for it
        let due = since.max(began);
        Next::Start {
            due,
            could_start: due,
        }
    }

    fn ended(&mut self, end: SessionEnd) {
        self.places.free(end.at);
    }

    fn has_schedule(&self) -> bool {
        false
    }

    fn unsent(&mut self, _: Timestamp) -> Option<Timestamp> {
        None
    }
}
