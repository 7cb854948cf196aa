//! Owns the end of a served program: the hidden subcommand `__supervise` runs it in a process group
//! of its own, and ends that group when the pipe on stdin does. The other end of the pipe is held by
//! the command that wants the server, so the kernel closes it however that command ends, `kill -9`
//! included; a handler could not see that, and a request to the kernel (`PR_SET_PDEATHSIG`) would
//! reach the program alone and not the processes it has started.
//!
//! It must not know which program it is, nor what a load test is. To whoever started it, it says on
//! stdout [`STARTED`] with the group, then [`ENDED`] or [`FAILED`] with the reason; the program's
//! output goes to its stderr.

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

/// How long the group may take to end after SIGTERM: a server has memory of GPUs to give back.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// How long the kernel may take after SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(5);

/// How often a group that is told to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Run a program, and end it with its process group when stdin ends.
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
    adopt_orphans();
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
    let group = child.id().context("the program has no number")?;
    console::out(&format!("{STARTED}{group}"));
    let by_itself = tokio::select! {
        status = child.wait() => Some(status),
        _ = abandoned => None,
        () = stopped => None,
    };
    // at once: who waits for an answer of the program should not wait for its group
    if let Some(Ok(status)) = &by_itself {
        console::out(&format!("{ENDED}{status}"));
    }
    let ended = end_group(&mut child, group).await;
    if !matches!(by_itself, Some(Ok(_))) {
        let status = ended.map(|status| status.to_string());
        let status = status.unwrap_or_else(|| "it could not be killed".to_owned());
        console::out(&format!("{ENDED}{status}"));
    }
    Ok(())
}

/// SIGTERM, some time, SIGKILL: for what the program has started too, also where it ended by itself.
/// What the program itself ended with.
async fn end_group(child: &mut Child, group: u32) -> Option<ExitStatus> {
    for (forced, patience) in [(false, GRACE), (true, KILL_GRACE)] {
        signal_group(child, group, forced);
        if tokio::time::timeout(patience, until_gone(child, group))
            .await
            .is_ok()
        {
            break;
        }
    }
    child.try_wait().ok().flatten()
}

async fn until_gone(child: &mut Child, group: u32) {
    loop {
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
fn pid(group: u32) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(group.cast_signed())
}

#[cfg(unix)]
fn signal_group(_: &mut Child, group: u32, forced: bool) {
    use nix::sys::signal::{Signal, killpg};
    let signal = if forced {
        Signal::SIGKILL
    } else {
        Signal::SIGTERM
    };
    // an error means that nobody is left
    let _ = killpg(pid(group), signal);
}

#[cfg(unix)]
fn anything_left(group: u32) -> bool {
    use nix::sys::signal::killpg;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    // the dead count as members until somebody waits for them: see `adopt_orphans`
    let any = nix::unistd::Pid::from_raw(-group.cast_signed());
    while let Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) =
        waitpid(any, Some(WaitPidFlag::WNOHANG))
    {}
    killpg(pid(group), None).is_ok()
}

/// Where the first process of a container waits for nobody, the dead of the group would look alive.
#[cfg(target_os = "linux")]
fn adopt_orphans() {
    // without it, the end may take the whole time that is granted
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

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
fn signal_group(child: &mut Child, _: u32, _: bool) {
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
