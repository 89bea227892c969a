//! Why a step of the engine failed.

use super::store::StoreError;
use crate::source::SourceError;

/// Why a step of the engine failed. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The chain cannot be read, or must not be.
    #[error("the chain cannot be read")]
    Source(#[from] SourceError),
    /// The database does not take it.
    #[error("the database does not take it")]
    Store(#[from] StoreError),
    /// The common ancestor lies below the window.
    #[error(
        "the node's chain leaves ours more than {window} blocks below {height} (the reorg window); \
         the newest older block in common is {common} (a test chain that was begun anew needs a new name or a new ledger)"
    )]
    TooDeep {
        /// The cursor.
        height: u64,
        /// The window, in blocks.
        window: u32,
        /// What the locator knows: a height, or `unknown`.
        common: String,
    },
    /// The common ancestor lies below what is final.
    #[error(
        "the node's chain leaves ours above block {ancestor}, but {finalized} is final: nothing final is taken back \
         (if the network itself has done so, follow it by depth until it is walked back)"
    )]
    AgainstFinal {
        /// Height of the newest block in common.
        ancestor: u64,
        /// The highest that was proven to be final.
        finalized: u64,
    },
    /// What is stored, or what the node says, contradicts itself.
    #[error("{what}")]
    Contradiction {
        /// What contradicts what.
        what: String,
    },
}

impl From<sqlx::Error> for WatchError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(StoreError::Database(error))
    }
}
