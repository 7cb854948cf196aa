//! Owns tokens over time: the cumulative sums of `workload_timeline.json`, and the rates of
//! `workload_throughput.json` over three windows.
//!
//! It must not know where requests come from. Source of the keys: `WorkloadTimeline` of EvalScope
//! 1.14.1.

use std::collections::BTreeMap;

use evalscope_model::record::RequestRecord;
use evalscope_model::time::{RunClock, Timestamp};
use serde_json::{Value, json};

use crate::evalscope::rounded;

/// Seconds of the window at the end.
const LAST_WINDOW_S: f64 = 30.0;
/// Share of the time that the steady window leaves out at the beginning.
const WARMUP_SHARE: f64 = 0.2;

/// Sums of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    output: u64,
    new_prompt: u64,
    cached_prompt: u64,
    /// Of prompts whose server did not say how much of them was cached.
    other_prompt: u64,
}

impl Sums {
    /// The tokens of a success.
    fn of(record: &RequestRecord) -> Self {
        let prompt = record.prompt_tokens().0.unwrap_or(0);
        let sums = Self {
            output: record.output_tokens().0.unwrap_or(0),
            ..Self::default()
        };
        match record.usage.cached_tokens {
            Some(cached) => Self {
                new_prompt: prompt.saturating_sub(cached),
                cached_prompt: cached,
                ..sums
            },
            None => Self {
                other_prompt: prompt,
                ..sums
            },
        }
    }

    fn add(&mut self, other: Self) {
        self.output = self.output.saturating_add(other.output);
        self.new_prompt = self.new_prompt.saturating_add(other.new_prompt);
        self.cached_prompt = self.cached_prompt.saturating_add(other.cached_prompt);
        self.other_prompt = self.other_prompt.saturating_add(other.other_prompt);
    }

    /// What came after some sums that were part of these.
    fn since(self, before: Self) -> Self {
        Self {
            output: self.output - before.output,
            new_prompt: self.new_prompt - before.new_prompt,
            cached_prompt: self.cached_prompt - before.cached_prompt,
            other_prompt: self.other_prompt - before.other_prompt,
        }
    }

    fn prompt(self) -> u64 {
        let known = self.new_prompt.saturating_add(self.cached_prompt);
        known.saturating_add(self.other_prompt)
    }

    /// Prompt tokens that did not come from the cache.
    fn new_prompt(self, unreported: Unreported) -> u64 {
        match unreported {
            Unreported::Null => self.new_prompt,
            Unreported::Zero => self.new_prompt.saturating_add(self.other_prompt),
        }
    }
}

/// Sums at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    t_s: f64,
    sums: Sums,
}

/// Which number stands for the cached tokens of a server that reports none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreported {
    /// Nothing.
    Null,
    /// 0, as in EvalScope: every token of a prompt is new then.
    Zero,
}

/// Which tokens are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Those of prompts.
    Prompt,
    /// Those of prompts that did not come from the server's cache.
    NewPrompt,
    /// Those that did.
    CachedPrompt,
    /// Those that were generated.
    Output,
}

impl Counted {
    /// In the order of [`Timeline::rates_since`].
    const ALL: [Self; 4] = [
        Self::Prompt,
        Self::NewPrompt,
        Self::CachedPrompt,
        Self::Output,
    ];

    const fn key(self) -> &'static str {
        match self {
            Self::Prompt => "Total Prompt tok/s",
            Self::NewPrompt => "New Prompt tok/s",
            Self::CachedPrompt => "Cached Prompt tok/s",
            Self::Output => "Completion tok/s",
        }
    }

    const fn depends_on_cache(self) -> bool {
        matches!(self, Self::NewPrompt | Self::CachedPrompt)
    }
}

/// Tokens per second in three windows; `None` where they are unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) counted: Counted,
    pub(crate) overall: Option<f64>,
    pub(crate) last_window: Option<f64>,
    pub(crate) steady: Option<f64>,
}

/// The tokens of the successes of a run over time; never empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timeline {
    wall_start_s: f64,
    samples: u64,
    points: Vec<Point>,
    /// A server has reported cached tokens.
    knows_cache: bool,
    /// Where a window begins by whose start no response had ended.
    earliest: Point,
}

/// Collects the successes of a run, in any order. Up to so many moments it knows each of them; then
/// it knows the last one in each of as many spans, so that memory stays where it is.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    most_points: usize,
    /// Spans are two to the power of this long, nanoseconds.
    shift: u32,
    spans: BTreeMap<u64, (Timestamp, Sums)>,
    begun: Option<Timestamp>,
    /// The success that ended first: its end and its start.
    first: Option<(Timestamp, Timestamp)>,
    samples: u64,
    knows_cache: bool,
}

/// When a response was complete.
fn completion(record: &RequestRecord) -> Timestamp {
    record.times.last_data.unwrap_or(record.times.ended)
}

