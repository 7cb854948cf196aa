//! Owns `--abort-if`: it looks at the last seconds of a run, and stops it once a rule holds.
//!
//! It runs where events are stored, never on a thread that receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evalscope_model::events::{Observer, RunEvent};
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_report::rules::RecentRequests;
use tokio_util::sync::CancellationToken;

use crate::log::Log;

/// So much of the run is looked at.
pub(crate) const ABORT_WINDOW: Duration = Duration::from_secs(30);

/// It is looked at no more often.
const EVERY: Duration = Duration::from_secs(2);

/// Watches a run.
pub(crate) struct Abort {
    /// The rules, and the requests that they are about.
    pub(crate) recent: RecentRequests,
    /// From when on it looks, after the first measured request.
    pub(crate) after: Duration,
    /// When it looked last.
    pub(crate) looked: Timestamp,
    pub(crate) clock: RunClock,
    /// Stops the run, and not the command.
    pub(crate) stop: CancellationToken,
    pub(crate) log: Log,
    /// Whether it has stopped the run.
    pub(crate) has_aborted: Arc<AtomicBool>,
}

impl Abort {
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
                ABORT_WINDOW.as_secs()
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
            RunEvent::Conversation(_)
            | RunEvent::Warning(_)
            | RunEvent::Began(_)
            | RunEvent::Model(_) => {}
        }
    }
}
