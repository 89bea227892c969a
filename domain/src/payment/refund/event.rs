//! What has happened to a refund. Each event says whose money it is and on which chain, so that the books follow from it
//! alone.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::chain::ChainName;
use crate::ids::{MerchantId, RefundId};
use crate::money::Money;

/// See [`crate::payment::PaymentEvent::RefundRequested`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequested {
    /// Which refund.
    pub refund_id: RefundId,
    /// Whose money it is.
    pub merchant_id: MerchantId,
    /// On which chain.
    pub chain: ChainName,
    /// How much of the payment's asset.
    pub amount: Money,
    /// To which address.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`crate::payment::PaymentEvent::RefundCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundCompleted {
    /// Which refund.
    pub refund_id: RefundId,
    /// Whose money it was.
    pub merchant_id: MerchantId,
    /// On which chain.
    pub chain: ChainName,
    /// How much of the payment's asset, as requested.
    pub amount: Money,
    /// The transaction that is said to have sent it.
    pub transaction: String,
    /// What the network took for it, in the chain's native coin, if that is known.
    pub network_fee: Option<Money>,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}

/// See [`crate::payment::PaymentEvent::RefundCancelled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundCancelled {
    /// Which refund.
    pub refund_id: RefundId,
    /// Whose money it is.
    pub merchant_id: MerchantId,
    /// On which chain.
    pub chain: ChainName,
    /// How much of the payment's asset, as requested.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(deserialize_with = "crate::timestamp::deserialize")]
    pub at: Timestamp,
}