fn start(record: &RequestRecord) -> Timestamp {
    record.times.write_begun.unwrap_or(record.times.dispatched)
}

impl Workload {
    pub(crate) fn new(most_points: usize) -> Self {
        Self {
            most_points,
            shift: 0,
            spans: BTreeMap::new(),
            begun: None,
            first: None,
            samples: 0,
            knows_cache: false,
        }
    }

    /// Add a success.
    pub(crate) fn push(&mut self, record: &RequestRecord) {
        let (start, at) = (start(record), completion(record));
        self.samples += 1;
        self.knows_cache |= record.usage.cached_tokens.is_some();
        self.begun = Some(self.begun.map_or(start, |begun| begun.min(start)));
        if self.first.is_none_or(|first| (at, start) < first) {
            self.first = Some((at, start));
        }
        self.add(at, Sums::of(record));
        while self.spans.len() > self.most_points {
            self.shift += 1;
            for (at, sums) in std::mem::take(&mut self.spans).into_values() {
                self.add(at, sums);
            }
        }
    }

    fn add(&mut self, at: Timestamp, sums: Sums) {
        let span = at.as_nanos() >> self.shift;
        let (last, all) = self.spans.entry(span).or_insert((at, Sums::default()));
        *last = at.max(*last);
        all.add(sums);
    }

    /// The timeline, from the first start on; `None` without a success.
    pub(crate) fn finish(self, clock: &RunClock) -> Option<Timeline> {
        let origin = self.begun?;
        Some(self.from(origin, clock))
    }

    /// The timeline from the start of the request that ended first, as EvalScope has it. Its windows begin
    /// with the first end at the earliest, and count too much if that was part of a burst.
    pub(crate) fn finish_as_evalscope(self, clock: &RunClock) -> Option<Timeline> {
        let (_, origin) = self.first?;
        let mut timeline = self.from(origin, clock);
        timeline.earliest = timeline.points[0];
        Some(timeline)
    }

    fn from(self, origin: Timestamp, clock: &RunClock) -> Timeline {
        let mut sums = Sums::default();
        let points = self.spans.into_values().map(|(at, own)| {
            sums.add(own);
            Point {
                t_s: at.nanos_since(origin) as f64 / 1e9,
                sums,
            }
        });
        Timeline {
            points: points.collect(),
            samples: self.samples,
            wall_start_s: clock.unix_ns(origin) as f64 / 1e9,
            knows_cache: self.knows_cache,
            earliest: Point::default(),
        }
    }
}

impl Timeline {
    fn last(&self) -> Point {
        *self.points.last().expect("a timeline is never empty")
    }

    /// The latest point up to this moment.
    fn anchor(&self, t_s: f64) -> Point {
        let behind = self.points.partition_point(|point| point.t_s <= t_s);
        match behind.checked_sub(1) {
            Some(at) => self.points[at],
            None => self.earliest,
        }
    }

    /// Tokens per second since a point: of prompts, new and cached ones, and of output.
    fn rates_since(&self, anchor: Point, unreported: Unreported) -> [f64; 4] {
        let last = self.last();
        let span = last.t_s - anchor.t_s;
        if span <= 0.0 {
            return [0.0; 4];
        }
        let sums = last.sums.since(anchor.sums);
        let new = sums.new_prompt(unreported);
        [sums.prompt(), new, sums.cached_prompt, sums.output].map(|tokens| tokens as f64 / span)
    }

    fn last_window(&self) -> Point {
        let wall_s = self.last().t_s;
        if wall_s <= LAST_WINDOW_S {
            return Point::default();
        }
        self.anchor(wall_s - LAST_WINDOW_S)
    }

    fn steady(&self) -> Point {
        let last = self.last();
        let anchor = self.anchor(last.t_s * WARMUP_SHARE);
        if last.t_s <= 0.0 || anchor == last {
            return Point::default();
        }
        anchor
    }

    /// The last window is shorter than the whole run.
    pub(crate) fn has_last_window(&self) -> bool {
        self.last().t_s > LAST_WINDOW_S
    }

    /// What was read and generated per second.
    pub(crate) fn rates(&self, unreported: Unreported) -> [Rates; 4] {
        let windows = [Point::default(), self.last_window(), self.steady()];
        let rates = windows.map(|anchor| self.rates_since(anchor, unreported));
        let knows_cache = self.knows_cache || unreported == Unreported::Zero;
        std::array::from_fn(|nth| {
            let counted = Counted::ALL[nth];
            let is_known = knows_cache || !counted.depends_on_cache();
            let [overall, last_window, steady] = rates.map(|rates| is_known.then_some(rates[nth]));
            Rates {
                counted,
                overall,
                last_window,
                steady,
            }
        })
    }

