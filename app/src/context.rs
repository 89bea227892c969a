//! What every command works with: a database at this version's schema, the write side, and keys for those who need them.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wopay_commands::{Ledger, LedgerOptions};
use wopay_domain::ChainCatalog;
use wopay_eventbus::{AppendSignal, Bus};
use wopay_vault::{MasterKey, Vault, purpose};

use crate::config::{Config, Environment, Loaded};
use crate::keys;
use crate::services::{self, Need, Services};

/// Every migration, as compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Connections that requests and commands share. Appends have one of their own.
const REQUEST_CONNECTIONS_MAX: u32 = 12;
/// Connections that followers, watchers and deliveries share, so that a flood of requests does not starve them.
const WORKER_CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a serving process is built from.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) catalog: Arc<ChainCatalog>,
    /// For requests and commands.
    pub(crate) pool: PgPool,
    /// For what works in the background.
    pub(crate) workers: PgPool,
    pub(crate) bus: Bus,
    pub(crate) signal: AppendSignal,
    pub(crate) ledger: Ledger,
    services: Services,
}

impl Context {
    /// Brings up everything that serving needs.
    ///
    /// # Errors
    /// When a server, a key or the schema is not to be had; the error says what to do.
    pub(crate) async fn open(loaded: Loaded) -> anyhow::Result<Self> {
        let Loaded { config, catalog } = loaded;
        let services = services::start(&config, Need::Everything).await?;
        let pool = connect(&services.database_url, REQUEST_CONNECTIONS_MAX).await?;
        migrate_or_check(&config, &pool).await?;
        let workers = connect(&services.database_url, WORKER_CONNECTIONS_MAX).await?;
        let nats_url = services.nats_url.as_deref().context("no NATS")?;
        let bus = Bus::connect(nats_url, &config.ledger).await.context("cannot use nats_url")?;
        let signal = AppendSignal::new();
        let ledger = Ledger::start(pool.clone(), signal.clone(), LedgerOptions::default());
        Ok(Self { config, catalog, pool, workers, bus, signal, ledger, services })
    }

    /// The vault, for the roles that open sealed values. Others never read the key.
    ///
    /// # Errors
    /// When the key is not to be had, or does not open what is stored.
    pub(crate) async fn vault(&self) -> anyhow::Result<Vault> {
        open_vault(&self.workers, &keys::master_key(&self.config)?).await
    }

    /// Writes what waits, then stops private servers.
    pub(crate) async fn close(self) {
        self.ledger.shutdown().await;
        tokio::join!(self.pool.close(), self.workers.close());
        self.services.stop().await;
    }
}

/// What an administrative command is built from: the database and the keys, no NATS.
pub(crate) struct Administration {
    pub(crate) config: Config,
    pub(crate) pool: PgPool,
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
        let pool = connect(&services.database_url, REQUEST_CONNECTIONS_MAX).await?;
        migrate_or_check(&config, &pool).await?;
        let vault = open_vault(&pool, &keys::master_key(&config)?).await?;
        let ledger = Ledger::start(pool.clone(), AppendSignal::new(), LedgerOptions::default());
        Ok(Self { config, pool, ledger, vault, services })
    }

    /// Writes what waits, then stops a private server that was started for this command.
    pub(crate) async fn close(self) {
        self.ledger.shutdown().await;
        self.pool.close().await;
        self.services.stop().await;
    }
}

async fn open_vault(pool: &PgPool, master_key: &MasterKey) -> anyhow::Result<Vault> {
    let vault = Vault::new(pool.clone(), master_key.subkey(purpose::SECRETS));
    vault.check_key().await.context("the master key does not open the stored secrets")?;
    Ok(vault)
}

/// A pool of so many connections on the database.
///
/// # Errors
/// When the URL cannot be read or nobody answers.
pub(crate) async fn connect(database_url: &str, connections_max: u32) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(database_url).context("database_url cannot be read")?;
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection that died is noticed by the statement that uses it; asking first would cost a round trip each.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .context("cannot connect to Postgres (database_url)")
}

/// Applies what is missing. Several processes may do this at once.
///
/// # Errors
/// When the database is newer than this version, or a migration fails.
pub(crate) async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    MIGRATIONS.run(pool).await.context("cannot bring the database to this version's schema")
}

/// How many migrations are missing.
///
/// # Errors
/// When the database cannot be asked.
pub(crate) async fn missing_migrations(pool: &PgPool) -> anyhow::Result<usize> {
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    let applied: Vec<i64> = if known {
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(pool).await?
    } else {
        Vec::new()
    };
    Ok(MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version)).count())
}

/// Development migrates by itself, and so does a private database; elsewhere a person decides when.
async fn migrate_or_check(config: &Config, pool: &PgPool) -> anyhow::Result<()> {
    if config.environment == Environment::Development || config.database_url.is_none() {
        return migrate(pool).await;
    }
    let missing = missing_migrations(pool).await?;
    if missing > 0 {
        bail!("the database lacks {missing} migrations: run `wopay migrate`");
    }
    Ok(())
}
