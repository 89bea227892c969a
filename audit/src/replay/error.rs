//! Why a log cannot be replayed.

use wopay_domain::envelope::DecodeError;
use wopay_domain::money::MoneyError;

use super::moment::MomentError;

/// Why there is no replay: of the ledger, of one aggregate, or under another policy.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The ledger has none such at that moment.
    #[error("there is no {subject} as of position {position}")]
    NotFound {
        /// What was asked for.
        subject: String,
        /// As of when.
        position: i64,
    },
    /// The database fails.
    #[error("the database fails")]
    Database(#[from] sqlx::Error),
    /// An event cannot be read.
    #[error("an event cannot be read")]
    Decode(#[from] DecodeError),
    /// Sums beyond 128 bits.
    #[error("amounts cannot be added")]
    Money(#[from] MoneyError),
    /// A moment that there is not.
    #[error("no such moment")]
    Moment(#[from] MomentError),
    /// A position is missing: the log was tampered with.
    #[error("position {0} is missing from the log; `wopay audit verify` tells more")]
    Gap(i64),
    /// The stream has a gap: it was tampered with.
    #[error("event {expected} of the stream is missing; `wopay audit verify` tells more")]
    StreamGap {
        /// The sequence that is not there.
        expected: i64,
    },
    /// A stream's id that is none.
    #[error("the stream {0:?} has no id of its kind")]
    Id(String),
}
