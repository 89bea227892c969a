//! Deposit addresses for processes that hold no keys.
//!
//! A process takes addresses from the pool in blocks: the family's cursor moves, and is committed, before any of the
//! block is used. What a process took and did not use when it ended is lost; no address is ever given out twice. The next
//! block is fetched before the last is used up, so that taking an address costs no round trip.

mod query;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::PgPool;
use wopay_domain::ChainFamily;

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Every address of the pool is given out; the signer fills it up.
    #[error("the pool of {0} addresses is used up")]
    PoolEmpty(ChainFamily),
    /// The database cannot be reached or refuses; try later.
    #[error("the address pool cannot be read")]
    Database(#[from] sqlx::Error),
}

/// Gives out deposit addresses, each once. A cheap clone; clones share what was taken.
#[derive(Clone, Debug)]
pub struct AddressLeases {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    block: u32,
    evm: Lease,
    solana: Lease,
}

/// What this process holds of one family.
#[derive(Debug, Default)]
struct Lease {
    addresses: Mutex<VecDeque<String>>,
    /// Held while a block is fetched: one at a time.
    refill: tokio::sync::Mutex<()>,
}

impl Lease {
    fn addresses(&self) -> MutexGuard<'_, VecDeque<String>> {
        // The queue is whole whatever happened to another holder of the lock.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressLeases {
    /// Takes blocks of `block` addresses (at least 1) from the pool. Larger blocks cost fewer round trips and lose more at
    /// a crash.
    #[must_use]
    pub fn new(pool: PgPool, block: u32) -> Self {
        let shared = Shared { pool, block: block.max(1), evm: Lease::default(), solana: Lease::default() };
        Self { shared: Arc::new(shared) }
    }

    /// An address of this family that nobody was given before, in canonical text.
    ///
    /// # Errors
    /// When the pool is used up or cannot be read.
    pub async fn take(&self, family: ChainFamily) -> Result<String, LeaseError> {
        let lease = self.shared.lease(family);
        loop {
            let (address, left) = {
                let mut addresses = lease.addresses();
                (addresses.pop_front(), addresses.len())
            };
            if let Some(address) = address {
                self.refill_ahead(family, left);
                return Ok(address);
            }
            let refill = lease.refill.lock().await;
            if lease.addresses().is_empty() && self.shared.fetch(family).await? == 0 {
                return Err(LeaseError::PoolEmpty(family));
            }
            drop(refill);
        }
    }

    /// Passes over the next addresses of every family, so that they are never given out: after an older backup was
    /// restored, they may belong to payments that are lost. The cursors now, by family. Blocks that processes hold already
    /// are not affected.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn skip(&self, count: u32) -> Result<Vec<(String, i64)>, LeaseError> {
        Ok(query::skip(&self.shared.pool, count).await?)
    }

    /// How many addresses of this family the pool still has: those not in any process' block, and those in ours.
    ///
    /// # Errors
    /// When the pool cannot be read.
    pub async fn remaining(&self, family: ChainFamily) -> Result<u64, LeaseError> {
        let in_pool = query::count_remaining(&self.shared.pool, family).await?;
        let held = u64::try_from(self.shared.lease(family).addresses().len()).unwrap_or(u64::MAX);
        Ok(u64::try_from(in_pool).unwrap_or(0).saturating_add(held))
    }

    /// Fetches the next block in the background when half of this one is used, unless somebody does already. A failure is
    /// told to the caller who finds the queue empty.
    fn refill_ahead(&self, family: ChainFamily, left: usize) {
        let low = usize::try_from(self.shared.block / 2).unwrap_or(usize::MAX);
        if left >= low || self.shared.lease(family).refill.try_lock().is_err() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let lease = shared.lease(family);
            let Ok(refill) = lease.refill.try_lock() else { return };
            if let Err(error) = shared.fetch(family).await {
                tracing::warn!(family = %family, error = %error, "cannot fetch the next block of addresses");
            }
            drop(refill);
        });
    }
}

impl Shared {
    const fn lease(&self, family: ChainFamily) -> &Lease {
        match family {
            ChainFamily::Evm => &self.evm,
            ChainFamily::Solana => &self.solana,
        }
    }

    /// Fetches a block and says how many addresses it has.
    async fn fetch(&self, family: ChainFamily) -> Result<usize, LeaseError> {
        let block = query::lease_block(&self.pool, family, self.block).await?;
        let count = block.len();
        self.lease(family).addresses().extend(block);
        metrics::counter!("wopay_commands_addresses_leased_total", "family" => family.as_str())
            .increment(u64::try_from(count).unwrap_or(0));
        Ok(count)
    }
}
