//! Following a chain by the addresses of payments, for small installations on endpoints that would not give every block.
//!
//! A look asks for every transaction that mentions an address of a payment, or one of its token accounts, up to a final
//! height; what arrived is recorded like the deposits of a block, in its own block, which a node has to call final. Nothing
//! that is not final is looked at, so there is nothing to walk back, and blocks need not link.
//!
//! What it promises is what reading blocks promises, of fewer addresses: *everything up to the cursor that reached an address
//! that is looked at is recorded*. So the cursor moves only when every one of these addresses was looked at well beyond its
//! block, and from there blocks can be read, or addresses looked at, whichever the configuration says next. An address
//! that is claimed later is looked at from the beginning of its history. Why so, and what is not seen:
//! `docs/decisions/0025-solana-addresses.md`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use metrics::{counter, gauge};
use sqlx::PgConnection;
use tracing::{debug, warn};
use wopay_eventbus::begin;

use super::address_store::{self, Watched};
use super::deposit_store::{self, Observation};
use super::error::WatchError;
use super::finality::named_final;
use super::look::{Look, Until, look};
use super::store::{self, Cursor, StoreError};
use super::{ChainWatcher, Step, gauge_value, now, with_causes};
use crate::source::{BlockHeader, Head};

/// How often an address is looked at whose payment is no longer open.
const LATE_EVERY: Duration = Duration::from_secs(10 * 60);
/// With more addresses of open payments than this, blocks should be read.
const MANY_ADDRESSES: usize = 200;
/// So far below the newest final block the looks end: nodes that lag a little can answer, too.
const NODES_APART_BLOCKS: u64 = 8;
/// Heights that can be empty below one at which a block is looked for.
const EMPTY_BLOCKS_MAX: u64 = 16;
/// After so many addresses that could not be looked at the others wait for the next look.
const FAILURES_MAX: usize = 4;

/// What the looks so far leave for the next.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// The cursor below which all that waits to be confirmed is known to be of final blocks.
    proven: Option<Cursor>,
    last: Option<Instant>,
    looked: HashMap<String, Looked>,
    /// Where the cursor goes when every address was looked at that far.
    target: Option<BlockHeader>,
    /// The height of the head that others were last told.
    published: u64,
    is_many: bool,
}

/// What is known of an address.
#[derive(Debug)]
struct Looked {
    at: Instant,
    /// Everything up to this height is recorded.
    upto: u64,
    /// Transactions that were taken and will be listed again.
    done: HashSet<String>,
    /// There is more for the next look.
    has_more: bool,
}

impl Addresses {
    fn is_due(&self, every: Duration) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= every)
    }

    fn is_due_for(&self, watched: &Watched) -> bool {
        let looked = self.looked.get(&watched.address);
        looked.is_none_or(|looked| watched.is_open || looked.has_more || looked.at.elapsed() >= LATE_EVERY)
    }

    /// From now on other accounts are looked for.
    pub(super) fn begin_anew(&mut self) {
        for looked in self.looked.values_mut() {
            (looked.upto, looked.has_more) = (0, true);
        }
    }

    /// Whether each of these was looked at so far above that height that nothing below it is listed any more.
    fn reach(&self, watched: &[Watched], height: u64, listed_within: u64) -> bool {
        let height = height.saturating_add(listed_within);
        watched.iter().all(|one| self.looked.get(&one.address).is_some_and(|looked| looked.upto >= height))
    }
}

