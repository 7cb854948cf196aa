//! Owns moments as traces write them: numbers in a unit, and dates.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Number, Value};

use super::super::settings::TimeUnit;

/// Far beyond any trace, and far from where sums overflow: 146 years.
const MOST_NANOS: f64 = (i64::MAX / 2) as f64;

/// A number of units, as nanoseconds.
pub(super) fn nanos_of(number: &Number, unit: TimeUnit) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        let nanos = whole.checked_mul(unit.nanos())?;
        return (0..=i64::MAX / 2).contains(&nanos).then_some(nanos);
    }
    nanos_of_float(number.as_f64()?, unit)
}

/// The same of a number with a fraction. Whole units are kept apart, so that dates in seconds keep all
/// the digits that the number has.
pub(super) fn nanos_of_float(units: f64, unit: TimeUnit) -> Option<i64> {
    let nanos = unit.nanos() as f64;
    if !units.is_finite() || units.is_sign_negative() && units < 0.0 || units * nanos > MOST_NANOS {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is neither negative nor above the limit"
    )]
    let (whole, rest) = (units.trunc() as i64, (units.fract() * nanos).round() as i64);
    Some(whole * unit.nanos() + rest)
}

/// A date and time (ISO 8601), with `T` or a blank between them; without a zone it is UTC.
pub(super) fn nanos_of_date(text: &str) -> Option<i64> {
    let at = text.parse::<Timestamp>().ok().or_else(|| {
        let civil = text.parse::<DateTime>().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    let nanos = i64::try_from(at.as_nanosecond()).ok()?;
    (nanos >= 0).then_some(nanos)
}

/// A value as it is shown in a message.
pub(super) fn shown(value: &Value) -> String {
    clipped(&value.to_string())
}

/// The beginning of a text, for a message.
pub(super) fn clipped(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let head: String = text.chars().take(MOST).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_nanoseconds() {
        for (units, unit, nanos) in [
            ("27482", TimeUnit::Ms, 27_482_000_000),
            ("61.114", TimeUnit::S, 61_114_000_000),
            ("0", TimeUnit::S, 0),
            ("0.5", TimeUnit::Us, 500),
            ("1751328000.25", TimeUnit::S, 1_751_328_000_250_000_000),
        ] {
            let number: Number = serde_json::from_str(units).unwrap();
            assert_eq!(nanos_of(&number, unit), Some(nanos), "{units}");
        }
        for units in ["-1", "-0.5", "1e300", "9223372036854775807"] {
            let number: Number = serde_json::from_str(units).unwrap();
            assert_eq!(nanos_of(&number, TimeUnit::S), None, "{units}");
        }
        assert_eq!(nanos_of_float(f64::NAN, TimeUnit::S), None);
        assert_eq!(nanos_of_float(-0.0, TimeUnit::S), Some(0));
    }

    #[test]
    fn dates_are_utc_unless_they_say_otherwise() {
        let noon = Some(1_700_136_946_680_590_000);
        for text in [
            "2023-11-16 12:15:46.6805900",
            "2023-11-16T12:15:46.68059Z",
            "2023-11-16T20:15:46.68059+08:00",
            "2023-11-16 12:15:46.680590+00:00",
        ] {
            assert_eq!(nanos_of_date(text), noon, "{text}");
        }
        for text in ["", "yesterday", "2023-13-01 00:00:00", "NaN"] {
            assert_eq!(nanos_of_date(text), None, "{text}");
        }
    }
}
