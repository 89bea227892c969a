//! Tokens that nobody configured, on chains whose blocks are read for the configured ones only.
//!
//! Behind what is final, ranges of blocks are searched for whatever token arrived at addresses of payments. It is a sweep of
//! its own: a task asks the nodes, and a step only begins it or writes down what it found, so that money that counts waits
//! for none of it. Which blocks were swept stands in the cursor's row.
//!
//! A transfer that is recorded already is left alone, whatever its token is to us by now; every other one is recorded as of
//! an unknown token. So a token that is added while the sweep is behind is nothing special: where the blocks were processed
//! with it, its transfers are recorded; where they were processed without it, they are not, and come to light here. Both
//! have one key in one table, so none of them is there twice.
//!
//! What strangers send costs them little: rows are bounded by contract and address, by contract, and by day. What is beyond
//! is counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};
use wopay_domain::{BlockRef, ChainFamily, ChainName};
use wopay_eventbus::begin;

use super::error::WatchError;
use super::store::{self, Cursor};
use super::{ChainWatcher, gauge_value, unknown_store, with_causes};
use crate::source::{ChainSource, Found, Head, Search, Transfer};

/// Final blocks are searched when there are so many of them …
const EVERY_BLOCKS: u64 = 64;
/// … or after so long.
const EVERY: Duration = Duration::from_secs(60);
/// Blocks searched in one go, at most.
const BLOCKS_MAX: u64 = 2_000;
/// Addresses searched for, at most; the newest.
const ADDRESSES_MAX: i64 = 20_000;
/// An address is searched for so long after its payment was opened, as the chain counts time.
const OPENED_WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Transfers found in one go, at most.
const TRANSFERS_MAX: usize = 2_000;
/// Rows of one contract and address, of one contract, and of a day of the chain, at most.
const LIMITS: Limits = Limits { each: 10, contract: 1_000, day: 10_000 };
/// Between two tries after a failure: at first, and at most.
const RETRY_MIN: Duration = Duration::from_secs(60);
const RETRY_MAX: Duration = Duration::from_secs(60 * 60);
/// After so many failures in a row, answers need not show what is recorded: it may be what is wrong.
const STRICT_TRIES: u32 = 5;

/// What the sweep stands at.
#[derive(Default)]
pub(super) struct Sweep {
    /// The task that asks the nodes.
    task: Option<AbortOnDropHandle<Result<Swept, WatchError>>>,
    /// The height up to which blocks were swept, when it was last looked at.
    height: Option<u64>,
    begun_at: Option<Instant>,
    /// In a row.
    failures: u32,
    retry_at: Option<Instant>,
    /// There are more addresses than are searched for.
    is_full: bool,
    /// Something was recorded that may be deep enough already.
    has_found: bool,
}

/// What a task found.
struct Swept {
    first: u64,
    last: u64,
    /// The hash of the last block as it was processed, if it is still known.
    last_hash: Option<String>,
    /// There are more addresses than were searched for.
    is_full: bool,
    found: Found,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    each: u64,
    contract: u64,
    day: u64,
}

impl Sweep {
    /// `is_searched`: something may have been found already, by whoever watched before.
    pub(super) fn new(is_searched: bool) -> Self {
        Self { has_found: is_searched, ..Self::default() }
    }

    /// What is known of how far it came may be wrong.
    pub(super) fn look_again(&mut self) {
        self.height = None;
    }

    /// Whether something was recorded since this was last asked.
    pub(super) fn take_found(&mut self) -> bool {
        std::mem::take(&mut self.has_found)
    }

    fn is_due(&self, swept: u64, upto: u64) -> bool {
        let blocks = upto.saturating_sub(swept);
        blocks >= EVERY_BLOCKS || (blocks > 0 && self.begun_at.is_none_or(|at| at.elapsed() >= EVERY))
    }
}

impl ChainWatcher {
    /// Goes on with the sweep at the head, if that is called for now. Waits for no node, and fails no step.
    pub(super) async fn sweep_unknown(&mut self, cursor: &Cursor, head: &Head) {
        let is_done = self.sweep.task.as_ref().is_some_and(AbortOnDropHandle::is_finished);
        let result = match self.sweep.task.take_if(|_| is_done) {
            Some(task) => self.finish_sweep(task).await,
            None if self.sweep.task.is_none() && self.source.is_searched() => self.begin_sweep(cursor, head).await,
            None => Ok(()),
        };
        if let Err(failure) = result {
            self.sweep_failed(&failure);
        }
    }

