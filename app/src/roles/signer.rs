//! The only role that opens the wallet: derives deposit addresses ahead of need.

use anyhow::Context as _;
use wopay_custody::{KeyStore, PoolFiller, WhenMissing};

use super::Parts;
use crate::config::Environment;
use crate::context::Context;
use crate::keys;

/// Opens the wallet and keeps the address pool filled.
///
/// # Errors
/// When the wallet cannot be opened, or the pool belongs to another one.
pub(super) async fn start(context: &Context, parts: &mut Parts) -> anyhow::Result<()> {
    let missing = match context.config.environment {
        Environment::Development => WhenMissing::Create,
        Environment::Production => WhenMissing::Refuse,
    };
    let master = keys::master_key(&context.config)?;
    let store = KeyStore::open(&context.workers, &master, missing).await.context(
        "cannot open the wallet (in production it is made by `wopay custody init` or `wopay custody import`)",
    )?;
    tracing::info!(wallet = %store.fingerprint(), "opened the wallet");
    let derivers = store.address_derivers().context("cannot derive addresses")?;
    let filler = PoolFiller::new(context.workers.clone(), derivers, context.config.custody.address_pool);
    let token = parts.token();
    parts.spawn("address pool", async move {
        // The filler has logged why it ends; the process ends with it, for a wrong wallet must not go unnoticed.
        let _ = filler.run(token).await;
    });
    Ok(())
}
