//! What is true: the canonical chain, what of it is final, and every block that ever was.

use std::collections::HashMap;

use chrono::DateTime;
use wopay_chain_watchers::BlockHeader;
use wopay_domain::{BlockRef, DepositLeg};

use super::random::Random;

/// The path of what no node shows.
pub(super) const UNSEEN: &str = "unseen";

/// Where in its transaction a token moves that nobody configured.
pub(super) const STRAY: u32 = 4;

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

impl Movement {
    /// Sent by a contract on a chain whose nodes show no traces: only the balance tells.
    pub(super) fn is_unseen(&self) -> bool {
        self.leg == DepositLeg::Trace(UNSEEN.to_owned())
    }

    /// Of a token that nobody configured.
    pub(super) fn is_stray(&self) -> bool {
        self.leg == DepositLeg::Log(STRAY)
    }

    /// Of the native coin, where there is a token besides.
    pub(super) fn is_native(&self) -> bool {
        !matches!(self.leg, DepositLeg::Log(_))
    }
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
    /// The hashes of those that a node invented.
    pub(super) made_up: Vec<String>,
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
            made_up: Vec::new(),
            finalized: 0,
            highest: 0,
            has_empty_heights,
            block_time_s,
            named: 0,
            seed,
        };
        let genesis = chain.block_on(0, format!("0x{:064x}", 0), Vec::new());
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

    /// What the money is worth that came to an address up to a block, of those movements that count.
    pub(super) fn held(&self, hash: &str, address: &str, counts: impl Fn(&Movement) -> bool) -> u128 {
        let (mut held, mut hash) = (0, hash);
        while let Some(block) = self.known.get(hash) {
            let movements = block.movements.iter().filter(|movement| movement.succeeded && movement.to == address);
            held +=
                movements.filter(|movement| counts(movement)).map(|movement| u128::from(movement.minor)).sum::<u128>();
            hash = &block.header.parent_hash;
        }
        held
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
