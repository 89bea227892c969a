//! Why a payment refuses a command.

use super::state::{DepositState, PaymentStatus};
use crate::Timestamp;
use crate::chain::DepositKey;
use crate::ids::{PaymentId, RefundId};
use crate::money::{Money, MoneyError};

/// Why a payment refuses a command. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// It was never opened.
    #[error("the payment does not exist")]
    NotFound,
    /// It was opened before.
    #[error("the payment exists already")]
    AlreadyExists,
    /// The terms contradict themselves.
    #[error("invalid terms: {0}")]
    InvalidTerms(&'static str),
    /// Only a payment without money can be cancelled.
    #[error("a payment that is {} cannot be cancelled", status.as_str())]
    NotCancellable {
        /// What it is instead.
        status: PaymentStatus,
    },
    /// The deadline lies ahead.
    #[error("the payment expires at {expires_at}, not before")]
    NotYetDue {
        /// The deadline.
        expires_at: Timestamp,
    },
    /// A refund that contradicts the payment or itself.
    #[error("invalid refund: {0}")]
    InvalidRefund(&'static str),
    /// Money must not leave a payment that waits for money.
    #[error("a payment that is {} cannot be refunded yet", status.as_str())]
    NotRefundable {
        /// Where it stands.
        status: PaymentStatus,
    },
    /// More than what is confirmed and not spoken for by another refund.
    #[error("a refund of {} minor units is more than the {} that can be refunded", requested.minor(), refundable.minor())]
    RefundTooLarge {
        /// What was asked for.
        requested: Money,
        /// What there is.
        refundable: Money,
    },
    /// Another refund has this id.
    #[error("refund {0} exists already, with other terms")]
    RefundExists(RefundId),
    /// The payment has no refund of this id.
    #[error("the payment has no refund {0}")]
    RefundNotFound(RefundId),
    /// It was completed or cancelled before.
    #[error("refund {refund} is {state} already")]
    RefundClosed {
        /// Which refund.
        refund: RefundId,
        /// `completed` or `cancelled`.
        state: &'static str,
    },
    /// The payment has no such deposit.
    #[error("the payment has no deposit {0}")]
    DepositNotFound(DepositKey),
    /// Only confirmed money can be decided about.
    #[error("the deposit is {}, not confirmed: it can be decided about once it is", state.as_str())]
    DepositNotConfirmed {
        /// How far it has come.
        state: DepositState,
    },
    /// It counts for the payment already; to send such money back is a refund.
    #[error("the deposit is not held: it counts for the payment, and to send it back is a refund of that")]
    DepositNotHeld,
    /// The money was sent back.
    #[error("the deposit was refunded by transaction {0}")]
    DepositRefunded(String),
    /// It is another payment's by decision, which books it.
    #[error("the deposit was assigned to payment {0}, which has it now: what is to become of it is decided there")]
    DepositReassigned(PaymentId),
    /// Money is not carried from one merchant to another.
    #[error(
        "the deposit is held by a payment of another merchant: it can be assigned to that merchant's payments, or refunded"
    )]
    OtherMerchant,
    /// A decision about a deposit that contradicts the payment or itself.
    #[error("invalid decision: {0}")]
    InvalidDecision(&'static str),
    /// Amounts that cannot be added.
    #[error("amounts cannot be added")]
    Money(#[from] MoneyError),
}
