//! Owns the clocks of the simulator: raw monotonic nanoseconds for the truth log, and wall time for
//! the `created` field and the expiry of signed keys.
//!
//! It must not know who asks or why. The monotonic clock is the operating system's own, unshifted,
//! so that another process on the same machine can compare its timestamps with ours.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Now, in raw monotonic nanoseconds.
///
/// On Linux this is `CLOCK_MONOTONIC`, which `std::time::Instant` also uses, so timestamps of
/// different processes on one machine are comparable.
#[cfg(target_os = "linux")]
#[must_use]
pub fn monotonic_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has CLOCK_MONOTONIC");
    let seconds = u64::try_from(now.tv_sec()).expect("the monotonic clock is never negative");
    let nanos = u64::try_from(now.tv_nsec()).expect("the monotonic clock is never negative");
    seconds * 1_000_000_000 + nanos
}

/// Now, in monotonic nanoseconds since the first call in this process.
#[cfg(not(target_os = "linux"))]
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this module is the only reader of the clock"
)]
pub fn monotonic_ns() -> u64 {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(std::time::Instant::now);
    u64::try_from(std::time::Instant::now().duration_since(origin).as_nanos())
        .expect("a process does not run for 584 years")
}

/// What [`monotonic_ns`] was or will be at this moment. Differences between moments are exact.
#[must_use]
pub(crate) fn monotonic_ns_at(at: Instant) -> u64 {
    /// The same moment on both clocks.
    static BOTH: OnceLock<(Instant, u64)> = OnceLock::new();
    let (moment, moment_ns) = *BOTH.get_or_init(|| {
        // The narrowest of several pairs: a thread may be interrupted between two readings.
        let pairs = std::array::from_fn::<_, 16, _>(|_| {
            let before_ns = monotonic_ns();
            let moment = Instant::now();
            (monotonic_ns() - before_ns, moment, before_ns)
        });
        let narrowest = pairs.iter().min_by_key(|(width_ns, ..)| *width_ns);
        let (_, moment, before_ns) = *narrowest.expect("16 pairs");
        (moment, before_ns)
    });
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match at.checked_duration_since(moment) {
        Some(later) => moment_ns.saturating_add(ns(later)),
        None => moment_ns.saturating_sub(ns(moment - at)),
    }
}

/// Now, in milliseconds since the Unix epoch; 0 on a machine whose clock is set before it.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this module is the only reader of the clock"
)]
pub fn wall_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).expect("the clock is not 584 million years ahead")
        })
}

/// Now, in whole seconds since the Unix epoch; 0 on a machine whose clock is set before it.
#[must_use]
pub fn wall_seconds() -> u64 {
    wall_ms() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_clock_never_goes_back() {
        let stamps: Vec<u64> = (0..1000).map(|_| monotonic_ns()).collect();
        assert!(stamps.is_sorted());
    }

    #[test]
    fn moments_have_their_stamp() {
        let before_ns = monotonic_ns();
        let at = Instant::now();
        let after_ns = monotonic_ns();
        let day = Duration::from_hours(24);
        let day_ns = 24 * 3_600_000_000_000;
        let at_ns = monotonic_ns_at(at);
        // The two clocks are compared once, to within the time of a reading.
        assert!((before_ns - 1_000_000..=after_ns + 1_000_000).contains(&at_ns));
        assert_eq!(monotonic_ns_at(at + day), at_ns + day_ns);
        assert_eq!(monotonic_ns_at(at - Duration::from_nanos(7)), at_ns - 7);
    }
}
