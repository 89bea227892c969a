//! The tables of the chains that a process works with: those of its start, and those of chains that were added since.
//!
//! That a chain was added is an event; how its nodes are reached is in none. So each process reads its own configuration
//! again when a chain is added that it does not have, and takes that chain's table. Nothing else of what it reads counts
//! before the next start. Where the table is missing, or is another chain's, it says so until that is mended, and reads
//! again every while.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;
use wopay_commands::{Ledger, LiveCatalog};
use wopay_domain::catalog::Unserved;
use wopay_domain::chains::AcceptedChain;
use wopay_domain::{ChainFamily, ChainName, ChainSpec};

use crate::config::{ChainConfig, Chains, Loaded, Source};

/// Between two looks at a configuration that lacks a chain.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(15);

/// The tables; a cheap clone.
#[derive(Clone)]
pub(crate) struct ChainTables(Arc<Shared>);

struct Shared {
    source: Source,
    tables: RwLock<Chains>,
    /// Chains that were added and cannot be served, and why.
    unserved: RwLock<BTreeMap<ChainName, String>>,
}

impl ChainTables {
    /// The tables of the start.
    pub(crate) fn new(source: Source, tables: Chains) -> Self {
        let (tables, unserved) = (RwLock::new(tables), RwLock::default());
        Self(Arc::new(Shared { source, tables, unserved }))
    }

    /// A chain's table.
    pub(crate) fn get(&self, chain: &ChainName) -> Option<ChainConfig> {
        self.0.tables.read().unwrap_or_else(PoisonError::into_inner).get(chain.as_str()).cloned()
    }

