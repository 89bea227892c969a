//! Percentages, kept as `rust_decimal` values and applied to minor units exactly.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// A share between 0 % and 100 % with at most six digits after the point; JSON shows it as a string (`"0.5"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Decimal", into = "Decimal")]
pub struct Percentage(Decimal);

/// Why a number is not a percentage of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentageError {
    /// Below 0 or above 100.
    #[error("a percentage lies between 0 and 100, got {0}")]
    OutOfRange(Decimal),
    /// More than six digits after the point.
    #[error("a percentage has at most six digits after the point, got {0}")]
    TooPrecise(Decimal),
}

impl Percentage {
    /// 0 %.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// `minor × percentage`, rounded down to whole minor units (towards zero).
    #[must_use]
    pub fn of_rounded_down(self, minor: u128) -> u128 {
        // The percentage is mantissa / 10^scale with scale <= 6, hence mantissa <= 10^8 and divisor <= 10^8:
        // (quotient × mantissa) <= minor, and (remainder × mantissa) < 10^16.
        let mantissa = self.0.mantissa().unsigned_abs();
        let divisor = 10_u128.saturating_pow(self.0.scale().saturating_add(2));
        let quotient = minor.checked_div(divisor).unwrap_or(0);
        let remainder = minor.checked_rem(divisor).unwrap_or(0);
        let from_remainder = remainder.saturating_mul(mantissa).checked_div(divisor).unwrap_or(0);
        quotient.saturating_mul(mantissa).saturating_add(from_remainder)
    }
}

impl TryFrom<Decimal> for Percentage {
    type Error = PercentageError;

    fn try_from(value: Decimal) -> Result<Self, Self::Error> {
        let value = value.normalize();
        if value.is_sign_negative() || value > Decimal::ONE_HUNDRED {
            return Err(PercentageError::OutOfRange(value));
        }
        if value.scale() > 6 {
            return Err(PercentageError::TooPrecise(value));
        }
        Ok(Self(value))
    }
}

impl From<Percentage> for Decimal {
    fn from(value: Percentage) -> Self {
        value.0
    }
}
