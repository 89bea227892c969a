//! What the rules know of chains: names, blocks, the identity of a deposit, and what is accepted on one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;
use crate::money::{Asset, AssetId};

/// A chain's name in the configuration and the API: 1 to 20 of `a-z`, `0-9`, `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(Arc<str>);

/// Why a text is not a chain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain name has 1 to 20 characters of a-z, 0-9 and '-', got {0:?}")]
pub struct ChainNameError(String);

impl ChainName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainName {
    type Err = ChainNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_chain_name(text) { Ok(Self(text.into())) } else { Err(ChainNameError(text.to_owned())) }
    }
}

/// Whether [`ChainName`] takes the text.
pub(crate) fn is_chain_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=20).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text is of ASCII letters and digits. Looks at all of it, which is faster than to stop at the first that is
/// not: texts are hashes and addresses, and there nearly always is none.
pub(crate) fn is_alphanumeric(text: &str) -> bool {
    text.bytes().fold(true, |all, byte| all & byte.is_ascii_alphanumeric())
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Chains of one family share address formats and keys: an address of ours is ours on every chain of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainFamily {
    /// Ethereum and everything that speaks its JSON-RPC.
    Evm,
    /// Solana.
    Solana,
}

impl ChainFamily {
    /// Every family.
    pub const ALL: [Self; 2] = [Self::Evm, Self::Solana];

    /// `evm` or `solana`, as in configuration, tables and claims.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evm => "evm",
            Self::Solana => "solana",
        }
    }
}

impl fmt::Display for ChainFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A block as a watcher saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height, or slot.
    pub number: u64,
    /// Hash in the chain's usual text form (EVM: `0x` and lower-case hex).
    pub hash: String,
    /// The chain's own time of the block; decides whether a deposit is late.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub time: Timestamp,
}

/// Which movement inside a transaction a deposit is. Stable when the transaction is included again in another block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DepositLeg {
    /// The transaction's own value.
    Native,
    /// The n-th log of the transaction (counted from its first log, not from the block's first).
    Log(u32),
    /// An internal transfer, by its trace path such as `0.1`.
    Trace(String),
    /// A Solana account whose balance of a mint grew, `<account>/<mint>`.
    Account(String),
}

/// The identity of a deposit: chain, transaction, leg. Text form `ethereum:0xabc…:log:3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DepositKey {
    /// The chain it happened on.
    pub chain: ChainName,
    /// Transaction hash or signature in the chain's usual text form.
    pub transaction: String,
    /// Which movement inside the transaction.
    pub leg: DepositLeg,
}

/// Why a text is not a deposit key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deposit key is `<chain>:<transaction>:native|log:<n>|trace:<path>|account:<account>/<mint>`, got {0:?}")]
pub struct DepositKeyError(String);

impl fmt::Display for DepositKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.chain, self.transaction)?;
        match &self.leg {
            DepositLeg::Native => f.write_str("native"),
            DepositLeg::Log(ordinal) => write!(f, "log:{ordinal}"),
            DepositLeg::Trace(path) => write!(f, "trace:{path}"),
            DepositLeg::Account(account) => write!(f, "account:{account}"),
        }
    }
}

impl FromStr for DepositKey {
    type Err = DepositKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || DepositKeyError(text.to_owned());
        let mut parts = text.splitn(3, ':');
        let (Some(chain), Some(transaction), Some(leg)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(error());
        };
        let leg = match leg.split_once(':') {
            None if leg == "native" => DepositLeg::Native,
            Some(("log", ordinal)) => DepositLeg::Log(ordinal.parse().map_err(|_| error())?),
            Some(("trace", path)) if !path.is_empty() => DepositLeg::Trace(path.to_owned()),
            Some(("account", account)) if !account.is_empty() => DepositLeg::Account(account.to_owned()),
            _ => return Err(error()),
        };
        let chain = chain.parse().map_err(|_| error())?;
        if transaction.is_empty() || !is_alphanumeric(transaction) {
            return Err(error());
        }
        Ok(Self { chain, transaction: transaction.to_owned(), leg })
    }
}

macro_rules! serde_as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::deserialize(deserializer)
            }
        }
    };
}

serde_as_text!(ChainName);
serde_as_text!(DepositKey);

/// One chain as this installation accepts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// Its name.
    pub name: ChainName,
    /// Its family.
    pub family: ChainFamily,
    /// EIP-155 chain id; `None` outside the EVM family.
    pub chain_id: Option<u64>,
    /// Confirmations that a new payment freezes into its policy. At least 1.
    pub required_confirmations: u32,
    /// The native coin first, then the tokens.
    pub assets: Vec<Asset>,
    /// The least that is no dust, in minor units, by asset. Of an asset that does not stand here everything counts.
    pub min_deposits: BTreeMap<AssetId, u128>,
}

impl ChainSpec {
    /// The asset with this symbol (letters of any case), if the chain accepts one.
    #[must_use]
    pub fn asset_by_symbol(&self, symbol: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.symbol.eq_ignore_ascii_case(symbol))
    }

    /// The least deposit of an asset that counts, in minor units: less is dust, which is recorded and not credited.
    #[must_use]
    pub fn min_deposit(&self, asset: &AssetId) -> u128 {
        self.min_deposits.get(asset).copied().unwrap_or(0)
    }

    /// The asset with this id.
    #[must_use]
    pub fn asset(&self, id: &AssetId) -> Option<&Asset> {
        self.assets.iter().find(|asset| &asset.id == id)
    }
}
