//! What can be asked of a payment. Commands carry ids and the time.

use serde::{Deserialize, Serialize};

use super::state::PaymentTerms;
use crate::Timestamp;
use crate::chain::{BlockRef, DepositKey};
use crate::ids::{MerchantId, PaymentId};
use crate::money::Money;

/// A command to one payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum PaymentCommand {
    /// Open the payment.
    Create(Box<CreatePayment>),
    /// A watcher says in what state a deposit is.
    ObserveDeposit(Box<DepositReport>),
    /// The deadline has passed.
    Expire {
        /// Now.
        at: Timestamp,
    },
    /// The merchant no longer wants the money.
    Cancel {
        /// Now.
        at: Timestamp,
    },
}

/// Opens a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePayment {
    /// The new payment's id.
    pub payment_id: PaymentId,
    /// Whose it is.
    pub merchant_id: MerchantId,
    /// The merchant's own name for it, unique per merchant.
    pub order_id: String,
    /// What is asked for and under which policy.
    pub terms: PaymentTerms,
    /// Now.
    pub at: Timestamp,
}

/// In what state a watcher has found a deposit. The whole fact, so that reports may be lost, doubled or reordered:
/// the one with the highest revision is the truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositReport {
    /// Which deposit.
    pub deposit: DepositKey,
    /// Grows with every report of this chain's watcher; an equal or lower one than the last known changes nothing.
    pub revision: u64,
    /// How much of which asset arrived.
    pub amount: Money,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// The block that holds it (for [`DepositStage::Orphaned`]: that held it).
    pub block: BlockRef,
    /// How far it has come.
    pub stage: DepositStage,
    /// When the watcher saw this.
    pub at: Timestamp,
}

/// How far a deposit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepositStage {
    /// In a block of the canonical chain.
    Seen {
        /// Blocks from it to the head, both counted.
        confirmations: u32,
    },
    /// As deep or as final as the payment's policy asks.
    Confirmed {
        /// Blocks from it to the head, both counted.
        confirmations: u32,
    },
    /// Its block is no longer part of the canonical chain.
    Orphaned,
}
