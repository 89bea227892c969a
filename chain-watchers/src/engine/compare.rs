//! Balances compared with what was recorded, for assets of which a chain does not show every arrival.
//!
//! What an address of an open payment holds beyond all that was recorded for it has arrived unseen: it is recorded as a
//! deposit in the block that shows it. The comparison is of one block: the balances are read by the hash of the cursor's
//! block, and what was recorded up to it is final under the cursor's lock. Why this cannot count money twice, and what it
//! does not see, stands in `docs/decisions/0021-native-from-contracts.md`.
//!
//! A comparison that fails is tried again later and holds nothing up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use metrics::counter;
use tracing::{info, warn};
use wopay_domain::{AssetId, BlockRef, DepositLeg};
use wopay_eventbus::begin;

use super::apply::SettledBlock;
use super::compare_store::{self, Arrival};
use super::error::WatchError;
use super::store::{self, Cursor};
use super::{ChainWatcher, with_causes};
use crate::source::{BlockHeader, Transfer};

/// Addresses compared at once, at most; those whose payments end first come first.
const ADDRESSES_MAX: i64 = 20_000;
/// So long after its payment is no longer open an address is still compared: what came just before must be seen.
const LINGERS: Duration = Duration::from_secs(60 * 60);
/// Blocks searched for the one in which a surplus came, at most: nodes keep the state of so many.
const SEARCHED_BLOCKS_MAX: u64 = 120;
/// Addresses with a surplus looked into at once.
const SURPLUSES_MAX: usize = 100;

/// How the leg of what a comparison found begins.
const OF_BALANCE: &str = "balance/";

/// Whether a comparison found it.
pub(super) fn is_of_balance(leg: &DepositLeg) -> bool {
    matches!(leg, DepositLeg::Trace(path) if path.starts_with(OF_BALANCE))
}

/// What the last comparison leaves for the next.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    last: Option<(Instant, u64)>,
    /// Addresses of payments that are or were open, and when they last were.
    seen_open: HashMap<String, Instant>,
}

/// An address that holds more than was recorded.
#[derive(Debug)]
struct Surplus {
    address: String,
    recorded: u128,
}

impl ChainWatcher {
    /// Compares the balances at the cursor, if that is called for now.
    pub(super) async fn compare_balances(&mut self, cursor: &Cursor) {
        let Some(compared) = self.source.compared(cursor.height) else { return };
        let due =
            self.comparison.last.is_none_or(|(at, height)| at.elapsed() >= compared.every && height != cursor.height);
        if !due {
            return;
        }
        let asset = compared.asset.clone();
        let result = self.compare(cursor, &asset).await;
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        counter!(
            "wopay_chain_watchers_balance_comparisons_total",
            "chain" => self.settings.chain.to_string(), "outcome" => outcome
        )
        .increment(1);
        let searched_from = match &result {
            Ok(()) => cursor.height,
            Err(error) => {
                warn!(chain = %self.settings.chain, reason = with_causes(error), "balances are not compared now");
                self.comparison.last.map_or(cursor.height, |(_, height)| height)
            }
        };
        self.comparison.last = Some((Instant::now(), searched_from));
    }

    async fn compare(&mut self, cursor: &Cursor, asset: &AssetId) -> Result<(), WatchError> {
        let addresses = self.compared_addresses().await?;
        if addresses.is_empty() {
            return Ok(());
        }
        let chain = &self.settings.chain;
        let first = self.comparison.last.map_or(0, |(_, height)| height.saturating_add(1));
        let first = first.max(cursor.height.saturating_sub(SEARCHED_BLOCKS_MAX)).min(cursor.height);
        let blocks = compare_store::headers(&self.pool, chain, first, cursor.height).await?;
        let Some(top) = blocks.last().filter(|top| Cursor::at(&top.block) == *cursor) else { return Ok(()) };
        let holdings = self.source.holdings(std::slice::from_ref(&top.block), &addresses).await?;
        let recorded = compare_store::recorded(&self.pool, chain, asset, &addresses).await?;
        let surpluses: Vec<Surplus> = addresses
            .into_iter()
            .zip(holdings.into_iter().flatten())
            .filter_map(|(address, holding)| {
                let recorded = recorded.get(&address).copied().unwrap_or_default();
                (holding > recorded).then_some(Surplus { address, recorded })
            })
            .take(SURPLUSES_MAX)
            .collect();
        if surpluses.is_empty() {
            return Ok(());
        }
        let found = self.locate(&blocks, asset, &surpluses).await?;
        self.record_found(cursor, asset, &surpluses, found).await
    }

