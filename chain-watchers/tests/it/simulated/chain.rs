//! A chain that reorganizes, shrinks, lags and fails on command.

use std::sync::Mutex;

use async_trait::async_trait;
use chrono::DateTime;
use wopay_chain_watchers::{BlockData, BlockHeader, Candidate, ChainSource, Final, Head, Place, SourceError, Transfer};
use wopay_domain::{AssetId, BlockRef, DepositLeg};

#[derive(Clone)]
pub(super) struct Tx {
    pub(super) hash: String,
    pub(super) to: String,
    pub(super) minor: u64,
}

#[derive(Clone)]
pub(super) struct Block {
    pub(super) header: BlockHeader,
    pub(super) transactions: Vec<Tx>,
}

pub(super) struct Chain {
    pub(super) blocks: Vec<Block>,
    named: u64,
    pub(super) lag: usize,
    pub(super) failures: u32,
    asset: AssetId,
}

impl Chain {
    pub(super) fn new(asset: AssetId) -> Self {
        let mut chain = Self { blocks: Vec::new(), named: 0, lag: 0, failures: 0, asset };
        chain.mine(Vec::new());
        chain
    }

    pub(super) fn name(&mut self) -> String {
        self.named += 1;
        format!("0x{:064x}", self.named)
    }

    pub(super) fn mine(&mut self, transactions: Vec<Tx>) {
        let number = self.blocks.len() as u64;
        let time = DateTime::from_timestamp(1_700_000_000 + i64::try_from(number).unwrap(), 0).unwrap();
        let parent_hash = self.blocks.last().map_or_else(|| "0x0".to_owned(), |block| block.header.block.hash.clone());
        let header = BlockHeader { block: BlockRef { number, hash: self.name(), time }, parent_hash };
        self.blocks.push(Block { header, transactions });
    }

    /// Takes the newest blocks away, never the first, and returns their transactions.
    pub(super) fn shrink(&mut self, depth: usize) -> (usize, Vec<Tx>) {
        let depth = depth.min(self.blocks.len() - 1);
        let gone = self.blocks.split_off(self.blocks.len() - depth);
        (depth, gone.into_iter().flat_map(|block| block.transactions).collect())
    }

    pub(super) fn reorg(&mut self, depth: usize, places: &[usize]) {
        let (depth, orphaned) = self.shrink(depth);
        let mut fresh = vec![Vec::new(); depth + 1];
        for (transaction, place) in orphaned.into_iter().zip(places.iter().cycle()) {
            if let Some(block) = fresh.get_mut(*place) {
                block.push(transaction);
            }
        }
        for transactions in fresh {
            self.mine(transactions);
        }
    }

    fn usable(&mut self) -> Result<(), SourceError> {
        if self.failures == 0 {
            return Ok(());
        }
        self.failures -= 1;
        Err(SourceError::Unavailable("simulated".into()))
    }
}

pub(super) struct Simulated(pub(super) Mutex<Chain>);

#[async_trait]
impl ChainSource for Simulated {
    async fn head(&self) -> Result<Head, SourceError> {
        let mut chain = self.0.lock().unwrap();
        chain.usable()?;
        let shown = chain.blocks.len().saturating_sub(1 + chain.lag);
        Ok(Head { newest: chain.blocks[shown].header.clone(), finality: Final::ByDepth })
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        let mut chain = self.0.lock().unwrap();
        chain.usable()?;
        Ok(chain.blocks.get(usize::try_from(height).unwrap()).map(|block| block.header.clone()))
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        let mut chain = self.0.lock().unwrap();
        chain.usable()?;
        let Some(block) = chain.blocks.get(usize::try_from(height).unwrap()) else { return Ok(None) };
        let candidate = |transaction: &Tx| Candidate {
            transaction: transaction.hash.clone(),
            place: Place::Value,
            to: transaction.to.clone(),
            from: None,
            asset: chain.asset.clone(),
            minor: Some(u128::from(transaction.minor)),
        };
        let candidates = block.transactions.iter().map(candidate).collect();
        Ok(Some(BlockData { header: block.header.clone(), candidates }))
    }

    async fn settle(&self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        let mut chain = self.0.lock().unwrap();
        chain.usable()?;
        if !chain.blocks.iter().any(|known| known.header.block.hash == block.hash) {
            return Err(SourceError::Unavailable("no such block any more".into()));
        }
        let transfer = |candidate: &Candidate| Transfer {
            transaction: candidate.transaction.clone(),
            leg: DepositLeg::Native,
            to: candidate.to.clone(),
            from: None,
            asset: candidate.asset.clone(),
            minor: candidate.minor.unwrap(),
        };
        Ok(candidates.iter().map(transfer).collect())
    }
}
