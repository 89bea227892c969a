//! What has happened to a payment. These shapes are kept for ever: a change is a new version and an upcaster.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::refund::{RefundCancelled, RefundCompleted, RefundRequested};
use super::state::{DepositState, Disposition, Flags, PaymentStatus, PaymentTerms};
use crate::Timestamp;
use crate::chain::{BlockRef, DepositKey};
use crate::ids::{MerchantId, PaymentId};
use crate::money::Money;
use crate::upcast;

/// An event of one payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PaymentEvent {
    /// The payment was opened.
    PaymentCreated(Box<PaymentCreated>),
    /// A deposit was seen in a block for the first time.
    DepositDetected(Box<DepositDetected>),
    /// A deposit that had been orphaned, or stood in another block, is in this block now.
    DepositReincluded(Box<DepositReincluded>),
    /// A deposit became as deep or as final as the policy asks: the money is booked.
    DepositConfirmed(Box<DepositConfirmed>),
    /// A deposit's block left the canonical chain; if the money was booked, it is booked back.
    DepositOrphaned(Box<DepositOrphaned>),
    /// An operator decided that a deposit which did not count is this payment's: it is booked from suspense to the merchant.
    DepositAssigned(Box<DepositAssigned>),
    /// An operator decided that a deposit which is held here is another payment's, whose own `DepositAssigned` books it from
    /// suspense to the merchant.
    HeldDepositReassigned(Box<HeldDepositReassigned>),
    /// What the chain did with such a deposit afterwards, which the other payment was told of and books.
    ReassignedDepositReported(Box<ReassignedDepositReported>),
    /// An operator recorded that a held deposit was sent back: it is booked out of suspense.
    HeldDepositRefunded(Box<HeldDepositRefunded>),
    /// Confirmed money was set aside to be sent back.
    RefundRequested(Box<RefundRequested>),
    /// That money is said to have been sent: it is booked.
    RefundCompleted(Box<RefundCompleted>),
    /// That money stays.
    RefundCancelled(Box<RefundCancelled>),
    /// Something arrived, not enough.
    PaymentPartiallyPaid(Standing),
    /// Enough was seen; confirmations are awaited.
    PaymentConfirming(Standing),
    /// Enough was confirmed.
    PaymentCompleted(Standing),
    /// Still completed, with other flags or amounts: more money came, a surplus went, a part was refunded.
    PaymentAdjusted(Standing),
    /// The deadline passed without enough money.
    PaymentExpired(Standing),
    /// The merchant cancelled it.
    PaymentCancelled(Standing),
    /// Money came that the policy does not credit; somebody must decide.
    PaymentHeld(Standing),
    /// It had been completed and lost its money to a reorganization.
    PaymentReversed(Standing),
    /// It lost its money before completion and waits for payment again.
    PaymentReopened(Standing),
    /// All its confirmed money was sent back.
    PaymentRefunded(Standing),
}

/// See [`PaymentEvent::PaymentCreated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCreated {
    /// The payment.
    pub payment_id: PaymentId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// The merchant's own name for it.
    pub order_id: String,
    /// What is asked for and under which policy; never changes.
    pub terms: PaymentTerms,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub created_at: Timestamp,
}

/// See [`PaymentEvent::DepositDetected`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositDetected {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// Whose payment it is; `None` in events that were written before 1.1, which made no pending entry.
    pub merchant_id: Option<MerchantId>,
    /// How much of which asset.
    pub amount: Money,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// Where it stands.
    pub block: BlockRef,
    /// Whether it counts for the payment.
    pub disposition: Disposition,
    /// When the watcher saw it.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::DepositReincluded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositReincluded {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// Whose payment it is; `None` in events that were written before 1.1, which made no pending entry.
    pub merchant_id: Option<MerchantId>,
    /// How much of which asset, as it stands now.
    pub amount: Money,
    /// Where it stands now.
    pub block: BlockRef,
    /// Whether it counts for the payment, judged by the new block's time.
    pub disposition: Disposition,
    /// Since 1.2: when an operator assigned it to the payment, from which on the money counts; left out if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Timestamp>,
    /// When the watcher saw it.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::DepositConfirmed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositConfirmed {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// Whose payment it is.
    pub merchant_id: MerchantId,
    /// How much of which asset is booked.
    pub amount: Money,
    /// Where it stands.
    pub block: BlockRef,
    /// Booked to the merchant or to suspense.
    pub disposition: Disposition,
    /// Blocks from it to the head, both counted.
    pub confirmations: u32,
    /// Whether its detection made a pending entry, which is released now.
    pub releases_pending: bool,
    /// Since 1.2: when an operator assigned it to the payment, from which on the money counts; left out if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Timestamp>,
    /// When the watcher saw it.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::DepositOrphaned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositOrphaned {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// Whose payment it is.
    pub merchant_id: MerchantId,
    /// How much of which asset.
    pub amount: Money,
    /// Where it stood.
    pub block: BlockRef,
    /// Where it was (to be) booked.
    pub disposition: Disposition,
    /// Whether it had been booked, so that it is booked back.
    pub was_confirmed: bool,
    /// Whether its detection made a pending entry, which is released now.
    pub releases_pending: bool,
    /// Since 1.2: when an operator assigned it to the payment, from which on the money counts; left out if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Timestamp>,
    /// When the watcher saw it.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::DepositAssigned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositAssigned {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision that was known.
    pub revision: u64,
    /// Whose payment it is.
    pub merchant_id: MerchantId,
    /// How much of the payment's asset.
    pub amount: Money,
    /// The address that received it, where that is another than the payment's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// Where it stands.
    pub block: BlockRef,
    /// Whether this payment hears of it first now: it was no payment's, or another payment held it; else it was held here.
    pub was_unmatched: bool,
    /// Since 1.1: the payment that held it, whose stream says since when it is this one's; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_payment_id: Option<PaymentId>,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::HeldDepositReassigned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDepositReassigned {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision that was known.
    pub revision: u64,
    /// Whose payments both are.
    pub merchant_id: MerchantId,
    /// The payment that has it from now on.
    pub to_payment_id: PaymentId,
    /// How much of which asset.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::ReassignedDepositReported`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignedDepositReported {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// Whose payments both are.
    pub merchant_id: MerchantId,
    /// The payment that has it, and books it.
    pub to_payment_id: PaymentId,
    /// How much of which asset.
    pub amount: Money,
    /// Where it stands, or stood.
    pub block: BlockRef,
    /// Why it is held here.
    pub disposition: Disposition,
    /// How far it has come.
    pub state: DepositState,
    /// Blocks from it to the head, both counted; 0 when its block left the canonical chain.
    pub confirmations: u32,
    /// When the watcher saw it.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`PaymentEvent::HeldDepositRefunded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDepositRefunded {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision that was known.
    pub revision: u64,
    /// Whose payment it is.
    pub merchant_id: MerchantId,
    /// How much of which asset was sent back.
    pub amount: Money,
    /// The transaction that is said to have sent it.
    pub transaction: String,
    /// What the network took for it, in the chain's native coin.
    pub network_fee: Option<Money>,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// How a payment stands after a change: the same for every status event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The status it has now.
    pub status: PaymentStatus,
    /// The flags it has now.
    pub flags: Flags,
    /// Credited deposits that stand in the canonical chain, confirmed or not.
    pub amount_received: Money,
    /// Credited deposits that are confirmed.
    pub amount_confirmed: Money,
    /// Of them, what was sent back; left out when that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_refunded: Option<Money>,
    /// The transaction that caused the change, if one did: a deposit's, or that of a completed refund.
    pub transaction_hash: Option<String>,
    /// Confirmations of a deposit's transaction when it did; 0 without one.
    pub confirmations: u32,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