    /// The addresses of payments that are open on this chain, or were not long ago.
    async fn compared_addresses(&mut self) -> Result<Vec<String>, WatchError> {
        let open = compare_store::open_addresses(&self.pool, &self.settings.chain, ADDRESSES_MAX).await?;
        if i64::try_from(open.len()).is_ok_and(|count| count >= ADDRESSES_MAX) {
            warn!(chain = %self.settings.chain, addresses_max = ADDRESSES_MAX, "more payments are open than are compared");
        }
        let now = Instant::now();
        let seen_open = &mut self.comparison.seen_open;
        seen_open.extend(open.into_iter().map(|address| (address, now)));
        seen_open.retain(|_, seen| now.duration_since(*seen) < LINGERS);
        Ok(seen_open.keys().cloned().collect())
    }

    /// In which of the blocks each surplus appears, as settled blocks. Where the node does not know the older ones any
    /// more, all is in the last.
    async fn locate(
        &self,
        blocks: &[BlockHeader],
        asset: &AssetId,
        surpluses: &[Surplus],
    ) -> Result<Vec<SettledBlock>, WatchError> {
        let addresses: Vec<String> = surpluses.iter().map(|surplus| surplus.address.clone()).collect();
        let refs: Vec<BlockRef> = blocks.iter().map(|header| header.block.clone()).collect();
        let (searched, holdings) = match self.source.holdings(&refs, &addresses).await {
            Ok(holdings) => (blocks, holdings),
            Err(error) => {
                info!(chain = %self.settings.chain, reason = with_causes(&error), "searching no older blocks");
                let last = blocks.get(blocks.len().saturating_sub(1)..).unwrap_or_default();
                let refs: Vec<BlockRef> = last.iter().map(|header| header.block.clone()).collect();
                (last, self.source.holdings(&refs, &addresses).await?)
            }
        };
        let above = searched.first().map_or(0, |header| header.block.number);
        let arrivals = compare_store::arrivals(&self.pool, &self.settings.chain, asset, &addresses, above).await?;
        Ok(appear(searched, asset, surpluses, &holdings, &arrivals))
    }

    /// Records what was found, unless the cursor or what was recorded has changed meanwhile.
    async fn record_found(
        &self,
        cursor: &Cursor,
        asset: &AssetId,
        surpluses: &[Surplus],
        found: Vec<SettledBlock>,
    ) -> Result<(), WatchError> {
        let chain = &self.settings.chain;
        let mut tx = begin(&self.pool).await?;
        if store::lock_cursor(&mut tx, chain).await?.as_ref() != Some(cursor) {
            return Ok(());
        }
        let addresses: Vec<String> = surpluses.iter().map(|surplus| surplus.address.clone()).collect();
        let recorded = compare_store::recorded(&mut *tx, chain, asset, &addresses).await?;
        let unchanged =
            |surplus: &Surplus| recorded.get(&surplus.address).copied().unwrap_or_default() == surplus.recorded;
        if !surpluses.iter().all(unchanged) {
            return Ok(());
        }
        let changed = self.record(&mut tx, &found).await?;
        let count = changed.len();
        let reports = self.report(&mut tx, changed, cursor.height).await?;
        tx.commit().await?;
        info!(%chain, count, "native money that came unseen was found by its balance");
        counter!("wopay_chain_watchers_balance_findings_total", "chain" => chain.to_string())
            .increment(u64::try_from(count).unwrap_or_default());
        if reports > 0 {
            self.signal.wake();
        }
        Ok(())
    }
}

