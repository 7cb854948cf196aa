//! Owns findings about the client's side: its connections and its clocks.

use super::finding::{Evidence, Finding, counted, percent, share};
use super::id::FindingId;

/// New connections above this share cost latency that is not the server's.
const NEW_CONNECTION_SHARE: f64 = 0.10;

pub(super) fn new_connections(e: &Evidence<'_>) -> Option<Finding> {
    // each slot has to open one, and one more after a failure, which drops its own
    let slots = e.load.concurrency?.get() as u64;
    let expected = slots.saturating_add(e.totals.failed());
    let extra = e.totals.new_connections.saturating_sub(expected);
    let share = share(extra, e.totals.total.saturating_sub(expected))
        .filter(|share| *share > NEW_CONNECTION_SHARE)?;
    let text = format!(
        "{} of the requests that could have used an open connection made a new one: the server or a \
         proxy closes connections, so latencies include TCP and TLS handshakes",
        percent(share)
    );
    Some(Finding::new(FindingId::NewConnections, text))
}

pub(super) fn user_clock(e: &Evidence<'_>) -> Option<Finding> {
    let (user, kernel) = (e.totals.user_clock, e.totals.kernel_clock);
    (user > 0).then(|| {
        let which = if kernel == 0 {
            String::new()
        } else {
            format!(" for {user} of {}", counted(user + kernel, "response"))
        };
        let text = format!(
            "arrivals were stamped in user space{which}: the kernel gave no receive times, so a busy \
             client shows in latencies"
        );
        Finding::new(FindingId::UserClock, text)
    })
}

pub(super) fn clock_steps(e: &Evidence<'_>) -> Option<Finding> {
    let steps = e.client.clock_steps;
    (steps > 0).then(|| {
        let text = format!(
            "the wall clock was stepped {} during the run: latencies are unaffected, Unix times may be \
             off",
            counted(steps, "time")
        );
        Finding::new(FindingId::ClockSteps, text)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{none, one};
    use super::*;

    #[test]
    fn connections_beyond_one_for_each_slot_are_counted() {
        none(|c| c.totals.new_connections = 100);
        one(
            |c| c.totals.new_connections = 505,
            FindingId::NewConnections,
            "50 % of the requests that could have used an open connection made a new one",
        );
        // each failure drops its connection
        one(
            |c| {
                c.totals.new_connections = 510;
                c.totals.succeeded -= 500;
                c.totals.streamed -= 500;
                c.totals.input_known -= 500;
            },
            FindingId::RequestsFailed,
            "50 % of the requests failed",
        );
    }

    #[test]
    fn a_missing_kernel_clock_is_named() {
        one(
            |c| (c.totals.user_clock, c.totals.kernel_clock) = (1000, 0),
            FindingId::UserClock,
            "stamped in user space:",
        );
        one(
            |c| c.totals.user_clock = 7,
            FindingId::UserClock,
            "in user space for 7 of 1007 responses",
        );
    }

    #[test]
    fn clock_steps_are_named() {
        one(
            |c| c.client.clock_steps = 2,
            FindingId::ClockSteps,
            "stepped 2 times",
        );
    }
}
