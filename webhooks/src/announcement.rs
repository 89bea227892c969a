//! What a webhook says: the flat body that receivers read, made once from the ledger and the same in every attempt.

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use wopay_domain::payment::{PaymentCreated, PaymentEvent, Standing};
use wopay_domain::{MerchantId, PaymentId};

use crate::sign::SigningSecret;

/// Which of a payment's two targets a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The merchant's own webhook URL.
    Endpoint,
    /// The payment's `callback_url`. Also when both are the same URL, which is told once.
    Callback,
}

impl Target {
    /// The name in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Callback => "callback",
        }
    }
}

/// The identity of a delivery: a function of the event and the target, the same whenever it is planned.
///
/// Built from the payment's id and not from the ledger's position: a receiver that serves merchants of two ledgers must
/// not take two messages for one.
pub(crate) fn delivery_id(payment: PaymentId, sequence: i64, target: Target) -> Uuid {
    let digest = Sha256::new()
        .chain_update(b"wopay-webhook/1\0")
        .chain_update(payment.as_uuid().as_bytes())
        .chain_update(sequence.to_be_bytes())
        .chain_update(target.as_str())
        .finalize();
    let mut bytes = [0u8; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The `webhook-id` of a delivery, also `id` in its body: `msg_` and 32 hex digits.
#[must_use]
pub fn message_id(delivery: Uuid) -> String {
    format!("msg_{}", delivery.simple())
}

/// The webhook's name for a payment event; `None` for events that are not announced: creation (its caller has the
/// answer) single deposits and steps of refunds (their effect on the payment is announced).
#[must_use]
pub const fn event_name(event: &PaymentEvent) -> Option<&'static str> {
    match event {
        PaymentEvent::PaymentPartiallyPaid(_) => Some("payment.partially_paid"),
        PaymentEvent::PaymentConfirming(_) => Some("payment.confirming"),
        PaymentEvent::PaymentCompleted(_) => Some("payment.completed"),
        PaymentEvent::PaymentAdjusted(_) => Some("payment.adjusted"),
        PaymentEvent::PaymentExpired(_) => Some("payment.expired"),
        PaymentEvent::PaymentCancelled(_) => Some("payment.cancelled"),
        PaymentEvent::PaymentHeld(_) => Some("payment.held"),
        PaymentEvent::PaymentReversed(_) => Some("payment.reversed"),
        PaymentEvent::PaymentReopened(_) => Some("payment.reopened"),
        PaymentEvent::PaymentRefunded(_) => Some("payment.refunded"),
        PaymentEvent::PaymentCreated(_)
        | PaymentEvent::DepositDetected(_)
        | PaymentEvent::DepositReincluded(_)
        | PaymentEvent::DepositConfirmed(_)
        | PaymentEvent::DepositOrphaned(_)
        | PaymentEvent::DepositAssigned(_)
        | PaymentEvent::HeldDepositReassigned(_)
        | PaymentEvent::ReassignedDepositReported(_)
        | PaymentEvent::HeldDepositRefunded(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::RefundCompleted(_)
        | PaymentEvent::RefundCancelled(_) => None,
    }
}

/// The body without its signature. Stored as JSON beside the delivery; a field that is added later needs a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// `payment.completed` and so on; see [`event_name`].
    pub event: String,
    /// The payment.
    pub payment_id: PaymentId,
    /// The merchant's own name for it.
    pub order_id: String,
    /// What was asked for: a decimal string with all of the asset's decimals.
    pub amount: String,
    /// The asset's symbol.
    pub currency: String,
    /// The chain's name.
    pub blockchain: String,
    /// The status after the event.
    pub status: String,
    /// The flags after the event, in a fixed order.
    pub flags: Vec<String>,
    /// What has arrived and counts, confirmed or not; written like `amount`.
    pub amount_paid: String,
    /// What was sent back of it; written like `amount`, left out when that is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_refunded: Option<String>,
    /// The transaction that caused the change, if one did: a deposit's, or that of a refund.
    pub transaction_hash: Option<String>,
    /// Confirmations of a deposit's transaction when it did.
    pub confirmations: u32,
    /// When the event happened: RFC 3339, `Z`.
    pub timestamp: String,
    /// The message's id, as in the header `webhook-id`.
    pub id: String,
    /// The event's place in the payment's history: what has a lower one than the last seen is older news.
    pub sequence: i64,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    announcement: &'a Announcement,
    signature: String,
}

impl Announcement {
    /// What `name` says of a payment that was opened as `created` and stands as `standing`.
    pub(crate) fn new(
        name: &str,
        created: &PaymentCreated,
        standing: &Standing,
        sequence: i64,
        delivery: Uuid,
    ) -> Self {
        let asset = &created.terms.asset;
        Self {
            event: name.to_owned(),
            payment_id: created.payment_id,
            order_id: created.order_id.clone(),
            amount: asset.format(created.terms.amount.minor()),
            currency: asset.symbol.clone(),
            blockchain: created.terms.chain.to_string(),
            status: standing.status.as_str().to_owned(),
            flags: standing.flags.names().into_iter().map(str::to_owned).collect(),
            amount_paid: asset.format(standing.amount_received.minor()),
            amount_refunded: standing.amount_refunded.as_ref().map(|refunded| asset.format(refunded.minor())),
            transaction_hash: standing.transaction_hash.clone(),
            confirmations: standing.confirmations,
            timestamp: standing.at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            id: message_id(delivery),
            sequence,
        }
    }

    /// The bytes to send: the announcement and its `signature`, hex HMAC-SHA256 over
    /// `timestamp.event.payment_id.order_id.amount.currency.status.transaction_hash`.
    ///
    /// # Errors
    /// Never with these fields; serialization is fallible by type.
    pub fn render(&self, secret: &SigningSecret) -> Result<Vec<u8>, serde_json::Error> {
        let signature = secret.sign_fields(&[
            &self.timestamp,
            &self.event,
            &self.payment_id.to_string(),
            &self.order_id,
            &self.amount,
            &self.currency,
            &self.status,
            self.transaction_hash.as_deref().unwrap_or_default(),
        ]);
        serde_json::to_vec(&Body { announcement: self, signature })
    }
}

/// What a delivery row needs beside the announcement.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) id: Uuid,
    pub(crate) merchant_id: MerchantId,
    pub(crate) position: i64,
    pub(crate) target: Target,
    pub(crate) url: String,
    pub(crate) origin: String,
    pub(crate) announcement: Announcement,
}
