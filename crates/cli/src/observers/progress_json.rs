//! Owns the JSON lines of `--progress json`: what other programs learn of a command while it runs, a
//! line for each event. `docs/watching.md` describes every key.
//!
//! It must not know what a run is made of, nor how it is stopped.

use std::time::Duration;

use evalscope_model::plan::RunSpec;
use evalscope_model::time::{RunClock, Timestamp, wall_ns};
use evalscope_report::RunState;
use serde::Serialize;

use super::standing::{Look, Standing, Unit};
use crate::console::{self, unix_s};

/// Whether events are written to stderr as JSON lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressLines {
    /// For people: a bar or a line now and then, and no events.
    Off,
    /// For programs.
    On,
}

/// What happens to a run.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    Ready {
        unix_s: f64,
        run: &'a str,
    },
    Late {
        unix_s: f64,
        run: &'a str,
        by_s: f64,
    },
    Progress(&'a Progress),
    Ended(&'a EndedRun),
}

/// How far a run is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Progress {
    unix_s: f64,
    run: String,
    phase: PhaseName,
    elapsed_s: f64,
    left_s: Option<f64>,
    done_ratio: f64,
    /// `None`: the run is not a probe of a search.
    search_done_ratio: Option<f64>,
    ended_requests: u64,
    failed_requests: u64,
    in_flight_requests: u64,
    /// `None`: limited by time, or by conversations.
    total_requests: Option<u64>,
    /// `None`: a run of single requests.
    ended_conversations: Option<u64>,
    total_conversations: Option<u64>,
    input_tokens: u64,
    output_tokens: u64,
    requests_per_s: f64,
    output_tokens_per_s: f64,
    /// `None` where nothing is due at a moment.
    lag_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum PhaseName {
    WarmUp,
    Measuring,
}

/// How a run ended, with its last figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndedRun {
    #[serde(flatten)]
    pub(crate) progress: Progress,
    pub(crate) state: RunState,
    pub(crate) folder: String,
}

impl ProgressLines {
    /// Everything is prepared, and the load of a run begins, or waits for its common start.
    pub(crate) fn ready(self, run: &str) {
        let unix_s = unix_s(wall_ns());
        self.write(&Event::Ready { unix_s, run });
    }

    /// A run could not begin at its common start, and sends nothing.
    pub(crate) fn late(self, run: &str, by: Duration) {
        self.write(&Event::Late {
            unix_s: unix_s(wall_ns()),
            run,
            by_s: rounded(by.as_secs_f64()),
        });
    }

    /// A run is under way.
    pub(super) fn progress(self, progress: &Progress) {
        self.write(&Event::Progress(progress));
    }

    /// A run is over.
    pub(crate) fn ended(self, run: &EndedRun) {
        self.write(&Event::Ended(run));
    }

    fn write(self, event: &Event<'_>) {
        if self == Self::On {
            console::json_line(event);
        }
    }
}

impl Event<'_> {
    /// The event as a line, without its end.
    pub(super) fn line(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl Standing {
    /// How far the run is at a moment, for other programs.
    pub(crate) fn progress(&self, spec: &RunSpec, clock: &RunClock, now: Timestamp) -> Progress {
        Progress::of(&self.look(spec, now), spec, clock.unix_ns(now))
    }
}

impl Progress {
    fn of(look: &Look, spec: &RunSpec, unix_ns: u64) -> Self {
        let per_second = |count: u64| {
            let seconds = look.elapsed.as_secs_f64().max(1e-3);
            rounded(count as f64 / seconds)
        };
        let conversations = look.unit == Unit::Conversations;
        Self {
            unix_s: unix_s(unix_ns),
            run: spec.point.label.clone(),
            phase: if look.measuring {
                PhaseName::Measuring
            } else {
                PhaseName::WarmUp
            },
            elapsed_s: rounded(look.elapsed.as_secs_f64()),
            left_s: look.left().map(|left| rounded(left.as_secs_f64())),
            done_ratio: rounded(look.done()),
            search_done_ratio: look.of_search.map(rounded),
            ended_requests: look.requests,
            failed_requests: look.failed,
            in_flight_requests: look.in_flight,
            total_requests: look.total.filter(|_| !conversations),
            ended_conversations: conversations.then_some(look.ended),
            total_conversations: look.total.filter(|_| conversations),
            input_tokens: look.input_tokens,
            output_tokens: look.output_tokens,
            requests_per_s: per_second(look.requests),
            output_tokens_per_s: per_second(look.output_tokens),
            lag_ms: look.lag.map(|lag| rounded(lag.as_secs_f64() * 1e3)),
        }
    }
}

/// To three places, which is more than any of these figures is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that has everything.
    fn progress() -> Progress {
        Progress {
            unix_s: 1_795_623_158.25,
            run: "parallel_8_number_200".to_owned(),
            phase: PhaseName::Measuring,
            elapsed_s: 12.0,
            left_s: Some(8.0),
            done_ratio: 0.6,
            search_done_ratio: Some(0.15),
            ended_requests: 120,
            failed_requests: 1,
            in_flight_requests: 8,
            total_requests: Some(200),
            ended_conversations: Some(30),
            total_conversations: Some(50),
            input_tokens: 12_000,
            output_tokens: 24_000,
            requests_per_s: 10.0,
            output_tokens_per_s: 2000.0,
            lag_ms: Some(0.1),
        }
    }

    fn all() -> Vec<String> {
        let progress = progress();
        let (unix_s, run) = (progress.unix_s, "parallel_8_number_200");
        let ended = EndedRun {
            state: RunState::Finished,
            folder: "outputs/20261126_070000/m/parallel_8_number_200".to_owned(),
            progress: progress.clone(),
        };
        let late = Event::Late {
            unix_s,
            run,
            by_s: 0.75,
        };
        [
            Event::Ready { unix_s, run },
            late,
            Event::Progress(&progress),
            Event::Ended(&ended),
        ]
        .iter()
        .map(|event| event.line().unwrap())
        .collect()
    }

    #[test]
    fn each_event_is_a_line() {
        insta::assert_snapshot!(all().join("\n"));
    }

    #[test]
    fn every_key_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/watching.md");
        let document = std::fs::read_to_string(path).unwrap();
        for line in all() {
            let event: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&line).unwrap();
            for key in event.keys() {
                let row = format!("\n| `{key}` |");
                assert!(document.contains(&row), "no row for `{key}`");
            }
        }
    }
}
