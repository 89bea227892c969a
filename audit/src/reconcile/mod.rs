//! Proof of funds: what the ledger says that our addresses hold on a chain at a block, beside what the chain says.
//!
//! Every address of the chain's family is asked for, whichever chain its payment named: an address is ours on all of them,
//! and money sent on the wrong one must show. Addresses are those of the deposit claims, those given out of the pool
//! without a claim, and those that only the events know (a claim is no event, and may be gone).
//!
//! The ledger's view at block N is folded from the events up to one position: each deposit in its last state, if that is
//! not orphaned and its block is not above N. What is confirmed is booked; what is merely seen is on the chain all the
//! same, so both make up what is expected, and both are listed. The transfer of a refund is made with a wallet of the
//! operator's choice: money that is there, or gone by the refunds that are recorded as completed, is both right.
//!
//! Memory does not grow with the number of addresses: they are read, folded and compared a page at a time.

mod query;
mod view;

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::PgPool;
use wopay_domain::envelope::DecodeError;
use wopay_domain::{AssetId, BlockRef, ChainName, ChainSpec, MerchantId, PaymentId};

use self::query::AddressPages;
use self::view::{Held, PaymentView};

/// Differences that are kept in the result; more are counted only.
pub const DIFFERENCES_KEPT_MAX: usize = 10_000;

/// What is compared.
#[derive(Clone, Debug)]
pub struct ReconcileScope {
    /// The chain, with the assets to look for at every address.
    pub chain: ChainSpec,
    /// The block, as the chain names it.
    pub block: BlockRef,
    /// Accounts of ours that are no deposit addresses. The ledger books nothing to one of them alone, so they are added
    /// to the totals and cannot differ.
    pub treasury: Vec<String>,
}

/// What the chain says; made by whoever can ask it.
pub trait ChainBalances: Sync {
    /// Why it cannot be asked.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What these accounts hold at the block, in minor units, in the order asked.
    fn read(&self, accounts: &[(&str, &AssetId)]) -> impl Future<Output = Result<Vec<u128>, Self::Error>> + Send;
}

/// How far a reconciliation has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReconcileProgress {
    /// Addresses compared.
    pub addresses: u64,
    /// About how many there are.
    pub addresses_about: u64,
    /// Differences found so far.
    pub differences: u64,
}

/// What a reconciliation found.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciliation {
    /// The chain.
    pub chain: ChainName,
    /// The block on both sides.
    pub block: BlockRef,
    /// The ledger's position up to which events were read.
    pub position: i64,
    /// The block that the watcher had processed then: what is above is not in the ledger yet. `None`: never watched.
    pub watched_to: Option<u64>,
    /// Addresses compared, treasury accounts not counted.
    pub addresses: u64,
    /// Accounts (address and asset) where ledger and chain differ.
    pub differences_total: u64,
    /// The first of them; see [`DIFFERENCES_KEPT_MAX`].
    pub differences: Vec<Difference>,
    /// Sums for each asset, configured ones first.
    pub totals: Vec<AssetTotal>,
}

impl Reconciliation {
    /// Whether ledger and chain say the same.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.differences_total == 0
    }

    /// Whether the ledger cannot know the block yet, so that differences prove nothing.
    #[must_use]
    pub fn is_premature(&self) -> bool {
        self.watched_to.is_none_or(|height| height < self.block.number)
    }
}

/// An account where ledger and chain differ. Amounts are minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The address.
    pub address: String,
    /// The asset.
    pub asset: AssetId,
    /// Which way.
    pub kind: DifferenceKind,
    /// The payment that the address belongs to; `None`: to none.
    pub payment: Option<PaymentId>,
    /// Whose payment it is.
    pub merchant: Option<MerchantId>,
    /// Deposits that are booked.
    #[serde(serialize_with = "as_text")]
    pub confirmed: u128,
    /// Deposits that are seen and not booked yet.
    #[serde(serialize_with = "as_text")]
    pub seen: u128,
    /// Refunds of the payment that are recorded as completed, network fees included.
    #[serde(serialize_with = "as_text")]
    pub refunded: u128,
    /// What should be there: `confirmed + seen`, of which `refunded` may be gone.
    #[serde(serialize_with = "as_text")]
    pub expected: u128,
    /// What is there.
    #[serde(serialize_with = "as_text")]
    pub found: u128,
}

