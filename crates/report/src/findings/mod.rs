//! Owns what a report remarks on: each finding is a small pure function from figures to a
//! sentence with an id, or to nothing.
//!
//! It must not know where the figures come from, nor how sentences are shown.

mod client;
mod id;
mod load;
mod run;
mod stream;
mod tokens;

use std::collections::BTreeMap;

use evalscope_model::events::{RunEvent, Warning};
use evalscope_model::metrics::{ClientReport, RunTotals};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::FailureKind;
use serde::Serialize;

use crate::model::RunState;

pub use id::{FindingId, Severity};
pub use load::Spacing;

/// Something a reader of the figures must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Finding {
    /// Which finding it is; stable, for programs.
    pub id: FindingId,
    /// How much it matters.
    pub severity: Severity,
    /// The finding in words, for people; the words may change.
    pub text: String,
}

impl Finding {
    /// A finding in words.
    #[must_use]
    pub fn new(id: FindingId, text: impl Into<String>) -> Self {
        Self {
            id,
            severity: id.severity(),
            text: text.into(),
        }
    }
}

/// What only the process knows goes to the database while the run is under way.
impl From<Finding> for RunEvent {
    fn from(finding: Finding) -> Self {
        Self::Warning(finding.into())
    }
}

impl From<Finding> for Warning {
    fn from(finding: Finding) -> Self {
        Self {
            id: finding.id.as_str(),
            text: finding.text,
        }
    }
}

/// What became of warm-up requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warmup {
    /// Requests sent.
    pub total: u64,
    /// Those that failed, by kind.
    pub failed: BTreeMap<FailureKind, u64>,
}

/// Everything findings are drawn from.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// How far the run came.
    pub state: RunState,
    /// The load asked for.
    pub load: &'a RunSpec,
    /// Sums over the measured requests.
    pub totals: &'a RunTotals,
    /// The client's own figures.
    pub client: &'a ClientReport,
    /// When requests were due and when they left.
    pub spacing: Spacing,
    /// What became of the requests before the measurement.
    pub warmup: &'a Warmup,
    /// Mean output tokens per token-bearing event; and the mean over responses with more than
    /// one token per event, if there are any.
    pub tokens_per_event: (Option<f64>, Option<f64>),
    /// Event streams were asked for.
    pub stream: bool,
    /// Successful streams that reported output tokens although no event bore one.
    pub unseen_tokens: u64,
}

/// All findings, the most serious first within each subject.
#[must_use]
pub fn all(evidence: &Evidence<'_>) -> Vec<Finding> {
    [
        run::unfinished,
        run::failures,
        run::failed_warmup,
        run::few_samples,
        load::rate_not_reached,
        load::not_sent,
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
        client::new_connections,
        client::user_clock,
        client::clock_steps,
    ]
    .into_iter()
    .filter_map(|finding| finding(evidence))
    .collect()
}

/// Part of a whole; `None` of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    // never "100 %" of what is not all, nor "0 %" of something
    if percent > 99.0 && percent < 100.0 || percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A number with its noun, in the plural where it is not 1.
fn counted(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use evalscope_model::metrics::Distribution;
    use evalscope_model::plan::Pacing;

    use super::*;

    pub(super) struct Case {
        pub(super) state: RunState,
        pub(super) load: RunSpec,
        pub(super) totals: RunTotals,
        pub(super) client: ClientReport,
        pub(super) spacing: Spacing,
        pub(super) warmup: Warmup,
        pub(super) tokens_per_event: (Option<f64>, Option<f64>),
        pub(super) stream: bool,
        pub(super) unseen_tokens: u64,
    }

    /// A run nothing can be said against.
    fn fine() -> Case {
        let totals = RunTotals {
            total: 1000,
            succeeded: 1000,
            streamed: 1000,
            input_known: 1000,
            token_events: 100_000,
            kernel_clock: 1000,
            new_connections: 10,
            token_sources: [("server_usage", 1000)].into(),
            ..RunTotals::default()
        };
        Case {
            state: RunState::Finished,
            load: RunSpec {
                name: "parallel_10_number_1000".to_owned(),
                concurrency: NonZeroUsize::new(10),
                requests: Some(1000),
                pacing: Pacing::Unpaced,
                warmup_requests: 0,
                duration_s: None,
                seed: 0,
                dataset_offset: 0,
            },
            client: ClientReport::judge(None, &totals, &Distribution::default()),
            totals,
            spacing: Spacing::default(),
            warmup: Warmup {
                total: 4,
                ..Warmup::default()
            },
            tokens_per_event: (Some(1.0), None),
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
            client: &case.client,
            spacing: case.spacing,
            warmup: &case.warmup,
            tokens_per_event: case.tokens_per_event,
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
