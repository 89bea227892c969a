//! Where a chain begins, and what is checked when a watcher starts.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tracing::info;
use wopay_domain::{BlockRef, Timestamp};
use wopay_eventbus::begin;

use super::error::WatchError;
use super::finality::named_final;
use super::store::{self, Cursor};
use super::{ChainWatcher, Step};
use crate::source::{BlockHeader, Head, SourceError};

/// Locator blocks compared with the node at start.
const LOCATORS_CHECKED: i64 = 8;
/// How far the clocks of a chain's blocks and of those who open payments may lie apart.
const CLOCKS_APART: Duration = Duration::from_secs(10 * 60);

impl ChainWatcher {
    /// The head to begin below. Where only final blocks are looked at, it is the newest of these; `None`: none is known.
    pub(super) async fn first_head(&self, head: Head) -> Result<Option<Head>, WatchError> {
        if self.source.by_address().is_none() {
            return Ok(Some(head));
        }
        let Some(finalized) = named_final(&head) else { return Ok(None) };
        let newest = self.source.final_header(finalized).await?;
        Ok(newest.map(|newest| Head { newest, finality: head.finality }))
    }

    /// The first run on this chain: puts the cursor on the block below the first one to process, with the hashes of the
    /// window below it, so that a reorganization just after the beginning finds its ancestor.
    pub(super) async fn begin(&mut self, head: &Head) -> Result<Step, WatchError> {
        let newest = head.newest.block.number;
        let base = self.base(newest).await?;
        if base > newest {
            info!(chain = %self.settings.chain, head = newest, start_block = base.saturating_add(1), "waiting to begin");
            return Ok(Step::Idle);
        }
        // Far below the head no reorganization reaches the base.
        let is_final = base < self.window_begin(newest) || self.source.by_address().is_some();
        let lowest = if is_final { base } else { self.window_begin(base) };
        let Some(headers) = self.read_chain(lowest, base).await? else { return Ok(Step::Idle) };
        let Some(last) = headers.last() else { return Ok(Step::Idle) };
        if !self.is_stood_on(last, &head.newest).await? {
            return Ok(Step::Idle);
        }
        let mut tx = begin(&self.pool).await?;
        if store::create_cursor(&mut tx, &self.settings.chain, &last.block, &self.looks_for()).await? {
            store::insert_blocks(&mut tx, &self.settings.chain, &headers.iter().collect::<Vec<_>>()).await?;
            store::publish_head(&mut tx, &self.settings.chain, &last.block, None).await?;
            tx.commit().await?;
            info!(chain = %self.settings.chain, first = base.saturating_add(1), head = newest, "first run");
        }
        Ok(Step::Again)
    }

    /// Whether the chain below the head stands on that block. The first block that is stored must not be anybody's
    /// invention: nothing is known below to which a wrong one could be walked back.
    async fn is_stood_on(&self, block: &BlockHeader, newest: &BlockHeader) -> Result<bool, WatchError> {
        if block.block.number >= newest.block.number {
            return Ok(block.block.hash == newest.block.hash);
        }
        let above = self.source.heights(block.block.number, newest.block.number, 1).await?;
        let Some(above) = above.first() else { return Ok(false) };
        let above = self.source.header(*above).await?;
        Ok(above.is_some_and(|above| above.parent_hash == block.block.hash))
    }

    /// The block below the first one to process. The first block of a chain has no transactions, so it may always serve.
    ///
    /// Payments may be older than the lookback: their addresses were handed out while no node was to be had, or before
    /// anybody watched. The blocks since the oldest of them are processed too, or its money would never be seen.
    async fn base(&self, newest: u64) -> Result<u64, WatchError> {
        if let Some(start_block) = self.settings.start_block {
            return Ok(start_block.saturating_sub(1));
        }
        let base = newest.saturating_sub(u64::from(self.settings.lookback)).saturating_sub(1);
        match store::oldest_payment(&self.pool, &self.settings.chain, self.settings.family).await? {
            Some(oldest) => self.last_block_before(oldest - CLOCKS_APART, base).await,
            None => Ok(base),
        }
    }

    /// The highest block before that moment, none above `highest`; block 0 when all are later.
    async fn last_block_before(&self, moment: Timestamp, highest: u64) -> Result<u64, WatchError> {
        if self.block_time(highest).await? < moment {
            return Ok(highest);
        }
        let (mut before, mut later) = (0, highest);
        while later.saturating_sub(before) > 1 {
            let middle = before.midpoint(later);
            if self.block_time(middle).await? < moment {
                before = middle;
            } else {
                later = middle;
            }
        }
        Ok(before)
    }

