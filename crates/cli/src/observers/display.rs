//! Owns showing the progress of a run: a bar on a terminal, else a line now and then. It only reads
//! counters, so it can neither slow nor change what is measured.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evalscope_model::events::{LoadSnapshot, Observer, RunEvent};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::Phase;
use evalscope_model::time::{RunClock, Timestamp};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ProgressFile;
use crate::log::Log;

const REDRAW: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Steps of the bar.
const BAR: u64 = 10_000;

/// Shows a run while it lives.
#[derive(Debug)]
pub(crate) struct Display {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Display {
    /// Show a run, as the observer that is returned sees it.
    pub(crate) fn start(
        spec: &RunSpec,
        clock: RunClock,
        log: Log,
        log_every: u64,
        file: Option<ProgressFile>,
    ) -> (Self, Watching) {
        let done = Arc::new(AtomicBool::new(false));
        let watching = Watching::default();
        let (end, seen, spec) = (Arc::clone(&done), watching.clone(), spec.clone());
        let thread = std::thread::Builder::new()
            .name("evalscope-progress".to_owned())
            .spawn(move || {
                let shown = Shown {
                    spec: &spec,
                    seen: &seen,
                    clock: &clock,
                    log: &log,
                    log_every,
                    file: file.as_ref(),
                };
                shown.until(&end);
            })
            .ok();
        (Self { done, thread }, watching)
    }
}

/// Sums up what is shown. A terminal that blocks holds only the thread that draws, not the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watching(Arc<Mutex<Seen>>);

/// What has been seen of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    load: LoadSnapshot,
    warmup: Counts,
    measured: Counts,
}

/// Requests and conversations of one phase that have ended.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u64,
    conversations: u64,
    failed: u64,
    output_tokens: u64,
}

impl Watching {
    /// Measured conversations that have ended.
    pub(crate) fn conversations(&self) -> u64 {
        self.seen().measured.conversations
    }

    fn seen(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watching {
    fn name(&self) -> &'static str {
        "the progress display"
    }

    fn on(&mut self, event: &RunEvent) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            RunEvent::Exchange(exchange) => {
                let record = &exchange.record;
                if !record.dispatched() {
                    return;
                }
                let counts = seen.counts(record.phase);
                counts.requests += 1;
                match &record.failure {
                    None => counts.output_tokens += record.output_tokens().0.unwrap_or(0),
                    Some(failure) => counts.failed += u64::from(failure.kind.counts_as_failed()),
                }
            }
            RunEvent::Conversation(record) => seen.counts(record.phase).conversations += 1,
            RunEvent::Snapshot(snapshot) => seen.load = snapshot.load,
            RunEvent::Warning(_) => {}
        }
    }
}

