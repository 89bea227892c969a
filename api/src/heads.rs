//! The heads of the chains, remembered for a moment: every reader of every payment asks for the same few numbers.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sqlx::PgPool;
use wopay_domain::ChainName;

use crate::error::query_failed;
use crate::problem::Problem;

const CHAINS_MAX: u64 = 1_000;

/// How much older than the watcher's an answer may be. Fast chains make a block in about this time.
const FRESH_FOR: Duration = Duration::from_millis(250);

/// Heights of chains, at most a quarter of a second behind the watchers.
#[derive(Clone)]
pub(crate) struct ChainHeads {
    pool: PgPool,
    heights: Cache<ChainName, Option<u64>>,
}

impl ChainHeads {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, heights: Cache::builder().max_capacity(CHAINS_MAX).time_to_live(FRESH_FOR).build() }
    }

    /// The height that the chain's watcher has processed; `None` before its first block. Concurrent askers share a query.
    pub(crate) async fn height(&self, chain: &ChainName) -> Result<Option<u64>, Problem> {
        let query = wopay_projections::chain_heads::height(&self.pool, chain);
        let height = self.heights.try_get_with_by_ref(chain, query).await;
        height.map_err(|error: Arc<sqlx::Error>| query_failed(&error))
    }
}
