//! What can be asked of a payment. Commands carry ids and the time.

use serde::{Deserialize, Serialize};

use super::state::PaymentTerms;
use crate::Timestamp;
use crate::chain::{BlockRef, DepositKey};
use crate::ids::{MerchantId, PaymentId, RefundId};
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
    /// An operator says that a held deposit, or money that was no payment's, is this payment's.
    AssignDeposit(Box<AssignDeposit>),
    /// An operator says that a held deposit is another payment's.
    ReassignDeposit(Box<ReassignDeposit>),
    /// A watcher says in what state a deposit is that was reassigned, and the payment which has it now was told.
    ObserveToldDeposit(Box<ToldDeposit>),
    /// An operator says that a held deposit was sent back.
    RefundHeldDeposit(Box<RefundHeldDeposit>),
    /// Set confirmed money aside, to be sent back.
    RequestRefund(Box<RequestRefund>),
    /// Record that a refund was sent.
    CompleteRefund(Box<CompleteRefund>),
    /// Give a refund up.
    CancelRefund {
        /// Which refund.
        refund_id: RefundId,
        /// Why.
        reason: String,
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

/// Credits a deposit that did not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignDeposit {
    /// Which deposit.
    pub deposit: DepositKey,
    /// What it is, if the payment has never seen it: confirmed money that is in the books as nobody's, or as held.
    pub unmatched: Option<UnmatchedMoney>,
    /// Why; 1 to 500 bytes. Kept for ever: no personal data.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// Confirmed money that is in the books as nobody's, or as held by another payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmatchedMoney {
    /// The last revision that is known of it.
    pub revision: u64,
    /// How much of which asset.
    pub amount: Money,
    /// The address that received it, in canonical text form.
    pub address: String,
    /// The sender, where the chain names one.
    pub from: Option<String>,
    /// Where it stands.
    pub block: BlockRef,
    /// The payment that held it and gave it away; `None`: it was no payment's.
    pub held_by: Option<Holder>,
}

/// A payment that held money which is another's by decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The payment.
    pub payment_id: PaymentId,
    /// Whose it is.
    pub merchant_id: MerchantId,
}

/// Gives a held deposit to another payment of the same merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReassignDeposit {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The payment. Whether it can take the money is its own to say, and to be asked before.
    pub to_payment_id: PaymentId,
    /// Why; 1 to 500 bytes. Kept for ever: no personal data.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// A report of a deposit that was reassigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldDeposit {
    /// The report.
    pub report: DepositReport,
    /// The payment that was told of it before.
    pub told: PaymentId,
}

/// Records that a held deposit was sent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundHeldDeposit {
    /// Which deposit.
    pub deposit: DepositKey,
    /// The transaction that sent it, as the chain names it.
    pub transaction: String,
    /// What the network took for it from an address of ours, in the chain's native coin.
    pub network_fee: Option<Money>,
    /// Why; 1 to 500 bytes. Kept for ever: no personal data.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// Sets confirmed money aside, to be sent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRefund {
    /// The new refund's id; asking again with the same one and the same terms changes nothing.
    pub refund_id: RefundId,
    /// How much of the payment's asset.
    pub amount: Money,
    /// To which address, in the chain's usual text form; 1 to 500 bytes.
    pub to: String,
    /// Why; 1 to 500 bytes. Kept for ever: no personal data.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// Records that a refund was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteRefund {
    /// Which refund.
    pub refund_id: RefundId,
    /// The transaction that sent it, as the chain names it.
    pub transaction: String,
    /// What the network took for it from an address of ours, in the chain's native coin.
    pub network_fee: Option<Money>,
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
