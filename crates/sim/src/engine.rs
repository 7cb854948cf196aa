//! Owns when each token of a request is due, given all other requests: the slots, the batch and the
//! speed of the server.
//!
//! It must not know about connections, or what is sent when a token is due.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::batch::{Batch, Progress};
use crate::fault::Pause;
use crate::profile::{Gaps, Profile, Timing};
use crate::slots::{Slot, Slots, Start};
use crate::tempo::Tempo;

/// What the engine must know of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) sequence: u64,
    /// Prompt tokens that need prefill.
    pub(crate) prefill_tokens: u64,
    /// Tokens of each choice. A response without any takes as long as one with one token.
    pub(crate) tokens: u32,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Engine {
    profile: Profile,
    pub(crate) tempo: Tempo,
    slots: Slots,
    batch: Option<Batch>,
}

/// The server stops.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Engine {
    pub(crate) fn new(profile: Profile, pauses: Vec<Pause>) -> Self {
        let batch = match profile.timing {
            Timing::Latencies | Timing::Service(_) => None,
            Timing::Batch(itl) => Some(Batch::new(itl, profile.slots)),
        };
        Engine {
            tempo: Tempo::new(pauses, profile.drift),
            slots: Slots::new(profile.slots),
            batch,
            profile,
        }
    }

    /// Do the work that is common to all requests, for ever.
    pub(crate) async fn run(&self) {
        match &self.batch {
            Some(batch) => batch.run(&self.tempo).await,
            None => std::future::pending().await,
        }
    }

    /// Begin to serve a request, unless it has to wait for a slot.
    pub(crate) fn try_begin(&self, work: Work) -> Option<Turn<'_>> {
        match &self.batch {
            None => Some(self.alone(self.slots.try_take()?, work)),
            Some(batch) => {
                let ttft = Duration::from_secs_f64(self.profile.ttft_ms / 1e3);
                let prefill = self.profile.prefill(work.prefill_tokens);
                let progress = batch.join(Instant::now() + ttft, prefill, work.tokens.max(1));
                Some(Turn::Batched(progress))
            }
        }
    }

    /// Begin to serve a request, when there is a slot for it.
    pub(crate) async fn begin(&self, work: Work) -> Turn<'_> {
        if let Some(turn) = self.try_begin(work) {
            return turn;
        }
        self.alone(self.slots.take().await, work)
    }

    fn alone<'a>(&'a self, slot: Slot<'a>, work: Work) -> Turn<'a> {
        let began = slot.start.began;
        let mut schedule = Schedule::new(&self.profile, work);
        schedule.stretch *= self.tempo.slowdown(began);
        Turn::Alone {
            tempo: &self.tempo,
            slot,
            schedule,
        }
    }
}

/// A request in service. Dropping it ends the service.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    Alone {
        tempo: &'a Tempo,
        slot: Slot<'a>,
        schedule: Schedule,
    },
    Batched(watch::Receiver<Progress>),
}

impl Turn<'_> {
    /// When the service began, if it has.
    pub(crate) fn start(&self) -> Option<Start> {
        match self {
            Turn::Alone { slot, .. } => Some(slot.start),
            Turn::Batched(progress) => progress.borrow().start,
        }
    }

    /// Wait until token number `token`, from 1, is due.
    pub(crate) async fn until(&mut self, token: u32) -> Result<(), Stopped> {
        match self {
            Turn::Alone {
                tempo,
                slot,
                schedule,
            } => {
                let due = tempo.end_of(slot.start.began, schedule.offset(token));
                if due > Instant::now() {
                    sleep_until(due).await;
                }
                Ok(())
            }
            Turn::Batched(progress) => {
                let reached = progress.wait_for(|progress| progress.tokens >= token).await;
                reached.map(drop).map_err(|_| Stopped)
            }
        }
    }

    /// Everything was sent when it was due. The slot stays taken until this is dropped.
    pub(crate) fn served(&mut self) {
        if let Turn::Alone {
            tempo,
            slot,
            schedule,
        } = self
            && schedule.is_drawn
        {
            slot.served(tempo.end_of(slot.start.began, schedule.offset(schedule.tokens)));
        }
    }
}

