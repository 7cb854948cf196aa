//! Owns the way of events from a run to its store: stages change them, observers look at them.
//!
//! It must not know which stages, observers and stores exist.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use async_channel::Receiver;
use evalscope_model::events::{Observer, RunEvent, Stage, Warning};
use evalscope_model::record::Exchange;
use tokio_util::sync::CancellationToken;

use super::feed::panic_text;

/// Events that stages get at a time, if so many wait.
const BATCH: usize = 32;

/// The events of a run, in the order in which they came, each after all stages and observers. Give
/// it to what stores them: dropping it tells the run that nothing more is stored.
pub struct Pipeline {
    events: Receiver<RunEvent>,
    stages: Vec<Box<dyn Stage>>,
    observers: Vec<Box<dyn Observer>>,
    /// Events that are ready for the store.
    ready: VecDeque<RunEvent>,
    fault: PipelineFault,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("stages", &self.stages.len())
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

/// What becomes of a stage or an observer that panics: it is left out from then on, events go on
/// to the store, and the run is stopped, so that nothing measured is lost.
#[derive(Clone, Debug)]
pub struct PipelineFault {
    stop: CancellationToken,
    message: Arc<OnceLock<String>>,
}

impl PipelineFault {
    /// For a run that is stopped by `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            message: Arc::default(),
        }
    }

    /// What panicked first, and its message.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.get().map(String::as_str)
    }

    /// Do some work. `None`: it panicked.
    fn guarded<T>(&self, name: &str, work: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => Some(done),
            Err(payload) => {
                let text = panic_text(payload.as_ref());
                let _the_first_counts = self
                    .message
                    .set(format!("{name} panicked: {text}; please report it"));
                self.stop.cancel();
                None
            }
        }
    }
}

impl Pipeline {
    /// A pipeline from a run's channel. Stages run in order, then observers.
    #[must_use]
    pub fn new(
        events: Receiver<RunEvent>,
        stages: Vec<Box<dyn Stage>>,
        observers: Vec<Box<dyn Observer>>,
        fault: PipelineFault,
    ) -> Self {
        Self {
            events,
            stages,
            observers,
            ready: VecDeque::new(),
            fault,
        }
    }

    /// Wait for events, and take as many as are there.
    fn take(&mut self) -> Option<Vec<RunEvent>> {
        let mut batch = vec![self.events.recv_blocking().ok()?];
        while batch.len() < BATCH
            && let Ok(event) = self.events.try_recv()
        {
            batch.push(event);
        }
        Some(batch)
    }

    fn apply_stages(&mut self, batch: &mut Vec<RunEvent>) {
        let mut exchanges: Vec<&mut Exchange> = batch
            .iter_mut()
            .filter_map(|event| match event {
                RunEvent::Exchange(exchange) => Some(&mut **exchange),
                RunEvent::Conversation(_)
                | RunEvent::Snapshot(_)
                | RunEvent::Warning(_)
                | RunEvent::Began(_)
                | RunEvent::Model(_) => None,
            })
            .collect();
        if exchanges.is_empty() {
            return;
        }
        let mut warnings: Vec<Warning> = Vec::new();
        self.stages.retain_mut(|stage| {
            let applied = self
                .fault
                .guarded(stage.name(), || stage.apply(&mut exchanges));
            let is_well = applied.is_some();
            warnings.extend(applied.unwrap_or_default());
            is_well
        });
        batch.extend(warnings.into_iter().map(RunEvent::Warning));
    }
}

impl Iterator for Pipeline {
    type Item = RunEvent;