impl Seen {
    fn counts(&mut self, phase: Phase) -> &mut Counts {
        match phase {
            Phase::Warmup => &mut self.warmup,
            Phase::Measured => &mut self.measured,
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The state that a line of progress shows.
#[derive(Debug, PartialEq)]
struct Look {
    /// Whether these are the measured requests, or those of the warm-up.
    measuring: bool,
    /// What is counted: `requests`, or `conversations`.
    noun: &'static str,
    /// How many of them have ended.
    ended: u64,
    /// Requests that have ended.
    requests: u64,
    /// How many there will be; `None`: limited by time only.
    total: Option<u64>,
    failed: u64,
    in_flight: u64,
    /// How late requests were sent lately, at most; `None` where nothing is due at a moment.
    lag: Option<Duration>,
    output_tokens: u64,
    /// Since the first of them was dispatched.
    elapsed: Duration,
    /// When nothing more is sent.
    limit: Option<Duration>,
}

impl Look {
    fn at(seen: &Seen, spec: &RunSpec, now: Timestamp) -> Self {
        let measuring = spec.warmup_requests == 0 || seen.load.measured_begun.is_some();
        let (counts, begun) = if measuring {
            (seen.measured, seen.load.measured_begun)
        } else {
            (seen.warmup, seen.load.warmup_begun)
        };
        let (noun, ended) = match spec.conversations {
            Some(_) => ("conversations", counts.conversations),
            None => ("requests", counts.requests),
        };
        Self {
            measuring,
            noun,
            ended,
            requests: counts.requests,
            total: if measuring {
                spec.requests.or_else(|| requests_of_bursts(spec))
            } else {
                Some(spec.warmup_requests)
            },
            failed: counts.failed,
            in_flight: seen.load.in_flight,
            lag: spec.pacing.schedule().map(|_| seen.load.lag),
            output_tokens: counts.output_tokens,
            elapsed: begun.map_or(Duration::ZERO, |begun| now.since(begun)),
            limit: limit(spec).filter(|_| measuring),
        }
    }

    /// The fraction that has ended.
    fn counted(&self) -> f64 {
        self.total
            .map_or(0.0, |total| self.ended as f64 / total.max(1) as f64)
    }

    /// The fraction of the time that has passed, if time will end the run before the count does.
    fn timed(&self) -> Option<f64> {
        let limit = self.limit?.as_secs_f64();
        let share = self.elapsed.as_secs_f64() / limit.max(f64::MIN_POSITIVE);
        (share >= self.counted()).then_some(share.min(1.0))
    }

    /// How much is done, 0 to 1.
    fn done(&self) -> f64 {
        self.timed().unwrap_or_else(|| self.counted())
    }

    /// The estimated time left, if known.
    fn left(&self) -> Option<Duration> {
        if let (Some(_), Some(limit)) = (self.timed(), self.limit) {
            // afterwards, requests still wait or are in flight
            return limit.checked_sub(self.elapsed);
        }
        let done = self.counted();
        let seconds = self.elapsed.as_secs_f64() * (1.0 - done) / done;
        Duration::try_from_secs_f64(seconds).ok()
    }

    fn phase(&self) -> &'static str {
        if self.measuring {
            "measuring"
        } else {
            "warm-up"
        }
    }

    fn rates(&self) -> String {
        let seconds = self.elapsed.as_secs_f64().max(1e-3);
        let lag = self.lag.map_or(String::new(), |lag| {
            format!(", lag {:.1} ms", lag.as_secs_f64() * 1e3)
        });
        format!(
            "{:.1} req/s, {:.0} tok/s, {} in flight{lag}, {} failed",
            self.requests as f64 / seconds,
            self.output_tokens as f64 / seconds,
            self.in_flight,
            self.failed
        )
    }

    /// For the log.
    fn line(&self) -> String {
        let warmup = if self.measuring { "" } else { "warm-up: " };
        let noun = self.noun;
        let of = match self.limit.filter(|_| self.timed().is_some()) {
            Some(limit) => {
                let passed = brief(self.elapsed.min(limit));
                format!("{} {noun} in {passed} of {}", self.ended, brief(limit))
            }
            None => match self.total {
                Some(total) => format!("{}/{total} {noun}", self.ended),
                None => format!("{} {noun}", self.ended),
            },
        };
        format!("{warmup}{of}: {}", self.rates())
    }

    /// The text next to the bar.
    fn beside(&self) -> String {
        let total = match (self.timed(), self.total) {
            (None, Some(total)) => format!("/{total}"),
            _ => String::new(),
        };
        format!(
            "{}{total} [{} < {}] {}",
            self.ended,
            brief(self.elapsed),
            self.left().map_or_else(|| "?".to_owned(), brief),
            self.rates()
        )
    }
}

/// After how long nothing more is sent, if not before. A profile of nothing but bursts takes no time.
fn limit(spec: &RunSpec) -> Option<Duration> {
    let profile = spec
        .pacing
        .schedule()
        .and_then(|schedule| schedule.profile.span_s())
        .filter(|span_s| *span_s > 0.0);
    let profile = profile.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    [spec.duration(), profile].into_iter().flatten().min()
}

/// The requests of a profile of nothing but bursts.
fn requests_of_bursts(spec: &RunSpec) -> Option<u64> {
    let profile = &spec.pacing.schedule()?.profile;
    let is_bursts = profile.span_s() == Some(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of whole numbers, and a float cast saturates"
    )]
    is_bursts.then(|| profile.expected_within(0.0) as u64)
}

/// A time in two units at most, to the nearest second.
fn brief(time: Duration) -> String {
    match time.saturating_add(Duration::from_millis(500)).as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        s => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

/// What is shown, and where.
struct Shown<'a> {
    spec: &'a RunSpec,
    seen: &'a Watching,
    clock: &'a RunClock,
    log: &'a Log,
    log_every: u64,
    file: Option<&'a ProgressFile>,
}

impl Shown<'_> {
    fn until(&self, done: &AtomicBool) {
        let Self {
            spec,
            seen,
            clock,
            log,
            log_every,
            file,
        } = *self;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(BAR), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        log.set_bar(bar.clone());
        let mut was_measuring = spec.warmup_requests == 0;
        let mut next_heartbeat = clock.now().after(HEARTBEAT);
        let mut next_log = log_every;
        while !done.load(Ordering::Acquire) {
            std::thread::park_timeout(REDRAW);
            let now = clock.now();
            let look = Look::at(&seen.seen(), spec, now);
            if look.measuring && !was_measuring {
                was_measuring = true;
                next_log = log_every;
            }
            if let Some(bar) = &bar {
                bar.set_prefix(look.phase());
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share from 0 to 1"
                )]
                bar.set_position((look.done() * BAR as f64) as u64);
                bar.set_message(look.beside());
            }
            if let Some(file) = file.filter(|_| look.measuring) {
                file.run_goes_on(look.ended, clock, now);
            }
            if look.ended >= next_log {
                next_log = (look.ended / log_every + 1).saturating_mul(log_every);
                log.keep("INFO", clock.unix_ns(now), &look.line());
            }
            if now >= next_heartbeat {
                next_heartbeat = now.after(HEARTBEAT);
                if bar.is_none() {
                    log.info(&look.line());
                }
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        log.set_bar(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(ended: u64, total: u64, elapsed_s: f64, limit_s: Option<f64>) -> Look {
        Look {
            measuring: true,
            noun: "requests",
            ended,
            requests: ended,
            total: Some(total),
            failed: 0,
            in_flight: 3,
            lag: None,
            output_tokens: 10 * ended,
            elapsed: Duration::from_secs_f64(elapsed_s),
            limit: limit_s.map(Duration::from_secs_f64),
        }
    }

    #[test]
    fn what_ends_first_is_followed() {
        let texts: Vec<String> = [
            look(0, 1000, 0.0, None),
            look(250, 1000, 5.0, None),
            // the time will end it
            look(24, 1000, 6.0, Some(8.0)),
            look(30, 1000, 9.5, Some(8.0)),
            // the number will
            look(500, 1000, 2.0, Some(80.0)),
            look(10, 20_000, 7.0, None),
        ]
        .iter()
        .map(|look| format!("{:.2} {}", look.done(), look.beside()))
        .collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        0.00 0/1000 [0s < ?] 0.0 req/s, 0 tok/s, 3 in flight, 0 failed
        0.25 250/1000 [5s < 15s] 50.0 req/s, 500 tok/s, 3 in flight, 0 failed
        0.75 24 [6s < 2s] 4.0 req/s, 40 tok/s, 3 in flight, 0 failed
        1.00 30 [10s < ?] 3.2 req/s, 32 tok/s, 3 in flight, 0 failed
        0.50 500/1000 [2s < 2s] 250.0 req/s, 2500 tok/s, 3 in flight, 0 failed
        0.00 10/20000 [7s < 3h53m] 1.4 req/s, 14 tok/s, 3 in flight, 0 failed
        ");
    }

    /// Such a profile takes no time, and its requests are known.
    #[test]
    fn bursts_are_counted() {
        let plan = evalscope_model::plan::Sweep {
            parallel: None,
            number: None,
            whole: None,
            rate: vec![Some("+700,+300".parse().unwrap())],
            gaps: evalscope_model::profile::Gaps::Poisson,
            open_loop: evalscope_model::plan::OpenLoop::default(),
            drain_timeout_s: None,
            warmup: evalscope_model::plan::Warmup::Count(0),
            duration_s: None,
            sleep_interval_s: 0.0,
            seed: 1,
            dataset_offset: 0,
            repeat_prompts: false,
            conversations: None,
            connections: evalscope_model::conversation::KeepConnection::Keep,
            recording: None,
            shard: evalscope_model::shard::Shard::WHOLE,
        }
        .expand()
        .unwrap();
        let spec = &plan.runs()[0];
        assert_eq!(limit(spec), None);
        assert_eq!(requests_of_bursts(spec), Some(1000));
    }

    #[test]
    fn a_warm_up_is_named() {
        let warmup = Look {
            measuring: false,
            ..look(152, 200, 76.0, None)
        };
        insta::assert_snapshot!(warmup.line(), @"warm-up: 152/200 requests: 2.0 req/s, 20 tok/s, 3 in flight, 0 failed");
        let paced = Look {
            lag: Some(Duration::from_micros(140)),
            ..look(152, 200, 76.0, None)
        };
        insta::assert_snapshot!(paced.line(), @"152/200 requests: 2.0 req/s, 20 tok/s, 3 in flight, lag 0.1 ms, 0 failed");
        insta::assert_snapshot!(look(152, 200, 76.0, None).line(), @"152/200 requests: 2.0 req/s, 20 tok/s, 3 in flight, 0 failed");
        let conversations = Look {
            noun: "conversations",
            requests: 608,
            ..look(152, 200, 76.0, None)
        };
        insta::assert_snapshot!(conversations.line(), @"152/200 conversations: 8.0 req/s, 20 tok/s, 3 in flight, 0 failed");
        insta::assert_snapshot!(look(24, 1000, 6.0, Some(8.0)).line(), @"24 requests in 6s of 8s: 4.0 req/s, 40 tok/s, 3 in flight, 0 failed");
    }
}
