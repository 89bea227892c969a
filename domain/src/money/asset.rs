//! An asset is one token on one chain, identified by its contract or mint and never by its symbol.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::amount::{AmountError, Money, format_minor, parse_minor};
use crate::chain::{ChainName, is_alphanumeric, is_chain_name};

/// The most decimals an asset may have: 10^38 is the largest power of ten in a `u128`.
pub const MAX_DECIMALS: u8 = 38;

const NATIVE: &str = "native";

/// `<chain>/native` or `<chain>/<contract or mint>`, for example `bsc/0x55d398326f99059ff775485246999027b3197955`.
///
/// EVM contracts are written in lower case, Solana mints in base58 as they are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId(Arc<str>);

/// Why a text is not an asset id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an asset id is `<chain>/native` or `<chain>/<contract>`, got {0:?}")]
pub struct AssetIdError(String);

impl AssetId {
    /// The chain's native coin.
    #[must_use]
    pub fn native(chain: &ChainName) -> Self {
        Self(format!("{chain}/{NATIVE}").into())
    }

    /// A token, by its contract address or mint in canonical form.
    ///
    /// # Errors
    /// When the contract is empty or holds anything but ASCII letters and digits.
    pub fn token(chain: &ChainName, contract: &str) -> Result<Self, AssetIdError> {
        format!("{chain}/{contract}").parse()
    }

    /// The name of the chain that the asset lives on.
    #[must_use]
    pub fn chain(&self) -> &str {
        self.0.split_once('/').map_or("", |(chain, _)| chain)
    }

    /// The contract or mint, `None` for the native coin.
    #[must_use]
    pub fn contract(&self) -> Option<&str> {
        match self.0.split_once('/') {
            Some((_, contract)) if contract != NATIVE => Some(contract),
            _ => None,
        }
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AssetId {
    type Err = AssetIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.split_once('/').is_some_and(|(chain, contract)| {
            is_chain_name(chain) && (1..=64).contains(&contract.len()) && is_alphanumeric(contract)
        });
        if valid { Ok(Self(text.into())) } else { Err(AssetIdError(text.to_owned())) }
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for AssetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for AssetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

/// An asset with what is needed to show its amounts to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// What identifies it.
    pub id: AssetId,
    /// What people call it, for example `USDT`. Never used to identify it.
    pub symbol: String,
    /// Digits after the point: one unit is 10^decimals minor units.
    pub decimals: u8,
}

impl Asset {
    /// Reads a plain decimal string (`"100.50"`) as an amount of this asset, exactly.
    ///
    /// # Errors
    /// When the text is not a plain decimal, has more digits after the point than the asset, or is too large.
    pub fn parse(&self, text: &str) -> Result<Money, AmountError> {
        Ok(Money::new(parse_minor(text, self.decimals)?, self.id.clone()))
    }

    /// Writes minor units as a decimal string with all of the asset's decimals, for example `100.500000`.
    #[must_use]
    pub fn format(&self, minor: u128) -> String {
        format_minor(minor, self.decimals)
    }
}
