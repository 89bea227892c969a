//! Which events follow from a command.

use super::command::{CreatePayment, DepositReport, DepositStage, PaymentCommand};
use super::error::PaymentError;
use super::event::{
    DepositConfirmed, DepositDetected, DepositOrphaned, DepositReincluded, PaymentCreated, PaymentEvent, Standing,
};
use super::evolve::evolve;
use super::standing::assess;
use super::state::{
    Deposit, DepositState, Disposition, HoldReason, LateDeposits, Payment, PaymentState, PaymentStatus,
};
use crate::Timestamp;

/// The events that follow from a command, none if it changes nothing.
///
/// # Errors
/// When the command contradicts the state; then nothing follows.
pub fn decide(payment: &Payment, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentError> {
    match (payment.state(), command) {
        (None, PaymentCommand::Create(create)) => self::create(*create),
        (None, _) => Err(PaymentError::NotFound),
        (Some(_), PaymentCommand::Create(_)) => Err(PaymentError::AlreadyExists),
        (Some(state), PaymentCommand::ObserveDeposit(report)) => observe(state, &report),
        (Some(state), PaymentCommand::Expire { at }) => expire(state, at),
        (Some(state), PaymentCommand::Cancel { at }) => cancel(state, at),
    }
}

fn create(create: CreatePayment) -> Result<Vec<PaymentEvent>, PaymentError> {
    let terms = &create.terms;
    if terms.amount.is_zero() {
        return Err(PaymentError::InvalidTerms("the amount must be more than zero"));
    }
    if terms.amount.asset() != &terms.asset.id || terms.asset.id.chain() != terms.chain.as_str() {
        return Err(PaymentError::InvalidTerms("amount, asset and chain must agree"));
    }
    if terms.expires_at <= create.at {
        return Err(PaymentError::InvalidTerms("the deadline must lie ahead"));
    }
    if terms.policy.required_confirmations == 0 {
        return Err(PaymentError::InvalidTerms("at least one confirmation is required"));
    }
    Ok(vec![PaymentEvent::PaymentCreated(Box::new(PaymentCreated {
        payment_id: create.payment_id,
        merchant_id: create.merchant_id,
        order_id: create.order_id,
        terms: create.terms,
        created_at: create.at,
    }))])
}

/// Applies one report of a watcher. An equal or older revision than the last known changes nothing; a newer one always
/// leaves a trace that carries its revision, so that the reports which it overtook are recognized when they arrive.
fn observe(payment: &PaymentState, report: &DepositReport) -> Result<Vec<PaymentEvent>, PaymentError> {
    let known = payment.deposits.get(&report.deposit);
    if known.is_some_and(|deposit| deposit.revision >= report.revision) {
        return Ok(Vec::new());
    }
    let stood = known.filter(|deposit| deposit.is_live());
    let events = match (stood, report.stage) {
        (Some(stood), DepositStage::Orphaned) => vec![orphaned(payment, report, stood)],
        (Some(stood), DepositStage::Confirmed { confirmations })
            if stood.state == DepositState::Seen
                && stood.block.hash == report.block.hash
                && stood.amount == report.amount =>
        {
            vec![confirmed(payment, report, stood.disposition, confirmations)]
        }
        _ => restate(payment, report, known),
    };
    with_standing(payment, events, report)
}

/// The report does not follow directly from what is known: take back what stood, then record what is reported.
fn restate(payment: &PaymentState, report: &DepositReport, known: Option<&Deposit>) -> Vec<PaymentEvent> {
    let mut events = Vec::with_capacity(4);
    let reported = Deposit {
        amount: report.amount.clone(),
        from: report.from.clone(),
        block: report.block.clone(),
        state: DepositState::Seen,
        disposition: disposition(payment, report),
        revision: report.revision,
        detected_at: report.at,
    };
    match known {
        None => events.push(detected(report, reported.disposition)),
        Some(deposit) => {
            if deposit.is_live() {
                events.push(orphaned(payment, report, deposit));
            }
            events.push(reincluded(report, reported.disposition));
        }
    }
    match report.stage {
        DepositStage::Seen { .. } => {}
        DepositStage::Confirmed { confirmations } => {
            events.push(confirmed(payment, report, reported.disposition, confirmations));
        }
        DepositStage::Orphaned => events.push(orphaned(payment, report, &reported)),
    }
    events
}

/// Whether a deposit counts: a function of the report and of what was decided before, never of the order of reports.
fn disposition(payment: &PaymentState, report: &DepositReport) -> Disposition {
    if report.amount.asset() != &payment.terms.asset.id {
        Disposition::Hold(HoldReason::WrongAsset)
    } else if payment.cancelled_at.is_some() {
        Disposition::Hold(HoldReason::Cancelled)
    } else if payment.terms.policy.late_deposits == LateDeposits::Hold && payment.is_late(&report.block) {
        Disposition::Hold(HoldReason::Late)
    } else {
        Disposition::Credit
    }
}

fn expire(payment: &PaymentState, at: Timestamp) -> Result<Vec<PaymentEvent>, PaymentError> {
    if at < payment.terms.expires_at {
        return Err(PaymentError::NotYetDue { expires_at: payment.terms.expires_at });
    }
    match payment.status {
        PaymentStatus::Pending | PaymentStatus::PartiallyPaid => {
            let mut overdue = payment.clone();
            overdue.deadline_passed = true;
            Ok(vec![announce(&overdue, at, None)?])
        }
        PaymentStatus::Confirming
        | PaymentStatus::Completed
        | PaymentStatus::Expired
        | PaymentStatus::Cancelled
        | PaymentStatus::Held
        | PaymentStatus::Reversed => Ok(Vec::new()),
    }
}

fn cancel(payment: &PaymentState, at: Timestamp) -> Result<Vec<PaymentEvent>, PaymentError> {
    match payment.status {
        PaymentStatus::Pending => {
            let mut cancelled = payment.clone();
            cancelled.cancelled_at = Some(at);
            Ok(vec![announce(&cancelled, at, None)?])
        }
        PaymentStatus::Cancelled => Ok(Vec::new()),
        status => Err(PaymentError::NotCancellable { status }),
    }
}

/// Adds the status event that the deposit events bring about, if they do.
fn with_standing(
    before: &PaymentState,
    mut events: Vec<PaymentEvent>,
    cause: &DepositReport,
) -> Result<Vec<PaymentEvent>, PaymentError> {
    let mut after = Payment(Some(Box::new(before.clone())));
    for event in &events {
        evolve(&mut after, event.clone());
    }
    let Some(after) = after.state() else { return Ok(events) };
    let now = assess(after)?;
    let amount_matters = matches!(now.status, PaymentStatus::PartiallyPaid | PaymentStatus::Expired);
    let moved = now.status != before.status
        || now.flags != before.flags
        || (amount_matters && now.totals.received != before.totals()?.received);
    if moved {
        events.push(announce(after, cause.at, Some(cause))?);
    }
    Ok(events)
}

/// The status event of how the payment stands. `payment.status` is still the one before.
fn announce(
    payment: &PaymentState,
    at: Timestamp,
    cause: Option<&DepositReport>,
) -> Result<PaymentEvent, PaymentError> {
    let now = assess(payment)?;
    let confirmations = match cause.map(|report| report.stage) {
        Some(DepositStage::Seen { confirmations } | DepositStage::Confirmed { confirmations }) => confirmations,
        Some(DepositStage::Orphaned) | None => 0,
    };
    let standing = Standing {
        status: now.status,
        flags: now.flags,
        amount_received: now.totals.received,
        amount_confirmed: now.totals.confirmed,
        transaction_hash: cause.map(|report| report.deposit.transaction.clone()),
        confirmations,
        at,
    };
    Ok(match now.status {
        PaymentStatus::Pending => PaymentEvent::PaymentReopened(standing),
        PaymentStatus::PartiallyPaid => PaymentEvent::PaymentPartiallyPaid(standing),
        PaymentStatus::Confirming => PaymentEvent::PaymentConfirming(standing),
        PaymentStatus::Completed if payment.status == PaymentStatus::Completed => {
            PaymentEvent::PaymentAdjusted(standing)
        }
        PaymentStatus::Completed => PaymentEvent::PaymentCompleted(standing),
        PaymentStatus::Expired => PaymentEvent::PaymentExpired(standing),
        PaymentStatus::Cancelled => PaymentEvent::PaymentCancelled(standing),
        PaymentStatus::Held => PaymentEvent::PaymentHeld(standing),
        PaymentStatus::Reversed => PaymentEvent::PaymentReversed(standing),
    })
}

fn detected(report: &DepositReport, disposition: Disposition) -> PaymentEvent {
    PaymentEvent::DepositDetected(Box::new(DepositDetected {
        deposit: report.deposit.clone(),
        revision: report.revision,
        amount: report.amount.clone(),
        from: report.from.clone(),
        block: report.block.clone(),
        disposition,
        at: report.at,
    }))
}

fn reincluded(report: &DepositReport, disposition: Disposition) -> PaymentEvent {
    PaymentEvent::DepositReincluded(Box::new(DepositReincluded {
        deposit: report.deposit.clone(),
        revision: report.revision,
        amount: report.amount.clone(),
        block: report.block.clone(),
        disposition,
        at: report.at,
    }))
}

fn confirmed(
    payment: &PaymentState,
    report: &DepositReport,
    disposition: Disposition,
    confirmations: u32,
) -> PaymentEvent {
    PaymentEvent::DepositConfirmed(Box::new(DepositConfirmed {
        deposit: report.deposit.clone(),
        revision: report.revision,
        merchant_id: payment.merchant_id,
        amount: report.amount.clone(),
        block: report.block.clone(),
        disposition,
        confirmations,
        at: report.at,
    }))
}

/// What stood is taken back as it stood: the amount that was booked, not the one that the report names.
fn orphaned(payment: &PaymentState, report: &DepositReport, stood: &Deposit) -> PaymentEvent {
    PaymentEvent::DepositOrphaned(Box::new(DepositOrphaned {
        deposit: report.deposit.clone(),
        revision: report.revision,
        merchant_id: payment.merchant_id,
        amount: stood.amount.clone(),
        block: stood.block.clone(),
        disposition: stood.disposition,
        was_confirmed: stood.state == DepositState::Confirmed,
        at: report.at,
    }))
}
