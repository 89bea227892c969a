//! What nodes show of the chain: several of them, some behind, some on a branch that was given up, all of them failing,
//! dropping parts of answers and making blocks up at times. Which node answers a call is anybody's guess.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use wopay_chain_watchers::{BlockData, BlockHeader, Candidate, ChainSource, Final, Head, Place, SourceError, Transfer};
use wopay_domain::{AssetId, BlockRef, DepositLeg};

use super::chain::{Block, Chain, Movement, at};
use super::random::Random;
use super::steps::Gate;

/// How much goes wrong, each in so many of a hundred calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// No answer, or an error.
    pub(super) failing: u64,
    /// The block of a batch that is missing, though the node has it.
    pub(super) missing: u64,
    /// A block or header with a hash, or a parent, that is not the chain's.
    pub(super) forged: u64,
    /// Another node answers from now on.
    pub(super) switching: u64,
    /// A node that names no finalized block for once.
    pub(super) speechless: u64,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    /// The chain as it was when this node stopped following, with what was final then.
    frozen: Option<(Vec<Block>, u64)>,
    /// Blocks that it is behind.
    lag: usize,
}

#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) chain: Chain,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) nodes: Vec<Node>,
    pub(super) in_use: usize,
    pub(super) asset: AssetId,
    pub(super) has_empty_heights: bool,
    /// Finality is told; otherwise depth decides.
    pub(super) tells_final: bool,
    /// The highest finalized height that any node has told.
    pub(super) told_final: u64,
    /// Where made-up money goes.
    pub(super) addresses: Vec<String>,
}

impl Nodes {
    /// The chain as the node in use shows it, and what it holds to be final.
    fn view(&self) -> (&[Block], u64) {
        let node = &self.nodes[self.in_use];
        let (blocks, finalized) = match &node.frozen {
            Some((blocks, finalized)) => (blocks.as_slice(), *finalized),
            None => (self.chain.blocks.as_slice(), self.chain.finalized),
        };
        let shown = blocks.len().saturating_sub(node.lag).max(1);
        let blocks = &blocks[..shown];
        (blocks, finalized.min(blocks.last().map_or(0, Block::height)))
    }

    /// Something happens to a node: it stops following, follows again, or falls behind.
    pub(super) fn disturb(&mut self) {
        let index = self.random.index(self.nodes.len());
        let (frozen, lag) = match self.random.below(3) {
            0 => (Some((self.chain.blocks.clone(), self.chain.finalized)), 0),
            1 => (None, usize::try_from(self.random.between(1, 4)).unwrap()),
            _ => (None, 0),
        };
        self.nodes[index] = Node { frozen, lag };
    }

    /// From now on every node shows the canonical chain, and all of it.
    pub(super) fn reform(&mut self) {
        self.faults = Faults::default();
        self.nodes.iter_mut().for_each(|node| *node = Node::default());
    }

    fn call(&mut self) -> Result<(), SourceError> {
        if self.random.chance(self.faults.switching) {
            self.in_use = self.random.index(self.nodes.len());
        }
        if self.random.chance(self.faults.failing) {
            return Err(SourceError::Unavailable("simulated: 429, timed out, reset, HTML, whatever".into()));
        }
        Ok(())
    }

    /// A block that no chain has, at the place of a real one: another hash, or another parent, and money in it.
    fn forge(&mut self, real: &Block) -> Block {
        let parent = if self.random.chance(50) { real.header.parent_hash.clone() } else { self.chain.name() };
        let movements = if self.random.chance(60) && !self.addresses.is_empty() {
            let to = self.addresses[self.random.index(self.addresses.len())].clone();
            let leg = DepositLeg::Native;
            vec![Movement { transaction: self.chain.name(), leg, to, minor: 7, succeeded: true }]
        } else {
            Vec::new()
        };
        self.chain.block_on(real.height(), parent, movements)
    }

    fn block(&mut self, height: u64) -> Option<Block> {
        if self.random.chance(self.faults.missing) {
            return None;
        }
        let block = at(self.view().0, height)?.clone();
        Some(if self.random.chance(self.faults.forged) { self.forge(&block) } else { block })
    }

