//! Owns figures of a run that rest on its load: those of its schedule, of the segments of its
//! profile, of its plateau, and by model and URL.
//!
//! It must not know how often records are read, nor how figures are shown.

mod load;
mod mix;
mod plateau;
mod segments;

pub(crate) use load::{DueSpan, LoadSums, start_of, worst};
pub use load::{InFlight, Judged, LoadFigures, SentInSecond};
pub use mix::MixFigures;
pub(crate) use mix::MixSums;
pub use plateau::{Beside, Differences, PlateauFigures, WithoutPlateau};
pub use segments::SegmentFigures;
pub(crate) use segments::{SegmentSums, Segments};
