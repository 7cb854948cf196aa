//! Owns the watch over a probe of a search: it passes what happens to the judge, and ends the load when
//! enough is known.
//!
//! It must not know how a probe is judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use evalscope_core::search::ProbeJudge;
use evalscope_model::events::{Observer, RunEvent};
use evalscope_model::search::ProbeJudgement;
use evalscope_model::time::RunClock;

/// The judge of a probe, as the run and what follows it share it.
#[derive(Clone, Debug)]
pub(crate) struct JudgedProbe(Arc<Mutex<Option<ProbeJudge>>>);

/// Watches a probe.
#[derive(Debug)]
pub(crate) struct ProbeWatch {
    judged: JudgedProbe,
    clock: RunClock,
    enough: Arc<AtomicBool>,
}

impl JudgedProbe {
    pub(crate) fn new(judge: ProbeJudge) -> Self {
        Self(Arc::new(Mutex::new(Some(judge))))
    }

    /// What watches the run; `enough` is set when the load can end.
    pub(crate) fn watch(&self, clock: RunClock, enough: Arc<AtomicBool>) -> ProbeWatch {
        ProbeWatch {
            judged: self.clone(),
            clock,
            enough,
        }
    }

    /// The judgements, after the run.
    pub(crate) fn finish(&self) -> Vec<ProbeJudgement> {
        let mut judge = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        judge.take().map(ProbeJudge::finish).unwrap_or_default()
    }
}

impl Observer for ProbeWatch {
    fn name(&self) -> &'static str {
        "the judge of a probe"
    }

    fn on(&mut self, event: &RunEvent) {
        let mut judge = self.judged.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(judge) = judge.as_mut() else { return };
        match event {
            RunEvent::Exchange(exchange) => judge.ended(&exchange.record),
            RunEvent::Snapshot(snapshot) => {
                if judge.look(self.clock.now(), snapshot.load.in_flight) {
                    self.enough.store(true, Ordering::Relaxed);
                }
            }
            RunEvent::Conversation(_)
            | RunEvent::Warning(_)
            | RunEvent::Began(_)
            | RunEvent::Model(_) => {}
        }
    }
}
