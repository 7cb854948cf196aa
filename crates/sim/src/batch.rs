//! Owns continuous batching: one loop for the whole server, whose steps prefill one waiting prompt
//! and give each running request a token.
//!
//! It must not know about connections or what a token says.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::service::BatchItl;
use crate::slots::Start;
use crate::tempo::Tempo;

/// What has become of a request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The start of its prefill, once it has begun.
    pub(crate) start: Option<Start>,
    /// Number of tokens that are due.
    pub(crate) tokens: u32,
}

/// A request for which the loop works.
#[derive(Debug)]
struct Job {
    joins: Instant,
    prefill: Duration,
    /// Total number of tokens.
    tokens: u32,
    progress: watch::Sender<Progress>,
}

impl Job {
    /// Whether its client has left.
    fn is_abandoned(&self) -> bool {
        self.progress.is_closed()
    }

    /// Count one more token; returns whether more are to come.
    fn step(&self) -> bool {
        let mut more = false;
        self.progress.send_modify(|progress| {
            progress.tokens += 1;
            more = progress.tokens < self.tokens;
        });
        more
    }
}

/// The queue of requests and the loop that serves them.
#[derive(Debug)]
pub(crate) struct Batch {
    itl: BatchItl,
    /// Maximum number of running requests.
    slots: usize,
    waiting: Mutex<VecDeque<Job>>,
    arrival: Notify,
}

impl Batch {
    pub(crate) fn new(itl: BatchItl, slots: Option<NonZeroUsize>) -> Self {
        Batch {
            itl,
            slots: slots.map_or(usize::MAX, NonZeroUsize::get),
            waiting: Mutex::default(),
            arrival: Notify::new(),
        }
    }

    /// Queue a request at `joins`, which must not be before that of an earlier one. It leaves when
    /// the receiver is dropped.
    pub(crate) fn join(
        &self,
        joins: Instant,
        prefill: Duration,
        tokens: u32,
    ) -> watch::Receiver<Progress> {
        let (progress, received) = watch::channel(Progress::default());
        self.waiting().push_back(Job {
            joins,
            prefill,
            tokens,
            progress,
        });
        self.arrival.notify_one();
        received
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serve for ever. Steps follow each other without a gap, however late the timer is.
    pub(crate) async fn run(&self, tempo: &Tempo) {
        let mut running: Vec<Job> = Vec::new();
        let mut now = Instant::now();
        loop {
            if running.is_empty() {
                now = now.max(self.first_arrival().await);
            }
            let mut work = Duration::ZERO;
            if running.len() < self.slots
                && let Some(job) = self.next(now)
            {
                work += job.prefill;
                let start = Start {
                    began: now,
                    queued: now - job.joins,
                    busy: running.len() + 1,
                };
                job.progress
                    .send_modify(|progress| progress.start = Some(start));
                running.push(job);
            }
            if running.is_empty() {
                continue;
            }
            work += self.itl.step(running.len());
            now = tempo.end_of(now, work.mul_f64(tempo.slowdown(now)));
            sleep_until(now).await;
            running.retain(|job| !job.is_abandoned() && job.step());
        }
    }

    /// When the first of the queue joins it.
    async fn first_arrival(&self) -> Instant {
        loop {
            let first = self.waiting().front().map(|job| job.joins);
            if let Some(joins) = first {
                sleep_until(joins).await;
                return joins;
            }
            self.arrival.notified().await;
        }
    }

    /// The first of the queue that has joined it and is still there.
    fn next(&self, now: Instant) -> Option<Job> {
        let mut waiting = self.waiting();
        while waiting.front()?.joins <= now {
            let job = waiting.pop_front()?;
            if !job.is_abandoned() {
                return Some(job);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Drift;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn batch(itl: &str, slots: usize) -> Batch {
        Batch::new(itl.parse().expect("two times"), NonZeroUsize::new(slots))
    }

    /// When each token of a request is due, and its start.
    async fn dues(mut request: watch::Receiver<Progress>) -> (Vec<Instant>, Start) {
        let mut dues = Vec::new();
        while request.changed().await.is_ok() {
            let tokens = request.borrow_and_update().tokens as usize;
            dues.resize(tokens, Instant::now());
        }
        (dues, request.borrow().start.expect("it was served"))
    }

    /// Run `clients` beside the loop until they are done.
    async fn beside<T>(batch: &Batch, clients: impl Future<Output = T>) -> T {
        let tempo = Tempo::new(Vec::new(), Drift::default());
        tokio::select! {
            () = batch.run(&tempo) => unreachable!("it serves for ever"),
            outcome = clients => outcome,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn decoding_waits_for_a_prefill() {
        let batch = batch("10,1", 2);
        let zero = Instant::now();
        let first = batch.join(zero, ms(100), 4);
        let second = batch.join(zero + ms(115), ms(50), 2);
        let third = batch.join(zero + ms(115), ms(0), 1);
        let (first, second, third) = beside(&batch, async {
            tokio::join!(dues(first), dues(second), dues(third))
        })
        .await;
        let at = |dues: &[Instant]| -> Vec<u128> {
            dues.iter().map(|due| (*due - zero).as_millis()).collect()
        };
        // Two steps alone; a step of 50 + 10 + 2; one step of both, which end; then the third.
        assert_eq!(at(&first.0), [111, 122, 184, 196]);
        assert_eq!(at(&second.0), [184, 196]);
        assert_eq!(at(&third.0), [207]);
        assert_eq!((first.1.queued, first.1.busy), (ms(0), 1));
        assert_eq!((second.1.queued, second.1.busy), (ms(7), 2));
        assert_eq!((third.1.queued, third.1.busy), (ms(81), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_left_takes_no_time() {
        let batch = batch("10,0", 1);
        let zero = Instant::now();
        drop(batch.join(zero, ms(1000), 50));
        let running = batch.join(zero, ms(0), 50);
        let last = batch.join(zero, ms(0), 1);
        let last = beside(&batch, async {
            tokio::time::sleep(ms(25)).await;
            drop(running);
            dues(last).await
        })
        .await;
        assert_eq!(last.0, [zero + ms(40)], "after the step in which it left");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_server_starts_at_once() {
        let batch = batch("10,0", 1);
        let zero = Instant::now();
        let due = beside(&batch, async {
            tokio::time::sleep(ms(500)).await;
            dues(batch.join(zero + ms(500), ms(5), 1)).await.0
        })
        .await;
        assert_eq!(due, [zero + ms(515)]);
    }

    /// 64 clients of a closed loop: the opening wave meets a server that prefills one prompt after
    /// the other, so its last first token comes after all 64 prefills and the steps between.
    #[tokio::test(start_paused = true)]
    async fn an_opening_wave_jams_the_prefill() {
        let batch = batch("12,0.2", 64);
        let zero = Instant::now();
        let mut wave: Vec<_> = (0..64).map(|_| batch.join(zero, ms(50), 400)).collect();
        let last = wave.pop().expect("64 requests");
        let (last, _) = beside(&batch, dues(last)).await;
        // 64 × (50 + 12) + 0.2 × (1 + … + 64), rounded up by the timer.
        assert_eq!((last[0] - zero).as_millis(), 4384);
        // From then on, all 64 decode: a step takes 12 + 0.2 × 64.
        let step = (last[300] - last[0]).as_secs_f64() / 300.0;
        assert!((step - 0.0248).abs() < 1e-5, "{step}");
    }
}
