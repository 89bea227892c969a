//! How far each chain was known to have come, and when: what the events say of it, no more.
//!
//! A watcher's report names the head it saw: a deposit's block and its confirmations, where they are recorded, give the
//! head exactly; a deposit's block alone says that the head was at least there. Between two such moments the events do not
//! tell, so the answer is a pair of bounds.

use std::collections::HashMap;

use wopay_domain::payment::PaymentEvent;
use wopay_domain::{ChainName, Timestamp};

/// Known heights of one chain that are kept; beyond it every second one is forgotten, which widens bounds, never falsifies
/// them.
const KNOWN_MAX: usize = 1 << 20;

/// How many moments are looked through for one whose height is exact.
const LOOK_BACK_MAX: usize = 64;

/// The heads of every chain as the events tell them. At most 2^20 moments (24 MiB) a chain.
#[derive(Debug, Default)]
pub(super) struct Heads {
    chains: HashMap<ChainName, Vec<Known>>,
    /// The newest deposit event: a status event that follows it in the same append tells its confirmations.
    last: Option<(String, LastDeposit)>,
}

#[derive(Debug)]
struct LastDeposit {
    chain: ChainName,
    transaction: String,
    block: u64,
}

/// A height that the head reached.
#[derive(Clone, Copy, Debug)]
struct Known {
    height: u64,
    /// When it was known for the first time to be at least this high.
    first: Timestamp,
    /// When it was known for the last time to be exactly this high.
    last_exact: Option<Timestamp>,
}

/// When a height was reached, as far as the events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Not before this moment.
    pub(super) not_before: Timestamp,
    /// Not after this moment; `None` if no event shows that it was reached at all.
    pub(super) by: Option<Timestamp>,
}

impl Heads {
    /// Learns from the next event of the ledger. Events come in order of position.
    pub(super) fn learn(&mut self, payment_id: &str, event: &PaymentEvent) {
        match event {
            PaymentEvent::DepositDetected(it) => {
                self.deposit(payment_id, &it.deposit.chain, &it.deposit.transaction, it.block.number);
                self.know(&it.deposit.chain, it.block.number, it.at, false);
            }
            PaymentEvent::DepositReincluded(it) => {
                self.deposit(payment_id, &it.deposit.chain, &it.deposit.transaction, it.block.number);
                self.know(&it.deposit.chain, it.block.number, it.at, false);
            }
            PaymentEvent::DepositConfirmed(it) => {
                self.know(&it.deposit.chain, head(it.block.number, it.confirmations), it.at, true);
            }
            event => {
                let Some(standing) = event.standing().filter(|standing| standing.confirmations > 0) else { return };
                let Some((payment, deposit)) = self.last.take() else { return };
                if payment == payment_id && standing.transaction_hash.as_deref() == Some(&deposit.transaction) {
                    self.know(&deposit.chain, head(deposit.block, standing.confirmations), standing.at, true);
                }
            }
        }
    }

    fn deposit(&mut self, payment_id: &str, chain: &ChainName, transaction: &str, block: u64) {
        let deposit = LastDeposit { chain: chain.clone(), transaction: transaction.to_owned(), block };
        self.last = Some((payment_id.to_owned(), deposit));
    }

    fn know(&mut self, chain: &ChainName, height: u64, at: Timestamp, exact: bool) {
        if !self.chains.contains_key(chain) {
            self.chains.insert(chain.clone(), Vec::new());
        }
        let Some(known) = self.chains.get_mut(chain) else { return };
        match known.last_mut() {
            // After a reorganization the head may stand lower than it did; what it reached then says nothing of now.
            Some(last) if height < last.height => {}
            Some(last) if height == last.height => {
                if exact {
                    last.last_exact = last.last_exact.max(Some(at));
                }
            }
            last => {
                let first = last.map_or(at, |last| last.first.max(at));
                known.push(Known { height, first, last_exact: exact.then_some(at) });
            }
        }
        if known.len() >= KNOWN_MAX {
            let mut index = 0_usize;
            known.retain(|_| {
                index = index.wrapping_add(1);
                index.is_multiple_of(2)
            });
        }
    }

    /// When the head of `chain` reached `height`, for somebody who saw the chain from `from` to `until` without a
    /// reorganization. What was known later says nothing: the chain may have been another by then.
    pub(super) fn reached(&self, chain: &ChainName, height: u64, from: Timestamp, until: Timestamp) -> Reached {
        let known = self.chains.get(chain).map_or(&[][..], Vec::as_slice);
        let by_height = known.partition_point(|known| known.height < height);
        let by_time = known.partition_point(|known| known.first < from);
        let by = known.get(by_height.max(by_time)).map(|known| known.first);
        let seen = known.partition_point(|known| known.first <= until);
        let below = known.get(..by_height.min(seen)).unwrap_or_default();
        let exact = below.iter().rev().take(LOOK_BACK_MAX).filter_map(|known| known.last_exact);
        let last_below = exact.filter(|at| *at <= until).max();
        let not_before = last_below.map_or(from, |last| last.max(from));
        Reached { not_before: by.map_or(not_before, |by| not_before.min(by)), by }
    }
}

/// The head that so many confirmations of a block mean.
pub(super) fn head(block: u64, confirmations: u32) -> u64 {
    block.saturating_add(u64::from(confirmations.max(1))).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use chrono::DateTime;

    use super::*;

    fn at(second: i64) -> Timestamp {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn heads(known: &[(u64, i64, bool)]) -> (Heads, ChainName) {
        let chain: ChainName = "bsc".parse().unwrap();
        let mut heads = Heads::default();
        for (height, second, exact) in known {
            heads.know(&chain, *height, at(*second), *exact);
        }
        (heads, chain)
    }

    #[test]
    fn what_was_seen_before_and_after_bounds_the_moment() {
        let (heads, chain) = heads(&[(10, 0, true), (12, 5, true), (12, 6, true), (20, 30, false)]);
        let reached = heads.reached(&chain, 15, at(1), at(40));
        assert_eq!(reached, Reached { not_before: at(6), by: Some(at(30)) });
    }

    #[test]
    fn nothing_later_means_not_known_to_be_reached() {
        let (heads, chain) = heads(&[(10, 0, true)]);
        assert_eq!(heads.reached(&chain, 11, at(3), at(9)), Reached { not_before: at(3), by: None });
    }

    #[test]
    fn what_was_reached_before_a_reorganization_proves_nothing_after_it() {
        let (heads, chain) = heads(&[(10, 0, true), (30, 10, true), (11, 20, true), (31, 40, true)]);
        // Seen at second 20 in block 11 of the new branch: that 30 was reached at second 10 was another branch.
        assert_eq!(heads.reached(&chain, 13, at(20), at(50)).by, Some(at(40)));
    }

    #[test]
    fn what_was_known_after_the_deposit_left_the_chain_bounds_nothing() {
        let (heads, chain) = heads(&[(10, 0, true), (12, 30, true)]);
        assert_eq!(heads.reached(&chain, 15, at(1), at(20)), Reached { not_before: at(1), by: None });
    }

    #[test]
    fn forgetting_widens_bounds_only() {
        let chain: ChainName = "bsc".parse().unwrap();
        let mut heads = Heads::default();
        for (height, second) in (0..).zip(0..).take(KNOWN_MAX + 10) {
            heads.know(&chain, height, at(second), true);
        }
        let reached = heads.reached(&chain, 1000, at(0), at(5_000));
        assert!(reached.not_before <= at(1000) && reached.by >= Some(at(1000)));
        assert!(heads.chains[&chain].len() < KNOWN_MAX);
    }
}
