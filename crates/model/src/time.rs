//! Owns the run's clock: one wall-clock anchor, and monotonic nanoseconds from there.
//!
//! It must not know what is being timed. Everything else in the workspace asks this module for the
//! time (`clippy.toml` forbids the standard clocks), so that a step of the wall clock can never
//! distort an interval.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of a run: nanoseconds since the run's clock started.
///
/// Monotonic and never negative. Moments of different runs are not comparable.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment the clock started.
    pub const ZERO: Self = Self(0);

    /// The moment `nanos` nanoseconds after the clock started.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Nanoseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The moment `duration` after `self`, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.0 as f64 / 1e9)
    }
}

/// The clock of one run: its starting point on both time scales.
///
/// On Linux the monotonic scale is `CLOCK_MONOTONIC`, which all processes of the machine share;
/// elsewhere it starts with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunClock {
    /// Unix time of the start, nanoseconds.
    pub wall_start_ns: u64,
    /// The monotonic clock's reading at the start, nanoseconds.
    pub monotonic_start_ns: u64,
}

impl RunClock {
    /// Start a clock now.
    #[must_use]
    pub fn start() -> Self {
        let monotonic_start_ns = monotonic_ns();
        Self {
            wall_start_ns: wall_ns(),
            monotonic_start_ns,
        }
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at_monotonic(monotonic_ns())
    }

    /// The moment at which the raw monotonic clock showed `nanos`.
    #[must_use]
    pub const fn at_monotonic(&self, nanos: u64) -> Timestamp {
        Timestamp(nanos.saturating_sub(self.monotonic_start_ns))
    }

    /// Unix nanoseconds of a moment: the anchor plus the monotonic distance.
    #[must_use]
    pub const fn unix_ns(&self, at: Timestamp) -> u64 {
        self.wall_start_ns.saturating_add(at.0)
    }

    /// Unix seconds of a moment. A double represents present times to about 0.24 µs.
    #[must_use]
    pub fn unix_seconds(&self, at: Timestamp) -> f64 {
        let ns = self.unix_ns(at);
        (ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9
    }
}

/// The raw monotonic clock, nanoseconds.
#[cfg(target_os = "linux")]
#[must_use]
pub fn monotonic_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
    timespec_ns(now.tv_sec(), now.tv_nsec())
}

/// The raw monotonic clock, nanoseconds since the first call.
#[cfg(not(target_os = "linux"))]
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the only place allowed to")]
pub fn monotonic_ns() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The wall clock, Unix nanoseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the only place allowed to")]
pub fn wall_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Unix time in seconds, with a fraction or without, as nanoseconds; `None` for any other text, and for a
/// time before 1970 or after 2554.
///
/// ```
/// use evalscope_model::time::parse_unix_s;
/// assert_eq!(parse_unix_s("1795623158.25"), Some(1_795_623_158_250_000_000));
/// assert_eq!(parse_unix_s("7"), Some(7_000_000_000));
/// assert_eq!(parse_unix_s("7.1234567891"), Some(7_123_456_789));
/// assert_eq!(parse_unix_s("-7"), None);
/// assert_eq!(parse_unix_s("7."), None);
/// ```
#[must_use]
pub fn parse_unix_s(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let nanos: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let seconds: u64 = whole.parse().ok()?;
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(nanos.parse().ok()?)
}

/// A `timespec` after 1970 as nanoseconds; 0 for a time before.
#[must_use]
pub fn timespec_ns(seconds: i64, nanos: i64) -> u64 {
    u64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_seconds_keep_microseconds() {
        let clock = RunClock {
            wall_start_ns: 1_700_000_000_123_456_789,
            monotonic_start_ns: 5,
        };
        let at = clock.at_monotonic(5 + 876_543_211);
        assert_eq!(clock.unix_ns(at), 1_700_000_001_000_000_000);
        assert!((clock.unix_seconds(at) - 1_700_000_001.0).abs() < 1e-6);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let clock = RunClock::start();
        let mut last = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}
