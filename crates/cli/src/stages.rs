//! Owns processing of exchanges on their way to the database, off the receiving path: each stage is
//! a thread between two channels.
//!
//! It must not know which stages a command has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use anyhow::Context;
use async_channel::{Receiver, Sender};
use evalscope_model::events::SinkMessage;
use evalscope_model::record::{Exchange, masked};
use evalscope_model::time::{RunClock, Timestamp};
use evalscope_plugin::{PluginCounts, PluginFault};
use evalscope_report::{Finding, FindingId};
use tokio_util::sync::CancellationToken;

use crate::log::Log;
use crate::secrets::shown_body;

/// The most responses handed to a plugin at a time.
const BATCH: usize = 32;

/// What a stage does when it panics: it stops its work, passes on all messages, and stops the run,
/// so that no measurement is lost.
#[derive(Clone, Debug)]
pub(crate) struct StageFault {
    stop: CancellationToken,
    said: Arc<OnceLock<String>>,
}

impl StageFault {
    /// For the stages of a run that is stopped by `stop`.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            said: Arc::default(),
        }
    }

    /// Which stage panicked first, and what it said.
    pub(crate) fn said(&self) -> Option<&str> {
        self.said.get().map(String::as_str)
    }

    /// Do some work of a stage. `None`: it panicked, and is not to be done again.
    fn guarded<T>(&self, what: &str, work: impl FnOnce() -> T) -> Option<T> {
        let payload = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => return Some(done),
            Err(payload) => payload,
        };
        let said = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let _first_counts = self
            .said
            .set(format!("{what} panicked: {said}; please report it"));
        self.stop.cancel();
        None
    }
}

/// A thread that does something with each exchange; `what` it is to a person.
pub(crate) fn stage(
    (name, what): (&str, &'static str),
    seen: Receiver<SinkMessage>,
    next: Sender<SinkMessage>,
    fault: StageFault,
    work: impl FnMut(&mut Exchange) + Send + 'static,
) -> anyhow::Result<JoinHandle<()>> {
    let mut work = Some(work);
    spawn(name, move || {
        while let Ok(mut message) = seen.recv_blocking() {
            if let (SinkMessage::Exchange(exchange), Some(do_work)) = (&mut message, &mut work)
                && fault.guarded(what, || do_work(exchange)).is_none()
            {
                work = None;
            }
            if next.send_blocking(message).is_err() {
                break;
            }
        }
    })
}

/// A thread that lets a plugin count the tokens of responses, as many at a time as are waiting. If
/// the plugin fails, the counts are lost, not the run.
pub(crate) fn plugin_stage(
    seen: Receiver<SinkMessage>,
    next: Sender<SinkMessage>,
    fault: StageFault,
    counting: Counting,
) -> anyhow::Result<JoinHandle<()>> {
    let mut counting = Some(counting);
    spawn("evalscope-parse", move || {
        while let Ok(first) = seen.recv_blocking() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(message) = seen.try_recv()
            {
                batch.push(message);
            }
            if let Some(own) = &mut counting {
                let what = "the thread that lets a plugin count tokens";
                match fault.guarded(what, || own.count(&mut batch)) {
                    Some(warning) => batch.extend(warning.map(SinkMessage::from)),
                    None => counting = None,
                }
            }
            for message in batch {
                if next.send_blocking(message).is_err() {
                    return;
                }
            }
        }
    })
}

/// A plugin that counts, as long as it does.
#[derive(Debug)]
pub(crate) struct Counting {
    counts: Option<PluginCounts>,
    complained: bool,
    secrets: Vec<String>,
    log: Log,
}

impl Counting {
    pub(crate) fn new(counts: PluginCounts, secrets: Vec<String>, log: Log) -> Self {
        Self {
            secrets,
            counts: Some(counts),
            complained: false,
            log,
        }
    }

