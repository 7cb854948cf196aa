//! Owns the few other things that the transport needs from the operating system: the limit on open
//! files, CPU time and memory, and a timer finer than the runtime's.

use std::time::Duration;

use evalscope_model::time::{RunClock, Timestamp};

/// Raise this process's limit of open files as far as possible. Returns the limit now in force;
/// `None` if the system has none.
#[cfg(unix)]
#[must_use]
pub fn raise_open_files_limit() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() {
        return Some(hard);
    }
    Some(soft)
}

/// Raise this process's limit of open files as far as possible. Returns the limit now in force;
/// `None` if the system has none.
#[cfg(not(unix))]
#[must_use]
pub fn raise_open_files_limit() -> Option<u64> {
    None
}

/// Ports that connections to one address can have on this machine; `None` if unknown.
#[must_use]
pub fn local_ports() -> Option<usize> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace();
    let (first, last) = (ends.next()?, ends.next()?);
    let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    Some(last.checked_sub(first)? + 1)
}

/// CPU time of the calling thread, nanoseconds; 0 if unknown.
#[cfg(unix)]
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |at| {
        evalscope_model::time::timespec_ns(at.tv_sec(), at.tv_nsec())
    })
}

/// CPU time of the calling thread, nanoseconds; 0 if unknown.
#[cfg(not(unix))]
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    0
}

/// Peak resident memory of this program, bytes. Unlike the value of `getrusage`, it excludes what
/// ran in this process before `exec`.
#[cfg(target_os = "linux")]
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(not(target_os = "linux"))]
fn peak_memory() -> Option<u64> {
    None
}

/// CPU time (user and system, seconds) and peak resident memory (bytes) of this process; `None` if
/// unknown.
#[cfg(unix)]
#[must_use]
pub fn process_usage() -> Option<(f64, u64)> {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    // macOS reports bytes, other systems KiB
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    let peak = u64::try_from(usage.max_rss()).unwrap_or(0) * unit;
    let peak = peak_memory().unwrap_or(peak);
    Some((
        seconds(usage.user_time()) + seconds(usage.system_time()),
        peak,
    ))
}

/// CPU time (user and system, seconds) and peak resident memory (bytes) of this process; `None` if
/// unknown.
#[cfg(not(unix))]
#[must_use]
pub fn process_usage() -> Option<(f64, u64)> {
    None
}

/// The runtime's timers have a resolution of one millisecond and round up.
const COARSE: Duration = Duration::from_millis(3);

/// Sleep until a moment, accurate to about fifty microseconds: the runtime's timer alone would
/// shift arrivals by up to a millisecond.
///
/// The last milliseconds block the thread, which must have nothing else to do.
pub async fn sleep_until(clock: &RunClock, at: Timestamp) {
    let left = at.since(clock.now());
    if left > COARSE {
        tokio::time::sleep(left.saturating_sub(COARSE)).await;
    }
    let left = at.since(clock.now());
    if !left.is_zero() {
        #[expect(
            clippy::disallowed_methods,
            reason = "the runtime's timer is too coarse"
        )]
        std::thread::sleep(left);
    }
}
