//! The dates of claims (`exp`, `iat`, `nbf`, `auth_time`).

use serde_json::Number;

const SECOND_US: u64 = 1_000_000;
/// 9999-01-01: a larger value is a time in milliseconds.
const YEAR_9999_S: u64 = 253_370_764_800;

/// The reason why a number is not a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DateError {
    /// It is negative.
    Kind,
    /// It lies beyond the year 9999.
    Milliseconds,
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, possibly with a fraction. Returns
/// microseconds.
pub(crate) fn date(number: &Number) -> Result<u64, DateError> {
    if let Some(seconds) = number.as_u64() {
        return in_range(seconds).map(|seconds| seconds * SECOND_US);
    }
    let seconds =
        number.as_f64().filter(|seconds| seconds.is_sign_positive()).ok_or(DateError::Kind)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and `as` saturates"
    )]
    let (whole, micros) = (seconds.trunc() as u64, (seconds.fract() * 1e6) as u64);
    in_range(whole).map(|whole| whole * SECOND_US + micros)
}

fn in_range(seconds: u64) -> Result<u64, DateError> {
    if seconds < YEAR_9999_S { Ok(seconds) } else { Err(DateError::Milliseconds) }
}
