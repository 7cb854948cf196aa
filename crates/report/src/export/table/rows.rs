//! Owns which requests become rows of a table, and what takes the rows.
//!
//! It must not know any table.

use std::fmt;

use evalscope_model::record::Phase;

use super::cell::Cell;
use crate::export::chosen::Chosen;
use crate::export::runs::ExportError;
use crate::model::{RecordBodies, RunMeta};
use crate::sqlite::{Outcome, Reader, Wanted};

/// Takes the rows of a table.
pub(super) type Put<'a> = dyn FnMut(&[Cell<'_>]) -> Result<(), ExportError> + 'a;

/// The generated text of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedText {
    /// The answer.
    pub answer: String,
    /// The reasoning before it.
    pub reasoning: String,
}

/// Reads the generated text of a response of a run from its events, or from its body. `None` where it
/// finds none.
pub type TextReader<'a> = dyn Fn(&RunMeta, &[String]) -> Option<GeneratedText> + 'a;

/// Which requests become rows, and what of them.
#[derive(Clone, Copy, Default)]
pub struct Rows<'a> {
    /// Those that ended in this way.
    pub outcome: Option<Outcome>,
    /// Those with these indexes; all if there is none.
    pub indexes: &'a [u64],
    /// Those of the warm-up, too.
    pub warmup: bool,
    /// With their bodies, and what reads the text of a response.
    pub bodies: Option<&'a TextReader<'a>>,
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("outcome", &self.outcome)
            .field("indexes", &self.indexes)
            .field("warmup", &self.warmup)
            .field("bodies", &self.bodies.is_some())
            .finish()
    }
}

impl<'a> Rows<'a> {
    pub(super) fn phases(&self) -> &'static [Phase] {
        if self.warmup {
            &[Phase::Warmup, Phase::Measured]
        } else {
            &[Phase::Measured]
        }
    }

    pub(super) fn wanted(&self) -> Wanted<'a> {
        Wanted {
            outcome: self.outcome,
            indexes: self.indexes,
            bodies: self.bodies.is_some(),
        }
    }

    /// Check that the runs have what is wanted.
    ///
    /// # Errors
    /// If no run has a request with one of the indexes, or none has bodies.
    pub fn check(&self, chosen: &Chosen) -> Result<(), ExportError> {
        let mut kept = chosen.runs.iter().map(|run| run.meta.record_bodies);
        if self.bodies.is_some() && kept.all(|kept| kept == RecordBodies::None) {
            return Err(ExportError::NoBodies);
        }
        let mut missing = self.indexes.to_vec();
        for run in &chosen.runs {
            if missing.is_empty() {
                break;
            }
            let reader = Reader::open(&run.database)?;
            let mut left = Vec::new();
            for index in missing {
                let mut is_there = false;
                for phase in self.phases() {
                    is_there |= reader.has_request(*phase, index)?;
                }
                left.extend((!is_there).then_some(index));
            }
            missing = left;
        }
        match missing.first() {
            None => Ok(()),
            Some(index) => Err(ExportError::NoSuchRequest {
                index: *index,
                kind: if self.warmup {
                    "measured or warm-up"
                } else {
                    "measured"
                },
            }),
        }
    }
}
