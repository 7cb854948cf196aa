//! Owns rules: what must not hold of a run, `ttft_p99>500ms`, or of a change, `ttft_p99>+5%`; their
//! text, their file, and whether a finished run breaks one.
//!
//! It must not know how runs are compared.

mod file;
mod further;
mod grammar;
mod judge;
mod selector;
mod window;

pub use file::{Gate, RulesFileError, Severity, read_file};
pub use further::{FurtherPercentiles, further_percentiles};
pub use grammar::{Bound, Condition, Op, Rule, RuleError};
pub(crate) use judge::shown;
pub use judge::{Broken, NoFigure, broken_by};
pub use selector::{PointPlace, Selector, SelectorError};
pub use window::{RecentRequests, is_of_windows};
