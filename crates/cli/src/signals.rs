//! Owns what Ctrl-C, SIGTERM, a closed terminal and the end of the caller mean: first stop sending,
//! then end at once.
//!
//! It must not know what is running.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Context;
use evalscope_core::engine::RunControl;

use crate::{caller, console};

/// The first Ctrl-C or SIGTERM stops sending and lets requests in flight end;
/// the second gives them up. SIGHUP, which comes when the terminal is closed, is one of them.
///
/// `first`: what the first one does, in words. `has_stdin`: nobody else reads stdin, which may tell of the
/// end of the caller.
pub(crate) fn listen(control: RunControl, first: String, has_stdin: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let orphaned = control.clone();
    let (heard, ready) = sync_channel(1);
    let listener = async move {
        let mut signals = Signals::listen();
        // the receiver waits for it
        let _ = heard.send(());
        signals.next().await;
        console::err(&first);
        control.stop.cancel();
        signals.second().await;
        console::err("stopping now");
        control.abort.cancel();
    };
    std::thread::Builder::new()
        .name("evalscope-signals".to_owned())
        .spawn(move || runtime.block_on(listener))
        .context("cannot listen for signals")?;
    ready.recv().context("cannot listen for signals")?;
    if has_stdin {
        caller::follow(move || orphaned.stop.cancel())?;
    }
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
    hangup: Option<tokio::signal::unix::Signal>,
    /// The last one was a hangup.
    hung_up: bool,
}

/// A terminal that is closed can tell it twice: the kernel does, and the shell passes it on. What
/// comes within this time of the first is the same event.
#[cfg(unix)]
const SAME_HANGUP: Duration = Duration::from_secs(1);

/// Whether the parent process wants this to outlive the terminal, as `nohup` does.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    // the mask of ignored signals, in hexadecimal; SIGHUP is signal 1
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
            // before anything listens to it: that would end the ignoring
            hangup: (!ignores_hangup())
                .then(|| signal(SignalKind::hangup()).ok())
                .flatten(),
            hung_up: false,
        }
    }

    async fn next(&mut self) {
        self.hung_up = tokio::select! {
            () = one(&mut self.interrupt) => false,
            () = one(&mut self.terminate) => false,
            () = one(&mut self.hangup) => true,
        };
    }

    /// The next one that is another event than the last.
    async fn second(&mut self) {
        if self.hung_up {
            let again = async {
                loop {
                    one(&mut self.hangup).await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(SAME_HANGUP) => {}
                () = one(&mut self.interrupt) => return,
                () = one(&mut self.terminate) => return,
                () = again => {}
            }
        }
        self.next().await;
    }
}

#[cfg(unix)]
async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn second(&mut self) {
        self.next().await;
    }
}
