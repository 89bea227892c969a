//! The catalogue: which chains and assets are accepted at the moment, from the configuration and what was changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::chain::{ChainFamily, ChainName, ChainSpec};
use crate::chains::{AcceptedChain, AddedToken, Chain, ChainDiffers, Pause};
use crate::money::AssetId;

/// Every chain that this installation accepts, by name, and what takes no new payments at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainCatalog {
    chains: BTreeMap<ChainName, ChainSpec>,
    /// Of chains that have events.
    changes: BTreeMap<ChainName, Chain>,
    /// What its chain's watcher does not look for yet: it was added, at run time or to the configuration.
    unwatched: BTreeSet<AssetId>,
    /// Chains that were added at run time and that the configuration here does not have, or not so.
    unserved: BTreeMap<ChainName, Unserved>,
}

/// For what was added at run time watchers look already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Tokens that were added.
    pub assets: BTreeSet<AssetId>,
    /// Chains of which a watcher has begun, and for which assets the one that was last at work looks; `None`: it did not say.
    pub chains: BTreeMap<ChainName, Option<BTreeSet<AssetId>>>,
}

/// A chain that was added at run time and is not served by this configuration: nobody here takes payments on it, and
/// nobody watches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// What was added.
    pub accepted: AcceptedChain,
    /// In what the configuration differs; `None`: it has no such chain.
    pub differs: Option<ChainDiffers>,
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.accepted.at.format("%Y-%m-%d %H:%M:%S UTC");
        match &self.differs {
            None => write!(f, "it was added at {added} and has no table in the configuration"),
            Some(differs) => write!(f, "it was added at {added}, and {differs}"),
        }
    }
}