impl ChainWatcher {
    /// Looks at the addresses, if it is time, and records what arrived.
    pub(super) async fn look_at_addresses(&mut self, cursor: &Cursor, head: &Head) -> Result<Step, WatchError> {
        let newest = head.newest.block.number;
        let upto = named_final(head).map(|height| height.saturating_sub(NODES_APART_BLOCKS));
        let Some(upto) = upto.filter(|upto| *upto >= cursor.height) else {
            // The cursor is a confirmed block that was read with all others a moment ago.
            self.stands_at(cursor.height, newest, None);
            return Ok(Step::Idle);
        };
        if self.addresses.proven.as_ref() != Some(cursor) {
            if !self.is_final(cursor).await? {
                return self.reorganize(cursor, head).await;
            }
            self.addresses.proven = Some(cursor.clone());
        }
        if !self.addresses.is_due(self.settings.by_address.every) {
            return Ok(Step::Idle);
        }
        self.addresses.last = Some(Instant::now());
        // Another watcher may have moved the cursor beyond.
        self.addresses.target.take_if(|target| target.block.number <= cursor.height);
        if self.addresses.target.is_none() {
            let highest = upto.saturating_sub(self.settings.by_address.listed_within);
            self.addresses.target = self.newest_final(highest, cursor.height).await?;
        }
        let opened_since = now() - self.settings.by_address.kept_for;
        let watched = address_store::watched(&self.pool, self.settings.family, opened_since).await?;
        let looked = self.look_at_each(cursor, head, &watched, upto).await;
        let waits_for = self.conclude(cursor, head, &watched).await?;
        // What failed or is not finished does not wait for the next look.
        if !matches!(looked, Ok(true)) {
            self.addresses.last = None;
        }
        let is_complete = looked?;
        match waits_for {
            Some(reason) => self.stands_waiting(cursor.height, newest, &reason),
            None => self.stands_at(upto, newest, Some(head.newest.block.time)),
        }
        Ok(if is_complete { Step::Idle } else { Step::Again })
    }

    /// Whether all that waits to be confirmed up to that cursor is of final blocks: what was read with confirmed blocks,
    /// before addresses were looked at.
    async fn is_final(&self, cursor: &Cursor) -> Result<bool, WatchError> {
        if deposit_store::newest_waiting(&self.pool, &self.settings.chain, cursor.height).await?.is_none() {
            return Ok(true);
        }
        let header = self.source.final_header(cursor.height).await?;
        Ok(header.is_some_and(|header| header.block.hash == cursor.hash))
    }