    /// The next event. Blocks until there is one; `None` once the run is over.
    fn next(&mut self) -> Option<RunEvent> {
        if self.ready.is_empty() {
            let mut batch = self.take()?;
            self.apply_stages(&mut batch);
            self.ready.extend(batch);
        }
        let event = self.ready.pop_front()?;
        self.observers.retain_mut(|observer| {
            let seen = self.fault.guarded(observer.name(), || observer.on(&event));
            seen.is_some()
        });
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Dispatch;
    use crate::engine::no_response::without_answer;
    use evalscope_model::record::{Bodies, Phase};
    use evalscope_model::time::Timestamp;
    use std::sync::Mutex;

    fn exchange(index: u64) -> RunEvent {
        let dispatch = Dispatch {
            index,
            phase: Phase::Measured,
            scheduled: Timestamp::ZERO,
            slot_free: Timestamp::ZERO,
            dispatched: Timestamp::ZERO,
            stream: true,
            output_asked: true,
            asked_tokens: None,
            asked_output_tokens: None,
            turn: None,
            trace: None,
            model: None,
            url: None,
        };
        RunEvent::Exchange(Box::new(Exchange {
            record: without_answer(dispatch, Timestamp::ZERO),
            bodies: Bodies::default(),
        }))
    }

    /// Adds to the index of each exchange, warns of one, and panics at another.
    struct Adding {
        warns_at: u64,
        panics_at: u64,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl Stage for Adding {
        fn name(&self) -> &'static str {
            "the stage that adds"
        }

        fn apply(&mut self, exchanges: &mut [&mut Exchange]) -> Vec<Warning> {
            self.batches.lock().unwrap().push(exchanges.len());
            let mut warnings = Vec::new();
            for exchange in exchanges {
                assert_ne!(exchange.record.index, self.panics_at, "the test's stage");
                if exchange.record.index == self.warns_at {
                    warnings.push(Warning {
                        id: "test",
                        text: "seen".to_owned(),
                    });
                }
                exchange.record.index += 1000;
            }
            warnings
        }
    }

    /// Notes what it sees, and panics at an index.
    struct Noting {
        seen: Arc<Mutex<Vec<u64>>>,
        panics_at: u64,
    }

    impl Observer for Noting {
        fn name(&self) -> &'static str {
            "the observer that notes"
        }

        fn on(&mut self, event: &RunEvent) {
            if let RunEvent::Exchange(exchange) = event {
                assert_ne!(exchange.record.index, self.panics_at, "the test's observer");
                self.seen.lock().unwrap().push(exchange.record.index);
            }
        }
    }

    struct Outcome {
        stored: Vec<u64>,
        warnings: usize,
        seen: Vec<u64>,
        batches: Vec<usize>,
        message: Option<String>,
        stopped: bool,
    }

    /// 100 exchanges that wait, through a stage and an observer.
    fn piped(stage_panics_at: u64, observer_panics_at: u64) -> Outcome {
        let (sink, events) = async_channel::bounded(100);
        for index in 0..100 {
            sink.try_send(exchange(index)).unwrap();
        }
        drop(sink);
        let (batches, seen) = <(Arc<Mutex<Vec<usize>>>, Arc<Mutex<Vec<u64>>>)>::default();
        let stop = CancellationToken::new();
        let fault = PipelineFault::new(stop.clone());
        let stage = Adding {
            warns_at: 7,
            panics_at: stage_panics_at,
            batches: Arc::clone(&batches),
        };
        let observer = Noting {
            seen: Arc::clone(&seen),
            panics_at: observer_panics_at,
        };
        let (stages, observers) = (vec![Box::new(stage) as _], vec![Box::new(observer) as _]);
        let pipeline = Pipeline::new(events, stages, observers, fault.clone());
        let (mut stored, mut warnings) = (Vec::new(), 0);
        for event in pipeline {
            match event {
                RunEvent::Exchange(exchange) => stored.push(exchange.record.index),
                RunEvent::Warning(_) => warnings += 1,
                RunEvent::Conversation(_)
                | RunEvent::Snapshot(_)
                | RunEvent::Began(_)
                | RunEvent::Model(_) => {}
            }
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let batches = std::mem::take(&mut *batches.lock().unwrap());
        Outcome {
            stored,
            warnings,
            seen,
            batches,
            message: fault.message().map(str::to_owned),
            stopped: stop.is_cancelled(),
        }
    }

    #[test]
    fn events_go_through_all_in_order() {
        let outcome = piped(u64::MAX, u64::MAX);
        assert_eq!(outcome.stored, (1000..1100).collect::<Vec<_>>());
        assert_eq!(outcome.seen, outcome.stored);
        assert_eq!(outcome.warnings, 1);
        assert_eq!(outcome.batches, [32, 32, 32, 4]);
        assert_eq!((outcome.message, outcome.stopped), (None, false));
    }

    #[test]
    fn a_panic_stops_the_run_and_loses_nothing() {
        let stage = piped(40, u64::MAX);
        assert_eq!(stage.stored.len(), 100);
        assert_eq!(stage.seen.len(), 100);
        // 40 is in the second batch, whose rest the stage does not see
        let untouched: Vec<u64> = (40..100).collect();
        assert_eq!(stage.stored[40..], untouched);
        assert!(stage.stopped);
        let message = stage.message.unwrap();
        assert!(
            message.starts_with("the stage that adds panicked: "),
            "{message}"
        );
        let observer = piped(u64::MAX, 1050);
        assert_eq!(observer.stored.len(), 100);
        assert_eq!(observer.seen.len(), 50);
        assert!(observer.stopped);
        let message = observer.message.unwrap();
        assert!(
            message.starts_with("the observer that notes panicked: "),
            "{message}"
        );
    }
}
