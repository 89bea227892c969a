//! Which events follow from a command.

use super::command::{CreatePayment, DepositReport, DepositStage, PaymentCommand};
use super::decision;
use super::error::PaymentError;
use super::event::{
    DepositConfirmed, DepositDetected, DepositOrphaned, DepositReincluded, PaymentCreated, PaymentEvent, Standing,
};
use super::evolve::evolve;
use super::refund;
use super::standing::assess;
use super::state::{
    Deposit, DepositDecision, DepositState, Disposition, HoldReason, LateDeposits, Payment, PaymentState, PaymentStatus,
};
use crate::Timestamp;
use crate::ids::PaymentId;

/// The events that follow from a command, none if it changes nothing.
///
/// # Errors
/// When the command contradicts the state; then nothing follows.
pub fn decide(payment: &Payment, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentError> {
    match (payment.state(), command) {
        (None, PaymentCommand::Create(create)) => self::create(*create),
        (None, _) => Err(PaymentError::NotFound),
        (Some(_), PaymentCommand::Create(_)) => Err(PaymentError::AlreadyExists),
        (Some(state), PaymentCommand::ObserveDeposit(report)) => observe(state, &report, None),
        (Some(state), PaymentCommand::ObserveToldDeposit(told)) => observe(state, &told.report, Some(told.told)),
        (Some(state), PaymentCommand::Expire { at }) => expire(state, at),
        (Some(state), PaymentCommand::Cancel { at }) => cancel(state, at),
        (Some(state), PaymentCommand::AssignDeposit(assign)) => {
            let cause = Cause::decision(state, &assign.deposit.transaction, assign.at);
            with_standing(state, decision::assign(state, *assign)?, cause)
        }
        (Some(state), PaymentCommand::ReassignDeposit(reassign)) => {
            let cause = Cause { transaction: Some(reassign.deposit.transaction.clone()), ..Cause::at(reassign.at) };
            with_standing(state, decision::reassign(state, *reassign)?, cause)
        }
        (Some(state), PaymentCommand::RefundHeldDeposit(refund)) => {
            let cause = Cause { transaction: Some(refund.transaction.clone()), ..Cause::at(refund.at) };
            with_standing(state, decision::refund(state, *refund)?, cause)
        }
        (Some(state), PaymentCommand::RequestRefund(request)) => {
            let cause = Cause::at(request.at);
            with_standing(state, refund::request(state, *request)?, cause)
        }
        (Some(state), PaymentCommand::CompleteRefund(complete)) => {
            let cause = Cause { transaction: Some(complete.transaction.clone()), ..Cause::at(complete.at) };
            with_standing(state, refund::complete(state, *complete)?, cause)
        }
        (Some(state), PaymentCommand::CancelRefund { refund_id, reason, at }) => {
            with_standing(state, refund::cancel(state, refund_id, reason, at)?, Cause::at(at))
        }
    }
}

/// What brings a change of status about.
struct Cause {
    transaction: Option<String>,
    confirmations: u32,
    at: Timestamp,
}

impl Cause {
    const fn at(at: Timestamp) -> Self {
        Self { transaction: None, confirmations: 0, at }
    }

    /// A confirmed deposit counts from now on: it is at least as deep as the policy asks.
    fn decision(payment: &PaymentState, transaction: &str, at: Timestamp) -> Self {
        let confirmations = payment.terms.policy.required_confirmations;
        Self { transaction: Some(transaction.to_owned()), confirmations, at }
    }

    fn deposit(report: &DepositReport) -> Self {
        let confirmations = match report.stage {
            DepositStage::Seen { confirmations } | DepositStage::Confirmed { confirmations } => confirmations,
            DepositStage::Orphaned => 0,
        };
        Self { transaction: Some(report.deposit.transaction.clone()), confirmations, at: report.at }
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
/// leaves a trace that carries its revision, so that the reports which it overtook are recognized when they arrive. A report
/// of a deposit that is another payment's by decision is refused until that one was told.
fn observe(
    payment: &PaymentState,
    report: &DepositReport,
    told: Option<PaymentId>,
) -> Result<Vec<PaymentEvent>, PaymentError> {
    let known = payment.deposits.get(&report.deposit);
    if known.is_some_and(|deposit| deposit.revision >= report.revision) {
        return Ok(Vec::new());
    }
    if let Some(deposit) = known
        && let Some(DepositDecision::Reassigned { payment_id, .. }) = &deposit.decision
    {
        if told != Some(*payment_id) {
            return Err(PaymentError::DepositReassigned(*payment_id));
        }
        let events = vec![decision::follow(payment, report, deposit, *payment_id)];
        return with_standing(payment, events, Cause::deposit(report));
    }
    let stood = known.filter(|deposit| deposit.is_live());
    let events = match (stood, report.stage) {
        (Some(stood), DepositStage::Orphaned) => vec![orphaned(payment, report, stood)],
        (Some(stood), DepositStage::Confirmed { confirmations })
            if stood.state == DepositState::Seen
                && stood.block.hash == report.block.hash
                && stood.amount == report.amount =>
        {
            vec![confirmed(payment, report, stood, confirmations)]
        }
        _ => restate(payment, report, known),
    };
    with_standing(payment, events, Cause::deposit(report))
}

/// The report does not follow directly from what is known: take back what stood, then record what is reported.
fn restate(payment: &PaymentState, report: &DepositReport, known: Option<&Deposit>) -> Vec<PaymentEvent> {
    let mut events = Vec::with_capacity(4);
    let reported = Deposit {
        amount: report.amount.clone(),
        from: report.from.clone(),
        block: report.block.clone(),
        state: DepositState::Seen,
        disposition: disposition(payment, report, known),
        revision: report.revision,
        detected_at: report.at,
        books_pending: true,
        decision: known.and_then(|deposit| deposit.decision.clone()),
    };
    match known {
        None => events.push(detected(payment, report, reported.disposition)),
        Some(deposit) => {
            if deposit.is_live() {
                events.push(orphaned(payment, report, deposit));
            }
            events.push(reincluded(payment, report, &reported));
        }
    }
    match report.stage {
        DepositStage::Seen { .. } => {}
        DepositStage::Confirmed { confirmations } => {
            events.push(confirmed(payment, report, &reported, confirmations));
        }
        DepositStage::Orphaned => events.push(orphaned(payment, report, &reported)),
    }
    events
}

/// Whether a deposit counts: a function of the report and of what was decided before, never of the order of reports. A
/// decision stays, whatever the chain does: what was sent back does not count because it now stands in an earlier block.
fn disposition(payment: &PaymentState, report: &DepositReport, known: Option<&Deposit>) -> Disposition {
    let decided = known.and_then(|deposit| Some((deposit.decision.as_ref()?, deposit.disposition)));
    let is_assigned = matches!(decided, Some((DepositDecision::Assigned { .. }, _)));
    if let Some((DepositDecision::Refunded { .. }, held)) = decided {
        held
    } else if is_assigned && report.amount.asset() == &payment.terms.asset.id {
        Disposition::Credit
    } else if report.amount.asset() != &payment.terms.asset.id {
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
            Ok(vec![announce(&overdue, Cause::at(at))?])
        }
        PaymentStatus::Confirming
        | PaymentStatus::Completed
        | PaymentStatus::Expired
        | PaymentStatus::Cancelled
        | PaymentStatus::Held
        | PaymentStatus::Reversed
        | PaymentStatus::Refunded => Ok(Vec::new()),
    }
}

fn cancel(payment: &PaymentState, at: Timestamp) -> Result<Vec<PaymentEvent>, PaymentError> {
    match payment.status {
        PaymentStatus::Pending => {
            let mut cancelled = payment.clone();
            cancelled.cancelled_at = Some(at);
            Ok(vec![announce(&cancelled, Cause::at(at))?])
        }
        PaymentStatus::Cancelled => Ok(Vec::new()),
        status => Err(PaymentError::NotCancellable { status }),
    }
}

/// Adds the status event that deposit and refund events bring about, if they do.
fn with_standing(
    before: &PaymentState,
    mut events: Vec<PaymentEvent>,
    cause: Cause,
) -> Result<Vec<PaymentEvent>, PaymentError> {
    if events.is_empty() {
        return Ok(events);
    }
    let mut after = Payment(Some(Box::new(before.clone())));
    for event in &events {
        evolve(&mut after, event.clone());
    }
    let Some(after) = after.state() else { return Ok(events) };
    let now = assess(after)?;
    let then = before.totals()?;
    let amount_matters =
        matches!(now.status, PaymentStatus::PartiallyPaid | PaymentStatus::Expired | PaymentStatus::Refunded);
    let moved = now.status != before.status
        || now.flags != before.flags
        || now.totals.refunded != then.refunded
        || (amount_matters && now.totals.received != then.received);
    if moved {
        events.push(announce(after, cause)?);
    }
    Ok(events)
}

/// The status event of how the payment stands. `payment.status` is still the one before.
fn announce(payment: &PaymentState, cause: Cause) -> Result<PaymentEvent, PaymentError> {
    let now = assess(payment)?;
    let standing = Standing {
        status: now.status,
        flags: now.flags,
        amount_received: now.totals.received,
        amount_confirmed: now.totals.confirmed,
        amount_refunded: (!now.totals.refunded.is_zero()).then_some(now.totals.refunded),
        transaction_hash: cause.transaction,
        confirmations: cause.confirmations,
        at: cause.at,
    };
    // Whoever delivers on "completed" must not do so again because a refunded payment got a tip.
    let was_completed = match payment.status {
        PaymentStatus::Completed => true,
        PaymentStatus::Refunded => payment.completed_at.is_some(),
        _ => false,
    };
    Ok(match now.status {
        PaymentStatus::Pending => PaymentEvent::PaymentReopened(standing),
        PaymentStatus::PartiallyPaid => PaymentEvent::PaymentPartiallyPaid(standing),
        PaymentStatus::Confirming => PaymentEvent::PaymentConfirming(standing),
        PaymentStatus::Completed if was_completed => PaymentEvent::PaymentAdjusted(standing),
        PaymentStatus::Completed => PaymentEvent::PaymentCompleted(standing),
        PaymentStatus::Expired => PaymentEvent::PaymentExpired(standing),
        PaymentStatus::Cancelled => PaymentEvent::PaymentCancelled(standing),
        PaymentStatus::Held => PaymentEvent::PaymentHeld(standing),
        PaymentStatus::Reversed => PaymentEvent::PaymentReversed(standing),
        PaymentStatus::Refunded => PaymentEvent::PaymentRefunded(standing),
    })
}

fn detected(payment: &PaymentState, report: &DepositReport, disposition: Disposition) -> PaymentEvent {
    PaymentEvent::DepositDetected(Box::new(DepositDetected {
        deposit: report.deposit.clone(),
        revision: report.revision,
        merchant_id: Some(payment.merchant_id),
        amount: report.amount.clone(),
        from: report.from.clone(),
        block: report.block.clone(),
        disposition,
        at: report.at,
    }))
}

fn reincluded(payment: &PaymentState, report: &DepositReport, stands: &Deposit) -> PaymentEvent {
    PaymentEvent::DepositReincluded(Box::new(DepositReincluded {
        deposit: report.deposit.clone(),
        revision: report.revision,
        merchant_id: Some(payment.merchant_id),
        amount: report.amount.clone(),
        block: report.block.clone(),
        disposition: stands.disposition,
        assigned_at: stands.assigned_at(),
        at: report.at,
    }))
}

fn confirmed(payment: &PaymentState, report: &DepositReport, stood: &Deposit, confirmations: u32) -> PaymentEvent {
    PaymentEvent::DepositConfirmed(Box::new(DepositConfirmed {
        deposit: report.deposit.clone(),
        revision: report.revision,
        merchant_id: payment.merchant_id,
        amount: report.amount.clone(),
        block: report.block.clone(),
        disposition: stood.disposition,
        confirmations,
        releases_pending: stood.books_pending,
        assigned_at: stood.assigned_at(),
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
        releases_pending: stood.state == DepositState::Seen && stood.books_pending,
        assigned_at: stood.assigned_at(),
        at: report.at,
    }))
}
