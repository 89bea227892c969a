//! Why the write side refuses or fails.

use std::error::Error;

use wopay_domain::PaymentId;

use crate::claims::{AddressFormError, TakenClaim};

/// Why an append did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream has moved on since it was read. Nothing was written.
    #[error("the stream has moved: expected sequence {expected}, found {found}")]
    Conflict {
        /// The last sequence that the command was decided on.
        expected: i64,
        /// The last sequence there is.
        found: i64,
    },
    /// One of the claims is held already. Nothing was written.
    #[error("taken claim: {0}")]
    ClaimTaken(Box<TakenClaim>),
    /// The append can never be written as it is. Nothing was written.
    #[error("the append is refused: {0}")]
    Invalid(InvalidAppend),
    /// The database refuses what was to be written. Nothing was written.
    #[error("the ledger's database refuses the append")]
    Rejected(#[source] SharedError),
    /// More commands wait than the queue holds. Nothing was written; try later.
    #[error("the ledger is overloaded")]
    Overloaded,
    /// The ledger is shutting down. Nothing was written.
    #[error("the ledger is shutting down")]
    ShuttingDown,
    /// The database cannot be reached or refuses. Nothing was written; try later.
    #[error("the ledger's database is unavailable")]
    Unavailable(#[source] SharedError),
    /// The connection broke during the commit and the database did not come back in time to ask it: the events may or
    /// may not be in the ledger. The same command may be sent again, it is never applied twice.
    #[error("the outcome is unknown: the ledger's database went away during the commit")]
    OutcomeUnknown(#[source] SharedError),
}

/// One failure of the database, told to every command of the group that it hit.
pub type SharedError = std::sync::Arc<sqlx::Error>;

/// Why an append can never be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAppend {
    /// Without events there is nothing to append.
    #[error("it has no events")]
    Empty,
    /// More than one append may hold.
    #[error("it has {got} events, at most {max} are possible")]
    TooManyEvents {
        /// Events given.
        got: usize,
        /// Events possible.
        max: usize,
    },
    /// More than one append may hold.
    #[error("it has {got} bytes, at most {max} are possible")]
    TooLarge {
        /// Bytes given.
        got: usize,
        /// Bytes possible.
        max: usize,
    },
    /// The same claim twice.
    #[error("it names a claim of kind {0} twice")]
    DoubledClaim(&'static str),
    /// An id or a claim's key that is empty, longer than 1,024 bytes or holds a NUL character.
    #[error("its {0} is empty, too long, or holds a NUL character")]
    Key(&'static str),
    /// A payment is opened, and a merchant registered, only by the functions that take their claims.
    #[error("an aggregate is created only together with its claims")]
    WithoutClaims,
    /// An event or metadata that is not JSON.
    #[error("it cannot be written as JSON: {0}")]
    Json(String),
}

/// Why an aggregate cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database cannot be reached or refuses; try later.
    #[error("the ledger cannot be read")]
    Database(#[source] Box<dyn Error + Send + Sync>),
    /// What is stored is not what this version writes.
    #[error("a recorded value cannot be understood")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
}

/// Why a command was not executed. `E` is the aggregate's own refusal.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<E: Error + 'static> {
    /// The aggregate refuses.
    #[error("the command is refused")]
    Domain(#[source] E),
    /// The order id belongs to a payment with other terms.
    #[error("the order id belongs to payment {payment_id}, which has other terms")]
    OrderConflict {
        /// That payment.
        payment_id: PaymentId,
    },
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request, which created payment {payment_id}")]
    IdempotencyMismatch {
        /// The payment of that request.
        payment_id: PaymentId,
    },
    /// The deposit address belongs to another payment: create again with another one.
    #[error("the address {address} belongs to payment {holder}")]
    AddressTaken {
        /// The address.
        address: String,
        /// The payment that has it.
        holder: String,
    },
    /// The deposit address has no known form.
    #[error("the deposit address is not usable")]
    Address(#[source] AddressFormError),
    /// Another claim is taken: an e-mail address, an API key.
    #[error("taken claim: {0}")]
    ClaimTaken(Box<TakenClaim>),
    /// Others kept changing the aggregate in every one of our tries. Nothing was written; try later.
    #[error("the aggregate kept changing during {tries} tries")]
    Contended {
        /// How often it was tried.
        tries: usize,
    },
    /// The append failed; see there whether anything was written.
    #[error("the append failed")]
    Append(#[source] AppendError),
    /// The aggregate cannot be read.
    #[error("the aggregate cannot be loaded")]
    Load(#[from] LoadError),
}

impl<E: Error + 'static> ExecuteError<E> {
    /// Whether the same command may well succeed a little later: the fault is not the command's.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Contended { .. } | Self::Load(LoadError::Database(_)) => true,
            Self::Append(error) => match error {
                AppendError::Conflict { .. }
                | AppendError::Overloaded
                | AppendError::ShuttingDown
                | AppendError::Unavailable(_)
                | AppendError::OutcomeUnknown(_) => true,
                AppendError::ClaimTaken(_) | AppendError::Invalid(_) | AppendError::Rejected(_) => false,
            },
            Self::Domain(_)
            | Self::OrderConflict { .. }
            | Self::IdempotencyMismatch { .. }
            | Self::AddressTaken { .. }
            | Self::Address(_)
            | Self::ClaimTaken(_)
            | Self::Load(LoadError::Corrupt(_)) => false,
        }
    }
}
