//! One step: look at the head, and do what it calls for.

use futures::{StreamExt, stream};
use metrics::counter;
use std::cmp::Ordering;
use tracing::{error, info, warn};
use wopay_domain::BlockRef;

use super::apply::{Applied, SettledBlock};
use super::error::WatchError;
use super::finality::named_final;
use super::store::{self, Cursor};
use super::{ChainWatcher, Step, deposit_store, with_causes};
use crate::source::{BlockData, BlockHeader, Candidate, Final, Head, SourceError};

/// Blocks read ahead and applied in one transaction while catching up.
const BATCH_BLOCKS: usize = 64;

/// So many blocks below those that do not change any more, they are read in bulk.
const BULK_BEHIND: u64 = 64;

/// Looks in a row at a head whose next block is not to be had, until somebody is told: nodes behind one address differ by
/// some blocks.
const WITHOUT_NEXT_MAX: u32 = 20;

/// Blocks that were read in order, and what kept the next one from being read.
struct Fetched {
    blocks: Vec<BlockData>,
    failure: Option<SourceError>,
    /// The height of the next block, where it is listed.
    next: Option<u64>,
}

impl ChainWatcher {
    /// Looks at the head and does one thing.
    pub(super) async fn step(&mut self) -> Result<Step, WatchError> {
        self.take_tokens().await?;
        let head = self.source.head().await?;
        self.head_at = Some(head.newest.block.time);
        let Some(cursor) = store::load_cursor(&self.pool, &self.settings.chain).await? else {
            return match self.first_head(head).await? {
                Some(head) => self.begin(&head).await,
                None => Ok(Step::Idle),
            };
        };
        self.note_tokens().await?;
        if !self.revalidated {
            self.revalidate(&cursor, &head).await?;
            deposit_store::raise_report_ids(&self.pool).await?;
            self.revalidated = true;
        }
        if self.source.by_address().is_some() {
            return self.look_at_addresses(&cursor, &head).await;
        }
        match head.newest.block.number.cmp(&cursor.height) {
            Ordering::Greater => self.advance(&cursor, &head).await,
            Ordering::Equal if head.newest.block.hash == cursor.hash => self.stand(&cursor, &head).await,
            Ordering::Equal | Ordering::Less => self.look_down(&cursor, &head).await,
        }
    }

    /// The head is where we are. Only what is final may have moved.
    async fn stand(&mut self, cursor: &Cursor, head: &Head) -> Result<Step, WatchError> {
        let is_agreed = self.seek_agreement(cursor.height, head).await?;
        if is_agreed || self.unproven || self.sweep.take_found() || named_final(head) != self.named_final {
            self.apply(cursor, &[], head).await?;
        }
        self.compare_balances(cursor).await;
        self.sweep_unknown(cursor, head).await;
        self.stands_at(cursor.height, head.newest.block.number, Some(head.newest.block.time));
        // More blocks may wait for agreement than are asked about at once.
        Ok(if is_agreed { Step::Again } else { Step::Idle })
    }

    /// The head is not above us: either the node lags, or its chain is another one.
    async fn look_down(&mut self, cursor: &Cursor, head: &Head) -> Result<Step, WatchError> {
        let height = head.newest.block.number;
        let known = store::blocks_between(&self.pool, &self.settings.chain, height, height, 1).await?;
        match known.first() {
            Some(block) if block.hash != head.newest.block.hash => self.reorganize(cursor, head).await,
            Some(_) => {
                self.stands_at(cursor.height, height, None);
                Ok(Step::Idle)
            }
            None => self.look_far_down(cursor, head).await,
        }
    }

    /// The head is below the blocks that are kept: a node that has lost much, or a chain that was set back or begun anew.
    async fn look_far_down(&mut self, cursor: &Cursor, head: &Head) -> Result<Step, WatchError> {
        let height = head.newest.block.number;
        let known = store::blocks_between(&self.pool, &self.settings.chain, 0, height, 1).await?;
        if let Some(known) = known.first() {
            let theirs = self.source.header(known.height).await?;
            if theirs.is_some_and(|theirs| theirs.block.hash != known.hash) {
                return Err(self.too_deep(cursor, height).await?);
            }
        }
        let reason =
            format!("the newest block that the node has is {height}, far below {}, the last processed", cursor.height);
        self.stands_waiting(cursor.height, height, &reason);
        Ok(Step::Idle)
    }

    /// The node that answers now does not have the next block, though there is one. That passes, mostly.
    fn lacks_next(&mut self, cursor: &Cursor, head: &Head, next: Option<u64>) -> Step {
        self.without_next = self.without_next.saturating_add(1);
        let newest = head.newest.block.number;
        if self.without_next < WITHOUT_NEXT_MAX {
            self.stands_at(cursor.height, newest, None);
            return Step::Idle;
        }
        let what = match next {
            Some(next) => format!("block {next} is not to be had"),
            None => format!("no block above {} is listed", cursor.height),
        };
        let reason = format!("{what} though the head is {newest}, after {} looks", self.without_next);
        self.stands_waiting(cursor.height, newest, &reason);
        Step::Idle
    }

