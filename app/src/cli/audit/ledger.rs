//! The database for a command that only reads: no master key is opened, so an auditor needs none.

use anyhow::Context as _;
use sqlx::PgPool;
use wopay_audit::{AuditKey, PublicKey};
use wopay_commands::{Ledger, LedgerOptions};
use wopay_domain::ChainCatalog;
use wopay_eventbus::AppendSignal;

use crate::config::{Config, Loaded};
use crate::database::Database;
use crate::keys;
use crate::services::{self, Need, Services};

/// Two for a scan that runs ahead, one for what is stored about it.
const CONNECTIONS_MAX: u32 = 4;

/// A ledger to read.
pub(in crate::cli) struct ReadLedger {
    pub(super) config: Config,
    pub(super) pool: PgPool,
    database: Database,
    services: Services,
}

impl ReadLedger {
    /// Opens it, also beside a running `wopay serve`.
    ///
    /// # Errors
    /// When the database or its schema is not to be had.
    pub(in crate::cli) async fn open(loaded: Loaded) -> anyhow::Result<Self> {
        let config = loaded.config;
        let services = services::start(&config, Need::Database).await?;
        let database = Database::new(&services.database, &config)?;
        database.prepare_to_read().await?;
        let pool = database.connect(CONNECTIONS_MAX).await?;
        Ok(Self { config, pool, database, services })
    }

    /// What is accepted: the configured catalogue with what was changed at run time.
    ///
    /// # Errors
    /// When the ledger cannot be read, or contradicts the configuration.
    pub(in crate::cli) async fn catalog(&self, configured: &ChainCatalog) -> anyhow::Result<ChainCatalog> {
        let ledger = Ledger::start(self.pool.clone(), AppendSignal::new(), LedgerOptions::default());
        let catalog = ledger.catalog(configured).await;
        ledger.shutdown().await;
        Ok(catalog?)
    }

    /// Closes it, and stops a private server that was started for this command.
    pub(in crate::cli) async fn close(self) {
        tokio::join!(self.pool.close(), self.database.close());
        self.services.stop().await;
    }
}

/// The keys to believe: those named, or this installation's own.
///
/// # Errors
/// When none is named and the master key is not to be had.
pub(super) fn trusted_keys(config: &Config, named: &[PublicKey]) -> anyhow::Result<Vec<PublicKey>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let master =
        keys::existing_master_key(config).context("name the log's public key with --key, or give the master key")?;
    Ok(vec![AuditKey::derive(&master, &config.audit_origin())?.public().clone()])
}
