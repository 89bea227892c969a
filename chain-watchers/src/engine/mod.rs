//! The engine: follows one chain of any family.
//!
//! It takes one step after the other. A step asks for the head and then does one of three things: nothing, walk back a
//! reorganization, or process the next blocks (of a chain that is followed by addresses: look at these). What a step has done is in the database before the next one begins, so a
//! crash, a restart and a second watcher on the same chain all take the same path: read the cursor, go on from there.

mod address_store;
mod addresses;
mod agreement;
mod agreement_store;
mod apply;
mod compare;
mod compare_store;
mod deposit_store;
mod error;
mod finality;
mod follow;
mod look;
pub(crate) mod odd;
mod reorg;
mod start;
mod store;
mod tokens;
mod unknown;
mod unknown_store;
mod watch_set;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::BackoffBuilder;
use chrono::SubsecRound;
use metrics::{counter, gauge};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use wopay_domain::{AssetId, ChainFamily, ChainName, ChainSpec, Timestamp};

use self::addresses::Addresses;
use self::agreement::Agreements;
use self::compare::Comparison;
use self::error::WatchError;
pub use self::tokens::AddedTokens;
use self::tokens::Tokens;
use self::unknown::Sweep;
use self::watch_set::WatchSet;
use crate::config::{ByAddress, ConfigError, WatcherConfig};
use crate::evm::EvmSource;
use crate::pool::attempt::with_causes;
use crate::publisher::OutboxSignal;
use crate::solana::SolanaSource;
use crate::source::{ChainSource, SourceError};
use crate::status::{ChainState, ChainStatus, EndpointHealth, EndpointState};

const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Looks in a row at a chain that takes back what is final, until it is halted: an endpoint may be stuck, and another one
/// answer the next time.
const AGAINST_FINAL_MAX: u32 = 8;
/// Pause between two looks at a chain that was halted or refused.
const STOPPED_PAUSE: Duration = Duration::from_secs(10);

/// Follows one chain; see the crate's documentation for what it promises.
pub struct ChainWatcher {
    source: Arc<dyn ChainSource>,
    pool: PgPool,
    signal: OutboxSignal,
    status: ChainStatus,
    settings: Settings,
    watch_set: WatchSet,
    /// Stored hashes were compared with the node since this watcher started.
    revalidated: bool,
    /// What the head called final that was last applied. Not more than a word: it is believed where it is proven.
    named_final: Option<u64>,
    /// Deposits wait although their height is final: which block stands there could not be found out.
    unproven: bool,
    /// Looks in a row at a chain that takes back what is final.
    against_final: u32,
    /// Looks in a row that did not bring the next block, though the head is above.
    without_next: u32,
    comparison: Comparison,
    sweep: Sweep,
    addresses: Addresses,
    agreements: Agreements,
    tokens: Tokens,
    /// The chain's time of the newest block last seen.
    head_at: Option<Timestamp>,
}

/// What the engine needs of the configuration.
#[derive(Clone, Debug)]
struct Settings {
    chain: ChainName,
    family: ChainFamily,
    confirmations_default: u32,
    /// The configured assets, each with the least that is no dust, in minor units.
    least: HashMap<AssetId, u128>,
    reorg_window: u32,
    poll_interval: Duration,
    start_block: Option<u64>,
    lookback: u32,
    concurrency: usize,
    head_age_max: Duration,
    /// Of a source that is followed by addresses.
    by_address: ByAddress,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to do at once.
    Again,
    /// There is nothing to do until the chain moves.
    Idle,
}

/// What [`ChainWatcher::advance_once`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more to do at once.
    Again,
    /// There is nothing to do until the chain moves.
    Idle,
    /// It could not be done now; the next step tries again.
    Failed,
    /// The chain is halted or refused (the status says why); the next step looks again.
    Stopped,
}

