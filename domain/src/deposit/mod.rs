//! Unmatched money: what came to an address of ours and is no payment's.
//!
//! It is in the books from its confirmation on (custody against suspense), so that they say what the chain says, and it
//! stays there until an operator decides: it is assigned to a payment, or was sent back. The aggregate is one deposit;
//! its id follows from the deposit's key ([`crate::DepositId::of`]), so the same money can never be two of them.
//!
//! Reports carry revisions as those of payments do: any order, any repetition ends in the same books. After an
//! assignment it is the payment that books what the chain does next; this stream only notes that the payment was told
//! ([`ObserveUnmatched::told`]), and refuses a report of which it was not.

mod aggregate;
mod command;
mod decide;
mod error;
mod event;
mod evolve;
mod state;
#[cfg(test)]
mod tests;

pub use command::{AssignUnmatched, ObserveUnmatched, RefundUnmatched, UnmatchedDepositCommand};
pub use decide::decide;
pub use error::UnmatchedDepositError;
pub use event::{
    UnmatchedDepositAssigned, UnmatchedDepositEvent, UnmatchedDepositOrphaned, UnmatchedDepositRecorded,
    UnmatchedDepositRefunded,
};
pub use evolve::evolve;
pub use state::{Outcome, UnmatchedDeposit, UnmatchedDepositState};

/// `aggregate_type` of unmatched deposits.
pub const AGGREGATE_TYPE: &str = "deposit";

/// The longest reason or transaction, in bytes.
const TEXT_BYTES_MAX: usize = 500;
pub(crate) const REASON_WANTED: &str = "the reason must have 1 to 500 bytes, and no control characters";
pub(crate) const TRANSACTION_WANTED: &str = "the transaction must have 1 to 500 bytes, and no control characters";

/// Whether it can stand as the reason or transaction of a decision: others read it in their terminals.
#[must_use]
pub fn is_decision_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.trim().is_empty() && !text.chars().any(char::is_control)
}
