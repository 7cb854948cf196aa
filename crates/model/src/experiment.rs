//! Owns the order in which a command measures its points, and what each may learn from those
//! before it.
//!
//! It must not know how a point is measured, nor where its results are kept.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

use crate::plan::RunSpec;
use crate::search::{ProbeJudgement, ProbePlan, SearchRecord};
use crate::sla::SlaFigure;

/// Chooses the points of a command, one after the other.
pub trait Experiment: Debug {
    /// The next point, given the results of all points before it; `None` when all is measured.
    fn next(&mut self, done: &[PointResult]) -> Option<Point>;

    /// What the last result says to somebody who follows the command, in lines.
    fn remarks(&self, _done: &[PointResult]) -> Vec<String> {
        Vec::new()
    }

    /// What was searched for and found so far; `None` if nothing is searched for.
    fn search(&self, _done: &[PointResult]) -> Option<SearchRecord> {
        None
    }
}

/// A point to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its load.
    pub spec: RunSpec,
    /// How it is watched and judged, where its load ends as soon as enough is known.
    pub probe: Option<ProbePlan>,
}

/// What a point came to.
#[derive(Clone, Debug, PartialEq)]
pub struct PointResult {
    /// The load that was asked for.
    pub spec: RunSpec,
    /// Measured requests, whatever became of them.
    pub measured_requests: u64,
    /// Measured requests that were sent.
    pub sent: u64,
    /// Those of them that succeeded.
    pub succeeded: u64,
    /// How many failed, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Figures over all measured requests, in the units of `--sla-params`; those that there are.
    pub figures: BTreeMap<SlaFigure, f64>,
    /// The share of prompt tokens that the server had in its prefix cache, if it says so.
    pub cached_share: Option<f64>,
    /// What it was judged to be, if it was a probe: on the limits of its search, then on those of each other
    /// search.
    pub judgements: Vec<ProbeJudgement>,
    /// This program was the limit.
    pub client_limited: bool,
    /// How long it took, seconds.
    pub took_s: f64,
}

impl PointResult {
    /// What it was judged to be on the limits of its own search.
    #[must_use]
    pub fn judgement(&self) -> Option<&ProbeJudgement> {
        self.judgements.first()
    }
}

/// The points of a plan, in order.
#[derive(Clone, Debug)]
pub struct Planned {
    points: VecDeque<RunSpec>,
    /// Every point begins at the first prompt.
    repeat_prompts: bool,
}

impl Planned {
    /// The points of a plan. A point goes on with the prompts behind those of the points before it,
    /// unless prompts repeat.
    #[must_use]
    pub fn new(points: &[RunSpec], repeat_prompts: bool) -> Self {
        Self {
            points: points.iter().cloned().collect(),
            repeat_prompts,
        }
    }
}

impl Experiment for Planned {
    fn next(&mut self, done: &[PointResult]) -> Option<Point> {
        let mut spec = self.points.pop_front()?;
        if !self.repeat_prompts {
            // what a point without a number uses is known only now
            let used = done
                .iter()
                .filter(|point| point.spec.requests.is_none())
                .map(|point| point.measured_requests);
            spec.dataset_offset += used.sum::<u64>();
        }
        Some(Point { spec, probe: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{OpenLoop, Pacing};
    use crate::point::PointId;

    fn spec(name: &str, requests: Option<u64>, dataset_offset: u64) -> RunSpec {
        RunSpec {
            point: PointId::first(name),
            concurrency: None,
            open_loop: OpenLoop::default(),
            requests,
            conversations: None,
            connections: crate::conversation::KeepConnection::Keep,
            pacing: Pacing::Unpaced,
            warmup_requests: 0,
            duration_s: Some(1.0),
            drain_timeout_s: None,
            seed: 0,
            dataset_offset,
            shard: crate::shard::Shard::WHOLE,
        }
    }

    fn result(spec: RunSpec, measured_requests: u64) -> PointResult {
        PointResult {
            spec,
            measured_requests,
            sent: measured_requests,
            succeeded: measured_requests,
            failures: BTreeMap::new(),
            figures: BTreeMap::new(),
            cached_share: None,
            judgements: Vec::new(),
            client_limited: false,
            took_s: 1.0,
        }
    }

    fn offsets(repeat_prompts: bool) -> Vec<u64> {
        let points = [
            spec("a", Some(10), 0),
            spec("b", None, 10),
            spec("c", None, 10),
        ];
        let mut experiment = Planned::new(&points, repeat_prompts);
        let mut done = Vec::new();
        while let Some(point) = experiment.next(&done) {
            done.push(result(point.spec, 7));
        }
        done.iter().map(|point| point.spec.dataset_offset).collect()
    }

    #[test]
    fn points_go_on_where_the_ones_before_ended() {
        assert_eq!(offsets(false), [0, 10, 17]);
        assert_eq!(offsets(true), [0, 10, 10]);
    }

    /// Adds requests as long as that makes more of them succeed in time.
    #[derive(Debug)]
    struct UntilNoMore;

    impl Experiment for UntilNoMore {
        fn next(&mut self, done: &[PointResult]) -> Option<Point> {
            let measured: Vec<u64> = done.iter().map(|point| point.measured_requests).collect();
            if let [.., last, this] = measured[..]
                && this <= last
            {
                return None;
            }
            let before = done.iter().map(|point| &point.spec.point);
            let mut spec = spec("search", Some(1 << done.len()), 0);
            spec.point = PointId::after(before, "search");
            Some(Point { spec, probe: None })
        }
    }

    #[test]
    fn an_experiment_learns_from_what_was_measured() {
        let mut done = Vec::new();
        while let Some(Point { spec, .. }) = UntilNoMore.next(&done) {
            let measured_requests = spec.requests.unwrap().min(5);
            done.push(result(spec, measured_requests));
        }
        let ids = done.iter().map(|point| &point.spec.point);
        let folders: Vec<String> = ids.map(PointId::folder).collect();
        assert_eq!(
            folders,
            ["search", "search_2", "search_3", "search_4", "search_5"]
        );
    }
}
