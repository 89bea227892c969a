//! A chain of made-up blocks in memory, so that what is measured is the engine and the database and no node.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound as _, Utc};
use wopay_chain_watchers::{BlockData, BlockHeader, Candidate, ChainSource, Final, Head, Place, SourceError, Transfer};
use wopay_domain::{AssetId, BlockRef, DepositLeg};

use crate::history::Random;

const HASH_DIGITS: usize = 64;
const ADDRESS_DIGITS: usize = 40;
const MINOR: u128 = 1_000_000;

/// The chain; its blocks are made ahead and then shown, so that making them is not measured.
pub(crate) struct Synthetic(Mutex<State>);

struct State {
    random: Random,
    began: DateTime<Utc>,
    headers: Vec<BlockHeader>,
    /// So many of them are the chain; the others are to come.
    shown: usize,
    /// Each is read once.
    unread: HashMap<u64, BlockData>,
}

impl Synthetic {
    /// A chain with its first two blocks, both empty.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            began: Utc::now().trunc_subsecs(0),
            headers: Vec::new(),
            shown: 0,
            unread: HashMap::new(),
        };
        let chain = Self(Mutex::new(state));
        for _ in 0..2 {
            chain.make(|_| Vec::new());
            chain.show();
        }
        chain
    }

    /// Puts the next block on top.
    pub(crate) fn show(&self) {
        let mut state = self.lock();
        state.shown = (state.shown + 1).min(state.headers.len());
    }

    /// Makes a block to come, with the transfers that are made from random numbers.
    pub(crate) fn make(&self, make: impl FnOnce(&mut Random) -> Vec<Candidate>) {
        let mut state = self.lock();
        let height = u64::try_from(state.headers.len()).expect("a vector's length fits");
        let parent_hash = state.headers.last().map(|header| header.block.hash.clone()).unwrap_or_default();
        let seconds = i64::try_from(height).expect("no chain here is that long");
        let time = state.began + chrono::TimeDelta::seconds(seconds);
        let block = BlockRef { number: height, hash: state.random.hex(HASH_DIGITS), time };
        let header = BlockHeader { block, parent_hash };
        let candidates = make(&mut state.random);
        state.headers.push(header.clone());
        state.unread.insert(height, BlockData { header, candidates });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }

    fn header_at(&self, height: u64) -> Option<BlockHeader> {
        self.lock().headers.get(usize::try_from(height).ok()?).cloned()
    }
}

/// Transfers of one token: to random strangers, and to these.
pub(crate) fn transfers(random: &mut Random, asset: &AssetId, strangers: usize, ours: &[String]) -> Vec<Candidate> {
    let mut receivers: Vec<String> = (0..strangers).map(|_| random.hex(ADDRESS_DIGITS)).collect();
    receivers.extend_from_slice(ours);
    let place = |index: usize| Place::Settled(DepositLeg::Log(u32::try_from(index).unwrap_or(u32::MAX)));
    let candidate = |(index, to): (usize, String), random: &mut Random| Candidate {
        transaction: random.hex(HASH_DIGITS),
        place: place(index),
        to,
        from: Some(random.hex(ADDRESS_DIGITS)),
        asset: asset.clone(),
        minor: Some(MINOR),
    };
    receivers.into_iter().enumerate().map(|one| candidate(one, random)).collect()
}

#[async_trait]
impl ChainSource for Synthetic {
    async fn head(&self) -> Result<Head, SourceError> {
        let state = self.lock();
        let newest = state.shown.checked_sub(1).and_then(|index| state.headers.get(index)).cloned();
        let newest = newest.ok_or_else(|| SourceError::Refused { reason: "the chain is empty".to_owned() })?;
        Ok(Head { newest, finality: Final::ByDepth })
    }

    async fn header(&self, height: u64) -> Result<Option<BlockHeader>, SourceError> {
        Ok(self.header_at(height))
    }

    async fn block(&self, height: u64) -> Result<Option<BlockData>, SourceError> {
        Ok(self.lock().unread.remove(&height))
    }

    async fn settle(&self, _block: &BlockRef, candidates: &[Candidate]) -> Result<Vec<Transfer>, SourceError> {
        let settled = candidates.iter().filter_map(|candidate| {
            let Place::Settled(leg) = candidate.place.clone() else { return None };
            Some(Transfer {
                transaction: candidate.transaction.clone(),
                leg,
                to: candidate.to.clone(),
                from: candidate.from.clone(),
                asset: candidate.asset.clone(),
                minor: candidate.minor?,
            })
        });
        Ok(settled.collect())
    }
}
