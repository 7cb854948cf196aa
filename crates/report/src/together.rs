//! Owns what the runs of a command amount to together, beside what each of them is.
//!
//! It must not know how that is shown.

use evalscope_model::search::SearchRecord;

use crate::repeats::Repeats;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Together {
    /// The loads that were measured more than once.
    pub repeats: Vec<Repeats>,
    /// The search that the runs were the probes of.
    pub search: Option<SearchRecord>,
}
