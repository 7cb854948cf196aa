//! Owns the end of a load about which enough is known.
//!
//! It must not know who decides that, nor on what grounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::model::{LoadModel, Next, SessionEnd};
use evalscope_model::plan::StoppedBy;
use evalscope_model::time::Timestamp;

/// Another load, until enough is known.
#[derive(Debug)]
pub struct UntilEnough {
    load: Box<dyn LoadModel>,
    enough: Arc<AtomicBool>,
}

impl UntilEnough {
    /// A load that ends when this is set.
    #[must_use]
    pub fn new(load: Box<dyn LoadModel>, enough: Arc<AtomicBool>) -> Self {
        Self { load, enough }
    }
}

impl LoadModel for UntilEnough {
    fn next(&mut self, now: Timestamp) -> Next {
        if self.enough.load(Ordering::Relaxed) {
            return Next::Stop(StoppedBy::Decided);
        }
        self.load.next(now)
    }

    fn ended(&mut self, end: SessionEnd) {
        self.load.ended(end);
    }

    fn has_schedule(&self) -> bool {
        self.load.has_schedule()
    }

    fn unsent(&mut self, end: Timestamp) -> Option<Timestamp> {
        self.load.unsent(end)
    }
}
