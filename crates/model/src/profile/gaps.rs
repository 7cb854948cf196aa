//! Owns how the gaps between arrivals are spread around their mean, and its text.
//!
//! It must not know rates.

use std::fmt;
use std::str::FromStr;

/// How the gaps between arrivals are spread around their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Gaps {
    /// Exponential gaps: users who know nothing of each other.
    #[default]
    Poisson,
    /// All the same. The first arrival is at the start.
    Constant,
    /// Gamma-distributed: below 1 in bursts, 1 is Poisson, above 1 more even.
    Gamma {
        /// Positive and finite.
        shape: f64,
    },
}

impl Gaps {
    /// The squared coefficient of variation of a gap.
    #[must_use]
    pub fn squared_cv(self) -> f64 {
        match self {
            Self::Poisson => 1.0,
            Self::Constant => 0.0,
            Self::Gamma { shape } => 1.0 / shape,
        }
    }
}

impl Gaps {
    /// The gaps between every `nth` arrival: sums of `nth` gaps.
    #[must_use]
    pub fn of_every(self, nth: u32) -> Self {
        let shape = match self {
            Self::Constant => return self,
            Self::Poisson if nth == 1 => return self,
            Self::Poisson => 1.0,
            Self::Gamma { shape } => shape,
        };
        Self::Gamma {
            shape: shape * f64::from(nth),
        }
    }
}

impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisson => f.write_str("poisson"),
            Self::Constant => f.write_str("constant"),
            Self::Gamma { shape } => write!(f, "gamma:{shape}"),
        }
    }
}

impl FromStr for Gaps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "poisson" => return Ok(Self::Poisson),
            "constant" => return Ok(Self::Constant),
            _ => {}
        }
        let wanted = || format!("`{text}` is not one of poisson, constant and gamma:SHAPE");
        let shape = text.strip_prefix("gamma:").ok_or_else(wanted)?;
        Self::of_shape(shape.parse().map_err(|_| wanted())?)
    }
}

impl Gaps {
    /// Gamma-distributed gaps of this shape; infinity means constant ones.
    ///
    /// # Errors
    /// When it is not positive.
    pub fn of_shape(shape: f64) -> Result<Self, String> {
        if shape == f64::INFINITY {
            Ok(Self::Constant)
        } else if shape > 0.0 {
            Ok(Self::Gamma { shape })
        } else {
            Err(format!("the shape has to be greater than 0, not {shape}"))
        }
    }
}
