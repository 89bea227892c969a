//! What the rules know of chains: names, blocks, the identity of a deposit, and the catalogue of what is accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Timestamp;
use crate::chains::{Chain, Pause};
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

/// Every chain that this installation accepts, by name, and what takes no new payments at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCatalog {
    chains: BTreeMap<ChainName, ChainSpec>,
    /// Of chains that have events.
    changes: BTreeMap<ChainName, Chain>,
    /// Added tokens whose chain's watcher does not look for them yet.
    unwatched: BTreeSet<AssetId>,
}

/// Why there are no new payments in an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed<'a> {
    /// Its chain is paused.
    Chain(&'a Pause),
    /// It is paused itself.
    Asset(&'a Pause),
    /// It was just added: its chain's watcher does not look for it yet.
    NotWatched,
}

/// A token that the ledger and the configuration describe differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asset} has {configured} decimals in the configuration and {recorded} in the ledger, where it was added first"
)]
pub struct DecimalsDiffer {
    /// The token.
    pub asset: AssetId,
    /// What the configuration says.
    pub configured: u8,
    /// What the ledger says.
    pub recorded: u8,
}

impl ChainCatalog {
    /// A catalogue of these chains; a later one replaces an earlier one of the same name.
    pub fn new(chains: impl IntoIterator<Item = ChainSpec>) -> Self {
        let chains = chains.into_iter().map(|chain| (chain.name.clone(), chain)).collect();
        Self { chains, ..Self::default() }
    }

    /// This catalogue with what was changed at run time: tokens that were added stand behind those of the configuration.
    /// Chains that are not configured here are left out. `watched` says for which added tokens a watcher looks.
    ///
    /// # Errors
    /// When a token has other decimals in the configuration than in the ledger.
    pub fn with_changes(
        &self,
        changes: &BTreeMap<ChainName, Chain>,
        watched: &BTreeSet<AssetId>,
    ) -> Result<Self, DecimalsDiffer> {
        let mut catalog = Self { chains: self.chains.clone(), ..Self::default() };
        for (name, change) in changes {
            let Some(spec) = catalog.chains.get_mut(name) else { continue };
            for token in change.added.iter().map(|added| &added.token) {
                match spec.asset(&token.id).map(|configured| configured.decimals) {
                    Some(configured) if configured != token.decimals => {
                        let (asset, recorded) = (token.id.clone(), token.decimals);
                        return Err(DecimalsDiffer { asset, configured, recorded });
                    }
                    // The configuration has it by now, and its watchers have it from their start.
                    Some(_) => {}
                    None => {
                        spec.assets.push(token.clone());
                        if !watched.contains(&token.id) {
                            catalog.unwatched.insert(token.id.clone());
                        }
                    }
                }
            }
            catalog.changes.insert(name.clone(), change.clone());
        }
        Ok(catalog)
    }

    /// The chain of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ChainSpec> {
        name.parse().ok().and_then(|name: ChainName| self.chains.get(&name))
    }

    /// Every chain, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ChainSpec> {
        self.chains.values()
    }

    /// What was changed of a chain at run time, if anything ever was.
    #[must_use]
    pub fn changes(&self, chain: &ChainName) -> Option<&Chain> {
        self.changes.get(chain)
    }

    /// Why there are no new payments in an asset; `None`: there are.
    #[must_use]
    pub fn closed(&self, chain: &ChainName, asset: &AssetId) -> Option<Closed<'_>> {
        let change = self.changes.get(chain);
        if let Some(pause) = change.and_then(|change| change.paused.as_ref()) {
            return Some(Closed::Chain(pause));
        }
        if let Some(pause) = change.and_then(|change| change.paused_assets.get(asset)) {
            return Some(Closed::Asset(pause));
        }
        self.unwatched.contains(asset).then_some(Closed::NotWatched)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use super::*;
    use crate::chains::AddedToken;

    const USDT: &str = "0x55d398326f99059ff775485246999027b3197955";

    fn bsc() -> ChainName {
        "bsc".parse().unwrap()
    }

    fn usdt(decimals: u8) -> Asset {
        Asset { id: AssetId::token(&bsc(), USDT).unwrap(), symbol: "USDT".to_owned(), decimals }
    }

    fn configured(assets: Vec<Asset>) -> ChainCatalog {
        let (family, chain_id) = (ChainFamily::Evm, Some(56));
        let min_deposits = BTreeMap::new();
        ChainCatalog::new([ChainSpec {
            name: bsc(),
            family,
            chain_id,
            required_confirmations: 15,
            assets,
            min_deposits,
        }])
    }

    fn added(decimals: u8) -> BTreeMap<ChainName, Chain> {
        let added = vec![AddedToken { token: usdt(decimals), at: Timestamp::UNIX_EPOCH }];
        BTreeMap::from([(bsc(), Chain { added, ..Chain::default() })])
    }

    #[test]
    fn an_added_token_is_closed_until_it_is_watched() {
        let id = usdt(18).id;
        let catalog = configured(Vec::new()).with_changes(&added(18), &BTreeSet::new()).unwrap();
        assert_eq!(catalog.get("bsc").unwrap().assets, [usdt(18)]);
        assert_eq!(catalog.closed(&bsc(), &id), Some(Closed::NotWatched));
        let catalog = configured(Vec::new()).with_changes(&added(18), &BTreeSet::from([id.clone()])).unwrap();
        assert_eq!(catalog.closed(&bsc(), &id), None);
    }

    #[test]
    fn the_configuration_may_name_it_later_but_not_otherwise() {
        let catalog = configured(vec![usdt(18)]).with_changes(&added(18), &BTreeSet::new()).unwrap();
        assert_eq!((catalog.get("bsc").unwrap().assets.len(), catalog.closed(&bsc(), &usdt(18).id)), (1, None));
        let differs = configured(vec![usdt(18)]).with_changes(&added(6), &BTreeSet::new()).unwrap_err();
        assert_eq!((differs.configured, differs.recorded), (18, 6));
    }

    #[test]
    fn a_pause_closes_the_chain_or_the_asset() {
        let pause = Pause { reason: "upgrade".to_owned(), since: Timestamp::UNIX_EPOCH };
        let id = usdt(18).id;
        let paused_assets = BTreeMap::from([(id.clone(), pause.clone())]);
        let mut change = Chain { paused_assets, ..Chain::default() };
        let with = |change: &Chain| {
            let changes = BTreeMap::from([(bsc(), change.clone())]);
            configured(vec![usdt(18)]).with_changes(&changes, &BTreeSet::new()).unwrap()
        };
        assert_eq!(with(&change).closed(&bsc(), &id), Some(Closed::Asset(&pause)));
        assert_eq!(with(&change).closed(&bsc(), &AssetId::native(&bsc())), None);
        change.paused = Some(pause.clone());
        assert_eq!(with(&change).closed(&bsc(), &AssetId::native(&bsc())), Some(Closed::Chain(&pause)));
    }
}
