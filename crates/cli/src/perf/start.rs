//! Owns the common start of several processes: it says that this one is ready, waits for the moment, and
//! turns it into the run's clock. A process that is not ready in time sends nothing.
//!
//! It must not know what is sent.

use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_channel::Sender;
use evalscope_core::engine::{Barrier, RunControl};
use evalscope_model::events::{Began, RunEvent};
use evalscope_model::time::{RunClock, monotonic_ns, parse_unix_s, wall_ns};
use tokio_util::sync::CancellationToken;

use crate::failure::hinted;
use crate::flags::shard::StartAt;
use crate::observers::ProgressLines;
use crate::{console, env, wait};

/// The moment is turned into the monotonic clock this long before it: the wall clock may be corrected until
/// then, and a thread has time to wake.
const SETTLED: Duration = Duration::from_secs(1);

/// How often a wait for stdin looks whether the command was stopped.
const LOOK: Duration = Duration::from_millis(20);

/// When the load of a command begins.
#[derive(Debug)]
pub(super) struct Start {
    at: StartAt,
    lines: ProgressLines,
    /// Moments that came on stdin.
    told: Option<Mutex<Receiver<u64>>>,
}

/// How late a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late(Duration);

/// Why the load of a point never began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unbegun {
    Stopped,
    Late(Late),
}

/// Whether the load of a point has begun.
#[derive(Debug, Default)]
pub(super) struct Starting(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    Begun,
    Late(Late),
}

impl Late {
    /// The error that ends the command.
    pub(super) fn error(self) -> anyhow::Error {
        hinted(
            format!(
                "the load was to begin {:.3} s ago, before everything was ready: nothing was sent",
                self.0.as_secs_f64()
            ),
            "give a later `--start-at` to all shards: preparing takes as long as loading the tokenizer, \
             reading the dataset and the test request",
        )
    }
}

impl Start {
    /// Check that there is time left, and listen to stdin if the moment comes from there.
    pub(super) fn new(
        at: StartAt,
        lines: ProgressLines,
        control: &RunControl,
    ) -> anyhow::Result<Self> {
        let told = match at {
            StartAt::Stdin => Some(Mutex::new(listen(control)?)),
            StartAt::Ready | StartAt::Unix(_) => None,
        };
        Ok(Self { at, lines, told })
    }

    /// Check that the moment has not passed, before work that it would be too late for.
    pub(super) fn check(&self, run: &str) -> anyhow::Result<()> {
        let StartAt::Unix(unix_ns) = self.at else {
            return Ok(());
        };
        match late_by(unix_ns) {
            None => Ok(()),
            Some(late) => {
                self.lines.late(run, late.0);
                Err(late.error())
            }
        }
    }

