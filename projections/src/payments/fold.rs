//! What a batch changes in each payment: several events of one payment become one change.

use std::collections::BTreeMap;

use wopay_domain::payment::{Disposition, PaymentCreated, PaymentEvent, Standing};
use wopay_domain::{Money, PaymentId, Timestamp};

use crate::batch::Batch;
use crate::delta::Delta;

/// What the events of one batch do to one payment.
pub(super) struct Change<'a> {
    /// Its creation, when that is in the batch: the row is new.
    pub(super) created: Option<&'a PaymentCreated>,
    /// Credited deposits in the canonical chain.
    pub(super) received: Delta,
    /// Those of them that are confirmed.
    pub(super) confirmed: Delta,
    /// What was sent back of them.
    pub(super) refunded: Delta,
    /// The last status event.
    pub(super) standing: Option<&'a Standing>,
    /// The last transaction that changed the status.
    pub(super) transaction_hash: Option<&'a str>,
    /// The last count of confirmations that an event stated.
    pub(super) confirmations: Option<u32>,
    /// When the last event happened.
    pub(super) updated_at: Timestamp,
    /// Where the last event stands.
    pub(super) position: i64,
}

/// The changes of a batch, by payment.
pub(super) fn fold<'a>(batch: &'a Batch<'_>) -> BTreeMap<PaymentId, Change<'a>> {
    let mut changes = BTreeMap::new();
    for (position, id, event) in batch.payments() {
        let change: &mut Change<'a> = changes.entry(id).or_default();
        change.position = position;
        change.record(event);
    }
    changes
}

impl Default for Change<'_> {
    fn default() -> Self {
        Self {
            created: None,
            received: Delta::default(),
            confirmed: Delta::default(),
            refunded: Delta::default(),
            standing: None,
            transaction_hash: None,
            confirmations: None,
            updated_at: Timestamp::UNIX_EPOCH,
            position: 0,
        }
    }
}

impl<'a> Change<'a> {
    fn record(&mut self, event: &'a PaymentEvent) {
        match event {
            PaymentEvent::PaymentCreated(created) => {
                self.updated_at = created.created_at;
                self.created = Some(created);
            }
            PaymentEvent::DepositDetected(detected) => {
                self.updated_at = detected.at;
                self.received.add(credited(detected.disposition, &detected.amount));
            }
            PaymentEvent::DepositReincluded(reincluded) => {
                self.updated_at = reincluded.at;
                self.received.add(credited(reincluded.disposition, &reincluded.amount));
            }
            PaymentEvent::DepositConfirmed(confirmed) => {
                self.updated_at = confirmed.at;
                self.confirmations = Some(confirmed.confirmations);
                self.confirmed.add(credited(confirmed.disposition, &confirmed.amount));
            }
            PaymentEvent::DepositOrphaned(orphaned) => {
                self.updated_at = orphaned.at;
                let amount = credited(orphaned.disposition, &orphaned.amount);
                self.received.subtract(amount);
                if orphaned.was_confirmed {
                    self.confirmed.subtract(amount);
                }
            }
            PaymentEvent::DepositAssigned(assigned) => {
                self.updated_at = assigned.at;
                self.received.add(assigned.amount.minor());
                self.confirmed.add(assigned.amount.minor());
            }
            PaymentEvent::HeldDepositReassigned(reassigned) => self.updated_at = reassigned.at,
            PaymentEvent::ReassignedDepositReported(reported) => self.updated_at = reported.at,
            PaymentEvent::HeldDepositRefunded(refund) => self.updated_at = refund.at,
            PaymentEvent::PaymentPartiallyPaid(standing)
            | PaymentEvent::PaymentConfirming(standing)
            | PaymentEvent::PaymentCompleted(standing)
            | PaymentEvent::PaymentAdjusted(standing)
            | PaymentEvent::PaymentExpired(standing)
            | PaymentEvent::PaymentCancelled(standing)
            | PaymentEvent::PaymentHeld(standing)
            | PaymentEvent::PaymentReversed(standing)
            | PaymentEvent::PaymentReopened(standing)
            | PaymentEvent::PaymentRefunded(standing) => self.stand(standing),
            PaymentEvent::RefundRequested(refund) => self.updated_at = refund.at,
            PaymentEvent::RefundCompleted(refund) => {
                self.updated_at = refund.at;
                self.refunded.add(refund.amount.minor());
            }
            PaymentEvent::RefundCancelled(refund) => self.updated_at = refund.at,
        }
    }

    fn stand(&mut self, standing: &'a Standing) {
        self.updated_at = standing.at;
        self.standing = Some(standing);
        self.confirmations = Some(standing.confirmations);
        if let Some(transaction) = &standing.transaction_hash {
            self.transaction_hash = Some(transaction);
        }
    }
}

/// What of a deposit counts for the payment.
fn credited(disposition: Disposition, amount: &Money) -> u128 {
    match disposition {
        Disposition::Credit => amount.minor(),
        Disposition::Hold(_) => 0,
    }
}
