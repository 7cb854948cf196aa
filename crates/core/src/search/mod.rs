//! Owns the search for the largest load that a server carries: which value to measure next, and what
//! the measurements come to.
//!
//! Pure: no clock, no I/O, no tokio. A search is a function of what was measured, in order; it must
//! not know how a value is measured. Each search is written as if it could measure at once: where a
//! value is missing it stops, and is run again from its beginning once the value is known.

mod action;
mod bracket;
mod capacity;
mod evalscope;
mod greatest;
mod isotonic;
mod judge;
mod peak;
mod plan;
mod reference;
mod values;
mod words;

pub use action::Action;
pub use bracket::{Answer, BracketSearch, Judged, Probed, Wanted};
pub use capacity::CapacitySearch;
pub use evalscope::EvalscopeSearch;
pub use greatest::GreatestSearch;
pub use judge::{LONGEST_TIMES, ProbeJudge, least_requests};
pub use peak::{Observation, Peak, PeakSearch};
pub use plan::{Reference, SearchPlan, Statistics};
pub use reference::{Found, Goal, Observed, ReferenceSearch};
pub use values::Values;
