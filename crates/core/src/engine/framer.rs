//! Owns the choice between the two framings of a stream.
//!
//! It must not know what an event means.

use crate::ndjson::LineSplitter;
use crate::protocol::Framing;
use crate::sse::{Event, EventTooLarge, Splitter};

/// Splits a stream into its events.
#[derive(Debug)]
pub(super) enum Framer {
    Events(Splitter),
    Lines(LineSplitter),
}

impl Framer {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Events(Splitter::default()),
            Framing::Ndjson => Self::Lines(LineSplitter::default()),
        }
    }

    /// A body with a success status is a stream, whatever its content type.
    pub(super) const fn is_lines(&self) -> bool {
        matches!(self, Self::Lines(_))
    }

    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        sink: impl FnMut(Event<'_>),
    ) -> Result<(), EventTooLarge> {
        match self {
            Self::Events(splitter) => splitter.push(bytes, sink),
            Self::Lines(splitter) => splitter.push(bytes, sink),
        }
    }

    pub(super) fn finish(&mut self, sink: impl FnMut(Event<'_>)) {
        match self {
            Self::Events(splitter) => splitter.finish(sink),
            Self::Lines(splitter) => splitter.finish(sink),
        }
    }

    /// Lines that are no fields of an event.
    pub(super) fn stray(&self) -> &[u8] {
        match self {
            Self::Events(splitter) => splitter.stray(),
            Self::Lines(_) => b"",
        }
    }
}
