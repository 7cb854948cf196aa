//! Owns findings about the load: whether requests were sent when they were due.

use std::num::NonZeroUsize;

use super::finding::{Evidence, Finding, counted, percent};
use super::id::FindingId;

/// Slots that were free for lack of a body, above this share of their time, make a lower load than
/// was asked for.
const FEED_WAIT_SHARE: f64 = 0.01;
/// Below this share of the asked rate the load was another one.
const ACHIEVED_SHARE: f64 = 0.95;

pub(super) fn rate_not_reached(e: &Evidence<'_>) -> Option<Finding> {
    let rate_per_s = e.load.pacing.rate_per_s()?;
    let share = e
        .spacing
        .achieved_share()
        .filter(|share| *share < ACHIEVED_SHARE)?;
    let waited = e.totals.waited_for_slot;
    let why = if waited > 0 {
        let slots = match e.load.concurrency {
            Some(NonZeroUsize::MIN) => "the only slot was busy: raise `--parallel`".to_owned(),
            Some(slots) => format!("all {slots} slots were busy: raise `--parallel`"),
            None => "as many were in flight as this program can hold".to_owned(),
        };
        format!(
            "; {waited} of {} were due while {slots}",
            counted(e.totals.total, "request")
        )
    } else {
        String::new()
    };
    let text = format!(
        "requests were sent at {} of the rate asked for, {rate_per_s} req/s{why}",
        percent(share)
    );
    Some(Finding::new(FindingId::RateNotReached, text))
}

pub(super) fn not_sent(e: &Evidence<'_>) -> Option<Finding> {
    let unsent = e.totals.not_sent;
    (unsent > 0).then(|| {
        let text = format!(
            "{} due but never sent, because no slot was free before the end of the run: latency and \
             TTFT from schedule include only the time they had waited by then, so the true values \
             are longer",
            match unsent {
                1 => "1 request was".to_owned(),
                n => format!("{n} requests were"),
            }
        );
        Finding::new(FindingId::RequestsNotSent, text)
    })
}

pub(super) fn slow_dataset(e: &Evidence<'_>) -> Option<Finding> {
    let waited_s = e.client.feed_wait_s?;
    let slots_s = e.totals.duration_s() * e.load.concurrency.map_or(1, NonZeroUsize::get) as f64;
    let share = (slots_s > 0.0).then(|| (waited_s / slots_s).min(1.0))?;
    (share > FEED_WAIT_SHARE).then(|| {
        let text = format!(
            "the dataset cannot keep up: free slots waited {waited_s:.2} s for requests to send, {} of \
             the time of all slots; latencies are right, but the load was lower than asked for",
            percent(share)
        );
        Finding::new(FindingId::DatasetTooSlow, text)
    })
}

#[cfg(test)]
mod tests {
    use evalscope_model::time::Timestamp;

    use super::super::tests::{Case, none, one};
    use super::*;
    use evalscope_model::plan::Pacing;
    use evalscope_model::profile::Schedule;

    #[test]
    fn a_schedule_that_slips_is_named() {
        let at = |s: u64| Timestamp::from_nanos(s * 1_000_000_000);
        let slip = |last: u64, waited: u64| {
            move |c: &mut Case| {
                c.load.pacing = Pacing::Arrivals(Schedule::poisson(10.0));
                c.spacing.push(at(1), at(1));
                c.spacing.push(at(101), at(last));
                c.totals.waited_for_slot = waited;
            }
        };
        none(slip(104, 900));
        one(
            slip(201, 0),
            FindingId::RateNotReached,
            "at 50 % of the rate asked for, 10 req/s",
        );
        one(
            slip(201, 900),
            FindingId::RateNotReached,
            "900 of 1000 requests were due while all 10 slots were busy",
        );
    }

    #[test]
    fn a_slow_dataset_is_named() {
        let wait = |seconds: f64| {
            move |c: &mut Case| {
                c.totals.first_dispatch = Some(Timestamp::from_nanos(0));
                c.totals.last_end = Some(Timestamp::from_nanos(10_000_000_000));
                c.client.feed_wait_s = Some(seconds);
            }
        };
        none(wait(1.0));
        one(
            wait(25.0),
            FindingId::DatasetTooSlow,
            "the dataset cannot keep up: free slots waited 25.00 s for requests to send, 25 % of",
        );
    }

    #[test]
    fn requests_that_were_never_sent_are_named() {
        one(
            |c| c.totals.not_sent = 242,
            FindingId::RequestsNotSent,
            "242 requests were due but never sent",
        );
    }
}
