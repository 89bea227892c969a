//! What a batch changes in each deposit. Every deposit event states the whole deposit, so the last one wins.

use std::collections::BTreeMap;

use wopay_domain::payment::{DepositState, Disposition, PaymentEvent};
use wopay_domain::{BlockRef, DepositKey, Money, PaymentId, Timestamp};

use crate::batch::Batch;

/// A deposit after a batch.
pub(super) struct Change<'a> {
    pub(super) payment_id: PaymentId,
    /// Its first detection, when that is in the batch: the row is new.
    pub(super) detected: Option<Detected<'a>>,
    /// What the last event says.
    pub(super) now: Stated<'a>,
    pub(super) updated_at: Timestamp,
    pub(super) position: i64,
}

/// What only the first detection says.
#[derive(Clone, Copy)]
pub(super) struct Detected<'a> {
    pub(super) from: Option<&'a str>,
    pub(super) at: Timestamp,
}

/// What every deposit event says.
#[derive(Clone, Copy)]
pub(super) struct Stated<'a> {
    pub(super) status: DepositState,
    pub(super) confirmations: u32,
    pub(super) amount: &'a Money,
    pub(super) block: &'a BlockRef,
    pub(super) disposition: Disposition,
}

/// The changes of a batch, by deposit.
pub(super) fn fold<'a>(batch: &'a Batch<'_>) -> BTreeMap<&'a DepositKey, Change<'a>> {
    let mut changes: BTreeMap<&'a DepositKey, Change<'a>> = BTreeMap::new();
    for (position, payment_id, event) in batch.payments() {
        let Some((key, now, updated_at)) = stated(event) else { continue };
        let detected = match event {
            PaymentEvent::DepositDetected(event) => Some(Detected { from: event.from.as_deref(), at: event.at }),
            PaymentEvent::DepositAssigned(event) if event.was_unmatched => {
                Some(Detected { from: event.from.as_deref(), at: event.at })
            }
            _ => changes.get(key).and_then(|earlier| earlier.detected),
        };
        changes.insert(key, Change { payment_id, detected, now, updated_at, position });
    }
    changes
}

fn stated(event: &PaymentEvent) -> Option<(&DepositKey, Stated<'_>, Timestamp)> {
    let (key, status, confirmations, amount, block, disposition, at) = match event {
        PaymentEvent::DepositDetected(event) => {
            (&event.deposit, DepositState::Seen, 0, &event.amount, &event.block, event.disposition, event.at)
        }
        PaymentEvent::DepositReincluded(event) => {
            (&event.deposit, DepositState::Seen, 0, &event.amount, &event.block, event.disposition, event.at)
        }
        PaymentEvent::DepositConfirmed(event) => {
            let confirmations = event.confirmations;
            (
                &event.deposit,
                DepositState::Confirmed,
                confirmations,
                &event.amount,
                &event.block,
                event.disposition,
                event.at,
            )
        }
        PaymentEvent::DepositOrphaned(event) => {
            (&event.deposit, DepositState::Orphaned, 0, &event.amount, &event.block, event.disposition, event.at)
        }
        PaymentEvent::DepositAssigned(event) => {
            (&event.deposit, DepositState::Confirmed, 0, &event.amount, &event.block, Disposition::Credit, event.at)
        }
        PaymentEvent::HeldDepositRefunded(_)
        | PaymentEvent::PaymentCreated(_)
        | PaymentEvent::PaymentPartiallyPaid(_)
        | PaymentEvent::PaymentConfirming(_)
        | PaymentEvent::PaymentCompleted(_)
        | PaymentEvent::PaymentAdjusted(_)
        | PaymentEvent::PaymentExpired(_)
        | PaymentEvent::PaymentCancelled(_)
        | PaymentEvent::PaymentHeld(_)
        | PaymentEvent::PaymentReversed(_)
        | PaymentEvent::PaymentReopened(_)
        | PaymentEvent::PaymentRefunded(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::RefundCompleted(_)
        | PaymentEvent::RefundCancelled(_) => return None,
    };
    Some((key, Stated { status, confirmations, amount, block, disposition }, at))
}
