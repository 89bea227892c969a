//! Amounts: `u128` minor units, checked arithmetic, exact conversion from and to decimal strings.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::asset::AssetId;

/// An amount of one asset, in minor units (wei, lamports, 10^-6 USDT …). Never negative.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    #[serde(serialize_with = "minor_to_text", deserialize_with = "minor_from_text")]
    minor: u128,
    asset: AssetId,
}

/// Arithmetic that has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two assets cannot be added.
    #[error("cannot combine {left} with {right}")]
    MixedAssets {
        /// The left operand's asset.
        left: AssetId,
        /// The right operand's asset.
        right: AssetId,
    },
    /// The result does not fit into 128 bits.
    #[error("the sum of {0} is larger than 2^128 minor units")]
    Overflow(AssetId),
}

/// Why a text is not an amount. Each variant says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Signs, exponents, separators, blanks, leading zeros, missing digits.
    #[error("must be a plain decimal number such as \"100.50\": digits, and at most one point between digits")]
    NotDecimal,
    /// More digits after the point than the asset has.
    #[error("has {got} digits after the point, the asset has {max}")]
    TooPrecise {
        /// Digits given.
        got: usize,
        /// Digits the asset has.
        max: u8,
    },
    /// Larger than 2^128 minor units.
    #[error("is too large")]
    TooLarge,
}

impl Money {
    /// `minor` minor units of `asset`.
    #[must_use]
    pub const fn new(minor: u128, asset: AssetId) -> Self {
        Self { minor, asset }
    }

    /// Nothing of `asset`.
    #[must_use]
    pub const fn zero(asset: AssetId) -> Self {
        Self { minor: 0, asset }
    }

    /// Minor units.
    #[must_use]
    pub const fn minor(&self) -> u128 {
        self.minor
    }

    /// The asset.
    #[must_use]
    pub const fn asset(&self) -> &AssetId {
        &self.asset
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.minor == 0
    }

    /// The sum.
    ///
    /// # Errors
    /// When the assets differ or the sum does not fit.
    pub fn checked_add(&self, other: &Self) -> Result<Self, MoneyError> {
        if self.asset != other.asset {
            return Err(MoneyError::MixedAssets { left: self.asset.clone(), right: other.asset.clone() });
        }
        let minor = self.minor.checked_add(other.minor).ok_or_else(|| MoneyError::Overflow(self.asset.clone()))?;
        Ok(Self { minor, asset: self.asset.clone() })
    }
}

/// Reads a plain decimal string as minor units, exactly or not at all.
pub(super) fn parse_minor(text: &str, decimals: u8) -> Result<u128, AmountError> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(AmountError::NotDecimal),
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leading_zero || !digits(whole) || !digits(fraction) {
        return Err(AmountError::NotDecimal);
    }
    let missing = usize::from(decimals)
        .checked_sub(fraction.len())
        .ok_or(AmountError::TooPrecise { got: fraction.len(), max: decimals })?;
    let mut minor: u128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', missing)) {
        minor = minor
            .checked_mul(10)
            .and_then(|value| value.checked_add(u128::from(byte.wrapping_sub(b'0'))))
            .ok_or(AmountError::TooLarge)?;
    }
    Ok(minor)
}

/// Writes minor units as a decimal string with `decimals` digits after the point.
pub(super) fn format_minor(minor: u128, decimals: u8) -> String {
    let decimals = usize::from(decimals);
    if decimals == 0 {
        return minor.to_string();
    }
    let width = decimals.saturating_add(1);
    let digits = format!("{minor:0>width$}");
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(decimals));
    format!("{whole}.{fraction}")
}

fn minor_to_text<S: Serializer>(minor: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(minor)
}

fn minor_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    crate::text::deserialize_with(deserializer, |text| parse_minor(text, 0))
}
