//! SQL: large deposits that only agreement keeps from being confirmed.

use sqlx::PgPool;
use wopay_domain::{BlockRef, ChainName, Timestamp};

use super::store::{StoreError, from_sql, to_sql};
use crate::config::Agreement;

/// Blocks asked about in one step.
const BLOCKS_MAX: i64 = 32;

/// The assets of a rule and the amounts above which it holds, as arrays of text.
pub(super) fn amounts(rule: Option<&Agreement>) -> (Vec<&str>, Vec<String>) {
    rule.into_iter().flat_map(|rule| &rule.above).map(|(asset, minor)| (asset.as_str(), minor.to_string())).unzip()
}

/// The blocks that hold large deposits which are deep enough and final, oldest first.
pub(super) async fn due(
    pool: &PgPool,
    chain: &ChainName,
    rule: &Agreement,
    height: u64,
    final_height: u64,
    confirmations_default: u32,
) -> Result<Vec<BlockRef>, StoreError> {
    let (assets, above) = amounts(Some(rule));
    let rows: Vec<(i64, String, Timestamp)> = sqlx::query_as(
        "SELECT DISTINCT o.block_number, o.block_hash, o.block_time
         FROM deposit_observations o
         JOIN unnest($4::text[], $5::text[]) AS large(asset, above)
              ON large.asset = o.asset AND o.amount_minor > large.above::numeric
         WHERE o.chain = $1 AND o.stage = 'seen'
           AND o.block_number <= $2 - COALESCE(o.required_confirmations, $7) + 1
           AND o.block_number <= $3
         ORDER BY o.block_number
         LIMIT $6",
    )
    .bind(chain.as_str())
    .bind(to_sql(height))
    .bind(to_sql(final_height))
    .bind(assets)
    .bind(above)
    .bind(BLOCKS_MAX)
    .bind(i32::try_from(confirmations_default).unwrap_or(i32::MAX))
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(number, hash, time)| BlockRef { number: from_sql(number), hash, time }).collect())
}
