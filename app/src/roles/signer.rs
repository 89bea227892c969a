//! The only role that opens the wallet and signs: derives deposit addresses ahead of need, seals the audit log.

use std::collections::BTreeSet;

use anyhow::Context as _;
use wopay_audit::{AuditKey, Sealer, SealerOptions};
use wopay_custody::{KeyStore, PoolFiller, WhenMissing};
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
    // Of the families that a chain here needs.
    let families: BTreeSet<_> = context.catalog.current().iter().map(|chain| chain.family).collect();
    let derivers: Result<Vec<_>, _> = families.into_iter().map(|family| store.address_deriver(family)).collect();
    let derivers = derivers.context("cannot derive addresses")?;
    let filler = PoolFiller::new(context.workers.clone(), derivers, context.config.custody.address_pool);
    let token = parts.token();
    parts.spawn("address pool", async move {
        // The filler has logged why it ends; the process ends with it, for a wrong wallet must not go unnoticed.
        let _ = filler.run(token).await;
    });
    Ok(())
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
