//! Owns how often the records of a run are read, and what is summed up each time.
//!
//! It must not know what the sums mean.

use evalscope_model::metrics::{EXACT_LIMIT, Metric};

/// Metrics that have intervals; those from the schedule only in paced runs.
const WITH_INTERVALS: [Metric; 6] = [
    Metric::Ttft,
    Metric::Ttfat,
    Metric::Tpot,
    Metric::Latency,
    Metric::LatencyFromSchedule,
    Metric::TtftFromSchedule,
];

/// Metrics that have percentiles in which failures count.
pub(super) const WITH_FAILURES: [Metric; 4] = [
    Metric::Ttft,
    Metric::Latency,
    Metric::LatencyFromSchedule,
    Metric::TtftFromSchedule,
];

/// Metrics of the plateau.
pub(super) const OF_PLATEAU: [Metric; 9] = [
    Metric::Ttft,
    Metric::Ttfat,
    Metric::Tpot,
    Metric::Itl,
    Metric::Latency,
    Metric::LatencyFromSchedule,
    Metric::TtftFromSchedule,
    Metric::InputTokens,
    Metric::OutputTokens,
];

/// Metrics of the segments of a profile.
pub(super) const OF_SEGMENTS: [Metric; 5] = [
    Metric::Ttft,
    Metric::Tpot,
    Metric::Latency,
    Metric::LatencyFromSchedule,
    Metric::TtftFromSchedule,
];

/// Metrics by model and by URL.
pub(super) const OF_MIX: [Metric; 5] = [
    Metric::Ttft,
    Metric::Tpot,
    Metric::Latency,
    Metric::InputTokens,
    Metric::OutputTokens,
];

/// Something to sum up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The distribution of a metric.
    Metric(Metric),
    /// The same with the intervals of its percentiles, from the same samples.
    WithIntervals(Metric),
    /// Percentiles with failures of a metric.
    WithFailures(Metric),
    /// Good requests.
    Goodput,
    /// The figures of a schedule.
    Load,
    /// A metric, for each segment of a profile; the first of them counts requests, too.
    Segments(Metric),
    /// A metric by model and by URL; the first of them counts requests, too.
    Mix(Metric),
    /// Where the plateau is; in an open loop that needs the verdicts on its constant rates, so they
    /// are of this work, too.
    PlateauSearch,
    /// Throughput and good requests of the plateau.
    PlateauTotals,
    /// The distribution of a metric on the plateau.
    PlateauMetric(Metric),
}

/// What a run has to be summed up.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of them is wanted or not, whatever the others are"
)]
pub(super) struct Wanted {
    pub(super) paced: bool,
    pub(super) objective: bool,
    pub(super) segments: bool,
    pub(super) handoff: bool,
    /// There are several models or URLs.
    pub(super) mixed: bool,
}

impl Wanted {
    /// All work. The search comes first, since work on the plateau has to wait for it.
    fn works(self) -> Vec<Work> {
        let from_schedule = |metric: &Metric| {
            matches!(
                metric,
                Metric::LatencyFromSchedule | Metric::TtftFromSchedule
            )
        };
        let has_intervals = |metric: &Metric| {
            WITH_INTERVALS.contains(metric) && (self.paced || !from_schedule(metric))
        };
        let mut works = vec![Work::PlateauSearch];
        let wanted = |metric: &Metric| self.handoff || !metric.is_of_handoff();
        works.extend(Metric::ALL.into_iter().filter(wanted).map(|metric| {
            if has_intervals(&metric) {
                Work::WithIntervals(metric)
            } else {
                Work::Metric(metric)
            }
        }));
        works.extend(WITH_FAILURES.map(Work::WithFailures));
        works.extend(self.objective.then_some(Work::Goodput));
        works.extend(self.paced.then_some(Work::Load));
        if self.segments {
            works.extend(OF_SEGMENTS.map(Work::Segments));
        }
        if self.mixed {
            works.extend(OF_MIX.map(Work::Mix));
        }
        works.push(Work::PlateauTotals);
        works.extend(OF_PLATEAU.map(Work::PlateauMetric));
        works
    }
}

impl Work {
    /// The first pass in which it can be done, where the search is in `search`.
    fn earliest(self, paced: bool, search: usize) -> usize {
        match self {
            Self::Metric(_)
            | Self::WithIntervals(_)
            | Self::WithFailures(_)
            | Self::Goodput
            | Self::Mix(_) => 0,
            // of a schedule, the first pass finds the first and the last moment
            Self::Load | Self::Segments(_) | Self::PlateauSearch => usize::from(paced),
            Self::PlateauTotals | Self::PlateauMetric(_) => search + 1,
        }
    }

