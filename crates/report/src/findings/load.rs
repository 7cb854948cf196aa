//! Owns findings about the load: whether requests were sent when they were due.

use std::num::NonZeroUsize;

use evalscope_model::metrics::{LoadVerdict, Metric, Undecided, Verdict};
use evalscope_model::plan::{StoppedBy, WhenFull};

use super::finding::{Evidence, Finding, counted, percent, share};
use super::id::FindingId;
use crate::figures::{Judged, LoadFigures};

/// Slots that were free for lack of a body, above this share of their time, make a lower load than
/// was asked for.
const FEED_WAIT_SHARE: f64 = 0.01;
/// Below this share of the asked rate the load was another one.
const ACHIEVED_SHARE: f64 = 0.95;
/// A dispatch lag above this (p99) is late, and so is one above this share of the mean latency.
const LATE_MS: f64 = 10.0;
const LATE_SHARE: f64 = 0.20;

/// The server did not keep up with an open loop: figures then depend on how long it lasted.
pub(super) fn is_saturated(e: &Evidence<'_>) -> bool {
    let verdict = e.figures.and_then(LoadFigures::verdict);
    verdict == Some(LoadVerdict::Saturated)
}

/// Which rate a verdict is about, if the profile has several.
fn of_segment(judged: &Judged) -> String {
    let segment = judged.segment.map(|at| format!(" in segment {}", at + 1));
    segment.unwrap_or_default()
}

pub(super) fn server_saturated(e: &Evidence<'_>) -> Option<Finding> {
    let judged = e.figures?.judged?;
    let saturation = judged.saturation;
    if saturation.verdict != LoadVerdict::Saturated {
        return None;
    }
    let excess = saturation.excess?;
    let can_serve = saturation.capacity_per_s.map_or_else(String::new, |rate| {
        format!("; it can serve about {rate:.1} requests/s")
    });
    let text = format!(
        "the server served {} less than came{}: latencies grow as long as the run lasts, so its \
         percentiles say how long it was, not how fast the server is{can_serve}; lower `--rate`",
        percent(excess),
        of_segment(&judged)
    );
    Some(Finding::new(FindingId::ServerSaturated, text))
}

pub(super) fn server_undecided(e: &Evidence<'_>) -> Option<Finding> {
    let judged = e.figures?.judged?;
    let why = match judged.saturation.undecided? {
        Undecided::TooShort { needs_s } => format!(
            "latencies are so long that the start took most of the time; let the load last at least \
             {needs_s:.0} s"
        ),
        Undecided::TooFew { needs_requests } => format!(
            "the requests are too few to tell a small excess from chance; send at least \
             {needs_requests}"
        ),
        Undecided::NearCapacity => {
            "the load is close to what the server can serve; lower or raise `--rate`".to_owned()
        }
        Undecided::NoLatency => "no request has a latency; see the errors".to_owned(),
        Undecided::ClientLimited => "this client was the limit; see its verdict".to_owned(),
    };
    let text = format!(
        "whether the server kept up{} is undecided: {why}",
        of_segment(&judged)
    );
    Some(Finding::new(FindingId::LoadUndecided, text))
}

pub(super) fn cap_reached(e: &Evidence<'_>) -> Option<Finding> {
    let figures = e.figures?;
    let at_s = figures.cap_reached_s?;
    // without the flag the limit is the machine's; those that wait are not told from those in flight
    let (most, raise) = match e.load.open_loop.max_in_flight {
        Some(most) => (format!(" ({most})"), "`--max-in-flight`"),
        None => (
            String::new(),
            "the limits of this machine on open files (`ulimit -n`) or ports (`net.ipv4.ip_local_port_range`)",
        ),
    };
    let then = match e.load.open_loop.when_full {
        WhenFull::Wait => format!(
            "from then on {} for room",
            match figures.waited {
                1 => "1 request waited".to_owned(),
                n => format!("{n} requests waited"),
            }
        ),
        WhenFull::Drop => "requests that were due then were not sent".to_owned(),
        WhenFull::Stop => "the run ended there".to_owned(),
    };
    let text = format!(
        "from {at_s:.1} s on this was no open loop: as many requests were in flight as may be{most}, and \
         {then}; lower `--rate`, or raise {raise}"
    );
    Some(Finding::new(FindingId::InFlightCapReached, text))
}