    /// Count, and give a warning for the report where there is a new one.
    fn count(&mut self, batch: &mut [SinkMessage]) -> Option<Finding> {
        let counts = self.counts.as_ref()?;
        let mut exchanges: Vec<&mut Exchange> = batch
            .iter_mut()
            .filter_map(|message| match message {
                SinkMessage::Exchange(exchange) => Some(&mut **exchange),
                _ => None,
            })
            .collect();
        if exchanges.is_empty() {
            return None;
        }
        let warning = match counts.count(&mut exchanges) {
            Ok(None) => return None,
            Ok(Some(_)) if self.complained => return None,
            Ok(Some(complaint)) => {
                self.complained = true;
                format!("the plugin does not count the tokens of every response: {complaint}")
            }
            Err(error) => {
                self.counts = None;
                if matches!(error.fault, PluginFault::Stopped) {
                    return None;
                }
                format!(
                    "the plugin has stopped counting tokens, and failures that it would report count as \
                     successes: {}",
                    masked(&error.to_string(), &self.secrets)
                )
            }
        };
        self.log.warn(&warning);
        // a traceback is for the log
        let first = warning.lines().next()?;
        Some(Finding::new(FindingId::PluginCountsMissing, first))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .context("cannot start a thread that processes responses")
}

/// Log what went over the wire.
pub(crate) fn log_exchange(
    exchange: &Exchange,
    url: &str,
    headers: &str,
    hidden: &[String],
    clock: &RunClock,
    log: &Log,
) {
    let record = &exchange.record;
    let say = |at, text: String| {
        let text = masked(&text, hidden);
        log.debug(clock.unix_ns(at), &format!("[{}] {text}", record.index));
    };
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    say(
        record.times.dispatched,
        format!("Starting request: POST {url} {{{headers}}}"),
    );
    if let Some(at) = record.times.write_begun {
        say(
            at,
            format!("Request sent: {}", shown_body(&exchange.bodies.request)),
        );
    }
    // the texts of all events, or of the token-bearing ones, or of a non-streaming response
    let all = exchange.bodies.responses.len() == record.events.len();
    let mut arrivals: Box<dyn Iterator<Item = Timestamp>> = if all {
        Box::new(record.events.arrivals())
    } else {
        Box::new(record.events.token_events())
    };
    exchange
        .bodies
        .responses
        .for_each(|text| match arrivals.next() {
            Some(at) => say(at, format!("Response received: data: {}", lossy(text))),
            None => say(
                record.times.ended,
                format!("Response received: {}", lossy(text)),
            ),
        });
    let last = record.times.last_data.unwrap_or(record.times.ended);
    if !exchange.bodies.final_event.is_empty() {
        let text = lossy(&exchange.bodies.final_event);
        say(last, format!("Response received: data: {text}"));
    }
    match &record.failure {
        None => say(record.times.ended, "Request succeeded".to_owned()),
        Some(failure) => {
            let text = format!("Request failed: {}: {}", failure.kind, failure.message);
            say(record.times.ended, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evalscope_core::engine::{Collector, Dispatch};
    use evalscope_core::protocol::{Api, OpenAi};
    use evalscope_core::transport::SendTimes;
    use evalscope_model::record::{Phase, RecordBodies};

    fn exchange(index: u64) -> Exchange {
        let dispatch = Dispatch {
            index,
            phase: Phase::Measured,
            scheduled: Timestamp::ZERO,
            slot_free: Timestamp::ZERO,
            dispatched: Timestamp::ZERO,
            stream: true,
            output_asked: true,
            asked_tokens: None,
        };
        Collector::new(OpenAi.reader(), RecordBodies::All, true).finish(
            dispatch,
            &SendTimes::default(),
            Ok(()),
            Vec::new(),
            Timestamp::ZERO,
        )
    }

    #[test]
    fn a_stage_that_panics_stops_the_run_and_loses_nothing() {
        let (before, seen) = async_channel::bounded(64);
        let (next, records) = async_channel::bounded(64);
        let fault = StageFault::new(CancellationToken::new());
        let mut worked = 0;
        let name = ("evalscope-test", "the thread of the test");
        let thread = stage(name, seen, next, fault.clone(), move |_| {
            worked += 1;
            assert!(worked < 3, "the test's work panics");
        })
        .unwrap();
        for index in 0..10 {
            let message = SinkMessage::Exchange(Box::new(exchange(index)));
            before.send_blocking(message).unwrap();
        }
        drop(before);
        thread.join().unwrap();
        let mut handed_on = Vec::new();
        while let Ok(SinkMessage::Exchange(exchange)) = records.try_recv() {
            handed_on.push(exchange.record.index);
        }
        assert_eq!(handed_on, (0..10).collect::<Vec<_>>());
        assert!(fault.stop.is_cancelled());
        assert_eq!(
            fault.said(),
            Some("the thread of the test panicked: the test's work panics; please report it")
        );
    }
}
