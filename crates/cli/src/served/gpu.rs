//! Owns what `nvidia-smi` reports about GPUs: how many a program may use, and how much GPU memory its
//! process tree uses.
//!
//! The tool and not its library: a statically linked binary cannot load a library at run time.
//! It must not know what is served.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use evalscope_model::time::{RunClock, Timestamp};
use tokio_util::sync::CancellationToken;

use super::family::belongs;
use crate::wait;

/// The tool's file.
pub(super) const TOOL: &str = "nvidia-smi";

/// Time between two queries: one takes up to a second of CPU time with many GPUs.
const EVERY: Duration = Duration::from_secs(2);

/// How long the tool may take. The first may take seconds, where nothing keeps the
/// driver loaded; one of a broken driver never comes.
const LIMIT: Duration = Duration::from_secs(20);

/// How often it is looked whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// What the tool prints when it is asked so; `None` too when that takes longer than `limit`, or is
/// no longer wanted.
fn ask(
    tool: &Path,
    arguments: &[&str],
    limit: Duration,
    unwanted: &dyn Fn() -> bool,
) -> Option<String> {
    let mut command = Command::new(tool);
    evalscope_plugin::withhold(&mut command, &[]);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // a Ctrl-C in a terminal is not meant for it: requests drain
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (told, heard) = sync_channel(1);
    let read = move || {
        let mut answer = Vec::new();
        let whole = stdout.read_to_end(&mut answer).is_ok();
        let _ = told.send(whole.then_some(answer));
    };
    // where there is no thread, nothing is heard
    let _ = std::thread::Builder::new()
        .name("evalscope-gpu-read".to_owned())
        .spawn(read);
    let clock = RunClock::start();
    let is_over = || unwanted() || clock.now().since(Timestamp::ZERO) >= limit;
    let answer = loop {
        match heard.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) if !is_over() => {}
            answer => break answer.ok().flatten(),
        }
    };
    let ended_well = ended_well(&mut child, is_over);
    let answer = answer.filter(|_| ended_well)?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Wait for the end of the tool, or make one where nobody may wait any longer.
fn ended_well(child: &mut Child, is_over: impl Fn() -> bool) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if !is_over() => std::thread::park_timeout(LOOK),
            _ => break,
        }
    }
    end(child);
    // one that hangs in the driver ends only when the driver lets it: it is not waited for long
    for _ in 0..50 {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::park_timeout(LOOK);
    }
    false
}

/// With what it may have started: the tool may be a script around the tool.
#[cfg(unix)]
fn end(child: &mut Child) {
    // it has not been waited for: the number is still its own
    let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
}

#[cfg(not(unix))]
fn end(child: &mut Child) {
    let _ = child.kill();
}

/// How many GPUs a program may use; `None` for none. `visible` is `CUDA_VISIBLE_DEVICES`.
pub(super) fn count(
    visible: Option<&str>,
    tool: Option<&Path>,
    unwanted: &dyn Fn() -> bool,
) -> Option<usize> {
    let count = match visible {
        Some(visible) => named(visible),
        None => listed(&ask(tool?, &["--list-gpus"], LIMIT, unwanted)?),
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

/// Looks now and then, for as long as it lives, at the memory of all that has come of a supervisor.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    /// The most that was seen, MiB; 0 for nothing.
    pub(super) peak_mib: Arc<AtomicU64>,
    done: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// `group` is that of the supervised program.
    pub(super) fn start(tool: PathBuf, supervisor: u32, group: u32) -> Self {
        let (peak_mib, done) = (Arc::<AtomicU64>::default(), CancellationToken::new());
        let (peak, ended) = (Arc::clone(&peak_mib), done.clone());
        let look = move || {
            let is_ended = || ended.is_cancelled();
            loop {
                let query = [
                    "--query-compute-apps=pid,used_memory",
                    "--format=csv,noheader,nounits",
                ];
                // a tool that does not work now will not work later
                let Some(lines) = ask(&tool, &query, LIMIT, &is_ended) else {
                    break;
                };
                let ours = |process| belongs(process, supervisor, group);
                if let Some(mib) = taken_mib(&lines, ours) {
                    peak.fetch_max(mib, Ordering::Relaxed);
                }
                if wait::stopped_within(&ended, EVERY) {
                    break;
                }
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
        self.done.cancel();
        // so that the tool does not outlive the command
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
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
            assert_eq!(count(Some(visible), None, &|| false), want, "{visible:?}");
        }
        let without = |tool| count(None, tool, &|| false);
        assert_eq!(without(None), None);
        assert_eq!(without(Some(Path::new("/nowhere/nvidia-smi"))), None);
    }

    #[test]
    fn slices_are_no_gpus() {
        let lines = "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c)\n  \
                     MIG 1g.5gb Device 0: (UUID: MIG-c6d4f1ef)\nGPU 1: NVIDIA A100 (UUID: GPU-1)\n";
        assert_eq!(listed(lines), 2);
    }

    #[test]
    fn memory_of_our_processes() {
        let lines = "101, 4096\n102, 512\n101, 1024\n7, 9000\n103, [N/A]\n\
                     104, [Insufficient Permissions]\n[Unknown Error], 7\nNo running processes\n";
        assert_eq!(taken_mib(lines, |process| process > 100), Some(5632));
        assert_eq!(taken_mib(lines, |process| process > 102), None);
        assert_eq!(taken_mib("", |_| true), None);
    }

    #[cfg(unix)]
    #[test]
    fn an_answer_that_does_not_come() {
        use nix::{sys::signal::kill, unistd::Pid};
        let shell = Path::new("/bin/sh");
        let says = |script| ask(shell, &["-c", script], LIMIT, &|| false);
        assert_eq!(says("echo fine").as_deref(), Some("fine\n"));
        assert_eq!(says("echo rubbish; exit 9"), None);
        assert_eq!(says("echo rubbish; kill -9 $$"), None);
        let hangs = ["-c", "echo early; sleep 1000"];
        assert_eq!(ask(shell, &hangs, Duration::ZERO, &|| false), None);

        let note = std::env::temp_dir().join(format!("evalscope-gpu-{}", std::process::id()));
        let script = format!(
            "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
            note.display()
        );
        let found_out = || note.exists();
        assert_eq!(ask(shell, &["-c", &script], LIMIT, &found_out), None);
        let hung: i32 = std::fs::read_to_string(&note)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        std::fs::remove_file(&note).unwrap();
        let is_zombie = || {
            let stat = std::fs::read_to_string(format!("/proc/{hung}/stat"));
            stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        // nobody may ever wait for it, where no init does
        while kill(Pid::from_raw(hung), None).is_ok() && !is_zombie() {
            std::thread::park_timeout(LOOK);
        }
    }
}