    /// Samples held, of eight bytes.
    fn samples(self, rows: u64) -> u64 {
        const MEGABYTE: u64 = 131_072;
        match self {
            // a histogram takes over at the limit
            Self::Metric(metric) | Self::PlateauMetric(metric) if metric.per_gap() => {
                EXACT_LIMIT as u64
            }
            Self::Metric(_)
            | Self::WithFailures(_)
            | Self::Segments(_)
            | Self::PlateauMetric(_)
            | Self::Goodput => rows,
            // in two orders, one of them with the moment
            Self::WithIntervals(_) => 3 * rows,
            Self::Load | Self::Mix(_) => 2 * rows,
            Self::PlateauSearch => 11 * MEGABYTE,
            Self::PlateauTotals => MEGABYTE + 2 * rows,
        }
    }
}

/// Split the work so that no pass holds more samples than this, or only one piece of work; no work
/// comes before what it needs.
pub(super) fn passes(wanted: Wanted, rows: u64, samples_at_a_time: u64) -> Vec<Vec<Work>> {
    let mut passes: Vec<(u64, Vec<Work>)> = Vec::new();
    let mut search = 0;
    for work in wanted.works() {
        let samples = work.samples(rows);
        let room = |(held, works): &(u64, Vec<Work>)| {
            works.is_empty() || held + samples <= samples_at_a_time
        };
        let from = work.earliest(wanted.paced, search);
        let at = passes.iter().skip(from).position(room);
        let at = at.map_or(passes.len().max(from), |at| from + at);
        if at >= passes.len() {
            passes.resize_with(at + 1, Default::default);
        }
        passes[at].0 += samples;
        passes[at].1.push(work);
        if work == Work::PlateauSearch {
            search = at;
        }
    }
    passes.into_iter().map(|(_, works)| works).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Wanted = Wanted {
        paced: true,
        objective: true,
        segments: true,
        handoff: true,
        mixed: true,
    };

    #[test]
    fn passes_hold_few_samples_and_leave_nothing_out() {
        for rows in [0, 1, 1000, 300_000, 1_000_000, 10_000_000] {
            let passes = passes(EVERYTHING, rows, 4_000_000);
            for pass in &passes {
                let held: u64 = pass.iter().map(|work| work.samples(rows)).sum();
                assert!(pass.len() == 1 || held <= 4_000_000, "{rows}: {pass:?}");
            }
            let all = passes.concat();
            assert_eq!(all.len(), EVERYTHING.works().len());
            for work in EVERYTHING.works() {
                assert!(all.contains(&work), "{work:?}");
            }
        }
    }

    #[test]
    fn no_work_comes_before_what_it_needs() {
        for wanted in [EVERYTHING, CLOSED] {
            for rows in [0, 1000, 1_000_000] {
                let passes = passes(wanted, rows, 4_000_000);
                let of = |is: fn(&Work) -> bool| {
                    let has = move |works: &Vec<Work>| works.iter().any(is);
                    passes.iter().position(has)
                };
                assert!(passes.iter().all(|works| !works.is_empty()), "{passes:?}");
                let search = of(|work| *work == Work::PlateauSearch).unwrap();
                let scheduled = of(|work| matches!(work, Work::Load | Work::Segments(_)));
                assert!(!wanted.paced || search >= 1 && scheduled >= Some(1));
                let plateau =
                    of(|work| matches!(work, Work::PlateauTotals | Work::PlateauMetric(_)));
                assert!(plateau.unwrap() > search, "{passes:?}");
            }
        }
    }

    const CLOSED: Wanted = Wanted {
        paced: false,
        objective: false,
        segments: false,
        handoff: false,
        mixed: false,
    };

    #[test]
    fn a_run_is_read_as_rarely_as_its_samples_allow() {
        assert_eq!(passes(CLOSED, 1000, 4_000_000).len(), 2);
        assert_eq!(passes(EVERYTHING, 1000, 4_000_000).len(), 3);
        for wanted in [CLOSED, EVERYTHING] {
            let samples: u64 = wanted.works().iter().map(|w| w.samples(1_000_000)).sum();
            let at_a_time = 18_000_000;
            let passes = passes(wanted, 1_000_000, at_a_time);
            assert!(passes.len() as u64 <= samples / at_a_time + 1, "{passes:?}");
            // the fifth is for figures by model and URL
            let millions = if wanted.mixed { 5 } else { 3 };
            assert_eq!(passes.len(), millions, "{passes:?}");
        }
    }

    #[test]
    fn each_metric_is_summed_up_once() {
        for wanted in [CLOSED, EVERYTHING] {
            let works = wanted.works();
            for metric in Metric::ALL {
                let own = [Work::Metric(metric), Work::WithIntervals(metric)];
                let own = works.iter().filter(|work| own.contains(work));
                let is_left_out = metric.is_of_handoff() && !wanted.handoff;
                assert_eq!(own.count(), usize::from(!is_left_out), "{metric:?}");
            }
        }
    }
}
