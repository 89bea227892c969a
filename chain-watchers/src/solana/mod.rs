//! Solana, slot by slot.
//!
//! A block of the slot engine is a confirmed block of the cluster: `getBlock` gives every account's balance before and
//! after each transaction, so a deposit is what an account of ours has more than before, whatever instruction moved it:
//! a plain transfer, a program's, several at once. A transaction that failed moved nothing. Money is shown when its block
//! is `confirmed` and credited when it is `finalized`.
//!
//! Slots can stay empty. Which ones do, the node says (`getBlocksWithLimit`), and is believed only as far as the blocks
//! link: a block names the hash of the one before it, so a block that a node leaves out holds the chain up, it is never
//! skipped.
//!
//! A small installation can have the addresses of its payments asked about instead (`addresses.rs`; the engine's side is
//! `engine/addresses.rs`). `solana-client` stays inside this folder.

mod addresses;
mod balances;
mod error;
mod mint;
mod node;
mod report;
mod sender;
mod transfers;
mod types;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use wopay_domain::{AssetId, BlockRef};

pub(crate) use self::balances::SolanaBalances;
use self::node::{Expected, SolanaNode};
pub(crate) use self::report::report;
use self::transfers::{Assets, find, find_in};
use crate::config::{ByAddress, ConfigError, WatcherConfig};
use crate::pool::{Pool, Testimony};
use crate::source::{
    AddressReads, BlockData, BlockHeader, Candidate, ChainSource, Claims, Final, Head, Mention, SourceError, Transfer,
    Witnesses,
};
use crate::status::EndpointHealth;

/// An endpoint that is asked about a block reads all of it: megabytes.
const TESTIFY_WITHIN: Duration = Duration::from_secs(8);

/// One Solana cluster.
pub(crate) struct SolanaSource {
    pool: Pool<SolanaNode>,
    assets: Assets,
    /// The newest block last read: most looks at the head find it again.
    newest: Mutex<Option<BlockHeader>>,
    by_address: Option<ByAddress>,
    /// The token programs of the configured mints.
    programs: OnceCell<Vec<&'static str>>,
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
            by_address: config.by_address,
            programs: OnceCell::new(),
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

impl SolanaSource {
    /// What an endpoint says of a block: the block itself shows every transfer.
    async fn testify(
        &self,
        node: &SolanaNode,
        block: &BlockRef,
        claims: &Claims,
    ) -> Result<Testimony, error::SolanaError> {
        let Some(data) = self.read_block(node, block.number).await? else { return Ok(Testimony::NoBlock) };
        if data.header.block.hash != block.hash {
            return Ok(Testimony::Other(format!("has {}", data.header.block.hash)));
        }
        let contradiction = claims.contradicted_by(&settled(&data.candidates));
        Ok(contradiction.map_or(Testimony::Same, Testimony::Other))
    }

    /// The token accounts of an owner whose mints are configured.
    async fn read_accounts(
        &self,
        node: &SolanaNode,
        owner: &str,
        at_least: u64,
    ) -> Result<Vec<String>, error::SolanaError> {
        let programs = self.programs.get_or_try_init(async || {
            let mints: Vec<&str> = self.assets.mints.keys().map(String::as_str).collect();
            if mints.is_empty() {
                return Ok(Vec::new());
            }
            let facts = node.mints(&mints).await?;
            let programs: BTreeSet<&str> = facts.iter().filter_map(|facts| facts.program).collect();
            Ok(programs.into_iter().collect())
        });
        let mut accounts = Vec::new();
        for program in programs.await? {
            let held = node.token_accounts(owner, program, at_least).await?;
            let configured = held.into_iter().filter(|(_, mint)| self.assets.mints.contains_key(mint));
            accounts.extend(configured.map(|(account, _)| account));
        }
        Ok(accounts)
    }

    async fn read_moved(&self, node: &SolanaNode, mention: &Mention) -> Result<Vec<Candidate>, error::SolanaError> {
        let transaction = node.transaction(mention).await?;
        find_in(&self.assets, &transaction).map_err(|what| node.inconsistent(what))
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

    async fn final_header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        ask!(self, node => node.final_header(height))
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        ask!(self, node => self.read_block(node, height))
    }

    fn by_address(&self) -> Option<&dyn AddressReads> {
        self.by_address.is_some().then_some(self)
    }

    fn doubt(&self, reason: &str) {
        self.pool.doubt(reason);
    }

    fn endpoints(&self) -> Vec<EndpointHealth> {
        self.pool.health()
    }

    async fn witnesses(&self, block: &BlockRef, claims: &Claims, enough: usize) -> Witnesses {
        self.pool.witnesses(TESTIFY_WITHIN, enough, |node| self.testify(node, block, claims)).await
    }

    async fn settle(&self, _: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        Ok(settled(candidates))
    }
}

/// What took place of these: the block itself says it.
fn settled(candidates: &[Candidate]) -> Vec<Transfer> {
    candidates.iter().filter_map(Candidate::settled).collect()
}

#[async_trait]
impl AddressReads for SolanaSource {
    async fn accounts(&self, address: &str, upto: u64) -> Result<Vec<String>, SourceError> {
        ask!(self, node => self.read_accounts(node, address, upto))
    }

    async fn mentions(&self, account: &str, until: Option<&str>, upto: u64) -> Result<Vec<Mention>, SourceError> {
        let page = self.by_address.unwrap_or_default().page.max(2);
        ask!(self, node => node.mentions(account, until, upto, page))
    }

    async fn moved(&self, mention: &Mention) -> Result<Vec<Candidate>, SourceError> {
        ask!(self, node => self.read_moved(node, mention))
    }
}
