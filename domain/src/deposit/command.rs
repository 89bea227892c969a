//! What can be asked of unmatched money. Commands carry ids and the time.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::ids::PaymentId;
use crate::money::Money;
use crate::payment::DepositReport;

/// A command to one unmatched deposit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum UnmatchedDepositCommand {
    /// A watcher says in what state it is.
    Observe(Box<ObserveUnmatched>),
    /// An operator says which payment it was meant for.
    Assign(AssignUnmatched),
    /// An operator says that it was sent back.
    Refund(Box<RefundUnmatched>),
}

/// What a watcher has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveUnmatched {
    /// The address of ours that received it.
    pub address: String,
    /// In what state it is. Unmatched money is reported when it is confirmed and when it is orphaned after that.
    pub report: DepositReport,
    /// The payment that was told of this report before, if the money was assigned to one.
    pub told: Option<PaymentId>,
}

/// Says which payment the money was meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignUnmatched {
    /// The payment. Whether it can take the money is its own to say, and to be asked before.
    pub payment_id: PaymentId,
    /// Why; 1 to 500 bytes. Kept for ever: no personal data.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// Says that the money was sent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundUnmatched {
    /// The transaction that sent it, as the chain names it.
    pub transaction: String,
    /// What the network took for it from an address of ours, in the chain's native coin.
    pub network_fee: Option<Money>,
    /// Why; 1 to 500 bytes. Kept for ever: no personal data.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}
