//! Which events follow when an operator decides about money that does not count: it is the payment's after all, it is
//! another payment's, or it was sent back. Only confirmed money is decided about, so that the decision moves what is in the books.

use super::command::{AssignDeposit, DepositReport, DepositStage, ReassignDeposit, RefundHeldDeposit, UnmatchedMoney};
use super::error::PaymentError;
use super::event::{
    DepositAssigned, HeldDepositReassigned, HeldDepositRefunded, PaymentEvent, ReassignedDepositReported,
};
use super::state::{Deposit, DepositDecision, DepositState, Disposition, PaymentState};
use crate::chain::DepositKey;
use crate::deposit::{REASON_WANTED, TRANSACTION_WANTED, is_decision_text};
use crate::ids::PaymentId;
use crate::money::AssetId;

const OTHER_ASSET: &str =
    "the deposit is of another asset than the payment asks for: open one in its asset, or refund the deposit";
/// Its streams would both book the deposit.
const KNOWN_HERE: &str = "the payment to which the deposit is to go has had it itself, before a reorganization";

/// Credits a deposit. One that was assigned before is left alone.
pub(super) fn assign(payment: &PaymentState, assign: AssignDeposit) -> Result<Vec<PaymentEvent>, PaymentError> {
    let known = payment.deposits.get(&assign.deposit);
    let was_unmatched = known.is_none();
    let (revision, amount, address, from, block, held_by) = match (known, assign.unmatched) {
        (Some(deposit), _) if deposit.assigned_at().is_some() => return Ok(Vec::new()),
        (Some(_), Some(UnmatchedMoney { held_by: Some(_), .. })) => {
            return Err(PaymentError::InvalidDecision(KNOWN_HERE));
        }
        (Some(deposit), _) => {
            check_held(deposit)?;
            (deposit.revision, deposit.amount.clone(), None, deposit.from.clone(), deposit.block.clone(), None)
        }
        (None, Some(found)) => {
            let elsewhere = Some(found.address).filter(|address| *address != payment.terms.address);
            (found.revision, found.amount, elsewhere, found.from, found.block, found.held_by)
        }
        (None, None) => return Err(PaymentError::DepositNotFound(assign.deposit)),
    };
    if amount.asset() != &payment.terms.asset.id {
        return Err(PaymentError::InvalidDecision(OTHER_ASSET));
    }
    if held_by.is_some_and(|holder| holder.merchant_id != payment.merchant_id) {
        return Err(PaymentError::OtherMerchant);
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
        from_payment_id: held_by.map(|holder| holder.payment_id),
        reason: assign.reason,
        at: assign.at,
    }))])
}

/// Gives a held deposit to another payment. To the same one again changes nothing.
pub(super) fn reassign(payment: &PaymentState, reassign: ReassignDeposit) -> Result<Vec<PaymentEvent>, PaymentError> {
    let deposit = held(payment, &reassign.deposit)?;
    if let Some(DepositDecision::Reassigned { payment_id, .. }) = &deposit.decision
        && *payment_id == reassign.to_payment_id
    {
        return Ok(Vec::new());
    }
    check_held(deposit)?;
    if reassign.to_payment_id == payment.id {
        return Err(PaymentError::InvalidDecision(
            "the deposit is held by this payment: it is assigned, not reassigned",
        ));
    }
    // Reports of it come by whom it was assigned by, who knows of this payment alone.
    if deposit.decision.is_some() {
        return Err(PaymentError::InvalidDecision("the deposit was assigned to this payment: it can only be refunded"));
    }
    check_text(&reassign.reason, REASON_WANTED)?;
    Ok(vec![PaymentEvent::HeldDepositReassigned(Box::new(HeldDepositReassigned {
        deposit: reassign.deposit,
        revision: deposit.revision,
        merchant_id: payment.merchant_id,
        to_payment_id: reassign.to_payment_id,
        amount: deposit.amount.clone(),
        reason: reassign.reason,
        at: reassign.at,
    }))])
}

/// What a watcher reports of a deposit that was reassigned, once the payment which has it was told. One event, whatever
/// the report is: the other payment says what follows from it.
pub(super) fn follow(
    payment: &PaymentState,
    report: &DepositReport,
    known: &Deposit,
    to_payment_id: PaymentId,
) -> PaymentEvent {
    let (state, confirmations) = match report.stage {
        DepositStage::Seen { confirmations } => (DepositState::Seen, confirmations),
        DepositStage::Confirmed { confirmations } => (DepositState::Confirmed, confirmations),
        DepositStage::Orphaned => (DepositState::Orphaned, 0),
    };
    PaymentEvent::ReassignedDepositReported(Box::new(ReassignedDepositReported {
        deposit: report.deposit.clone(),
        revision: report.revision,
        merchant_id: payment.merchant_id,
        to_payment_id,
        amount: report.amount.clone(),
        block: report.block.clone(),
        disposition: known.disposition,
        state,
        confirmations,
        at: report.at,
    }))
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
    match &deposit.decision {
        Some(DepositDecision::Refunded { transaction }) => {
            return Err(PaymentError::DepositRefunded(transaction.clone()));
        }
        Some(DepositDecision::Reassigned { payment_id, .. }) => {
            return Err(PaymentError::DepositReassigned(*payment_id));
        }
        Some(DepositDecision::Assigned { .. }) | None => {}
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