    /// Processes the next blocks, as many as were read and stand on each other.
    async fn advance(&mut self, cursor: &Cursor, head: &Head) -> Result<Step, WatchError> {
        let Fetched { mut blocks, failure, next } = self.fetch(cursor, head).await;
        let linked = linked_count(cursor, &blocks);
        if linked == 0 {
            return match (blocks.is_empty(), failure) {
                (false, _) => self.reorganize(cursor, head).await,
                (true, Some(failure)) => Err(failure.into()),
                (true, None) => Ok(self.lacks_next(cursor, head, next)),
            };
        }
        self.without_next = 0;
        blocks.truncate(linked);
        let settled = self.settle(blocks).await?;
        if let Some(last) = settled.last() {
            self.seek_agreement(last.header.block.number, head).await?;
        }
        let applied = self.apply(cursor, &settled, head).await?;
        if let Applied::Waiting(reason) = applied {
            self.stands_waiting(cursor.height, head.newest.block.number, &reason);
            return Ok(Step::Idle);
        }
        if let Applied::Done(reached) = applied {
            let block_at = settled.last().map(|block| block.header.block.time);
            self.stands_at(reached.height, head.newest.block.number, block_at);
            if reached.height == head.newest.block.number {
                self.compare_balances(&reached).await;
                self.sweep_unknown(&reached, head).await;
            }
            if settled.len() > 1 {
                info!(chain = %self.settings.chain, height = reached.height, blocks = settled.len(), "catching up");
            }
        }
        match failure {
            Some(failure) => Err(failure.into()),
            None => Ok(Step::Again),
        }
    }

    /// Reads blocks above the cursor, in order: in bulk far below the head, else several at a time.
    async fn fetch(&self, cursor: &Cursor, head: &Head) -> Fetched {
        let settled = self.unchanging(head);
        if settled.saturating_sub(cursor.height) > BULK_BEHIND {
            match self.source.bulk(cursor.height, settled).await {
                Ok(Some(blocks)) if !blocks.is_empty() => return Fetched { blocks, failure: None, next: None },
                Ok(_) => {}
                // Whoever gives nothing in bulk may still give blocks.
                Err(failure) => {
                    warn!(chain = %self.settings.chain, reason = with_causes(&failure), "reading block by block");
                }
            }
        }
        self.fetch_singly(cursor, head).await
    }

    /// The height up to which the chain does not change any more, as far as can be said.
    pub(super) fn unchanging(&self, head: &Head) -> u64 {
        let deep = self.window_begin(head.newest.block.number);
        match head.finality {
            Final::UpTo(height) => deep.max(height.min(head.newest.block.number)),
            Final::ByDepth | Final::Unknown => deep,
        }
    }

    async fn fetch_singly(&self, cursor: &Cursor, head: &Head) -> Fetched {
        let heights = match self.source.heights(cursor.height, head.newest.block.number, BATCH_BLOCKS).await {
            Ok(heights) => heights,
            Err(failure) => return Fetched { blocks: Vec::new(), failure: Some(failure), next: None },
        };
        let next = heights.first().copied();
        let reads: Vec<_> = heights.into_iter().map(|height| self.source.block(height)).collect();
        let mut reads = stream::iter(reads).buffered(self.settings.concurrency);
        let mut blocks = Vec::new();
        while let Some(read) = reads.next().await {
            match read {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(failure) => return Fetched { blocks, failure: Some(failure), next },
            }
        }
        Fetched { blocks, failure: None, next }
    }

    /// Finds out which transfers of the blocks are ours and took place.
    pub(super) async fn settle(&self, blocks: Vec<BlockData>) -> Result<Vec<SettledBlock>, WatchError> {
        let addresses: Vec<&str> =
            blocks.iter().flat_map(|block| &block.candidates).map(|candidate| candidate.to.as_str()).collect();
        let ours = self.watch_set.ours(&self.pool, &addresses).await?;
        let (headers, found): (Vec<BlockHeader>, Vec<(BlockRef, Vec<Candidate>)>) = blocks
            .into_iter()
            .map(|block| {
                let is_ours = |candidate: &Candidate| ours.contains(&candidate.to) && self.has_amount(candidate);
                let candidates = block.candidates.into_iter().filter(is_ours).collect();
                (block.header.clone(), (block.header.block, candidates))
            })
            .unzip();
        let transfers = if found.iter().all(|(_, candidates)| candidates.is_empty()) {
            vec![Vec::new(); headers.len()]
        } else {
            self.source.settle_all(&found).await?
        };
        Ok(headers.into_iter().zip(transfers).map(|(header, transfers)| SettledBlock { header, transfers }).collect())
    }

    fn has_amount(&self, candidate: &Candidate) -> bool {
        if candidate.minor.is_none() {
            error!(
                chain = %self.settings.chain,
                transaction = candidate.transaction,
                asset = %candidate.asset,
                address = candidate.to,
                "a transfer of more than 2^128 minor units to an address of ours is NOT recorded"
            );
            counter!("wopay_chain_watchers_amount_overflow_total", "chain" => self.settings.chain.to_string())
                .increment(1);
        }
        candidate.minor.is_some()
    }
}

/// How many of the blocks, from the first, stand on the cursor and on each other.
fn linked_count(cursor: &Cursor, blocks: &[BlockData]) -> usize {
    let mut below = (cursor.height, cursor.hash.as_str());
    let mut count: usize = 0;
    for BlockData { header, .. } in blocks {
        if header.parent_hash != below.1 || header.block.number <= below.0 {
            break;
        }
        below = (header.block.number, &header.block.hash);
        count = count.saturating_add(1);
    }
    count
}
