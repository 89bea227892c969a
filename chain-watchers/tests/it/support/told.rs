//! A chain that a test makes up, and everything that is said of it: for lies and troubles that no real node can be made to
//! show. Nothing happens between two steps of a watcher but what the test does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use wopay_chain_watchers::{
    BlockData, BlockHeader, Candidate, ChainSource, ChainWatcher, ConfigError, Final, Head, OutboxSignal, Place,
    Progress, SourceError, Transfer, WatcherConfig,
};
use wopay_domain::{AssetId, BlockRef, ChainFamily, ChainSpec, DepositLeg};
use wopay_testkit::{TestDatabase, database};

use super::book::Book;
use super::{chain_name, native};

/// Steps after which a watcher must have come to rest.
const STEPS_MAX: usize = 400;

/// A made-up chain, a database and no ledger: what is recorded is looked at in the database.
pub(crate) struct ToldWorld {
    pub(crate) database: TestDatabase,
    pub(crate) told: Told,
    pub(crate) config: WatcherConfig,
    book: Book,
}

/// What is said of a chain. A cheap clone of the same.
#[derive(Clone, Default)]
pub(crate) struct Told {
    script: Arc<Mutex<Script>>,
    /// What the nodes are asked about.
    asked_about: Vec<AssetId>,
}

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) blocks: BTreeMap<u64, BlockData>,
    /// What the head comes with; `None`: depth decides.
    pub(crate) finality: Option<Final>,
    /// What who is asked for a final block calls final.
    pub(crate) final_upto: u64,
    /// Final blocks that are not those that are read.
    pub(crate) final_instead: BTreeMap<u64, String>,
    /// Listed, and not to be had.
    pub(crate) not_available: BTreeSet<u64>,
    /// Asked for older blocks than this one, it answers with an error.
    pub(crate) forgotten_below: u64,
    pub(crate) has_empty_heights: bool,
    /// Questions so far.
    pub(crate) calls: u64,
    /// A token that the nodes are asked about in vain: what its contract says is not what is configured.
    pub(crate) refused: Option<AssetId>,
    /// A token about which nobody answers.
    pub(crate) unanswered: Option<AssetId>,
    /// Sources that were made.
    pub(crate) made: u32,
    /// What the endpoint in use was doubted for.
    pub(crate) doubts: Vec<String>,
}

impl Script {
    /// Blocks of that branch on top of what is there.
    pub(crate) fn grow(&mut self, branch: &str, upto: u64) {
        let first = self.blocks.last_key_value().map_or(0, |(height, _)| height + 1);
        for height in first..=upto {
            let parent_hash =
                self.blocks.last_key_value().map_or("none", |(_, below)| &below.header.block.hash).to_owned();
            // A second a block, so the head is not old.
            let time = chrono::Utc::now().timestamp() - 5_000 + i64::try_from(height).unwrap();
            let time = DateTime::from_timestamp(time, 0).unwrap();
            let block = BlockRef { number: height, hash: format!("{branch}{height}"), time };
            self.blocks
                .insert(height, BlockData { header: BlockHeader { block, parent_hash }, candidates: Vec::new() });
        }
    }

    /// Other blocks of that branch above a height.
    pub(crate) fn branch(&mut self, branch: &str, above: u64, upto: u64) {
        self.blocks.split_off(&(above + 1));
        self.grow(branch, upto);
    }

    pub(crate) fn pay(&mut self, height: u64, address: &str, minor: u128) {
        let candidate = Candidate {
            transaction: format!("0xpaid{height}"),
            place: Place::Settled(DepositLeg::Native),
            to: address.to_owned(),
            from: None,
            asset: native().id,
            minor: Some(minor),
        };
        self.blocks.get_mut(&height).unwrap().candidates.push(candidate);
    }

    /// From now on that height is final, whoever is asked.
    pub(crate) fn finalize(&mut self, height: u64) {
        self.finality = Some(Final::UpTo(height));
        self.final_upto = height;
    }

    fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        if height < self.forgotten_below {
            return Err(SourceError::Unavailable("told: forgotten".into()));
        }
        Ok(self.blocks.get(&height).map(|block| block.header.clone()))
    }
}

impl Told {
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// A source of the same chain, as the engine has it made when a token is added.
    fn made_for(&self, config: &WatcherConfig) -> Self {
        self.script().made += 1;
        let assets = config.chain.assets.iter().map(|asset| asset.id.clone());
        let asked_about = assets.filter(|asset| !config.verified.contains(asset)).collect();
        Self { script: Arc::clone(&self.script), asked_about }
    }

    fn asked(&self) -> MutexGuard<'_, Script> {
        let mut script = self.script();
        script.calls += 1;
        script
    }
}

