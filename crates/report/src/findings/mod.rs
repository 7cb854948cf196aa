//! Owns what a report remarks on: each finding is a small pure function from figures to a
//! sentence with an id, or to nothing.
//!
//! It must not know where the figures come from, nor how sentences are shown.

mod client;
mod conversations;
mod finding;
mod goodput;
mod id;
mod load;
mod plateau;
mod run;
mod shards;
mod spacing;
mod stream;
mod tokens;
mod trace;

pub use finding::{Evidence, Finding, Warmup};
pub use id::{FindingId, Severity};
pub use spacing::Spacing;
pub(crate) use trace::not_that_of_the_trace;

/// All findings, the most serious first within each subject.
#[must_use]
pub fn all(evidence: &Evidence<'_>) -> Vec<Finding> {
    [
        run::unfinished,
        shards::incomplete,
        run::failures,
        run::failed_warmup,
        run::few_warmup_requests,
        run::few_samples,
        load::server_saturated,
        load::server_undecided,
        load::cap_reached,
        load::stopped_by_load,
        load::requests_shed,
        load::requests_unfinished,
        goodput::never_applied,
        load::sent_late,
        load::rate_not_reached,
        load::not_sent,
        plateau::missing,
        plateau::differs,
        plateau::drifts,
        load::slow_dataset,
        stream::not_streamed,
        stream::unseen_tokens,
        stream::first_tokens_bundled,
        stream::events_bundled,
        stream::several_tokens_per_event,
        stream::compressed,
        stream::several_models,
        stream::no_end_marker,
        stream::skipped_events,
        tokens::estimated,
        tokens::unknown,
        tokens::unknown_of_prompts,
        tokens::reasoning_from_total,
        tokens::prompt_lengths,
        tokens::tokenizers_differ,
        conversations::abandoned,
        conversations::increments_off,
        conversations::no_cached_tokens,
        trace::not_faithful,
        trace::grid_of_stamps,
        client::new_connections,
        client::user_clock,
        client::clock_steps,
        shards::clocks,
        shards::started_late,
        shards::idle,
    ]
    .into_iter()
    .filter_map(|finding| finding(evidence))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use evalscope_model::metrics::{
        ClientReport, ConversationFigures, Distribution, Goodput, Metric, Plateau, RunTotals,
        TraceFigures,
    };
    use evalscope_model::plan::{OpenLoop, Pacing, RunSpec};
    use evalscope_model::point::PointId;

    use super::*;
    use crate::figures::{LoadFigures, MixFigures, PlateauFigures, WithoutPlateau};
    use crate::model::{RunState, ShardMeta};

    pub(super) struct Case {
        pub(super) state: RunState,
        pub(super) load: RunSpec,
        pub(super) totals: RunTotals,
        pub(super) client: ClientReport,
        pub(super) spacing: Spacing,
        pub(super) warmup: Warmup,
        pub(super) metrics: BTreeMap<Metric, Distribution>,
        pub(super) figures: Option<LoadFigures>,
        pub(super) plateau: Result<PlateauFigures, WithoutPlateau>,
        pub(super) goodput: Option<Goodput>,
        pub(super) conversations: Option<ConversationFigures>,
        pub(super) trace: Option<TraceFigures>,
        pub(super) shards: Vec<ShardMeta>,
        pub(super) missing_shards: Vec<u32>,
        pub(super) by_model: Vec<MixFigures>,
        pub(super) stream: bool,
        pub(super) unseen_tokens: u64,
    }

    impl Case {
        pub(super) fn metric(&mut self, metric: Metric) -> &mut Distribution {
            self.metrics.entry(metric).or_default()
        }

        pub(super) fn mean(&mut self, metric: Metric, mean: Option<f64>) {
            self.metric(metric).mean = mean;
        }
    }

    /// A plateau nothing can be said against.
    fn flat() -> PlateauFigures {
        PlateauFigures {
            totals: Plateau {
                start_s: 1.0,
                end_s: 9.0,
                start_moved_s: 0.0,
                requests: 800,
                succeeded: 800,
                failed: 0,
                requests_per_s: 100.0,
                output_tokens_per_s: Some(10_000.0),
                output_tokens_per_s_ci: None,
                input_tokens_per_s: None,
                output_trend: None,
                in_flight_trend: None,
            },
            goodput: None,
            metrics: BTreeMap::new(),
        }
    }

    /// A run nothing can be said against.
    fn fine() -> Case {
        let totals = RunTotals {
            total: 1000,
            succeeded: 1000,
            streamed: 1000,
            input_known: 1000,
            output_tokens: 100_000,
            token_events: 100_000,
            kernel_clock: 1000,
            new_connections: 10,
            token_sources: [("server_usage", 1000)].into(),
            ..RunTotals::default()
        };
        Case {
            state: RunState::Finished,
            load: RunSpec {
                point: PointId::first("parallel_10_number_1000"),
                concurrency: NonZeroUsize::new(10),
                open_loop: OpenLoop::default(),
                requests: Some(1000),
                conversations: None,
                connections: evalscope_model::conversation::KeepConnection::Keep,
                pacing: Pacing::Unpaced,
                warmup_requests: 0,
                duration_s: None,
                drain_timeout_s: None,
                seed: 0,
                dataset_offset: 0,
                shard: evalscope_model::shard::Shard::WHOLE,
            },
            client: ClientReport::judge(None, &totals, &Distribution::default()),
            totals,
            spacing: Spacing::default(),
            warmup: Warmup {
                total: 4,
                ..Warmup::default()
            },
            metrics: Metric::ALL
                .map(|metric| (metric, Distribution::default()))
                .into(),
            figures: None,
            plateau: Ok(flat()),
            goodput: None,
            conversations: None,
            trace: None,
            shards: Vec::new(),
            missing_shards: Vec::new(),
            by_model: Vec::new(),
            stream: true,
            unseen_tokens: 0,
        }
    }

    fn findings(change: impl FnOnce(&mut Case)) -> Vec<Finding> {
        let mut case = fine();
        change(&mut case);
        all(&Evidence {
            state: case.state,
            load: &case.load,
            totals: &case.totals,
            by_model: &case.by_model,
            client: &case.client,
            spacing: case.spacing,
            warmup: &case.warmup,
            metrics: &case.metrics,
            figures: case.figures.as_ref(),
            plateau: case.plateau.as_ref().map_err(|why| *why),
            goodput: case.goodput.as_ref(),
            conversations: case.conversations.as_ref(),
            trace: case.trace.as_ref(),
            shards: &case.shards,
            missing_shards: &case.missing_shards,
            stream: case.stream,
            unseen_tokens: case.unseen_tokens,
        })
    }

    /// The change makes one finding.
    #[track_caller]
    pub(super) fn one(change: impl FnOnce(&mut Case), id: FindingId, words: &str) {
        let found = findings(change);
        let [finding] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(
            finding.id == id && finding.text.contains(words),
            "{finding:?}"
        );
    }

    /// The change makes no finding.
    #[track_caller]
    pub(super) fn none(change: impl FnOnce(&mut Case)) {
        assert_eq!(findings(change), Vec::new());
    }

    #[test]
    fn nothing_is_found_in_a_good_run() {
        none(|_| ());
    }
}
