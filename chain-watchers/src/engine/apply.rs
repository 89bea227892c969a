//! What changes the database: each function is one transaction under the cursor's lock.
//!
//! The cursor is compared after it was locked. If it is not where the step began, another watcher of the same chain was
//! faster: nothing is written, and the next step begins from the new cursor.

use metrics::counter;
use sqlx::PgConnection;
use tracing::{info, warn};
use wopay_domain::payment::{DepositReport, DepositStage};
use wopay_domain::{BlockRef, ChainName, DepositId, DepositKey, Money, PaymentId, payment};
use wopay_eventbus::begin;
use wopay_eventbus::commands::{ObserveDeposit, ObserveUnmatchedDeposit};

use super::deposit_store::{self, Observation, Report};
use super::error::WatchError;
use super::finality::named_final;
use super::store::{self, Cursor, StoreError, from_sql};
use super::{ChainWatcher, now, unknown_store};
use crate::source::{BlockHeader, Final, Head, Transfer};

/// A block with the transfers to addresses of ours that took place.
#[derive(Debug)]
pub(super) struct SettledBlock {
    pub(super) header: BlockHeader,
    pub(super) transfers: Vec<Transfer>,
}

/// Whether something was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It was; the cursor stands there now.
    Done(Cursor),
    /// Another watcher had moved the cursor.
    Overtaken,
    /// Others look for an asset that this watcher does not look for: why it waits, in full.
    Waiting(String),
}

impl ChainWatcher {
    /// Moves the cursor over these blocks and reports what follows. No block at all: the head is where the cursor is, and
    /// only what is final has moved.
    pub(super) async fn apply(
        &mut self,
        cursor: &Cursor,
        blocks: &[SettledBlock],
        head: &Head,
    ) -> Result<Applied, WatchError> {
        let chain = self.settings.chain.clone();
        let confirmable = self.confirmable(cursor, blocks, head).await?;
        let mut tx = begin(&self.pool).await?;
        if store::lock_cursor(&mut tx, &chain).await?.as_ref() != Some(cursor) {
            return Ok(self.overtaken());
        }
        if !blocks.is_empty()
            && let Some(reason) = self.misses_tokens(&mut tx).await?
        {
            return Ok(Applied::Waiting(reason));
        }
        let mut changed = self.record(&mut tx, blocks).await?;
        let reached = blocks.last().map_or_else(|| cursor.clone(), |block| Cursor::at(&block.header.block));
        changed.extend(self.rematch(&mut tx).await?);
        let finalized = confirmable.filter(|_| head.finality != Final::ByDepth);
        if let Some(confirmable) = confirmable {
            let (rule, agreed) = (self.agreements.rule.as_ref(), self.agreements.agreed());
            let default = self.settings.confirmations_default;
            let confirmed =
                deposit_store::confirm(&mut tx, &chain, reached.height, confirmable, default, rule, &agreed).await?;
            changed.extend(confirmed);
        }
        let reports = self.report(&mut tx, changed, reached.height).await?;
        if let Some(last) = blocks.last() {
            let headers: Vec<&BlockHeader> = blocks.iter().map(|block| &block.header).collect();
            store::insert_blocks(&mut tx, &chain, &headers).await?;
            // Twice the window: after a rewind there must still be a whole one below the cursor.
            store::prune_blocks(&mut tx, &chain, self.window_begin(self.window_begin(reached.height))).await?;
            store::move_cursor(&mut tx, &chain, &reached, &self.looks_for()).await?;
            store::publish_head(&mut tx, &chain, &last.header.block, finalized).await?;
        } else {
            store::publish_head(&mut tx, &chain, &head.newest.block, finalized).await?;
        }
        tx.commit().await?;
        self.named_final = named_final(head);
        counter!("wopay_chain_watchers_blocks_total", "chain" => chain.to_string())
            .increment(u64::try_from(blocks.len()).unwrap_or_default());
        if reports > 0 {
            self.signal.wake();
        }
        Ok(Applied::Done(reached))
    }

