//! Owns how fast the whole server works: its pauses, and how it slows down.
//!
//! It must not know about requests, other than when the first one came.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::fault::Pause;
use crate::profile::Drift;

/// Translates work into time. Everything counts from the first request.
#[derive(Debug)]
pub(crate) struct Tempo {
    /// In order of their start.
    pauses: Vec<Pause>,
    drift: Drift,
    first_request: OnceLock<Instant>,
}

impl Tempo {
    pub(crate) fn new(mut pauses: Vec<Pause>, drift: Drift) -> Self {
        pauses.sort_by_key(|pause| pause.after);
        Tempo {
            pauses,
            drift,
            first_request: OnceLock::new(),
        }
    }

    /// A request was read; only the first call has an effect.
    pub(crate) fn request_read(&self) {
        self.first_request.get_or_init(Instant::now);
    }

    /// How many times as long as at the start everything takes that begins now.
    pub(crate) fn slowdown(&self, at: Instant) -> f64 {
        let Some(first) = self.first_request.get() else {
            return 1.0;
        };
        let minutes = at.saturating_duration_since(*first).as_secs_f64() / 60.0;
        1.0 + self.drift.per_min * minutes
    }

    /// When something ends that begins at `start` and takes `work` without pauses.
    pub(crate) fn end_of(&self, start: Instant, work: Duration) -> Instant {
        let (mut at, mut left) = (start, work);
        for (pause, resume) in self.pauses() {
            if resume <= at {
                continue;
            }
            let before = pause.saturating_duration_since(at);
            if left <= before && pause > at {
                break;
            }
            left -= before;
            at = resume;
        }
        at + left
    }

    /// Return when the server does not pause: at once, or at the end of the pause.
    pub(crate) async fn resumed(&self) {
        for (pause, resume) in self.pauses() {
            let now = Instant::now();
            if pause <= now && now < resume {
                sleep_until(resume).await;
            }
        }
    }

    fn pauses(&self) -> impl Iterator<Item = (Instant, Instant)> {
        let first = self.first_request.get().copied();
        self.pauses.iter().filter_map(move |pause| {
            let start = first? + pause.after;
            Some((start, start + pause.length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pause(length: u64, after: u64) -> Pause {
        Pause {
            after: ms(after),
            length: ms(length),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_rests_in_a_pause() {
        let tempo = Tempo::new(vec![pause(50, 200), pause(20, 100)], Drift::default());
        let start = Instant::now();
        assert_eq!(
            tempo.end_of(start, ms(500)),
            start + ms(500),
            "no request yet"
        );
        tempo.request_read();
        for (begin, work, end) in [
            (0, 100, 100),
            (0, 101, 121),
            (0, 180, 200),
            (0, 181, 251),
            (0, 500, 570),
            (100, 0, 120),
            (110, 5, 125),
            (120, 5, 125),
            (249, 1, 251),
            (300, 1, 301),
        ] {
            let got = tempo.end_of(start + ms(begin), ms(work));
            assert_eq!(got - start, ms(end), "{work} ms from {begin} ms on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_that_overlap_are_one() {
        let tempo = Tempo::new(
            vec![pause(100, 50), pause(20, 60), pause(100, 100)],
            Drift::default(),
        );
        tempo.request_read();
        let start = Instant::now();
        assert_eq!(tempo.end_of(start, ms(60)) - start, ms(210));
        tokio::time::advance(ms(60)).await;
        tempo.resumed().await;
        assert_eq!(start.elapsed(), ms(200));
        tempo.resumed().await;
        assert_eq!(start.elapsed(), ms(200));
    }

    #[tokio::test(start_paused = true)]
    async fn the_drift_counts_from_the_first_request() {
        let tempo = Tempo::new(Vec::new(), "10%/min".parse().expect("a drift"));
        tokio::time::advance(ms(60_000)).await;
        assert!((tempo.slowdown(Instant::now()) - 1.0).abs() < 1e-9);
        tempo.request_read();
        tokio::time::advance(ms(90_000)).await;
        assert!((tempo.slowdown(Instant::now()) - 1.15).abs() < 1e-9);
    }
}
