//! Which events follow from a command about a refund.

use super::{Refund, RefundCancelled, RefundCompleted, RefundRequested, RefundState, TEXT_BYTES_MAX};
use crate::Timestamp;
use crate::ids::RefundId;
use crate::money::{AssetId, Money};
use crate::payment::command::{CompleteRefund, RequestRefund};
use crate::payment::error::PaymentError;
use crate::payment::event::PaymentEvent;
use crate::payment::state::{PaymentState, PaymentStatus};

/// Sets money aside. The same request again changes nothing.
pub(in crate::payment) fn request(
    payment: &PaymentState,
    request: RequestRefund,
) -> Result<Vec<PaymentEvent>, PaymentError> {
    if let Some(known) = payment.refunds.get(&request.refund_id) {
        let same = (&known.amount, &known.to, &known.reason) == (&request.amount, &request.to, &request.reason);
        return if same { Ok(Vec::new()) } else { Err(PaymentError::RefundExists(request.refund_id)) };
    }
    if request.amount.is_zero() {
        return Err(PaymentError::InvalidRefund("the amount must be more than zero"));
    }
    if request.amount.asset() != &payment.terms.asset.id {
        return Err(PaymentError::InvalidRefund("the amount must be of the payment's asset"));
    }
    check_text(&request.to, "the address must have 1 to 500 bytes")?;
    check_text(&request.reason, "the reason must have 1 to 500 bytes")?;
    check_refundable(payment.status)?;
    let refundable = payment.refundable()?;
    if request.amount.minor() > refundable.minor() {
        return Err(PaymentError::RefundTooLarge { requested: request.amount, refundable });
    }
    Ok(vec![PaymentEvent::RefundRequested(Box::new(RefundRequested {
        refund_id: request.refund_id,
        merchant_id: payment.merchant_id,
        chain: payment.terms.chain.clone(),
        amount: request.amount,
        to: request.to,
        reason: request.reason,
        at: request.at,
    }))])
}

/// Records that the money was sent. Always possible for a live refund, whatever became of the deposits meanwhile: money
/// that left has left.
pub(in crate::payment) fn complete(
    payment: &PaymentState,
    complete: CompleteRefund,
) -> Result<Vec<PaymentEvent>, PaymentError> {
    let refund = known(payment, complete.refund_id)?;
    match &refund.state {
        RefundState::Requested => {}
        RefundState::Completed { transaction, .. } if *transaction == complete.transaction => return Ok(Vec::new()),
        state @ (RefundState::Completed { .. } | RefundState::Cancelled { .. }) => {
            return Err(PaymentError::RefundClosed { refund: complete.refund_id, state: state.as_str() });
        }
    }
    check_text(&complete.transaction, "the transaction must have 1 to 500 bytes")?;
    if let Some(fee) = &complete.network_fee
        && fee.asset() != &AssetId::native(&payment.terms.chain)
    {
        return Err(PaymentError::InvalidRefund("the network fee must be in the chain's native coin"));
    }
    Ok(vec![PaymentEvent::RefundCompleted(Box::new(RefundCompleted {
        refund_id: complete.refund_id,
        merchant_id: payment.merchant_id,
        chain: payment.terms.chain.clone(),
        amount: refund.amount.clone(),
        transaction: complete.transaction,
        network_fee: complete.network_fee,
        at: complete.at,
    }))])
}

/// Gives a refund up.
pub(in crate::payment) fn cancel(
    payment: &PaymentState,
    refund_id: RefundId,
    reason: String,
    at: Timestamp,
) -> Result<Vec<PaymentEvent>, PaymentError> {
    let refund = known(payment, refund_id)?;
    match &refund.state {
        RefundState::Requested => {}
        RefundState::Cancelled { .. } => return Ok(Vec::new()),
        state @ RefundState::Completed { .. } => {
            return Err(PaymentError::RefundClosed { refund: refund_id, state: state.as_str() });
        }
    }
    check_text(&reason, "the reason must have 1 to 500 bytes")?;
    Ok(vec![PaymentEvent::RefundCancelled(Box::new(RefundCancelled {
        refund_id,
        merchant_id: payment.merchant_id,
        chain: payment.terms.chain.clone(),
        amount: refund.amount.clone(),
        reason,
        at,
    }))])
}

fn known(payment: &PaymentState, refund: RefundId) -> Result<&Refund, PaymentError> {
    payment.refunds.get(&refund).ok_or(PaymentError::RefundNotFound(refund))
}

/// While a payment waits for money, money must not leave it: the payer may be about to complete it.
fn check_refundable(status: PaymentStatus) -> Result<(), PaymentError> {
    match status {
        PaymentStatus::Pending | PaymentStatus::PartiallyPaid | PaymentStatus::Confirming => {
            Err(PaymentError::NotRefundable { status })
        }
        PaymentStatus::Completed
        | PaymentStatus::Expired
        | PaymentStatus::Cancelled
        | PaymentStatus::Held
        | PaymentStatus::Reversed
        | PaymentStatus::Refunded => Ok(()),
    }
}

fn check_text(text: &str, what: &'static str) -> Result<(), PaymentError> {
    if (1..=TEXT_BYTES_MAX).contains(&text.len()) { Ok(()) } else { Err(PaymentError::InvalidRefund(what)) }
}

impl PaymentState {
    /// What may still be refunded: credited and confirmed, and not spoken for by a live refund.
    ///
    /// # Errors
    /// When amounts add up to more than 2^128 minor units.
    pub fn refundable(&self) -> Result<Money, PaymentError> {
        let totals = self.totals()?;
        let spoken_for = totals.refunded.checked_add(&totals.refunds_requested)?;
        let minor = totals.confirmed.minor().saturating_sub(spoken_for.minor());
        Ok(Money::new(minor, self.terms.asset.id.clone()))
    }
}
