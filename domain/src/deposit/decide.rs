//! Which events follow from a command.

use super::command::{AssignUnmatched, ObserveUnmatched, RefundUnmatched, UnmatchedDepositCommand};
use super::error::UnmatchedDepositError;
use super::event::{
    UnmatchedDepositAssigned, UnmatchedDepositEvent, UnmatchedDepositOrphaned, UnmatchedDepositRecorded,
    UnmatchedDepositRefunded,
};
use super::state::{Outcome, UnmatchedDeposit, UnmatchedDepositState};
use super::{REASON_WANTED, TRANSACTION_WANTED, is_decision_text};
use crate::chain::BlockRef;
use crate::money::{AssetId, Money};
use crate::payment::{DepositReport, DepositStage};

/// The events that follow from a command, none if it changes nothing.
///
/// # Errors
/// When the command contradicts the state; then nothing follows.
pub fn decide(
    deposit: &UnmatchedDeposit,
    command: UnmatchedDepositCommand,
) -> Result<Vec<UnmatchedDepositEvent>, UnmatchedDepositError> {
    match (deposit.state(), command) {
        (state, UnmatchedDepositCommand::Observe(command)) => observe(state, &command),
        (None, _) => Err(UnmatchedDepositError::NotFound),
        (Some(state), UnmatchedDepositCommand::Assign(command)) => assign(state, command),
        (Some(state), UnmatchedDepositCommand::Refund(command)) => refund(state, *command),
    }
}

/// Applies one report. An equal or older revision than the last known changes nothing; a newer one always leaves a trace
/// that carries its revision.
fn observe(
    known: Option<&UnmatchedDepositState>,
    command: &ObserveUnmatched,
) -> Result<Vec<UnmatchedDepositEvent>, UnmatchedDepositError> {
    let report = &command.report;
    if known.is_some_and(|known| known.deposit != report.deposit) {
        return Err(UnmatchedDepositError::OtherDeposit);
    }
    if known.is_some_and(|known| known.revision >= report.revision) {
        return Ok(Vec::new());
    }
    if let Some(payment) = known.and_then(UnmatchedDepositState::assigned_to)
        && command.told != Some(payment)
    {
        return Err(UnmatchedDepositError::Assigned(payment));
    }
    let stood = known.filter(|known| known.is_live);
    let recorded = |confirmations| recorded(known, command, confirmations);
    let taken_back = stood.map(|stood| orphaned(known, report, &stood.amount, &stood.block));
    Ok(match (taken_back, report.stage) {
        (Some(taken_back), DepositStage::Confirmed { confirmations }) => vec![taken_back, recorded(confirmations)],
        (None, DepositStage::Confirmed { confirmations }) => vec![recorded(confirmations)],
        (Some(taken_back), DepositStage::Seen { .. } | DepositStage::Orphaned) => vec![taken_back],
        // It was overtaken by the news of its end, or stands unconfirmed: in and out of the books at once.
        (None, DepositStage::Seen { .. } | DepositStage::Orphaned) => {
            vec![recorded(0), orphaned(known, report, &report.amount, &report.block)]
        }
    })
}

fn recorded(
    known: Option<&UnmatchedDepositState>,
    command: &ObserveUnmatched,
    confirmations: u32,
) -> UnmatchedDepositEvent {
    let report = &command.report;
    UnmatchedDepositEvent::UnmatchedDepositRecorded(Box::new(UnmatchedDepositRecorded {
        deposit: report.deposit.clone(),
        revision: report.revision,
        address: command.address.clone(),
        amount: report.amount.clone(),
        from: report.from.clone(),
        block: report.block.clone(),
        confirmations,
        assigned_to: known.and_then(UnmatchedDepositState::assigned_to),
        at: report.at,
    }))
}

fn orphaned(
    known: Option<&UnmatchedDepositState>,
    report: &DepositReport,
    amount: &Money,
    block: &BlockRef,
) -> UnmatchedDepositEvent {
    UnmatchedDepositEvent::UnmatchedDepositOrphaned(Box::new(UnmatchedDepositOrphaned {
        deposit: report.deposit.clone(),
        revision: report.revision,
        amount: amount.clone(),
        block: block.clone(),
        assigned_to: known.and_then(UnmatchedDepositState::assigned_to),
        at: report.at,
    }))
}

/// Gives the money to a payment. To the same payment again changes nothing.
fn assign(
    state: &UnmatchedDepositState,
    command: AssignUnmatched,
) -> Result<Vec<UnmatchedDepositEvent>, UnmatchedDepositError> {
    match &state.outcome {
        Some(Outcome::Assigned { payment_id, .. }) if *payment_id == command.payment_id => return Ok(Vec::new()),
        Some(outcome) => return Err(decided(outcome)),
        None if !state.is_live => return Err(UnmatchedDepositError::Orphaned),
        None => {}
    }
    check_text(&command.reason, REASON_WANTED)?;
    Ok(vec![UnmatchedDepositEvent::UnmatchedDepositAssigned(Box::new(UnmatchedDepositAssigned {
        deposit: state.deposit.clone(),
        revision: state.revision,
        payment_id: command.payment_id,
        amount: state.amount.clone(),
        reason: command.reason,
        at: command.at,
    }))])
}

/// Records that the money was sent back. By the same transaction again changes nothing.
fn refund(
    state: &UnmatchedDepositState,
    command: RefundUnmatched,
) -> Result<Vec<UnmatchedDepositEvent>, UnmatchedDepositError> {
    match &state.outcome {
        Some(Outcome::Refunded { transaction, .. }) if *transaction == command.transaction => return Ok(Vec::new()),
        Some(outcome) => return Err(decided(outcome)),
        None if !state.is_live => return Err(UnmatchedDepositError::Orphaned),
        None => {}
    }
    check_text(&command.reason, REASON_WANTED)?;
    check_text(&command.transaction, TRANSACTION_WANTED)?;
    if command.network_fee.as_ref().is_some_and(|fee| fee.asset() != &AssetId::native(&state.deposit.chain)) {
        return Err(UnmatchedDepositError::Invalid("the network fee must be in the chain's native coin"));
    }
    Ok(vec![UnmatchedDepositEvent::UnmatchedDepositRefunded(Box::new(UnmatchedDepositRefunded {
        deposit: state.deposit.clone(),
        revision: state.revision,
        amount: state.amount.clone(),
        transaction: command.transaction,
        network_fee: command.network_fee,
        reason: command.reason,
        at: command.at,
    }))])
}

fn decided(outcome: &Outcome) -> UnmatchedDepositError {
    match outcome {
        Outcome::Assigned { payment_id, .. } => UnmatchedDepositError::Assigned(*payment_id),
        Outcome::Refunded { transaction, .. } => UnmatchedDepositError::Refunded(transaction.clone()),
    }
}

fn check_text(text: &str, what: &'static str) -> Result<(), UnmatchedDepositError> {
    if is_decision_text(text) { Ok(()) } else { Err(UnmatchedDepositError::Invalid(what)) }
}
