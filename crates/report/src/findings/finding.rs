//! Owns a finding, what findings are drawn from, and how they write shares and counts.
//!
//! It must not know which findings there are.

use std::collections::BTreeMap;

use evalscope_model::events::{RunEvent, Warning};
use evalscope_model::metrics::{
    ClientReport, ConversationFigures, Distribution, Goodput, Metric, RunTotals, TraceFigures,
};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::{FailureKind, RequestRecord};
use serde::Serialize;

use super::id::{FindingId, Severity};
use super::spacing::Spacing;
use crate::figures::{LoadFigures, MixFigures, PlateauFigures, WithoutPlateau};
use crate::model::{RunState, ShardMeta};

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

impl Evidence<'_> {
    /// The distribution of a metric.
    pub(super) fn metric(&self, metric: Metric) -> &Distribution {
        &self.metrics[&metric]
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

impl Warmup {
    /// Add a warm-up request. One that was never sent did not fail at the server.
    pub fn push(&mut self, record: &RequestRecord) {
        if record.dispatched() {
            self.total += 1;
            if let Some(failure) = &record.failure {
                *self.failed.entry(failure.kind).or_insert(0) += 1;
            }
        }
    }
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
    /// The figures of each model that was asked for, if there were several.
    pub by_model: &'a [MixFigures],
    /// The client's own figures.
    pub client: &'a ClientReport,
    /// When requests were due and when they left.
    pub spacing: Spacing,
    /// What became of the requests before the measurement.
    pub warmup: &'a Warmup,
    /// Distributions of all metrics.
    pub metrics: &'a BTreeMap<Metric, Distribution>,
    /// The figures of the schedule; `None` without one.
    pub figures: Option<&'a LoadFigures>,
    /// The part of the run in which the server was as loaded as it was meant to be.
    pub plateau: Result<&'a PlateauFigures, WithoutPlateau>,
    /// How many requests met the objective; `None` without one.
    pub goodput: Option<&'a Goodput>,
    /// The figures of its conversations; `None` for single requests.
    pub conversations: Option<&'a ConversationFigures>,
    /// How true the replay was to its trace; `None` without one.
    pub trace: Option<&'a TraceFigures>,
    /// The processes that carried out the run together; empty for one.
    pub shards: &'a [ShardMeta],
    /// The numbers of those that are missing.
    pub missing_shards: &'a [u32],
    /// Event streams were asked for.
    pub stream: bool,
    /// Successful streams that reported output tokens although no event bore one.
    pub unseen_tokens: u64,
}

/// Part of a whole; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    // never "100 %" of what is not all, nor "0 %" of something
    if percent > 99.0 && percent < 100.0 || percent < 10.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A number with its noun, in the plural where it is not 1.
pub(super) fn counted(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}
