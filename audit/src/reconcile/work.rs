//! The comparison, a page of addresses after the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use wopay_domain::{AssetId, ChainName};

use super::beside;
use super::query::{self, PAGE, Target};
use super::report::{AssetTotal, Difference, DifferenceKind, Reconciliation};
use super::suspense::Suspense;
use super::view::{Folded, Held};
use super::{ChainBalances, DIFFERENCES_KEPT_MAX, Found, ReconcileError, ReconcileScope};

/// How long the watcher may take to come as far as the balances that were read.
const WATCHER_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The books up to a position.
pub(super) struct Books<'a> {
    pool: &'a PgPool,
    chain: &'a ChainName,
    position: i64,
    suspense: Suspense,
    /// Whether the watcher is waited for: not again after it did not come.
    waits: bool,
}

impl<'a> Books<'a> {
    pub(super) async fn open(pool: &'a PgPool, chain: &'a ChainName) -> Result<Self, ReconcileError> {
        let mut books = Self { pool, chain, position: 0, suspense: Suspense::default(), waits: true };
        books.advance().await?;
        Ok(books)
    }

    pub(super) const fn position(&self) -> i64 {
        self.position
    }

    /// Reads up to the newest event.
    async fn advance(&mut self) -> Result<(), ReconcileError> {
        let head = wopay_eventbus::log::head(self.pool).await?;
        query::unmatched(self.pool, self.chain, (self.position, head), &mut self.suspense).await?;
        self.position = head;
        Ok(())
    }

    /// Reads up to the newest event once the watcher has processed the block at that height, or after some time.
    async fn advance_past(&mut self, height: u64) -> Result<(), ReconcileError> {
        let deadline = Instant::now() + WATCHER_WITHIN;
        while self.waits && query::watched_to(self.pool, self.chain).await?.is_none_or(|watched| watched < height) {
            self.waits = Instant::now() < deadline;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.advance().await
    }

    async fn fold(&self, page: &[Target]) -> Result<Vec<Folded>, ReconcileError> {
        query::fold(self.pool, page, self.position, &self.suspense).await
    }

    /// The next addresses that only unmatched money names; `None` after the last.
    pub(super) fn unvisited(&mut self) -> Option<Vec<Target>> {
        let limit = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let addresses = self.suspense.unvisited(limit);
        let page = addresses.into_iter().map(|address| Target { address: Some(address), payment_id: None });
        Some(page.collect()).filter(|page: &Vec<Target>| !page.is_empty())
    }
}

/// What accumulates over the pages.
pub(super) struct Work<'a> {
    scope: &'a ReconcileScope,
    addresses: u64,
    read_up_to: u64,
    differences_total: u64,
    differences: Vec<Difference>,
    totals: Vec<AssetTotal>,
}

/// An account that is compared.
pub(super) struct Account<'a> {
    target: &'a Folded,
    pub(super) asset: &'a AssetId,
    held: Held,
    pub(super) found: Found,
}

impl Account<'_> {
    pub(super) const fn address(&self) -> &str {
        self.target.address.as_str()
    }

    pub(super) const fn held_mut(&mut self) -> &mut Held {
        &mut self.held
    }
}

impl<'a> Work<'a> {
    pub(super) fn new(scope: &'a ReconcileScope) -> Self {
        let totals = scope.chain.assets.iter().map(|asset| AssetTotal::none(asset.id.clone())).collect();
        let read_up_to = scope.block.number;
        Self { scope, addresses: 0, read_up_to, differences_total: 0, differences: Vec::new(), totals }
    }

    pub(super) const fn addresses(&self) -> u64 {
        self.addresses
    }

    pub(super) const fn differences(&self) -> u64 {
        self.differences_total
    }