#[async_trait]
impl ChainSource for Told {
    async fn head(&self) -> Result<Head, SourceError> {
        let script = self.asked();
        if script.refused.as_ref().is_some_and(|token| self.asked_about.contains(token)) {
            return Err(SourceError::Refused { reason: "told: the contract has no decimals()".to_owned() });
        }
        if script.unanswered.as_ref().is_some_and(|token| self.asked_about.contains(token)) {
            return Err(SourceError::Unavailable("told: 429".into()));
        }
        let newest = script.blocks.last_key_value().map(|(_, block)| block.header.clone());
        let newest = newest.ok_or_else(|| SourceError::Unavailable("told: nothing".into()))?;
        Ok(Head { newest, finality: script.finality.unwrap_or(Final::ByDepth) })
    }

    async fn heights(&self, after: u64, upto: u64, limit: usize) -> Result<Vec<u64>, SourceError> {
        let script = self.script();
        let above = script.blocks.keys().copied().filter(|height| (after + 1..=upto).contains(height));
        Ok(above.take(limit).collect())
    }

    fn doubt(&self, reason: &str) {
        self.script().doubts.push(reason.to_owned());
    }

    fn has_empty_heights(&self) -> bool {
        self.script().has_empty_heights
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        self.asked().header(height)
    }

    async fn final_header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        let script = self.asked();
        let header = script.header(height)?.filter(|_| height <= script.final_upto);
        Ok(header.map(|mut header| {
            if let Some(hash) = script.final_instead.get(&height) {
                header.block.hash.clone_from(hash);
            }
            header
        }))
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        let script = self.asked();
        Ok(script.blocks.get(&height).filter(|_| !script.not_available.contains(&height)).cloned())
    }

    async fn settle(&self, _: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        let transfers = candidates.iter().filter_map(|candidate| {
            let Place::Settled(leg) = &candidate.place else { return None };
            Some(Transfer {
                transaction: candidate.transaction.clone(),
                leg: leg.clone(),
                to: candidate.to.clone(),
                from: None,
                asset: candidate.asset.clone(),
                minor: candidate.minor?,
            })
        });
        Ok(transfers.collect())
    }
}

impl ToldWorld {
    /// A chain of these blocks, of which a window of so many is kept.
    pub(crate) async fn new(blocks: u64, window: u32) -> Self {
        let database = database().await;
        let told = Told::default();
        told.script().grow("a", blocks);
        let spec = ChainSpec {
            min_deposits: BTreeMap::new(),
            name: chain_name(),
            family: ChainFamily::Evm,
            chain_id: Some(super::CHAIN_ID),
            required_confirmations: 1,
            assets: vec![native()],
        };
        let mut config = WatcherConfig::new(spec, vec!["http://127.0.0.1:1".parse().unwrap()]);
        config.reorg_window = window;
        config.start_block = Some(1);
        config.rpc_options.head_age_max = Duration::from_secs(1_000_000);
        let book = Book::new(database.pool.clone());
        Self { database, told, config, book }
    }

    pub(crate) fn watcher(&self) -> ChainWatcher {
        let source = Arc::new(self.told.clone());
        ChainWatcher::with_source(&self.config, source, self.database.pool.clone(), OutboxSignal::default())
    }

    /// A watcher whose source is made anew for tokens that are added.
    pub(crate) fn watcher_of_tokens(&self) -> ChainWatcher {
        let told = self.told.clone();
        let make = move |config: &WatcherConfig| -> Result<Arc<dyn ChainSource>, ConfigError> {
            Ok(Arc::new(told.made_for(config)))
        };
        ChainWatcher::with_sources(&self.config, make, self.database.pool.clone(), OutboxSignal::default()).unwrap()
    }

    /// The address of an open payment that wants one confirmation.
    pub(crate) async fn address(&self) -> String {
        self.book.open(&native(), 1_000, 1, Duration::from_secs(3600)).await.1
    }

    /// Height and stage of every deposit, and the hash of its block.
    pub(crate) async fn deposits(&self) -> Vec<(i64, String, String)> {
        sqlx::query_as("SELECT block_number, stage, block_hash FROM deposit_observations ORDER BY block_number")
            .fetch_all(&self.database.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn stage_at(&self, height: u64) -> Option<String> {
        let deposits = self.deposits().await;
        deposits.into_iter().find(|deposit| deposit.0 == i64::try_from(height).unwrap()).map(|deposit| deposit.1)
    }

    pub(crate) async fn finalized(&self) -> Option<i64> {
        sqlx::query_scalar("SELECT finalized_height FROM chain_heads").fetch_one(&self.database.pool).await.unwrap()
    }

    pub(crate) async fn cursor(&self) -> i64 {
        sqlx::query_scalar("SELECT height FROM chain_cursors").fetch_one(&self.database.pool).await.unwrap()
    }
}

/// Steps until there is nothing to do, or it does not go on.
pub(crate) async fn rest(watcher: &mut ChainWatcher) -> Progress {
    for _ in 0..STEPS_MAX {
        let progress = watcher.advance_once().await;
        if progress != Progress::Again {
            return progress;
        }
    }
    panic!("always something to do: {:?}", watcher.status().health());
}