    /// Begin a point: what its engine waits for, on a thread that ends with it. `None`: it need not wait.
    pub(super) fn begin<'scope>(
        &'scope self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        run: &'scope str,
        (clock, control): (RunClock, RunControl),
        sink: Sender<RunEvent>,
    ) -> anyhow::Result<(Option<Barrier>, Starting)> {
        let starting = Starting::default();
        if self.at == StartAt::Ready {
            self.lines.ready(run);
            starting.set(State::Begun);
            return Ok((None, starting));
        }
        let ready = CancellationToken::new();
        let (begins, start) = async_channel::bounded(1);
        let (is_ready, own) = (ready.clone(), Starting(Arc::clone(&starting.0)));
        let waiting = move || {
            let Some(moment) = self.moment(run, &is_ready, &control) else {
                // it was stopped; the sender is gone with this thread
                return;
            };
            let begun = moment.map(|unix_ns| {
                let (monotonic, wall) = (monotonic_ns(), wall_ns());
                let at = clock.at_monotonic(monotonic + unix_ns.saturating_sub(wall));
                let _ = sink.send_blocking(RunEvent::Began(Began { at, unix_ns }));
                at
            });
            match begun {
                Ok(at) => {
                    own.set(State::Begun);
                    let _ = begins.send_blocking(at);
                }
                Err(late) => {
                    own.set(State::Late(late));
                    self.lines.late(run, late.0);
                }
            }
        };
        std::thread::Builder::new()
            .name("evalscope-start".to_owned())
            .spawn_scoped(scope, waiting)
            .context("cannot start the thread that waits for the common start")?;
        Ok((Some(Barrier { ready, start }), starting))
    }

    /// The moment, a second before it, once everything is ready. `None`: stopped.
    fn moment(
        &self,
        run: &str,
        ready: &CancellationToken,
        control: &RunControl,
    ) -> Option<Result<u64, Late>> {
        if !wait::reached_before(ready, &control.stop) {
            return None;
        }
        self.lines.ready(run);
        let unix_ns = if let StartAt::Unix(unix_ns) = self.at {
            self.say(&format!("ready: the load begins at {}", seconds(unix_ns)));
            unix_ns
        } else {
            self.say("ready: waiting for `start` on stdin");
            self.next_told(control)?
        };
        loop {
            if let Some(late) = late_by(unix_ns) {
                return Some(Err(late));
            }
            let left = Duration::from_nanos(unix_ns.saturating_sub(wall_ns()));
            let Some(left) = left.checked_sub(SETTLED).filter(|left| !left.is_zero()) else {
                return Some(Ok(unix_ns));
            };
            // the wall clock may be corrected meanwhile
            if wait::stopped_within(&control.stop, left.min(SETTLED)) {
                return None;
            }
        }
    }

    fn next_told(&self, control: &RunControl) -> Option<u64> {
        let told = self.told.as_ref()?;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match told.recv_timeout(LOOK) {
                Ok(unix_ns) => return Some(unix_ns),
                Err(RecvTimeoutError::Timeout) if !control.stop.is_cancelled() => {}
                Err(_) => return None,
            }
        }
    }

    /// A line for people; programs have the event.
    fn say(&self, text: &str) {
        if self.lines == ProgressLines::Off {
            console::err(text);
        }
    }
}

impl Starting {
    /// Why the load never began; `None` if it did.
    pub(super) fn unbegun(&self) -> Option<Unbegun> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Begun => None,
            State::Late(late) => Some(Unbegun::Late(late)),
            State::Waiting => Some(Unbegun::Stopped),
        }
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

fn late_by(unix_ns: u64) -> Option<Late> {
    let late_ns = wall_ns().checked_sub(unix_ns).filter(|late| *late > 0)?;
    Some(Late(Duration::from_nanos(late_ns)))
}

fn seconds(unix_ns: u64) -> String {
    format!("{:.3}", unix_ns as f64 / 1e9)
}

/// What a line on stdin asks for.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Start(u64),
    Stop,
    Unknown,
}

fn word(line: &str) -> Word {
    let line = line.trim();
    if line == "stop" {
        return Word::Stop;
    }
    let moment = line.strip_prefix("start ").map(str::trim);
    moment
        .and_then(parse_unix_s)
        .map_or(Word::Unknown, Word::Start)
}

/// Listen to stdin for the whole of the command. Its end before a start stops the command, since nobody
/// is left to give one.
fn listen(control: &RunControl) -> anyhow::Result<Receiver<u64>> {
    let (tell, told) = channel();
    let stop = control.stop.clone();
    let listening = move || {
        let mut started = false;
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match word(&line) {
                Word::Start(unix_ns) => {
                    started = true;
                    let _ = tell.send(unix_ns);
                }
                Word::Stop => {
                    console::err("stopping: `stop` on stdin");
                    stop.cancel();
                    return;
                }
                Word::Unknown if line.trim().is_empty() => {}
                Word::Unknown => console::err(&format!(
                    "`{}` on stdin is neither `start UNIX_SECONDS` nor `stop`: ignored",
                    console::shortened(&line)
                )),
            }
        }
        if !started {
            console::err("stdin ended without a `start`");
        }
        if !started || env::exits_with_parent() {
            stop.cancel();
        }
    };
    std::thread::Builder::new()
        .name("evalscope-stdin".to_owned())
        .spawn(listening)
        .context("cannot listen to stdin")?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_on_stdin_are_read() {
        for (line, want) in [
            (
                "start 1795623158.25",
                Word::Start(1_795_623_158_250_000_000),
            ),
            ("  start  7\r", Word::Start(7_000_000_000)),
            ("stop", Word::Stop),
            ("start", Word::Unknown),
            ("start soon", Word::Unknown),
            ("", Word::Unknown),
        ] {
            assert_eq!(word(line), want, "{line}");
        }
    }
}
