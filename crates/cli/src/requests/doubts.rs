//! Owns the findings that come from doubts about a user-defined API.
//!
//! It must not know when they arise.

use evalscope_core::protocol::Doubt;
use evalscope_report::{Finding, FindingId};

/// The finding that a doubt becomes in the report.
pub(crate) fn finding(doubt: &Doubt) -> Finding {
    let id = match doubt {
        Doubt::Guessed { .. } => FindingId::TokenEventsGuessed,
        Doubt::Repeats => FindingId::TextRepeated,
        Doubt::TextNowhere { .. } => FindingId::TextNotFound,
    };
    Finding::new(id, doubt.to_string())
}
