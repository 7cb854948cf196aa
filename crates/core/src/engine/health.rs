//! Owns whether the server is there at all: how long a user waits after a request that reached
//! none, and when a run gives up.
//!
//! It must not know what ends a run, nor what a request was.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use evalscope_model::record::{FailureKind, RequestRecord};
use evalscope_model::time::Timestamp;

/// The first wait of a user whose request reached no server.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest: a server that comes back is noticed within this time.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// When so many answers came first, and all were the same refusal, the rest would be so too.
const FIRST_ANSWERS: u32 = 20;

/// Why a run gave up.
#[derive(Clone, Debug, PartialEq)]
pub enum GaveUp {
    /// No request reached a server for too long.
    Away {
        /// How long nothing had succeeded, seconds.
        for_s: f64,
        /// What became of the last request.
        last: String,
    },
    /// The first answers were all the same refusal.
    Refused {
        /// How many.
        answers: u32,
        /// What the server said to the first of them.
        words: String,
    },
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away { for_s, last } => {
                write!(
                    f,
                    "no request has reached the server for {for_s:.0} s: {last}"
                )
            }
            Self::Refused { answers, words } => {
                write!(
                    f,
                    "the server refused the first {answers} requests alike: {words}"
                )
            }
        }
    }
}

/// Whether a request failed because no server was reached, and not by what one answered.
pub(super) fn reached_none(record: &RequestRecord) -> bool {
    let Some(failure) = &record.failure else {
        return false;
    };
    match failure.kind {
        FailureKind::Connect
        | FailureKind::ConnectTimeout
        | FailureKind::Dns
        | FailureKind::Proxy
        | FailureKind::Tls => true,
        // a balancer in front of a dead server takes the connection and drops it
        FailureKind::Reset | FailureKind::Truncated => record.times.first_byte.is_none(),
        _ => false,
    }
}

/// How long a user waits after requests that reached no server.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// The wait after one more request that reached none: twice the last one.
    pub(super) fn next(&mut self) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(1 << self.0.min(16));
        self.0 = self.0.saturating_add(1);
        wait.min(LONGEST_WAIT)
    }

    /// A request reached one.
    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// What all sessions have seen of the server.
#[derive(Debug)]
pub(super) struct Health {
    give_up_after: Option<Duration>,
    /// When the first request failed since one reached a server, in nanoseconds plus one; 0 while
    /// requests reach one.
    away_since: AtomicU64,
    /// The first answers are not all the same refusal, or it is not asked.
    answered: AtomicBool,
    refusals: Mutex<Refusals>,
}

#[derive(Debug, Default)]
struct Refusals {
    status: u16,
    count: u32,
    words: String,
}

impl Health {
    /// Nothing has been seen. Without a limit a run never gives up.
    pub(super) fn new(give_up_after: Option<Duration>) -> Self {
        Self {
            give_up_after,
            away_since: AtomicU64::new(0),
            answered: AtomicBool::new(give_up_after.is_none()),
            refusals: Mutex::default(),
        }
    }

    /// A request has ended: is it time to give up?
    pub(super) fn note(&self, record: &RequestRecord) -> Option<GaveUp> {
        if !reached_none(record) {
            if self.away_since.load(Ordering::Relaxed) != 0 {
                self.away_since.store(0, Ordering::Relaxed);
            }
            if self.answered.load(Ordering::Relaxed) {
                return None;
            }
            return self.note_answer(record);
        }
        let limit = self.give_up_after?;
        let now_ns = record.times.ended.as_nanos() + 1;
        let since = self
            .away_since
            .compare_exchange(0, now_ns, Ordering::Relaxed, Ordering::Relaxed)
            .map_or_else(|since| since, |_| now_ns);
        let away = Timestamp::from_nanos(now_ns).since(Timestamp::from_nanos(since));
        (away >= limit).then(|| GaveUp::Away {
            for_s: away.as_secs_f64(),
            last: record
                .failure
                .as_ref()
                .map(|failure| failure.message.clone())
                .unwrap_or_default(),
        })
    }

    /// One of the first answers.
    fn note_answer(&self, record: &RequestRecord) -> Option<GaveUp> {
        let refusal = record
            .failure
            .as_ref()
            .and_then(|failure| match failure.kind {
                FailureKind::Status(status @ 400..500) => Some((status, &failure.message)),
                _ => None,
            });
        let mut seen = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal {
            Some((status, words)) if seen.count == 0 || seen.status == status => {
                if seen.count == 0 {
                    seen.status = status;
                    seen.words.clone_from(words);
                }
                seen.count += 1;
                (seen.count >= FIRST_ANSWERS).then(|| GaveUp::Refused {
                    answers: seen.count,
                    words: std::mem::take(&mut seen.words),
                })
            }
            _ => {
                self.answered.store(true, Ordering::Relaxed);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evalscope_model::record::{Failure, Phase};

    use crate::engine::dispatch::Dispatch;
    use crate::engine::no_response::without_answer;

    fn ended(kind: Option<FailureKind>, at_ms: u64, first_byte: bool) -> RequestRecord {
        let dispatch = Dispatch {
            index: 0,
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
        let mut record = without_answer(dispatch, Timestamp::ZERO);
        record.failure = kind.map(|kind| Failure::new(kind, "words"));
        record.times.ended = Timestamp::from_nanos(at_ms * 1_000_000);
        record.times.first_byte = first_byte.then_some(Timestamp::ZERO);
        record
    }

    #[test]
    fn waits_double_up_to_five_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next().as_millis(), 100);
    }

    #[test]
    fn a_server_that_is_away_is_given_up_after_its_time() {
        let health = Health::new(Some(Duration::from_secs(2)));
        let refused = Some(FailureKind::Connect);
        assert_eq!(health.note(&ended(refused, 1000, false)), None);
        assert_eq!(health.note(&ended(refused, 2900, false)), None);
        // anything that a server said begins the time anew
        assert_eq!(
            health.note(&ended(Some(FailureKind::Status(500)), 2950, true)),
            None
        );
        assert_eq!(health.note(&ended(refused, 3000, false)), None);
        assert_eq!(
            health.note(&ended(Some(FailureKind::Reset), 4999, true)),
            None
        );
        assert_eq!(health.note(&ended(refused, 5000, false)), None);
        assert_eq!(
            health.note(&ended(Some(FailureKind::Reset), 7000, false)),
            Some(GaveUp::Away {
                for_s: 2.0,
                last: "words".to_owned()
            })
        );
        let never = Health::new(None);
        assert_eq!(never.note(&ended(refused, 0, false)), None);
        assert_eq!(never.note(&ended(refused, 1 << 40, false)), None);
    }

    #[test]
    fn a_server_that_refuses_everything_alike_is_given_up() {
        let refused = |status| ended(Some(FailureKind::Status(status)), 0, true);
        let noted = |first: Option<u16>, rest: u16, give_up: bool| {
            let health = Health::new(give_up.then_some(Duration::from_mins(1)));
            if let Some(first) = first {
                assert_eq!(health.note(&refused(first)), None);
            }
            (1..=40u32).find(|_| health.note(&refused(rest)).is_some())
        };
        assert_eq!(noted(None, 401, true), Some(20));
        assert_eq!(noted(Some(404), 401, true), None);
        assert_eq!(noted(None, 500, true), None);
        assert_eq!(noted(None, 401, false), None);
        let health = Health::new(Some(Duration::from_mins(1)));
        health.note(&ended(None, 0, true));
        assert!((0..40).all(|_| health.note(&refused(400)).is_none()));
    }
}
