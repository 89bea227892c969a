//! The facts of a payment: what it was told, told back from what it recorded.
//!
//! A stream holds decisions. Each was caused by a command, and the events of one command tell what it said: the whole
//! report of a deposit, that the deadline passed, that somebody cancelled or refunded. Commands that changed nothing left
//! no event and are not among the facts.

use wopay_domain::payment::{
    AssignDeposit, CompleteRefund, CreatePayment, DepositReport, DepositStage, DepositState, Holder, PaymentCommand,
    PaymentEvent, PaymentStatus, ReassignDeposit, RefundHeldDeposit, RequestRefund, Standing, ToldDeposit,
    UnmatchedMoney,
};
use wopay_domain::{BlockRef, DepositKey, Money, Timestamp};

/// Why a stream is no payment's history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// It does not begin with the payment's creation.
    #[error("the stream does not begin with PaymentCreated")]
    NoCreation,
    /// An event that no command brings about at this place.
    #[error("event {sequence} of the stream ({event}) follows from no command")]
    Unexplained {
        /// Its place in the stream.
        sequence: usize,
        /// Its name.
        event: &'static str,
    },
}

/// A payment as it was created, and what it was told afterwards.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) create: CreatePayment,
    pub(super) told: Vec<Fact>,
}

/// One thing that a payment was told.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) command: PaymentCommand,
    pub(super) at: Timestamp,
    /// The status that the payment had after it, as recorded.
    pub(super) status_after: PaymentStatus,
}

/// Tells the facts back from a payment's whole stream.
pub(super) fn tell_back(events: &[PaymentEvent]) -> Result<Facts, FactsError> {
    let Some((PaymentEvent::PaymentCreated(created), rest)) = events.split_first() else {
        return Err(FactsError::NoCreation);
    };
    let create = CreatePayment {
        payment_id: created.payment_id,
        merchant_id: created.merchant_id,
        order_id: created.order_id.clone(),
        terms: created.terms.clone(),
        at: created.created_at,
    };
    let mut reader = Reader { create: &create, events: rest, next: 0, status: PaymentStatus::Pending };
    let mut told = Vec::new();
    while let Some(fact) = reader.next_fact()? {
        told.push(fact);
    }
    Ok(Facts { create, told })
}

struct Reader<'a> {
    create: &'a CreatePayment,
    /// Without the creation.
    events: &'a [PaymentEvent],
    next: usize,
    status: PaymentStatus,
}

impl<'a> Reader<'a> {
    fn next_fact(&mut self) -> Result<Option<Fact>, FactsError> {
        let Some(event) = self.events.get(self.next) else { return Ok(None) };
        let (command, at) = if let Some(deposit) = DepositEvent::of(event) {
            let report = self.report(&deposit);
            let at = report.at;
            (PaymentCommand::ObserveDeposit(Box::new(report)), at)
        } else if let Some((command, at)) = refund(event).or_else(|| decision(event, self.create)) {
            self.next = self.next.saturating_add(1);
            self.take_standing(sent_by(event), at);
            (command, at)
        } else {
            let command = self.deadline_or_cancellation(event)?;
            self.next = self.next.saturating_add(1);
            command
        };
        Ok(Some(Fact { command, at, status_after: self.status }))
    }

    /// The report that brought about the deposit events from here on, with the status event that followed from them.
    fn report(&mut self, first: &DepositEvent<'a>) -> DepositReport {
        let mut report = DepositReport {
            deposit: first.deposit.clone(),
            revision: first.revision,
            amount: first.amount.clone(),
            from: None,
            block: first.block.clone(),
            stage: DepositStage::Orphaned,
            at: first.at,
        };
        while let Some(event) = self.events.get(self.next) {
            let Some(deposit) = DepositEvent::of(event) else { break };
            if deposit.deposit != first.deposit || deposit.revision != first.revision {
                break;
            }
            deposit.tell(&mut report);
            self.next = self.next.saturating_add(1);
        }
        let standing = self.take_standing(Some(&report.deposit.transaction), report.at);
        if let (Some(standing), DepositStage::Seen { confirmations }) = (standing, &mut report.stage) {
            *confirmations = standing.confirmations;
        }
        report
    }

    /// The status event that follows from what happened at `at` by this transaction, if one does.
    fn take_standing(&mut self, transaction: Option<&str>, at: Timestamp) -> Option<&'a Standing> {
        let standing = self.events.get(self.next)?.standing()?;
        if standing.transaction_hash.as_deref() != transaction || standing.at != at {
            return None;
        }
        self.status = standing.status;
        self.next = self.next.saturating_add(1);
        Some(standing)
    }

    fn deadline_or_cancellation(&mut self, event: &PaymentEvent) -> Result<(PaymentCommand, Timestamp), FactsError> {
        match event {
            PaymentEvent::PaymentExpired(Standing { status, at, .. }) => {
                self.status = *status;
                Ok((PaymentCommand::Expire { at: *at }, *at))
            }
            PaymentEvent::PaymentCancelled(Standing { status, at, .. }) => {
                self.status = *status;
                Ok((PaymentCommand::Cancel { at: *at }, *at))
            }
            // The creation is the first.
            event => Err(FactsError::Unexplained { sequence: self.next.saturating_add(2), event: event.name() }),
        }
    }
}

