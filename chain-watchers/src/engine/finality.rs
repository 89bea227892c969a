//! Up to where deposits may be confirmed on chains that say what is final.
//!
//! A height that is called final is one node's word, and says nothing about *our* block at that height: the node need not
//! be the one that the blocks were read from, and one of these may have lagged on a branch that was given up. So before
//! money is credited, a node that calls the height final itself is asked which block stands there. All blocks below are its
//! ancestors: one comparison answers for all of them.
//!
//! Only what was proven so is kept and published, and a decision is made with the height that the head at hand names: what
//! a node says once, and no other, passes with it.

use tracing::warn;

use super::ChainWatcher;
use super::apply::SettledBlock;
use super::deposit_store;
use super::error::WatchError;
use super::store::{self, Cursor};
use crate::source::{Final, Head};

/// The height that this head calls final: never above the head itself.
pub(super) fn named_final(head: &Head) -> Option<u64> {
    match head.finality {
        Final::UpTo(height) => Some(height.min(head.newest.block.number)),
        Final::ByDepth | Final::Unknown => None,
    }
}

impl ChainWatcher {
    /// The height up to which deposits may be confirmed once these blocks stand on the cursor; where the chain says what is
    /// final, our blocks up to there were found to be. `None`: nothing may be, or nothing waits for it.
    pub(super) async fn confirmable(
        &mut self,
        cursor: &Cursor,
        blocks: &[SettledBlock],
        head: &Head,
    ) -> Result<Option<u64>, WatchError> {
        let reached = blocks.last().map_or(cursor.height, |block| block.header.block.number);
        if head.finality == Final::ByDepth {
            return Ok(Some(reached));
        }
        let Some(height) = named_final(head).map(|named| named.min(reached)) else { return Ok(None) };
        let brings = blocks.iter().any(|block| block.header.block.number <= height && !block.transfers.is_empty());
        let waiting = deposit_store::newest_waiting(&self.pool, &self.settings.chain, height).await?;
        if !brings && waiting.is_none() {
            self.unproven = false;
            return Ok(None);
        }
        let proven = self.proven(blocks, height, waiting).await?;
        self.unproven = proven.is_none();
        Ok(proven)
    }

    /// The height of the highest of our blocks not above that one, if it is final. It is the block at that height where
    /// that is known, else the highest below. What is final may lie below the blocks that are kept, but no deposit waits
    /// between such a block and that height: the blocks of deposits that wait are known, too.
    async fn proven(
        &self,
        blocks: &[SettledBlock],
        height: u64,
        waiting: Option<Cursor>,
    ) -> Result<Option<u64>, WatchError> {
        let mut read = blocks.iter().rev().map(|block| &block.header.block);
        let known = match read.find(|block| block.number <= height) {
            Some(block) => Some(Cursor::at(block)),
            None => {
                let stored = store::blocks_between(&self.pool, &self.settings.chain, 0, height, 1).await?;
                stored.into_iter().next().map(|block| Cursor { height: block.height, hash: block.hash })
            }
        };
        let Some(ours) = known.into_iter().chain(waiting).max_by_key(|block| block.height) else { return Ok(None) };
        match self.source.final_header(ours.height).await {
            Ok(header) => Ok(header.filter(|header| header.block.hash == ours.hash).map(|_| ours.height)),
            // The blocks are processed all the same; what they bring is confirmed later.
            Err(failure) => {
                let error = &failure as &dyn std::error::Error;
                warn!(chain = %self.settings.chain, height, error, "cannot find out what is final, confirming nothing");
                Ok(None)
            }
        }
    }
}
