//! Commands of chains, and the catalogue that follows from them and the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use wopay_domain::catalog::{DecimalsDiffer, Watched};
use wopay_domain::chains::{Chain, ChainCommand, ChainError};
use wopay_domain::{AssetId, ChainCatalog, ChainName, ChainSpec, Metadata};

use crate::error::{ExecuteError, LoadError};
use crate::ledger::{Executed, Ledger};
use crate::merchant_changes::MerchantChange;
use crate::store::{begun_chains, chain_ids, watched_assets};

/// Whatever was told or missed, the catalogue is read again after this long.
const READ_AT_LEAST_EVERY: Duration = Duration::from_secs(15);
/// … and after this long while a watcher is to begin: of that a chain's first one tells nobody.
const READ_WHILE_AWAITED: Duration = Duration::from_millis(500);

impl Ledger {
    /// Executes a command of a chain; one that changes nothing is a success without a position. Tries again, a bounded
    /// number of times, when others change the chain meanwhile.
    ///
    /// # Errors
    /// What the domain or the append say, [`ExecuteError::Contended`] when every try lost.
    pub async fn execute_chain(
        &self,
        command: ChainCommand,
        metadata: &Metadata,
    ) -> Result<Executed<Chain>, ExecuteError<ChainError>> {
        let id = command.chain().to_string();
        let turn = self.turn(&id).await;
        let execute = async || {
            let context = self.shared.store.load::<Chain>(&id).await?;
            let decided = self.decide_and_append(&id, context, vec![command.clone()], Vec::new(), metadata).await?;
            let (context, appended) = (&decided.context, decided.appended);
            let position = appended.map(|appended| appended.position);
            Ok(Executed { position, sequence: context.sequence(), state: context.state().clone() })
        };
        let executed = self.retry(execute).await;
        drop(turn);
        executed
    }

    /// Every chain that has events, by its name.
    ///
    /// # Errors
    /// When the ledger cannot be read or understood.
    pub async fn chains(&self) -> Result<BTreeMap<ChainName, Chain>, LoadError> {
        let ids = chain_ids(&self.shared.pool).await.map_err(|error| LoadError::Database(error.into()))?;
        let mut chains = BTreeMap::new();
        for id in ids {
            let name: ChainName = id.parse().map_err(corrupt)?;
            chains.insert(name, self.shared.store.load::<Chain>(&id).await?.state().clone());
        }
        Ok(chains)
    }

    /// What is accepted: the configuration's catalogue with what was changed since.
    ///
    /// # Errors
    /// When the ledger cannot be read, or contradicts the configuration.
    pub async fn catalog(&self, configured: &ChainCatalog) -> Result<ChainCatalog, CatalogError> {
        let changes = self.chains().await?;
        let assets = self.watched_assets().await?.into_keys().collect();
        let watched = Watched { assets, chains: self.begun_chains().await? };
        Ok(configured.with_changes(&changes, &watched)?)
    }

    /// The tokens added at run time for which watchers look, and from which block.
    ///
    /// # Errors
    /// When the database cannot be read or understood.
    pub async fn watched_assets(&self) -> Result<BTreeMap<AssetId, i64>, LoadError> {
        let rows = watched_assets(&self.shared.pool).await.map_err(|error| LoadError::Database(error.into()))?;
        rows.into_iter().map(|(asset, from)| Ok((asset.parse().map_err(corrupt)?, from))).collect()
    }