impl PaymentEvent {
    /// The names of the events that announce no status: who waits for a status need not read them.
    pub const WITHOUT_STANDING: [&str; 12] = [
        "PaymentCreated",
        "DepositDetected",
        "DepositReincluded",
        "DepositConfirmed",
        "DepositOrphaned",
        "DepositAssigned",
        "HeldDepositReassigned",
        "ReassignedDepositReported",
        "HeldDepositRefunded",
        "RefundRequested",
        "RefundCompleted",
        "RefundCancelled",
    ];

    /// The standing that a status event announces; `None` for creation, deposit and refund events.
    #[must_use]
    pub const fn standing(&self) -> Option<&Standing> {
        match self {
            Self::PaymentPartiallyPaid(standing)
            | Self::PaymentConfirming(standing)
            | Self::PaymentCompleted(standing)
            | Self::PaymentAdjusted(standing)
            | Self::PaymentExpired(standing)
            | Self::PaymentCancelled(standing)
            | Self::PaymentHeld(standing)
            | Self::PaymentReversed(standing)
            | Self::PaymentReopened(standing)
            | Self::PaymentRefunded(standing) => Some(standing),
            Self::PaymentCreated(_)
            | Self::DepositDetected(_)
            | Self::DepositReincluded(_)
            | Self::DepositConfirmed(_)
            | Self::DepositOrphaned(_)
            | Self::DepositAssigned(_)
            | Self::HeldDepositReassigned(_)
            | Self::ReassignedDepositReported(_)
            | Self::HeldDepositRefunded(_)
            | Self::RefundRequested(_)
            | Self::RefundCompleted(_)
            | Self::RefundCancelled(_) => None,
        }
    }

    /// The event's name in storage and subjects.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PaymentCreated(_) => "PaymentCreated",
            Self::DepositDetected(_) => "DepositDetected",
            Self::DepositReincluded(_) => "DepositReincluded",
            Self::DepositConfirmed(_) => "DepositConfirmed",
            Self::DepositOrphaned(_) => "DepositOrphaned",
            Self::DepositAssigned(_) => "DepositAssigned",
            Self::HeldDepositReassigned(_) => "HeldDepositReassigned",
            Self::ReassignedDepositReported(_) => "ReassignedDepositReported",
            Self::HeldDepositRefunded(_) => "HeldDepositRefunded",
            Self::RefundRequested(_) => "RefundRequested",
            Self::RefundCompleted(_) => "RefundCompleted",
            Self::RefundCancelled(_) => "RefundCancelled",
            Self::PaymentPartiallyPaid(_) => "PaymentPartiallyPaid",
            Self::PaymentConfirming(_) => "PaymentConfirming",
            Self::PaymentCompleted(_) => "PaymentCompleted",
            Self::PaymentAdjusted(_) => "PaymentAdjusted",
            Self::PaymentExpired(_) => "PaymentExpired",
            Self::PaymentCancelled(_) => "PaymentCancelled",
            Self::PaymentHeld(_) => "PaymentHeld",
            Self::PaymentReversed(_) => "PaymentReversed",
            Self::PaymentReopened(_) => "PaymentReopened",
            Self::PaymentRefunded(_) => "PaymentRefunded",
        }
    }
}

impl DomainEvent for PaymentEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        upcast::current_version(self.name()).to_owned()
    }
}
