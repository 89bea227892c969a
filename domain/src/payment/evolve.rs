//! Folding events into the state. Never fails: what was recorded happened.

use std::collections::BTreeMap;

use super::event::{DepositAssigned, PaymentCreated, PaymentEvent, Standing};
use super::refund::{Refund, RefundState};
use super::state::{Deposit, DepositDecision, DepositState, Disposition, Flags, Payment, PaymentState, PaymentStatus};

/// Folds one event into the payment.
pub fn evolve(payment: &mut Payment, event: PaymentEvent) {
    match (&mut payment.0, event) {
        (state @ None, PaymentEvent::PaymentCreated(created)) => *state = Some(Box::new(open(*created))),
        (Some(state), event) => state.apply(event),
        // A stream begins with its creation; the store's sequence check keeps it so.
        (None, _) => {}
    }
}

fn open(created: PaymentCreated) -> PaymentState {
    PaymentState {
        id: created.payment_id,
        merchant_id: created.merchant_id,
        order_id: created.order_id,
        terms: created.terms,
        status: PaymentStatus::Pending,
        flags: Flags::default(),
        deposits: BTreeMap::new(),
        refunds: BTreeMap::new(),
        deadline_passed: false,
        cancelled_at: None,
        completed_at: None,
        created_at: created.created_at,
        updated_at: created.created_at,
    }
}

impl PaymentState {
    fn apply(&mut self, event: PaymentEvent) {
        match event {
            PaymentEvent::PaymentCreated(_) => {}
            PaymentEvent::DepositDetected(detected) => {
                self.updated_at = detected.at;
                self.deposits.insert(
                    detected.deposit,
                    Deposit {
                        amount: detected.amount,
                        from: detected.from,
                        block: detected.block,
                        state: DepositState::Seen,
                        disposition: detected.disposition,
                        revision: detected.revision,
                        detected_at: detected.at,
                        books_pending: detected.merchant_id.is_some(),
                        decision: None,
                    },
                );
            }
            PaymentEvent::DepositReincluded(reincluded) => {
                self.updated_at = reincluded.at;
                if let Some(deposit) = self.deposits.get_mut(&reincluded.deposit) {
                    deposit.amount = reincluded.amount;
                    deposit.block = reincluded.block;
                    deposit.disposition = reincluded.disposition;
                    deposit.state = DepositState::Seen;
                    deposit.books_pending = reincluded.merchant_id.is_some();
                    deposit.revision = reincluded.revision;
                }
            }
            PaymentEvent::DepositConfirmed(confirmed) => {
                self.updated_at = confirmed.at;
                if let Some(deposit) = self.deposits.get_mut(&confirmed.deposit) {
                    deposit.state = DepositState::Confirmed;
                    deposit.revision = confirmed.revision;
                }
            }
            PaymentEvent::DepositOrphaned(orphaned) => {
                self.updated_at = orphaned.at;
                if let Some(deposit) = self.deposits.get_mut(&orphaned.deposit) {
                    deposit.state = DepositState::Orphaned;
                    deposit.revision = orphaned.revision;
                }
            }
            PaymentEvent::DepositAssigned(assigned) => self.assign(*assigned),
            PaymentEvent::HeldDepositReassigned(reassigned) => {
                self.updated_at = reassigned.at;
                if let Some(deposit) = self.deposits.get_mut(&reassigned.deposit) {
                    let (payment_id, reason, at) = (reassigned.to_payment_id, reassigned.reason, reassigned.at);
                    deposit.decision = Some(DepositDecision::Reassigned { payment_id, reason, at });
                }
            }
            PaymentEvent::ReassignedDepositReported(reported) => {
                self.updated_at = reported.at;
                if let Some(deposit) = self.deposits.get_mut(&reported.deposit) {
                    deposit.amount = reported.amount;
                    deposit.block = reported.block;
                    deposit.state = reported.state;
                    deposit.revision = reported.revision;
                }
            }
            PaymentEvent::HeldDepositRefunded(refunded) => {
                self.updated_at = refunded.at;
                if let Some(deposit) = self.deposits.get_mut(&refunded.deposit) {
                    deposit.decision = Some(DepositDecision::Refunded { transaction: refunded.transaction });
                }
            }
            PaymentEvent::RefundRequested(requested) => {
                self.updated_at = requested.at;
                let refund = Refund {
                    amount: requested.amount,
                    to: requested.to,
                    reason: requested.reason,
                    state: RefundState::Requested,
                    requested_at: requested.at,
                };
                self.refunds.insert(requested.refund_id, refund);
            }
            PaymentEvent::RefundCompleted(completed) => {
                self.updated_at = completed.at;
                if let Some(refund) = self.refunds.get_mut(&completed.refund_id) {
                    let (transaction, network_fee) = (completed.transaction, completed.network_fee);
                    refund.state = RefundState::Completed { transaction, network_fee, at: completed.at };
                }
            }
            PaymentEvent::RefundCancelled(cancelled) => {
                self.updated_at = cancelled.at;
                if let Some(refund) = self.refunds.get_mut(&cancelled.refund_id) {
                    refund.state = RefundState::Cancelled { reason: cancelled.reason, at: cancelled.at };
                }
            }
            PaymentEvent::PaymentCompleted(standing) => {
                self.completed_at.get_or_insert(standing.at);
                self.stand(&standing);
            }
            PaymentEvent::PaymentExpired(standing) => {
                self.deadline_passed = true;
                self.stand(&standing);
            }
            PaymentEvent::PaymentCancelled(standing) => {
                self.cancelled_at.get_or_insert(standing.at);
                self.stand(&standing);
            }
            PaymentEvent::PaymentPartiallyPaid(standing)
            | PaymentEvent::PaymentConfirming(standing)
            | PaymentEvent::PaymentAdjusted(standing)
            | PaymentEvent::PaymentHeld(standing)
            | PaymentEvent::PaymentReversed(standing)
            | PaymentEvent::PaymentReopened(standing)
            | PaymentEvent::PaymentRefunded(standing) => self.stand(&standing),
        }
    }

    fn assign(&mut self, assigned: DepositAssigned) {
        self.updated_at = assigned.at;
        let detected_at = self.deposits.get(&assigned.deposit).map_or(assigned.at, |known| known.detected_at);
        let deposit = Deposit {
            amount: assigned.amount,
            from: assigned.from,
            block: assigned.block,
            state: DepositState::Confirmed,
            disposition: Disposition::Credit,
            revision: assigned.revision,
            detected_at,
            books_pending: true,
            decision: Some(DepositDecision::Assigned { at: assigned.at }),
        };
        self.deposits.insert(assigned.deposit, deposit);
    }

    fn stand(&mut self, standing: &Standing) {
        self.status = standing.status;
        self.flags = standing.flags;
        self.updated_at = standing.at;
    }
}