impl ChainWatcher {
    /// A watcher of that chain. Nothing is asked of the nodes before [`run`](Self::run).
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &WatcherConfig, pool: PgPool, signal: OutboxSignal) -> Result<Self, ConfigError> {
        config.validate()?;
        let make = |config: &WatcherConfig| -> Result<Arc<dyn ChainSource>, ConfigError> {
            match config.chain.family {
                ChainFamily::Evm => Ok(Arc::new(EvmSource::new(config)?)),
                ChainFamily::Solana => Ok(Arc::new(SolanaSource::new(config)?)),
            }
        };
        Self::with_sources(config, make, pool, signal)
    }

    /// A watcher whose source the caller makes, and makes anew when a token is added at run time: the configuration then
    /// has that token as well, and names it in `verified` once it was asked for its head with it. The configuration's
    /// endpoints are the maker's business.
    ///
    /// # Errors
    /// When the source cannot be made.
    pub fn with_sources(
        config: &WatcherConfig,
        make: impl Fn(&WatcherConfig) -> Result<Arc<dyn ChainSource>, ConfigError> + Send + Sync + 'static,
        pool: PgPool,
        signal: OutboxSignal,
    ) -> Result<Self, ConfigError> {
        let watcher = Self::with_source(config, make(config)?, pool, signal);
        Ok(Self { tokens: Tokens::new(config, Some(Box::new(make))), ..watcher })
    }

    /// A watcher that reads the chain from a source of the caller's; the configuration's endpoints are not used. It takes
    /// no tokens at run time.
    pub fn with_source(
        config: &WatcherConfig,
        source: Arc<dyn ChainSource>,
        pool: PgPool,
        signal: OutboxSignal,
    ) -> Self {
        let settings = Settings {
            chain: config.chain.name.clone(),
            family: config.chain.family,
            confirmations_default: config.chain.required_confirmations.max(1),
            least: least(&config.chain),
            reorg_window: config.reorg_window.max(1),
            poll_interval: config.poll_interval,
            start_block: config.start_block,
            lookback: config.lookback,
            concurrency: config.rpc_options.concurrency.max(1),
            head_age_max: config.rpc_options.head_age_max,
            by_address: config.by_address.unwrap_or_default(),
        };
        let sweep = Sweep::new(source.is_searched());
        let status = ChainStatus::new(settings.chain.clone());
        Self {
            source,
            pool,
            signal,
            status,
            watch_set: WatchSet::new(settings.family),
            settings,
            revalidated: false,
            named_final: None,
            unproven: false,
            against_final: 0,
            without_next: 0,
            comparison: Comparison::default(),
            sweep,
            addresses: Addresses::default(),
            agreements: Agreements::new(config.agreement.clone()),
            tokens: Tokens::new(config, None),
            head_at: None,
        }
    }

    /// A handle on its health.
    #[must_use]
    pub fn status(&self) -> ChainStatus {
        self.status.clone()
    }

    /// Follows the chain until the token is cancelled. Whatever goes wrong is logged, counted, visible in the status, and
    /// tried again.
    pub async fn run(mut self, token: CancellationToken) {
        let chain = self.settings.chain.clone();
        info!(%chain, "watching");
        let mut backoff = None;
        loop {
            let Some(progress) = token.run_until_cancelled(self.advance_once()).await else { break };
            if progress != Progress::Failed {
                backoff = None;
            }
            let pause = match progress {
                Progress::Again => Duration::ZERO,
                Progress::Idle => self.settings.poll_interval,
                Progress::Failed => backoff.get_or_insert_with(|| self.backoff()).next().unwrap_or(BACKOFF_MAX),
                Progress::Stopped => STOPPED_PAUSE,
            };
            if token.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        info!(%chain, "stopped watching");
    }

    /// Takes one step: what [`run`](Self::run) does between two pauses, for who drives a watcher by something else than
    /// the clock. It may be dropped at any await: what it had not committed then has not happened.
    pub async fn advance_once(&mut self) -> Progress {
        let result = self.step().await;
        self.show_endpoints();
        match result {
            Ok(step) => {
                self.went_well();
                match step {
                    Step::Again => Progress::Again,
                    Step::Idle => Progress::Idle,
                }
            }
            Err(error) => self.went_wrong(&error),
        }
    }

    fn show_endpoints(&self) {
        let endpoints = self.source.endpoints();
        self.status.update(|health| health.endpoints = endpoints);
    }

    fn backoff(&self) -> backon::ExponentialBackoff {
        backon::ExponentialBuilder::default()
            .with_min_delay(self.settings.poll_interval.min(BACKOFF_MAX))
            .with_max_delay(BACKOFF_MAX)
            .with_jitter()
            .without_max_times()
            .build()
    }

    fn went_well(&mut self) {
        self.against_final = 0;
        let chain = self.settings.chain.to_string();
        gauge!("wopay_chain_watchers_halted", "chain" => chain.clone()).set(0.0);
        gauge!("wopay_chain_watchers_refused", "chain" => chain).set(0.0);
        self.status.update(|health| health.last_error = None);
    }

    /// Says what is wrong.
    fn went_wrong(&mut self, failure: &WatchError) -> Progress {
        let chain = self.settings.chain.to_string();
        let reason = with_causes(failure);
        counter!("wopay_chain_watchers_failed_steps_total", "chain" => chain.clone()).increment(1);
        if matches!(failure, WatchError::AgainstFinal { .. }) {
            self.against_final = self.against_final.saturating_add(1);
        }
        match failure {
            WatchError::Source(SourceError::Refused { .. }) => {
                error!(%chain, reason, "REFUSING to watch: the nodes are not what the configuration says");
                gauge!("wopay_chain_watchers_refused", "chain" => chain).set(1.0);
                self.status.update(|health| {
                    health.state = ChainState::Refused { reason: reason.clone() };
                    health.last_error = Some(reason);
                });
                Progress::Stopped
            }
            WatchError::Source(SourceError::Unavailable(_)) | WatchError::Store(_) => self.tries_again(reason),
            WatchError::AgainstFinal { .. } if self.against_final < AGAINST_FINAL_MAX => self.tries_again(reason),
            WatchError::TooDeep { .. } | WatchError::Contradiction { .. } | WatchError::AgainstFinal { .. } => {
                error!(%chain, reason, "HALTED: no block of this chain is processed until this is resolved");
                gauge!("wopay_chain_watchers_halted", "chain" => chain).set(1.0);
                self.revalidated = false;
                self.status.update(|health| {
                    health.state = ChainState::Halted { reason: reason.clone() };
                    health.last_error = Some(reason);
                });
                Progress::Stopped
            }
        }
    }

    fn tries_again(&self, reason: String) -> Progress {
        warn!(chain = %self.settings.chain, reason, "cannot go on, trying again");
        self.status.update(|health| health.last_error = Some(reason));
        Progress::Failed
    }

    /// In what the head that is followed is not the chain's as it is now.
    fn behind(&self) -> Option<String> {
        let endpoints = self.source.endpoints();
        let in_use = endpoints.into_iter().find(|endpoint| endpoint.in_use);
        if let Some(EndpointHealth { endpoint, state: EndpointState::Behind { reason }, .. }) = in_use {
            return Some(format!("{endpoint}: {reason}, and no other endpoint can be used"));
        }
        let age = chrono::Utc::now().signed_duration_since(self.head_at?).to_std().unwrap_or_default();
        (age > self.settings.head_age_max)
            .then(|| format!("the newest block that the endpoint in use has is {} s old", age.as_secs()))
    }

    /// Notes where the watcher stands.
    fn stands_at(&self, height: u64, head: u64, block_at: Option<Timestamp>) {
        self.stands(height, head, block_at, self.behind());
    }

    /// Notes where the watcher stands and that it cannot go on, for something that is no error: why, in full.
    fn stands_waiting(&self, height: u64, head: u64, reason: &str) {
        warn!(chain = %self.settings.chain, height, head, reason, "not going on");
        let behind = self.behind().map_or_else(String::new, |behind| format!("; {behind}"));
        self.stands(height, head, None, Some(format!("{reason}{behind}")));
    }

    fn stands(&self, height: u64, head: u64, block_at: Option<Timestamp>, behind: Option<String>) {
        let chain = self.settings.chain.to_string();
        gauge!("wopay_chain_watchers_height_blocks", "chain" => chain.clone()).set(gauge_value(height));
        gauge!("wopay_chain_watchers_head_blocks", "chain" => chain.clone()).set(gauge_value(head));
        gauge!("wopay_chain_watchers_lag_blocks", "chain" => chain.clone())
            .set(gauge_value(head.saturating_sub(height)));
        debug!(chain, height, head, "standing");
        gauge!("wopay_chain_watchers_behind", "chain" => chain).set(if behind.is_some() { 1.0 } else { 0.0 });
        self.status.update(|health| {
            health.state = match behind {
                Some(reason) => ChainState::Behind { height, head, reason },
                None => ChainState::Following { height, head },
            };
            health.last_block_at = block_at.or(health.last_block_at);
            health.last_contact_at = Some(now());
        });
    }
}

/// Now, as precise as Postgres keeps it.
fn least(chain: &ChainSpec) -> HashMap<AssetId, u128> {
    chain.assets.iter().map(|asset| (asset.id.clone(), chain.min_deposit(&asset.id))).collect()
}

fn now() -> Timestamp {
    chrono::Utc::now().trunc_subsecs(6)
}

/// Gauges are floats; heights stay exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "a gauge")]
fn gauge_value(height: u64) -> f64 {
    height as f64
}