/// What a refund's event was told.
fn refund(event: &PaymentEvent) -> Option<(PaymentCommand, Timestamp)> {
    match event {
        PaymentEvent::RefundRequested(it) => {
            let request = RequestRefund {
                refund_id: it.refund_id,
                amount: it.amount.clone(),
                to: it.to.clone(),
                reason: it.reason.clone(),
                at: it.at,
            };
            Some((PaymentCommand::RequestRefund(Box::new(request)), it.at))
        }
        PaymentEvent::RefundCompleted(it) => {
            let complete = CompleteRefund {
                refund_id: it.refund_id,
                transaction: it.transaction.clone(),
                network_fee: it.network_fee.clone(),
                at: it.at,
            };
            Some((PaymentCommand::CompleteRefund(Box::new(complete)), it.at))
        }
        PaymentEvent::RefundCancelled(it) => {
            let cancel = PaymentCommand::CancelRefund { refund_id: it.refund_id, reason: it.reason.clone(), at: it.at };
            Some((cancel, it.at))
        }
        _ => None,
    }
}

/// What an operator decided about a deposit that did not count, and what was reported of it after that.
fn decision(event: &PaymentEvent, create: &CreatePayment) -> Option<(PaymentCommand, Timestamp)> {
    match event {
        PaymentEvent::DepositAssigned(it) => {
            let unmatched = UnmatchedMoney {
                revision: it.revision,
                amount: it.amount.clone(),
                address: it.address.clone().unwrap_or_else(|| create.terms.address.clone()),
                from: it.from.clone(),
                block: it.block.clone(),
                // Of the same merchant, or it would have been refused.
                held_by: it.from_payment_id.map(|payment_id| Holder { payment_id, merchant_id: it.merchant_id }),
            };
            let assign = AssignDeposit {
                deposit: it.deposit.clone(),
                unmatched: it.was_unmatched.then_some(unmatched),
                reason: it.reason.clone(),
                at: it.at,
            };
            Some((PaymentCommand::AssignDeposit(Box::new(assign)), it.at))
        }
        PaymentEvent::HeldDepositReassigned(it) => {
            let reassign = ReassignDeposit {
                deposit: it.deposit.clone(),
                to_payment_id: it.to_payment_id,
                reason: it.reason.clone(),
                at: it.at,
            };
            Some((PaymentCommand::ReassignDeposit(Box::new(reassign)), it.at))
        }
        PaymentEvent::ReassignedDepositReported(it) => {
            let confirmations = it.confirmations;
            let report = DepositReport {
                deposit: it.deposit.clone(),
                revision: it.revision,
                amount: it.amount.clone(),
                from: None,
                block: it.block.clone(),
                stage: match it.state {
                    DepositState::Seen => DepositStage::Seen { confirmations },
                    DepositState::Confirmed => DepositStage::Confirmed { confirmations },
                    DepositState::Orphaned => DepositStage::Orphaned,
                },
                at: it.at,
            };
            let told = ToldDeposit { report, told: it.to_payment_id };
            Some((PaymentCommand::ObserveToldDeposit(Box::new(told)), it.at))
        }
        PaymentEvent::HeldDepositRefunded(it) => {
            let refund = RefundHeldDeposit {
                deposit: it.deposit.clone(),
                transaction: it.transaction.clone(),
                network_fee: it.network_fee.clone(),
                reason: it.reason.clone(),
                at: it.at,
            };
            Some((PaymentCommand::RefundHeldDeposit(Box::new(refund)), it.at))
        }
        _ => None,
    }
}

/// The transaction that the status event which follows from an event of an operator names.
fn sent_by(event: &PaymentEvent) -> Option<&str> {
    match event {
        PaymentEvent::RefundCompleted(completed) => Some(&completed.transaction),
        PaymentEvent::HeldDepositRefunded(refund) => Some(&refund.transaction),
        PaymentEvent::DepositAssigned(assigned) => Some(&assigned.deposit.transaction),
        PaymentEvent::HeldDepositReassigned(reassigned) => Some(&reassigned.deposit.transaction),
        PaymentEvent::ReassignedDepositReported(reported) => Some(&reported.deposit.transaction),
        _ => None,
    }
}

/// What the four deposit events have in common.
struct DepositEvent<'a> {
    event: &'a PaymentEvent,
    deposit: &'a DepositKey,
    revision: u64,
    amount: &'a Money,
    block: &'a BlockRef,
    at: Timestamp,
}

impl<'a> DepositEvent<'a> {
    fn of(event: &'a PaymentEvent) -> Option<Self> {
        let (deposit, revision, amount, block, at) = match event {
            PaymentEvent::DepositDetected(it) => (&it.deposit, it.revision, &it.amount, &it.block, it.at),
            PaymentEvent::DepositReincluded(it) => (&it.deposit, it.revision, &it.amount, &it.block, it.at),
            PaymentEvent::DepositConfirmed(it) => (&it.deposit, it.revision, &it.amount, &it.block, it.at),
            PaymentEvent::DepositOrphaned(it) => (&it.deposit, it.revision, &it.amount, &it.block, it.at),
            _ => return None,
        };
        Some(Self { event, deposit, revision, amount, block, at })
    }

    /// Adds to a report what this event tells of it: the last event of a report tells its stage, and only a detection,
    /// a re-inclusion or a confirmation tells where the money stands now.
    fn tell(&self, report: &mut DepositReport) {
        match self.event {
            PaymentEvent::DepositDetected(detected) => {
                report.from.clone_from(&detected.from);
                self.stands(report, DepositStage::Seen { confirmations: 0 });
            }
            PaymentEvent::DepositReincluded(_) => self.stands(report, DepositStage::Seen { confirmations: 0 }),
            PaymentEvent::DepositConfirmed(confirmed) => {
                self.stands(report, DepositStage::Confirmed { confirmations: confirmed.confirmations })
            }
            PaymentEvent::DepositOrphaned(_) => report.stage = DepositStage::Orphaned,
            _ => {}
        }
    }

    fn stands(&self, report: &mut DepositReport, stage: DepositStage) {
        report.amount = self.amount.clone();
        report.block = self.block.clone();
        report.stage = stage;
    }
}
