//! Owns the clock that a run waits by. Tests bring one that is paused.

use std::future::Future;

use crate::transport;
use evalscope_model::time::{RunClock, Timestamp};

/// A source of time that can also wait.
pub trait Clock: Clone {
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Wait until a moment.
    fn sleep_until(&self, at: Timestamp) -> impl Future<Output = ()>;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(pub RunClock);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        transport::sleep_until(&self.0, at).await;
    }
}
