//! The accounts of the books, and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Side;
use crate::chain::ChainName;
use crate::ids::MerchantId;

/// An account of the books. Text form as in [`fmt::Display`], read back by [`FromStr`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// `custody:<chain>`: what our addresses on a chain hold. An asset account.
    Custody(ChainName),
    /// `merchant:<id>:payable`: what we owe a merchant. A liability account.
    MerchantPayable(MerchantId),
    /// `merchant:<id>:payout`: what is on its way to a merchant. A liability account.
    MerchantPayout(MerchantId),
    /// `suspense`: money held until somebody decides whose it is. A liability account.
    Suspense,
    /// `platform:fees`: what merchants paid for the service. Grows by credits, like a liability account.
    PlatformFees,
    /// `platform:gas`: what the networks took. An expense, which grows by debits.
    PlatformGas,
}

impl Account {
    /// The side that makes the account grow: its balance is this side less the other.
    #[must_use]
    pub const fn normal_side(&self) -> Side {
        match self {
            Self::Custody(_) | Self::PlatformGas => Side::Debit,
            Self::MerchantPayable(_) | Self::MerchantPayout(_) | Self::Suspense | Self::PlatformFees => Side::Credit,
        }
    }

    /// The merchant whose account this is; `None` for those of the installation.
    #[must_use]
    pub const fn merchant(&self) -> Option<MerchantId> {
        match self {
            Self::MerchantPayable(merchant) | Self::MerchantPayout(merchant) => Some(*merchant),
            Self::Custody(_) | Self::Suspense | Self::PlatformFees | Self::PlatformGas => None,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Custody(chain) => write!(f, "custody:{chain}"),
            Self::MerchantPayable(merchant) => write!(f, "merchant:{merchant}:payable"),
            Self::MerchantPayout(merchant) => write!(f, "merchant:{merchant}:payout"),
            Self::Suspense => f.write_str("suspense"),
            Self::PlatformFees => f.write_str("platform:fees"),
            Self::PlatformGas => f.write_str("platform:gas"),
        }
    }
}

/// Why a text is not the name of an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an account is `custody:<chain>`, `merchant:<id>:payable`, `merchant:<id>:payout`, `suspense`, `platform:fees` or \
     `platform:gas`, got {0:?}"
)]
pub struct AccountError(String);

impl FromStr for Account {
    type Err = AccountError;

    /// Reads exactly what [`fmt::Display`] writes: one account has one name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || AccountError(text.to_owned());
        let account = match text {
            "suspense" => Self::Suspense,
            "platform:fees" => Self::PlatformFees,
            "platform:gas" => Self::PlatformGas,
            _ => match text.split_once(':').ok_or_else(error)? {
                ("custody", chain) => Self::Custody(chain.parse().map_err(|_| error())?),
                ("merchant", rest) => {
                    let (id, kind) = rest.split_once(':').ok_or_else(error)?;
                    let merchant: MerchantId = id.parse().map_err(|_| error())?;
                    match kind {
                        "payable" => Self::MerchantPayable(merchant),
                        "payout" => Self::MerchantPayout(merchant),
                        _ => return Err(error()),
                    }
                }
                _ => return Err(error()),
            },
        };
        // Other spellings of a UUID (upper case, braces) name no account.
        if account.to_string() == text { Ok(account) } else { Err(error()) }
    }
}

impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}