    fn candidate(&self, block: &Block, movement: &Movement) -> Candidate {
        let place = match (&movement.leg, self.has_empty_heights) {
            (leg, true) => Place::Settled(leg.clone()),
            (DepositLeg::Native, false) => Place::Value,
            (_, false) => {
                let same = |other: &&Movement| other.transaction == movement.transaction && other.leg == movement.leg;
                let index = block.movements.iter().position(|other| same(&other));
                Place::Log(index.unwrap() as u64)
            }
        };
        Candidate {
            transaction: movement.transaction.clone(),
            place,
            to: movement.to.clone(),
            from: None,
            asset: self.asset.clone(),
            minor: Some(u128::from(movement.minor)),
        }
    }

    fn settle(&mut self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        // The node in use may not have the block any more, or never have had it.
        let is_canonical = at(self.view().0, block.number).is_some_and(|known| known.hash() == block.hash);
        if !is_canonical && self.random.chance(50) {
            return Err(SourceError::Unavailable("simulated: no such block any more".into()));
        }
        let block = self.chain.known.get(&block.hash).unwrap();
        let named = candidates.iter().map(|candidate| {
            let of_block = block.movements.iter().enumerate();
            let (_, movement) = of_block
                .filter(|(_, movement)| movement.transaction == candidate.transaction)
                .find(|(index, movement)| match &candidate.place {
                    Place::Value => movement.leg == DepositLeg::Native,
                    Place::Log(log) => *log == *index as u64,
                    Place::Settled(leg) => movement.leg == *leg,
                })
                .unwrap();
            movement
        });
        let transfer = |movement: &Movement| Transfer {
            transaction: movement.transaction.clone(),
            leg: movement.leg.clone(),
            to: movement.to.clone(),
            from: None,
            asset: self.asset.clone(),
            minor: u128::from(movement.minor),
        };
        Ok(named.filter(|movement| movement.succeeded).map(transfer).collect())
    }
}

/// The nodes as one watcher sees them. Every call stops at the watcher's gate before it is answered.
pub(super) struct Simulated {
    pub(super) nodes: Arc<Mutex<Nodes>>,
    pub(super) gate: Arc<Gate>,
    pub(super) has_empty_heights: bool,
}

#[async_trait]
impl ChainSource for Simulated {
    async fn head(&self) -> Result<Head, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        let (blocks, finalized) = nodes.view();
        let newest = blocks.last().unwrap().header.clone();
        let speechless = nodes.faults.speechless;
        let finality = if !nodes.tells_final {
            Final::ByDepth
        } else if nodes.random.chance(speechless) {
            Final::Unknown
        } else {
            nodes.told_final = nodes.told_final.max(finalized);
            Final::UpTo(finalized)
        };
        Ok(Head { newest, finality })
    }

    async fn heights(&self, after: u64, upto: u64, limit: usize) -> Result<Vec<u64>, SourceError> {
        if !self.has_empty_heights {
            return Ok((after.saturating_add(1)..=upto).take(limit).collect());
        }
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        let heights = nodes.view().0.iter().map(Block::height);
        Ok(heights.filter(|height| (after.saturating_add(1)..=upto).contains(height)).take(limit).collect())
    }

    fn has_empty_heights(&self) -> bool {
        self.has_empty_heights
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        Ok(nodes.block(height).map(|block| block.header))
    }

    async fn final_header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        if nodes.view().1 < height {
            return Ok(None);
        }
        Ok(nodes.block(height).map(|block| block.header))
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        let Some(block) = nodes.block(height) else { return Ok(None) };
        // What failed on Solana is no candidate; elsewhere the receipt tells.
        let named = block.movements.iter().filter(|movement| movement.succeeded || !self.has_empty_heights);
        let candidates = named.map(|movement| nodes.candidate(&block, movement)).collect();
        Ok(Some(BlockData { header: block.header.clone(), candidates }))
    }

    async fn settle(&self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        nodes.settle(block, candidates)
    }
}