    /// Sets the cursor back to a common ancestor and reports what stood above it as orphaned, newest first. Where the chain
    /// says what is final, not below what was proven to be: whoever says otherwise is wrong, or the network has broken its
    /// word, and that is for people to find out.
    pub(super) async fn rewind(
        &mut self,
        cursor: &Cursor,
        ancestor: &Cursor,
        head: &Head,
    ) -> Result<Applied, WatchError> {
        let chain = self.settings.chain.clone();
        let mut tx = begin(&self.pool).await?;
        if store::lock_cursor(&mut tx, &chain).await?.as_ref() != Some(cursor) {
            return Ok(self.overtaken());
        }
        if head.finality != Final::ByDepth
            && let Some(finalized) = store::finalized(&mut tx, &chain).await?
            && (ancestor.height.saturating_add(1)..=cursor.height).contains(&finalized)
        {
            return Err(WatchError::AgainstFinal { ancestor: ancestor.height, finalized });
        }
        let mut orphaned = deposit_store::orphan_above(&mut tx, &chain, ancestor.height).await?;
        orphaned.sort_by_key(|deposit| std::cmp::Reverse(deposit.block_number));
        let reports = self.report(&mut tx, orphaned, ancestor.height).await?;
        store::delete_blocks_above(&mut tx, &chain, ancestor.height).await?;
        store::move_cursor(&mut tx, &chain, ancestor, &self.looks_for()).await?;
        store::set_head_back(&mut tx, &chain, ancestor.height).await?;
        unknown_store::set_swept_back(&mut tx, &chain, ancestor.height).await?;
        tx.commit().await?;
        self.sweep.look_again();
        let depth = cursor.height.saturating_sub(ancestor.height);
        warn!(%chain, from = cursor.height, to = ancestor.height, depth, orphaned = reports, "reorganization");
        counter!("wopay_chain_watchers_reorgs_total", "chain" => chain.to_string()).increment(1);
        counter!("wopay_chain_watchers_orphaned_blocks_total", "chain" => chain.to_string()).increment(depth);
        if reports > 0 {
            self.signal.wake();
        }
        Ok(Applied::Done(ancestor.clone()))
    }

    /// The lowest height inside the window of a cursor.
    pub(super) fn window_begin(&self, height: u64) -> u64 {
        height.saturating_sub(u64::from(self.settings.reorg_window))
    }

    fn overtaken(&self) -> Applied {
        info!(chain = %self.settings.chain, "another watcher has moved the cursor, going on from there");
        Applied::Overtaken
    }

    pub(super) async fn record(
        &self,
        conn: &mut PgConnection,
        blocks: &[SettledBlock],
    ) -> Result<Vec<Observation>, StoreError> {
        let transfers: Vec<(&BlockRef, &Transfer, String)> = blocks
            .iter()
            .flat_map(|block| block.transfers.iter().map(|transfer| (&block.header.block, transfer)))
            .map(|(block, transfer)| (block, transfer, self.leg(transfer)))
            .collect();
        if transfers.is_empty() {
            return Ok(Vec::new());
        }
        let settings = &self.settings;
        let kinds: Vec<&'static str> = transfers.iter().map(|(_, transfer, _)| self.kind(transfer)).collect();
        let recorded = deposit_store::record_transfers(
            conn,
            &settings.chain,
            settings.family,
            settings.confirmations_default,
            &transfers,
            &kinds,
        )
        .await?;
        let unmatched = recorded.iter().filter(|deposit| deposit.payment_id.is_none()).count();
        for kind in [deposit_store::DUST, deposit_store::UNKNOWN_TOKEN] {
            let count = recorded.iter().filter(|deposit| deposit.kind == kind).count();
            counter!("wopay_chain_watchers_odd_total", "chain" => settings.chain.to_string(), "kind" => kind)
                .increment(u64::try_from(count).unwrap_or_default());
        }
        if unmatched > 0 {
            warn!(chain = %settings.chain, unmatched, "money at addresses that no payment claims (yet)");
            counter!("wopay_chain_watchers_unmatched_total", "chain" => settings.chain.to_string())
                .increment(u64::try_from(unmatched).unwrap_or_default());
        }
        Ok(recorded)
    }

    pub(super) async fn rematch(&self, conn: &mut PgConnection) -> Result<Vec<Observation>, StoreError> {
        let settings = &self.settings;
        deposit_store::match_unmatched(conn, &settings.chain, settings.family, settings.confirmations_default).await
    }