/// When the tokens of one request are due, counted from the start of its service.
#[derive(Debug)]
pub(crate) struct Schedule {
    first: Duration,
    /// What the gap before the second token has on top.
    handoff: Duration,
    gaps: Gaps,
    /// Number of tokens that `offset` counts.
    token: u32,
    offset: Duration,
    /// Total number of tokens.
    tokens: u32,
    /// All offsets are multiplied by this.
    stretch: f64,
    /// Whether the length of the service was drawn, rather than the gaps.
    is_drawn: bool,
}

impl Schedule {
    fn new(profile: &Profile, work: Work) -> Self {
        let mut schedule = Schedule {
            first: profile.time_to_first_token(work.prefill_tokens),
            handoff: Duration::from_secs_f64(profile.pd_handoff_ms / 1e3),
            gaps: profile.gaps(work.sequence),
            token: 0,
            offset: Duration::ZERO,
            tokens: work.tokens.max(1),
            stretch: 1.0,
            is_drawn: false,
        };
        let Timing::Service(service) = profile.timing else {
            return schedule;
        };
        schedule.is_drawn = true;
        let mut total = schedule.offset(schedule.tokens);
        if total.is_zero() {
            // Any gap will do, as all are equal.
            schedule.first = Duration::from_secs(1);
            schedule.gaps = Gaps::even(schedule.first);
            total = schedule.first * schedule.tokens;
        } else {
            schedule.gaps = profile.gaps(work.sequence);
        }
        let whole = service.time(profile.seed, work.sequence);
        schedule.stretch = whole.as_secs_f64() / total.as_secs_f64();
        schedule.token = 0;
        schedule.offset = Duration::ZERO;
        schedule
    }

