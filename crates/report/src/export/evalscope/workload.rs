//! Owns tokens over time: the cumulative sums of `workload_timeline.json`, and the rates of
//! `workload_throughput.json` over three windows.
//!
//! It must not know where requests come from. Source: `WorkloadTimeline` of EvalScope 1.14.1,
//! whose time begins with the start of the request that ended first.

use evalscope_model::record::RequestRecord;
use evalscope_model::time::{RunClock, Timestamp};

use super::moments::{completion, start, unix_s};
use super::python::{Value, dict};
use crate::evalscope::rounded;

/// Seconds of the window at the end.
const LAST_WINDOW_S: f64 = 30.0;
/// Share of the time that the steady window leaves out at the beginning.
const WARMUP_SHARE: f64 = 0.2;

/// The successes of a run as they are gathered.
pub(super) struct Workload {
    clock: RunClock,
    requests: Vec<Request>,
}

struct Request {
    start: Timestamp,
    completion: Timestamp,
    output: u64,
    new_prompt: u64,
    cached_prompt: u64,
}

/// Sums of tokens.
#[derive(Clone, Copy, Default)]
struct Sums {
    output: u64,
    new_prompt: u64,
    cached_prompt: u64,
}

/// Sums at a moment.
#[derive(Clone, Copy, Default)]
struct Point {
    t_s: f64,
    sums: Sums,
}

/// The successes of a run in the order in which they ended; never empty.
pub(super) struct Timeline {
    wall_start_s: f64,
    points: Vec<Point>,
}

impl Workload {
    pub(super) fn new(clock: RunClock) -> Self {
        Self {
            clock,
            requests: Vec::new(),
        }
    }

    /// Take a success in, in the order in which they ended.
    pub(super) fn push(&mut self, record: &RequestRecord) {
        let prompt = record.prompt_tokens().0.unwrap_or(0);
        let cached_prompt = record.usage.cached_tokens.unwrap_or(0);
        self.requests.push(Request {
            start: start(record),
            completion: completion(record),
            output: record.output_tokens().0.unwrap_or(0),
            new_prompt: prompt.saturating_sub(cached_prompt),
            cached_prompt,
        });
    }

    /// `None` without a success.
    pub(super) fn finish(self) -> Option<Timeline> {
        let origin = self.requests.first()?.start;
        let mut sums = Sums::default();
        let points = self.requests.iter().map(|request| {
            sums.output = sums.output.saturating_add(request.output);
            sums.new_prompt = sums.new_prompt.saturating_add(request.new_prompt);
            sums.cached_prompt = sums.cached_prompt.saturating_add(request.cached_prompt);
            Point {
                t_s: request.completion.nanos_since(origin) as f64 / 1e9,
                sums,
            }
        });
        Some(Timeline {
            points: points.collect(),
            wall_start_s: unix_s(&self.clock, origin),
        })
    }
}

impl Timeline {
    fn last(&self) -> Point {
        *self.points.last().expect("a timeline is never empty")
    }

    /// The latest point up to this moment, or the first.
    fn anchor(&self, t_s: f64) -> usize {
        let behind = self.points.partition_point(|point| point.t_s <= t_s);
        behind.saturating_sub(1)
    }

    /// Tokens per second since a point: of prompts, new and cached ones, and of output.
    fn rates_since(&self, anchor: Point) -> [f64; 4] {
        let last = self.last();
        let span = last.t_s - anchor.t_s;
        if span <= 0.0 {
            return [0.0; 4];
        }
        let new = last.sums.new_prompt - anchor.sums.new_prompt;
        let cached = last.sums.cached_prompt - anchor.sums.cached_prompt;
        let output = last.sums.output - anchor.sums.output;
        [new.saturating_add(cached), new, cached, output].map(|tokens| tokens as f64 / span)
    }

    fn overall(&self) -> [f64; 4] {
        self.rates_since(Point::default())
    }

    fn last_window(&self) -> [f64; 4] {
        let wall_s = self.last().t_s;
        if wall_s <= LAST_WINDOW_S {
            return self.overall();
        }
        self.rates_since(self.points[self.anchor(wall_s - LAST_WINDOW_S)])
    }

    fn steady(&self) -> [f64; 4] {
        let anchor = self.anchor(self.last().t_s * WARMUP_SHARE);
        if self.last().t_s <= 0.0 || anchor + 1 == self.points.len() {
            return self.overall();
        }
        self.rates_since(self.points[anchor])
    }

    /// `workload_throughput.json`.
    pub(super) fn throughput(&self) -> Value {
        let (overall, last_window, steady) = (self.overall(), self.last_window(), self.steady());
        let labels = [
            "Total Prompt tok/s",
            "New Prompt tok/s",
            "Cached Prompt tok/s",
            "Completion tok/s",
        ];
        let rows = labels.iter().enumerate().map(|(i, label)| {
            dict([
                ("metric", (*label).into()),
                ("overall", overall[i].into()),
                ("last_window", last_window[i].into()),
                ("steady_state", steady[i].into()),
            ])
        });
        dict([
            ("n_samples", (self.points.len() as u64).into()),
            ("wall_time_s", rounded(self.last().t_s, 4).into()),
            ("last_window_s", LAST_WINDOW_S.into()),
            ("warmup_frac", WARMUP_SHARE.into()),
            ("rows", Value::List(rows.collect())),
        ])
    }

    /// `workload_timeline.json`.
    pub(super) fn points(&self) -> Value {
        let points = self.points.iter().map(|point| {
            dict([
                ("t", rounded(point.t_s, 6).into()),
                ("cum_completion", point.sums.output.into()),
                ("cum_new_prompt", point.sums.new_prompt.into()),
                ("cum_cached_prompt", point.sums.cached_prompt.into()),
            ])
        });
        dict([
            ("wall_start", self.wall_start_s.into()),
            ("points", Value::List(points.collect())),
        ])
    }
}
