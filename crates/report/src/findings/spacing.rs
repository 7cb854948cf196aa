//! Owns when the requests of a run were due and when they were sent, first to last.

use evalscope_model::time::Timestamp;

/// When requests were due and when they were sent, first to last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spacing {
    first_scheduled: Option<Timestamp>,
    last_scheduled: Option<Timestamp>,
    first_dispatched: Option<Timestamp>,
    last_dispatched: Option<Timestamp>,
}

impl Spacing {
    /// Add a request.
    pub fn push(&mut self, scheduled: Timestamp, dispatched: Timestamp) {
        let least = |a: Option<Timestamp>, b: Timestamp| Some(a.map_or(b, |a| a.min(b)));
        self.first_scheduled = least(self.first_scheduled, scheduled);
        self.last_scheduled = self.last_scheduled.max(Some(scheduled));
        self.first_dispatched = least(self.first_dispatched, dispatched);
        self.last_dispatched = self.last_dispatched.max(Some(dispatched));
    }

    /// The schedule's length over the time the dispatches took: 1 when every request was sent
    /// when it was due.
    pub(super) fn achieved_share(&self) -> Option<f64> {
        let asked = self.last_scheduled?.nanos_since(self.first_scheduled?);
        let took = self.last_dispatched?.nanos_since(self.first_dispatched?);
        (asked > 0 && took > 0).then(|| asked as f64 / took as f64)
    }
}
