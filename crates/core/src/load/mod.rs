//! Owns load models: pure state machines that say when a session may start.
//!
//! A session is what a user does at one time: a single request, or a conversation of several
//! turns. A model decides when sessions start and nothing else: how many there are, how long the
//! run lasts and what a session sends is decided elsewhere.
//!
//! It must not know clocks, tasks, channels, requests or servers: the run passes in the time. See
//! `docs/adr/009-load-models.md` for the loads that the trait was drawn against.

mod model;

mod places;
mod timetable;

mod capped;
mod closed;
mod enough;
mod paced;
mod saturation;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use capped::{AtCap, Capped};
pub use closed::Closed;
pub use enough::UntilEnough;
pub use model::{LoadModel, Next, SessionEnd};
pub use paced::Paced;
pub use saturation::UntilSaturated;

use crate::schedule::{Arrivals, Offsets};
use evalscope_model::plan::{Pacing, RunSpec, WhenFull};

/// The load model of a run, or of a shard of one, with at most so many sessions at a time.
#[must_use]
pub fn model_of(spec: &RunSpec, most: NonZeroUsize) -> Box<dyn LoadModel> {
    let arrivals: Offsets = match &spec.pacing {
        Pacing::Unpaced => return Box::new(Closed::new(most)),
        Pacing::Arrivals(schedule) => Arrivals::new(schedule.clone(), spec.seed).into(),
        Pacing::Recorded(recording) => Offsets::recorded(&recording.offsets_ns),
    };
    let arrivals = arrivals.dealt(spec.deal());
    let at_cap = match spec.open_loop.when_full {
        _ if !spec.is_open_loop() => None,
        WhenFull::Wait => None,
        WhenFull::Drop => Some(AtCap::Refuse),
        WhenFull::Stop => Some(AtCap::Stop),
    };
    let load: Box<dyn LoadModel> = match at_cap {
        Some(at_cap) => Box::new(Capped::new(arrivals, most, at_cap)),
        None => Box::new(Paced::new(arrivals, Some(most))),
    };
    match spec.pacing.schedule() {
        Some(schedule) if spec.is_open_loop() && spec.open_loop.stop_when_saturated => {
            Box::new(UntilSaturated::new(load, schedule.clone(), spec.seed))
        }
        _ => load,
    }
}

/// A load that ends when enough is known of it.
#[must_use]
pub fn until_enough(load: Box<dyn LoadModel>, enough: &Arc<AtomicBool>) -> Box<dyn LoadModel> {
    Box::new(UntilEnough::new(load, Arc::clone(enough)))
}

#[cfg(test)]
mod tests;
