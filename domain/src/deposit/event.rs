//! What has happened to unmatched money. These shapes are kept for ever: a change is a new version and an upcaster.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::chain::{BlockRef, DepositKey};
use crate::ids::PaymentId;
use crate::money::Money;
use crate::upcast;

/// An event of one unmatched deposit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnmatchedDepositEvent {
    /// Confirmed money stands at an address that is no payment's: it is booked to suspense.
    UnmatchedDepositRecorded(Box<UnmatchedDepositRecorded>),
    /// Its block left the canonical chain: it is booked back.
    UnmatchedDepositOrphaned(Box<UnmatchedDepositOrphaned>),
    /// An operator assigned it to a payment, whose own event books it from suspense to the merchant.
    UnmatchedDepositAssigned(Box<UnmatchedDepositAssigned>),
    /// An operator recorded that it was sent back: it is booked out of suspense.
    UnmatchedDepositRefunded(Box<UnmatchedDepositRefunded>),
}

/// See [`UnmatchedDepositEvent::UnmatchedDepositRecorded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedDepositRecorded {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// The address of ours that received it.
    pub address: String,
    /// How much of which asset.
    pub amount: Money,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// Where it stands.
    pub block: BlockRef,
    /// Blocks from it to the head, both counted.
    pub confirmations: u32,
    /// The payment that it was assigned to before, which books it instead; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<PaymentId>,
    /// When the watcher saw this.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`UnmatchedDepositEvent::UnmatchedDepositOrphaned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedDepositOrphaned {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The watcher's revision.
    pub revision: u64,
    /// How much of which asset is booked back.
    pub amount: Money,
    /// Where it stood.
    pub block: BlockRef,
    /// The payment that it was assigned to before, which books it instead; left out without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<PaymentId>,
    /// When the watcher saw this.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`UnmatchedDepositEvent::UnmatchedDepositAssigned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedDepositAssigned {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The revision that was known.
    pub revision: u64,
    /// The payment.
    pub payment_id: PaymentId,
    /// How much of which asset.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`UnmatchedDepositEvent::UnmatchedDepositRefunded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedDepositRefunded {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The revision that was known.
    pub revision: u64,
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

impl UnmatchedDepositEvent {
    /// The event's name in storage and subjects.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnmatchedDepositRecorded(_) => "UnmatchedDepositRecorded",
            Self::UnmatchedDepositOrphaned(_) => "UnmatchedDepositOrphaned",
            Self::UnmatchedDepositAssigned(_) => "UnmatchedDepositAssigned",
            Self::UnmatchedDepositRefunded(_) => "UnmatchedDepositRefunded",
        }
    }

    /// Which deposit it is about.
    #[must_use]
    pub const fn deposit(&self) -> &DepositKey {
        match self {
            Self::UnmatchedDepositRecorded(event) => &event.deposit,
            Self::UnmatchedDepositOrphaned(event) => &event.deposit,
            Self::UnmatchedDepositAssigned(event) => &event.deposit,
            Self::UnmatchedDepositRefunded(event) => &event.deposit,
        }
    }

    /// The block that holds, or held, the money, where the event names it.
    #[must_use]
    pub const fn block(&self) -> Option<&BlockRef> {
        match self {
            Self::UnmatchedDepositRecorded(event) => Some(&event.block),
            Self::UnmatchedDepositOrphaned(event) => Some(&event.block),
            Self::UnmatchedDepositAssigned(_) | Self::UnmatchedDepositRefunded(_) => None,
        }
    }

    /// When it happened: when the watcher saw it, or the operator decided.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::UnmatchedDepositRecorded(event) => event.at,
            Self::UnmatchedDepositOrphaned(event) => event.at,
            Self::UnmatchedDepositAssigned(event) => event.at,
            Self::UnmatchedDepositRefunded(event) => event.at,
        }
    }

    /// The watcher's revision that was known.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        match self {
            Self::UnmatchedDepositRecorded(event) => event.revision,
            Self::UnmatchedDepositOrphaned(event) => event.revision,
            Self::UnmatchedDepositAssigned(event) => event.revision,
            Self::UnmatchedDepositRefunded(event) => event.revision,
        }
    }
}

impl DomainEvent for UnmatchedDepositEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        upcast::current_version(self.name()).to_owned()
    }
}
