//! What nodes show of the chain: several of them, some behind, some on a branch that was given up, all of them failing,
//! dropping parts of answers and making blocks up at times. Which node answers a call is anybody's guess.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use wopay_chain_watchers::{
    BlockData, BlockHeader, Candidate, ChainSource, Claims, Compared, Final, Head, Place, SourceError, Transfer,
    Witnesses,
};
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
    /// Over HTTP: it says that it is of another chain.
    pub(super) is_elsewhere: bool,
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
    /// Which nodes have named a hash as that of a block.
    pub(super) named: HashMap<String, BTreeSet<usize>>,
}

impl Nodes {
    /// The chain as the node in use shows it, and what it holds to be final.
    fn view(&self) -> (&[Block], u64) {
        self.view_of(self.in_use)
    }

    /// The same of any node.
    pub(super) fn view_of(&self, index: usize) -> (&[Block], u64) {
        let node = &self.nodes[index];
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
        let (frozen, lag, is_elsewhere) = match self.random.below(12) {
            0..4 => (Some((self.chain.blocks.clone(), self.chain.finalized)), 0, false),
            4..8 => (None, usize::try_from(self.random.between(1, 4)).unwrap(), false),
            8 => (None, 0, true),
            _ => (None, 0, false),
        };
        self.nodes[index] = Node { frozen, lag, is_elsewhere };
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
    pub(super) fn forge(&mut self, real: &Block) -> Block {
        let parent = if self.random.chance(50) { real.header.parent_hash.clone() } else { self.chain.name() };
        let movements = if self.random.chance(60) && !self.addresses.is_empty() {
            let to = self.addresses[self.random.index(self.addresses.len())].clone();
            let leg = DepositLeg::Native;
            vec![Movement { transaction: self.chain.name(), leg, to, minor: 7, succeeded: true }]
        } else {
            Vec::new()
        };
        let block = self.chain.block_on(real.height(), parent, movements);
        self.chain.made_up.push(block.hash().to_owned());
        block
    }

    fn block(&mut self, height: u64) -> Option<Block> {
        self.block_of(self.in_use, height)
    }

    fn block_of(&mut self, index: usize, height: u64) -> Option<Block> {
        if self.random.chance(self.faults.missing) {
            return None;
        }
        let block = at(self.view_of(index).0, height)?.clone();
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

    /// A block as it is read: what failed on Solana is no candidate, elsewhere the receipt tells; and of what contracts
    /// send nothing shows.
    fn data(&self, block: &Block) -> BlockData {
        let named = block.movements.iter().filter(|movement| movement.succeeded || !self.has_empty_heights);
        let named = named.filter(|movement| !movement.is_unseen());
        let candidates = named.map(|movement| self.candidate(block, movement)).collect();
        BlockData { header: block.header.clone(), candidates }
    }

    /// What an address holds at a block, as the node in use says.
    fn holdings(&mut self, block: &BlockRef, addresses: &[String]) -> Result<Vec<u128>, SourceError> {
        let is_canonical = at(self.view().0, block.number).is_some_and(|known| known.hash() == block.hash);
        if !is_canonical && self.random.chance(50) {
            return Err(SourceError::Unavailable("simulated: no such block any more".into()));
        }
        if self.random.chance(self.faults.missing) {
            return Err(SourceError::Unavailable("simulated: missing trie node".into()));
        }
        Ok(addresses.iter().map(|address| self.chain.held(&block.hash, address, |_| true)).collect())
    }

    /// Whether all that is claimed of a block is so. Of what contracts send only the balance tells.
    fn say(&self, block: &Block, claims: &Claims) -> bool {
        let is_there = |claimed: &Transfer| {
            block.movements.iter().any(|movement| {
                (&movement.transaction, &movement.leg, &movement.to)
                    == (&claimed.transaction, &claimed.leg, &claimed.to)
                    && u128::from(movement.minor) == claimed.minor
                    && movement.succeeded
            })
        };
        let held = |address: &str| self.chain.held(block.hash(), address, |_| true);
        claims.transfers.iter().all(is_there) && claims.holdings.iter().all(|(address, minor)| held(address) >= *minor)
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
    /// The asset whose balances are to be compared.
    pub(super) compared: Option<AssetId>,
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
        Ok(nodes.block(height).map(|block| nodes.data(&block)))
    }

    async fn settle(&self, block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        nodes.settle(block, candidates)
    }

    /// All of them from one node, like one block's.
    async fn settle_all(&self, blocks: &[(BlockRef, Vec<Candidate>)]) -> Result<Vec<Vec<Transfer>>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        let settled = blocks.iter().map(|(block, candidates)| match candidates.as_slice() {
            [] => Ok(Vec::new()),
            candidates => nodes.settle(block, candidates),
        });
        settled.collect()
    }

    /// As many as the node pleases to give, and none where it lacks the first.
    async fn bulk(&self, after: u64, upto: u64) -> Result<Option<Vec<BlockData>>, SourceError> {
        if self.has_empty_heights {
            return Ok(None);
        }
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        let upto = upto.min(after + nodes.random.between(1, 60));
        let mut read = Vec::new();
        for height in after + 1..=upto {
            let Some(block) = nodes.block(height) else { break };
            read.push(nodes.data(&block));
        }
        Ok(Some(read))
    }

    async fn witnesses(&self, block: &BlockRef, claims: &Claims, _: usize) -> Witnesses {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        let mut witnesses = Witnesses::default();
        for index in 0..nodes.nodes.len() {
            let failing = nodes.faults.failing;
            let named = if nodes.random.chance(failing) { None } else { nodes.block_of(index, block.number) };
            match named {
                Some(named) if named.hash() == block.hash && nodes.say(&named, claims) => {
                    nodes.named.entry(block.hash.clone()).or_default().insert(index);
                    witnesses.same.push(index.to_string());
                }
                Some(named) => witnesses.other.push(named.hash().to_owned()),
                None => witnesses.silent.push(index.to_string()),
            }
        }
        witnesses
    }

    fn compared(&self, _: u64) -> Option<Compared<'_>> {
        self.compared.as_ref().map(|asset| Compared { asset, every: Duration::ZERO })
    }

    async fn holdings(&self, blocks: &[BlockRef], addresses: &[String]) -> Result<Vec<Vec<u128>>, SourceError> {
        self.gate.pass().await;
        let mut nodes = self.nodes.lock().unwrap();
        nodes.call()?;
        blocks.iter().map(|block| nodes.holdings(block, addresses)).collect()
    }
}
