//! What is true: the canonical chain, what of it is final, and every block that ever was.

use std::collections::HashMap;

use chrono::DateTime;
use wopay_chain_watchers::BlockHeader;
use wopay_domain::{BlockRef, DepositLeg};

use super::random::Random;

/// A movement of money, or the attempt of one.
#[derive(Clone, Debug)]
pub(super) struct Movement {
    pub(super) transaction: String,
    pub(super) leg: DepositLeg,
    pub(super) to: String,
    pub(super) minor: u64,
    /// The transaction succeeded.
    pub(super) succeeded: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) header: BlockHeader,
    pub(super) movements: Vec<Movement>,
}

impl Block {
    pub(super) fn height(&self) -> u64 {
        self.header.block.number
    }

    pub(super) fn hash(&self) -> &str {
        &self.header.block.hash
    }
}

#[derive(Debug)]
pub(super) struct Chain {
    /// The canonical chain, from block 0.
    pub(super) blocks: Vec<Block>,
    /// Every block that any node ever showed, by its hash.
    pub(super) known: HashMap<String, Block>,
    /// No fork reaches down to this height or below.
    pub(super) finalized: u64,
    /// The highest block there ever was.
    pub(super) highest: u64,
    has_empty_heights: bool,
    block_time_s: u64,
    named: u64,
    seed: u64,
}

impl Chain {
    pub(super) fn new(seed: u64, has_empty_heights: bool, block_time_s: u64) -> Self {
        let mut chain = Self {
            blocks: Vec::new(),
            known: HashMap::new(),
            finalized: 0,
            highest: 0,
            has_empty_heights,
            block_time_s,
            named: 0,
            seed,
        };
        let genesis = chain.block_on(0, "0x0".to_owned(), Vec::new());
        chain.blocks.push(genesis);
        chain
    }

    pub(super) fn head(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    /// A hash that was never used in this world.
    pub(super) fn name(&mut self) -> String {
        self.named += 1;
        format!("0x{:032x}{:032x}", self.seed, self.named)
    }

    pub(super) fn time_of(&self, height: u64) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp(i64::try_from(1_700_000_000 + height * self.block_time_s).unwrap(), 0).unwrap()
    }

    /// A block that stands on another one, wherever it is to be put.
    pub(super) fn block_on(&mut self, height: u64, parent_hash: String, movements: Vec<Movement>) -> Block {
        let block = BlockRef { number: height, hash: self.name(), time: self.time_of(height) };
        let block = Block { header: BlockHeader { block, parent_hash }, movements };
        self.known.insert(block.hash().to_owned(), block.clone());
        block
    }

    pub(super) fn mine(&mut self, movements: Vec<Movement>, random: &mut Random) {
        let skipped = if self.has_empty_heights && random.chance(30) { random.between(1, 2) } else { 0 };
        let (height, parent) = (self.head().height() + 1 + skipped, self.head().hash().to_owned());
        let block = self.block_on(height, parent, movements);
        self.blocks.push(block);
        self.highest = self.highest.max(height);
    }

    /// Takes the blocks above that height away and gives back what was in them.
    pub(super) fn cut_above(&mut self, height: u64) -> Vec<Movement> {
        let kept = self.blocks.partition_point(|block| block.height() <= height);
        self.blocks.split_off(kept).into_iter().flat_map(|block| block.movements).collect()
    }

    /// The canonical block at that height.
    pub(super) fn at(&self, height: u64) -> Option<&Block> {
        at(&self.blocks, height)
    }
}

/// The block at that height among blocks in order.
pub(super) fn at(blocks: &[Block], height: u64) -> Option<&Block> {
    blocks.binary_search_by_key(&height, Block::height).ok().map(|index| &blocks[index])
}
