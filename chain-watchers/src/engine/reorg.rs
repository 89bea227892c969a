//! The node's chain is not the one that was processed: back to the last block in common.
//!
//! An endpoint can be stuck on a branch that everybody else has given up. Where the chain says what is final, its word does
//! not take back what was proven to be: it is asked last for a while, and if nobody says otherwise the chain is halted.

use futures::{StreamExt, TryStreamExt, stream};
use tracing::debug;

use super::error::WatchError;
use super::store::{self, Cursor, StoredBlock};
use super::{ChainWatcher, Step};
use crate::source::{Head, SourceError};

/// Locator blocks compared when the window holds no block in common.
const LOCATORS_MAX: i64 = 64;

impl ChainWatcher {
    /// Walks back to the common ancestor and sets the cursor there. The new branch is processed by the steps that follow.
    pub(super) async fn reorganize(&mut self, cursor: &Cursor, head: &Head) -> Result<Step, WatchError> {
        let highest = cursor.height.min(head.newest.block.number);
        let lowest = self.window_begin(cursor.height);
        let window = i64::from(self.settings.reorg_window).saturating_add(1);
        let stored = store::blocks_between(&self.pool, &self.settings.chain, lowest, highest, window).await?;
        let common = match self.newest_in_common(&stored).await? {
            None => self.begun_on(&stored).await?,
            common => common,
        };
        match common {
            // The node has come back to our chain meanwhile, or only lags.
            Some(common) if common.height == cursor.height => Ok(Step::Idle),
            Some(common) => {
                let ancestor = Cursor { height: common.height, hash: common.hash };
                debug!(chain = %self.settings.chain, height = ancestor.height, "common ancestor");
                let rewound = self.rewind(cursor, &ancestor, head).await;
                if let Err(WatchError::AgainstFinal { .. }) = &rewound {
                    self.source.doubt("its chain leaves ours below a block that is final");
                }
                rewound.map(|_| Step::Again)
            }
            None => Err(self.too_deep(cursor, lowest.saturating_sub(1).min(head.newest.block.number)).await?),
        }
    }

    /// The newest of these blocks (given newest first) that the node has too.
    pub(super) async fn newest_in_common(&self, blocks: &[StoredBlock]) -> Result<Option<StoredBlock>, WatchError> {
        let reads: Vec<_> = blocks.iter().map(|block| self.source.header(block.height)).collect();
        let mut headers = stream::iter(reads).buffered(self.settings.concurrency);
        for block in blocks {
            let Some(header) = headers.try_next().await? else { break };
            match header {
                Some(header) if header.block.hash == block.hash => return Ok(Some(block.clone())),
                Some(_) => {}
                None if self.source.has_empty_heights() => {}
                // Silence is no other chain.
                None => {
                    let reason = format!("no node has block {} now, to compare it", block.height);
                    return Err(SourceError::Unavailable(reason.into()).into());
                }
            }
        }
        Ok(None)
    }

    /// The lowest of these blocks (given newest first), if it is in common although no node can show it: where heights can
    /// be empty, watching may have begun just below the first block there was, which alone names what it stands on.
    async fn begun_on(&self, blocks: &[StoredBlock]) -> Result<Option<StoredBlock>, WatchError> {
        let Some(lowest) = blocks.last().filter(|_| self.source.has_empty_heights()) else { return Ok(None) };
        let above = self.source.heights(lowest.height, u64::MAX, 1).await?;
        let Some(above) = above.first() else { return Ok(None) };
        let above = self.source.header(*above).await?;
        Ok(above.filter(|above| above.parent_hash == lowest.hash).map(|_| lowest.clone()))
    }

    /// `highest`: none of the blocks above is in common.
    pub(super) async fn too_deep(&self, cursor: &Cursor, highest: u64) -> Result<WatchError, WatchError> {
        let locators = store::locators(&self.pool, &self.settings.chain, highest, LOCATORS_MAX).await?;
        // A node that has forgotten such old blocks does not keep the chain from being halted.
        let common = self.newest_in_common(&locators).await.unwrap_or_else(|failure| {
            debug!(chain = %self.settings.chain, error = &failure as &dyn std::error::Error, "no older block is compared");
            None
        });
        Ok(WatchError::TooDeep {
            height: cursor.height,
            window: self.settings.reorg_window,
            common: common.map_or_else(|| "unknown".to_owned(), |block| block.height.to_string()),
        })
    }
}