/// Why there are no new payments in an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed<'a> {
    /// Its chain is paused.
    Chain(&'a Pause),
    /// It is paused itself.
    Asset(&'a Pause),
    /// It was just added, or its chain was: the chain's watcher does not look for it yet.
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

    /// This catalogue with another chain, in place of one of the same name.
    #[must_use]
    pub fn with(mut self, chain: ChainSpec) -> Self {
        self.chains.insert(chain.name.clone(), chain);
        self
    }

    /// This catalogue with what was changed at run time: tokens that were added stand behind those of the configuration.
    /// Chains that are not configured here are left out; those of them that were added at run time, and those that were
    /// added as something else, are [`unserved`](Self::unserved).
    ///
    /// # Errors
    /// When a token has other decimals in the configuration than in the ledger.
    pub fn with_changes(
        &self,
        changes: &BTreeMap<ChainName, Chain>,
        watched: &Watched,
    ) -> Result<Self, DecimalsDiffer> {
        let mut catalog = Self { chains: self.chains.clone(), ..Self::default() };
        for (name, change) in changes {
            if let Some(accepted) = &change.accepted {
                catalog.accept(name, accepted, watched.chains.contains_key(name));
            }
            let Some(spec) = catalog.chains.get_mut(name) else { continue };
            for AddedToken { token, min_deposit, .. } in &change.added {
                match spec.asset(&token.id).map(|configured| configured.decimals) {
                    Some(configured) if configured != token.decimals => {
                        let (asset, recorded) = (token.id.clone(), token.decimals);
                        return Err(DecimalsDiffer { asset, configured, recorded });
                    }
                    // The configuration has it by now, and says what counts of it.
                    Some(_) => {}
                    None => {
                        spec.assets.push(token.clone());
                        spec.min_deposits.extend(min_deposit.as_ref().map(|least| (token.id.clone(), least.minor())));
                        if !watched.assets.contains(&token.id) {
                            catalog.unwatched.insert(token.id.clone());
                        }
                    }
                }
            }
            catalog.changes.insert(name.clone(), change.clone());
        }
        catalog.close_unwatched(watched);
        Ok(catalog)
    }

    /// Closes the assets for which the watcher of a chain that has begun does not look: it runs with an older configuration.
    /// Before a chain has begun nothing goes unseen: its watcher begins with the oldest payment.
    fn close_unwatched(&mut self, watched: &Watched) {
        for (name, looked_for) in &watched.chains {
            let (Some(spec), Some(looked_for)) = (self.chains.get(name), looked_for) else { continue };
            let ids = spec.assets.iter().map(|asset| &asset.id);
            let unseen = ids.filter(|id| !looked_for.contains(id) && !watched.assets.contains(id));
            self.unwatched.extend(unseen.cloned());
        }
    }

    /// Compares a chain that was added with the configuration, and takes out what is not the same.
    fn accept(&mut self, name: &ChainName, accepted: &AcceptedChain, is_watched: bool) {
        let completed = self.chains.get(name).map(|spec| accepted.complete(spec));
        match completed {
            Some(Ok(spec)) => {
                if !is_watched {
                    self.unwatched.extend(spec.assets.iter().map(|asset| asset.id.clone()));
                }
                self.chains.insert(name.clone(), spec);
            }
            None | Some(Err(_)) => {
                self.chains.remove(name);
                let differs = completed.and_then(Result::err);
                self.unserved.insert(name.clone(), Unserved { accepted: accepted.clone(), differs });
            }
        }
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

    /// The chains that were added at run time and that the configuration here does not have as they were added.
    #[must_use]
    pub const fn unserved(&self) -> &BTreeMap<ChainName, Unserved> {
        &self.unserved
    }

    /// Whether there is something for which a watcher is to begin to look.
    #[must_use]
    pub fn awaits_watchers(&self) -> bool {
        !self.unwatched.is_empty()
    }

    /// The families of which addresses are needed, also by chains that other processes serve.
    #[must_use]
    pub fn families(&self) -> BTreeSet<ChainFamily> {
        let elsewhere = self.unserved.values().map(|unserved| unserved.accepted.family);
        self.chains.values().map(|chain| chain.family).chain(elsewhere).collect()
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
    use crate::Timestamp;
    use crate::money::{Asset, Money};

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
        let added = vec![AddedToken { token: usdt(decimals), min_deposit: None, at: Timestamp::UNIX_EPOCH }];
        BTreeMap::from([(bsc(), Chain { added, ..Chain::default() })])
    }

    fn watched(asset: &AssetId) -> Watched {
        Watched { assets: BTreeSet::from([asset.clone()]), ..Watched::default() }
    }

    /// The chain as it was added at run time, with USDT.
    fn accepted(chain_id: u64, decimals: u8) -> BTreeMap<ChainName, Chain> {
        let (family, chain_id, genesis_hash) = (ChainFamily::Evm, Some(chain_id), None);
        let (required_confirmations, assets, at) = (15, vec![usdt(decimals)], Timestamp::UNIX_EPOCH);
        let accepted = AcceptedChain { family, chain_id, genesis_hash, required_confirmations, assets, at };
        BTreeMap::from([(bsc(), Chain { accepted: Some(accepted), ..Chain::default() })])
    }

    #[test]
    fn an_added_chain_is_closed_until_its_watcher_has_begun() {
        let id = usdt(18).id;
        let catalog = configured(vec![usdt(18)]).with_changes(&accepted(56, 18), &Watched::default()).unwrap();
        assert_eq!(catalog.closed(&bsc(), &id), Some(Closed::NotWatched));
        assert!(catalog.awaits_watchers() && catalog.unserved().is_empty());
        let begun = Watched { chains: BTreeMap::from([(bsc(), None)]), ..Watched::default() };
        let catalog = configured(vec![usdt(18)]).with_changes(&accepted(56, 18), &begun).unwrap();
        assert_eq!((catalog.closed(&bsc(), &id), catalog.awaits_watchers()), (None, false));
    }

    #[test]
    fn an_added_chain_that_is_not_configured_so_is_not_served() {
        let without = ChainCatalog::default().with_changes(&accepted(56, 18), &Watched::default()).unwrap();
        assert!(without.get("bsc").is_none() && without.unserved()[&bsc()].differs.is_none());
        assert_eq!(without.families(), BTreeSet::from([ChainFamily::Evm]), "others may serve it");
        for (changes, expected) in
            [(accepted(97, 18), "chain id 97"), (accepted(56, 6), "has 18 decimals in the configuration and 6")]
        {
            let catalog = configured(vec![usdt(18)]).with_changes(&changes, &Watched::default()).unwrap();
            let text = catalog.unserved()[&bsc()].to_string();
            assert!(catalog.get("bsc").is_none() && text.contains(expected), "{text}");
        }
        let again = without.with(configured(vec![usdt(18)]).get("bsc").unwrap().clone());
        let again = again.with_changes(&accepted(56, 18), &Watched::default()).unwrap();
        assert!(again.get("bsc").is_some() && again.unserved().is_empty());
    }

    #[test]
    fn a_token_with_which_a_chain_was_added_stays_when_the_configuration_forgets_it() {
        let catalog = configured(Vec::new()).with_changes(&accepted(56, 18), &Watched::default()).unwrap();
        assert_eq!(catalog.get("bsc").unwrap().assets, [usdt(18)]);
    }

    #[test]
    fn an_added_token_is_closed_until_it_is_watched() {
        let id = usdt(18).id;
        let catalog = configured(Vec::new()).with_changes(&added(18), &Watched::default()).unwrap();
        assert_eq!(catalog.get("bsc").unwrap().assets, [usdt(18)]);
        assert_eq!(catalog.closed(&bsc(), &id), Some(Closed::NotWatched));
        let catalog = configured(Vec::new()).with_changes(&added(18), &watched(&id)).unwrap();
        assert_eq!(catalog.closed(&bsc(), &id), None);
    }

    #[test]
    fn an_added_token_brings_the_least_that_counts_until_the_configuration_names_it() {
        let (id, mut changes) = (usdt(18).id, added(18));
        changes.get_mut(&bsc()).unwrap().added[0].min_deposit = Some(Money::new(500, id.clone()));
        let least = |configured: ChainCatalog| {
            let catalog = configured.with_changes(&changes, &watched(&id)).unwrap();
            catalog.get("bsc").unwrap().min_deposit(&id)
        };
        assert_eq!(least(configured(Vec::new())), 500);
        assert_eq!(least(configured(vec![usdt(18)])), 0, "the configuration has no least for it");
        let mut spec = configured(vec![usdt(18)]).get("bsc").unwrap().clone();
        spec.min_deposits.insert(id.clone(), 7);
        assert_eq!(least(ChainCatalog::new([spec])), 7);
    }

    #[test]
    fn an_asset_that_was_added_to_the_configuration_is_closed_until_a_watcher_looks_for_it() {
        let (id, spec) = (usdt(18).id, configured(vec![usdt(18)]));
        let nothing = BTreeMap::new();
        let with = |looked_for: Option<BTreeSet<AssetId>>| {
            let watched = Watched { chains: BTreeMap::from([(bsc(), looked_for)]), ..Watched::default() };
            spec.with_changes(&nothing, &watched).unwrap()
        };
        let old = with(Some(BTreeSet::from([AssetId::native(&bsc())])));
        assert_eq!((old.closed(&bsc(), &id), old.awaits_watchers()), (Some(Closed::NotWatched), true));
        assert_eq!(with(Some(BTreeSet::from([id.clone()]))).closed(&bsc(), &id), None);
        assert_eq!(with(None).closed(&bsc(), &id), None, "a program of before did not say what it looks for");
        let not_begun = spec.with_changes(&nothing, &Watched::default()).unwrap();
        assert_eq!(not_begun.closed(&bsc(), &id), None, "the watcher will begin with the oldest payment");
    }

    #[test]
    fn the_configuration_may_name_it_later_but_not_otherwise() {
        let catalog = configured(vec![usdt(18)]).with_changes(&added(18), &Watched::default()).unwrap();
        assert_eq!((catalog.get("bsc").unwrap().assets.len(), catalog.closed(&bsc(), &usdt(18).id)), (1, None));
        let differs = configured(vec![usdt(18)]).with_changes(&added(6), &Watched::default()).unwrap_err();
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
            configured(vec![usdt(18)]).with_changes(&changes, &Watched::default()).unwrap()
        };
        assert_eq!(with(&change).closed(&bsc(), &id), Some(Closed::Asset(&pause)));
        assert_eq!(with(&change).closed(&bsc(), &AssetId::native(&bsc())), None);
        change.paused = Some(pause.clone());
        assert_eq!(with(&change).closed(&bsc(), &AssetId::native(&bsc())), Some(Closed::Chain(&pause)));
    }
}
