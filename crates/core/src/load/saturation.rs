//! Owns the end of a load that the server does not keep up with.
//!
//! It must not know when a server is saturated: [`SaturationWatch`] does.

use super::model::{LoadModel, Next, SessionEnd};
use super::timetable::Timetable;
use crate::schedule::Arrivals;
use evalscope_model::metrics::{Ended, SaturationWatch};
use evalscope_model::plan::StoppedBy;
use evalscope_model::profile::Schedule;
use evalscope_model::time::Timestamp;

/// Another load, until the server is found to be saturated.
#[derive(Debug)]
pub struct UntilSaturated {
    load: Box<dyn LoadModel>,
    schedule: Schedule,
    /// The arrivals of the load, once more: where it waits for room, it does not say what is due.
    timetable: Timetable,
    /// From the first question on.
    watch: Option<SaturationWatch>,
}

impl UntilSaturated {
    /// A load with these arrivals, drawn from this seed.
    #[must_use]
    pub fn new(load: Box<dyn LoadModel>, schedule: Schedule, seed: u64) -> Self {
        Self {
            load,
            timetable: Timetable::new(Arrivals::new(schedule.clone(), seed)),
            schedule,
            watch: None,
        }
    }
}

impl LoadModel for UntilSaturated {
    fn next(&mut self, now: Timestamp) -> Next {
        let Schedule { profile, gaps } = &self.schedule;
        let watch = self
            .watch
            .get_or_insert_with(|| SaturationWatch::new(now, profile, *gaps));
        // also starts the clock of the timetable
        while self.timetable.coming(now).is_some_and(|due| due <= now) {
            if let Some(due) = self.timetable.take_by(now) {
                watch.due(due);
            }
        }
        if watch.look(now).is_some_and(|look| look.stop) {
            return Next::Stop(StoppedBy::Saturated);
        }
        let look = watch.next_look().filter(|at| *at > now);
        let next = self.load.next(now);
        if let Next::Refuse { due } = next {
            watch.ended(due, now, Ended::NeverSent);
        }
        match (next, look) {
            (Next::At(at), Some(look)) => Next::At(at.min(look)),
            // an end is a reason to ask again in any case
            (Next::OnEnd, Some(look)) => Next::At(look),
            (next, _) => next,
        }
    }

    fn ended(&mut self, end: SessionEnd) {
        self.load.ended(end);
        if let Some(watch) = &mut self.watch {
            let how = if end.succeeded {
                Ended::After {
                    latency_ns: end.at.nanos_since(end.due),
                }
            } else {
                Ended::Failed
            };
            watch.ended(end.due, end.at, how);
        }
    }

    fn has_schedule(&self) -> bool {
        self.load.has_schedule()
    }

    fn unsent(&mut self, end: Timestamp) -> Option<Timestamp> {
        self.load.unsent(end)
    }
}
