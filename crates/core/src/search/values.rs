//! Owns which values a search may measure: whole numbers, or numbers that are short enough to be said.
//!
//! It must not know which of them is next.

/// Which values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers.
    Whole,
    /// All.
    Real,
}

impl Values {
    /// The value nearest to `at` between two others; `None` where there is none.
    pub(super) fn between(self, (low, high): (f64, f64), at: f64, precision: f64) -> Option<f64> {
        let nearest = match self {
            Self::Whole if high - low <= 1.0 => return None,
            Self::Whole => at.round().clamp(low + 1.0, high - 1.0),
            Self::Real => rounded(at, digits(precision)),
        };
        (low < nearest && nearest < high).then_some(nearest)
    }

    /// So large a share of a value, and less than it.
    pub(super) fn share(self, value: f64, share: f64, precision: f64) -> f64 {
        match self {
            Self::Whole => (value * share).floor().min(value - 1.0),
            Self::Real => rounded(value * share, digits(precision)),
        }
    }

    /// Half of a value.
    pub(super) const fn half(self, value: f64) -> f64 {
        match self {
            Self::Whole => (value / 2.0).floor(),
            Self::Real => value / 2.0,
        }
    }
}

/// Significant digits that lose nothing of a precision.
fn digits(precision: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limited to 3..=9"
    )]
    let digits = (1.5 - precision.log10()).ceil().clamp(3.0, 9.0) as u32;
    digits
}

/// A positive number with so many significant digits.
fn rounded(value: f64, digits: u32) -> f64 {
    let precision = usize::try_from(digits).unwrap_or(1).max(1) - 1;
    format!("{value:.precision$e}").parse().unwrap_or(value)
}
