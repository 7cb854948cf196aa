//! Owns the reasons why a chart has nothing to show.
//!
//! It must not know which chart it is.

/// Why something cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No measured request was sent.
    NoRequests,
    /// No request succeeded.
    NoSuccess,
    /// The responses were not streamed, so when their tokens came is unknown.
    NotStreamed,
    /// The requests had no schedule.
    NoSchedule,
    /// The numbers of tokens are unknown.
    NoTokenCounts,
    /// There are too few samples.
    TooFewSamples,
}
