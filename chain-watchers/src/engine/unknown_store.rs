//! SQL: how far final blocks were searched for unknown tokens, what is to be searched for, and what was found.

use std::collections::HashMap;

use sqlx::{PgConnection, PgExecutor, PgPool};
use wopay_domain::{AssetId, BlockRef, ChainFamily, ChainName, Timestamp};

use super::address_store::first_id_at;
use super::deposit_store::{UNKNOWN_TOKEN, claim_kind};
use super::store::{StoreError, from_sql, to_sql};
use crate::source::Transfer;

/// The height up to which final blocks were searched; `None`: it was not begun.
pub(super) async fn swept(executor: impl PgExecutor<'_>, chain: &ChainName) -> Result<Option<u64>, StoreError> {
    let height: Option<Option<i64>> = sqlx::query_scalar("SELECT swept_height FROM chain_cursors WHERE chain = $1")
        .bind(chain.as_str())
        .fetch_optional(executor)
        .await?;
    Ok(height.flatten().map(from_sql))
}

/// Begins above that height, if it was not begun.
pub(super) async fn begin_above(pool: &PgPool, chain: &ChainName, height: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE chain_cursors SET swept_height = $2 WHERE chain = $1 AND swept_height IS NULL")
        .bind(chain.as_str())
        .bind(to_sql(height))
        .execute(pool)
        .await?;
    Ok(())
}

/// Blocks up to that height were searched.
pub(super) async fn move_swept(conn: &mut PgConnection, chain: &ChainName, height: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE chain_cursors SET swept_height = $2 WHERE chain = $1")
        .bind(chain.as_str())
        .bind(to_sql(height))
        .execute(conn)
        .await?;
    Ok(())
}

/// Blocks above that height are others than those that were searched.
pub(super) async fn set_swept_back(conn: &mut PgConnection, chain: &ChainName, height: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE chain_cursors SET swept_height = $2 WHERE chain = $1 AND swept_height > $2")
        .bind(chain.as_str())
        .bind(to_sql(height))
        .execute(conn)
        .await?;
    Ok(())
}

/// The addresses of payments that were opened since that moment, of the newest `count_max` that were ever given out; and
/// whether there are older ones, too. Each is looked up by itself: whoever has few addresses, or millions, pays for these.
pub(super) async fn addresses(
    pool: &PgPool,
    family: ChainFamily,
    opened_since: Timestamp,
    count_max: i64,
) -> Result<(Vec<String>, bool), StoreError> {
    let mut rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT newest.place, newest.address
         FROM (
             SELECT address, row_number() OVER (ORDER BY idx DESC) AS place
             FROM address_pool
             WHERE family = $1
               AND idx < COALESCE((SELECT next_idx FROM address_cursors WHERE family = $1), 2147483648)
             ORDER BY idx DESC
             LIMIT $4 + 1
         ) AS newest
         CROSS JOIN LATERAL (
             SELECT aggregate_id
             FROM claims
             WHERE kind = $2 AND key = newest.address
             LIMIT 1
         ) AS c
         WHERE c.aggregate_id COLLATE \"C\" >= $3
         ORDER BY newest.place",
    )
    .bind(family.as_str())
    .bind(claim_kind(family))
    .bind(first_id_at(opened_since))
    .bind(count_max)
    .fetch_all(pool)
    .await?;
    let has_more = rows.last().is_some_and(|(place, _)| *place > count_max);
    if has_more {
        rows.pop();
    }
    Ok((rows.into_iter().map(|(_, address)| address).collect(), has_more))
}

/// The blocks of a range as they were processed, as far as they are kept.
pub(super) async fn blocks(
    pool: &PgPool,
    chain: &ChainName,
    first: u64,
    last: u64,
) -> Result<Vec<BlockRef>, StoreError> {
    let rows: Vec<(i64, String, Timestamp)> = sqlx::query_as(
        "SELECT height, hash, block_time
         FROM chain_blocks
         WHERE chain = $1 AND height BETWEEN $2 AND $3
         ORDER BY height",
    )
    .bind(chain.as_str())
    .bind(to_sql(first))
    .bind(to_sql(last))
    .fetch_all(pool)
    .await?;
    let block = |(height, hash, time)| BlockRef { number: from_sql(height), hash, time };
    Ok(rows.into_iter().map(block).collect())
}

/// The hash of the block at that height as it was processed, if it is kept.
pub(super) async fn block_hash(
    conn: &mut PgConnection,
    chain: &ChainName,
    height: u64,
) -> Result<Option<String>, StoreError> {
    let hash = sqlx::query_scalar("SELECT hash FROM chain_blocks WHERE chain = $1 AND height = $2")
        .bind(chain.as_str())
        .bind(to_sql(height))
        .fetch_optional(conn)
        .await?;
    Ok(hash)
}

