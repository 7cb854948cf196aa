//! Owns what Ctrl-C, SIGTERM and the end of the caller mean: a stop, then an end.
//!
//! It must not know what is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use evalscope_core::engine::{self, RunControl};

use crate::{caller, console};

/// The first Ctrl-C or SIGTERM stops sending and lets requests in flight end;
/// the second gives them up.
pub(crate) fn listen(control: RunControl) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let orphaned = control.clone();
    let ready = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&ready);
    let listener = async move {
        let mut signals = Signals::listen();
        heard.store(true, Ordering::Release);
        signals.next().await;
        console::err(&format!(
            "stopping: nothing more is sent; requests in flight have {} s to end (again to stop now)",
            engine::DRAIN_GRACE.as_secs()
        ));
        control.stop.cancel();
        signals.next().await;
        console::err("stopping now");
        control.abort.cancel();
    };
    std::thread::Builder::new()
        .name("evalscope-signals".to_owned())
        .spawn(move || runtime.block_on(listener))
        .context("cannot listen for signals")?;
    while !ready.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    caller::follow(move || orphaned.stop.cancel())
}

#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    async fn next(&mut self) {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => {}
            () = one(&mut self.terminate) => {}
        }
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
}