    /// When token number `token`, from 1, is due. Never before that of an earlier call.
    fn offset(&mut self, token: u32) -> Duration {
        while self.token < token {
            self.offset += match self.token {
                0 => self.first,
                1 => self.handoff + self.gaps.draw(),
                _ => self.gaps.draw(),
            };
            self.token += 1;
        }
        self.offset.mul_f64(self.stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Drift, Spread};
    use crate::service::{Service, ServiceSpread};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn served(profile: &Profile) -> Profile {
        Profile {
            timing: Timing::Service(Service {
                mean_ms: 200.0,
                spread: ServiceSpread::Gamma { cv: 0.7 },
            }),
            ..profile.clone()
        }
    }

    fn work(sequence: u64, tokens: u32) -> Work {
        Work {
            sequence,
            prefill_tokens: 100,
            tokens,
        }
    }

    fn offsets(profile: &Profile, work: Work) -> Vec<Duration> {
        let mut schedule = Schedule::new(profile, work);
        (1..=work.tokens)
            .map(|token| schedule.offset(token))
            .collect()
    }

    #[test]
    fn a_drawn_service_ends_with_the_last_token() {
        let plain = Profile {
            ttft_ms: 50.0,
            prefill_tokens_per_s: 1000.0,
            itl_ms: 10.0,
            spread: Spread::LogNormal { cv: 0.4 },
            ..Profile::default()
        };
        let Timing::Service(service) = served(&plain).timing else {
            unreachable!("it is drawn");
        };
        for sequence in 1..50 {
            let natural = offsets(&plain, work(sequence, 20));
            let fitted = offsets(&served(&plain), work(sequence, 20));
            let whole = service.time(0, sequence);
            assert!(Duration::abs_diff(fitted[19], whole) < Duration::from_nanos(100));
            let stretch = whole.as_secs_f64() / natural[19].as_secs_f64();
            for (natural, fitted) in natural.iter().zip(&fitted) {
                assert!(
                    Duration::abs_diff(natural.mul_f64(stretch), *fitted)
                        < Duration::from_nanos(100)
                );
            }
        }
    }

    #[test]
    fn only_the_second_token_waits_for_the_hand_off() {
        let profile = Profile {
            ttft_ms: 50.0,
            pd_handoff_ms: 80.0,
            itl_ms: 10.0,
            ..Profile::default()
        };
        assert_eq!(
            offsets(&profile, work(1, 4)),
            [50, 140, 150, 160].map(ms),
            "80 ms more before the second"
        );
    }

    #[test]
    fn without_latencies_the_shares_are_equal() {
        let profile = served(&Profile::default());
        let fitted = offsets(&profile, work(3, 4));
        let [first, second, _, last] = fitted[..] else {
            unreachable!("four tokens")
        };
        assert!(Duration::abs_diff(first * 4, last) < Duration::from_nanos(100));
        assert!(Duration::abs_diff(second * 2, last) < Duration::from_nanos(100));
        assert_eq!(offsets(&profile, work(3, 1)), [last], "whatever the length");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_follow_each_other_without_a_gap() {
        let profile = Profile {
            slots: std::num::NonZeroUsize::new(2),
            ..served(&Profile::default())
        };
        let Timing::Service(service) = profile.timing else {
            unreachable!("it is drawn");
        };
        let engine = Engine::new(profile.clone(), Vec::new());
        let zero = Instant::now();
        let one = async |sequence| {
            let mut turn = engine.begin(work(sequence, 5)).await;
            turn.until(5).await.expect("it runs");
            turn.served();
            let start = turn.start().expect("it began");
            (start.began - zero, start.queued, start.busy)
        };
        let clients = tokio::task::LocalSet::new();
        let starts = clients
            .run_until(async { tokio::join!(one(1), one(2), one(3), one(4), one(5), one(6)) })
            .await;
        let starts = [starts.0, starts.1, starts.2, starts.3, starts.4, starts.5];
        // First come, first served, by two servers with the known service times.
        let mut free = [Duration::ZERO; 2];
        for (sequence, (began, queued, busy)) in (1..).zip(starts) {
            free.sort();
            assert!(
                Duration::abs_diff(began, free[0]) < Duration::from_micros(1),
                "request {sequence}"
            );
            assert_eq!(queued, began);
            assert_eq!(busy, if sequence == 1 { 1 } else { 2 });
            free[0] += service.time(profile.seed, sequence);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_and_drift_make_a_request_longer() {
        let profile = Profile {
            itl_ms: 100.0,
            drift: Drift { per_min: 1.0 },
            ..Profile::default()
        };
        let pause = Pause {
            after: ms(60_150),
            length: ms(2000),
        };
        let engine = Engine::new(profile, vec![pause]);
        engine.tempo.request_read();
        tokio::time::advance(ms(60_000)).await;
        let start = Instant::now();
        let mut turn = engine.begin(work(1, 3)).await;
        let mut dues = Vec::new();
        for token in 1..=3 {
            turn.until(token).await.expect("it runs");
            dues.push(start.elapsed());
        }
        // Twice as slow after a minute.
        assert_eq!(dues, [ms(0), ms(2200), ms(2400)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_stops_says_so() {
        let profile = Profile {
            timing: Timing::Batch("10,0".parse().expect("two times")),
            ttft_ms: 30.0,
            prefill_tokens_per_s: 1000.0,
            ..Profile::default()
        };
        let engine = Engine::new(profile, Vec::new());
        let start = Instant::now();
        let mut turn = engine.begin(work(1, 3)).await;
        assert_eq!(turn.start(), None);
        tokio::select! {
            () = engine.run() => unreachable!("it runs for ever"),
            first = turn.until(1) => first.expect("it runs"),
        }
        // The fixed time, 100 prompt tokens, one step.
        assert_eq!(start.elapsed(), ms(140));
        assert_eq!(turn.start().expect("it began").began - start, ms(30));
        assert_eq!(turn.start().expect("it began").queued, ms(0));
        assert!(turn.until(2).await.is_err());
    }
}
