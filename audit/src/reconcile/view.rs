//! An address as the events leave it, as far as money at it goes.

use std::collections::{BTreeMap, BTreeSet};

use wopay_domain::payment::{DepositState, PaymentEvent};
use wopay_domain::{AssetId, ChainName, DepositKey, LedgerEvent, MerchantId, Money, PaymentId};

use super::ReconcileError;
use super::report::Sums;
use super::suspense::{Outcome, Unmatched};

/// Of the sums that refunds can make, so many are tried.
const SUMS_MAX: usize = 4_096;

/// An address of ours with all that the events say of it.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    pub(super) address: String,
    /// The payment that claims it.
    pub(super) payment: Option<PaymentView>,
    /// Money that came to it while no payment claimed it.
    pub(super) unmatched: Vec<Unmatched>,
    /// The other payments that some of the money here was assigned to: their refunds may have been paid from here.
    pub(super) given_to: Vec<PaymentView>,
}

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
    /// The payments that have deposits which stand here.
    pub(super) reassigned_to: BTreeSet<PaymentId>,
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
    /// Without refunds: those follow from the outflows.
    pub(super) sums: Sums,
    /// What each completed refund of this money took; it may have been paid from elsewhere.
    outflows: Vec<u128>,
    /// What refunds of other addresses took that may have been paid from here.
    others: Vec<u128>,
}

/// How an account differs. At most one is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gap {
    /// The chain holds so much more.
    pub(super) unrecorded: u128,
    /// The chain holds so much less.
    pub(super) missing: u128,
    /// The chain holds so much less, and refunds took it.
    pub(super) left: u128,
}

impl Folded {
    /// An address with nothing but its payment.
    pub(super) const fn new(address: String, payment: Option<PaymentView>) -> Self {
        Self { address, payment, unmatched: Vec::new(), given_to: Vec::new() }
    }

    /// The assets of a chain that the events name here.
    pub(super) fn assets(&self, chain: &ChainName) -> BTreeSet<AssetId> {
        let of_chain = |asset: &AssetId| asset.chain() == chain.as_str();
        let deposits = self.payment.iter().flat_map(|payment| payment.deposits.values());
        let moved = self.payment.iter().flat_map(|payment| &payment.refunds).flat_map(Refund::moneys);
        let unmatched = self.unmatched.iter().flat_map(Unmatched::moneys);
        let moneys = deposits.map(|deposit| &deposit.amount).chain(moved).chain(unmatched);
        moneys.map(Money::asset).filter(|asset| of_chain(asset)).cloned().collect()
    }

    /// What should be there with the block at that height, without what stands beside the books.
    pub(super) fn held(&self, chain: &ChainName, asset: &AssetId, height: u64) -> Result<Held, ReconcileError> {
        let overflow = || ReconcileError::Overflow(asset.clone());
        let mut held = Held::default();
        if let Some(payment) = &self.payment {
            payment.add_deposits(&mut held, chain, asset, height).ok_or_else(overflow)?;
            held.outflows = payment.outflows(chain, asset).ok_or_else(overflow)?;
        }
        for other in &self.given_to {
            held.others.extend(other.outflows(chain, asset).ok_or_else(overflow)?);
        }
        for deposit in &self.unmatched {
            if deposit.is_live && deposit.block <= height && deposit.amount.asset() == asset {
                held.sums.unmatched = held.sums.unmatched.checked_add(deposit.amount.minor()).ok_or_else(overflow)?;
            }
            if let Some(Outcome::Refunded { amount, network_fee }) = &deposit.outcome {
                held.outflows.push(outflow(asset, amount, network_fee.as_ref()).ok_or_else(overflow)?);
            }
        }
        Ok(held)
    }
}

impl Unmatched {
    fn moneys(&self) -> impl Iterator<Item = &Money> {
        let fee = match &self.outcome {
            Some(Outcome::Refunded { network_fee, .. }) => network_fee.as_ref(),
            Some(Outcome::Assigned(_)) | None => None,
        };
        std::iter::once(&self.amount).chain(fee)
    }
}

impl Refund {
    fn moneys(&self) -> impl Iterator<Item = &Money> {
        std::iter::once(&self.amount).chain(&self.network_fee)
    }
}

