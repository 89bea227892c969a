//! The state that a payment's events fold into.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::refund::Refund;
use crate::Timestamp;
use crate::chain::{BlockRef, ChainName, DepositKey};
use crate::ids::{MerchantId, PaymentId, RefundId};
use crate::money::{Asset, Money, Percentage};

/// A payment, opened or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment(pub(super) Option<Box<PaymentState>>);

impl Payment {
    /// The state, `None` before the payment was opened.
    #[must_use]
    pub fn state(&self) -> Option<&PaymentState> {
        self.0.as_deref()
    }
}

/// An opened payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentState {
    /// Its id.
    pub id: PaymentId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// The merchant's own name for it.
    pub order_id: String,
    /// What is asked for and under which policy.
    pub terms: PaymentTerms,
    /// Status as last announced.
    pub status: PaymentStatus,
    /// Flags as last announced.
    pub flags: Flags,
    /// Every deposit ever seen, also orphaned ones.
    pub deposits: BTreeMap<DepositKey, Deposit>,
    /// Every refund ever asked for, also cancelled ones.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// The deadline passed without enough money.
    pub deadline_passed: bool,
    /// When the merchant cancelled it.
    pub cancelled_at: Option<Timestamp>,
    /// When it was completed for the first time.
    pub completed_at: Option<Timestamp>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When its last event happened.
    pub updated_at: Timestamp,
}

/// What is asked for. Frozen at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentTerms {
    /// How much, more than nothing.
    pub amount: Money,
    /// Of what; `amount.asset()` is its id.
    pub asset: Asset,
    /// On which chain.
    pub chain: ChainName,
    /// To which address of ours, in the chain's usual text form.
    pub address: String,
    /// Where to announce changes, besides the merchant's own webhook URL.
    pub callback_url: Option<String>,
    /// The deadline, by the chain's time.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub expires_at: Timestamp,
    /// The rules that apply.
    pub policy: PaymentPolicy,
}

/// The rules that apply to a payment. Frozen at creation, so that a later change of settings rewrites nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentPolicy {
    /// How much less than the amount is still enough.
    pub underpayment_tolerance: Percentage,
    /// How deep a deposit must be, at least 1.
    pub required_confirmations: u32,
    /// What becomes of money in blocks after the deadline.
    pub late_deposits: LateDeposits,
}

/// What becomes of money that arrives after the deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LateDeposits {
    /// It counts, and the payment is flagged `paid_late`.
    #[default]
    Accept,
    /// It is held for a decision.
    Hold,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Nothing arrived yet.
    Pending,
    /// Something arrived, not enough.
    PartiallyPaid,
    /// Enough arrived, confirmations are awaited.
    Confirming,
    /// Enough is confirmed.
    Completed,
    /// The deadline passed without enough money.
    Expired,
    /// Cancelled by the merchant.
    Cancelled,
    /// Money came that the policy does not credit.
    Held,
    /// Was completed and lost its money.
    Reversed,
    /// All its confirmed money was sent back.
    Refunded,
}

impl PaymentStatus {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::PartiallyPaid,
        Self::Confirming,
        Self::Completed,
        Self::Expired,
        Self::Cancelled,
        Self::Held,
        Self::Reversed,
        Self::Refunded,
    ];

    /// The name in the API and in tables, for example `partially_paid`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::PartiallyPaid => "partially_paid",
            Self::Confirming => "confirming",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Held => "held",
            Self::Reversed => "reversed",
            Self::Refunded => "refunded",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// What else there is to say of a payment's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// It ended with some money, not enough.
    pub underpaid: bool,
    /// It completed with more than was asked.
    pub overpaid: bool,
    /// It needed money from after the deadline to complete.
    pub paid_late: bool,
    /// A part of its money was sent back; left out of stored events when not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partially_refunded: bool,
}

impl Flags {
    /// The names of the flags that are set, in a fixed order.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (self.underpaid, "underpaid"),
            (self.overpaid, "overpaid"),
            (self.paid_late, "paid_late"),
            (self.partially_refunded, "partially_refunded"),
        ];
        all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
    }
}

/// A deposit as last reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// How much of which asset.
    pub amount: Money,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// The block that holds it, or held it.
    pub block: BlockRef,
    /// How far it has come.
    pub state: DepositState,
    /// Whether it counts.
    pub disposition: Disposition,
    /// The revision of the report that says so.
    pub revision: u64,
    /// When it was first seen.
    pub detected_at: Timestamp,
    /// Whether the event that says it was seen made a pending entry, which is to be released.
    pub books_pending: bool,
    /// What an operator decided about it, while it did not count.
    pub decision: Option<DepositDecision>,
}

impl Deposit {
    /// Since when it counts by decision, if it does not count by what it is.
    #[must_use]
    pub const fn assigned_at(&self) -> Option<Timestamp> {
        match &self.decision {
            Some(DepositDecision::Assigned { at }) => Some(*at),
            Some(DepositDecision::Reassigned { .. } | DepositDecision::Refunded { .. }) | None => None,
        }
    }

    /// Whether it stands in the canonical chain.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state != DepositState::Orphaned
    }
}

/// What an operator decided about a deposit that did not count. Final, whatever the chain does with it afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepositDecision {
    /// It counts.
    Assigned {
        /// Since when.
        at: Timestamp,
    },
    /// It is another payment's, which books it from then on.
    Reassigned {
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
    },
}

/// How far a deposit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepositState {
    /// In a block.
    Seen,
    /// Deep or final enough; booked.
    Confirmed,
    /// Its block left the canonical chain.
    Orphaned,
}

impl DepositState {
    /// The name in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Confirmed => "confirmed",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Whether a deposit counts for its payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// It is credited to the merchant.
    Credit,
    /// It is held in suspense.
    Hold(HoldReason),
}

/// Why a deposit does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Another asset, or another chain, than the payment asks for.
    WrongAsset,
    /// After the deadline, and the policy holds such money.
    Late,
    /// The payment had been cancelled.
    Cancelled,
}

impl HoldReason {
    /// The name in the API and in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongAsset => "wrong_asset",
            Self::Late => "late",
            Self::Cancelled => "cancelled",
        }
    }
}
