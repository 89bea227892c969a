//! Up to where deposits may be confirmed on chains that say what is final.
//!
//! The height that is final says nothing about *our* block at that height: the node that names the height need not be the
//! one that the blocks were read from, and one of these may have lagged on a branch that was given up. So before money is
//! credited, a node that calls the height final itself is asked which block stands there. All blocks below are its
//! ancestors: one comparison answers for all of them.

use tracing::warn;
use wopay_domain::BlockRef;

use super::ChainWatcher;
use super::apply::SettledBlock;
use super::deposit_store;
use super::error::WatchError;
use super::store::{self, Cursor};
use crate::source::{Final, Head};

impl ChainWatcher {
    /// The height up to which deposits may be confirmed once these blocks stand on the cursor; `None`: nothing may be, or
    /// nothing waits for it.
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
        let Some(height) = self.finalized_with(head).map(|finalized| finalized.min(reached)) else { return Ok(None) };
        let settings = &self.settings;
        let brings = blocks.iter().any(|block| block.header.block.number <= height && !block.transfers.is_empty());
        if !brings && !deposit_store::awaits(&self.pool, &settings.chain, height).await? {
            self.unproven = false;
            return Ok(None);
        }
        let is_ours = self.is_final_here(blocks, height).await?;
        self.unproven = !is_ours;
        Ok(is_ours.then_some(height))
    }

    /// Whether our block at that height (where heights can be empty: the next one below) is final.
    async fn is_final_here(&self, blocks: &[SettledBlock], height: u64) -> Result<bool, WatchError> {
        let read = blocks.iter().rev().map(|block| &block.header.block).find(|block| block.number <= height);
        let ours = match read {
            Some(BlockRef { number, hash, .. }) => Cursor { height: *number, hash: hash.clone() },
            None => {
                let stored = store::blocks_between(&self.pool, &self.settings.chain, 0, height, 1).await?;
                let Some(stored) = stored.into_iter().next() else { return Ok(false) };
                Cursor { height: stored.height, hash: stored.hash }
            }
        };
        match self.source.final_header(ours.height).await {
            Ok(header) => Ok(header.is_some_and(|header| header.block.hash == ours.hash)),
            // The blocks are processed all the same; what they bring is confirmed later.
            Err(failure) => {
                let error = &failure as &dyn std::error::Error;
                warn!(chain = %self.settings.chain, height, error, "cannot find out what is final, confirming nothing");
                Ok(false)
            }
        }
    }
}
