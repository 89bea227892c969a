//! Refunds: money of a payment that goes back to whoever paid it.
//!
//! A refund is asked for, and then either recorded as sent, with its transaction, or cancelled. From the request on its
//! money is spoken for: what is refunded can never be more than what was credited and confirmed when it was asked for.
//! Whether the transaction is on the chain is not checked here; it is a statement of whoever completes the refund.

mod decide;
mod event;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::money::Money;

pub(super) use decide::{cancel, complete, request};
pub use event::{RefundCancelled, RefundCompleted, RefundRequested};

/// The longest `to` and `reason` of a refund, in bytes; the longest transaction hash too.
const TEXT_BYTES_MAX: usize = 500;

/// A refund as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// How much of the payment's asset.
    pub amount: Money,
    /// To which address, in the chain's usual text form.
    pub to: String,
    /// Why, in the words of whoever asked for it.
    pub reason: String,
    /// How far it has come.
    pub state: RefundState,
    /// When it was asked for.
    pub requested_at: Timestamp,
}

impl Refund {
    /// Whether its money is spoken for: asked for or sent, not cancelled.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self.state, RefundState::Cancelled { .. })
    }
}

/// How far a refund has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Asked for; the money is set aside.
    Requested,
    /// Recorded as sent.
    Completed {
        /// The transaction that is said to have sent it.
        transaction: String,
        /// What the network took for it, in the chain's native coin, if that is known.
        network_fee: Option<Money>,
        /// When.
        at: Timestamp,
    },
    /// Given up; the money is the merchant's again.
    Cancelled {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

impl RefundState {
    /// `requested`, `completed` or `cancelled`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Completed { .. } => "completed",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}