    pub(super) async fn compare<C: ChainBalances>(
        &mut self,
        page: &[Target],
        books: &mut Books<'_>,
        chain: &C,
    ) -> Result<(), ReconcileError> {
        let mut folded = books.fold(page).await?;
        let asked: Vec<(&str, AssetId)> = folded
            .iter()
            .flat_map(|target| self.assets(target).into_iter().map(|asset| (target.address.as_str(), asset)))
            .collect();
        let accounts: Vec<(&str, &AssetId)> = asked.iter().map(|(address, asset)| (*address, asset)).collect();
        let mut found: HashMap<String, BTreeMap<AssetId, Found>> = HashMap::with_capacity(folded.len());
        for (at, (address, asset)) in read(chain, &accounts).await?.into_iter().zip(accounts) {
            self.read_up_to = self.read_up_to.max(at.height);
            found.entry(address.to_owned()).or_default().insert(asset.clone(), at);
        }
        if !chain.is_pinned() {
            books.advance_past(self.read_up_to).await?;
            folded = books.fold(page).await?;
        }
        let mut accounts = Vec::new();
        for target in &folded {
            books.suspense.visit(&target.address);
            for (asset, found) in found.get(&target.address).into_iter().flatten() {
                let held = target.held(&self.scope.chain.name, asset, found.height)?;
                accounts.push(Account { target, asset, held, found: *found });
            }
        }
        beside::add(books.pool, books.chain, &mut accounts).await?;
        for account in &accounts {
            self.settle(account)?;
        }
        self.addresses = self.addresses.saturating_add(u64::try_from(folded.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// The configured assets, and whatever else was booked there.
    fn assets(&self, target: &Folded) -> BTreeSet<AssetId> {
        let configured = self.scope.chain.assets.iter().map(|asset| asset.id.clone());
        configured.chain(target.assets(&self.scope.chain.name)).collect()
    }

    fn settle(&mut self, account: &Account<'_>) -> Result<(), ReconcileError> {
        let Account { target, asset, held, found: Found { minor: found, .. } } = account;
        let overflow = || ReconcileError::Overflow((*asset).clone());
        let sums = held.sums().ok_or_else(overflow)?;
        let expected = sums.expected().ok_or_else(overflow)?;
        let gap = held.gap(expected, *found);
        let total = self.total(asset);
        total.sums = total.sums.checked_add(&sums).ok_or_else(overflow)?;
        for (sum, amount) in [
            (&mut total.left, gap.left),
            (&mut total.found, *found),
            (&mut total.unrecorded, gap.unrecorded),
            (&mut total.missing, gap.missing),
        ] {
            *sum = sum.checked_add(amount).ok_or_else(overflow)?;
        }
        if gap.unrecorded == 0 && gap.missing == 0 {
            return Ok(());
        }
        self.differences_total = self.differences_total.saturating_add(1);
        if self.differences.len() < DIFFERENCES_KEPT_MAX {
            self.differences.push(Difference {
                address: target.address.clone(),
                asset: (*asset).clone(),
                kind: if gap.missing > 0 { DifferenceKind::Missing } else { DifferenceKind::Unrecorded },
                payment: target.payment.as_ref().map(|payment| payment.id),
                merchant: target.payment.as_ref().map(|payment| payment.merchant),
                sums,
                expected,
                found: *found,
            });
        }
        Ok(())
    }

    pub(super) async fn add_treasury<C: ChainBalances>(&mut self, chain: &C) -> Result<(), ReconcileError> {
        let assets: Vec<AssetId> = self.totals.iter().map(|total| total.asset.clone()).collect();
        let accounts =
            self.scope.treasury.iter().flat_map(|address| assets.iter().map(|asset| (address.as_str(), asset)));
        let accounts: Vec<_> = accounts.collect();
        let found = read(chain, &accounts).await?;
        for ((_, asset), found) in accounts.into_iter().zip(found) {
            let total = self.total(asset);
            total.treasury =
                total.treasury.checked_add(found.minor).ok_or_else(|| ReconcileError::Overflow(asset.clone()))?;
        }
        Ok(())
    }

    fn total(&mut self, asset: &AssetId) -> &mut AssetTotal {
        let index = self.totals.iter().position(|total| &total.asset == asset).unwrap_or_else(|| {
            self.totals.push(AssetTotal::none(asset.clone()));
            self.totals.len().saturating_sub(1)
        });
        &mut self.totals[index]
    }

    pub(super) fn finish(self, position: i64, watched_to: Option<u64>) -> Reconciliation {
        Reconciliation {
            chain: self.scope.chain.name.clone(),
            block: self.scope.block.clone(),
            read_up_to: self.read_up_to,
            position,
            watched_to,
            addresses: self.addresses,
            differences_total: self.differences_total,
            differences: self.differences,
            totals: self.totals,
        }
    }
}

async fn read<C: ChainBalances>(chain: &C, accounts: &[(&str, &AssetId)]) -> Result<Vec<Found>, ReconcileError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let found = chain.read(accounts).await.map_err(|error| ReconcileError::Chain(Box::new(error)))?;
    if found.len() == accounts.len() {
        Ok(found)
    } else {
        Err(ReconcileError::Incomplete { asked: accounts.len(), got: found.len() })
    }
}
