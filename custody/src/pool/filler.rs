//! Keeps the pool ahead of the cursor.

use std::convert::Infallible;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::PoolError;
use super::store::{self, Level};
use super::verify::{self, verify};
use crate::deriver::{AddressDeriver, AddressIndex};

/// Addresses of one transaction: some 20 ms of derivation.
const BATCH: i64 = 500;
const PAUSE: Duration = Duration::from_millis(200);
/// While more than a quarter of the pool goes between two looks.
const PAUSE_WHEN_LOW: Duration = Duration::from_millis(20);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Keeps at least `target` addresses of each family between the cursor (`address_cursors.next_idx`) and the end of the
/// pool. Any number of instances may run, be killed and start again: a batch is one transaction that begins at the stored
/// end, under a lock, so indexes stay dense and unique.
#[derive(Clone, Debug)]
pub struct PoolFiller {
    pool: PgPool,
    derivers: Vec<AddressDeriver>,
    target: u32,
}

/// How far to fill.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// So many addresses beyond the cursor.
    Ahead(u32),
    /// So many addresses in all.
    Total(u32),
}

impl Goal {
    fn end(self, level: Level) -> i64 {
        match self {
            Self::Ahead(ahead) => level.cursor + i64::from(ahead),
            Self::Total(total) => i64::from(total),
        }
    }
}

impl PoolFiller {
    /// A filler for these families.
    #[must_use]
    pub const fn new(pool: PgPool, derivers: Vec<AddressDeriver>, target: u32) -> Self {
        Self { pool, derivers, target }
    }

    /// Fills until cancelled, looking every 200 ms, and at once again while the pool runs low. Database failures are
    /// waited out.
    ///
    /// # Errors
    /// Everything else, above all [`PoolError::WrongWallet`]: nothing was derived then, and a person is needed.
    pub async fn run(self, token: CancellationToken) -> Result<(), PoolError> {
        tokio::select! {
            biased;
            () = token.cancelled() => Ok(()),
            failed = self.fill_for_ever() => {
                let Err(error) = failed;
                tracing::error!(error = &error as &dyn std::error::Error, "the address pool is no longer filled");
                metrics::counter!("wopay_custody_pool_failures_total").increment(1);
                Err(error)
            }
        }
    }

    /// Compares the stored addresses with this wallet's: no gap; the first, the last and a sample the same.
    ///
    /// # Errors
    /// [`PoolError::WrongWallet`], [`PoolError::Gap`], or the database fails.
    pub async fn verify(&self) -> Result<(), PoolError> {
        verify(&self.pool, &self.derivers).await
    }

    /// Fills each family to `target` beyond its cursor and says how many addresses it added.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub async fn fill(&self) -> Result<u64, PoolError> {
        self.fill_all(Goal::Ahead(self.target)).await
    }

    /// Fills each family until it holds `total` addresses in all, and says how many it added.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub async fn fill_to(&self, total: u32) -> Result<u64, PoolError> {
        self.fill_all(Goal::Total(total)).await
    }

    async fn fill_for_ever(&self) -> Result<Infallible, PoolError> {
        let mut verified = false;
        loop {
            let pause = match self.look(&mut verified).await {
                Ok(added) if added > u64::from(self.target / 4) => PAUSE_WHEN_LOW,
                Ok(_) => PAUSE,
                Err(PoolError::Database(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the address pool cannot be filled now");
                    metrics::counter!("wopay_custody_pool_failures_total").increment(1);
                    PAUSE_AFTER_FAILURE
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self, verified: &mut bool) -> Result<u64, PoolError> {
        if !*verified {
            self.verify().await?;
            *verified = true;
        }
        self.fill().await
    }

    async fn fill_all(&self, goal: Goal) -> Result<u64, PoolError> {
        let mut added = 0;
        // A batch for each in turn: no family waits until another's pool is full.
        let mut hungry: Vec<&AddressDeriver> = self.derivers.iter().collect();
        while !hungry.is_empty() {
            let mut next = Vec::with_capacity(hungry.len());
            for deriver in hungry {
                let level = store::level(&self.pool, deriver.family()).await?;
                report(deriver, level);
                if level.end < goal.end(level) {
                    added += self.add_batch(deriver, goal).await?;
                    next.push(deriver);
                }
            }
            hungry = next;
        }
        Ok(added)
    }

    /// One batch in one transaction; nothing if another instance was faster.
    async fn add_batch(&self, deriver: &AddressDeriver, goal: Goal) -> Result<u64, PoolError> {
        let family = deriver.family();
        let mut transaction = self.pool.begin().await?;
        store::lock(&mut transaction, family).await?;
        let level = store::level(&mut *transaction, family).await?;
        let end = goal.end(level).min(level.end + BATCH).min(i64::from(AddressIndex::COUNT));
        if level.end >= i64::from(AddressIndex::COUNT) {
            return Err(PoolError::Exhausted(family));
        }
        let (Ok(from), Ok(to)) = (u32::try_from(level.end), u32::try_from(end)) else {
            return Err(PoolError::Exhausted(family));
        };
        if from >= to {
            return Ok(0);
        }
        // Whatever became of the seed or the table since the start: never continue what is not ours.
        verify::compare(&mut *transaction, deriver, &[level.end - 1]).await?;
        let addresses = derive(deriver.clone(), from, to).await?;
        store::insert(&mut transaction, family, level.end, &addresses).await?;
        transaction.commit().await?;
        let added = u64::from(to - from);
        metrics::counter!("wopay_custody_derivations_total", "family" => family.as_str()).increment(added);
        Ok(added)
    }
}

/// Derives on a thread for blocking work: a batch would hold up everything else on an async one.
async fn derive(deriver: AddressDeriver, from: u32, to: u32) -> Result<Vec<String>, PoolError> {
    let derived = tokio::task::spawn_blocking(move || deriver.addresses(from..to)).await?;
    Ok(derived?)
}

fn report(deriver: &AddressDeriver, level: Level) {
    let family = deriver.family().as_str();
    metrics::gauge!("wopay_custody_pool_addresses", "family" => family).set((level.end - level.cursor) as f64);
}
