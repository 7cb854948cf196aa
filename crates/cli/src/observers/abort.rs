//! Owns `--abort-if`: it looks at the last seconds of a run, and stops it once a rule holds.
//!
//! It runs where events are stored, never on a thread that receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evalscope_model::events::{Observer, RunEvent};
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_report::rules::{RecentRequests, Rule};
use tokio_util::sync::CancellationToken;

use crate::log::Log;

/// So much of the run is looked at.
const WINDOW: Duration = Duration::from_secs(30);

/// It is looked at no more often.
const EVERY: Duration = Duration::from_secs(2);

/// Watches a run.
pub(crate) struct Abort {
    recent: RecentRequests,
    after: Duration,
    looked: Timestamp,
    clock: RunClock,
    stop: CancellationToken,
    log: Log,
    has_aborted: Arc<AtomicBool>,
}

impl Abort {
    /// A watch that stops a run by `stop`, and whether it has done so.
    pub(crate) fn new(
        rules: Vec<Rule>,
        after: Duration,
        clock: RunClock,
        stop: CancellationToken,
        log: Log,
    ) -> (Self, Arc<AtomicBool>) {
        let has_aborted = Arc::new(AtomicBool::new(false));
        let own = Self {
            recent: RecentRequests::new(rules, WINDOW),
            after,
            looked: Timestamp::ZERO,
            clock,
            stop,
            log,
            has_aborted: Arc::clone(&has_aborted),
        };
        (own, has_aborted)
    }

    fn look(&mut self, begun: Timestamp) {
        let now = self.clock.now();
        if self.stop.is_cancelled()
            || now.since(begun) < self.after
            || now.since(self.looked) < EVERY
        {
            return;
        }
        self.looked = now;
        if let Some((rule, figures)) = self.recent.broken(now) {
            self.log.warn(&format!(
                "stopping: {figures} over the last {} s (`--abort-if \"{rule}\"`)",
                WINDOW.as_secs()
            ));
            self.has_aborted.store(true, Ordering::Relaxed);
            self.stop.cancel();
        }
    }
}

impl Observer for Abort {
    fn name(&self) -> &'static str {
        "the watch of `--abort-if`"
    }

    fn on(&mut self, event: &RunEvent) {
        match event {
            RunEvent::Exchange(exchange) => self.recent.push(&exchange.record),
            RunEvent::Snapshot(snapshot) => {
                if let Some(begun) = snapshot.load.measured_begun {
                    self.look(begun);
                }
            }
            RunEvent::Conversation(_) | RunEvent::Warning(_) | RunEvent::Began(_) => {}
        }
    }
}