    /// The time of the block at that height; where the height is empty, of the next one above it.
    async fn block_time(&self, height: u64) -> Result<Timestamp, WatchError> {
        let missing = || SourceError::Unavailable(format!("no node has block {height}, to begin by its time").into());
        let height = if height > 0 && self.source.has_empty_heights() {
            let next = self.source.heights(height.saturating_sub(1), u64::MAX, 1).await?;
            *next.first().ok_or_else(missing)?
        } else {
            height
        };
        let header = self.source.header(height).await?;
        Ok(header.ok_or_else(missing)?.block.time)
    }

    /// The headers between two heights, if they stand on each other now.
    async fn read_chain(&self, lowest: u64, highest: u64) -> Result<Option<Vec<BlockHeader>>, WatchError> {
        let count = usize::try_from(highest.saturating_sub(lowest)).unwrap_or(usize::MAX).saturating_add(1);
        let mut heights = self.source.heights(lowest.saturating_sub(1), highest, count).await?;
        if self.source.has_empty_heights() {
            if heights.is_empty() {
                return Ok(self.below_the_first(highest).await?.map(|below| vec![below]));
            }
        } else if lowest == 0 {
            // There is nothing below the first block to begin after.
            heights.insert(0, 0);
        }
        let reads: Vec<_> = heights.into_iter().map(|height| self.source.header(height)).collect();
        let headers: Vec<Option<BlockHeader>> =
            stream::iter(reads).buffered(self.settings.concurrency).try_collect().await?;
        let Some(headers) = headers.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let linked =
            headers.windows(2).all(|pair| matches!(pair, [lower, upper] if upper.parent_hash == lower.block.hash));
        Ok(linked.then_some(headers))
    }

    /// Where to begin when all heights up to that one are empty, or older than what the node keeps: just below the first
    /// block there is, which is still to be processed. It names the block that it stands on.
    async fn below_the_first(&self, height: u64) -> Result<Option<BlockHeader>, WatchError> {
        let above = self.source.heights(height, u64::MAX, 1).await?;
        let Some(first) = above.first() else { return Ok(None) };
        let Some(BlockHeader { block, parent_hash }) = self.source.header(*first).await? else { return Ok(None) };
        let below = BlockRef { number: block.number.saturating_sub(1), hash: parent_hash, time: block.time };
        Ok(Some(BlockHeader { block: below, parent_hash: String::new() }))
    }

    /// Compares what is stored with itself and with the node. A cursor that the node does not know is not an error here:
    /// the step that follows walks it back like any other reorganization.
    pub(super) async fn revalidate(&self, cursor: &Cursor, head: &Head) -> Result<(), WatchError> {
        let chain = &self.settings.chain;
        let lowest = self.window_begin(cursor.height);
        if let Some(height) = store::broken_link(&self.pool, chain, lowest).await? {
            let what = format!("the stored block {height} does not stand on the stored block below it");
            return Err(WatchError::Contradiction { what });
        }
        if !store::cursor_is_stored(&self.pool, chain).await? {
            let what = format!("the cursor at {} is not a stored block", cursor.height);
            return Err(WatchError::Contradiction { what });
        }
        // Nodes of such chains keep a few days and answer all else with an error. The links of the blocks that follow say
        // whether the cursor is still theirs.
        if self.source.has_empty_heights() {
            return Ok(());
        }
        let top = store::blocks_between(&self.pool, chain, cursor.height, cursor.height, 1).await?;
        if head.newest.block.number < cursor.height || self.newest_in_common(&top).await?.is_none() {
            return Ok(());
        }
        let locators = store::locators(&self.pool, chain, lowest.saturating_sub(1), LOCATORS_CHECKED).await?;
        for locator in locators {
            // A node that has forgotten the block says nothing about it, nor about older ones.
            let header = match self.source.header(locator.height).await {
                Ok(Some(header)) => header,
                Ok(None) | Err(SourceError::Unavailable(_)) => break,
                Err(refused @ SourceError::Refused { .. }) => return Err(refused.into()),
            };
            if header.block.hash != locator.hash {
                let what = format!(
                    "the node has our block {} but another one than ours at {}: {} is stored, {} is there",
                    cursor.height, locator.height, locator.hash, header.block.hash
                );
                return Err(WatchError::Contradiction { what });
            }
        }
        Ok(())
    }
}
