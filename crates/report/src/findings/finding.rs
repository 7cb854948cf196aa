//! Owns a finding, what findings are drawn from, and how they write shares and counts.
//!
//! It must not know which findings there are.

use std::collections::BTreeMap;

use evalscope_model::events::{RunEvent, Warning};
use evalscope_model::metrics::{ClientReport, RunTotals};
use evalscope_model::plan::RunSpec;
use evalscope_model::record::FailureKind;
use serde::Serialize;

use super::id::{FindingId, Severity};
use super::spacing::Spacing;
use crate::model::RunState;

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
