//! What a batch changes in each deposit. Every deposit event states the whole deposit, so the last one wins.
//!
//! A reorganization can give one movement of money to another payment than before; each payment's stream then has its own
//! say, in any order beside the other's. So whose stream it is belongs to what a row is.

use std::collections::BTreeMap;

use wopay_domain::payment::{DepositState, Disposition, PaymentEvent};
use wopay_domain::{BlockRef, DepositKey, Money, PaymentId, Timestamp};

use crate::batch::Batch;

/// A deposit as a payment's stream has it.
pub(super) type Identity<'a> = (PaymentId, &'a DepositKey);

/// A deposit after a batch.
pub(super) struct Change<'a> {
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
    /// Where it stands, if that is not the payment's own address.
    pub(super) address: Option<&'a str>,
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
pub(super) fn fold<'a>(batch: &'a Batch<'_>) -> BTreeMap<Identity<'a>, Change<'a>> {
    let mut changes: BTreeMap<Identity<'a>, Change<'a>> = BTreeMap::new();
    for (position, payment_id, event) in batch.payments() {
        let Some((key, now, updated_at)) = stated(event) else { continue };
        let identity = (payment_id, key);
        let detected = match event {
            PaymentEvent::DepositDetected(event) => {
                Some(Detected { from: event.from.as_deref(), address: None, at: event.at })
            }
            PaymentEvent::DepositAssigned(event) if event.was_unmatched => {
                Some(Detected { from: event.from.as_deref(), address: event.address.as_deref(), at: event.at })
            }
            _ => changes.get(&identity).and_then(|earlier| earlier.detected),
        };
        changes.insert(identity, Change { detected, now, updated_at, position });
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
        PaymentEvent::ReassignedDepositReported(event) => {
            let (status, confirmations) = (event.state, event.confirmations);
            (&event.deposit, status, confirmations, &event.amount, &event.block, event.disposition, event.at)
        }
        PaymentEvent::HeldDepositReassigned(_)
        | PaymentEvent::HeldDepositRefunded(_)
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