/// Which way ledger and chain differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The chain holds more: a deposit was missed, or never reported.
    Unrecorded,
    /// The chain holds less: money left without a record, or never was there.
    Missing,
}

/// Sums of one asset. Amounts are minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssetTotal {
    /// The asset.
    pub asset: AssetId,
    /// Booked deposits.
    #[serde(serialize_with = "as_text")]
    pub confirmed: u128,
    /// Deposits seen and not booked yet.
    #[serde(serialize_with = "as_text")]
    pub seen: u128,
    /// Completed refunds, network fees included, wherever they were paid from.
    #[serde(serialize_with = "as_text")]
    pub refunded: u128,
    /// What deposit addresses hold.
    #[serde(serialize_with = "as_text")]
    pub found: u128,
    /// What treasury accounts hold.
    #[serde(serialize_with = "as_text")]
    pub treasury: u128,
    /// What addresses hold that the ledger does not know of.
    #[serde(serialize_with = "as_text")]
    pub unrecorded: u128,
    /// What addresses should hold and do not.
    #[serde(serialize_with = "as_text")]
    pub missing: u128,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The database fails.
    #[error("the ledger cannot be read")]
    Database(#[from] sqlx::Error),
    /// An event cannot be read.
    #[error(transparent)]
    Event(#[from] DecodeError),
    /// The chain cannot be asked.
    #[error("the chain's balances cannot be read")]
    Chain(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The chain was asked for so many balances and gave as many.
    #[error("asked for {asked} balances, got {got}")]
    Incomplete {
        /// Asked for.
        asked: usize,
        /// Given.
        got: usize,
    },
    /// Amounts that no real asset has.
    #[error("the sum of {0} is larger than 2^128 minor units")]
    Overflow(AssetId),
}

/// The height that the chain's watcher has processed; `None`: it never watched the chain.
///
/// # Errors
/// The database fails.
pub async fn watched_to(pool: &PgPool, chain: &ChainName) -> Result<Option<u64>, sqlx::Error> {
    query::watched_to(pool, chain).await
}

/// Compares ledger and chain at one block.
///
/// # Errors
/// When either cannot be read.
pub async fn reconcile<C: ChainBalances>(
    pool: &PgPool,
    scope: &ReconcileScope,
    chain: &C,
    mut progress: impl FnMut(ReconcileProgress) + Send,
) -> Result<Reconciliation, ReconcileError> {
    let position = wopay_eventbus::log::head(pool).await?;
    let watched_to = query::watched_to(pool, &scope.chain.name).await?;
    let mut work = Work::new(scope);
    let mut pages = AddressPages::new(pool, scope.chain.family, position);
    let addresses_about = pages.count().await?;
    while let Some(page) = pages.next().await? {
        let targets = query::fold(pool, page, position).await?;
        work.compare(&targets, chain).await?;
        progress(ReconcileProgress { addresses: work.addresses, addresses_about, differences: work.differences_total });
    }
    work.add_treasury(chain).await?;
    Ok(Reconciliation {
        chain: scope.chain.name.clone(),
        block: scope.block.clone(),
        position,
        watched_to,
        addresses: work.addresses,
        differences_total: work.differences_total,
        differences: work.differences,
        totals: work.totals,
    })
}

/// What accumulates over the pages.
struct Work<'a> {
    scope: &'a ReconcileScope,
    addresses: u64,
    differences_total: u64,
    differences: Vec<Difference>,
    totals: Vec<AssetTotal>,
}

/// An address with its payment as the ledger has it.
struct Folded {
    address: String,
    payment: Option<PaymentView>,
}

impl<'a> Work<'a> {
    fn new(scope: &'a ReconcileScope) -> Self {
        let totals = scope.chain.assets.iter().map(|asset| AssetTotal::none(asset.id.clone())).collect();
        Self { scope, addresses: 0, differences_total: 0, differences: Vec::new(), totals }
    }

    async fn compare<C: ChainBalances>(&mut self, targets: &[Folded], chain: &C) -> Result<(), ReconcileError> {
        let mut accounts = Vec::new();
        for target in targets {
            let mut held: BTreeMap<AssetId, Held> =
                self.scope.chain.assets.iter().map(|asset| (asset.id.clone(), Held::default())).collect();
            if let Some(payment) = &target.payment {
                payment.add_to(&mut held, &self.scope.chain.name, self.scope.block.number)?;
            }
            accounts.extend(held.into_iter().map(|(asset, held)| (target, asset, held)));
        }
        let asked: Vec<(&str, &AssetId)> =
            accounts.iter().map(|(target, asset, _)| (target.address.as_str(), asset)).collect();
        let found = read(chain, &asked).await?;
        for ((target, asset, held), found) in accounts.iter().zip(found) {
            self.settle(target, asset, held, found)?;
        }
        self.addresses = self.addresses.saturating_add(u64::try_from(targets.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn settle(&mut self, target: &Folded, asset: &AssetId, held: &Held, found: u128) -> Result<(), ReconcileError> {
        let overflow = || ReconcileError::Overflow(asset.clone());
        let expected = held.confirmed.checked_add(held.seen).ok_or_else(overflow)?;
        let refunded = held.refunded().ok_or_else(overflow)?;
        let (unrecorded, missing) = held.difference(expected, found);
        let total = self.total(asset);
        for (sum, amount) in [
            (&mut total.confirmed, held.confirmed),
            (&mut total.seen, held.seen),
            (&mut total.refunded, refunded),
            (&mut total.found, found),
            (&mut total.unrecorded, unrecorded),
            (&mut total.missing, missing),
        ] {
            *sum = sum.checked_add(amount).ok_or_else(overflow)?;
        }
        if unrecorded == 0 && missing == 0 {
            return Ok(());
        }
        self.differences_total = self.differences_total.saturating_add(1);
        if self.differences.len() < DIFFERENCES_KEPT_MAX {
            self.differences.push(Difference {
                address: target.address.clone(),
                asset: asset.clone(),
                kind: if missing > 0 { DifferenceKind::Missing } else { DifferenceKind::Unrecorded },
                payment: target.payment.as_ref().map(|payment| payment.id),
                merchant: target.payment.as_ref().map(|payment| payment.merchant),
                confirmed: held.confirmed,
                seen: held.seen,
                refunded,
                expected,
                found,
            });
        }
        Ok(())
    }

    async fn add_treasury<C: ChainBalances>(&mut self, chain: &C) -> Result<(), ReconcileError> {
        let assets: Vec<AssetId> = self.totals.iter().map(|total| total.asset.clone()).collect();
        let accounts =
            self.scope.treasury.iter().flat_map(|address| assets.iter().map(|asset| (address.as_str(), asset)));
        let accounts: Vec<_> = accounts.collect();
        let found = read(chain, &accounts).await?;
        for ((_, asset), found) in accounts.into_iter().zip(found) {
            let total = self.total(asset);
            total.treasury =
                total.treasury.checked_add(found).ok_or_else(|| ReconcileError::Overflow(asset.clone()))?;
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
}

impl AssetTotal {
    const fn none(asset: AssetId) -> Self {
        Self { asset, confirmed: 0, seen: 0, refunded: 0, found: 0, treasury: 0, unrecorded: 0, missing: 0 }
    }
}

async fn read<C: ChainBalances>(chain: &C, accounts: &[(&str, &AssetId)]) -> Result<Vec<u128>, ReconcileError> {
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

fn as_text<S: serde::Serializer>(amount: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}
