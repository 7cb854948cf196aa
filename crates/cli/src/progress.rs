//! Owns showing how far a run is: a bar where there is a terminal, a line now
//! and then where there is none. It only looks at counters, so it can neither
//! slow nor change what is measured.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evalscope_core::engine::Progress;
use evalscope_core::plan::RunSpec;
use evalscope_core::time::{RunClock, Timestamp};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::log::Log;

const REDRAW: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Shows a run while it lives.
#[derive(Debug)]
pub(crate) struct Display {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Display {
    pub(crate) fn start(
        spec: &RunSpec,
        progress: Arc<Progress>,
        clock: RunClock,
        log: Log,
        log_every: u64,
    ) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (seen, spec) = (Arc::clone(&done), spec.clone());
        let thread = std::thread::Builder::new()
            .name("evalscope-progress".to_owned())
            .spawn(move || show(&spec, &progress, &clock, &log, log_every, &seen))
            .ok();
        Self { done, thread }
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

/// What a line of progress says.
struct Look {
    ended: u64,
    failed: u64,
    in_flight: u64,
    requests_per_s: f64,
    tokens_per_s: f64,
    measuring: bool,
}

impl Look {
    fn at(progress: &Progress, since: Timestamp, now: Timestamp) -> Self {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let failed = read(&progress.failed);
        let ended = read(&progress.succeeded) + failed;
        let seconds = now.since(since).as_secs_f64().max(1e-3);
        Self {
            ended,
            failed,
            in_flight: progress.in_flight(),
            requests_per_s: ended as f64 / seconds,
            tokens_per_s: read(&progress.output_tokens) as f64 / seconds,
            measuring: read(&progress.measuring) == 1,
        }
    }

    fn text(&self) -> String {
        format!(
            "{:.1} req/s, {:.0} tok/s, {} in flight, {} failed",
            self.requests_per_s, self.tokens_per_s, self.in_flight, self.failed
        )
    }
}

fn show(
    spec: &RunSpec,
    progress: &Progress,
    clock: &RunClock,
    log: &Log,
    log_every: u64,
    done: &AtomicBool,
) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::with_draw_target(Some(spec.requests), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {pos}/{len} [{elapsed} < {eta}] {msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar
    });
    log.set_bar(bar.clone());
    let mut since = clock.now();
    let mut was_measuring = false;
    let mut next_heartbeat = clock.now().after(HEARTBEAT);
    let mut next_log = log_every;
    while !done.load(Ordering::Acquire) {
        std::thread::park_timeout(REDRAW);
        let now = clock.now();
        let look = Look::at(progress, since, now);
        if look.measuring && !was_measuring {
            was_measuring = true;
            since = now;
            next_log = log_every;
        }
        if let Some(bar) = &bar {
            let (name, total) = if look.measuring {
                ("measuring", spec.requests)
            } else {
                ("warm-up", spec.warmup_requests)
            };
            bar.set_prefix(name);
            bar.set_length(total);
            bar.set_position(look.ended);
            bar.set_message(look.text());
        }
        let line = || format!("{}/{} requests: {}", look.ended, spec.requests, look.text());
        if look.measuring && look.ended >= next_log {
            next_log = (look.ended / log_every + 1) * log_every;
            log.keep("INFO", clock.unix_ns(now), &line());
        }
        if now >= next_heartbeat {
            next_heartbeat = now.after(HEARTBEAT);
            if bar.is_none() {
                log.info(&line());
            }
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    log.set_bar(None);
}
