//! Tokens that are added while a watcher runs.
//!
//! A token is taken between two steps: a source is made with it and asked for its head (which makes it compare the token's
//! code and decimals with the nodes, once), and another is put in place of the old one. Then, under the cursor's lock, it is noted
//! that the token is watched from the block after the cursor. Others take payments in it only from then on, so no money
//! can stand in a block that was processed without looking for it.
//!
//! Several watchers may share a chain. One that has not taken a noted token yet does not move the cursor, and a token
//! that the nodes refuse is not taken: the chain goes on without it. Assets of the configuration are told in the cursor's
//! own row, by each watcher that moves it: others take payments in them while they stand there, and a watcher with an
//! older configuration leaves the cursor alone while one that looks for more is at work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::watch;
use tracing::{debug, error, info};
use wopay_domain::{Asset, AssetId};
use wopay_eventbus::begin;

use super::error::WatchError;
use super::store::{self, StoreError};
use super::{ChainWatcher, with_causes};
use crate::config::{ConfigError, WatcherConfig};
use crate::source::{ChainSource, SourceError};

/// After this long, a token that was refused is tried again.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// After this long, nodes that could not be asked about a token are asked again.
const AWAY_PAUSE: Duration = Duration::from_secs(5);
/// So long a watcher that looks for less leaves the cursor to one that looks for more, and was configured later.
const NEWER_WATCHER_SECONDS: i32 = 60;

/// Makes the source of a chain from what is to be watched.
pub(super) type MakeSource = Box<dyn Fn(&WatcherConfig) -> Result<Arc<dyn ChainSource>, ConfigError> + Send + Sync>;

/// What a watcher is to look for besides what it was configured with. A cheap clone.
#[derive(Clone, Debug, Default)]
pub struct AddedTokens(watch::Sender<Wanted>);

/// Tokens, and of each the least that is no dust, in minor units; of one that does not stand there everything counts.
#[derive(Clone, Debug, Default)]
struct Wanted {
    tokens: Vec<Asset>,
    min_deposits: BTreeMap<AssetId, u128>,
}

impl AddedTokens {
    /// All of them, and the least of each that is no dust, in minor units (of one without, everything counts). The watcher
    /// takes those that are new before its next block. A token is never given up again, and what counts of it stays.
    pub fn set(&self, tokens: Vec<Asset>, min_deposits: BTreeMap<AssetId, u128>) {
        self.0.send_replace(Wanted { tokens, min_deposits });
    }
}

/// What became of the added tokens so far.
pub(super) struct Tokens {
    wanted: AddedTokens,
    /// With the configured assets and those that were taken.
    config: WatcherConfig,
    /// `None`: the source cannot be made anew.
    make: Option<MakeSource>,
    taken: Vec<Asset>,
    is_noted: bool,
    refused: Vec<Refused>,
    /// When no node could be asked about a token.
    away_since: Option<Instant>,
}

/// A token that is not taken for now.
struct Refused {
    token: Asset,
    reason: String,
    at: Instant,
}

impl Tokens {
    pub(super) fn new(config: &WatcherConfig, make: Option<MakeSource>) -> Self {
        let (config, wanted) = (config.clone(), AddedTokens::default());
        Self { wanted, config, make, taken: Vec::new(), is_noted: false, refused: Vec::new(), away_since: None }
    }

    /// The tokens to be tried now.
    fn new_ones(&mut self) -> Vec<Asset> {
        self.refused.retain(|refused| refused.at.elapsed() < REFUSED_PAUSE);
        let known = &self.config.chain.assets;
        let is_new = |token: &&Asset| {
            known.iter().all(|known| known.id != token.id)
                && self.refused.iter().all(|refused| refused.token != **token)
        };
        self.wanted.0.borrow().tokens.iter().filter(is_new).cloned().collect()
    }
}

impl ChainWatcher {
    /// A handle on what is watched besides the configured assets.
    #[must_use]
    pub fn added_tokens(&self) -> AddedTokens {
        self.tokens.wanted.clone()
    }

