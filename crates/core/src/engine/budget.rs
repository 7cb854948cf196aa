//! Owns how much memory bodies take that are made ahead of their use: a limit in bytes, because a
//! limit in requests says nothing about bodies of ten megabytes.
//!
//! It must not know what the bytes are.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bodies made ahead may take this much. Bodies of 8 KiB for 8000 sessions; larger ones are made
/// closer to their use.
pub(super) const AHEAD_BYTES: u64 = 64 << 20;

/// How long a wait goes on before whoever waits looks around.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// Bytes that may be held at a time.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    held: Mutex<u64>,
    freed: Condvar,
}

/// A share of a budget, given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Held(Option<(Arc<Budget>, u64)>);

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            held: Mutex::new(0),
            freed: Condvar::new(),
        })
    }

    /// Take a share, once there is room: what is larger than the whole budget has to be alone.
    /// `waits` is asked again and again while there is none, and ends the wait by `false`.
    pub(super) fn take(
        self: &Arc<Self>,
        bytes: u64,
        mut waits: impl FnMut() -> bool,
    ) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while *held > 0 && held.saturating_add(bytes) > self.limit {
            if !waits() {
                return None;
            }
            held = self
                .freed
                .wait_timeout(held, LOOK_AROUND)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *held = held.saturating_add(bytes);
        Some(Held(Some((Arc::clone(self), bytes))))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((budget, bytes)) = self.0.take() {
            let mut held = budget.held.lock().unwrap_or_else(PoisonError::into_inner);
            *held = held.saturating_sub(bytes);
            budget.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_taken_and_what_is_too_large_goes_alone() {
        let budget = Budget::new(100);
        let first = budget.take(60, || false).unwrap();
        let second = budget.take(40, || false).unwrap();
        assert!(budget.take(1, || false).is_none());
        drop(first);
        assert!(budget.take(61, || false).is_none());
        drop(second);
        let alone = budget.take(1000, || false).unwrap();
        assert!(budget.take(1, || false).is_none());
        drop(alone);
        assert!(budget.take(1, || false).is_some());
    }

    #[test]
    fn a_wait_ends_when_something_is_given_back() {
        let budget = Budget::new(10);
        let held = budget.take(10, || false).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(10, || true).is_some());
            drop(held);
            assert!(waiting.join().unwrap());
        });
    }
}