/// The blocks in which the addresses begin to hold more than was recorded up to them, and how much more. Not every block
/// has to be among them (below the window only some are kept): what the chain showed in between explains the next one. What
/// an earlier comparison found explains every block, for its money may have come before the block that it was recorded in.
fn appear(
    blocks: &[BlockHeader],
    asset: &AssetId,
    surpluses: &[Surplus],
    holdings: &[Vec<u128>],
    arrivals: &[Arrival],
) -> Vec<SettledBlock> {
    let mut explained: Vec<u128> = surpluses
        .iter()
        .map(|surplus| {
            let since = arrivals.iter().filter(|arrival| arrival.address == surplus.address);
            surplus.recorded.saturating_sub(since.map(|arrival| arrival.minor).sum())
        })
        .collect();
    let mut settled = Vec::new();
    let mut below = None;
    for (header, held) in blocks.iter().zip(holdings) {
        let mut transfers = Vec::new();
        let height = header.block.number;
        let is_new = |arrival: &Arrival| arrival.height <= height && below.is_none_or(|below| arrival.height > below);
        for ((surplus, explained), held) in surpluses.iter().zip(&mut explained).zip(held) {
            let shown = arrivals.iter().filter(|arrival| arrival.address == surplus.address && is_new(arrival));
            *explained = explained.saturating_add(shown.map(|arrival| arrival.minor).sum());
            let Some(minor) = held.checked_sub(*explained).filter(|more| *more > 0) else { continue };
            *explained = *held;
            transfers.push(Transfer {
                transaction: header.block.hash.clone(),
                leg: DepositLeg::Trace(format!("{OF_BALANCE}{}", surplus.address)),
                to: surplus.address.clone(),
                from: None,
                asset: asset.clone(),
                minor,
            });
        }
        if !transfers.is_empty() {
            settled.push(SettledBlock { header: header.clone(), transfers });
        }
        below = Some(height);
    }
    settled
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn header(number: u64) -> BlockHeader {
        let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let block = BlockRef { number, hash: format!("0x{number}"), time };
        BlockHeader { block, parent_hash: format!("below 0x{number}") }
    }

    fn found(recorded: u128, holdings: [u128; 3], arrivals: &[(u64, u128)]) -> Vec<(u64, u128)> {
        found_in([5, 6, 7], recorded, holdings, arrivals)
    }

    fn found_in(blocks: [u64; 3], recorded: u128, holdings: [u128; 3], arrivals: &[(u64, u128)]) -> Vec<(u64, u128)> {
        let asset = AssetId::native(&"ethereum".parse().unwrap());
        let blocks = blocks.map(header);
        let surpluses = [Surplus { address: "0xa".to_owned(), recorded }];
        let holdings = holdings.map(|holding| vec![holding]);
        let arrival =
            |(height, minor): &(u64, u128)| Arrival { address: "0xa".to_owned(), height: *height, minor: *minor };
        let arrivals: Vec<_> = arrivals.iter().map(arrival).collect();
        let settled = appear(&blocks, &asset, &surpluses, &holdings, &arrivals);
        settled.iter().map(|block| (block.header.block.number, block.transfers[0].minor)).collect()
    }

    #[test]
    fn a_surplus_is_of_the_block_that_first_shows_it() {
        assert_eq!(found(0, [0, 7, 7], &[]), [(6, 7)]);
        assert_eq!(found(0, [3, 3, 10], &[]), [(5, 3), (7, 7)]);
        assert_eq!(found(5, [5, 5, 6], &[]), [(7, 1)]);
    }

    #[test]
    fn what_was_recorded_in_a_block_is_no_surplus_of_it() {
        assert_eq!(found(10, [0, 10, 15], &[(6, 10)]), [(7, 5)]);
        assert_eq!(found(10, [5, 15, 15], &[(6, 10)]), [(5, 5)]);
        assert_eq!(found(10, [0, 12, 12], &[(6, 10)]), [(6, 2)]);
    }

    #[test]
    fn what_was_recorded_between_the_blocks_is_no_surplus() {
        // Of the blocks below the window a locator is left.
        assert_eq!(found_in([0, 6, 7], 10, [0, 10, 15], &[(3, 10)]), [(7, 5)]);
        assert_eq!(found_in([0, 6, 7], 17, [0, 17, 20], &[(3, 10), (6, 7)]), [(7, 3)]);
    }

    #[test]
    fn what_was_found_before_is_found_in_no_earlier_block() {
        // 10 came in block 5 and were recorded, by a comparison that did not search so far, in block 6.
        assert_eq!(found(10, [10, 10, 11], &[]), [(7, 1)]);
    }

    #[test]
    fn what_was_spent_hides_a_surplus_and_never_makes_one() {
        assert_eq!(found(10, [10, 4, 9], &[]), []);
        assert_eq!(found(10, [12, 4, 13], &[]), [(5, 2), (7, 1)]);
    }
}
