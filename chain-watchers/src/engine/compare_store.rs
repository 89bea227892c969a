//! SQL: what comparing balances needs.

use std::collections::HashMap;

use sqlx::{PgExecutor, PgPool};
use wopay_domain::{AssetId, BlockRef, ChainName, Timestamp};

use super::store::{StoreError, from_sql, to_sql};
use crate::source::BlockHeader;

/// A recorded deposit that the chain itself showed, as far as it explains a balance.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) address: String,
    pub(super) height: u64,
    /// Minor units.
    pub(super) minor: u128,
}

/// Addresses of payments on that chain that still wait for money, those that end first in front. (The read model of
/// payments: what it does not show yet is compared a moment later.)
pub(super) async fn open_addresses(
    pool: &PgPool,
    chain: &ChainName,
    count_max: i64,
) -> Result<Vec<String>, StoreError> {
    let addresses = sqlx::query_scalar(
        "SELECT payment_address
         FROM payments
         WHERE status IN ('pending', 'partially_paid') AND blockchain = $1
         ORDER BY expires_at, id
         LIMIT $2",
    )
    .bind(chain.as_str())
    .bind(count_max)
    .fetch_all(pool)
    .await?;
    Ok(addresses)
}

/// The processed blocks between two heights, both included, in order.
pub(super) async fn headers(
    pool: &PgPool,
    chain: &ChainName,
    lowest: u64,
    highest: u64,
) -> Result<Vec<BlockHeader>, StoreError> {
    let rows: Vec<(i64, String, String, Timestamp)> = sqlx::query_as(
        "SELECT height, hash, parent_hash, block_time
         FROM chain_blocks
         WHERE chain = $1 AND height BETWEEN $2 AND $3
         ORDER BY height",
    )
    .bind(chain.as_str())
    .bind(to_sql(lowest))
    .bind(to_sql(highest))
    .fetch_all(pool)
    .await?;
    let header = |(height, hash, parent_hash, time)| BlockHeader {
        block: BlockRef { number: from_sql(height), hash, time },
        parent_hash,
    };
    Ok(rows.into_iter().map(header).collect())
}

/// How much of the asset was recorded for each address, whatever became of it; what is orphaned did not arrive.
pub(super) async fn recorded(
    executor: impl PgExecutor<'_>,
    chain: &ChainName,
    asset: &AssetId,
    addresses: &[String],
) -> Result<HashMap<String, u128>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT address, sum(amount_minor)::text
         FROM deposit_observations
         WHERE chain = $1 AND asset = $2 AND address = ANY($3) AND stage <> 'orphaned'
         GROUP BY address",
    )
    .bind(chain.as_str())
    .bind(asset.to_string())
    .bind(addresses)
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(|(address, sum)| Ok((address, amount(&sum)?))).collect()
}

/// What the chain showed of the asset for these addresses from that height on. Not what comparisons found: that may have
/// come before the block it was recorded in, so no block must be searched for it once more.
pub(super) async fn arrivals(
    pool: &PgPool,
    chain: &ChainName,
    asset: &AssetId,
    addresses: &[String],
    lowest: u64,
) -> Result<Vec<Arrival>, StoreError> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        "SELECT address, block_number, amount_minor::text
         FROM deposit_observations
         WHERE chain = $1 AND asset = $2 AND address = ANY($3) AND stage <> 'orphaned' AND block_number >= $4
           AND leg NOT LIKE 'trace:balance/%'",
    )
    .bind(chain.as_str())
    .bind(asset.to_string())
    .bind(addresses)
    .bind(to_sql(lowest))
    .fetch_all(pool)
    .await?;
    let arrival = |(address, height, minor): (String, i64, String)| {
        Ok(Arrival { address, height: from_sql(height), minor: amount(&minor)? })
    };
    rows.into_iter().map(arrival).collect()
}

fn amount(text: &str) -> Result<u128, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("an amount of {text:?}")))
}
