//! What every command works with: a database at this version's schema, the write side, and keys for those who need them.

use anyhow::Context as _;
use sqlx::PgPool;
use wopay_commands::{Ledger, LedgerOptions, LiveCatalog};
use wopay_eventbus::{AppendSignal, Bus};
use wopay_vault::{MasterKey, Vault, purpose};

use crate::chain_tables::ChainTables;
use crate::config::{Config, Loaded, Source};
use crate::database::Database;
use crate::keys;
use crate::services::{self, Need, Services};

/// Connections that requests and commands share. Appends have one of their own.
const REQUEST_CONNECTIONS_MAX: u32 = 12;
/// Connections that followers, watchers and deliveries share, so that a flood of requests does not starve them.
const WORKER_CONNECTIONS_MAX: u32 = 16;

/// What a serving process is built from.
pub(crate) struct Context {
    /// As it was at the start, without the chains: they are [`tables`](Self::tables).
    pub(crate) config: Config,
    pub(crate) tables: ChainTables,
    pub(crate) catalog: LiveCatalog,
    /// For requests and commands. Like [`workers`](Self::workers) of the application's role, which owns no table.
    pub(crate) pool: PgPool,
    /// For what works in the background.
    pub(crate) workers: PgPool,
    database: Database,
    pub(crate) bus: Bus,
    pub(crate) signal: AppendSignal,
    pub(crate) ledger: Ledger,
    services: Services,
}

impl Context {
    /// Brings up everything that serving needs. `source` is where the configuration is read again when a chain is added.
    ///
    /// # Errors
    /// When a server, a key or the schema is not to be had; the error says what to do.
    pub(crate) async fn open(loaded: Loaded, source: Source) -> anyhow::Result<Self> {
        let Loaded { mut config, catalog } = loaded;
        let tables = ChainTables::new(source, std::mem::take(&mut config.chains));
        let services = services::start(&config, Need::Everything).await?;
        let database = Database::new(&services.database, &config)?;
        database.prepare().await?;
        let pool = database.connect(REQUEST_CONNECTIONS_MAX).await?;
        database.warn_of_powers(&pool).await?;
        let workers = database.connect(WORKER_CONNECTIONS_MAX).await?;
        let nats_url = services.nats_url.as_deref().context("no NATS")?;
        let bus = Bus::connect(nats_url, &config.ledger).await.context("cannot use nats_url")?;
        let signal = AppendSignal::new();
        let ledger = Ledger::start(pool.clone(), signal.clone(), LedgerOptions::default());
        let catalog = LiveCatalog::new(catalog);
        catalog.refresh(&ledger).await.context("cannot tell which tokens are accepted")?;
        Ok(Self { config, tables, catalog, pool, workers, database, bus, signal, ledger, services })
    }

    /// The vault, for the roles that open sealed values. Others never read the key.
    ///
    /// # Errors
    /// When the key is not to be had, or does not open what is stored.
    pub(crate) async fn vault(&self) -> anyhow::Result<Vault> {
        open_vault(&self.workers, &keys::master_key(&self.config)?).await
    }

    /// The pool of the role that owns the tables, for what makes and drops some. Opened when first asked for.
    ///
    /// # Errors
    /// When production was not told of an owner, or it cannot connect.
    pub(crate) async fn owner(&self) -> anyhow::Result<PgPool> {
        self.database.owner().await
    }

    /// Writes what waits, then stops private servers.
    pub(crate) async fn close(self) {
        self.ledger.shutdown().await;
        tokio::join!(self.pool.close(), self.workers.close(), self.database.close());
        self.services.stop().await;
    }
}

/// What an administrative command is built from: the database and the keys, no NATS.
pub(crate) struct Administration {
    pub(crate) config: Config,
    /// Of the application's role, which owns no table.
    pub(crate) pool: PgPool,
    database: Database,
    pub(crate) ledger: Ledger,
    pub(crate) vault: Vault,
    services: Services,
}

impl Administration {
    /// Opens the database, also beside a running `wopay serve`.
    ///
    /// # Errors
    /// When the database, a key or the schema is not to be had.
    pub(crate) async fn open(loaded: Loaded) -> anyhow::Result<Self> {
        let config = loaded.config;
        let services = services::start(&config, Need::Database).await?;
        let database = Database::new(&services.database, &config)?;
        database.prepare().await?;
        let pool = database.connect(REQUEST_CONNECTIONS_MAX).await?;
        let vault = open_vault(&pool, &keys::master_key(&config)?).await?;
        let ledger = Ledger::start(pool.clone(), AppendSignal::new(), LedgerOptions::default());
        Ok(Self { config, pool, database, ledger, vault, services })
    }

    /// The pool of the role that owns the tables, for what makes and drops some. Opened when first asked for.
    ///
    /// # Errors
    /// When production was not told of an owner, or it cannot connect.
    pub(crate) async fn owner(&self) -> anyhow::Result<PgPool> {
        self.database.owner().await
    }

    /// Writes what waits, then stops a private server that was started for this command.
    pub(crate) async fn close(self) {
        self.ledger.shutdown().await;
        tokio::join!(self.pool.close(), self.database.close());
        self.services.stop().await;
    }
}

/// The vault's tables may have come back from a backup that is older than the ledger, or `wopay merchant forget` may have
/// died between its two steps: whom the ledger calls forgotten has no key.
async fn forget_again(pool: &PgPool, vault: &Vault) -> anyhow::Result<()> {
    for merchant in wopay_projections::merchants::forgotten(pool).await? {
        if vault.forget(merchant.as_uuid()).await?.is_new {
            tracing::warn!(%merchant, "a forgotten merchant had a key again: it is destroyed");
        }
    }
    Ok(())
}

async fn open_vault(pool: &PgPool, master_key: &MasterKey) -> anyhow::Result<Vault> {
    let vault = Vault::new(pool.clone(), master_key.subkey(purpose::SECRETS));
    vault.check_key().await.context("the master key does not open the stored secrets")?;
    let resealed = vault.reseal().await.context("cannot bring the stored secrets under their subjects' keys")?;
    if resealed.resealed > 0 {
        tracing::info!(secrets = resealed.resealed, "stored secrets are under keys of their subjects now");
    }
    if resealed.damaged > 0 {
        tracing::error!(secrets = resealed.damaged, "stored secrets are damaged and do not open");
    }
    forget_again(pool, &vault).await.context("cannot forget again whom the ledger says was forgotten")?;
    Ok(vault)
}