    async fn begin_sweep(&mut self, cursor: &Cursor, head: &Head) -> Result<(), WatchError> {
        if self.sweep.retry_at.is_some_and(|at| at > Instant::now()) {
            return Ok(());
        }
        let upto = self.unchanging(head).min(cursor.height);
        let chain = self.settings.chain.clone();
        if self.sweep.height.is_none() {
            unknown_store::begin_above(&self.pool, &chain, upto).await?;
            self.sweep.height = unknown_store::swept(&self.pool, &chain).await?;
        }
        if !self.sweep.height.is_some_and(|swept| self.sweep.is_due(swept, upto)) {
            return Ok(());
        }
        // Another watcher may have done it meanwhile.
        self.sweep.height = unknown_store::swept(&self.pool, &chain).await?;
        let Some(swept) = self.sweep.height.filter(|swept| *swept < upto) else { return Ok(()) };
        self.sweep.begun_at = Some(Instant::now());
        let reading = Reading {
            source: Arc::clone(&self.source),
            pool: self.pool.clone(),
            chain,
            family: self.settings.family,
            first: swept.saturating_add(1),
            last: upto.min(swept.saturating_add(BLOCKS_MAX)),
            is_strict: self.sweep.failures < STRICT_TRIES,
        };
        self.sweep.task = Some(AbortOnDropHandle::new(tokio::spawn(reading.read())));
        Ok(())
    }

    async fn finish_sweep(&mut self, task: AbortOnDropHandle<Result<Swept, WatchError>>) -> Result<(), WatchError> {
        let swept = task.await.map_err(|error| WatchError::Contradiction { what: error.to_string() })??;
        let chain = self.settings.chain.to_string();
        if swept.is_full && !self.sweep.is_full {
            warn!(chain, addresses_max = ADDRESSES_MAX, "unknown tokens are searched for at the newest addresses only");
        }
        self.sweep.is_full = swept.is_full;
        let recorded = self.record_swept(&swept).await?;
        self.sweep.look_again();
        let Some(recorded) = recorded else {
            debug!(chain, first = swept.first, "these blocks were swept by another watcher, or are others by now");
            return Ok(());
        };
        self.sweep.has_found |= recorded > 0;
        if self.sweep.failures > 0 {
            info!(chain, last = swept.last, "final blocks are searched for unknown tokens again");
        }
        (self.sweep.failures, self.sweep.retry_at) = (0, None);
        counter!("wopay_chain_watchers_sweeps_total", "chain" => chain.clone(), "outcome" => "ok").increment(1);
        gauge!("wopay_chain_watchers_swept_height_blocks", "chain" => chain).set(gauge_value(swept.last));
        Ok(())
    }

    /// Says what is wrong once, counts it, and waits longer each time.
    fn sweep_failed(&mut self, failure: &WatchError) {
        let (chain, reason) = (self.settings.chain.to_string(), with_causes(failure));
        let retry_after = RETRY_MIN.saturating_mul(2_u32.saturating_pow(self.sweep.failures.min(16))).min(RETRY_MAX);
        if self.sweep.failures == 0 {
            warn!(
                chain,
                reason, "final blocks are NOT searched for unknown tokens now; trying again, ever more seldom"
            );
        } else {
            debug!(chain, reason, "final blocks are still not searched for unknown tokens");
        }
        counter!("wopay_chain_watchers_sweeps_total", "chain" => chain, "outcome" => "failed").increment(1);
        self.sweep.failures = self.sweep.failures.saturating_add(1);
        self.sweep.retry_at = Instant::now().checked_add(retry_after);
        self.sweep.look_again();
    }