    /// Takes the tokens that were added since the last step. Those that are noted already were compared with the nodes when
    /// they were added: what their contracts say of themselves by now does not matter, and no watcher goes on without them.
    pub(super) async fn take_tokens(&mut self) -> Result<(), WatchError> {
        let new = self.tokens.new_ones();
        if new.is_empty() {
            return Ok(());
        }
        let noted = store::watched(&mut *self.pool.acquire().await?, &self.settings.chain).await?;
        let (noted, unknown): (Vec<Asset>, Vec<Asset>) =
            new.into_iter().partition(|token| noted.iter().any(|noted| noted == token.id.as_str()));
        if !noted.is_empty() {
            self.take(noted);
        }
        for token in unknown {
            if self.tokens.away_since.is_some_and(|since| since.elapsed() < AWAY_PAUSE) {
                break;
            }
            let mut config = self.tokens.config.clone();
            config.chain.assets.push(token.clone());
            let asked = match self.make_source(&config) {
                Ok(source) => source.head().await.map(|_| ()),
                Err(refusal) => Err(refusal),
            };
            match asked {
                Ok(()) => self.take(vec![token]),
                Err(SourceError::Refused { reason }) => self.refuse(token, reason),
                // Asked again later: a source that was just made knows nothing of whom it must not ask.
                Err(SourceError::Unavailable(failure)) => {
                    debug!(chain = %self.settings.chain, reason = with_causes(&*failure), "no token is taken now");
                    self.tokens.away_since = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// From now on these are looked for.
    fn take(&mut self, tokens: Vec<Asset>) {
        let mut config = self.tokens.config.clone();
        config.verified.extend(tokens.iter().map(|token| token.id.clone()));
        config.chain.assets.extend(tokens.iter().cloned());
        let min_deposits = self.tokens.wanted.0.borrow().min_deposits.clone();
        let is_new = |token: &AssetId| tokens.iter().any(|new| &new.id == token);
        config.chain.min_deposits.extend(min_deposits.into_iter().filter(|(token, _)| is_new(token)));
        match self.make_source(&config) {
            Ok(source) => self.source = source,
            Err(refusal) => {
                let reason = with_causes(&refusal);
                for token in tokens {
                    self.refuse(token, reason.clone());
                }
                return;
            }
        }
        self.addresses.begin_anew();
        for token in &tokens {
            info!(chain = %self.settings.chain, token = %token.id, symbol = token.symbol, "watching one more token");
            self.settings.least.insert(token.id.clone(), config.chain.min_deposit(&token.id));
        }
        self.tokens.config = config;
        self.tokens.taken.extend(tokens);
        self.tokens.is_noted = false;
    }

    fn refuse(&mut self, token: Asset, reason: String) {
        error!(chain = %self.settings.chain, token = %token.id, reason, "a token that was added is NOT watched");
        self.tokens.refused.push(Refused { token, reason, at: Instant::now() });
    }

    fn make_source(&self, config: &WatcherConfig) -> Result<Arc<dyn ChainSource>, SourceError> {
        let refused = |reason: String| SourceError::Refused { reason };
        let make = self.tokens.make.as_ref();
        let make = make.ok_or_else(|| refused("its source takes no tokens at run time".to_owned()))?;
        make(config).map_err(|error| refused(error.to_string()))
    }

    /// What this watcher looks for, sorted.
    pub(super) fn looks_for(&self) -> Vec<&str> {
        let mut assets: Vec<&str> = self.settings.least.keys().map(|asset| asset.as_str()).collect();
        assets.sort_unstable();
        assets
    }

    /// Notes what is watched from the block after the cursor on, and tells so of tokens that were taken. Before the chain's first block there is nothing
    /// to note: what is watched then is watched from its beginning.
    pub(super) async fn note_tokens(&mut self) -> Result<(), WatchError> {
        if self.tokens.is_noted {
            return Ok(());
        }
        let chain = &self.settings.chain;
        let mut tx = begin(&self.pool).await?;
        let Some(cursor) = store::lock_cursor(&mut tx, chain).await? else { return Ok(()) };
        if self.leaves_to_newer(&mut tx).await?.is_some() {
            return Ok(());
        }
        store::note_looked_for(&mut tx, chain, &self.looks_for()).await?;
        let assets: Vec<&str> = self.tokens.taken.iter().map(|token| token.id.as_str()).collect();
        store::note_watched(&mut tx, chain, &assets, cursor.height.saturating_add(1)).await?;
        tx.commit().await?;
        self.tokens.is_noted = true;
        Ok(())
    }

    /// For what that others look for this watcher waits, and why. Asked under the cursor's lock.
    pub(super) async fn misses_tokens(&self, conn: &mut PgConnection) -> Result<Option<String>, StoreError> {
        let noted = store::watched(conn, &self.settings.chain).await?;
        match self.missing_of(&noted) {
            Some(token) => Ok(Some(self.why_missing(token))),
            None => self.leaves_to_newer(conn).await,
        }
    }

    fn why_missing(&self, token: &str) -> String {
        match self.tokens.refused.iter().find(|refused| refused.token.id.as_str() == token) {
            Some(refused) => format!("token {token}, which others watch, is refused: {}", refused.reason),
            None => format!("waiting to be told of token {token}, which others watch"),
        }
    }

    /// The first of these assets that this watcher does not look for.
    fn missing_of<'a>(&self, assets: &'a [String]) -> Option<&'a String> {
        assets.iter().find(|asset| self.settings.least.keys().all(|known| known.as_str() != asset.as_str()))
    }

    /// Whether another watcher has just moved the cursor that looks for more than this one: the configuration here is the
    /// older one, or the newer one looks for less, and then this one's turn comes when the row is no longer fresh.
    async fn leaves_to_newer(&self, conn: &mut PgConnection) -> Result<Option<String>, StoreError> {
        let others = store::looked_for_lately(conn, &self.settings.chain, NEWER_WATCHER_SECONDS).await?;
        let more = self.missing_of(&others);
        Ok(more.map(|asset| format!("waiting: another watcher, which has just been at work, looks for {asset} too")))
    }
}
