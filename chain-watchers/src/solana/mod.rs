//! Solana, slot by slot.
//!
//! A block of the slot engine is a confirmed block of the cluster: `getBlock` gives every account's balance before and
//! after each transaction, so a deposit is what an account of ours has more than before, whatever instruction moved it:
//! a plain transfer, a program's, several at once. A transaction that failed moved nothing. Money is shown when its block
//! is `confirmed` and credited when it is `finalized`.
//!
//! Slots can stay empty. Which ones do, the node says (`getBlocksWithLimit`), and is believed only as far as the blocks
//! link: a block names the hash of the one before it, so a block that a node leaves out holds the chain up, it is never
//! skipped. `solana-client` stays inside this folder.

mod error;
mod mint;
mod node;
mod report;
mod sender;
mod transfers;
mod types;

use std::sync::Mutex;

use async_trait::async_trait;
use wopay_domain::{AssetId, BlockRef};

use self::node::{Expected, SolanaNode};
pub(crate) use self::report::report;
use self::transfers::{Assets, find};
use crate::config::{ConfigError, WatcherConfig};
use crate::pool::Pool;
use crate::source::{
    BlockData, BlockHeader, Candidate, ChainSource, Final, Head, Place, SourceError, Transfer, Witnesses,
};
use crate::status::EndpointHealth;

/// One Solana cluster.
pub(crate) struct SolanaSource {
    pool: Pool<SolanaNode>,
    assets: Assets,
    /// The newest block last read: most looks at the head find it again.
    newest: Mutex<Option<BlockHeader>>,
}

impl SolanaSource {
    pub(crate) fn new(config: &WatcherConfig) -> Result<Self, ConfigError> {
        let expected = Expected::new(config)?;
        let mints = expected.mints.iter().map(|(mint, asset)| (mint.clone(), asset.id.clone())).collect();
        let nodes = node::nodes(config, expected)?;
        let native: Option<AssetId> =
            config.chain.assets.iter().find(|asset| asset.id.contract().is_none()).map(|asset| asset.id.clone());
        Ok(Self {
            pool: Pool::new(config, nodes),
            assets: Assets { chain: config.chain.name.clone(), native, mints },
            newest: Mutex::new(None),
        })
    }

    async fn read_head(&self, node: &SolanaNode) -> Result<Head, error::SolanaError> {
        let slot = node.slot(types::Commitment::Confirmed).await?;
        let known = self.newest.lock().ok().and_then(|newest| newest.clone());
        let newest = match known {
            Some(known) if known.block.number == slot => known,
            _ => node.newest(slot).await?,
        };
        if let Ok(mut known) = self.newest.lock() {
            *known = Some(newest.clone());
        }
        let finality = Final::UpTo(node.slot(types::Commitment::Finalized).await?);
        Ok(Head { newest, finality })
    }

    async fn read_block(&self, node: &SolanaNode, slot: u64) -> Result<Option<BlockData>, error::SolanaError> {
        let Some(block) = node.block(slot).await? else { return Ok(None) };
        let header = block.to_header(slot).ok_or_else(|| node.inconsistent(format!("block {slot} has no time")))?;
        let candidates = find(&self.assets, &block).map_err(|what| node.inconsistent(what))?;
        Ok(Some(BlockData { header, candidates }))
    }
}

/// Asks one endpoint after the other until one answers.
macro_rules! ask {
    ($source:expr, $node:ident => $question:expr) => {{
        let mut attempt = $source.pool.attempt();
        loop {
            let $node = attempt.next().await?;
            match $question.await {
                Ok(answer) => return Ok(answer),
                Err(failure) => attempt.failed($node, failure).await,
            }
        }
    }};
}

#[async_trait]
impl ChainSource for SolanaSource {
    fn has_empty_heights(&self) -> bool {
        true
    }

    async fn head(&self) -> Result<Head, SourceError> {
        ask!(self, node => self.read_head(node))
    }

    async fn heights(&self, after: u64, upto: u64, limit: usize) -> Result<Vec<u64>, SourceError> {
        ask!(self, node => node.slots(after, upto, limit))
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        ask!(self, node => node.header(height))
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        ask!(self, node => self.read_block(node, height))
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.health()
    }

    async fn witnesses(&self, block: &BlockRef) -> Witnesses {
        self.pool.witnesses(block).await
    }

    /// The block itself says what took place.
    async fn settle(&self, _: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        let transfers = candidates.iter().filter_map(|candidate| {
            let Place::Settled(leg) = &candidate.place else { return None };
            Some(Transfer {
                transaction: candidate.transaction.clone(),
                leg: leg.clone(),
                to: candidate.to.clone(),
                from: candidate.from.clone(),
                asset: candidate.asset.clone(),
                minor: candidate.minor?,
            })
        });
        Ok(transfers.collect())
    }
}