    /// Records what was found, and how many transfers that is. `None`: the blocks are not those that were searched any more,
    /// or somebody else was faster.
    async fn record_swept(&self, swept: &Swept) -> Result<Option<usize>, WatchError> {
        let chain = &self.settings.chain;
        let mut tx = begin(&self.pool).await?;
        let Some(cursor) = store::lock_cursor(&mut tx, chain).await? else { return Ok(None) };
        let begun = unknown_store::swept(&mut *tx, chain).await?;
        let is_same = begun == swept.first.checked_sub(1)
            && cursor.height >= swept.last
            && unknown_store::block_hash(&mut tx, chain, swept.last).await? == swept.last_hash;
        if !is_same {
            return Ok(None);
        }
        let blocks = swept.found.blocks.iter();
        let transfers: Vec<(&BlockRef, &Transfer)> =
            blocks.flat_map(|(block, transfers)| transfers.iter().map(move |transfer| (block, transfer))).collect();
        let mut left_out = swept.found.left_out;
        let mut recorded = Vec::new();
        if let Some(upto) = transfers.iter().map(|(block, _)| block.time).max() {
            let mut assets: Vec<&str> = transfers.iter().map(|(_, transfer)| transfer.asset.as_str()).collect();
            assets.sort_unstable();
            assets.dedup();
            let counts = unknown_store::counts(&mut tx, chain, &assets).await?;
            let day_max = i64::try_from(LIMITS.day).unwrap_or(i64::MAX);
            let of_day = unknown_store::count_of_day(&mut tx, chain, upto, day_max).await?;
            let wanted = within(LIMITS, counts, of_day, &transfers);
            left_out = left_out.saturating_add(count(transfers.len().saturating_sub(wanted.len())));
            let wanted: Vec<_> =
                wanted.into_iter().map(|(block, transfer)| (block, transfer, self.leg(transfer))).collect();
            recorded = unknown_store::record(&mut tx, chain, &wanted).await?;
        }
        unknown_store::move_swept(&mut tx, chain, swept.last).await?;
        tx.commit().await?;
        self.show_found(&recorded, left_out, swept.found.oversized);
        Ok(Some(recorded.len()))
    }

    fn show_found(&self, recorded: &[String], left_out: u64, oversized: u64) {
        let chain = self.settings.chain.to_string();
        if !recorded.is_empty() {
            info!(chain, count = recorded.len(), "transfers of unknown tokens to addresses of payments");
            counter!("wopay_chain_watchers_odd_total", "chain" => chain.clone(), "kind" => super::deposit_store::UNKNOWN_TOKEN)
                .increment(count(recorded.len()));
        }
        let watched = recorded.iter().filter(|asset| self.settings.least.keys().any(|known| known.as_str() == *asset));
        let late = count(watched.count());
        if late > 0 {
            warn!(
                chain,
                count = late,
                "transfers of tokens that are watched now, which were not recorded with their blocks"
            );
            counter!("wopay_chain_watchers_found_late_total", "chain" => chain.clone()).increment(late);
        }
        if left_out > 0 {
            warn!(chain, count = left_out, "transfers of unknown tokens are NOT recorded: there are too many");
            counter!("wopay_chain_watchers_unknown_left_out_total", "chain" => chain.clone()).increment(left_out);
        }
        if oversized > 0 {
            error!(
                chain,
                count = oversized,
                "transfers of more than 2^128 minor units of unknown tokens are NOT recorded"
            );
            counter!("wopay_chain_watchers_amount_overflow_total", "chain" => chain).increment(oversized);
        }
    }
}

/// What a task needs to read what it is to search for, and to search.
struct Reading {
    source: Arc<dyn ChainSource>,
    pool: sqlx::PgPool,
    chain: ChainName,
    family: ChainFamily,
    first: u64,
    last: u64,
    is_strict: bool,
}