pub(super) fn stopped_by_load(e: &Evidence<'_>) -> Option<Finding> {
    let why = match e.figures?.stopped_by? {
        StoppedBy::InFlightCap => "as many requests were in flight as may be (`--when-full stop`)",
        // a probe of a search is as long as it has to be
        StoppedBy::Decided => return None,
        StoppedBy::Saturated => "the server did not keep up (`--stop-when-saturated`)",
    };
    let text = format!("the run ended early: {why}");
    Some(Finding::new(FindingId::StoppedByLoad, text))
}

pub(super) fn requests_shed(e: &Evidence<'_>) -> Option<Finding> {
    let shed = e.totals.shed;
    let of = shed + e.totals.total + e.totals.unfinished;
    let share = share(shed, of)?;
    (shed > 0).then(|| {
        let text = format!(
            "{} because as many were in flight as may be, {} of {of}: no latency includes such requests, \
             but goodput and `--max-error-rate` do",
            match shed {
                1 => "1 request was not sent".to_owned(),
                n => format!("{n} requests were not sent"),
            },
            percent(share)
        );
        Finding::new(FindingId::RequestsShed, text)
    })
}

pub(super) fn requests_unfinished(e: &Evidence<'_>) -> Option<Finding> {
    let unfinished = e.totals.unfinished - e.totals.cancelled;
    (unfinished > 0).then(|| {
        let waited = e.load.drain_timeout_s.map_or_else(String::new, |seconds| {
            format!(" {seconds} s after the last was sent (`--drain-timeout`)")
        });
        let text = format!(
            "{} still in flight{waited}: no latency includes such requests, which take longer than most, so \
             percentiles are too low",
            match unfinished {
                1 => "1 request was".to_owned(),
                n => format!("{n} requests were"),
            }
        );
        Finding::new(FindingId::RequestsUnfinished, text)
    })
}

/// Where requests waited for room, and where the client was the limit, that has been said.
pub(super) fn sent_late(e: &Evidence<'_>) -> Option<Finding> {
    let figures = e.figures.filter(|_| e.load.is_open_loop())?;
    if figures.cap_reached_s.is_some() || e.client.verdict == Verdict::ClientLimited {
        return None;
    }
    let lag_ms = e.metric(Metric::DispatchLag).p99?;
    let latency_ms = e.metric(Metric::Latency).mean? * 1e3;
    (lag_ms > LATE_MS || lag_ms > LATE_SHARE * latency_ms).then(|| {
        let text = format!(
            "1 % of the requests were sent {lag_ms:.1} ms or more after they were due (limits: \
             {LATE_MS} ms, and {:.0} % of the mean latency, {latency_ms:.1} ms): the load was less even \
             than asked for; use a less busy machine, or a lower `--rate`",
            LATE_SHARE * 100.0
        );
        Finding::new(FindingId::SentLate, text)
    })
}

pub(super) fn rate_not_reached(e: &Evidence<'_>) -> Option<Finding> {
    let profile = &e.load.pacing.schedule()?.profile;
    let rate = match profile.constant_per_s() {
        Some(rate_per_s) => rate_per_s.to_string(),
        None => format!("{:.1}", profile.mean_per_s()),
    };
    let share = e
        .spacing
        .achieved_share()
        .filter(|share| *share < ACHIEVED_SHARE)?;
    let waited = e.totals.waited_for_slot;
    let why = if waited > 0 {
        let slots = match e.load.concurrency {
            Some(NonZeroUsize::MIN) => "the only slot was busy: raise `--parallel`".to_owned(),
            Some(slots) => format!("all {slots} slots were busy: raise `--parallel`"),
            None => "as many were in flight as may be".to_owned(),
        };
        format!(
            "; {waited} of {} were due while {slots}",
            counted(e.totals.total, "request")
        )
    } else {
        String::new()
    };
    let text = format!(
        "requests were sent at {} of the rate asked for, {rate} req/s{why}",
        percent(share)
    );
    Some(Finding::new(FindingId::RateNotReached, text))
}

