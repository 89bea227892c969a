//! Folding events into the state. Never fails: what was recorded happened.

use super::event::UnmatchedDepositEvent;
use super::state::{Outcome, UnmatchedDeposit, UnmatchedDepositState};

/// Folds one event into the deposit.
pub fn evolve(deposit: &mut UnmatchedDeposit, event: UnmatchedDepositEvent) {
    match (&mut deposit.0, event) {
        (state, UnmatchedDepositEvent::UnmatchedDepositRecorded(recorded)) => {
            let (outcome, recorded_at) = match state.take() {
                Some(known) => (known.outcome, known.recorded_at),
                None => (None, recorded.at),
            };
            *state = Some(Box::new(UnmatchedDepositState {
                deposit: recorded.deposit,
                address: recorded.address,
                amount: recorded.amount,
                from: recorded.from,
                block: recorded.block,
                is_live: true,
                revision: recorded.revision,
                outcome,
                recorded_at,
            }));
        }
        (Some(state), UnmatchedDepositEvent::UnmatchedDepositOrphaned(orphaned)) => {
            state.is_live = false;
            state.revision = orphaned.revision;
        }
        (Some(state), UnmatchedDepositEvent::UnmatchedDepositAssigned(assigned)) => {
            let (payment_id, reason, at) = (assigned.payment_id, assigned.reason, assigned.at);
            state.outcome = Some(Outcome::Assigned { payment_id, reason, at });
        }
        (Some(state), UnmatchedDepositEvent::UnmatchedDepositRefunded(refunded)) => {
            let (transaction, reason, at) = (refunded.transaction, refunded.reason, refunded.at);
            state.outcome = Some(Outcome::Refunded { transaction, reason, at });
        }
        // A stream begins with its record; the store's sequence check keeps it so.
        (
            None,
            UnmatchedDepositEvent::UnmatchedDepositOrphaned(_)
            | UnmatchedDepositEvent::UnmatchedDepositAssigned(_)
            | UnmatchedDepositEvent::UnmatchedDepositRefunded(_),
        ) => {}
    }
}
