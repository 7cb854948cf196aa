//! Owns percentiles as people write them: `50`, `99`, `99.9`.
//!
//! It must not know which of them a distribution has.

use std::fmt;
use std::str::FromStr;

/// Decimals of a percentile.
const DECIMALS: usize = 3;

/// The whole of it: 100 %.
const WHOLE: u32 = 100_000;

/// A percentile, in thousandths of a percent: 99,900 is p99.9. Above 0 and below 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentile(u32);

impl Percentile {
    /// A whole percentile, 1 to 99.
    ///
    /// # Panics
    /// If it is none of these.
    #[must_use]
    pub const fn whole(percent: u8) -> Self {
        assert!(0 < percent && percent < 100, "a percentile is 1 to 99");
        Self(percent as u32 * 1000)
    }

    /// As a share, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, rest) = (self.0 / 1000, self.0 % 1000);
        if rest == 0 {
            return write!(f, "{percent}");
        }
        let decimals = format!("{rest:03}");
        write!(f, "{percent}.{}", decimals.trim_end_matches('0'))
    }
}

/// A text is not a percentile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`p{0}` is not a percentile: expected a number above 0 and below 100 with at most three decimals"
)]
pub struct NotAPercentile(String);

impl FromStr for Percentile {
    type Err = NotAPercentile;

    fn from_str(text: &str) -> Result<Self, NotAPercentile> {
        let read = || {
            let (percent, decimals) = text.split_once('.').unwrap_or((text, "0"));
            let is_number =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !is_number(percent) || !is_number(decimals) || decimals.len() > DECIMALS {
                return None;
            }
            let thousandths: u32 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
            let percent: u32 = percent.parse().ok().filter(|percent| *percent < 100)?;
            Some(Self(percent * 1000 + thousandths)).filter(|own| own.0 > 0)
        };
        read().ok_or_else(|| NotAPercentile(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_are_read() {
        for (text, share, shown) in [
            ("99", 0.99, "99"),
            ("99.9", 0.999, "99.9"),
            ("99.990", 0.9999, "99.99"),
            ("0.001", 0.00001, "0.001"),
            ("05", 0.05, "5"),
        ] {
            let own: Percentile = text.parse().unwrap();
            assert!((own.share() - share).abs() < 1e-15, "{text}");
            assert_eq!(own.to_string(), shown);
        }
        assert_eq!("99".parse(), Ok(Percentile::whole(99)));
        for text in [
            "", "0", "100", "99.9999", "-1", "1e1", "+5", "9.", ".9", "ninety",
        ] {
            let error = text.parse::<Percentile>().unwrap_err().to_string();
            assert!(error.contains("above 0 and below 100"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_percentile_is_read_as_it_is_shown(thousandths in 1..WHOLE) {
            let own = Percentile(thousandths);
            prop_assert_eq!(own.to_string().parse(), Ok(own));
        }
    }
}
