//! Owns what is said about a line that is not the JSON that it should be.

use serde_json::Value;

use super::times::shown;

/// What is wrong, without the line number: it is known from the file.
pub(super) fn said(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let what = said.find(" at line ").map_or(&*said, |at| &said[..at]);
    match (error.is_data(), error.column()) {
        (true, _) => what.to_owned(),
        (false, 0) => format!("not JSON: {what}"),
        (false, column) => format!("not JSON: {what} at column {column}"),
    }
}

/// A number of tokens. Tools that know only floats write `12.0`.
pub(super) fn tokens(name: &str, value: &Value) -> Result<u64, String> {
    let whole = value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        let is_whole = (0.0..1e15).contains(&float) && float.fract().abs() < f64::EPSILON;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, not negative and small"
        )]
        is_whole.then_some(float as u64)
    });
    whole.ok_or_else(|| {
        format!(
            "`{name}` is {}: expected a whole number, 0 or greater",
            shown(value)
        )
    })
}