impl Reading {
    async fn read(self) -> Result<Swept, WatchError> {
        let Self { pool, chain, first, last, .. } = &self;
        let blocks = unknown_store::blocks(pool, chain, *first, *last).await?;
        let opened_since = blocks.last().map_or_else(super::now, |block| block.time) - OPENED_WITHIN;
        let (addresses, is_full) = unknown_store::addresses(pool, self.family, opened_since, ADDRESSES_MAX).await?;
        gauge!("wopay_chain_watchers_swept_addresses", "chain" => chain.to_string())
            .set(gauge_value(count(addresses.len())));
        gauge!("wopay_chain_watchers_swept_addresses_full", "chain" => chain.to_string()).set(if is_full {
            1.0
        } else {
            0.0
        });
        let last_hash = blocks.last().filter(|block| block.number == *last).map(|block| block.hash.clone());
        let found = if addresses.is_empty() {
            Found::default()
        } else {
            let recorded = unknown_store::recorded(pool, chain, *first, *last, &addresses).await?;
            let search = Search {
                first: *first,
                last: *last,
                addresses,
                blocks,
                recorded: if self.is_strict { recorded } else { Vec::new() },
                each_max: usize::try_from(LIMITS.each).unwrap_or(usize::MAX),
                transfers_max: TRANSFERS_MAX,
            };
            self.source.search(&search).await?
        };
        Ok(Swept { first: *first, last: *last, last_hash, is_full, found })
    }
}

/// Those of the transfers, from the first on, for which there is room beside what is recorded.
fn within<'a>(
    limits: Limits,
    mut counts: HashMap<(String, String), u64>,
    mut of_day: u64,
    transfers: &[(&'a BlockRef, &'a Transfer)],
) -> Vec<(&'a BlockRef, &'a Transfer)> {
    let mut of_contracts: HashMap<String, u64> = HashMap::new();
    for ((asset, _), count) in &counts {
        let of_contract = of_contracts.entry(asset.clone()).or_default();
        *of_contract = of_contract.saturating_add(*count);
    }
    let mut wanted = Vec::with_capacity(transfers.len());
    for (block, transfer) in transfers {
        let of_contract = of_contracts.entry(transfer.asset.to_string()).or_default();
        let of_each = counts.entry((transfer.asset.to_string(), transfer.to.clone())).or_default();
        if *of_each < limits.each && *of_contract < limits.contract && of_day < limits.day {
            for one in [of_each, of_contract, &mut of_day] {
                *one = one.saturating_add(1);
            }
            wanted.push((*block, *transfer));
        }
    }
    wanted
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use wopay_domain::{AssetId, DepositLeg};

    use super::*;

    fn block() -> BlockRef {
        BlockRef { number: 7, hash: "0x7".to_owned(), time: DateTime::UNIX_EPOCH }
    }

    fn transfer(contract: &str, to: &str) -> Transfer {
        Transfer {
            transaction: "0x1".to_owned(),
            leg: DepositLeg::Log(0),
            to: to.to_owned(),
            from: None,
            asset: AssetId::token(&"ethereum".parse().unwrap(), contract).unwrap(),
            minor: 1,
        }
    }

    /// How many of these are wanted, of each contract.
    fn wanted(limits: Limits, recorded: &[(&str, &str, u64)], of_day: u64, sent: &[(&str, &str)]) -> Vec<String> {
        let (block, sent): (_, Vec<_>) = (block(), sent.iter().map(|(contract, to)| transfer(contract, to)).collect());
        let counts = recorded.iter().map(|(contract, to, count)| {
            let asset = transfer(contract, to).asset;
            ((asset.to_string(), (*to).to_owned()), *count)
        });
        let sent: Vec<_> = sent.iter().map(|transfer| (&block, transfer)).collect();
        let wanted = within(limits, counts.collect(), of_day, &sent);
        wanted.iter().map(|(_, one)| format!("{} {}", one.asset.contract().unwrap(), one.to)).collect()
    }

    #[test]
    fn a_contract_fills_its_own_room_and_no_other() {
        let limits = Limits { each: 2, contract: 3, day: 10 };
        let sent = [("a", "x"), ("a", "x"), ("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")];
        assert_eq!(wanted(limits, &[], 0, &sent), ["a x", "a x", "a y", "b x"]);
        assert_eq!(wanted(limits, &[("a", "x", 2)], 2, &sent), ["a y", "b x"]);
        assert_eq!(wanted(limits, &[("a", "w", 3)], 3, &sent), ["b x"]);
    }

    #[test]
    fn a_day_has_an_end() {
        let limits = Limits { each: 2, contract: 3, day: 4 };
        assert_eq!(wanted(limits, &[], 3, &[("a", "x"), ("b", "x")]), ["a x"]);
        assert!(wanted(limits, &[], 4, &[("a", "x"), ("b", "x")]).is_empty());
    }
}
