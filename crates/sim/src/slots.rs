//! Owns the slots: how many requests are served at once, and in which order others take their turn.
//!
//! It must not know how long a request is served or what is sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A request that ends this much later than it was due was not held up by a timer, but by a client
/// that does not read: its slot was busy all that time.
const LATEST_TIMER: Duration = Duration::from_millis(50);

/// When a request was taken into service, and what it met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) began: Instant,
    /// How long it had waited.
    pub(crate) queued: Duration,
    /// Number of requests in service, itself included.
    pub(crate) busy: usize,
}

/// All slots of a server.
#[derive(Debug)]
pub(crate) struct Slots {
    /// `None` without a limit.
    permits: Option<Semaphore>,
    busy: AtomicUsize,
    /// Since when the free slots are free, without those that were never used.
    ///
    /// A slot is free from the moment when its request was due to end, not from when a timer fired:
    /// otherwise each request would add the lateness of a timer, up to 1 ms, to the waiting time of
    /// all that follow.
    free_since: Mutex<BinaryHeap<Reverse<Instant>>>,
}

impl Slots {
    pub(crate) fn new(limit: Option<NonZeroUsize>) -> Self {
        Slots {
            permits: limit.map(|slots| Semaphore::new(slots.get().min(Semaphore::MAX_PERMITS))),
            busy: AtomicUsize::new(0),
            free_since: Mutex::default(),
        }
    }

    /// Take a slot if one is free.
    pub(crate) fn try_take(&self) -> Option<Slot<'_>> {
        let permit = match &self.permits {
            None => None,
            Some(permits) => Some(permits.try_acquire().ok()?),
        };
        Some(self.taken(Instant::now(), permit))
    }

    /// Wait for a free slot, in order of arrival.
    pub(crate) async fn take(&self) -> Slot<'_> {
        let asked = Instant::now();
        let permit = match &self.permits {
            None => None,
            Some(permits) => Some(permits.acquire().await.expect("the slots are never closed")),
        };
        self.taken(asked, permit)
    }

    fn taken<'a>(&'a self, asked: Instant, permit: Option<SemaphorePermit<'a>>) -> Slot<'a> {
        let mut free_since = self
            .free_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let free = permit.is_some().then(|| free_since.pop()).flatten();
        let began = free.map_or(asked, |Reverse(free)| free.max(asked));
        Slot {
            slots: self,
            start: Start {
                began,
                queued: began - asked,
                busy: self.busy.fetch_add(1, Ordering::Relaxed) + 1,
            },
            due: None,
            permit,
        }
    }
}

/// A slot in use; dropping it passes it on.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    slots: &'a Slots,
    pub(crate) start: Start,
    /// When its request was due to end, once it has.
    due: Option<Instant>,
    /// Returned after [`Slot::drop`].
    permit: Option<SemaphorePermit<'a>>,
}

impl Slot<'_> {
    /// The request was served to its end, which was due at this time.
    pub(crate) fn served(&mut self, due: Instant) {
        self.due = Some(due);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let in_time = |due: &Instant| now.saturating_duration_since(*due) <= LATEST_TIMER;
        let free = self.due.filter(in_time).map_or(now, |due| due.min(now));
        let mut free_since = self
            .slots
            .free_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.permit.is_some() {
            free_since.push(Reverse(free));
        }
        self.slots.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_when_its_request_was_due_to_end() {
        let slots = Slots::new(NonZeroUsize::new(1));
        let zero = Instant::now();
        let mut first = slots.try_take().expect("a free slot");
        assert!(slots.try_take().is_none());
        let mut next = Box::pin(slots.take());
        assert!(poll_once(&mut next).await.is_none(), "it waits");
        tokio::time::advance(ms(101)).await;
        first.served(zero + ms(100));
        drop(first);
        let second = next.await;
        assert_eq!(second.start.began - zero, ms(100));
        assert_eq!(second.start.queued, ms(100));
        // A client that left frees the slot now.
        tokio::time::advance(ms(7)).await;
        drop(second);
        tokio::time::advance(ms(1)).await;
        let third = slots.try_take().expect("a free slot");
        assert_eq!(
            (third.start.began - zero, third.start.queued),
            (ms(109), ms(0))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_keeps_its_slot() {
        let slots = Slots::new(NonZeroUsize::new(1));
        let zero = Instant::now();
        let mut first = slots.try_take().expect("a free slot");
        let mut next = Box::pin(slots.take());
        assert!(poll_once(&mut next).await.is_none(), "it waits");
        tokio::time::advance(ms(500)).await;
        first.served(zero + ms(100));
        drop(first);
        assert_eq!(next.await.start.began - zero, ms(500));
    }

    #[tokio::test]
    async fn busy_slots_are_counted_without_a_limit_too() {
        let slots = Slots::new(None);
        let taken: Vec<_> = (0..3)
            .map(|_| slots.try_take().expect("no limit"))
            .collect();
        let busy: Vec<_> = taken.iter().map(|slot| slot.start.busy).collect();
        assert_eq!(busy, [1, 2, 3]);
        drop(taken);
        assert_eq!(slots.take().await.start.busy, 1);
    }

    /// Poll once.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
