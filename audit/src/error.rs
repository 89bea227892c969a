//! What can go wrong when the audit log is asked.

use crate::checkpoint::CheckpointError;

/// Why the log gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Nothing was ever sealed here.
    #[error("nothing is sealed yet")]
    NothingSealed,
    /// No checkpoint was made at that size; others were.
    #[error("there is no checkpoint of size {size}")]
    NoCheckpoint {
        /// The size asked for.
        size: i64,
    },
    /// The event is newer than the checkpoint, or there is none at that position.
    #[error("position {position} is not in the checkpoint of size {size}")]
    NotSealed {
        /// The position asked for.
        position: i64,
        /// What is sealed.
        size: i64,
    },
    /// The old size of a consistency proof must be between 1 and the new size.
    #[error("a log of size {new} was never one of size {old}")]
    Sizes {
        /// The older.
        old: i64,
        /// The newer.
        new: i64,
    },
    /// An event that was sealed is not there any more.
    #[error("the event at position {position} was sealed and is missing")]
    EventMissing {
        /// Where it stood.
        position: i64,
    },
    /// Events or tiles are not what was sealed. `wopay audit verify` says which.
    #[error("what is stored does not lead to the checkpoint of size {size}: run `wopay audit verify`")]
    Damaged {
        /// The checkpoint's size.
        size: i64,
    },
    /// A stored checkpoint is not to be believed.
    #[error("the stored checkpoint is not to be believed")]
    Checkpoint(#[from] CheckpointError),
    /// The event's line does not fit an entry bundle, whose entries have at most 65,535 bytes.
    #[error("the event at position {position} is too large for an entry bundle")]
    EntryTooLarge {
        /// Which.
        position: i64,
    },
}
