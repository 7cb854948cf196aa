//! Owns numbers as the page holds them: with 4 significant digits, alone or packed into a series.
//!
//! It must not know what they measure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evalscope_model::record::push_varint;
use serde::{Serialize, Serializer};

/// A number that is written with 4 significant digits.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Number(pub(super) f64);

impl Number {
    fn rounded(self) -> f64 {
        let value = self.0;
        if value == 0.0 || !value.is_finite() {
            return value;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the exponent of a float is small"
        )]
        let digits = 3 - value.abs().log10().floor() as i32;
        // a quotient or product with a power of ten that is exact is the nearest float, so it is written with
        // these digits
        let power = 10f64.powi(digits.abs());
        if digits > 0 {
            (value * power).round() / power
        } else {
            (value / power).round() * power
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.rounded();
        #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
        if value.fract() == 0.0 && value.abs() < 9e15 {
            // without the point that a float would have
            serializer.serialize_i64(value as i64)
        } else {
            serializer.serialize_f64(value)
        }
    }
}

/// A whole number for each place, which may be missing: base64 of LEB128 varints, 0 for a missing one, else
/// the number plus 1. Empty if all are missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Whole(String);

impl Whole {
    pub(super) fn of(numbers: impl IntoIterator<Item = Option<u64>>) -> Self {
        let (mut bytes, mut is_known) = (Vec::new(), false);
        for number in numbers {
            is_known |= number.is_some();
            push_varint(
                &mut bytes,
                number.map_or(0, |number| number.saturating_add(1)),
            );
        }
        Self(if is_known {
            STANDARD.encode(bytes)
        } else {
            String::new()
        })
    }
}

/// Steps between the lowest and the highest value of a series.
const STEPS: f64 = 65_533.0;

/// A value for each place, none of them below 0. `values` is base64 of a little-endian number of 16 bits
/// for each: 0 is a missing value, 1 is zero, and n is low × (high ÷ low)^((n − 2) ÷ 65533). So 600 values
/// take 1600 letters, and have 4 significant digits where the highest is 1000 times the lowest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct Packed {
    /// The lowest value above 0.
    low: f64,
    /// The highest value.
    high: f64,
    /// The values.
    values: String,
}

impl Packed {
    /// `None` without a value.
    pub(super) fn of(values: &[Option<f64>]) -> Option<Self> {
        if values.iter().all(Option::is_none) {
            return None;
        }
        let known = || values.iter().flatten().copied();
        let low = known().filter(|value| *value > 0.0).reduce(f64::min);
        let low = low.unwrap_or(1.0);
        let high = known().fold(low, f64::max);
        let span = (high / low).ln();
        let number = |value: &Option<f64>| -> u16 {
            match value {
                None => 0,
                Some(value) if *value <= 0.0 => 1,
                Some(_) if span <= 0.0 => 2,
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "from 2 to 65535"
                )]
                Some(value) => ((value / low).ln() / span * STEPS).round() as u16 + 2,
            }
        };
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| number(value).to_le_bytes())
            .collect();
        Some(Self {
            low,
            high,
            values: STANDARD.encode(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the script makes of it.
    fn unpacked(packed: &Packed) -> Vec<Option<f64>> {
        let bytes = STANDARD.decode(&packed.values).unwrap();
        let numbers = bytes
            .chunks(2)
            .map(|two| f64::from(u16::from_le_bytes([two[0], two[1]])));
        let value = |number: f64| match number {
            0.0 => None,
            1.0 => Some(0.0),
            _ => Some(packed.low * (packed.high / packed.low).powf((number - 2.0) / STEPS)),
        };
        numbers.map(value).collect()
    }

    proptest! {
        #[test]
        fn numbers_have_four_significant_digits(mantissa in -10.0f64..10.0, exponent in -12i32..14) {
            let value = mantissa * 10f64.powi(exponent);
            let text = serde_json::to_string(&Number(value)).unwrap();
            let back: f64 = text.parse().unwrap();
            prop_assert!((back - value).abs() <= value.abs() * 0.000_501, "{} {}", value, text);
            let mantissa = text.split('e').next().unwrap();
            let digits = mantissa.trim_start_matches(['-', '0', '.']).trim_end_matches(['0', '.']);
            let digits = digits.chars().filter(char::is_ascii_digit).count();
            prop_assert!(digits <= 4, "{} {}", value, text);
        }

        #[test]
        fn packed_values_are_the_values(
            values in prop::collection::vec(prop::option::of(prop_oneof![Just(0.0), 1e-3..1e3f64]), 1..50),
        ) {
            let Some(packed) = Packed::of(&values) else {
                prop_assert!(values.iter().all(Option::is_none));
                return Ok(());
            };
            for (value, back) in values.iter().zip(unpacked(&packed)) {
                prop_assert_eq!(value.is_some(), back.is_some());
                let (value, back) = (value.unwrap_or(0.0), back.unwrap_or(0.0));
                prop_assert!((value - back).abs() <= value * 0.000_2, "{} {}", value, back);
            }
        }
    }
}
