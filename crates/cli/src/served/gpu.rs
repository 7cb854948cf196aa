//! Owns what NVIDIA's own tool says about GPUs: how many a program may use, and how much of their
//! memory a group of processes has taken.
//!
//! `nvidia-smi` and not its library: a statically linked binary can load no library at run time.
//! It must not know what is served.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The tool's file.
pub(super) const TOOL: &str = "nvidia-smi";

/// Time between two looks: one takes up to a second of a core where there are many GPUs.
const EVERY: Duration = Duration::from_secs(2);

/// What the tool prints when it is asked so.
fn ask(tool: &Path, arguments: &[&str]) -> Option<String> {
    let asked = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let answer = asked.ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// How many GPUs a program may use; `None` for none. `visible` is `CUDA_VISIBLE_DEVICES`.
pub(super) fn count(visible: Option<&str>, tool: Option<&Path>) -> Option<usize> {
    let count = match visible {
        Some(visible) => named(visible),
        None => listed(&ask(tool?, &["--list-gpus"])?),
    };
    (count > 0).then_some(count)
}

/// CUDA sees those before the first entry that is no device.
fn named(visible: &str) -> usize {
    let entries = visible.split(',').map(str::trim);
    entries
        .take_while(|entry| !entry.is_empty() && !entry.starts_with('-') && *entry != "NoDevFiles")
        .count()
}

/// A line for each GPU; its slices are indented below it.
fn listed(lines: &str) -> usize {
    lines
        .lines()
        .filter(|line| line.starts_with("GPU "))
        .count()
}

/// MiB of all processes that are ours, on all GPUs; `None` when none is there.
fn taken_mib(lines: &str, ours: impl Fn(u32) -> bool) -> Option<u64> {
    let mut sums = lines.lines().filter_map(|line| {
        let (process, mib) = line.split_once(',')?;
        let process = process.trim().parse().ok()?;
        // "[N/A]" where the driver does not say
        let mib = mib.trim().parse::<u64>().ok()?;
        ours(process).then_some(mib)
    });
    let first = sums.next()?;
    Some(first + sums.sum::<u64>())
}

#[cfg(unix)]
fn is_member(process: u32, group: u32) -> bool {
    use nix::unistd::{Pid, getpgid};
    let process = Pid::from_raw(process.cast_signed());
    getpgid(Some(process)).is_ok_and(|of| of.as_raw() == group.cast_signed())
}

#[cfg(not(unix))]
fn is_member(process: u32, group: u32) -> bool {
    process == group
}

/// Looks at a group's memory now and then, for as long as it lives.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    /// The most that was seen, MiB; 0 for nothing.
    pub(super) peak_mib: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    pub(super) fn start(tool: PathBuf, group: u32) -> Self {
        let (peak_mib, done) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (peak, ended) = (Arc::clone(&peak_mib), Arc::clone(&done));
        let look = move || {
            while !ended.load(Ordering::Acquire) {
                let query = [
                    "--query-compute-apps=pid,used_memory",
                    "--format=csv,noheader,nounits",
                ];
                // a tool that does not work now will not work later
                let Some(lines) = ask(&tool, &query) else {
                    break;
                };
                if let Some(mib) = taken_mib(&lines, |process| is_member(process, group)) {
                    peak.fetch_max(mib, Ordering::Relaxed);
                }
                std::thread::park_timeout(EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("evalscope-gpu".to_owned());
        Self {
            peak_mib,
            done,
            // without the thread the memory stays unknown, and all else is as well as ever
            thread: thread.spawn(look).ok(),
        }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        // not waited for: a broken driver may hold the tool for ever
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_devices() {
        for (visible, want) in [
            ("0", Some(1)),
            ("0,1, 3", Some(3)),
            ("GPU-8932f937,MIG-GPU-5c89", Some(2)),
            ("0,-1,2", Some(1)),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(count(Some(visible), None), want, "{visible:?}");
        }
        assert_eq!(count(None, None), None);
        assert_eq!(count(None, Some(Path::new("/nowhere/nvidia-smi"))), None);
    }

    #[test]
    fn slices_are_no_gpus() {
        let lines = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c)\n  \
                     MIG 1g.5gb Device 0: (UUID: MIG-c6d4f1ef)\nGPU 1: NVIDIA A100 (UUID: GPU-1)\n";
        assert_eq!(listed(lines), 2);
    }

    #[test]
    fn memory_of_our_processes() {
        let lines = "101, 4096\n102, 512\n101, 1024\n7, 9000\n103, [N/A]\n";
        assert_eq!(taken_mib(lines, |process| process > 100), Some(5632));
        assert_eq!(taken_mib(lines, |process| process == 103), None);
        assert_eq!(taken_mib("", |_| true), None);
    }
}
