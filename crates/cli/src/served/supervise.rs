//! Owns ending a served program: the hidden subcommand `__supervise` runs it in its own process group,
//! and ends that group when the pipe on stdin is closed. The command that needs the server holds the
//! other end of the pipe, so the kernel closes it however that command ends, `kill -9` included; a
//! signal handler would miss that, and `PR_SET_PDEATHSIG` would only reach the program and not the
//! processes it has started.
//!
//! On Linux, processes that have left the group end too: orphans become children of this process, so
//! the whole process tree of the program is below it, in any session.
//!
//! It must not know which program it is, nor what a load test is. On stdout it writes [`STARTED`] with
//! the group, then [`ENDED`] or [`FAILED`] with the reason; the program's output goes to its stderr.

use std::ffi::OsString;
use std::io::Read;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::console;

/// Before the number of the process group.
pub(super) const STARTED: &str = "started ";
/// Before the exit status.
pub(super) const ENDED: &str = "ended ";
/// Before the reason why nothing was started.
pub(super) const FAILED: &str = "failed ";

/// How long all of them may take to end after SIGTERM: a server has memory of GPUs to give back.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// How long the kernel may take after SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How often those who are told to end are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Run a program, and end it with all that it has started when stdin ends.
#[derive(clap::Args, Debug)]
pub(crate) struct SuperviseArgs {
    /// The program and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Serve until the program ends, stdin ends, or a signal comes.
pub(crate) fn run(args: SuperviseArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot supervise a program")?;
    runtime.block_on(supervise(args.command))?;
    Ok(ExitCode::SUCCESS)
}

async fn supervise(command: Vec<OsString>) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().expect("clap wants at least one");
    let stopped = stop_signals()?;
    let abandoned = end_of_stdin()?;
    let deaths = orphans::adopt()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .stderr(Stdio::inherit());
    #[cfg(unix)]
    command.process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            console::out(&format!("{FAILED}{error}"));
            return Ok(());
        }
    };
    let group = child.id().context("the program has no process id")?;
    console::out(&format!("{STARTED}{group}"));
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        _ = abandoned => None,
        () = stopped => None,
        () = orphans::bury(group, deaths) => None,
    };
    // at once: who waits for an answer of the program should not wait for what it has left behind
    if let Some(Ok(status)) = &by_itself {
        console::out(&format!("{ENDED}{status}"));
    }
    let ended = end_all(&mut child, group).await;
    if !matches!(by_itself, Some(Ok(_))) {
        let status = ended.map(|status| status.to_string());
        let status = status.unwrap_or_else(|| "it could not be killed".to_owned());
        console::out(&format!("{ENDED}{status}"));
    }
    Ok(())
}

/// SIGTERM, some time, SIGKILL: for what the program has started too, also where it ended by itself.
/// What the program itself ended with.
async fn end_all(child: &mut Child, group: u32) -> Option<ExitStatus> {
    signal_all(child, group, false);
    if tokio::time::timeout(GRACE, until_gone(child, group, false))
        .await
        .is_err()
    {
        // some may be in the hands of a driver and out of reach for ever
        let _ = tokio::time::timeout(KILL_GRACE, until_gone(child, group, true)).await;
    }
    child.try_wait().ok().flatten()
}

async fn until_gone(child: &mut Child, group: u32, forced: bool) {
    loop {
        if forced {
            // again and again: who was forked meanwhile has not been seen before
            signal_all(child, group, true);
        }
        let program_ended = !matches!(child.try_wait(), Ok(None));
        // the program first: its status must not be taken by the wait for the others
        if program_ended && !anything_left(group) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A thread that ends with the process: tokio's stdin would keep the runtime from ending.
fn end_of_stdin() -> anyhow::Result<oneshot::Receiver<()>> {
    let (told, heard) = oneshot::channel();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut ignored = [0; 64];
            let mut stdin = std::io::stdin().lock();
            while let Ok(1..) = stdin.read(&mut ignored) {}
            let _ = told.send(());
        })
        .context("cannot start the thread that watches stdin")?;
    Ok(heard)
}

#[cfg(unix)]
fn signal_all(child: &mut Child, group: u32, forced: bool) {
    use nix::sys::signal::Signal;
    let signal = if forced {
        Signal::SIGKILL
    } else {
        Signal::SIGTERM
    };
    #[cfg(target_os = "linux")]
    if let Ok(all) = super::family::descendants(std::process::id()) {
        // until the program has been waited for, its number and its group's is nobody else's; and a
        // group is told at once, so that nobody in it can fork and escape
        let as_group = child.id().is_some();
        if as_group {
            signal_group(group, signal);
        }
        // nobody is told twice: many programs take a second SIGTERM for impatience
        for process in all {
            if !as_group || process.group != group {
                process.signal(signal);
            }
        }
        return;
    }
    let _ = child;
    signal_group(group, signal);
}

#[cfg(unix)]
fn signal_group(group: u32, signal: nix::sys::signal::Signal) {
    let group = nix::unistd::Pid::from_raw(group.cast_signed());
    // an error means that nobody is left
    let _ = nix::sys::signal::killpg(group, signal);
}

/// Whether somebody is left. All descendants are below a child of this process, as orphans become its
/// children; so who has no child has no descendant. The program must have been waited for.
#[cfg(target_os = "linux")]
fn anything_left(_group: u32) -> bool {
    use nix::errno::Errno;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            // another of the dead has been waited for
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn anything_left(group: u32) -> bool {
    let group = nix::unistd::Pid::from_raw(group.cast_signed());
    nix::sys::signal::killpg(group, None).is_ok()
}

/// Those whose parents have ended: their next ancestor that asks for it becomes their parent.
#[cfg(target_os = "linux")]
mod orphans {
    use anyhow::Context;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// Become the parent of orphans; gives the news of deaths.
    pub(super) fn adopt() -> anyhow::Result<Signal> {
        // without it they are out of sight, and only the group is told to end
        let _ = nix::sys::prctl::set_child_subreaper(true);
        signal(SignalKind::child()).context("cannot listen for the end of processes")
    }

    /// Wait for those that end, as the first process of a machine does: until then they look alive,
    /// also to a program that asks after its daemon.
    pub(super) async fn bury(program: u32, mut deaths: Signal) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while deaths.recv().await.is_some() {
            while let Ok(WaitStatus::Exited(dead, _) | WaitStatus::Signaled(dead, _, _)) =
                waitid(Id::All, look)
            {
                // its status is somebody else's to take, and then everything ends
                if dead.as_raw() == program.cast_signed() {
                    break;
                }
                let _ = waitpid(dead, Some(WaitPidFlag::WNOHANG));
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod orphans {
    pub(super) fn adopt() -> anyhow::Result<()> {
        Ok(())
    }

    pub(super) async fn bury(_program: u32, _deaths: ()) {
        std::future::pending().await
    }
}

/// Ends with the first signal that asks for an end: it must not leave the program alone.
#[cfg(unix)]
fn stop_signals() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).context("cannot listen for stop signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signal_all(child: &mut Child, _: u32, _: bool) {
    let _ = child.start_kill();
}

#[cfg(not(unix))]
fn anything_left(_: u32) -> bool {
    false
}

#[cfg(not(unix))]
fn stop_signals() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(std::future::pending())
}
