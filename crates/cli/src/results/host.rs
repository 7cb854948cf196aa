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
