//! Owns what a request gives to an API that generates nothing, and how many results that calls for.
//!
//! It must not know what a result is.

use serde_json::Value;

use evalscope_model::record::{Failure, FailureKind};

/// What a request gives to an API that generates nothing, and what its response must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedInputs {
    /// Texts or documents.
    pub count: u32,
    /// The fewest results of a response.
    pub least_results: u32,
    /// The most results.
    pub most_results: u32,
}

impl AskedInputs {
    /// Why a response with this many results is a failure, if it is one.
    #[must_use]
    pub fn failure(&self, results: Option<u64>) -> Option<Failure> {
        let Self {
            count,
            least_results: least,
            most_results: most,
        } = *self;
        let results = results.unwrap_or(0);
        if (u64::from(least)..=u64::from(most)).contains(&results) {
            return None;
        }
        let wanted = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        let kind = if results == 0 {
            FailureKind::EmptyOutput
        } else {
            FailureKind::Malformed
        };
        let counted = |n: u64, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let message = format!(
            "the response has {} for {}; expected {wanted}",
            counted(results, "result"),
            counted(count.into(), "input")
        );
        Some(Failure::new(kind, message))
    }
}

/// The number of elements of a field; any other value but a list is one. `None`: missing.
pub(super) fn count_of(value: Option<&Value>) -> Option<u32> {
    match value? {
        Value::Null => None,
        Value::Array(items) => Some(u32::try_from(items.len()).unwrap_or(u32::MAX)),
        _ => Some(1),
    }
}
