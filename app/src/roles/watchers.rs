//! The role that watches the chains, and brings what they report to the command stream.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use wopay_chain_watchers::{
    AddedTokens, ChainWatcher, EvmOptions, Finality, FinalityTag, OutboxPublisher, OutboxSignal, Traces, WatcherConfig,
};
use wopay_commands::LiveCatalog;
use wopay_domain::{ChainCatalog, ChainName, ChainSpec};

use super::Parts;
use crate::config::{ChainConfig, FinalityMode, TraceSetting, agreement};
use crate::context::Context;
use crate::readiness::Checks;

/// Starts a watcher for each configured chain.
///
/// # Errors
/// When a chain's configuration cannot be used.
pub(super) fn start(context: &Context, parts: &mut Parts, checks: &mut Checks) -> anyhow::Result<()> {
    let signal = OutboxSignal::default();
    let mut told = Vec::new();
    for spec in context.catalog.configured().iter() {
        let Some(chain) = context.config.chains.get(spec.name.as_str()) else { continue };
        let watcher = ChainWatcher::new(&watcher_config(spec, chain), context.workers.clone(), signal.clone())
            .with_context(|| format!("cannot watch {}", spec.name))?;
        checks.watch(watcher.status());
        told.push((spec.name.clone(), watcher.added_tokens()));
        parts.spawn("chain watcher", watcher.run(parts.token()));
    }
    tell_tokens(&context.catalog.current(), &told);
    parts.spawn("added tokens", follow_tokens(context.catalog.clone(), told, parts.token()));
    let publisher = OutboxPublisher::new(context.workers.clone(), context.bus.clone(), signal);
    parts.spawn("outbox publisher", publisher.run(parts.token()));
    Ok(())
}

/// Tells the watchers of tokens that are added at run time, until the token is cancelled.
async fn follow_tokens(catalog: LiveCatalog, watchers: Vec<(ChainName, AddedTokens)>, token: CancellationToken) {
    let mut changes = catalog.subscribe();
    loop {
        let now = changes.borrow_and_update().clone();
        tell_tokens(&now, &watchers);
        // The catalogue is ours too, so its end is not seen here.
        if !matches!(token.run_until_cancelled(changes.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

fn tell_tokens(catalog: &ChainCatalog, watchers: &[(ChainName, AddedTokens)]) {
    for (chain, watcher) in watchers {
        let added = catalog.changes(chain).into_iter().flat_map(|changes| &changes.added);
        watcher.set(added.map(|added| added.token.clone()).collect());
    }
}

/// What the watcher needs of a chain's table.
pub(crate) fn watcher_config(spec: &ChainSpec, chain: &ChainConfig) -> WatcherConfig {
    let mut config = WatcherConfig::new(spec.clone(), chain.rpc.clone());
    config.finality = match chain.finality.mode {
        FinalityMode::Depth => Finality::Depth,
        FinalityMode::Tag => Finality::Tag(FinalityTag::Finalized),
    };
    config.genesis_hash.clone_from(&chain.genesis_hash);
    config.reorg_window = chain.finality.reorg_window;
    config.poll_interval = Duration::from_millis(chain.poll_interval_ms);
    config.start_block = chain.start_block;
    config.evm = EvmOptions {
        eip7708_block: chain.eip7708_block,
        traces: match chain.traces {
            TraceSetting::None => Traces::None,
            TraceSetting::Debug => Traces::Debug,
            TraceSetting::Parity => Traces::Parity,
        },
        balances_every: Duration::from_secs(u64::from(chain.balances_every_s)),
    };
    config.agreement = agreement(spec, chain);
    config.rpc_options.budget_per_hour = chain.budget_per_hour.map(NonZeroU64::get);
    config.rpc_options.head_age_max = Duration::from_secs(u64::from(chain.head_age_max_s));
    config.rpc_options.head_lag_max = u64::from(chain.head_lag_max_blocks);
    config
}