pub(super) fn not_sent(e: &Evidence<'_>) -> Option<Finding> {
    let unsent = e.totals.not_sent;
    let waited = e.figures.is_some_and(|figures| figures.waited > 0);
    let why = match e.load.concurrency {
        Some(_) => "because no slot was free before the end of the run",
        None if waited => "because there was no room for them before the end of the run",
        None => "because the run ended first",
    };
    (unsent > 0).then(|| {
        let text = format!(
            "{} due but never sent, {why}: latency and TTFT from schedule include only the time they had \
             waited by then, so the true values are longer",
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
    use crate::figures::InFlight;
    use evalscope_model::metrics::{Interval, Saturation};
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

    fn figures() -> LoadFigures {
        LoadFigures {
            asked_rate_per_s: Some(20.0),
            drawn_rate_per_s: Some(20.1),
            sent_rate_per_s: Some(20.1),
            sent_in_second: None,
            completed_per_s: Some(18.2),
            in_flight: Some(InFlight {
                mean: 30.0,
                max: 64,
                end: 60,
            }),
            drain_s: Some(3.0),
            judged: None,
            cap_reached_s: None,
            waited: 0,
            stopped_by: None,
        }
    }

    fn open(change: impl Fn(&mut Case, &mut LoadFigures)) -> impl Fn(&mut Case) {
        move |c| {
            c.load.concurrency = None;
            c.load.pacing = Pacing::Arrivals(Schedule::poisson(20.0));
            let mut own = figures();
            change(c, &mut own);
            c.figures = Some(own);
        }
    }

    fn judged(verdict: LoadVerdict, undecided: Option<Undecided>) -> Judged {
        let saturated = verdict == LoadVerdict::Saturated;
        Judged {
            segment: None,
            saturation: Saturation {
                verdict,
                undecided,
                excess: Some(0.09),
                excess_ci: Some(Interval::new(0.05, 0.13)),
                since_s: saturated.then_some(4.0),
                capacity_per_s: saturated.then_some(18.2),
                steady_from_s: Some(2.0),
                requests: 900,
            },
        }
    }

    #[test]
    fn a_server_that_did_not_keep_up_is_named() {
        none(open(|_, own| {
            own.judged = Some(judged(LoadVerdict::KeptUp, None));
        }));
        one(
            open(|_, own| own.judged = Some(judged(LoadVerdict::Saturated, None))),
            FindingId::ServerSaturated,
            "the server served 9.0 % less than came: latencies grow as long as the run lasts, so its \
             percentiles say how long it was, not how fast the server is; it can serve about 18.2",
        );
        for (why, words) in [
            (
                Undecided::TooShort { needs_s: 75.0 },
                "let the load last at least 75 s",
            ),
            (
                Undecided::TooFew {
                    needs_requests: 3080,
                },
                "send at least 3080",
            ),
            (
                Undecided::NearCapacity,
                "close to what the server can serve",
            ),
            (Undecided::NoLatency, "no request has a latency"),
            (Undecided::ClientLimited, "this client was the limit"),
        ] {
            one(
                open(move |_, own| own.judged = Some(judged(LoadVerdict::Undecided, Some(why)))),
                FindingId::LoadUndecided,
                words,
            );
        }
    }

    #[test]
    fn a_cap_is_never_silent() {
        let capped = |when_full| {
            open(move |c, own| {
                c.load.open_loop.when_full = when_full;
                c.load.open_loop.max_in_flight = NonZeroUsize::new(64);
                own.cap_reached_s = Some(41.23);
                own.waited = 12;
            })
        };
        one(
            capped(WhenFull::Wait),
            FindingId::InFlightCapReached,
            "from 41.2 s on this was no open loop: as many requests were in flight as may be (64), and from then on 12 \
             requests waited for room",
        );
        one(
            capped(WhenFull::Drop),
            FindingId::InFlightCapReached,
            "requests that were due then were not sent",
        );
        one(
            open(|_, own| own.stopped_by = Some(StoppedBy::Saturated)),
            FindingId::StoppedByLoad,
            "the server did not keep up (`--stop-when-saturated`)",
        );
        one(
            open(|c, _| c.totals.shed = 250),
            FindingId::RequestsShed,
            "250 requests were not sent because as many were in flight as may be, 20 % of 1250",
        );
    }

    #[test]
    fn requests_that_were_given_up_are_named() {
        let given_up = |unfinished, cancelled| {
            open(move |c, _| {
                c.totals.unfinished = unfinished;
                c.totals.cancelled = cancelled;
                c.load.drain_timeout_s = Some(30.0);
            })
        };
        none(given_up(5, 5));
        one(
            given_up(5, 2),
            FindingId::RequestsUnfinished,
            "3 requests were still in flight 30 s after the last was sent (`--drain-timeout`)",
        );
    }

    #[test]
    fn late_sends_are_named() {
        let late = |lag_ms, latency_s| {
            open(move |c, _| {
                c.metric(Metric::DispatchLag).p99 = Some(lag_ms);
                c.metric(Metric::Latency).mean = Some(latency_s);
            })
        };
        none(late(9.9, 1.0));
        one(late(10.1, 1.0), FindingId::SentLate, "sent 10.1 ms or more");
        none(late(1.9, 0.01));
        one(
            late(2.1, 0.01),
            FindingId::SentLate,
            "20 % of the mean latency, 10.0 ms",
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