    /// The chains that were added at run time and that this process cannot serve, each with the reason.
    pub(crate) fn unserved(&self) -> BTreeMap<ChainName, String> {
        self.0.unserved.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks for the tables of added chains until the token is cancelled.
    pub(crate) async fn follow(self, catalog: LiveCatalog, ledger: Ledger, token: CancellationToken) {
        let mut changes = catalog.subscribe();
        loop {
            changes.mark_unchanged();
            let look = async {
                self.look(&catalog, &ledger).await;
                if self.unserved().is_empty() {
                    // The catalogue is ours too, so its end is not seen here.
                    let _ = changes.changed().await;
                } else {
                    let _ = tokio::time::timeout(READ_AGAIN_EVERY, changes.changed()).await;
                }
            };
            if token.run_until_cancelled(look).await.is_none() {
                return;
            }
        }
    }

    /// Takes the tables of chains that were added, as far as the configuration has them by now.
    pub(crate) async fn look(&self, catalog: &LiveCatalog, ledger: &Ledger) {
        let now = catalog.current();
        let mut unserved = BTreeMap::new();
        if !now.unserved().is_empty() {
            let read = self.read().await;
            for (name, chain) in now.unserved() {
                let taken = match &read {
                    Ok(loaded) => self.take(name, chain, loaded, catalog, ledger).await,
                    Err(reason) => Err(reason.clone()),
                };
                if let Err(reason) = taken {
                    unserved.insert(name.clone(), reason);
                }
            }
        }
        self.show(unserved);
    }

    /// Takes one chain's table, or says why not.
    async fn take(
        &self,
        name: &ChainName,
        chain: &Unserved,
        loaded: &Loaded,
        catalog: &LiveCatalog,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let (table, spec) = self.fit(name, chain, loaded)?;
        // Who sees the chain in the catalogue looks for its table.
        let before = self.put(name, Some(table));
        if let Err(error) = catalog.configure(ledger, spec).await {
            self.put(name, before);
            return Err(format!("it was added at run time, and {error}"));
        }
        tracing::info!(chain = %name, "took the table of a chain that was added");
        Ok(())
    }

    /// Puts a chain's table in place of the one there was, if any, which is returned.
    fn put(&self, name: &ChainName, table: Option<ChainConfig>) -> Option<ChainConfig> {
        let mut tables = self.0.tables.write().unwrap_or_else(PoisonError::into_inner);
        match table {
            Some(table) => tables.insert(name.to_string(), table),
            None => tables.remove(name.as_str()),
        }
    }

    /// The configuration as it is now, or in words why it cannot be read.
    async fn read(&self) -> Result<Loaded, String> {
        let source = self.0.source.clone();
        let read = tokio::task::spawn_blocking(move || source.load().map_err(anyhow::Error::from)).await;
        let read = read.map_err(anyhow::Error::from).and_then(|read| read);
        read.map_err(|error| format!("it was added at run time, and the configuration cannot be read again: {error:#}"))
    }

    /// The chain's table and what follows from it, if it is the chain that was added and none that is served already.
    fn fit(&self, name: &ChainName, chain: &Unserved, loaded: &Loaded) -> Result<(ChainConfig, ChainSpec), String> {
        let accepted = &chain.accepted;
        let unserved = |differs| Unserved { accepted: accepted.clone(), differs }.to_string();
        let table = loaded.config.chains.get(name.as_str());
        let (Some(mut table), Some(spec)) = (table.cloned(), loaded.catalog.get(name.as_str())) else {
            return Err(format!("{} here: write [chains.{name}] there, it is read again soon", unserved(None)));
        };
        accepted.complete(spec).map_err(|differs| unserved(Some(differs)))?;
        complete_genesis(&mut table, accepted)?;
        if let Some(other) = self.same_chain(name, spec) {
            return Err(format!("it is the chain that is served as {other} here, until the next start"));
        }
        Ok((table, spec.clone()))
    }

    /// The other name under which this process has the chain.
    fn same_chain(&self, name: &ChainName, spec: &ChainSpec) -> Option<String> {
        let tables = self.0.tables.read().unwrap_or_else(PoisonError::into_inner);
        let is_same = |table: &ChainConfig| {
            table.kind == spec.family && (spec.family == ChainFamily::Solana || table.chain_id == spec.chain_id)
        };
        let mut others = tables.iter().filter(|(other, _)| other.as_str() != name.as_str());
        others.find(|(_, table)| is_same(table)).map(|(other, _)| other.clone())
    }

    fn show(&self, unserved: BTreeMap<ChainName, String>) {
        let mut shown = self.0.unserved.write().unwrap_or_else(PoisonError::into_inner);
        for (chain, reason) in &unserved {
            if shown.get(chain) != Some(reason) {
                tracing::error!(%chain, reason, "a chain that was added is NOT served here");
            }
            gauge!("wopay_chains_unserved", "chain" => chain.to_string()).set(1.0);
        }
        for chain in shown.keys().filter(|chain| !unserved.contains_key(*chain)) {
            gauge!("wopay_chains_unserved", "chain" => chain.to_string()).set(0.0);
        }
        *shown = unserved;
    }
}

/// Where a chain has no chain id, the genesis hash says which it is: the table gets the one with which it was added.
///
/// # Errors
/// When the table has another one.
pub(crate) fn complete_genesis(table: &mut ChainConfig, accepted: &AcceptedChain) -> Result<(), String> {
    match (&accepted.genesis_hash, &table.genesis_hash) {
        (Some(recorded), Some(configured)) if recorded != configured => Err(format!(
            "its `genesis_hash` is {configured} in the configuration and {recorded} in the ledger, where it was added first"
        )),
        (recorded, _) => {
            table.genesis_hash.clone_from(recorded);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use std::path::Path;

    use wopay_commands::LedgerOptions;
    use wopay_domain::chains::{AddChain, AddToken, ChainCommand};
    use wopay_domain::{Asset, AssetId, Metadata, Timestamp};
    use wopay_eventbus::AppendSignal;
    use wopay_testkit::TestDatabase;

    use super::*;

    const TABLE: &str = "kind = \"evm\"\nchain_id = 56\nrpc = [\"http://127.0.0.1:1\"]\n\
                         native = { symbol = \"BNB\", decimals = 18 }\n";

    /// A ledger to which `bsc` was added as the chain with this id, and the tables of a process without it.
    async fn added(file: &Path, chain_id: u64) -> (TestDatabase, Ledger, LiveCatalog, ChainTables) {
        let database = wopay_testkit::database().await;
        let ledger = Ledger::start(database.pool.clone(), AppendSignal::new(), LedgerOptions::default());
        let chain: ChainName = "bsc".parse().unwrap();
        let add = AddChain {
            family: ChainFamily::Evm,
            chain_id: Some(chain_id),
            genesis_hash: None,
            required_confirmations: 12,
            assets: vec![Asset { id: AssetId::native(&chain), symbol: "BNB".to_owned(), decimals: 18 }],
            reason: None,
            at: Timestamp::UNIX_EPOCH,
            chain,
        };
        ledger.execute_chain(ChainCommand::Add(add), &Metadata::system("test")).await.unwrap();
        let catalog = LiveCatalog::new(Arc::default());
        catalog.refresh(&ledger).await.unwrap();
        let tables = ChainTables::new(Source::new(Some(file.to_path_buf())), Chains::default());
        (database, ledger, catalog, tables)
    }

    #[tokio::test]
    async fn a_table_is_taken_once_it_is_there_and_the_chain_that_was_added() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (_database, ledger, catalog, tables) = added(file.path(), 56).await;
        let bsc: ChainName = "bsc".parse().unwrap();
        let because = async |text: String| {
            std::fs::write(file.path(), text).unwrap();
            tables.look(&catalog, &ledger).await;
            tables.unserved().remove(&bsc)
        };
        let reason = because(String::new()).await.unwrap();
        assert!(reason.contains("has no table") && reason.contains("[chains.bsc]"), "{reason}");
        let reason = because("chains = ".to_owned()).await.unwrap();
        assert!(reason.contains("not valid TOML"), "{reason}");
        let reason = because(format!("[chains.bsc]\n{}", TABLE.replace("56", "97"))).await.unwrap();
        assert!(reason.contains("chain id 97") && reason.contains("chain id 56"), "{reason}");
        // A token that was added by itself has the decimals of the ledger.
        let contract = "0x55d398326f99059ff775485246999027b3197955";
        let token = Asset { id: AssetId::token(&bsc, contract).unwrap(), symbol: "USDT".to_owned(), decimals: 18 };
        let add = AddToken {
            chain: bsc.clone(),
            token,
            min_deposit: None,
            configured: Vec::new(),
            at: Timestamp::UNIX_EPOCH,
        };
        ledger.execute_chain(ChainCommand::AddToken(add), &Metadata::system("test")).await.unwrap();
        let token = format!("tokens = [{{ symbol = \"USDT\", contract = \"{contract}\", decimals = 6 }}]\n");
        let reason = because(format!("[chains.bsc]\n{TABLE}{token}")).await.unwrap();
        assert!(reason.contains("6 decimals in the configuration and 18"), "{reason}");
        assert!(tables.get(&bsc).is_none() && catalog.configured().get("bsc").is_none());
        assert_eq!(because(format!("[chains.bsc]\n{TABLE}")).await, None);
        assert!(tables.get(&bsc).is_some() && catalog.configured().get("bsc").is_some());
    }

    #[test]
    fn the_genesis_hash_is_that_with_which_the_chain_was_added() {
        let text = "kind = \"solana\"\nrpc = [\"http://127.0.0.1:1\"]\nnative = { symbol = \"SOL\", decimals = 9 }\n";
        let accepted = AcceptedChain {
            family: ChainFamily::Solana,
            chain_id: None,
            genesis_hash: Some("first".to_owned()),
            required_confirmations: 32,
            assets: Vec::new(),
            at: Timestamp::UNIX_EPOCH,
        };
        let mut table: ChainConfig = toml::from_str(text).unwrap();
        complete_genesis(&mut table, &accepted).unwrap();
        assert_eq!(table.genesis_hash.as_deref(), Some("first"));
        table.genesis_hash = Some("second".to_owned());
        let error = complete_genesis(&mut table, &accepted).unwrap_err();
        assert!(error.contains("first") && error.contains("second"), "{error}");
    }

    #[tokio::test]
    async fn one_chain_is_not_served_under_two_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[chains.bnb]\n{TABLE}")).unwrap();
        let started = Source::new(Some(file.path().to_path_buf())).load().unwrap();
        let (_database, ledger, catalog, tables) = added(file.path(), 56).await;
        *tables.0.tables.write().unwrap() = started.config.chains;
        std::fs::write(file.path(), format!("[chains.bsc]\n{TABLE}")).unwrap();
        tables.look(&catalog, &ledger).await;
        let reasons = tables.unserved();
        assert!(reasons.values().all(|reason| reason.contains("as bnb")) && reasons.len() == 1, "{reasons:?}");
    }
}
