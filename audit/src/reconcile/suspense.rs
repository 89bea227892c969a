//! Money that came while no payment claimed its address, as its events leave it: where it stands, whatever was decided.

use std::collections::{BTreeSet, HashMap};

use wopay_domain::deposit::UnmatchedDepositEvent;
use wopay_domain::{DepositId, Money, PaymentId};

/// Every unmatched deposit of a chain, by address.
#[derive(Debug, Default)]
pub(super) struct Suspense {
    deposits: HashMap<DepositId, Unmatched>,
    by_address: HashMap<String, BTreeSet<DepositId>>,
    /// Addresses that have been compared.
    visited: BTreeSet<String>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Unmatched {
    pub(super) address: String,
    pub(super) amount: Money,
    pub(super) block: u64,
    /// Whether it stands in the chain.
    pub(super) is_live: bool,
    pub(super) outcome: Option<Outcome>,
}

/// What an operator decided about it.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// It stands where it stood, and is the payment's.
    Assigned(PaymentId),
    /// So much left, from here or from another account.
    Refunded { amount: Money, network_fee: Option<Money> },
}

impl Suspense {
    /// Folds an event of the deposit with this id.
    pub(super) fn fold(&mut self, id: DepositId, event: UnmatchedDepositEvent) {
        match event {
            UnmatchedDepositEvent::UnmatchedDepositRecorded(recorded) => {
                let known = self.deposits.remove(&id);
                if let Some(known) = known.as_ref().filter(|known| known.address != recorded.address) {
                    self.by_address.entry(known.address.clone()).or_default().remove(&id);
                }
                self.by_address.entry(recorded.address.clone()).or_default().insert(id);
                let outcome = known.and_then(|known| known.outcome);
                let (address, amount, block) = (recorded.address, recorded.amount, recorded.block.number);
                self.deposits.insert(id, Unmatched { address, amount, block, is_live: true, outcome });
            }
            UnmatchedDepositEvent::UnmatchedDepositOrphaned(_) => {
                if let Some(known) = self.deposits.get_mut(&id) {
                    known.is_live = false;
                }
            }
            UnmatchedDepositEvent::UnmatchedDepositAssigned(assigned) => {
                self.decide(id, Outcome::Assigned(assigned.payment_id));
            }
            UnmatchedDepositEvent::UnmatchedDepositRefunded(refunded) => {
                let (amount, network_fee) = (refunded.amount, refunded.network_fee);
                self.decide(id, Outcome::Refunded { amount, network_fee });
            }
        }
    }

    fn decide(&mut self, id: DepositId, outcome: Outcome) {
        if let Some(known) = self.deposits.get_mut(&id) {
            known.outcome = Some(outcome);
        }
    }

    /// The deposits at an address.
    pub(super) fn at(&self, address: &str) -> impl Iterator<Item = &Unmatched> {
        self.by_address.get(address).into_iter().flatten().filter_map(|id| self.deposits.get(id))
    }

    /// Notes that an address was compared.
    pub(super) fn visit(&mut self, address: &str) {
        if self.by_address.contains_key(address) {
            self.visited.insert(address.to_owned());
        }
    }

    /// Addresses that were not, at most so many.
    pub(super) fn unvisited(&self, limit: usize) -> Vec<String> {
        let left = self.by_address.keys().filter(|address| !self.visited.contains(*address));
        left.take(limit).cloned().collect()
    }
}
