//! Owns the clocks of the simulator: raw monotonic nanoseconds for the truth log, and wall time for
//! the `created` field and the expiry of signed keys.
//!
//! It must not know who asks or why. The monotonic clock is the operating system's own, unshifted,
//! so that another process on the same machine can compare its timestamps with ours.

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
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    u64::try_from(Instant::now().duration_since(origin).as_nanos())
        .expect("a process does not run for 584 years")
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
}
