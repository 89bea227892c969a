//! Why something is not sealed.

use crate::checkpoint::{CheckpointError, CopyError};

/// Why sealing failed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The database failed; sealing goes on when it is back.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Another instance seals this ledger.
    #[error("another instance seals this ledger")]
    Standby,
    /// What is stored must not be signed. It takes a person to find out why.
    #[error("the sealer refuses")]
    Refused(#[from] Refusal),
    /// The copy cannot be written. What it would have been a copy of is sealed.
    #[error("the copy of the newest checkpoint is not up to date")]
    Copy(#[source] CopyError),
    /// The key does not sign.
    #[error("the checkpoint cannot be signed")]
    Sign(#[source] CheckpointError),
}

/// Why the log must not be signed as it is. `wopay audit verify` says more.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The ledger is shorter than what was sealed of it: events were deleted, or an older backup was restored.
    #[error(
        "the ledger ends at position {head}, but {sealed} events were sealed: events are gone, or an older backup was restored"
    )]
    Shortened {
        /// The newest event.
        head: i64,
        /// The newest checkpoint.
        sealed: i64,
    },
    /// The copy on disk is newer than the database: an older backup was restored.
    #[error(
        "the copy of the checkpoint covers {copy} events, the newest checkpoint in the database {stored}: an older backup was restored"
    )]
    CopyAhead {
        /// The copy's size.
        copy: i64,
        /// The size of the newest stored checkpoint.
        stored: i64,
    },
    /// The copy and the database are heads of different histories.
    #[error("the copy of the checkpoint (size {size}) is not a head of this log")]
    CopyOfAnotherLog {
        /// The copy's size.
        size: i64,
    },
    /// The copy cannot be read or believed.
    #[error("the copy of the newest checkpoint cannot be used")]
    Copy(#[source] CopyError),
    /// The newest stored checkpoint is not signed by our key, or says something else than its row.
    #[error("the newest stored checkpoint (size {size}) is not ours: another key or origin, or it was altered")]
    ForeignCheckpoint {
        /// Its size.
        size: i64,
    },
    /// The stored hashes do not give the head that was signed.
    #[error("the stored tiles do not lead to the checkpoint of size {size}")]
    Tiles {
        /// The checkpoint's size.
        size: i64,
    },
    /// A position without an event.
    #[error("there is no event at position {position}, but there is one after it")]
    Gap {
        /// Which.
        position: i64,
    },
}
