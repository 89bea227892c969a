//! The state that an unmatched deposit's events fold into.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::chain::{BlockRef, DepositKey};
use crate::ids::PaymentId;
use crate::money::Money;

/// An unmatched deposit, recorded or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedDeposit(pub(super) Option<Box<UnmatchedDepositState>>);

impl UnmatchedDeposit {
    /// The state, `None` before it was recorded.
    #[must_use]
    pub fn state(&self) -> Option<&UnmatchedDepositState> {
        self.0.as_deref()
    }
}

/// A recorded unmatched deposit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedDepositState {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The address of ours that received it.
    pub address: String,
    /// How much of which asset.
    pub amount: Money,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// The block that holds it, or held it.
    pub block: BlockRef,
    /// Whether it stands in the canonical chain, and so in the books.
    pub is_live: bool,
    /// The revision of the report that says so.
    pub revision: u64,
    /// What was decided about it.
    pub outcome: Option<Outcome>,
    /// When it was recorded first.
    pub recorded_at: Timestamp,
}

impl UnmatchedDepositState {
    /// The payment that it was assigned to.
    #[must_use]
    pub const fn assigned_to(&self) -> Option<PaymentId> {
        match &self.outcome {
            Some(Outcome::Assigned { payment_id, .. }) => Some(*payment_id),
            Some(Outcome::Refunded { .. }) | None => None,
        }
    }
}

/// What was decided about unmatched money. Final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is a payment's.
    Assigned {
        /// The payment.
        payment_id: PaymentId,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// It was sent back.
    Refunded {
        /// The transaction that is said to have sent it.
        transaction: String,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
}
