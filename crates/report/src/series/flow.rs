//! Owns what moved in each bin of time: tokens, requests and failures (R4).
//!
//! It must not know how long the bins are: [`super::TimeAxis::rates_per_s`] makes rates.

use std::collections::BTreeMap;

use evalscope_model::record::FailureKind;

/// Sums of the measured requests for each bin of the axis; the bins of the warm-up are 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// Output tokens of successes, by the arrival of their token-bearing events; of responses that
    /// were not streamed, by their end. All bins together are the run's output tokens.
    pub output_tokens: Option<Vec<f64>>,
    /// Prompt tokens of successes, by the arrival of the first token; of responses that were not
    /// streamed, by their end. `None` if they are unknown.
    pub input_tokens: Option<Vec<f64>>,
    /// Successes, by their end.
    pub succeeded: Vec<f64>,
    /// Failures, by their end; without requests that were never sent or given up.
    pub failed: Vec<f64>,
    /// Token-bearing events of failed requests: output that was generated and lost.
    pub lost_token_events: Vec<f64>,
    /// Failures by kind, the first 16 kinds.
    pub failed_by_kind: BTreeMap<FailureKind, FailuresOverTime>,
}

/// Failures of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FailuresOverTime {
    /// Count of each bin.
    pub counts: Vec<f64>,
    /// When the first one ended, seconds.
    pub first_s: f64,
    /// When the last one ended, seconds.
    pub last_s: f64,
}
