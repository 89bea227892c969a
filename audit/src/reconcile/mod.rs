//! Proof of funds: what the ledger says that our addresses hold on a chain at a block, beside what the chain says.
//!
//! Every address of the chain's family is asked for, whichever chain its payment named: an address is ours on all of them,
//! and money sent on the wrong one must show. Addresses are those of the deposit claims, those given out of the pool
//! without a claim, and those that only the events know (a claim is no event, and may be gone).
//!
//! The ledger's view at block N is folded from the events up to one position: each deposit in its last state, if that is
//! not orphaned and its block is not above N; money of a payment, and money that came while no payment claimed the address,
//! whatever was decided about it since. What is confirmed is booked; what is merely seen is on the chain all the same, so
//! both make up what is expected, and both are listed. So is what stands beside the books, as the watchers noted it: dust,
//! and money of nobody that waits to be confirmed. The transfer of a refund is made with a wallet of the operator's choice:
//! money that is there, or gone by refunds that are recorded as completed, is both right.
//!
//! Some chains tell only what is held now ([`ChainBalances::is_pinned`]). There each balance comes with the height that it
//! is of, and is compared with the books as of that height: the events are read after the balances, once the watcher has
//! come as far.
//!
//! Memory does not grow with the number of addresses: they are read, folded and compared a page at a time. It does with that
//! of unmatched deposits, some 300 bytes each.

mod beside;
mod query;
mod report;
mod suspense;
mod view;
mod work;

use sqlx::PgPool;
use wopay_domain::envelope::DecodeError;
use wopay_domain::{AssetId, BlockRef, ChainName, ChainSpec};

use self::query::AddressPages;
pub use self::report::{AssetTotal, Difference, DifferenceKind, Reconciliation, Sums};
use self::work::{Books, Work};

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

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Minor units.
    pub minor: u128,
    /// The height of the block with which it held that.
    pub height: u64,
}

/// What the chain says; made by whoever can ask it.
pub trait ChainBalances: Sync {
    /// Why it cannot be asked.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether every answer is of the one block that is compared. Otherwise answers are of that block or of later ones.
    fn is_pinned(&self) -> bool;

    /// What these accounts hold, in the order asked.
    fn read(&self, accounts: &[(&str, &AssetId)]) -> impl Future<Output = Result<Vec<Found>, Self::Error>> + Send;
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

/// Compares ledger and chain.
///
/// # Errors
/// When either cannot be read.
pub async fn reconcile<C: ChainBalances>(
    pool: &PgPool,
    scope: &ReconcileScope,
    chain: &C,
    mut progress: impl FnMut(ReconcileProgress) + Send,
) -> Result<Reconciliation, ReconcileError> {
    let mut books = Books::open(pool, &scope.chain.name).await?;
    let mut work = Work::new(scope);
    let mut pages = AddressPages::new(pool, scope.chain.family, books.position());
    let addresses_about = pages.count().await?;
    let mut told = |work: &Work<'_>| {
        let (addresses, differences) = (work.addresses(), work.differences());
        progress(ReconcileProgress { addresses, addresses_about, differences });
    };
    while let Some(page) = pages.next().await? {
        work.compare(&page, &mut books, chain).await?;
        told(&work);
    }
    // Addresses that were not given out yet can have got money all the same.
    while let Some(page) = books.unvisited() {
        work.compare(&page, &mut books, chain).await?;
        told(&work);
    }
    work.add_treasury(chain).await?;
    let watched_to = query::watched_to(pool, &scope.chain.name).await?;
    Ok(work.finish(books.position(), watched_to))
}