/// What a refund took of an asset, nothing perhaps: amount and fee left together. `None`: more than can be counted.
fn outflow(asset: &AssetId, amount: &Money, network_fee: Option<&Money>) -> Option<u128> {
    let moneys = std::iter::once(amount).chain(network_fee).filter(|money| money.asset() == asset);
    moneys.map(Money::minor).try_fold(0_u128, u128::checked_add)
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
            reassigned_to: BTreeSet::new(),
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
            // It stands where it stood.
            PaymentEvent::HeldDepositReassigned(reassigned) => {
                self.reassigned_to.insert(reassigned.to_payment_id);
            }
            PaymentEvent::ReassignedDepositReported(reported) => {
                self.stand(reported.deposit, reported.amount, reported.block.number, reported.state);
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

    /// Adds what stands on `chain` in blocks up to `height`; `None`: more than can be counted.
    fn add_deposits(&self, held: &mut Held, chain: &ChainName, asset: &AssetId, height: u64) -> Option<()> {
        for (key, deposit) in &self.deposits {
            if &key.chain != chain || deposit.amount.asset() != asset || deposit.block > height {
                continue;
            }
            let sum = match deposit.state {
                DepositState::Seen => &mut held.sums.seen,
                DepositState::Confirmed => &mut held.sums.confirmed,
                DepositState::Orphaned => continue,
            };
            *sum = sum.checked_add(deposit.amount.minor())?;
        }
        Some(())
    }

    /// What each refund on `chain` took of an asset; `None`: more than can be counted.
    fn outflows(&self, chain: &ChainName, asset: &AssetId) -> Option<Vec<u128>> {
        let refunds = self.refunds.iter().filter(|refund| &refund.chain == chain);
        refunds.map(|refund| outflow(asset, &refund.amount, refund.network_fee.as_ref())).collect()
    }
}

impl Held {
    /// With all that refunds of this money took; `None`: more than can be counted.
    pub(super) fn sums(&self) -> Option<Sums> {
        let refunded = self.outflows.iter().copied().try_fold(0_u128, u128::checked_add)?;
        Some(Sums { refunded, ..self.sums })
    }

    /// How the account differs from what should be there before refunds.
    pub(super) fn gap(&self, expected: u128, found: u128) -> Gap {
        let Some(gone) = expected.checked_sub(found) else {
            return Gap { unrecorded: found.saturating_sub(expected), ..Gap::default() };
        };
        if self.is_explained(gone) {
            Gap { left: gone, ..Gap::default() }
        } else {
            Gap { missing: gone, ..Gap::default() }
        }
    }

    /// Whether some of the refunds took exactly that much: each was paid from here or from elsewhere. With very many of them
    /// not every choice is tried, but the earliest ones always are.
    fn is_explained(&self, gone: u128) -> bool {
        let mut sums = BTreeSet::from([0_u128]);
        for outflow in self.outflows.iter().chain(&self.others) {
            let with_it = sums.iter().filter_map(|sum| sum.checked_add(*outflow)).filter(|sum| *sum <= gone);
            let with_it: Vec<u128> = with_it.collect();
            sums.extend(with_it);
            if sums.contains(&gone) {
                return true;
            }
            // The largest stay: of the refunds that were looked at, all of them together.
            while sums.len() > SUMS_MAX {
                sums.pop_first();
            }
        }
        sums.contains(&gone)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, Held};

    fn held(outflows: &[u128], others: &[u128]) -> Held {
        Held { outflows: outflows.to_vec(), others: others.to_vec(), ..Held::default() }
    }

    #[test]
    fn refunds_paid_from_the_address_or_from_elsewhere_are_both_right() {
        let held = held(&[30, 20], &[7]);
        for found in [100, 93, 80, 70, 63, 50, 43] {
            assert_eq!(held.gap(100, found), Gap { left: 100 - found, ..Gap::default() }, "{found}");
        }
        assert_eq!(held.gap(100, 101), Gap { unrecorded: 1, ..Gap::default() });
        assert_eq!(held.gap(100, 81), Gap { missing: 19, ..Gap::default() });
        assert_eq!(held.gap(100, 42), Gap { missing: 58, ..Gap::default() });
        assert_eq!(held.sums().map(|sums| sums.refunded), Some(50));
    }

    #[test]
    fn many_refunds_are_tried_in_bounded_time() {
        let outflows: Vec<u128> = (1..=200).map(|number| number * 1_000_003).collect();
        let held = held(&outflows, &[]);
        let all: u128 = outflows.iter().sum();
        let gap = held.gap(all, 0);
        assert_eq!(gap, Gap { left: all, ..Gap::default() });
        assert_eq!(held.gap(all, 1).missing, all - 1);
    }
}
