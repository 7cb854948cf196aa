//! Owns what is recorded of the machine that measures.
//!
//! It must not know what is measured on the machine.

use std::num::NonZeroUsize;

use evalscope_report::Host;

/// This machine.
pub(crate) fn this() -> Host {
    let (name, os) = system();
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    Host {
        name,
        os,
        architecture: std::env::consts::ARCH.to_owned(),
        cpus: cpus as u64,
    }
}

/// The memory of this machine; `None` where it is not known.
pub(crate) fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Its name in the network, and the operating system with its release.
#[cfg(unix)]
fn system() -> (Option<String>, String) {
    nix::sys::utsname::uname().map_or_else(
        |_| (None, std::env::consts::OS.to_owned()),
        |names| {
            let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
            let os = format!("{} {}", text(names.sysname()), text(names.release()));
            let name = text(names.nodename());
            (Some(name).filter(|name| !name.is_empty()), os)
        },
    )
}

#[cfg(not(unix))]
fn system() -> (Option<String>, String) {
    (None, std::env::consts::OS.to_owned())
}
