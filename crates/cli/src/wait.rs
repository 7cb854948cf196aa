//! Owns waiting that a stop ends: for a time, and for what another thread works on.
//!
//! It must not know what is waited for.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, Builder};
use std::time::Duration;

use anyhow::Context;
use evalscope_core::engine::RunControl;
use tokio_util::sync::CancellationToken;

/// Wait, and say whether the stop came first.
pub(crate) fn stopped_within(stop: &CancellationToken, time: Duration) -> bool {
    block_on(async { tokio::time::timeout(time, stop.cancelled()).await.is_ok() })
}

/// Wait for one of two things, and say whether it was the first.
pub(crate) fn reached_before(wanted: &CancellationToken, other: &CancellationToken) -> bool {
    block_on(async {
        tokio::select! {
            biased;
            () = other.cancelled() => false,
            () = wanted.cancelled() => true,
        }
    })
}

/// Do work on a thread of its own, `what` in messages. `None`: the work did not end within `grace`
/// of a stop. Its thread is abandoned then, and ends with the process.
pub(crate) fn apart<T: Send + 'static>(
    (name, what): (&str, &str),
    control: &RunControl,
    grace: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<Option<T>> {
    let (done, ready) = tokio::sync::oneshot::channel();
    Builder::new()
        .name(name.to_owned())
        // the receiver is gone if the work was abandoned
        .spawn(move || drop(done.send(work())))
        .with_context(|| format!("cannot start {what}"))?;
    let given_up = async {
        control.stop.cancelled().await;
        let _ = tokio::time::timeout(grace, control.abort.cancelled()).await;
    };
    let result = block_on(async {
        tokio::select! {
            biased;
            result = ready => Some(result),
            () = given_up => None,
        }
    });
    let result = result.transpose();
    result.map_err(|_| anyhow::anyhow!("{what} panicked; please report it"))
}

/// Do work, and say something if it takes longer than a time.
pub(crate) fn saying_after<T>(
    time: Duration,
    say: impl FnOnce() + Send,
    work: impl FnOnce() -> T,
) -> T {
    thread::scope(|scope| {
        let (done, waiting) = sync_channel::<()>(0);
        // without a thread nothing is said
        let _ = Builder::new().spawn_scoped(scope, move || {
            if waiting.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                say();
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("an event loop without sockets needs nothing of the system")
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn a_stop_ends_a_pause() {
        let stop = CancellationToken::new();
        assert!(!stopped_within(&stop, Duration::ZERO));
        let (own, other) = (stop.clone(), stop.clone());
        let stops = thread::spawn(move || other.cancel());
        assert!(stopped_within(&own, LONG));
        stops.join().unwrap();
        assert!(stopped_within(&stop, Duration::ZERO));
    }

    #[test]
    fn work_is_abandoned_after_a_stop() {
        let control = RunControl::default();
        let names = ("evalscope-test", "the test's thread");
        let done = apart(names, &control, LONG, || 7);
        assert_eq!(done.unwrap(), Some(7));

        // work that never ends
        let (end, held) = channel::<()>();
        let (grace_over, wait) = (control.clone(), move || held.recv().is_ok());
        control.stop.cancel();
        let abandoned = apart(names, &control, Duration::ZERO, wait);
        assert_eq!(abandoned.unwrap(), None);
        drop(end);

        let (end, held) = channel::<()>();
        grace_over.abort.cancel();
        let aborted = apart(names, &control, LONG, move || held.recv().is_ok());
        assert_eq!(aborted.unwrap(), None);
        drop(end);

        let calm = RunControl::default();
        let panics = || -> u8 { panic!("the test's work panics") };
        let error = apart(names, &calm, LONG, panics).unwrap_err();
        insta::assert_snapshot!(error, @"the test's thread panicked; please report it");
    }

    #[test]
    fn only_long_work_is_spoken_of() {
        let (said, heard) = channel();
        let other = said.clone();
        saying_after(LONG, move || other.send("too long").unwrap(), || {});
        assert!(heard.try_recv().is_err());
        // the work waits for what is said of it
        let work = || heard.recv().unwrap();
        let got = saying_after(Duration::ZERO, move || said.send("waits").unwrap(), work);
        assert_eq!(got, "waits");
    }
}
