//! Owns the start of a load, which is not judged, and whether the server keeps up with its arrivals.
//!
//! It must not know limits.

use std::time::Duration;

use evalscope_model::metrics::{Ended, LoadWindow, Saturation, quantile};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::{Phase, RequestRecord};
use evalscope_model::time::Timestamp;

use crate::schedule::Arrivals;

/// The first requests, from which the length of the start is taken: so many, or so large a share of
/// those within the longest time.
const FIRST_REQUESTS: f64 = 20.0;
const FIRST_SHARE: f64 = 0.05;

/// The length of the start is twice this percentile of their latencies.
const START_RANK: f64 = 0.9;

/// When the start of a load is over.
#[derive(Debug)]
pub(super) struct Start {
    /// Slots of a closed loop; `None`: arrivals.
    pub(super) slots: Option<u64>,
    /// Of a closed loop: first requests of slots that have ended, and when the last of them did.
    ended: u64,
    last: Timestamp,
    /// Of arrivals: how many of the first are looked at, and the moment they were due with their
    /// latencies.
    first: usize,
    latencies: Vec<(u64, f64)>,
    warmup: u64,
    /// When the first request was due.
    pub(super) began: Option<Timestamp>,
    over: Option<Timestamp>,
}

/// The arrivals of a load, for the verdict on whether the server keeps up.
#[derive(Debug)]
pub(super) struct Load {
    arrivals: Arrivals,
    began: Option<Timestamp>,
    coming: Option<Timestamp>,
    window: Option<LoadWindow>,
    spec: RunSpec,
}

impl Start {
    /// The start of this load, of which at most `most_s` seconds are judged.
    pub(super) fn new(spec: &RunSpec, most_s: f64) -> Self {
        let rate_per_s = spec.pacing.rate_per_s();
        let expected = rate_per_s.map_or(0.0, |rate| rate * most_s * FIRST_SHARE);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests"
        )]
        let first = expected.max(FIRST_REQUESTS) as usize;
        Self {
            slots: (rate_per_s.is_none())
                .then(|| spec.concurrency.map_or(1, |slots| slots.get() as u64)),
            ended: 0,
            last: Timestamp::ZERO,
            first,
            latencies: Vec::new(),
            warmup: spec.warmup_requests,
            began: None,
            over: None,
        }
    }

    pub(super) fn ended(&mut self, record: &RequestRecord) {
        let order = match record.phase {
            Phase::Warmup => record.index,
            Phase::Measured => self.warmup + record.index,
        };
        let due = record.times.scheduled;
        if self.began.is_none_or(|began| due < began) {
            self.began = Some(due);
        }
        match self.slots {
            Some(slots) if order < slots => {
                self.ended += 1;
                self.last = self.last.max(record.times.ended);
            }
            None if order < self.first as u64 => {
                let latency_s = record.times.ended.nanos_since(due) as f64 / 1e9;
                self.latencies.push((order, latency_s));
            }
            _ => {}
        }
    }

    /// When the start was over; `None` while it is not. It takes at most `most_s`.
    pub(super) fn over(&mut self, now: Timestamp, most_s: f64) -> Option<Timestamp> {
        if self.over.is_some() {
            return self.over;
        }
        let began = self.began?;
        let latest = after_s(began, most_s);
        let over = match self.slots {
            Some(slots) if self.ended >= slots => Some(self.last),
            None if self.latencies.len() >= self.first => {
                let mut latencies: Vec<f64> = self.latencies.iter().map(|one| one.1).collect();
                latencies.sort_unstable_by(f64::total_cmp);
                Some(after_s(began, 2.0 * quantile(&latencies, START_RANK)))
            }
            _ => None,
        };
        let over = over.map(|over| over.min(latest));
        self.over = over.or_else(|| (latest <= now).then_some(latest));
        self.over.filter(|over| *over <= now)
    }
}

impl Load {
    /// The arrivals of a load; `None` in a closed loop, and of conversations, whose arrivals do not say
    /// when their turns are due.
    pub(super) fn new(spec: &RunSpec) -> Option<Self> {
        let schedule = spec.pacing.schedule()?;
        spec.conversations.is_none().then(|| Self {
            arrivals: Arrivals::new(schedule.clone(), spec.seed),
            began: None,
            coming: None,
            window: None,
            spec: spec.clone(),
        })
    }

    pub(super) fn ended(&mut self, record: &RequestRecord) {
        let due = record.times.scheduled;
        if self.began.is_none() {
            let order = match record.phase {
                Phase::Warmup => record.index,
                Phase::Measured => self.spec.warmup_requests + record.index,
            };
            let mut arrivals = self.arrivals.clone();
            let nth = usize::try_from(order).unwrap_or(usize::MAX);
            let offset = (0..=nth).map_while(|_| arrivals.next_offset()).last();
            let Some(offset) = offset else { return };
            let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
            let began = Timestamp::from_nanos(due.as_nanos().saturating_sub(offset_ns));
            let gaps = self.spec.pacing.schedule().map(|schedule| schedule.gaps);
            self.began = Some(began);
            self.window = gaps.map(|gaps| LoadWindow::new(began, None, gaps));
        }
        if let Some(window) = &mut self.window {
            window.ended(due, record.times.ended, Ended::of(record));
        }
    }

    /// The verdict on the load until this moment.
    pub(super) fn verdict(&mut self, now: Timestamp) -> Option<Saturation> {
        let (began, window) = (self.began?, self.window.as_mut()?);
        loop {
            if self.coming.is_none() {
                self.coming = self
                    .arrivals
                    .next_offset()
                    .map(|offset| began.after(offset));
            }
            match self.coming.filter(|due| *due <= now) {
                Some(due) => window.due(due),
                None => break,
            }
            self.coming = None;
        }
        Some(window.verdict_at(now).0)
    }
}

pub(super) fn after_s(at: Timestamp, seconds: f64) -> Timestamp {
    at.after(Duration::from_secs_f64(seconds.max(0.0)))
}
