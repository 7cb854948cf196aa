//! Owns showing the progress of a run: a bar on a terminal, else a line now and then. It only reads
//! counters, so it can neither slow nor change what is measured.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evalscope_model::plan::RunSpec;
use evalscope_model::time::RunClock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::standing::{Look, Standing, Unit};
use super::{ProgressFile, ProgressLines, SearchProgress};
use crate::log::Log;

const REDRAW: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two lines of `--progress json`.
const LINES: Duration = Duration::from_secs(1);
/// Steps of the bar.
const BAR: u64 = 10_000;

/// Shows a run while it lives.
#[derive(Debug)]
pub(crate) struct Display {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Display {
    /// Show a run, as the standing that is returned says.
    pub(crate) fn start(
        spec: &RunSpec,
        clock: RunClock,
        log: Log,
        log_every: u64,
        file: Option<ProgressFile>,
        lines: ProgressLines,
        search: Option<SearchProgress>,
    ) -> (Self, Standing) {
        let done = Arc::new(AtomicBool::new(false));
        let standing = Standing::new(search);
        let (end, seen, spec) = (Arc::clone(&done), standing.clone(), spec.clone());
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
                    lines,
                };
                shown.until(&end);
            })
            .ok();
        (Self { done, thread }, standing)
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

impl Look {
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
        let work = match self.inputs {
            0 => format!("{:.0} tok/s", self.output_tokens as f64 / seconds),
            inputs => format!("{:.1} inputs/s", inputs as f64 / seconds),
        };
        format!(
            "{:.1} req/s, {work}, {} in flight{lag}, {} failed",
            self.requests as f64 / seconds,
            self.in_flight,
            self.failed
        )
    }

    /// For the log.
    fn line(&self) -> String {
        let warmup = if self.measuring { "" } else { "warm-up: " };
        let noun = match self.unit {
            Unit::Requests => "requests",
            Unit::Conversations => "conversations",
        };
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
    seen: &'a Standing,
    clock: &'a RunClock,
    log: &'a Log,
    log_every: u64,
    file: Option<&'a ProgressFile>,
    lines: ProgressLines,
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
            lines,
        } = *self;
        let draws = lines == ProgressLines::Off && std::io::stderr().is_terminal();
        let bar = draws.then(|| {
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
        let mut next_line = clock.now().after(LINES);
        let mut next_log = log_every;
        while !done.load(Ordering::Acquire) {
            std::thread::park_timeout(REDRAW);
            let now = clock.now();
            let look = seen.look(spec, now);
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
                file.run_goes_on(&look, clock, now);
            }
            if look.ended >= next_log {
                next_log = (look.ended / log_every + 1).saturating_mul(log_every);
                log.keep("INFO", clock.unix_ns(now), &look.line());
            }
            if now >= next_line {
                next_line = now.after(LINES);
                lines.progress(&seen.progress(spec, clock, now));
            }
            if now >= next_heartbeat {
                next_heartbeat = now.after(HEARTBEAT);
                if bar.is_none() && lines == ProgressLines::Off {
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
            unit: Unit::Requests,
            ended,
            requests: ended,
            total: Some(total),
            failed: 0,
            in_flight: 3,
            lag: None,
            inputs: 0,
            input_tokens: 5 * ended,
            output_tokens: 10 * ended,
            elapsed: Duration::from_secs_f64(elapsed_s),
            limit: limit_s.map(Duration::from_secs_f64),
            of_search: None,
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

    #[test]
    fn a_line_says_what_is_counted() {
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
        let embeddings = Look {
            inputs: 608,
            output_tokens: 0,
            ..look(152, 200, 76.0, None)
        };
        insta::assert_snapshot!(embeddings.line(), @"152/200 requests: 2.0 req/s, 8.0 inputs/s, 3 in flight, 0 failed");
        let conversations = Look {
            unit: Unit::Conversations,
            requests: 608,
            ..look(152, 200, 76.0, None)
        };
        insta::assert_snapshot!(conversations.line(), @"152/200 conversations: 8.0 req/s, 20 tok/s, 3 in flight, 0 failed");
        insta::assert_snapshot!(look(24, 1000, 6.0, Some(8.0)).line(), @"24 requests in 6s of 8s: 4.0 req/s, 40 tok/s, 3 in flight, 0 failed");
    }
}
