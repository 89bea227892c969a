//! Which addresses are ours.
//!
//! Every receiver of a block is looked up, a thousand of them strangers, among perhaps a million addresses. The address pool
//! has them all: a payment claims only what was leased from the pool, and no row ever leaves it. So one look into the pool's
//! hash index answers for a block.
//!
//! Were there claims beside the pool (by hand, or from half a backup), their money would not be seen. That is asked once when a
//! watcher starts; if there are any, it says so and searches the claims as well from then on, which is slower and sees it all.

use std::collections::HashSet;

use sqlx::PgPool;
use tokio::sync::OnceCell;
use tracing::error;
use wopay_domain::ChainFamily;

use super::deposit_store;
use super::store::StoreError;

pub(super) struct WatchSet {
    family: ChainFamily,
    /// Some claimed addresses are not in the pool. Empty until that was asked.
    has_strays: OnceCell<bool>,
}

impl WatchSet {
    pub(super) fn new(family: ChainFamily) -> Self {
        Self { family, has_strays: OnceCell::new() }
    }

    /// Which of these addresses are claimed by a payment, or ready to be. Some may be named twice.
    pub(super) async fn ours(&self, pool: &PgPool, addresses: &[&str]) -> Result<HashSet<String>, StoreError> {
        if addresses.is_empty() {
            return Ok(HashSet::new());
        }
        let has_strays = *self.has_strays.get_or_try_init(|| self.look_for_strays(pool)).await?;
        let mut sorted = addresses.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut ours: HashSet<String> = deposit_store::pooled(pool, &sorted).await?.into_iter().collect();
        if has_strays {
            ours.extend(deposit_store::claimed(pool, self.family, &sorted).await?);
        }
        Ok(ours)
    }

    async fn look_for_strays(&self, pool: &PgPool) -> Result<bool, StoreError> {
        let stray = deposit_store::claimed_beside_pool(pool, self.family).await?;
        if let Some(address) = &stray {
            error!(
                family = %self.family,
                address,
                "a payment's address is not in the table address_pool, perhaps others neither: was it restored in part? \
                 Watching goes on, searches the claims as well, and is slower"
            );
        }
        Ok(stray.is_some())
    }
}
