//! The only role that opens the wallet and signs: derives deposit addresses ahead of need, seals the audit log.

use std::collections::BTreeSet;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wopay_audit::{AuditKey, Sealer, SealerOptions};
use wopay_commands::LiveCatalog;
use wopay_custody::{DeriveError, KeyStore, PoolFiller, WhenMissing};
use wopay_domain::{ChainCatalog, ChainFamily};
use wopay_vault::MasterKey;

use super::Parts;
use crate::config::Environment;
use crate::context::Context;
use crate::keys;
use crate::readiness::Checks;

/// Opens the wallet, keeps the address pool filled and the log sealed.
///
/// # Errors
/// When the wallet cannot be opened, or the pool belongs to another one.
pub(super) async fn start(context: &Context, parts: &mut Parts, checks: &mut Checks) -> anyhow::Result<()> {
    let missing = match context.config.environment {
        Environment::Development => WhenMissing::Create,
        Environment::Production => WhenMissing::Refuse,
    };
    let master = keys::master_key(&context.config)?;
    start_sealer(context, &master, parts, checks)?;
    let store = KeyStore::open(&context.workers, &master, missing).await.context(
        "cannot open the wallet (in production it is made by `wopay custody init` or `wopay custody import`)",
    )?;
    tracing::info!(wallet = %store.fingerprint(), "opened the wallet");
    let mut filling = Filling {
        catalog: context.catalog.clone(),
        store,
        pool: context.workers.clone(),
        target: context.config.custody.address_pool,
        families: BTreeSet::new(),
        tasks: JoinSet::new(),
        token: parts.token(),
    };
    filling.begin(&context.catalog.current()).context("cannot derive addresses")?;
    parts.spawn("address pool", filling.run());
    Ok(())
}

/// Keeps addresses of the families that chains need, also of chains that are added later.
struct Filling {
    catalog: LiveCatalog,
    store: KeyStore,
    pool: PgPool,
    target: u32,
    families: BTreeSet<ChainFamily>,
    tasks: JoinSet<()>,
    token: CancellationToken,
}

impl Filling {
    /// Follows the catalogue until the token is cancelled. Returns before when a pool cannot be filled: the filler has
    /// logged why, and the process ends with it, for a wrong wallet must not go unnoticed.
    async fn run(mut self) {
        let mut changes = self.catalog.subscribe();
        loop {
            let catalog = changes.borrow_and_update().clone();
            if let Err(error) = self.begin(&catalog) {
                return tracing::error!(error = &error as &dyn std::error::Error, "cannot derive addresses");
            }
            tokio::select! {
                // Fillers end because of the token too.
                biased;
                () = self.token.cancelled() => break,
                // The catalogue is ours too, so its end is not seen here.
                _ = changes.changed() => {}
                Some(_) = self.tasks.join_next() => return,
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Begins with the families that are new.
    fn begin(&mut self, catalog: &ChainCatalog) -> Result<(), DeriveError> {
        for family in catalog.families() {
            if self.families.contains(&family) {
                continue;
            }
            let derivers = vec![self.store.address_deriver(family)?];
            let filler = PoolFiller::new(self.pool.clone(), derivers, self.target);
            let token = self.token.clone();
            self.tasks.spawn(async move {
                let _ = filler.run(token).await;
            });
            self.families.insert(family);
        }
        Ok(())
    }
}

fn start_sealer(context: &Context, master: &MasterKey, parts: &mut Parts, checks: &mut Checks) -> anyhow::Result<()> {
    let config = &context.config;
    let key = AuditKey::derive(master, &config.audit_origin()).context("the audit log cannot be signed")?;
    tracing::info!(key = %key.public(), "seals the audit log");
    let options = SealerOptions { ledger: config.ledger.clone(), checkpoint_file: config.checkpoint_file() };
    let sealer = Sealer::new(context.workers.clone(), key, options, context.signal.clone());
    checks.seal(sealer.status());
    parts.spawn("audit log", sealer.run(parts.token()));
    Ok(())
}