/// Transaction, asset and receiver of each token transfer to these addresses that is recorded in the range.
pub(super) async fn recorded(
    pool: &PgPool,
    chain: &ChainName,
    first: u64,
    last: u64,
    addresses: &[String],
) -> Result<Vec<(String, AssetId, String)>, StoreError> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT tx_hash, asset, address
         FROM deposit_observations
         WHERE chain = $1 AND block_number BETWEEN $2 AND $3 AND stage <> 'orphaned' AND address = ANY($4)",
    )
    .bind(chain.as_str())
    .bind(to_sql(first))
    .bind(to_sql(last))
    .bind(addresses)
    .fetch_all(pool)
    .await?;
    let mut recorded = Vec::with_capacity(rows.len());
    for (transaction, asset, address) in rows {
        let asset: AssetId =
            asset.parse().map_err(|error| StoreError::Corrupt(format!("deposit {transaction}: {error}")))?;
        if asset.contract().is_some() {
            recorded.push((transaction, asset, address));
        }
    }
    Ok(recorded)
}

/// How many transfers of each of these assets to each address are recorded as of unknown tokens.
pub(super) async fn counts(
    conn: &mut PgConnection,
    chain: &ChainName,
    assets: &[&str],
) -> Result<HashMap<(String, String), u64>, StoreError> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT asset, address, count(*)
         FROM deposit_observations
         WHERE chain = $1 AND kind = 'unknown_token' AND asset = ANY($2)
         GROUP BY asset, address",
    )
    .bind(chain.as_str())
    .bind(assets)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|(asset, address, count)| ((asset, address), from_sql(count))).collect())
}

/// How many of them are recorded in the day up to that moment, at most so many.
pub(super) async fn count_of_day(
    conn: &mut PgConnection,
    chain: &ChainName,
    upto: Timestamp,
    count_max: i64,
) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar(
        "SELECT count(*)
         FROM (
             SELECT
             FROM deposit_observations
             WHERE chain = $1 AND kind = 'unknown_token' AND block_time > $2 - interval '1 day' AND block_time <= $2
             LIMIT $3
         ) AS recorded",
    )
    .bind(chain.as_str())
    .bind(upto)
    .bind(count_max)
    .fetch_one(conn)
    .await?;
    Ok(from_sql(count))
}

/// Records transfers of unknown tokens as seen, of nobody for now; each with its leg. One that is recorded already is left
/// as it is: whoever found it first, and as what. The assets of those that were not.
pub(super) async fn record(
    conn: &mut PgConnection,
    chain: &ChainName,
    transfers: &[(&BlockRef, &Transfer, String)],
) -> Result<Vec<String>, StoreError> {
    let column = |value: fn(&(&BlockRef, &Transfer, String)) -> String| transfers.iter().map(value).collect::<Vec<_>>();
    let from: Vec<Option<&str>> = transfers.iter().map(|(_, transfer, _)| transfer.from.as_deref()).collect();
    let numbers: Vec<i64> = transfers.iter().map(|(block, ..)| to_sql(block.number)).collect();
    let times: Vec<Timestamp> = transfers.iter().map(|(block, ..)| block.time).collect();
    let assets = sqlx::query_scalar(
        "INSERT INTO deposit_observations AS o
             (chain, tx_hash, leg, address, asset, amount_minor, from_address,
              block_number, block_hash, block_time, stage, kind)
         SELECT $1, t.tx_hash, t.leg, t.address, t.asset, t.amount_minor::numeric, t.from_address,
                t.block_number, t.block_hash, t.block_time, 'seen', $2
         FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::bigint[], $10::text[], $11::timestamptz[])
              AS t(tx_hash, leg, address, asset, amount_minor, from_address, block_number, block_hash, block_time)
         ON CONFLICT (chain, tx_hash, leg) DO UPDATE
         SET payment_id = NULL, required_confirmations = NULL, kind = EXCLUDED.kind, stage = EXCLUDED.stage,
             address = EXCLUDED.address, asset = EXCLUDED.asset, amount_minor = EXCLUDED.amount_minor,
             from_address = EXCLUDED.from_address, block_number = EXCLUDED.block_number,
             block_hash = EXCLUDED.block_hash, block_time = EXCLUDED.block_time
         WHERE o.stage = 'orphaned' AND o.revision IS NULL
         RETURNING o.asset",
    )
    .bind(chain.as_str())
    .bind(UNKNOWN_TOKEN)
    .bind(column(|(_, transfer, _)| transfer.transaction.clone()))
    .bind(column(|(_, _, leg)| leg.clone()))
    .bind(column(|(_, transfer, _)| transfer.to.clone()))
    .bind(column(|(_, transfer, _)| transfer.asset.to_string()))
    .bind(column(|(_, transfer, _)| transfer.minor.to_string()))
    .bind(from)
    .bind(numbers)
    .bind(column(|(block, ..)| block.hash.clone()))
    .bind(times)
    .fetch_all(conn)
    .await?;
    Ok(assets)
}
