//! Why an unmatched deposit refuses a command.

use crate::ids::PaymentId;

/// Why an unmatched deposit refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnmatchedDepositError {
    /// No such money was recorded.
    #[error("there is no such unmatched deposit")]
    NotFound,
    /// A report that is about another deposit.
    #[error("the report is about another deposit")]
    OtherDeposit,
    /// Its block is no longer part of the canonical chain: there is no money to decide about.
    #[error("the deposit is no longer in the chain")]
    Orphaned,
    /// The money is that payment's, which must be told first.
    #[error("the deposit was assigned to payment {0}")]
    Assigned(PaymentId),
    /// The money was sent back.
    #[error("the deposit was refunded by transaction {0}")]
    Refunded(String),
    /// A text or an amount that cannot be kept.
    #[error("{0}")]
    Invalid(&'static str),
}