    /// The chains of which a watcher has begun: it has a cursor, so nothing from there on goes unseen of the assets that it
    /// looks for. `None`: it did not say which.
    ///
    /// # Errors
    /// When the database cannot be read or understood.
    pub async fn begun_chains(&self) -> Result<BTreeMap<ChainName, Option<BTreeSet<AssetId>>>, LoadError> {
        let rows = begun_chains(&self.shared.pool).await.map_err(|error| LoadError::Database(error.into()))?;
        let chain = |(name, assets): (String, Option<Vec<String>>)| {
            let assets = assets.map(|assets| assets.iter().map(|asset| asset.parse()).collect::<Result<_, _>>());
            Ok((name.parse().map_err(corrupt)?, assets.transpose().map_err(corrupt)?))
        };
        rows.into_iter().map(chain).collect()
    }
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> LoadError {
    LoadError::Corrupt(error.into())
}

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The ledger cannot be read or understood.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Ledger and configuration describe a token differently.
    #[error(transparent)]
    Differs(#[from] DecimalsDiffer),
}

/// The catalogue as it is now, for everybody in a process: a cheap clone, and a cheap look. [`follow`](Self::follow)
/// keeps it up with the ledger.
#[derive(Clone, Debug)]
pub struct LiveCatalog {
    configured: watch::Sender<Arc<ChainCatalog>>,
    now: watch::Sender<Arc<ChainCatalog>>,
    changed: Arc<Notify>,
}

impl LiveCatalog {
    /// What the configuration says, until it is read from the ledger for the first time.
    #[must_use]
    pub fn new(configured: Arc<ChainCatalog>) -> Self {
        let now = watch::Sender::new(Arc::clone(&configured));
        Self { configured: watch::Sender::new(configured), now, changed: Arc::new(Notify::new()) }
    }

    /// What the configuration says, without what was changed at run time.
    #[must_use]
    pub fn configured(&self) -> Arc<ChainCatalog> {
        Arc::clone(&self.configured.borrow())
    }

    /// Takes a chain that the configuration has by now, in place of one of the same name.
    ///
    /// # Errors
    /// When the ledger cannot be read, or contradicts the chain; then it is not taken, and all stays as it is.
    pub async fn configure(&self, ledger: &Ledger, chain: ChainSpec) -> Result<(), CatalogError> {
        let with_chain = ChainCatalog::clone(&self.configured()).with(chain.clone());
        ledger.catalog(&with_chain).await?;
        self.configured.send_modify(|configured| *configured = Arc::new(ChainCatalog::clone(configured).with(chain)));
        self.changed.notify_one();
        Ok(())
    }

    /// As it is now.
    #[must_use]
    pub fn current(&self) -> Arc<ChainCatalog> {
        Arc::clone(&self.now.borrow())
    }

    /// What it becomes, from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ChainCatalog>> {
        self.now.subscribe()
    }

    /// Takes what [`merchant_changes::watch`](crate::merchant_changes::watch) tells.
    pub fn apply(&self, change: MerchantChange) {
        match change {
            MerchantChange::Watching | MerchantChange::Chain => self.changed.notify_one(),
            MerchantChange::Merchant(_) | MerchantChange::AccessKey(_) | MerchantChange::Blind => {}
        }
    }

    /// Reads it again.
    ///
    /// # Errors
    /// When the ledger cannot be read, or contradicts the configuration; then it stays as it is.
    pub async fn refresh(&self, ledger: &Ledger) -> Result<(), CatalogError> {
        let catalog = ledger.catalog(&self.configured()).await?;
        self.now.send_if_modified(|now| {
            let is_new = **now != catalog;
            if is_new {
                *now = Arc::new(catalog);
            }
            is_new
        });
        Ok(())
    }

    /// Reads it again when it has changed, and every while, until the token is cancelled.
    pub async fn follow(self, ledger: Ledger, token: CancellationToken) {
        loop {
            let is_awaited = self.current().awaits_watchers();
            let pause = if is_awaited { READ_WHILE_AWAITED } else { READ_AT_LEAST_EVERY };
            let told = tokio::time::timeout(pause, self.changed.notified());
            if token.run_until_cancelled(told).await.is_none() {
                return;
            }
            let Some(refreshed) = token.run_until_cancelled(self.refresh(&ledger)).await else { return };
            if let Err(error) = refreshed {
                tracing::error!(error = %error, "the catalogue of chains is not read, the last one stays");
            }
        }
    }
}
