//! Owns the value of a figure of a run, with how much it varies within the run, and its form in files.
//!
//! It must not know which figure it is.

use serde::{Deserialize, Serialize};

/// The value of a figure, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "MeasuredForm", into = "MeasuredForm")]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// Variance of its logarithm within the run; missing if it is unknown.
    pub ln_variance: Option<f64>,
}

/// The value of a figure, in its unit, as it stands in a file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(super) enum MeasuredForm {
    /// The value, and the variance of its logarithm within the run.
    Sure((f64, f64)),
    /// The value; how much it varies is unknown.
    Value((f64,)),
    /// Both, in baselines of version 1.
    Named {
        /// The value.
        value: f64,
        /// Variance of its logarithm within the run.
        ln_variance: Option<f64>,
    },
}

impl From<MeasuredForm> for Measured {
    fn from(form: MeasuredForm) -> Self {
        let (value, ln_variance) = match form {
            MeasuredForm::Sure((value, variance)) => (value, Some(variance)),
            MeasuredForm::Value((value,)) => (value, None),
            MeasuredForm::Named { value, ln_variance } => (value, ln_variance),
        };
        Self { value, ln_variance }
    }
}

/// Rounded: a file needs no more digits than figures have.
impl From<Measured> for MeasuredForm {
    fn from(own: Measured) -> Self {
        let value = rounded(own.value, 8);
        match own.ln_variance {
            Some(variance) => Self::Sure((value, rounded(variance, 3))),
            None => Self::Value((value,)),
        }
    }
}

/// A number with so many digits.
fn rounded(number: f64, digits: usize) -> f64 {
    let text = format!("{number:.*e}", digits - 1);
    text.parse().unwrap_or(number)
}

impl Measured {
    /// A value of which nothing says how much it varies.
    pub(super) const fn of(value: f64) -> Self {
        Self {
            value,
            ln_variance: None,
        }
    }
}
