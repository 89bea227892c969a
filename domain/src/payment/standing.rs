//! How a payment stands: a pure function of its terms, its live deposits and what happened to it before.

use super::error::PaymentError;
use super::refund::RefundState;
use super::state::{Deposit, DepositState, Disposition, Flags, HoldReason, PaymentState, PaymentStatus};
use crate::chain::BlockRef;
use crate::money::{Money, MoneyError};

/// The answer of [`assess`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assessment {
    pub(super) status: PaymentStatus,
    pub(super) flags: Flags,
    pub(super) totals: Totals,
}

/// The credited deposits of a payment that stand in the canonical chain, and its live refunds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// All of them, confirmed or not.
    pub received: Money,
    /// The confirmed ones.
    pub confirmed: Money,
    /// Of the confirmed ones, those in blocks before the deadline.
    pub confirmed_in_time: Money,
    /// Refunds that were sent.
    pub refunded: Money,
    /// Refunds that are asked for and not yet sent.
    pub refunds_requested: Money,
}

impl PaymentState {
    /// The least that is enough, in minor units: the amount less the tolerance (rounded down), never zero.
    #[must_use]
    pub fn amount_sufficient(&self) -> u128 {
        let amount = self.terms.amount.minor();
        let tolerated = self.terms.policy.underpayment_tolerance.of_rounded_down(amount);
        amount.saturating_sub(tolerated).max(1)
    }

    /// What has arrived and counts.
    ///
    /// # Errors
    /// When deposits or refunds add up to more than 2^128 minor units.
    pub fn totals(&self) -> Result<Totals, MoneyError> {
        let nothing = Money::zero(self.terms.asset.id.clone());
        let mut totals = Totals {
            received: nothing.clone(),
            confirmed: nothing.clone(),
            confirmed_in_time: nothing.clone(),
            refunded: nothing.clone(),
            refunds_requested: nothing,
        };
        for deposit in self.live_deposits().filter(|deposit| deposit.disposition == Disposition::Credit) {
            totals.received = totals.received.checked_add(&deposit.amount)?;
            if deposit.state == DepositState::Confirmed {
                totals.confirmed = totals.confirmed.checked_add(&deposit.amount)?;
                if !self.is_late(&deposit.block) {
                    totals.confirmed_in_time = totals.confirmed_in_time.checked_add(&deposit.amount)?;
                }
            }
        }
        for refund in self.refunds.values() {
            match refund.state {
                RefundState::Requested => {
                    totals.refunds_requested = totals.refunds_requested.checked_add(&refund.amount)?;
                }
                RefundState::Completed { .. } => totals.refunded = totals.refunded.checked_add(&refund.amount)?,
                RefundState::Cancelled { .. } => {}
            }
        }
        Ok(totals)
    }

    /// Whether a block lies after the deadline.
    #[must_use]
    pub fn is_late(&self, block: &BlockRef) -> bool {
        block.time > self.terms.expires_at
    }

    fn live_deposits(&self) -> impl Iterator<Item = &Deposit> {
        self.deposits.values().filter(|deposit| deposit.is_live())
    }
}

/// How the payment stands now.
pub(super) fn assess(payment: &PaymentState) -> Result<Assessment, PaymentError> {
    let totals = payment.totals()?;
    let status = status(payment, &totals);
    let sufficient = payment.amount_sufficient();
    let flags = Flags {
        underpaid: matches!(status, PaymentStatus::Expired | PaymentStatus::Reversed | PaymentStatus::Held)
            && !totals.received.is_zero(),
        overpaid: status == PaymentStatus::Completed && totals.confirmed.minor() > payment.terms.amount.minor(),
        paid_late: status == PaymentStatus::Completed && totals.confirmed_in_time.minor() < sufficient,
        partially_refunded: status != PaymentStatus::Refunded && !totals.refunded.is_zero(),
    };
    Ok(Assessment { status, flags, totals })
}

fn status(payment: &PaymentState, totals: &Totals) -> PaymentStatus {
    let sufficient = payment.amount_sufficient();
    let any_held = || {
        let awaits_decision = |deposit: &Deposit| {
            deposit.decision.is_none()
                && matches!(deposit.disposition, Disposition::Hold(HoldReason::Late | HoldReason::Cancelled))
        };
        payment.live_deposits().any(awaits_decision)
    };
    // A credited or held deposit in a later block proves that the deadline is behind us, whatever our clock says.
    let any_late = || {
        payment.live_deposits().any(|deposit| {
            deposit.disposition != Disposition::Hold(HoldReason::WrongAsset) && payment.is_late(&deposit.block)
        })
    };
    // Money that goes back does not complete a payment. One that was completed stays so: what was bought was paid.
    let spoken_for = if payment.completed_at.is_some() {
        0
    } else {
        totals.refunded.minor().saturating_add(totals.refunds_requested.minor())
    };
    let enough = |arrived: &Money| arrived.minor().saturating_sub(spoken_for) >= sufficient;
    let all_refunded = !totals.confirmed.is_zero() && totals.refunded.minor() >= totals.confirmed.minor();
    if all_refunded {
        PaymentStatus::Refunded
    } else if enough(&totals.confirmed) {
        PaymentStatus::Completed
    } else if enough(&totals.received) {
        PaymentStatus::Confirming
    } else if payment.completed_at.is_some() {
        PaymentStatus::Reversed
    } else if payment.cancelled_at.is_some() {
        if any_held() { PaymentStatus::Held } else { PaymentStatus::Cancelled }
    } else if payment.deadline_passed || any_late() {
        if any_held() { PaymentStatus::Held } else { PaymentStatus::Expired }
    } else if totals.received.is_zero() {
        PaymentStatus::Pending
    } else {
        PaymentStatus::PartiallyPaid
    }
}
