//! The role that watches the chains, and brings what they report to the command stream.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wopay_chain_watchers::{
    AddedTokens, ChainWatcher, EvmOptions, Finality, FinalityTag, OutboxPublisher, OutboxSignal, Traces, WatcherConfig,
};
use wopay_commands::LiveCatalog;
use wopay_domain::{ChainCatalog, ChainName, ChainSpec};

use super::Parts;
use crate::chain_tables::{ChainTables, complete_genesis};
use crate::config::{ChainConfig, FinalityMode, TraceSetting, agreement, by_address};
use crate::context::Context;
use crate::readiness::{Checks, WatchedChains};

/// Starts a watcher for each chain, also for those that are added later.
///
/// # Errors
/// When a chain's configuration cannot be used.
pub(super) fn start(context: &Context, parts: &mut Parts, checks: &Checks) -> anyhow::Result<()> {
    let signal = OutboxSignal::default();
    let mut watchers = Watchers {
        catalog: context.catalog.clone(),
        tables: context.tables.clone(),
        pool: context.workers.clone(),
        signal: signal.clone(),
        shown: checks.watched(),
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
        token: parts.token(),
    };
    let catalog = context.catalog.current();
    for chain in catalog.iter() {
        watchers.begin(&catalog, &chain.name, true)?;
    }
    parts.spawn("chain watchers", watchers.run());
    let publisher = OutboxPublisher::new(context.workers.clone(), context.bus.clone(), signal);
    parts.spawn("outbox publisher", publisher.run(parts.token()));
    Ok(())
}

/// The watchers of a process: one for each chain of the catalogue, as that changes.
struct Watchers {
    catalog: LiveCatalog,
    tables: ChainTables,
    pool: PgPool,
    signal: OutboxSignal,
    shown: WatchedChains,
    running: BTreeMap<ChainName, Running>,
    /// Each returns its chain, and the token at whose cancellation it was to end.
    tasks: JoinSet<(ChainName, CancellationToken)>,
    token: CancellationToken,
}

/// A watcher that runs.
struct Running {
    tokens: AddedTokens,
    token: CancellationToken,
}

impl Watchers {
    /// Follows the catalogue until the token is cancelled. Returns before when a watcher ends by itself.
    async fn run(mut self) {
        let mut changes = self.catalog.subscribe();
        loop {
            let catalog = changes.borrow_and_update().clone();
            self.follow(&catalog);
            tokio::select! {
                () = self.token.cancelled() => break,
                // The catalogue is ours too, so its end is not seen here.
                _ = changes.changed() => {}
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((_, token)) if token.is_cancelled() => {}
                    Ok((chain, _)) => return tracing::error!(%chain, "the chain's watcher ended by itself"),
                    Err(error) => return tracing::error!(error = %error, "a chain's watcher failed"),
                },
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Begins with chains that are new, ends with those that are no longer what was added, and tells the others of tokens.
    fn follow(&mut self, catalog: &ChainCatalog) {
        let shown = &self.shown;
        self.running.retain(|chain, running| {
            let is_served = catalog.get(chain.as_str()).is_some();
            if !is_served {
                tracing::warn!(%chain, "stops watching: the chain that was added is another one");
                running.token.cancel();
                shown.ended(chain);
            }
            is_served
        });
        for chain in catalog.iter() {
            if let Some(running) = self.running.get(&chain.name) {
                running.tokens.set(chain.assets.clone(), chain.min_deposits.clone());
            } else if let Err(error) = self.begin(catalog, &chain.name, false) {
                tracing::error!(chain = %chain.name, reason = format!("{error:#}"), "a chain that was added is NOT watched");
                self.shown.failed(chain.name.clone(), format!("{error:#}"));
            }
        }
    }

    /// Begins to watch a chain of the catalogue. One that its table no longer means is shown, and others are watched.
    fn begin(&mut self, catalog: &ChainCatalog, name: &ChainName, since_start: bool) -> anyhow::Result<()> {
        let configured = self.catalog.configured();
        let (Some(spec), Some(mut table)) = (configured.get(name.as_str()), self.tables.get(name)) else {
            anyhow::bail!("{name} has no table");
        };
        let accepted = catalog.changes(name).and_then(|changes| changes.accepted.as_ref());
        // Whatever the table forgot of what was added stays watched, and the chain the same.
        let completed = accepted.map(|accepted| accepted.complete(spec)).transpose()?;
        if let Some(Err(reason)) = accepted.map(|accepted| complete_genesis(&mut table, accepted)) {
            tracing::error!(chain = %name, reason, "a chain that was added is NOT watched");
            self.shown.failed(name.clone(), reason);
            return Ok(());
        }
        let config = watcher_config(completed.as_ref().unwrap_or(spec), &table);
        let watcher = ChainWatcher::new(&config, self.pool.clone(), self.signal.clone())
            .with_context(|| format!("cannot watch {name}"))?;
        let running = Running { tokens: watcher.added_tokens(), token: self.token.child_token() };
        if let Some(chain) = catalog.get(name.as_str()) {
            running.tokens.set(chain.assets.clone(), chain.min_deposits.clone());
        }
        self.shown.began(name.clone(), watcher.status(), since_start);
        let (chain, token) = (name.clone(), running.token.clone());
        self.running.insert(name.clone(), running);
        self.tasks.spawn(async move {
            watcher.run(token.clone()).await;
            (chain, token)
        });
        Ok(())
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
        unknown_tokens: chain.unknown_tokens.unwrap_or(true),
    };
    config.by_address = by_address(chain);
    config.agreement = agreement(spec, chain);
    config.rpc_options.budget_per_hour = chain.budget_per_hour.map(NonZeroU64::get);
    config.rpc_options.head_age_max = Duration::from_secs(u64::from(chain.head_age_max_s));
    config.rpc_options.head_lag_max = u64::from(chain.head_lag_max_blocks);
    config
}