    /// The newest final block not above `highest`, if it lies above `lowest`.
    async fn newest_final(&self, highest: u64, lowest: u64) -> Result<Option<BlockHeader>, WatchError> {
        let first = highest.saturating_sub(EMPTY_BLOCKS_MAX).max(lowest.saturating_add(1));
        for height in (first..=highest).rev() {
            if let Some(header) = self.source.final_header(height).await? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Looks at the addresses whose turn it is. Whether nothing new is left at any of them.
    async fn look_at_each(
        &mut self,
        cursor: &Cursor,
        head: &Head,
        watched: &[Watched],
        upto: u64,
    ) -> Result<bool, WatchError> {
        self.show_watched(watched);
        let current: HashSet<&str> = watched.iter().map(|one| one.address.as_str()).collect();
        self.addresses.looked.retain(|address, _| current.contains(address.as_str()));
        let due: Vec<&str> =
            watched.iter().filter(|one| self.addresses.is_due_for(one)).map(|one| one.address.as_str()).collect();
        let mut known = address_store::accounts(&self.pool, &self.settings.chain, &due).await?;
        let source = Arc::clone(&self.source);
        let Some(reads) = source.by_address() else { return Ok(true) };
        let listed_within = self.settings.by_address.listed_within;
        let looks: Vec<_> = due
            .into_iter()
            .map(|address| {
                let done = self.addresses.looked.get(address).map(|looked| looked.done.clone()).unwrap_or_default();
                let known = known.remove(address).unwrap_or_default();
                look(&*source, reads, address.to_owned(), known, done, Until { upto, listed_within })
            })
            .collect();
        let mut looks = stream::iter(looks).buffer_unordered(self.settings.concurrency);
        let (mut is_complete, mut failures) = (true, Vec::new());
        while let Some(look) = looks.next().await {
            match look {
                Ok(look) => is_complete &= self.take_in(cursor, head, look, upto).await?,
                Err(failure) => {
                    warn!(chain = %self.settings.chain, reason = with_causes(&failure), "an address is not looked at");
                    failures.push(failure);
                    if failures.len() >= FAILURES_MAX {
                        break;
                    }
                }
            }
        }
        match failures.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(is_complete),
        }
    }

    /// Records what a look found. Whether nothing new is left at the address.
    async fn take_in(&mut self, cursor: &Cursor, head: &Head, look: Look, upto: u64) -> Result<bool, WatchError> {
        let Look { address, blocks, accounts, has_new_accounts, done, is_complete } = look;
        if has_new_accounts || !blocks.is_empty() {
            let settled = self.settle(blocks).await?;
            let chain = self.settings.chain.clone();
            let mut tx = begin(&self.pool).await?;
            let is_ours = store::lock_cursor(&mut tx, &chain).await?.as_ref() == Some(cursor);
            // What is missed is seen by the next look.
            if !is_ours || self.misses_tokens(&mut tx).await?.is_some() {
                return Ok(true);
            }
            let recorded = self.record(&mut tx, &settled).await?;
            let reports = self.confirm_final(&mut tx, recorded, head).await?;
            address_store::keep_accounts(&mut tx, &chain, &address, &accounts).await?;
            tx.commit().await?;
            if reports > 0 {
                self.signal.wake();
            }
        }
        counter!("wopay_chain_watchers_addresses_looked_at_total", "chain" => self.settings.chain.to_string())
            .increment(1);
        let before = self.addresses.looked.get(&address).map_or(0, |looked| looked.upto);
        let upto = if is_complete { upto } else { before };
        let looked = Looked { at: Instant::now(), upto, done, has_more: !is_complete };
        self.addresses.looked.insert(address, looked);
        Ok(is_complete)
    }

    /// Confirms what is final and deep enough, and writes the reports about it and about what was recorded besides.
    async fn confirm_final(
        &self,
        conn: &mut PgConnection,
        mut changed: Vec<Observation>,
        head: &Head,
    ) -> Result<usize, StoreError> {
        let (chain, newest) = (&self.settings.chain, head.newest.block.number);
        if let Some(finalized) = named_final(head) {
            let (rule, agreed) = (self.agreements.rule.as_ref(), self.agreements.agreed());
            let default = self.settings.confirmations_default;
            let confirmed = deposit_store::confirm(conn, chain, newest, finalized, default, rule, &agreed).await?;
            changed.extend(confirmed);
        }
        self.report(conn, changed, newest).await
    }

    /// Confirms what waited for depth or agreement, publishes the head, and moves the cursor if every address was looked
    /// at up to where it goes. For what it waits instead, if it does.
    async fn conclude(
        &mut self,
        cursor: &Cursor,
        head: &Head,
        watched: &[Watched],
    ) -> Result<Option<String>, WatchError> {
        let chain = self.settings.chain.clone();
        self.seek_agreement(head.newest.block.number, head).await?;
        let mut tx = begin(&self.pool).await?;
        if store::lock_cursor(&mut tx, &chain).await?.as_ref() != Some(cursor) {
            return Ok(None);
        }
        if let Some(reason) = self.misses_tokens(&mut tx).await? {
            return Ok(Some(reason));
        }
        let matched = self.rematch(&mut tx).await?;
        let reports = self.confirm_final(&mut tx, matched, head).await?;
        let listed_within = self.settings.by_address.listed_within;
        let reach = |target: &&BlockHeader| self.addresses.reach(watched, target.block.number, listed_within);
        let reached = self.addresses.target.as_ref().filter(reach).cloned();
        if let Some(target) = &reached {
            store::insert_blocks(&mut tx, &chain, &[target]).await?;
            address_store::delete_blocks_below(&mut tx, &chain, target.block.number).await?;
            store::move_cursor(&mut tx, &chain, &Cursor::at(&target.block), &self.looks_for()).await?;
        }
        let newest = &head.newest.block;
        let is_newer = newest.number >= self.addresses.published;
        if is_newer {
            let finalized = reached.as_ref().map(|target| target.block.number);
            store::publish_head(&mut tx, &chain, newest, finalized).await?;
        }
        tx.commit().await?;
        if is_newer {
            self.addresses.published = newest.number;
        }
        if let Some(target) = reached {
            debug!(%chain, height = target.block.number, "every address was looked at");
            self.addresses.proven = Some(Cursor::at(&target.block));
            self.addresses.target = None;
        }
        if reports > 0 {
            self.signal.wake();
        }
        Ok(None)
    }

    /// How many addresses are watched, and whether that is too many.
    fn show_watched(&mut self, watched: &[Watched]) {
        let chain = &self.settings.chain;
        let open = watched.iter().filter(|one| one.is_open).count();
        let late = watched.len().saturating_sub(open);
        for (name, count) in
            [("wopay_chain_watchers_addresses_open", open), ("wopay_chain_watchers_addresses_late", late)]
        {
            gauge!(name, "chain" => chain.to_string()).set(gauge_value(u64::try_from(count).unwrap_or_default()));
        }
        let is_many = open > MANY_ADDRESSES;
        if is_many && !self.addresses.is_many {
            warn!(%chain, open, "so many open payments cost more calls by address than by block: set `mode = \"blocks\"`");
        }
        self.addresses.is_many = is_many;
    }
}
