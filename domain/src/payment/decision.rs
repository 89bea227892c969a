//! Which events follow when an operator decides about money that does not count: it is the payment's after all, or it was
//! sent back. Only confirmed money is decided about, so that the decision moves what is in the books.

use super::command::{AssignDeposit, RefundHeldDeposit};
use super::error::PaymentError;
use super::event::{DepositAssigned, HeldDepositRefunded, PaymentEvent};
use super::state::{Deposit, DepositDecision, DepositState, Disposition, PaymentState};
use crate::chain::DepositKey;
use crate::deposit::{REASON_WANTED, TRANSACTION_WANTED, is_decision_text};
use crate::money::AssetId;

/// Credits a deposit. One that was assigned before is left alone.
pub(super) fn assign(payment: &PaymentState, assign: AssignDeposit) -> Result<Vec<PaymentEvent>, PaymentError> {
    let known = payment.deposits.get(&assign.deposit);
    let was_unmatched = known.is_none();
    let (revision, amount, address, from, block) = match (known, assign.unmatched) {
        (Some(deposit), _) if deposit.decision == Some(DepositDecision::Assigned) => return Ok(Vec::new()),
        (Some(deposit), _) => {
            check_held(deposit)?;
            (deposit.revision, deposit.amount.clone(), None, deposit.from.clone(), deposit.block.clone())
        }
        (None, Some(found)) => {
            let elsewhere = Some(found.address).filter(|address| *address != payment.terms.address);
            (found.revision, found.amount, elsewhere, found.from, found.block)
        }
        (None, None) => return Err(PaymentError::DepositNotFound(assign.deposit)),
    };
    if amount.asset() != &payment.terms.asset.id {
        return Err(PaymentError::InvalidDecision("the deposit is of another asset than the payment asks for"));
    }
    check_text(&assign.reason, REASON_WANTED)?;
    Ok(vec![PaymentEvent::DepositAssigned(Box::new(DepositAssigned {
        deposit: assign.deposit,
        revision,
        merchant_id: payment.merchant_id,
        amount,
        address,
        from,
        block,
        was_unmatched,
        reason: assign.reason,
        at: assign.at,
    }))])
}

/// Records that a held deposit was sent back. By the same transaction again changes nothing.
pub(super) fn refund(payment: &PaymentState, refund: RefundHeldDeposit) -> Result<Vec<PaymentEvent>, PaymentError> {
    let deposit = held(payment, &refund.deposit)?;
    if let Some(DepositDecision::Refunded { transaction }) = &deposit.decision
        && *transaction == refund.transaction
    {
        return Ok(Vec::new());
    }
    check_held(deposit)?;
    check_text(&refund.reason, REASON_WANTED)?;
    check_text(&refund.transaction, TRANSACTION_WANTED)?;
    if refund.network_fee.as_ref().is_some_and(|fee| fee.asset() != &AssetId::native(&refund.deposit.chain)) {
        return Err(PaymentError::InvalidDecision("the network fee must be in the chain's native coin"));
    }
    Ok(vec![PaymentEvent::HeldDepositRefunded(Box::new(HeldDepositRefunded {
        deposit: refund.deposit,
        revision: deposit.revision,
        merchant_id: payment.merchant_id,
        amount: deposit.amount.clone(),
        transaction: refund.transaction,
        network_fee: refund.network_fee,
        reason: refund.reason,
        at: refund.at,
    }))])
}

fn held<'a>(payment: &'a PaymentState, deposit: &DepositKey) -> Result<&'a Deposit, PaymentError> {
    payment.deposits.get(deposit).ok_or_else(|| PaymentError::DepositNotFound(deposit.clone()))
}

/// Confirmed, held, and not decided about.
fn check_held(deposit: &Deposit) -> Result<(), PaymentError> {
    if let Some(DepositDecision::Refunded { transaction }) = &deposit.decision {
        return Err(PaymentError::DepositRefunded(transaction.clone()));
    }
    match (deposit.disposition, deposit.state) {
        (Disposition::Credit, _) => Err(PaymentError::DepositNotHeld),
        (Disposition::Hold(_), DepositState::Confirmed) => Ok(()),
        (Disposition::Hold(_), state) => Err(PaymentError::DepositNotConfirmed { state }),
    }
}

fn check_text(text: &str, what: &'static str) -> Result<(), PaymentError> {
    if is_decision_text(text) { Ok(()) } else { Err(PaymentError::InvalidDecision(what)) }
}