    /// What a transfer is to us, by its asset and amount.
    fn kind(&self, transfer: &Transfer) -> &'static str {
        match self.settings.least.get(&transfer.asset) {
            None => deposit_store::UNKNOWN_TOKEN,
            Some(least) if transfer.minor < *least => deposit_store::DUST,
            Some(_) => deposit_store::MONEY,
        }
    }

    /// The text of a transfer's leg: the deposit key without chain and transaction.
    pub(super) fn leg(&self, transfer: &Transfer) -> String {
        let key = DepositKey {
            chain: self.settings.chain.clone(),
            transaction: transfer.transaction.clone(),
            leg: transfer.leg.clone(),
        };
        let prefix = format!("{}:{}:", key.chain, key.transaction);
        let text = key.to_string();
        text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
    }

    /// Writes a report for each of the changed deposits that the ledger is told of. A deposit that changed more than once is
    /// reported once, as it is now.
    pub(super) async fn report(
        &self,
        conn: &mut PgConnection,
        changed: Vec<Observation>,
        height: u64,
    ) -> Result<usize, StoreError> {
        let mut latest: Vec<Observation> = Vec::with_capacity(changed.len());
        for deposit in changed.into_iter().filter(Observation::is_reported) {
            match latest.iter_mut().find(|known| known.tx_hash == deposit.tx_hash && known.leg == deposit.leg) {
                Some(known) => *known = deposit,
                None => latest.push(deposit),
            }
        }
        if latest.is_empty() {
            return Ok(0);
        }
        let ids = deposit_store::next_report_ids(conn, latest.len()).await?;
        let reports = latest
            .into_iter()
            .zip(ids)
            .map(|(deposit, id)| to_report(&self.settings.chain, deposit, id, height))
            .collect::<Result<Vec<_>, _>>()?;
        deposit_store::insert_reports(conn, &self.settings.chain, &reports).await?;
        Ok(reports.len())
    }
}

/// The report of a deposit as it is now, at a head of this height. To the payment that claims it; else to the unmatched
/// deposit itself.
pub(super) fn to_report(chain: &ChainName, deposit: Observation, id: i64, height: u64) -> Result<Report, StoreError> {
    let corrupt = |what: &dyn std::fmt::Display| StoreError::Corrupt(format!("deposit {}: {what}", deposit.tx_hash));
    let key = format!("{}:{}:{}", chain, deposit.tx_hash, deposit.leg);
    let number = from_sql(deposit.block_number);
    let confirmations = height.saturating_sub(number).saturating_add(1);
    let confirmations = u32::try_from(confirmations).unwrap_or(u32::MAX);
    let stage = match deposit.stage.as_str() {
        "seen" => DepositStage::Seen { confirmations },
        "confirmed" => DepositStage::Confirmed { confirmations },
        "orphaned" => DepositStage::Orphaned,
        other => return Err(corrupt(&format!("unknown stage {other:?}"))),
    };
    let minor = deposit.amount_minor.parse().map_err(|error| corrupt(&error))?;
    let asset = deposit.asset.parse().map_err(|error| corrupt(&error))?;
    let report = DepositReport {
        deposit: key.parse().map_err(|error| corrupt(&error))?,
        revision: u64::try_from(id).map_err(|error| corrupt(&error))?,
        amount: Money::new(minor, asset),
        from: deposit.from_address.clone(),
        block: BlockRef { number, hash: deposit.block_hash.clone(), time: deposit.block_time },
        stage,
        at: now(),
    };
    counter!(
        "wopay_chain_watchers_reports_total",
        "chain" => chain.to_string(), "stage" => deposit.stage.clone()
    )
    .increment(1);
    info!(%chain, deposit = key, stage = deposit.stage, revision = id, "deposit");
    let message_id = format!("{key}@{id}");
    let (aggregate_type, aggregate_id, body) = match deposit.payment_id {
        Some(payment_id) => {
            let command = ObserveDeposit { payment_id: PaymentId::from_uuid(payment_id), report };
            (payment::AGGREGATE_TYPE, payment_id, serde_json::to_string(&command))
        }
        None => {
            let deposit_id = DepositId::of(&report.deposit).as_uuid();
            let command = ObserveUnmatchedDeposit { address: deposit.address, report };
            (wopay_domain::deposit::AGGREGATE_TYPE, deposit_id, serde_json::to_string(&command))
        }
    };
    let body = body.map_err(|error| StoreError::Corrupt(format!("deposit {key}: {error}")))?;
    let (tx_hash, leg) = (deposit.tx_hash, deposit.leg);
    Ok(Report { id, aggregate_type, aggregate_id, tx_hash, leg, deposit: key, message_id, body })
}
