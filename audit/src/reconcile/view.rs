//! A payment as its events leave it, as far as money at its address goes.

use std::collections::{BTreeMap, BTreeSet};

use wopay_domain::payment::{DepositState, PaymentEvent};
use wopay_domain::{AssetId, ChainName, DepositKey, LedgerEvent, MerchantId, Money, PaymentId};

use super::ReconcileError;

/// A payment and the money that moved for it.
#[derive(Clone, Debug)]
pub(super) struct PaymentView {
    pub(super) id: PaymentId,
    pub(super) merchant: MerchantId,
    /// As the events say, whatever a claim says.
    pub(super) address: String,
    deposits: BTreeMap<DepositKey, Deposit>,
    /// Deposits that were assigned to it and stand at other addresses.
    elsewhere: BTreeSet<DepositKey>,
    refunds: Vec<Refund>,
}

#[derive(Clone, Debug)]
struct Deposit {
    amount: Money,
    block: u64,
    state: DepositState,
}

#[derive(Clone, Debug)]
struct Refund {
    chain: ChainName,
    amount: Money,
    network_fee: Option<Money>,
}

/// What an account should hold, in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) confirmed: u128,
    pub(super) seen: u128,
    /// What completed refunds took, in the order of their completion; each may have been paid from elsewhere.
    outflows: Vec<u128>,
}

impl PaymentView {
    /// Opens the view with a payment's first event; `None` for any other.
    pub(super) fn open(event: &LedgerEvent) -> Option<Self> {
        let LedgerEvent::Payment(PaymentEvent::PaymentCreated(created)) = event else { return None };
        Some(Self {
            id: created.payment_id,
            merchant: created.merchant_id,
            address: created.terms.address.clone(),
            deposits: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            refunds: Vec::new(),
        })
    }

    /// Folds an event that moves money, or says that it has.
    pub(super) fn fold(&mut self, event: LedgerEvent) {
        let LedgerEvent::Payment(event) = event else { return };
        match event {
            PaymentEvent::DepositDetected(seen) => {
                self.stand(seen.deposit, seen.amount, seen.block.number, DepositState::Seen)
            }
            PaymentEvent::DepositReincluded(seen) => {
                self.stand(seen.deposit, seen.amount, seen.block.number, DepositState::Seen);
            }
            PaymentEvent::DepositConfirmed(confirmed) => {
                let block = confirmed.block.number;
                self.stand(confirmed.deposit, confirmed.amount, block, DepositState::Confirmed);
            }
            PaymentEvent::DepositOrphaned(orphaned) => {
                self.stand(orphaned.deposit, orphaned.amount, orphaned.block.number, DepositState::Orphaned);
            }
            PaymentEvent::DepositAssigned(assigned) => {
                if assigned.was_unmatched {
                    self.elsewhere.insert(assigned.deposit);
                }
            }
            PaymentEvent::HeldDepositRefunded(refund) => self.refunds.push(Refund {
                chain: refund.deposit.chain.clone(),
                amount: refund.amount.clone(),
                network_fee: refund.network_fee.clone(),
            }),
            PaymentEvent::RefundCompleted(refund) => self.refunds.push(Refund {
                chain: refund.chain.clone(),
                amount: refund.amount.clone(),
                network_fee: refund.network_fee.clone(),
            }),
            // None of these moves money on a chain.
            PaymentEvent::PaymentCreated(_)
            | PaymentEvent::RefundRequested(_)
            | PaymentEvent::RefundCancelled(_)
            | PaymentEvent::PaymentPartiallyPaid(_)
            | PaymentEvent::PaymentConfirming(_)
            | PaymentEvent::PaymentCompleted(_)
            | PaymentEvent::PaymentAdjusted(_)
            | PaymentEvent::PaymentExpired(_)
            | PaymentEvent::PaymentCancelled(_)
            | PaymentEvent::PaymentHeld(_)
            | PaymentEvent::PaymentReversed(_)
            | PaymentEvent::PaymentReopened(_)
            | PaymentEvent::PaymentRefunded(_) => {}
        }
    }

    fn stand(&mut self, deposit: DepositKey, amount: Money, block: u64, state: DepositState) {
        if self.elsewhere.contains(&deposit) {
            return;
        }
        self.deposits.insert(deposit, Deposit { amount, block, state });
    }

    /// Adds what stands on `chain` in blocks up to `height`.
    pub(super) fn add_to(
        &self,
        held: &mut BTreeMap<AssetId, Held>,
        chain: &ChainName,
        height: u64,
    ) -> Result<(), ReconcileError> {
        for (key, deposit) in &self.deposits {
            if &key.chain != chain || deposit.block > height {
                continue;
            }
            let held = held.entry(deposit.amount.asset().clone()).or_default();
            let sum = match deposit.state {
                DepositState::Seen => &mut held.seen,
                DepositState::Confirmed => &mut held.confirmed,
                DepositState::Orphaned => continue,
            };
            let overflow = || ReconcileError::Overflow(deposit.amount.asset().clone());
            *sum = sum.checked_add(deposit.amount.minor()).ok_or_else(overflow)?;
        }
        for refund in self.refunds.iter().filter(|refund| &refund.chain == chain) {
            // Of one asset they left together.
            let mut left: BTreeMap<&AssetId, u128> = BTreeMap::new();
            for money in std::iter::once(&refund.amount).chain(&refund.network_fee) {
                let sum = left.entry(money.asset()).or_default();
                let overflow = || ReconcileError::Overflow(money.asset().clone());
                *sum = sum.checked_add(money.minor()).ok_or_else(overflow)?;
            }
            for (asset, minor) in left {
                held.entry(asset.clone()).or_default().outflows.push(minor);
            }
        }
        Ok(())
    }
}

impl Held {
    /// All that refunds took; `None`: more than can be counted.
    pub(super) fn refunded(&self) -> Option<u128> {
        self.outflows.iter().try_fold(0u128, |sum, outflow| sum.checked_add(*outflow))
    }

    /// What is there too much and what too little, given what should be there before refunds. None of either when the
    /// first of the refunds, as many as it takes, explain it.
    pub(super) fn difference(&self, expected: u128, found: u128) -> (u128, u128) {
        let mut left = expected;
        for outflow in &self.outflows {
            if left <= found {
                break;
            }
            left = left.saturating_sub(*outflow);
        }
        if left == found { (0, 0) } else { (found.saturating_sub(expected), expected.saturating_sub(found)) }
    }
}

#[cfg(test)]
mod tests {
    use super::Held;

    #[test]
    fn refunds_paid_from_the_address_or_from_elsewhere_are_both_right() {
        let held = Held { confirmed: 100, seen: 0, outflows: vec![30, 20] };
        for found in [100, 70, 50] {
            assert_eq!(held.difference(100, found), (0, 0), "{found}");
        }
        assert_eq!(held.difference(100, 101), (1, 0));
        assert_eq!(held.difference(100, 80), (0, 20));
        assert_eq!(held.difference(100, 49), (0, 51));
        assert_eq!(held.refunded(), Some(50));
    }
}