    /// `workload_throughput.json`.
    pub(crate) fn throughput(&self, unreported: Unreported) -> Value {
        let rows = self.rates(unreported).map(|rates| {
            json!({
                "metric": rates.counted.key(),
                "overall": rates.overall,
                "last_window": rates.last_window,
                "steady_state": rates.steady,
            })
        });
        json!({
            "n_samples": self.samples,
            "wall_time_s": rounded(self.last().t_s, 4),
            "last_window_s": LAST_WINDOW_S,
            "warmup_frac": WARMUP_SHARE,
            "rows": rows,
        })
    }

    /// `workload_timeline.json`.
    pub(crate) fn points(&self, unreported: Unreported) -> Value {
        let is_known = self.knows_cache || unreported == Unreported::Zero;
        let points = self.points.iter().map(|point| {
            let sums = &point.sums;
            json!({
                "t": rounded(point.t_s, 6),
                "cum_completion": sums.output,
                "cum_new_prompt": is_known.then(|| sums.new_prompt(unreported)),
                "cum_cached_prompt": is_known.then_some(sums.cached_prompt),
            })
        });
        json!({
            "wall_start": self.wall_start_s,
            "points": points.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;

    fn timeline(most_points: usize, n: u64) -> Timeline {
        let mut workload = Workload::new(most_points);
        // any order is the same
        for exchange in samples::successes(n).iter().rev() {
            workload.push(&exchange.record);
        }
        workload.finish(&samples::meta("m").clock).unwrap()
    }

    #[test]
    fn tokens_are_counted_as_responses_end() {
        let all = timeline(100, 4);
        let value = all.points(Unreported::Null);
        let points = value["points"].as_array().unwrap();
        assert_eq!(points.len(), 4);
        assert_eq!(points[3]["cum_completion"], 80);
        assert_eq!(points[3]["cum_cached_prompt"], 64);
        assert_eq!(points[3]["cum_new_prompt"], 40 + 41 + 42 + 43 - 64);
        // sent at 1 ms, and the last one 150 ms later, for 47.3 ms
        assert_eq!(points[3]["t"], 0.1973);
        let throughput = all.throughput(Unreported::Null);
        assert_eq!(throughput["n_samples"], 4);
        assert_eq!(throughput["rows"][3]["overall"], 80.0 / 0.1973);
    }

    #[test]
    fn what_no_server_reported_is_null_and_in_evalscope_0() {
        let mut workload = Workload::new(100);
        for mut exchange in samples::successes(2) {
            exchange.record.usage.cached_tokens = None;
            workload.push(&exchange.record);
        }
        let all = workload.finish(&samples::meta("m").clock).unwrap();
        let rates = all.throughput(Unreported::Null);
        assert!(rates["rows"][0]["overall"].is_f64());
        assert!(rates["rows"][1]["overall"].is_null() && rates["rows"][2]["overall"].is_null());
        assert!(all.points(Unreported::Null)["points"][0]["cum_new_prompt"].is_null());
        let rates = all.throughput(Unreported::Zero);
        assert_eq!(rates["rows"][1]["overall"], rates["rows"][0]["overall"]);
        assert_eq!(rates["rows"][2]["overall"], 0.0);
        assert!(Workload::new(1).finish(&samples::meta("m").clock).is_none());
    }

    /// All responses end in the last tenth of a second of two.
    #[test]
    fn a_burst_at_the_end_is_not_taken_for_a_steady_rate() {
        let mut workload = Workload::new(100);
        for (nth, mut exchange) in samples::successes(10).into_iter().enumerate() {
            let times = &mut exchange.record.times;
            let at = |ms: u64| Timestamp::from_nanos(ms * 1_000_000);
            times.write_begun = Some(at(1000));
            times.last_data = Some(at(2900 + 10 * (nth as u64 + 1)));
            workload.push(&exchange.record);
        }
        let clock = samples::meta("m").clock;
        let steady = |timeline: Timeline| timeline.rates(Unreported::Null)[3].steady.unwrap();
        let ours = steady(workload.clone().finish(&clock).unwrap());
        assert!((ours - 100.0).abs() < 1e-9, "200 tokens in 2 s: {ours}");
        // the rate of the burst
        let theirs = steady(workload.finish_as_evalscope(&clock).unwrap());
        assert!((theirs - 2000.0).abs() < 1e-6, "{theirs}");
    }

    proptest! {
        #[test]
        fn few_points_are_some_of_all(n in 1_u64..60, most in 1_usize..70) {
            let (all, few) = (timeline(usize::MAX, n), timeline(most, n));
            prop_assert!(few.points.len() <= most);
            prop_assert!(few.points.iter().all(|point| all.points.contains(point)));
            prop_assert_eq!(few.last(), all.last());
            prop_assert_eq!(few.samples, n);
        }
    }
}
