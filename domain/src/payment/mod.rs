//! A payment: what a merchant asked for, what arrived on the chain, and what follows from both.
//!
//! The standing of a payment is a pure function of its terms, its live deposits and refunds and three facts of its past
//! (deadline passed, cancelled, once completed). Watchers report the state of a deposit with a revision that grows; an older
//! revision changes nothing. Together this makes reports commute: any order, any repetition ends in the same deposits and
//! the same books. Only whether the payment was completed in between, and so is `reversed` rather than `expired`, is a
//! matter of what was known when.
//!
//! Money that is held here can be another payment's by decision. From then on that one books it, and this stream only notes
//! what the chain does, once the other was told ([`ToldDeposit`]); a report of which it was not told is refused.

mod aggregate;
mod command;
mod decide;
mod decision;
mod error;
mod event;
mod evolve;
mod refund;
mod standing;
mod state;
#[cfg(test)]
mod tests;

pub use command::{
    AssignDeposit, CompleteRefund, CreatePayment, DepositReport, DepositStage, Holder, PaymentCommand, ReassignDeposit,
    RefundHeldDeposit, RequestRefund, ToldDeposit, UnmatchedMoney,
};
pub use decide::decide;
pub use error::PaymentError;
pub use event::{
    DepositAssigned, DepositConfirmed, DepositDetected, DepositOrphaned, DepositReincluded, HeldDepositReassigned,
    HeldDepositRefunded, PaymentCreated, PaymentEvent, ReassignedDepositReported, Standing,
};
pub use evolve::evolve;
pub use refund::{Refund, RefundCancelled, RefundCompleted, RefundRequested, RefundState};
pub use standing::Totals;
pub use state::{
    Deposit, DepositDecision, DepositState, Disposition, Flags, HoldReason, LateDeposits, Payment, PaymentPolicy,
    PaymentState, PaymentStatus, PaymentTerms,
};

/// `aggregate_type` of payments.
pub const AGGREGATE_TYPE: &str = "payment";
